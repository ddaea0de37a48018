//! What fuzzing has found worth keeping, run again: `fuzz/corpus` through the bodies of the targets, without a fuzzer.

#[expect(unreachable_pub, reason = "the fuzz targets are another crate")]
#[path = "../../../../fuzz/src/bodies/mod.rs"]
mod bodies;

use std::path::Path;

/// Runs every input of a target's corpus.
fn replay(target: &str, body: impl Fn(&[u8])) {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
    let entries = std::fs::read_dir(&corpus).unwrap_or_else(|error| panic!("{}: {error}", corpus.display()));
    let mut inputs = 0;
    for entry in entries {
        body(&std::fs::read(entry.unwrap().path()).unwrap());
        inputs += 1;
    }
    assert!(inputs > 0, "no corpus in {}", corpus.display());
}

#[test]
fn any_bytes_can_be_parsed() {
    replay("parse", bodies::parse::run);
}

#[test]
fn any_sequence_of_packets_leaves_the_tables_in_order() {
    replay("translate_with_state", bodies::translate_with_state::run);
}

#[test]
fn any_icmp_error_is_translated_well_or_dropped() {
    replay("icmp_errors", bodies::icmp_errors::run);
}

#[test]
fn any_fragments_are_translated_well_or_dropped() {
    replay("fragments", bodies::fragments::run);
}
