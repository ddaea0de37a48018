use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::State;
use axum::http::StatusCode;
use http_body_util::BodyExt;
use nat64_core::DropReason;
use nat64_dataplane::IoStats;
use tokio::net::TcpListener;

use super::measured::{Measured, Times};
use super::{bind, healthz, metrics, page, readyz};
use crate::control::server::View;
use crate::control::testing::busy;

fn measured(workers: Vec<IoStats>) -> Measured {
    let cpu_seconds = workers.iter().map(|_| Some(1.5)).collect();
    let times = Times { buckets: vec![(0.001, 3), (f64::INFINITY, 1)], sum: 0.25 };
    Measured {
        panics: vec![("worker", 1), ("dns", 0)],
        journal_failures: Some(2),
        workers,
        cpu_seconds,
        packets: times.clone(),
        answers: vec![("native", times.clone()), ("servfail", times.clone())],
        upstreams: times,
    }
}

fn busy_page() -> String {
    let worker = |reads| IoStats { reads, ..IoStats::default() };
    page::render(&busy(), &measured(vec![worker(10), worker(20)])).unwrap()
}

/// The names of the families that a page has, without prefix and suffix.
fn families(page: &str) -> BTreeSet<&str> {
    page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect()
}

#[test]
fn the_page_says_what_the_status_says() {
    let page = busy_page();

    for line in [
        "nat64_build_info{version=\"0.1.0\"} 1",
        "nat64_translated_packets_total{direction=\"4to6\",protocol=\"tcp\"} 3400000",
        "nat64_dropped_packets_total{reason=\"no-mapping\"} 1234",
        "nat64_dropped_packets_total{reason=\"pool-exhausted\"} 0",
        "nat64_sessions{protocol=\"udp\"} 310",
        "nat64_pool_ports 225535",
        "nat64_pool_blocks 220",
        "nat64_pool_blocks_taken 61",
        "nat64_worker_reads_total{worker=\"1\"} 20",
        "nat64_dns64_queries_udp_total 4321",
        "nat64_tcp_sessions{state=\"ESTABLISHED\"} 1200",
        "nat64_worker_cpu_seconds_total{worker=\"1\"} 1.5",
        "nat64_packet_batch_seconds_bucket{le=\"0.001\"} 3",
        "nat64_packet_batch_seconds_bucket{le=\"+Inf\"} 4",
        "nat64_panics_total{thread=\"worker\"} 1",
        "nat64_journal_failures_total 2",
        "nat64_dns64_answer_seconds_count{outcome=\"native\"} 4",
        "nat64_dns64_answer_seconds_bucket{le=\"0.001\",outcome=\"servfail\"} 3",
        "nat64_dns64_upstream_seconds_sum 0.25",
    ] {
        assert!(page.lines().any(|written| written == line), "{line} is not in\n{page}");
    }
    assert!(page.ends_with("# EOF\n"));
}

#[test]
fn every_drop_reason_has_its_series_from_the_start() {
    let page = busy_page();

    let series = page.lines().filter(|line| line.starts_with("nat64_dropped_packets_total{")).count();
    assert_eq!(series, DropReason::ALL.len());
}

#[test]
fn the_reference_describes_every_family_and_no_other() {
    let reference = include_str!("../../docs/reference/metrics.md");
    let described: BTreeSet<&str> =
        reference.lines().filter_map(|line| line.strip_prefix("| `nat64_")?.split('`').next()).collect();
    let counters = serde_json::to_value(dns64::Stats::default().snapshot()).unwrap();
    let mut status = busy();
    status.dns64.as_mut().unwrap().counters = serde_json::from_value(counters).unwrap();
    let page = page::render(&status, &measured(vec![IoStats::default()])).unwrap();

    let served: BTreeSet<&str> =
        families(&page).into_iter().filter_map(|family| family.strip_prefix("nat64_")).collect();
    assert_eq!(described, served);
}

/// Names of families in a text, as Prometheus has their series.
fn named(text: &str) -> BTreeSet<String> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words = text.split(|c: char| !is_part(c)).filter_map(|word| word.strip_prefix("nat64_"));
    // Counters and buckets have an ending of their own.
    let family =
        |word: &str| word.strip_suffix("_total").or_else(|| word.strip_suffix("_bucket")).unwrap_or(word).to_owned();
    words.map(family).collect()
}

#[test]
fn alerts_and_dashboard_ask_for_families_that_exist() {
    let alerts = include_str!("../../packaging/prometheus/nat64.rules.yml");
    let dashboard = include_str!("../../packaging/grafana/nat64.json");
    let described = named(include_str!("../../docs/reference/metrics.md"));

    serde_json::from_str::<serde_json::Value>(dashboard).unwrap();
    for text in [alerts, dashboard] {
        let unknown: Vec<String> = named(text).difference(&described).cloned().collect();
        assert!(unknown.is_empty() && named(text).len() > 5, "{unknown:?}");
    }
}

#[tokio::test]
async fn a_scraper_is_told_the_format_and_probes_are_answered() {
    let view = View {
        started: Instant::now(),
        wishes: tokio::sync::mpsc::channel(1).0,
        meter: crate::control::rates::Meter::default(),
        translator: None,
        dns64: None,
        session_logs: std::sync::Mutex::default(),
    };
    let view = State(Arc::new(view));

    let metrics = metrics(view.clone()).await;
    let (healthz, readyz) = (healthz(view.clone()).await, readyz(view).await);

    assert!(metrics.headers()["content-type"].to_str().unwrap().starts_with("application/openmetrics-text"));
    let page = metrics.into_body().collect().await.unwrap().to_bytes();
    assert!(page.starts_with(b"# HELP nat64_build_info"));
    assert_eq!((healthz.status(), readyz.status()), (StatusCode::OK, StatusCode::OK));
}

#[tokio::test]
async fn an_address_that_is_taken_is_named() {
    let holder = TcpListener::bind("127.0.0.1:0").await.unwrap();

    let (address, _) = bind(&[holder.local_addr().unwrap()]).await.unwrap_err();

    assert_eq!(address, holder.local_addr().unwrap());
}
