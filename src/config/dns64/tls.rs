//! `[dns64.tls]`: encrypted queries, of clients and to upstreams (RFC 7858, RFC 8484).

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{Dns64Section, all_upstreams};
use crate::config::place::{Located, Place, Problem};
use crate::config::value::{Many, as_text};

/// `[dns64.tls]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case", expecting = "a table")]
pub(crate) struct TlsSection {
    listen: Many<ListenAt<853>>,
    https_listen: Many<ListenAt<443>>,
    https_path: Located<HttpPath>,
    certificate: Located<FilePath>,
    key: Located<FilePath>,
    upstream_ca: Located<FilePath>,
}

impl Default for TlsSection {
    fn default() -> Self {
        let crate_default = dns64::Config::new(Vec::new(), Vec::new());
        Self {
            listen: Many::default([]),
            https_listen: Many::default([]),
            https_path: Located::default(HttpPath(crate_default.https_path)),
            certificate: Located::default(FilePath::default()),
            key: Located::default(FilePath::default()),
            upstream_ca: Located::default(FilePath::default()),
        }
    }
}

impl TlsSection {
    /// The addresses that encrypted queries are taken on.
    pub(super) fn listeners(&self) -> impl Iterator<Item = SocketAddr> {
        self.listen.values().map(|listen| listen.0).chain(self.https_listen.values().map(|listen| listen.0))
    }

    /// Puts what the server is told about encrypted queries into `config`.
    pub(super) fn apply(&self, config: &mut dns64::Config) {
        config.listen_tls = self.listen.values().map(|listen| listen.0).collect();
        config.listen_https = self.https_listen.values().map(|listen| listen.0).collect();
        config.https_path.clone_from(&self.https_path.value.0);
        config.upstream_ca = self.upstream_ca.value.path().map(Path::to_owned);
        let files = self.certificate.value.path().zip(self.key.value.path());
        config.certificate = files.map(|(certificate, key)| dns64::CertificateFiles {
            certificate: certificate.to_owned(),
            key: key.to_owned(),
        });
    }
}

/// Checks the section, and the files that it names.
///
/// # Errors
/// The first rule that is broken.
pub(super) fn check(section: &Dns64Section) -> Result<(), Problem> {
    let tls = &section.tls;
    listeners(section)?;
    authorities(section)?;
    let listener = place_of_first(&tls.listen).or_else(|| place_of_first(&tls.https_listen));
    match (tls.certificate.value.path(), tls.key.value.path(), listener) {
        (None, None, None) => Ok(()),
        (None, None, Some(listener)) => Err(listener.problem(
            "queries over TLS or HTTPS need a certificate; give dns64.tls.certificate and dns64.tls.key, files in PEM form",
        )),
        (Some(_), None, _) => Err(tls.certificate.problem("the certificate has no key; give dns64.tls.key, too")),
        (None, Some(_), _) => Err(tls.key.problem("the key has no certificate; give dns64.tls.certificate, too")),
        (Some(_), Some(_), None) => Err(tls.certificate.problem(
            "nobody is shown this certificate; give dns64.tls.listen, dns64.tls.https-listen, or both, for example \
             listen = \"[::]:853\"",
        )),
        (Some(certificate), Some(key), Some(_)) => files(tls, certificate, key),
    }
}

fn files(tls: &TlsSection, certificate: &Path, key: &Path) -> Result<(), Problem> {
    dns64::check_certificate(certificate, key).map_err(|error| {
        let is_key = matches!(&error, dns64::Error::Certificate { path, .. } if path == key);
        if is_key { tls.key.problem(error.to_string()) } else { tls.certificate.problem(error.to_string()) }
    })
}

/// The authorities of upstreams' certificates must be there if an upstream has one, or if a file is named.
fn authorities(section: &Dns64Section) -> Result<(), Problem> {
    let tls = &section.tls;
    let encrypted = all_upstreams(section).find(|upstream| upstream.value.0.is_encrypted());
    let file = tls.upstream_ca.value.path();
    let refused = |error: dns64::Error| match (file, encrypted) {
        (None, Some(upstream)) => {
            upstream.problem(format!("{error}, or install those of the system, or give dns64.tls.upstream-ca"))
        }
        _ => tls.upstream_ca.problem(error.to_string()),
    };
    if file.is_none() && encrypted.is_none() {
        return Ok(());
    }
    dns64::check_authorities(file).map_err(refused)
}

