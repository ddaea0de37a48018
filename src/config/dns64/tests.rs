use crate::config::tests::{SMALLEST, complaint, settings};

#[test]
fn every_mistake_in_a_rule_is_shown_at_its_place_with_what_is_allowed() {
    const MISTAKES: &[(&str, &str)] = &[
        ("a group of nobody", "groups = [{ name = \"x\", synthesise = false }]"),
        ("a group without name", "groups = [{ clients = \"2001:db8::/48\" }]"),
        ("a group with an unknown key", "groups = [{ name = \"x\", client = \"2001:db8::/48\" }]"),
        ("a group called everybody", "groups = [{ name = \"everybody\", clients = \"2001:db8::/48\" }]"),
        ("a group without prefix", "groups = [{ name = \"x\", clients = \"::1\", pref64 = [] }]"),
        ("a group of a listener that is none", "groups = [{ name = \"x\", listen = \"192.0.2.1:54\" }]"),
        (
            "two groups of one name",
            "groups = [{ name = \"x\", clients = \"::1\" },\n  { name = \"x\", clients = \"::2\" }]",
        ),
        (
            "two groups of one range",
            "groups = [{ name = \"x\", clients = \"::1\" },\n  { name = \"y\", clients = \"::1\" }]",
        ),
        ("a domain that is none", "domains = [{ domain = \"a..b\", treatment = \"never\" }]"),
        ("an unknown treatment", "domains = [{ domain = \"a.b\", treatment = \"block\" }]"),
        (
            "a domain treated twice",
            "domains = [{ domain = \"a.b\", treatment = \"never\" },\n  { domain = [\"c\", \"A.b.\"], treatment = \"always\" }]",
        ),
        ("a route to nobody", "routes = [{ domain = \"a.b\", upstreams = [] }]"),
        ("trust anchors that are not there", "trust-anchors = \"/nonexistent/root.key\""),
        ("a route to us", "routes = [{ domain = \"a.b\", upstreams = \"::1\" }]"),
        ("a range without prefix", "ranges = [{ range = \"10.0.0.0/8\", pref64 = [] }]"),
        (
            "a range twice",
            "ranges = [{ range = \"10.0.0.0/8\", pref64 = \"2001:db8:a::/96\" },\n  { range = \"10.0.0.0/8\", pref64 = \"2001:db8:b::/96\" }]",
        ),
        ("nothing to tell when unavailable", "when-unavailable = []"),
        ("something else to tell when unavailable", "when-unavailable = \"drop\""),
        ("a payload too small", "edns-payload = 100"),
        ("a name too long", "nsid = \"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\""),
        ("nobody to answer", "clients = []"),
    ];
    let mut all = String::new();
    for (what, keys) in MISTAKES {
        let file = format!("[dns64]\nupstreams = \"192.0.2.53\"\n{keys}\n");
        all.push_str(&format!("---- {what}\n{}\n\n", complaint(&file)));
    }
    insta::assert_snapshot!(all);
}

#[test]
fn clients_are_ranges_and_what_is_known_of_this_host() {
    let clients = |value: &str| {
        let settings = settings(&format!("{SMALLEST}clients = {value}\n"));
        (settings.serves_links, settings.dns64.unwrap().clients)
    };
    let net = |text: &str| text.parse::<ipnet::IpNet>().unwrap();
    assert_eq!(clients("\"192.0.2.1\""), (false, vec![net("192.0.2.1/32")]));
    let (serves_links, nets) = clients("[\"auto\", \"2001:db8::/32\"]");
    assert!(serves_links && nets.contains(&net("2001:db8::/32")) && nets.contains(&net("10.0.0.0/8")));
}

#[test]
fn rules_reach_the_server_and_read_back() {
    let text = format!(
        "{SMALLEST}nsid = \"gw1\"\nptr = \"direct\"\nupstream-order = \"fastest\"\n\
         when-unavailable = [\"2001:db8:f::/96\"]\nexclude-a = \"10.1.0.0/16\"\n\
         ranges = [{{ range = \"10.0.0.0/8\", pref64 = [\"2001:db8:a::/96\", \"2001:db8:b::/96\"] }}]\n\
         [[dns64.groups]]\nname = \"phones\"\nclients = [\"2001:db8:5::/48\", \"192.0.2.0/24\"]\nsynthesise = false\n\
         [[dns64.groups]]\nname = \"port\"\nlisten = \"[::]:53\"\npref64 = \"2001:db8:c::/96\"\nexclude-aaaa = []\n\
         [[dns64.domains]]\ndomain = [\"corp.example\", \"Lab.example.\"]\ntreatment = \"strip-a\"\n\
         [[dns64.routes]]\ndomain = \"cluster.local\"\nupstreams = [\"10.96.0.10\", \"10.96.0.11:5353\"]\n"
    );
    let first = settings(&text);
    let config = first.dns64.clone().unwrap();

    assert_eq!((config.nsid.as_deref(), config.ptr), (Some("gw1"), dns64::PtrMode::Direct));
    assert_eq!(config.upstream_order, dns64::UpstreamOrder::Fastest);
    assert!(matches!(&config.when_unusable, dns64::WhenUnusable::Prefixes(prefixes) if prefixes.len() == 1));
    assert_eq!((config.exclude_a.len(), config.range_prefixes[0].prefixes.len()), (1, 2));
    assert_eq!((config.groups[0].synthesise, config.groups[0].clients.len()), (Some(false), 2));
    assert_eq!((config.groups[1].exclude_aaaa.as_deref(), config.groups[1].listen.len()), (Some(&[][..]), 1));
    let domains: Vec<&str> = config.domains.iter().map(|rule| rule.domain.as_str()).collect();
    assert_eq!(domains, ["corp.example", "lab.example"]);
    assert_eq!((config.routes[0].domain.as_str(), config.routes[0].upstreams.len()), ("cluster.local", 2));
    assert!(config.validate().is_ok());
    let second = settings(&first.to_toml().unwrap());
    assert_eq!(second.dns64, first.dns64);
}
