//! Instructions, counted by callgrind: the same on a busy machine as on an idle one.

use std::fs;
use std::process::{Command, ExitCode, Stdio};
use std::thread;

use crate::record::Record;
use crate::scenarios::{SCENARIOS, Scenario};
use crate::table::Table;

/// What becomes of the figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    Show,
    Check,
    Record,
}

/// How much dearer than recorded a scenario may be, in percent.
const TOLERANCE: u64 = 3;

/// Counts every scenario.
pub(crate) fn count(purpose: Purpose) -> ExitCode {
    let recorded = Record::read();
    let compiler = compiler();
    if purpose == Purpose::Check && recorded.compiler != compiler {
        println!("skipped: the figures are of {}, and this is {compiler} (instruction counts)", recorded.compiler);
        return ExitCode::SUCCESS;
    }
    let counted: Vec<(&str, u64)> =
        SCENARIOS.iter().map(|scenario| (scenario.name, instructions_of(scenario))).collect();
    print_all(&counted, &recorded);
    match purpose {
        Purpose::Show => ExitCode::SUCCESS,
        Purpose::Check => check(&counted, &recorded),
        Purpose::Record => {
            let counts = counted.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect();
            Record { compiler, counts }.write();
            ExitCode::SUCCESS
        }
    }
}

fn print_all(counted: &[(&str, u64)], recorded: &Record) {
    let mut table = Table::new(&["scenario", "instructions", "recorded", ""]);
    for (scenario, (name, count)) in SCENARIOS.iter().zip(counted) {
        let before = recorded.of(name).map_or_else(String::new, |before| before.to_string());
        table.row([(*name).to_owned(), count.to_string(), before, scenario.what.to_owned()]);
    }
    println!("{table}");
}

fn check(counted: &[(&str, u64)], recorded: &Record) -> ExitCode {
    let mut outcome = ExitCode::SUCCESS;
    for (name, count) in counted {
        match recorded.of(name) {
            None => {
                println!("{name} has no recorded figure");
                outcome = ExitCode::FAILURE;
            }
            Some(before) if count * 100 > before * (100 + TOLERANCE) => {
                println!("{name} takes {count} instructions, more than {TOLERANCE} % above the recorded {before}");
                outcome = ExitCode::FAILURE;
            }
            Some(before) if count * 100 < before * (100 - TOLERANCE) => {
                println!("{name} takes {count} instructions, well below the recorded {before}: record it");
            }
            Some(_) => {}
        }
    }
    outcome
}

/// Instructions that a scenario takes each time: what twice as many take more, divided.
fn instructions_of(scenario: &Scenario) -> u64 {
    let (once, twice) = thread::scope(|scope| {
        let twice = scope.spawn(|| callgrind(scenario.name, 2 * scenario.count));
        (callgrind(scenario.name, scenario.count), twice.join().unwrap())
    });
    (twice - once).div_ceil(scenario.count as u64)
}

/// Instructions of this program from start to end when it runs a scenario.
fn callgrind(scenario: &str, count: usize) -> u64 {
    let out = std::env::temp_dir().join(format!("nat64-callgrind-{}-{scenario}-{count}", std::process::id()));
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", &format!("--callgrind-out-file={}", out.display())])
        .arg(std::env::current_exe().unwrap())
        .args(["run", scenario, &count.to_string()])
        // glibc picks its copying functions by the processor; with these off they are the same ones everywhere.
        .env("GLIBC_TUNABLES", "glibc.cpu.hwcaps=-AVX2,-AVX512F,-AVX512VL,-ERMS,-FSRM,-AVX_Fast_Unaligned_Load")
        .stdin(Stdio::null())
        .output()
        .expect("valgrind is installed (Debian: apt-get install valgrind)");
    assert!(output.status.success(), "{scenario}: {}", String::from_utf8_lossy(&output.stderr));
    let profile = fs::read_to_string(&out).unwrap();
    fs::remove_file(&out).unwrap();
    let total = profile.lines().find_map(|line| line.strip_prefix("totals: ")).expect("callgrind writes the total");
    total.trim().parse().unwrap()
}

/// The compiler that cargo uses. Other compilers make other instructions of the same code.
fn compiler() -> String {
    let output = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into())).arg("-V").output().unwrap();
    let version = String::from_utf8(output.stdout).unwrap();
    format!("{} for {}", version.trim(), std::env::consts::ARCH)
}
