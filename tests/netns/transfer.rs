//! Bulk data both ways, checked byte for byte.

use std::time::Duration;

use serde_json::Value;

use crate::support::{Lab, SERVER, Topology, under_pref64};

const MIB: u64 = 1 << 20;
const PATIENCE: Duration = Duration::from_secs(180);

#[test]
fn a_gibibyte_arrives_intact_in_both_directions() {
    let Some(lab) = Lab::new(Topology::default()) else { return };
    let _nat64 = lab.nat64(&Lab::translator());
    lab.web_server().exchange(&lab, 1024 * MIB, PATIENCE);
}

#[test]
fn data_arrives_intact_over_cables_without_offload() {
    let Some(lab) = Lab::new(Topology { offload: false, ..Topology::default() }) else { return };
    let _nat64 = lab.nat64(&Lab::translator());
    lab.web_server().exchange(&lab, 64 * MIB, PATIENCE);
}

#[test]
fn data_arrives_intact_through_a_device_without_offload() {
    let Some(lab) = Lab::new(Topology::default()) else { return };
    let _nat64 = lab.nat64(&format!("{}[device]\noffload = false\n", Lab::translator()));
    lab.web_server().exchange(&lab, 64 * MIB, PATIENCE);
}

#[test]
fn data_arrives_intact_where_nothing_is_offloaded() {
    let Some(lab) = Lab::new(Topology { offload: false, ..Topology::default() }) else { return };
    let _nat64 = lab.nat64(&format!("{}[device]\noffload = false\n", Lab::translator()));
    lab.web_server().exchange(&lab, 64 * MIB, PATIENCE);
}

#[test]
fn iperf3_measures_tcp_both_ways_with_one_flow_and_with_four() {
    let Some(lab) = Lab::new(Topology::default()) else { return };
    let _nat64 = lab.nat64(&Lab::translator());
    for arguments in [&["--time", "1"][..], &["--time", "1", "--reverse"], &["--time", "1", "--parallel", "4"]] {
        let result = iperf(&lab, arguments);
        let speed = result["end"]["sum_received"]["bits_per_second"].as_f64().unwrap_or(0.0);
        assert!(speed > 50e6, "{arguments:?}: {speed} bit/s");
    }
}

#[test]
fn iperf3_measures_udp_both_ways_with_next_to_no_loss() {
    let Some(lab) = Lab::new(Topology::default()) else { return };
    let _nat64 = lab.nat64(&Lab::translator());
    for direction in ["--get-server-output", "--reverse"] {
        let result = iperf(&lab, &["--udp", "--bitrate", "20M", "--time", "2", direction]);
        let sum = &result["end"]["sum"];
        let lost = sum["lost_percent"].as_f64().unwrap_or(100.0);
        let packets = sum["packets"].as_u64().unwrap_or(0);
        assert!(packets > 1000 && lost < 5.0, "{direction}: {lost} % of {packets} packets lost");
    }
}

fn iperf(lab: &Lab, arguments: &[&str]) -> Value {
    let _server = lab.iperf_server();
    let mut command = lab.client.command("iperf3");
    command.args(["--json", "--client", &under_pref64(SERVER).to_string()]).args(arguments);
    let text = crate::support::Outcome::of(command, PATIENCE).succeeded();
    serde_json::from_str(&text).expect("iperf3 writes JSON")
}
