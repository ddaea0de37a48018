//! The search for the highest rate without loss.

use std::io;

use crate::trial::Outcome;

/// The rate found is at most this much below one that lost packets.
const RESOLUTION: f64 = 0.03;
/// Rates below this are not looked at, in packets per second.
const LEAST: f64 = 1000.0;
/// What a rate has to be kept to for a trial to count, as a share of it.
const KEPT: f64 = 0.98;

/// Halves the range between a rate that was good and one that was not, from `most` downwards (RFC 8219 §7.1, with the
/// binary search of RFC 2544). As JSON.
pub(crate) fn highest(most: f64, mut trial: impl FnMut(f64) -> io::Result<Outcome>) -> io::Result<String> {
    let (mut good, mut bad) = (0.0, most);
    let mut trials = 0;
    while bad - good > (bad * RESOLUTION).max(LEAST / 2.0) {
        let rate = f64::midpoint(good, bad);
        let outcome = trial(rate)?;
        trials += 1;
        if outcome.is_lossless() && keeps(&outcome, rate) { good = rate } else { bad = rate }
    }
    Ok(format!(r#"{{"packets_per_second":{good:.0},"trials":{trials}}}"#))
}

#[expect(clippy::cast_precision_loss, reason = "packets of a trial are far fewer than 2^52")]
fn keeps(outcome: &Outcome, rate: f64) -> bool {
    outcome.sent.packets as f64 >= outcome.sent.took.as_secs_f64() * rate * KEPT
}
