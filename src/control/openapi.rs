//! The description of the API in OpenAPI 3.1, made of the types that it speaks.

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

use super::filter::Filter;
use super::top::Top;
use super::trace::TraceFilter;
use super::{api, change, dns};

/// Makes the schema of a type.
type Make = fn(&mut SchemaGenerator) -> Schema;

/// What can be done with a path.
struct Operation {
    method: &'static str,
    path: &'static str,
    summary: &'static str,
    /// Each field is a parameter.
    asks: Vec<Make>,
    /// The body is a packet.
    takes_packet: bool,
    answer: Make,
    /// The answer is an array of that, one on each line.
    is_list: bool,
}

fn operation<T: JsonSchema>(method: &'static str, path: &'static str, summary: &'static str) -> Operation {
    let answer = SchemaGenerator::subschema_for::<T>;
    Operation { method, path, summary, asks: Vec::new(), takes_packet: false, answer, is_list: false }
}

impl Operation {
    fn asks<Q: JsonSchema>(mut self) -> Self {
        self.asks.push(SchemaGenerator::root_schema_for::<Q>);
        self
    }

    fn lists(self) -> Self {
        Self { is_list: true, ..self }
    }

    /// Whether whoever can connect may do it.
    fn is_for_all(&self) -> bool {
        (self.method == "get" && self.path != "/v1/trace") || self.takes_packet
    }

    fn describe(&self, schemas: &mut SchemaGenerator) -> Value {
        let answer = (self.answer)(schemas);
        let schema = if self.is_list { json!({ "type": "array", "items": answer }) } else { answer.to_value() };
        let mut responses = json!({
            "200": { "description": "Done.", "content": { "application/json": { "schema": schema } } },
            "400": problem("The question is wrong; the text says what is allowed."),
            "404": problem("The half of the daemon that is asked for is off."),
        });
        if !self.is_for_all() {
            responses["403"] = problem("The peer may read, not change.");
        }
        if self.is_list || self.path == "/v1/top" {
            responses["503"] = problem("Too many others ask for it at once.");
        }
        let mut operation = json!({ "summary": self.summary, "responses": responses });
        let parameters: Vec<Value> = self.asks.iter().flat_map(|make| parameters(&make(schemas))).collect();
        if !parameters.is_empty() {
            operation["parameters"] = parameters.into();
        }
        if self.takes_packet {
            let packet = json!({ "schema": { "type": "string", "contentMediaType": "application/octet-stream" } });
            operation["requestBody"] = json!({ "required": true, "content": { "application/octet-stream": packet } });
        }
        operation
    }
}

/// Everything that the API can do.
fn operations() -> Vec<Operation> {
    let packet = operation::<api::PacketPreview>("post", "/v1/explain", "Tell what would become of a packet");
    vec![
        operation::<api::Status>("get", "/v1/status", "Tell what the daemon does"),
        operation::<api::Session>("get", "/v1/sessions", "List sessions").asks::<Filter>().lists(),
        operation::<api::Closed>("delete", "/v1/sessions", "End sessions").asks::<Filter>().asks::<change::Closing>(),
        operation::<api::Mapping>("get", "/v1/mappings", "List mappings").asks::<Filter>().lists(),
        operation::<api::Subscriber>("get", "/v1/subscribers", "List subscribers").lists(),
        operation::<api::PoolAddress>("get", "/v1/pool", "List pool addresses").lists(),
        operation::<Top>("get", "/v1/top", "Rank what flows now").asks::<Filter>(),
        operation::<api::TracedPacket>("get", "/v1/trace", "Show packets as they pass, one object per line")
            .asks::<TraceFilter>()
            .lists(),
        Operation { takes_packet: true, ..packet },
        operation::<api::Reloaded>("post", "/v1/reload", "Read the configuration again").asks::<change::How>(),
        operation::<Vec<api::StaticEntry>>("get", "/v1/static", "List static mappings"),
        operation::<Vec<api::StaticEntry>>("post", "/v1/static", "Make a static mapping").asks::<change::Which>(),
        operation::<Vec<api::StaticEntry>>("delete", "/v1/static", "Remove a static mapping").asks::<change::Which>(),
        operation::<api::Draining>("post", "/v1/drain", "Take no new sessions").asks::<change::What>(),
        operation::<api::Draining>("post", "/v1/undrain", "Take new sessions again").asks::<change::What>(),
        operation::<api::Explanation>("get", "/v1/dns/explain", "Say why a client is told what it is told")
            .asks::<dns::Question>(),
        operation::<api::Flushed>("post", "/v1/dns/flush", "Forget cached answers").asks::<dns::Meant>(),
        operation::<api::Drained>("post", "/v1/dns/drain", "Hand out no addresses under a prefix")
            .asks::<dns::MeantPrefix>(),
        operation::<api::Drained>("post", "/v1/dns/undrain", "Hand out addresses under a prefix again")
            .asks::<dns::MeantPrefix>(),
    ]
}

