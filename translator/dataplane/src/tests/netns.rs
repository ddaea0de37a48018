//! A network namespace per test.

use std::io::Write as _;
use std::process::Command;
use std::thread;

use rustix::thread::{UnshareFlags, unshare_unsafe};

/// Runs `test` on a thread in a network namespace of its own, which ends with it. Without the right to make one, says
/// so and runs nothing.
pub(crate) fn in_namespace(test: impl FnOnce() + Send) {
    if !rustix::process::geteuid().is_root() {
        let thread = thread::current();
        let name = thread.name().unwrap_or("a test");
        // Past the harness's capture, so that a passing run shows it. A closed stderr is no reason to fail.
        let _ = writeln!(std::io::stderr(), "skipped: needs root for network namespaces ({name})");
        return;
    }
    let run = || {
        // SAFETY: a network namespace has no part in memory safety; only CLONE_FILES would.
        unsafe { unshare_unsafe(UnshareFlags::NEWNET) }.expect("root may make a network namespace");
        test();
    };
    thread::scope(|scope| {
        // The test's harness shows this thread's panic.
        if let Err(panic) = scope.spawn(run).join() {
            std::panic::resume_unwind(panic);
        }
    });
}

/// Runs `ip` with these words, in the calling thread's namespace, and returns what it printed.
pub(crate) fn ip(words: &str) -> String {
    let output = Command::new("ip").args(words.split(' ')).output().expect("iproute2 is installed");
    assert!(output.status.success(), "ip {words}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}
