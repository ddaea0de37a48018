//! Two workers against one, on the same flows and the same shards.

use std::thread;
use std::time::Duration;

use nat64_core::{Translator, Verdict, Worker};

use crate::flows::{Flow, Kind, Template};
use crate::support::Lab;
use crate::time::{Xorshift, filled, thread_time};

const SESSIONS: u32 = 100_000;
const PACKETS: u32 = 1 << 21;
const ROUNDS: usize = 7;

/// Prints how many packets two workers translate in a second of their processors, in parts of what one does.
pub(crate) fn report() {
    let (Lab { translator, now, .. }, _) = filled(SESSIONS);
    let carry = |seed: u32| carry(&translator, now, seed);
    let mut ratios: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let alone = rate(carry(1));
            let (one, other) = thread::scope(|scope| {
                let other = scope.spawn(|| carry(2));
                (carry(1), other.join().unwrap())
            });
            (rate(one) + rate(other)) / alone
        })
        .collect();
    ratios.sort_by(f64::total_cmp);
    println!("two workers carry {:.2} times the packets of one (median of {ROUNDS} rounds)", ratios[ROUNDS / 2]);
}

fn rate(time: Duration) -> f64 {
    f64::from(PACKETS) / time.as_secs_f64()
}

fn carry(translator: &Translator, now: nat64_core::Timestamp, seed: u32) -> Duration {
    let mut worker = Worker::new();
    let mut batch = translator.batch(now, &mut worker);
    let mut template = Template::new(Kind::Udp);
    let mut random = Xorshift(seed);
    let before = thread_time();
    for _ in 0..PACKETS {
        template.write(Flow::number(random.below(SESSIONS)));
        assert!(matches!(batch.translate(&mut template.packet()), Verdict::Translated(_)), "the session exists");
    }
    thread_time() - before
}
