//! DNS over TLS and HTTPS with the programs that people use: `kdig`, `curl` and Unbound, as clients and as an upstream.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;

use crate::support::{GATEWAY, Lab, Namespace, Running, SERVER, Topology, eventually};

const WEB6: &str = "64:ff9b:1::c633:640a";

/// What the certificates are for.
const NAME: &str = "dns.example";

#[test]
fn kdig_and_curl_ask_over_tls_and_https() {
    let Some(lab) = Lab::new(Topology::default()) else { return };
    let _names = lab.name_server();
    let identity = Identity::new(&lab, "gateway", &GATEWAY.to_string());
    let _nat64 = lab.nat64(&encrypting(&identity));
    let certificate = identity.certificate.display();
    let kdig = |how: &str| {
        let line = format!("kdig +short +tls-ca={certificate} +tls-host={NAME} {how} @{GATEWAY} AAAA legacy.example");
        lab.client.check(&line).trim().to_owned()
    };
    assert_eq!(kdig("+tls"), WEB6);
    assert_eq!(kdig(&format!("+https={NAME}/dns-query")), WEB6);
    assert_eq!(kdig(&format!("+https={NAME}/dns-query +https-get")), WEB6);

    // A page by a name that nothing but DNS over HTTPS tells.
    let web = lab.web_server();
    fs::write(web.root().join("index.html"), "hello").expect("the lab directory is writable");
    let line = format!(
        "curl -sS --fail --max-time 8 --cacert {certificate} --doh-url https://[{GATEWAY}]/dns-query http://legacy.example/"
    );
    assert_eq!(lab.client.check(&line), "hello");
}

#[test]
fn unbound_forwards_over_tls_and_takes_a_renewed_certificate() {
    let Some(lab) = Lab::new(Topology::default()) else { return };
    let _names = lab.name_server();
    let identity = Identity::new(&lab, "gateway", &GATEWAY.to_string());
    let nat64 = lab.nat64(&encrypting(&identity));
    let trusted = lab.directory().join("trusted.pem");
    fs::copy(&identity.certificate, &trusted).expect("the lab directory is writable");
    let forward =
        format!("forward-zone:\n  name: \".\"\n  forward-tls-upstream: yes\n  forward-addr: {GATEWAY}@853#{NAME}\n");
    let server = format!("  interface: 127.0.0.1\n  tls-cert-bundle: {}\n", trusted.display());
    let local = unbound(&lab, &lab.client, &server, &forward);
    lab.client.wait_for_listener(53);
    let ask = "dig +short +tries=1 +time=5 @127.0.0.1 AAAA legacy.example";
    let asked = lab.client.run(ask, PATIENCE);
    assert_eq!(asked.stdout.trim(), WEB6, "{}", local.log());
    drop(local);

    identity.renew(&GATEWAY.to_string());
    nat64.signal(Signal::HUP);
    let kdig = format!(
        "kdig +short +tls +tls-ca={} +tls-host={NAME} @{GATEWAY} AAAA legacy.example",
        identity.certificate.display()
    );
    eventually("the new certificate is shown", PATIENCE, || lab.client.run(&kdig, PATIENCE).stdout.trim() == WEB6);
    let old = format!(
        "kdig +short +retry=0 +tls +tls-ca={} +tls-host={NAME} @{GATEWAY} AAAA legacy.example",
        trusted.display()
    );
    assert_ne!(lab.client.run(&old, PATIENCE).stdout.trim(), WEB6);

    fs::write(&identity.key, "no key").expect("the lab directory is writable");
    nat64.signal(Signal::HUP);
    eventually("the bad file is said", PATIENCE, || nat64.log().contains("stays in use"));
    assert_eq!(lab.client.check(&kdig).trim(), WEB6);
}

#[test]
fn an_upstream_over_tls_is_unbound() {
    let Some(lab) = Lab::new(Topology::default()) else { return };
    let _names = lab.name_server();
    let identity = Identity::new(&lab, "server", &SERVER.to_string());
    let server = format!(
        "  interface: {SERVER}@853\n  tls-service-key: {}\n  tls-service-pem: {}\n  do-not-query-localhost: no\n",
        identity.key.display(),
        identity.certificate.display()
    );
    let stub = format!("stub-zone:\n  name: \"example\"\n  stub-addr: {SERVER}@53\n");
    let _resolver = unbound(&lab, &lab.server, &server, &stub);
    lab.server.wait_for_listener(853);
    let nat64 = lab.nat64(&format!(
        "{}[dns64]\nupstreams = [\"tls://{SERVER}#{NAME}\"]\n[dns64.tls]\nupstream-ca = \"{}\"\n",
        Lab::translator(),
        identity.certificate.display()
    ));
    let ask = format!("dig +short +tries=1 +time=5 @{GATEWAY} AAAA legacy.example");
    assert_eq!(lab.client.check(&ask).trim(), WEB6);
    let status = nat64.ask(&["status"]).succeeded();
    assert!(status.contains(&format!("tls://{SERVER}:853#{NAME}")), "{status}");
    nat64.stop();
}

const PATIENCE: Duration = Duration::from_secs(15);

fn encrypting(identity: &Identity) -> String {
    format!(
        "{}[dns64]\nupstreams = [\"{SERVER}\"]\n[dns64.tls]\nlisten = \"::\"\nhttps-listen = \"::\"\n\
         certificate = \"{}\"\nkey = \"{}\"\n",
        Lab::translator(),
        identity.certificate.display(),
        identity.key.display()
    )
}

/// A certificate that signs itself, and its key.
struct Identity {
    certificate: PathBuf,
    key: PathBuf,
}

impl Identity {
    fn new(lab: &Lab, name: &str, address: &str) -> Self {
        let path = |what: &str| lab.directory().join(format!("{name}-{what}.pem"));
        let identity = Self { certificate: path("certificate"), key: path("key") };
        identity.renew(address);
        identity
    }

    fn renew(&self, address: &str) {
        let made = rcgen::generate_simple_self_signed([NAME.to_owned(), address.to_owned()]).expect("a certificate");
        write(&self.certificate, &made.cert.pem());
        write(&self.key, &made.signing_key.serialize_pem());
    }
}

fn write(path: &Path, text: &str) {
    fs::write(path, text).expect("the lab directory is writable");
}

/// An Unbound in a namespace.
fn unbound(lab: &Lab, place: &Namespace, server: &str, zone: &str) -> Running {
    let configuration = lab.directory().join("unbound.conf");
    let text = format!(
        "server:\n{server}  username: \"\"\n  chroot: \"\"\n  directory: \"{}\"\n  pidfile: \"\"\n  use-syslog: no\n  \
         access-control: 0.0.0.0/0 allow\n  access-control: ::/0 allow\n  module-config: \"iterator\"\n  num-threads: 1\n  \
         local-zone: \"example.\" transparent\nremote-control:\n  control-enable: no\n{zone}",
        lab.directory().display()
    );
    write(&configuration, &text);
    let mut command = place.command("unbound");
    command.arg("-d").arg("-c").arg(&configuration);
    Running::start(command, &lab.directory().join("unbound.log"))
}
