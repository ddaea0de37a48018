use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::servers::WebServer;
use crate::support::{Lab, Outcome, SERVER, under_pref64};

impl WebServer {
    /// Downloads and uploads a file of `size` bytes with curl on the client; both copies must have the original's checksum.
    #[track_caller]
    pub(crate) fn exchange(&self, lab: &Lab, size: u64, deadline: Duration) {
        let original = self.root().join("original");
        let downloaded = lab.storage().join("downloaded");
        write_noise(&original, size).expect("there is room for the file");
        let url = format!("http://[{}]", under_pref64(SERVER));
        curl(lab, ["-o".as_ref(), downloaded.as_os_str(), format!("{url}/original").as_ref()], deadline);
        curl(lab, ["-T".as_ref(), downloaded.as_os_str(), format!("{url}/uploaded").as_ref()], deadline);
        let sums = checksums(&[&original, &downloaded, &self.root().join("uploaded")]);
        assert!(sums.iter().all(|sum| *sum == sums[0]), "checksums of original, downloaded, uploaded: {sums:?}");
    }
}

fn curl<const N: usize>(lab: &Lab, arguments: [&OsStr; N], deadline: Duration) -> String {
    let mut command = lab.client.command("curl");
    command.args(["--silent", "--show-error", "--fail", "--globoff"]).args(arguments);
    Outcome::of(command, deadline).succeeded()
}

/// Writes `size` bytes (a multiple of eight) that do not repeat, the same in each run (xorshift64*).
fn write_noise(path: &Path, size: u64) -> io::Result<()> {
    let mut file = BufWriter::with_capacity(1 << 20, File::create(path)?);
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for _ in 0..size / 8 {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        file.write_all(&state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes())?;
    }
    file.flush()
}

fn checksums(files: &[&Path]) -> Vec<String> {
    let mut command = Command::new("sha256sum");
    command.args(files);
    let text = Outcome::of(command, Duration::from_secs(120)).succeeded();
    text.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
}
