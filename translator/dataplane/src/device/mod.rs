//! A TUN device: opened, and its offloads negotiated.

mod holder;
mod kept;
mod offloads;
mod queue;
mod tun;

use std::io;

use rustix::io::Errno;

pub use holder::Holder;
pub use offloads::Offloads;
#[cfg(test)]
pub(crate) use queue::Framing;
pub(crate) use queue::TunQueue;
#[cfg(test)]
pub(crate) use tun::{index_of, open_driver, set_interface};

/// What device to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceConfig {
    /// Its name: 1 to 15 printable ASCII characters, none of `/`, `:`, `%` or space.
    pub name: String,
    /// Queues, each with a thread of its own: 1 to [`DeviceConfig::MAX_QUEUES`].
    pub queues: usize,
    /// Whether to take super-packets and unfinished checksums from the kernel. Without, one queue is what any TUN
    /// driver can do.
    pub offload: bool,
}

impl DeviceConfig {
    /// The most queues that Linux gives a TUN device.
    pub const MAX_QUEUES: usize = 256;

    fn check(&self) -> Result<(), DeviceError> {
        let allowed = |byte: u8| byte.is_ascii_graphic() && !b"/:%".contains(&byte);
        let name = self.name.as_str();
        if !(1..=15).contains(&name.len()) || !name.bytes().all(allowed) || name == "." || name == ".." {
            return Err(DeviceError::BadName(self.name.clone()));
        }
        if !(1..=Self::MAX_QUEUES).contains(&self.queues) {
            return Err(DeviceError::BadQueues(self.queues));
        }
        Ok(())
    }
}

/// Why there is no device.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// The name cannot be a network device's.
    #[error("{0:?} cannot be a device name: allowed are 1 to 15 printable ASCII characters except '/', ':' and '%'")]
    BadName(String),
    /// Too few or too many queues.
    #[error("a device cannot have {0} queues: allowed is 1 to {max}", max = DeviceConfig::MAX_QUEUES)]
    BadQueues(usize),
    /// The kernel or the container has no TUN driver.
    #[error("there is no /dev/net/tun: load the kernel module \"tun\", or give the container this device")]
    NoDriver,
    /// The process may not make network devices.
    #[error("not permitted to make a TUN device: CAP_NET_ADMIN and access to /dev/net/tun are needed")]
    NotPermitted,
    /// A program works on the device already. Two would corrupt traffic.
    #[error("the device {name} is in use by {holder}: stop that, or choose another device name")]
    InUse {
        /// The device's name.
        name: String,
        /// Who holds it.
        holder: Holder,
    },
    /// A device of that name exists, made by someone else.
    #[error("a device {0} exists already: remove it (ip link delete {0}), or choose another device name")]
    Exists(String),
    /// Anything else the kernel answered.
    #[error("cannot {action}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// The answer.
        source: io::Error,
    },
}

/// What a device is, apart from its queues.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceInfo {
    /// Its name.
    pub name: String,
    /// Its interface index, in the network namespace that it was made in.
    pub index: u32,
    /// How many queues it has.
    pub queues: usize,
    /// What the kernel leaves to us.
    pub offloads: Offloads,
}

/// A TUN device that this process alone holds. It disappears when the last queue is closed.
#[derive(Debug)]
pub struct Device {
    info: DeviceInfo,
    queues: Vec<TunQueue>,
}

impl Device {
    /// Makes the device in the calling thread's network namespace. It is down and has no addresses.
    ///
    /// Where the kernel refuses several queues or super-packets, it is a plain device with one queue, and a warning says
    /// so.
    ///
    /// # Errors
    /// See [`DeviceError`].
    pub fn open(config: &DeviceConfig) -> Result<Self, DeviceError> {
        config.check()?;
        if !config.offload && config.queues == 1 {
            return Self::open_plain(&config.name);
        }
        match tun::open(config) {
            Ok((queues, offloads)) => Self::new(&config.name, queues, offloads),
            Err(tun::OpenError::Unsupported { what, source }) => {
                tracing::warn!(
                    device = config.name,
                    refused = what,
                    error = %io::Error::from(source),
                    "the kernel refuses the TUN device we want; going on with a plain one: one queue and thread, no \
                     segmentation offload, so a fraction of the speed"
                );
                Self::open_plain(&config.name)
            }
            Err(tun::OpenError::Fatal { action, source }) => Err(device_error(&config.name, action, source)),
        }
    }

