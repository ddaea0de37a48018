//! Kernel parameters under `/proc/sys`.

use std::fs;
use std::io;
use std::path::PathBuf;

/// The tree of parameters. Keys are paths in it, such as `net/ipv4/ip_forward`, since interface names may have dots.
#[derive(Clone, Debug)]
pub(crate) struct Sysctls {
    root: PathBuf,
}

/// A parameter that could not be read or set.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} the sysctl {name}: {source}{hint}")]
pub(crate) struct SysctlError {
    action: String,
    name: String,
    source: io::Error,
    hint: &'static str,
}

impl SysctlError {
    fn new(action: String, key: &str, source: io::Error) -> Self {
        let is_protected = matches!(source.kind(), io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied);
        let hint = if is_protected {
            "; /proc/sys is not writable here, as in most containers: set it on the host or in the container's runtime options"
        } else {
            ""
        };
        Self { action, name: name(key), source, hint }
    }
}

impl Sysctls {
    /// The parameters of the running kernel, those of networking in the calling thread's namespace.
    pub(crate) fn of_kernel() -> Self {
        Self { root: PathBuf::from("/proc/sys") }
    }

    /// Parameters in a directory.
    #[cfg(test)]
    pub(crate) const fn in_directory(root: PathBuf) -> Self {
        Self { root }
    }

    /// A parameter's value, or nothing if the kernel has no such parameter.
    pub(crate) fn read(&self, key: &str) -> Result<Option<String>, SysctlError> {
        match fs::read_to_string(self.root.join(key)) {
            Ok(value) => Ok(Some(value.trim().to_owned())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(SysctlError::new("read".to_owned(), key, error)),
        }
    }

    /// Sets a parameter.
    pub(crate) fn write(&self, key: &str, value: &str) -> Result<(), SysctlError> {
        // An empty value is one as well, but writing nothing would not set it.
        fs::write(self.root.join(key), format!("{value}\n"))
            .map_err(|error| SysctlError::new(format!("write {value} to"), key, error))
    }

    /// Sets a parameter unless it has the value already.
    pub(crate) fn ensure(&self, key: &str, value: &str) -> Result<(), SysctlError> {
        if self.read(key)?.as_deref() == Some(value) { Ok(()) } else { self.write(key, value) }
    }

    /// The names of the entries of a directory of the tree, such as the interfaces in `net/ipv6/conf`.
    pub(crate) fn entries(&self, directory: &str) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.root.join(directory)) else { return Vec::new() };
        let mut names: Vec<String> =
            entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.sort();
        names
    }
}

/// A key as `sysctl` prints it, with the dots of interface names as slashes.
pub(crate) fn name(key: &str) -> String {
    key.chars()
        .map(|c| match c {
            '/' => '.',
            '.' => '/',
            other => other,
        })
        .collect()
}
