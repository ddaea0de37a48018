//! How busy the whole machine is.

use std::fs;
use std::io;
use std::thread;
use std::time::Instant;

/// Ticks of `/proc/stat` per second, on every architecture that Linux still has.
const TICKS_PER_SECOND: f64 = 100.0;

/// A point from which the time that CPUs were not idle is counted.
pub(crate) struct Meter {
    started: Instant,
    idle: f64,
}

impl Meter {
    pub(crate) fn start() -> io::Result<Self> {
        Ok(Self { started: Instant::now(), idle: idle_seconds()? })
    }

    /// CPU seconds, over all CPUs and whoever used them. Idle time is what the kernel accounts exactly.
    pub(crate) fn busy_seconds(&self) -> io::Result<f64> {
        let cpus = thread::available_parallelism()?.get();
        let idle = idle_seconds()? - self.idle;
        Ok((self.started.elapsed().as_secs_f64() * f64::from(u32::try_from(cpus).unwrap_or(1)) - idle).max(0.0))
    }
}

/// Idle time and time spent waiting for disks since boot, over all CPUs.
fn idle_seconds() -> io::Result<f64> {
    let stat = fs::read_to_string("/proc/stat")?;
    let fields = stat.lines().next().unwrap_or_default().split_whitespace().skip(4).take(2);
    Ok(fields.filter_map(|field| field.parse::<f64>().ok()).sum::<f64>() / TICKS_PER_SECOND)
}
