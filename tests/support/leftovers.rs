//! Labs go with what they are made of when they are dropped. A killed process drops nothing, and neither does one that ends
//! with a lab that its tests share.

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{fs, mem};

use super::lab::scratch_roots;
use super::namespace;

/// Waits for the end of its standard input, which is the end of whoever holds it, and removes the labs named so. What runs
/// in them has nothing to put in order that does not go with them.
const REMOVE_LABS: &str = r#"
    . "$1"
    read -r _
    for lab in /run/netns/"$2"-*; do netns_signal KILL "${lab##*/}"; done
    lab_remove "$2"
    rm -rf "$3/$2"-* "$4/$2"-*
"#;

/// Sees to it that labs whose names begin with `prefix` and a process id do not outlive that process, and removes those
/// that did.
pub(super) fn look_after(prefix: &str) {
    sweep(prefix);
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("netns-scripts/lib.sh");
    let mut command = Command::new("bash");
    command.args(["-c", REMOVE_LABS, "bash"]).arg(scripts).arg(format!("{prefix}-{}", std::process::id()));
    // In a group of its own, so that what interrupts the tests leaves it to its work.
    command.args(scratch_roots()).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
    let keeper = command.spawn().expect("bash can be run");
    // Its standard input stays open as long as we live, and nobody waits for it.
    mem::forget(keeper);
}

/// Removes what is left of processes that are no more.
fn sweep(prefix: &str) {
    let is_stale = |name: &str| process_of(prefix, name).is_some_and(|pid| !Path::new("/proc").join(pid).exists());
    for name in namespace::names_with_prefix(prefix).iter().filter(|name| is_stale(name)) {
        namespace::remove(name);
    }
    let [short, large] = scratch_roots();
    for root in [short, large, PathBuf::from("/etc/netns")] {
        for entry in fs::read_dir(root).into_iter().flatten().flatten() {
            if entry.file_name().to_str().is_some_and(is_stale) {
                let _ = fs::remove_dir_all(entry.path());
            }
        }
    }
}

/// The process id in a lab's name.
fn process_of<'a>(prefix: &str, name: &'a str) -> Option<&'a str> {
    let pid = name.strip_prefix(prefix)?.strip_prefix('-')?.split('-').next()?;
    pid.parse::<u32>().is_ok().then_some(pid)
}