    /// The device of the process before, if the service manager has kept it over a restart: up, with its addresses and routes,
    /// and with the packets that came meanwhile, as far as its queue had room. Nothing if there is none, or it is not what
    /// `config` asks for; then it goes away.
    #[must_use]
    pub fn kept(config: &DeviceConfig) -> Option<Self> {
        config.check().ok()?;
        let descriptors = kept::take();
        if descriptors.is_empty() {
            return None;
        }
        let Some((queues, offloads)) = tun::adopt(config, descriptors) else {
            kept::give(&[]);
            kept::wait_until_gone(&config.name);
            return None;
        };
        Self::new(&config.name, queues, offloads).ok()
    }

    /// Asks the service manager not to keep the device any more.
    pub fn keep_not(&self) {
        kept::give(&[]);
    }

    /// Asks the service manager to keep the device over a restart (sd_notify(3), `FDSTORE=1`). Without one, nobody listens.
    pub fn keep(&self) {
        kept::give(&self.queues);
    }

    /// The device's name, index, number of queues and offloads.
    #[must_use]
    pub const fn info(&self) -> &DeviceInfo {
        &self.info
    }

    fn open_plain(name: &str) -> Result<Self, DeviceError> {
        // tun-tap cannot ask for IFF_TUN_EXCL. The kernel never lets two hold a single-queue device; this keeps us off
        // one that exists and has no holder.
        if tun::index_of(name).is_ok() {
            return Err(device_error(name, "make the TUN device", Errno::BUSY));
        }
        let queue = tun::open_plain(name).map_err(|source| device_error(name, "make the TUN device", source))?;
        Self::new(name, vec![queue], Offloads::NONE)
    }

    fn new(name: &str, queues: Vec<TunQueue>, offloads: Offloads) -> Result<Self, DeviceError> {
        let index = tun::index_of(name)
            .map_err(|source| DeviceError::Io { action: "find the TUN device's index", source: source.into() })?;
        let info = DeviceInfo { name: name.to_owned(), index, queues: queues.len(), offloads };
        Ok(Self { info, queues })
    }

    pub(crate) fn into_parts(self) -> (DeviceInfo, Vec<TunQueue>) {
        (self.info, self.queues)
    }
}

fn device_error(name: &str, action: &'static str, source: Errno) -> DeviceError {
    match source {
        Errno::NOENT | Errno::NODEV | Errno::NXIO => DeviceError::NoDriver,
        Errno::PERM | Errno::ACCESS => DeviceError::NotPermitted,
        Errno::BUSY => Holder::of(name).map_or_else(
            || DeviceError::Exists(name.to_owned()),
            |holder| DeviceError::InUse { name: name.to_owned(), holder },
        ),
        _ => DeviceError::Io { action, source: source.into() },
    }
}

#[cfg(test)]
mod tests {
    use super::{DeviceConfig, DeviceError};

    fn refusal(name: &str, queues: usize) -> Option<DeviceError> {
        DeviceConfig { name: name.to_owned(), queues, offload: true }.check().err()
    }

    #[test]
    fn names_that_linux_would_refuse_or_change_are_refused() {
        for name in ["", ".", "..", "a/b", "a:1", "nat%d", "two words", "a\tb", "a\0b", "sixteen-letters-", "größe"] {
            let error = refusal(name, 1).unwrap();
            assert!(matches!(error, DeviceError::BadName(_)), "{name:?}");
            assert!(error.to_string().contains("1 to 15"), "{error}");
        }
        for name in ["nat64", "n", "fifteen-letters", "x.1_~@"] {
            assert!(refusal(name, 1).is_none(), "{name:?}");
        }
    }

    #[test]
    fn a_device_has_at_least_one_queue_and_at_most_what_linux_has() {
        for queues in [0, 257, usize::MAX] {
            assert!(matches!(refusal("nat64", queues), Some(DeviceError::BadQueues(_))));
        }
        assert!(refusal("nat64", 256).is_none());
    }
}