/// The document.
///
/// # Errors
/// None that our types can cause; the serialiser's type has one.
pub(crate) fn text() -> serde_json::Result<String> {
    // The schemas of OpenAPI 3.1 are those of JSON Schema, draft 2020-12.
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
    });
    let mut schemas = settings.into_generator();
    let mut paths = Map::new();
    for operation in operations() {
        let described = operation.describe(&mut schemas);
        let path = paths.entry(operation.path).or_insert_with(|| Value::Object(Map::new()));
        path[operation.method] = described;
    }
    let document = json!({
        "openapi": "3.1.0",
        "info": {
            "title": "nat64",
            "version": "1",
            "description": "The control API of nat64, over its unix socket. GET is for whoever can connect, the rest for root, \
                            the daemon's own user and members of control.group.",
            "license": { "name": "Apache-2.0 OR MIT", "identifier": "Apache-2.0 OR MIT" },
        },
        "servers": [{ "url": "http://localhost", "description": "over /run/nat64/nat64.sock" }],
        "paths": paths,
        "components": { "schemas": schemas.take_definitions(true) },
    });
    Ok(format!("{}\n", serde_json::to_string_pretty(&document)?))
}

fn problem(description: &str) -> Value {
    json!({ "description": description, "content": { "text/plain": { "schema": { "type": "string" } } } })
}

/// The fields of a type, each as a parameter of a query.
fn parameters(schema: &Schema) -> Vec<Value> {
    let required = schema.get("required").and_then(Value::as_array);
    let fields = schema.get("properties").and_then(Value::as_object);
    let parameter = |(name, field): (&String, &Value)| {
        let mut field = field.clone();
        let description = field.as_object_mut().and_then(|field| field.remove("description"));
        leave_null_out(&mut field);
        let mut parameter = json!({ "name": name, "in": "query", "schema": field });
        if let Some(description) = description {
            parameter["description"] = description;
        }
        if required.is_some_and(|required| required.contains(&json!(name))) {
            parameter["required"] = true.into();
        }
        parameter
    };
    fields.into_iter().flatten().map(parameter).collect()
}

/// A parameter that is not given is not there; there is no way to write null in a query.
fn leave_null_out(field: &mut Value) {
    let Some(field) = field.as_object_mut() else { return };
    field.retain(|key, value| key != "default" || !value.is_null());
    if let Some(kinds) = field.get_mut("type").and_then(Value::as_array_mut) {
        kinds.retain(|kind| kind != "null");
        if let [kind] = kinds.as_slice() {
            let kind = kind.clone();
            field.insert("type".to_owned(), kind);
        }
    }
    if let Some(Value::Array(kinds)) = field.remove("anyOf") {
        let kind = kinds.into_iter().find(|kind| kind["type"] != "null");
        field.extend(kind.and_then(|kind| kind.as_object().cloned()).into_iter().flatten());
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    use super::*;

    fn document() -> Value {
        serde_json::from_str(&text().unwrap()).unwrap()
    }

    #[test]
    fn the_reference_is_what_the_types_say() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reference/openapi.json");
        let expected = text().unwrap();
        if std::env::var_os("UPDATE_DOCS").is_some() {
            fs::write(&path, &expected).unwrap();
        }
        assert!(fs::read_to_string(path).unwrap() == expected, "UPDATE_DOCS=1 writes docs/reference/openapi.json anew");
    }

    /// Every method of every path that a router in `src/control` has.
    fn routes() -> BTreeSet<(String, String)> {
        let mut routes = BTreeSet::new();
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/control");
        for file in fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_file()) {
            let text = fs::read_to_string(file).unwrap();
            for route in text.split(".route(\"").skip(1).filter(|route| route.starts_with("/v1/")) {
                let (path, handlers) = route.split_once('"').unwrap();
                let handlers = handlers.lines().next().unwrap();
                for method in ["get", "post", "put", "patch", "delete"] {
                    if handlers.contains(&format!("{method}(")) {
                        routes.insert((path.to_owned(), method.to_owned()));
                    }
                }
            }
        }
        routes
    }

    #[test]
    fn every_route_is_described_and_no_other() {
        let document = document();
        let mut described = BTreeSet::new();
        for (path, methods) in document["paths"].as_object().unwrap() {
            described.extend(methods.as_object().unwrap().keys().map(|method| (path.clone(), method.clone())));
        }
        assert!(described.len() >= 18, "{described:?}");
        assert_eq!(described, routes());
    }

    #[test]
    fn every_reference_leads_to_a_schema() {
        let document = document();
        let text = document.to_string();
        let references: BTreeSet<&str> =
            text.split("\"$ref\":\"#").skip(1).map(|rest| rest.split_once('"').unwrap().0).collect();
        assert!(references.len() > 10, "{references:?}");
        for reference in references {
            assert!(document.pointer(reference).is_some(), "{reference}");
        }
    }

    #[test]
    fn parameters_are_those_of_the_query_types() {
        let document = document();
        let names = |path: &str, method: &str| -> Vec<String> {
            let parameters = document["paths"][path][method]["parameters"].as_array().unwrap();
            parameters.iter().map(|parameter| parameter["name"].as_str().unwrap().to_owned()).collect()
        };
        let mut close = names("/v1/sessions", "delete");
        close.sort_unstable();
        let all = [
            "address", "all", "dry-run", "external", "internal", "min-age", "port", "protocol", "remote", "reset",
            "state",
        ];
        assert_eq!(close, all);
        assert_eq!(document["paths"]["/v1/static"]["post"]["parameters"][0]["required"], true);
        assert!(document["paths"]["/v1/static"]["post"]["responses"]["403"].is_object());
        assert!(document["paths"]["/v1/explain"]["post"]["responses"].get("403").is_none());
    }
}
