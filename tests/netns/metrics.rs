//! Metrics, read by the programs that operators read them with.

use std::fs;
use std::time::Duration;

use serde_json::Value;

use crate::support::{Lab, Namespace, Outcome, Running, SERVER, Topology, eventually, skips_this_test, under_pref64};

#[test]
fn prometheus_scrapes_what_the_gateway_counts() {
    let Some(lab) = Lab::new(Topology { ipv4_mtus: &[1500], ..Topology::default() }) else { return };
    let nat64 = lab.nat64(&Lab::translator());
    lab.client.check(&format!("ping -c 3 -i 0.2 -W 2 {}", under_pref64(SERVER)));
    let _prometheus = prometheus(&lab);

    let echoes = "nat64_translated_packets_total{direction=\"6to4\",protocol=\"icmp\"}";
    eventually("the echo requests in Prometheus", Duration::from_secs(30), || value(&lab.gateway, echoes) == Some(3.0));
    assert_eq!(value(&lab.gateway, "up{job=\"nat64\"}"), Some(1.0));
    assert_eq!(value(&lab.gateway, "sum(nat64_sessions)"), Some(1.0));
    assert_eq!(value(&lab.gateway, "sum(nat64_tcp_sessions)"), Some(0.0));
    let batches = "nat64_packet_batch_seconds_bucket{le=\"+Inf\"} == on () nat64_packet_batch_seconds_count";
    assert!(value(&lab.gateway, batches).is_some(), "a histogram that Prometheus takes for one");
    assert!(value(&lab.gateway, "sum(nat64_worker_cpu_seconds_total)").is_some_and(|seconds| seconds > 0.0));
    nat64.stop();
}

#[test]
fn the_alerts_are_rules_that_prometheus_takes() {
    if skips_this_test() {
        return;
    }
    let rules = concat!(env!("CARGO_MANIFEST_DIR"), "/packaging/prometheus/nat64.rules.yml");
    let mut promtool = std::process::Command::new("promtool");
    promtool.args(["check", "rules", rules]);
    let said = Outcome::of(promtool, Duration::from_secs(20)).succeeded();
    assert!(said.contains("13 rules found"), "{said}");
}

#[test]
fn status_tells_what_flows_now() {
    let Some(lab) = Lab::new(Topology { ipv4_mtus: &[1500], ..Topology::default() }) else { return };
    let nat64 = lab.nat64(&Lab::translator());
    eventually("packets flow both ways", Duration::from_secs(30), || {
        lab.client.check(&format!("ping -q -c 20 -i 0.05 -s 1000 -W 2 {}", under_pref64(SERVER)));
        let status = nat64.ask(&["status", "--json"]).succeeded();
        let status: Value = serde_json::from_str(&status).expect("JSON");
        ["six_to_four", "four_to_six"].iter().all(|side| {
            let rate = &status["translator"]["rates"][side];
            let (packets, bits) = (rate["packets_per_second"].as_u64(), rate["bits_per_second"].as_u64());
            packets.zip(bits).is_some_and(|(packets, bits)| packets > 0 && bits >= packets * 8 * 1028)
        })
    });
    assert!(nat64.ask(&["status"]).succeeded().contains("bit/s"));
    eventually("nothing flows any more", Duration::from_secs(30), || {
        let status = nat64.ask(&["status", "--json"]).succeeded();
        let status: Value = serde_json::from_str(&status).expect("JSON");
        status["translator"]["rates"]["six_to_four"]["bits_per_second"] == 0
    });
    nat64.stop();
}

#[test]
fn probes_are_answered_while_it_runs() {
    let Some(lab) = Lab::new(Topology { ipv4_mtus: &[1500], ..Topology::default() }) else { return };
    let nat64 = lab.nat64(&Lab::translator());

    for probe in ["healthz", "readyz"] {
        let answer = lab.gateway.check(&format!("curl -sS --fail --max-time 5 http://127.0.0.1:9464/{probe}"));
        assert_eq!(answer, "ok\n");
    }
    nat64.stop();
}

/// A Prometheus on the gateway that scrapes the daemon there every second.
fn prometheus(lab: &Lab) -> Running {
    let home = lab.storage().join("prometheus");
    fs::create_dir_all(&home).expect("the lab directory is writable");
    let configuration = home.join("prometheus.yml");
    let text = "global: { scrape_interval: 1s }\n\
                scrape_configs: [ { job_name: nat64, static_configs: [ { targets: ['127.0.0.1:9464'] } ] } ]\n";
    fs::write(&configuration, text).expect("the lab directory is writable");
    let mut command = lab.gateway.command("prometheus");
    command.arg(format!("--config.file={}", configuration.display()));
    command.arg(format!("--storage.tsdb.path={}", home.join("data").display()));
    command.arg("--web.listen-address=127.0.0.1:9090");
    let process = Running::start(command, &home.join("log"));
    lab.gateway.wait_for_listener(9090);
    process
}

/// What Prometheus on the gateway answers to an expression that has one value.
fn value(gateway: &Namespace, expression: &str) -> Option<f64> {
    let mut command = gateway.command("curl");
    command.args(["-sS", "--max-time", "5", "-G", "http://127.0.0.1:9090/api/v1/query", "--data-urlencode"]);
    command.arg(format!("query={expression}"));
    let answer: Value = serde_json::from_str(&Outcome::of(command, Duration::from_secs(10)).stdout).ok()?;
    answer["data"]["result"][0]["value"][1].as_str()?.parse().ok()
}