/// A place without its value.
fn place_of_first<T>(many: &Many<T>) -> Option<Located<()>> {
    many.0.first().map(|one| Located { value: (), place: one.place.clone() })
}

/// No address may be listened on twice, whatever is spoken there over TCP.
fn listeners(section: &Dns64Section) -> Result<(), Problem> {
    let all = all_listeners(section);
    for (index, one) in all.iter().enumerate().skip(section.listen.0.len()) {
        if one.value.ip().is_multicast() {
            return Err(one.problem(format!("`{}` is multicast; listen on a unicast address or on [::]", one.value)));
        }
        if let Some(other) = all[..index].iter().find(|other| other.value == one.value && one.value.port() != 0) {
            let message = format!("`{}` is listened on already; give each its own port", one.value);
            return Err(one.problem(message).also(other, "the other one is here"));
        }
    }
    Ok(())
}

/// Every address that is listened on, those for plain queries first.
pub(super) fn all_listeners(section: &Dns64Section) -> Vec<Located<SocketAddr>> {
    let at = |value, place: &Place| Located { value, place: place.clone() };
    let plain = section.listen.0.iter().map(|one| at(one.value.0, &one.place));
    let tls = section.tls.listen.0.iter().map(|one| at(one.value.0, &one.place));
    plain.chain(tls).chain(section.tls.https_listen.0.iter().map(|one| at(one.value.0, &one.place))).collect()
}

/// An address with a port, which is `PORT` if it is not written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct ListenAt<const PORT: u16>(SocketAddr);

impl<const PORT: u16> FromStr for ListenAt<PORT> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(socket) = text.parse() {
            return Ok(Self(socket));
        }
        let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
        match bare.parse::<IpAddr>() {
            Ok(address) => Ok(Self(SocketAddr::new(address, PORT))),
            Err(_) => Err(format!("`{text}` is no address; write [::]:{PORT}, 192.0.2.1 or 2001:db8::1")),
        }
    }
}

impl<const PORT: u16> fmt::Display for ListenAt<PORT> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A file by its absolute name, or none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct FilePath(String);

impl FilePath {
    /// The file, if one is named.
    pub(super) fn path(&self) -> Option<&Path> {
        (!self.0.is_empty()).then(|| Path::new(&self.0))
    }
}

impl FromStr for FilePath {
    type Err = String;

    fn from_str(path: &str) -> Result<Self, Self::Err> {
        if path.is_empty() || path.starts_with('/') {
            return Ok(Self(path.to_owned()));
        }
        Err(format!("`{path}` depends on the working directory; allowed is a path from its first slash on"))
    }
}

impl fmt::Display for FilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A path of a URI.
#[derive(Clone, Debug, PartialEq, Eq)]
struct HttpPath(String);

impl FromStr for HttpPath {
    type Err = String;

    fn from_str(path: &str) -> Result<Self, Self::Err> {
        if dns64::is_https_path(path) {
            return Ok(Self(path.to_owned()));
        }
        Err(format!("`{path}` is no path of a URI; write it from its first slash on, for example /dns-query"))
    }
}

impl fmt::Display for HttpPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

