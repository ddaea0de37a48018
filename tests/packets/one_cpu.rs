use rustix::thread::{CpuSet, sched_getaffinity, sched_getcpu, sched_setaffinity};

/// Keeps the calling thread on one CPU, since the kernel keeps frames in order only where they are sent from one.
pub(crate) struct OneCpu {
    before: CpuSet,
}

impl OneCpu {
    pub(crate) fn new() -> Self {
        let before = sched_getaffinity(None).expect("a thread knows its CPUs");
        let mut here = CpuSet::new();
        here.set(sched_getcpu());
        sched_setaffinity(None, &here).expect("the CPU that a thread is on is one of its own");
        Self { before }
    }
}

impl Drop for OneCpu {
    fn drop(&mut self) {
        let _ = sched_setaffinity(None, &self.before);
    }
}
