//! How much passes now: the counters of a second ago beside those of this moment.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::api::{Rate, Rates};
use super::server::View;

/// How far apart the counters are that are compared.
const PERIOD: Duration = Duration::from_secs(1);

/// The counters when they were last looked at, and what had passed by then.
#[derive(Debug, Default)]
pub(crate) struct Meter(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    before: Option<(Instant, [Totals; 2])>,
    rates: Option<Rates>,
}

/// What one direction has carried since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    /// Packets.
    pub(crate) packets: u64,
    /// Bytes.
    pub(crate) bytes: u64,
}

impl Meter {
    /// What passed in the last second; nothing in the first.
    pub(crate) fn rates(&self) -> Option<Rates> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).rates
    }

    /// Notes the counters of both directions.
    fn note(&self, now: Instant, totals: [Totals; 2]) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = state.before.replace((now, totals));
        state.rates = before.and_then(|(then, before)| between(now.checked_duration_since(then)?, before, totals));
    }
}

/// Keeps the meter of a daemon for as long as there is one.
pub(crate) async fn follow(view: Weak<View>) {
    let mut ticks = tokio::time::interval(PERIOD);
    loop {
        ticks.tick().await;
        let Some(view) = view.upgrade() else { return };
        note(&view);
    }
}

fn note(view: &Arc<View>) {
    if let Some(totals) = view.translator.as_ref().and_then(super::server::TranslatorView::totals) {
        view.meter.note(Instant::now(), totals);
    }
}

fn between(time: Duration, before: [Totals; 2], after: [Totals; 2]) -> Option<Rates> {
    let millis = u64::try_from(time.as_millis()).ok().filter(|millis| *millis > 0)?;
    let per_second = |before: u64, after: u64| after.saturating_sub(before).saturating_mul(1000) / millis;
    let rate = |side: usize| Rate {
        packets_per_second: per_second(before[side].packets, after[side].packets),
        bits_per_second: per_second(before[side].bytes, after[side].bytes).saturating_mul(8),
    };
    Some(Rates { six_to_four: rate(0), four_to_six: rate(1) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_what_came_between_two_looks() {
        let (meter, start) = (Meter::default(), Instant::now());
        let totals = |packets| [Totals { packets, bytes: packets * 100 }, Totals::default()];
        meter.note(start, totals(1000));
        assert_eq!(meter.rates(), None, "nothing to compare with");
        meter.note(start + Duration::from_millis(500), totals(1500));
        let rates = meter.rates().unwrap();
        assert_eq!((rates.six_to_four.packets_per_second, rates.six_to_four.bits_per_second), (1000, 800_000));
        assert_eq!(rates.four_to_six, Rate::default());
        meter.note(start + Duration::from_millis(1500), totals(1500));
        assert_eq!(meter.rates().unwrap().six_to_four, Rate::default());
    }
}