as_text! {
    ListenAt<853>: "an address, with a port if it is not 853, such as \"[::]:853\"";
    ListenAt<443>: "an address, with a port if it is not 443, such as \"[::]:443\"";
    FilePath: "the path of a file, from its first slash on";
    HttpPath: "a path of a URI such as \"/dns-query\"";
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use crate::config::{Overrides, own::nobody, place::Source, resolve};

    fn settings(tls: &str) -> Result<dns64::Config, String> {
        let text = format!("[dns64]\nupstreams = \"192.0.2.53\"\n[dns64.tls]\n{tls}\n");
        let source = Source { path: Some(PathBuf::from("nat64.toml")), text };
        let settings = resolve(source, &Overrides::default(), nobody).map_err(|error| error.to_string())?;
        Ok(settings.dns64.unwrap())
    }

    /// Files of a certificate and its key, gone when dropped.
    struct Files(PathBuf);

    impl Files {
        fn new(name: &str) -> Self {
            let directory = std::env::temp_dir().join(format!("nat64-tls-{name}-{}", std::process::id()));
            std::fs::create_dir_all(&directory).unwrap();
            let made = rcgen::generate_simple_self_signed(["dns.example".to_owned()]).unwrap();
            std::fs::write(directory.join("cert.pem"), made.cert.pem()).unwrap();
            std::fs::write(directory.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
            Self(directory)
        }

        fn keys(&self, certificate: &str, key: &str) -> String {
            let path = |name| self.0.join(name);
            format!("certificate = {:?}\nkey = {:?}\n", path(certificate), path(key))
        }
    }

    impl Drop for Files {
        fn drop(&mut self) {
            let _gone = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_certificate_and_listeners_switch_encrypted_queries_on() {
        let files = Files::new("listeners");
        let keys = files.keys("cert.pem", "key.pem");
        let config =
            settings(&format!("{keys}listen = \"::\"\nhttps-listen = [\"[::]\", \"192.0.2.1:8443\"]")).unwrap();
        assert_eq!(config.listen_tls, ["[::]:853".parse().unwrap()]);
        assert_eq!(config.listen_https, ["[::]:443".parse().unwrap(), "192.0.2.1:8443".parse().unwrap()]);
        assert_eq!(config.https_path, "/dns-query");
        assert!(config.certificate.is_some() && config.validate().is_ok());
        let swapped = settings(&format!("{}listen = \"::\"", files.keys("key.pem", "cert.pem"))).unwrap_err();
        assert!(swapped.contains("nat64.toml:4:15: ") && swapped.contains("holds no certificate"), "{swapped}");
        let same = settings(&format!("{}listen = \"::\"", files.keys("cert.pem", "cert.pem"))).unwrap_err();
        assert!(same.contains("nat64.toml:5:7: ") && same.contains("private key"), "{same}");
        let unused = settings(&keys).unwrap_err();
        assert!(unused.contains("nobody is shown this certificate"), "{unused}");
    }

    #[test]
    fn upstreams_may_be_asked_over_tls_and_https() {
        let files = Files::new("upstreams");
        let ca = files.0.join("cert.pem");
        let text = |upstreams: &str, ca: &str| Source {
            path: Some(PathBuf::from("nat64.toml")),
            text: format!("[dns64]\nupstreams = {upstreams}\n[dns64.tls]\nupstream-ca = {ca:?}\n"),
        };
        let both = "[\"tls://192.0.2.53#dns.example\", \"https://[2001:db8::53]/dns-query\"]";
        let settings = resolve(text(both, ca.to_str().unwrap()), &Overrides::default(), nobody).unwrap();
        let config = settings.dns64.as_ref().unwrap();
        assert!(config.upstreams.iter().all(dns64::Upstream::is_encrypted));
        assert_eq!(config.upstream_ca.as_deref(), Some(&*ca));
        let again = Source { path: None, text: settings.to_toml().unwrap() };
        assert_eq!(resolve(again, &Overrides::default(), nobody).unwrap().dns64.as_ref(), Some(config));
        for (upstream, said) in [
            ("\"tls://dns.example\"", "`tls://dns.example` is no upstream; write 192.0.2.53"),
            ("\"tls://0.0.0.0\"", "cannot be asked"),
            ("\"tls://127.0.0.1:53\"", "is this server itself"),
        ] {
            let complaint = resolve(text(upstream, ""), &Overrides::default(), nobody).unwrap_err().to_string();
            assert!(complaint.starts_with("nat64.toml:2:13: ") && complaint.contains(said), "{complaint}");
        }
    }

    #[test]
    fn what_is_missing_or_there_twice_is_shown_at_its_place() {
        for (tls, place, said) in [
            ("listen = \"::\"", "4:10", "need a certificate"),
            ("https-listen = \"::\"", "4:16", "need a certificate"),
            ("certificate = \"/c\"", "4:15", "has no key"),
            ("key = \"/k\"", "4:7", "has no certificate"),
            ("key = \"k\"", "4:7", "depends on the working directory"),
            ("listen = \"dns.example\"", "4:10", "`dns.example` is no address; write [::]:853"),
            ("listen = \"ff02::1\"", "4:10", "multicast"),
            ("listen = \"[::]:53\"", "4:10", "`[::]:53` is listened on already"),
            ("listen = \"::\"\nhttps-listen = \"[::]:853\"", "5:16", "`[::]:853` is listened on already"),
            ("upstream-ca = \"/nonexistent/ca.pem\"", "4:15", "/nonexistent/ca.pem: "),
            ("https-path = \"dns-query\"", "4:14", "no path of a URI"),
            ("https-path = \"/q?x\"", "4:14", "no path of a URI"),
        ] {
            let complaint = settings(tls).unwrap_err();
            let is_there = complaint.starts_with(&format!("nat64.toml:{place}: ")) && complaint.contains(said);
            assert!(is_there, "{tls}: {complaint}");
        }
    }
}
