//! What timers cost when nothing happens.

use std::time::Duration;

use crate::flows::{Flow, Kind, lab};
use crate::support::SECOND;
use crate::time::thread_time;

const SESSIONS: u32 = 1_000_000;
/// How often the data plane lets timers run.
const INTERVAL: Duration = Duration::from_millis(100);
const CALLS: u32 = 36_000;

/// Prints which part of a processor a million established and silent TCP sessions take.
pub(crate) fn report() {
    let mut lab = lab(SESSIONS / 32_768 + 1);
    for number in 0..SESSIONS {
        Flow::number(number).open(&mut lab, Kind::Tcp);
    }
    lab.expire_at(lab.now + SECOND);
    let before = thread_time();
    let mut longest = Duration::ZERO;
    for _ in 0..CALLS {
        lab.now = lab.now + INTERVAL;
        let start = thread_time();
        lab.translator.expire(lab.now, &mut lab.worker);
        longest = longest.max(thread_time() - start);
    }
    let part = (thread_time() - before).as_secs_f64() / (INTERVAL * CALLS).as_secs_f64();
    println!("{SESSIONS} silent TCP sessions take {:.3} % of a processor; the longest call {longest:?}", part * 100.0);
}
