//! The ioctls of `/dev/net/tun`.

use std::os::fd::{AsFd, FromRawFd, IntoRawFd, OwnedFd};

use libc::{c_int, c_uint};
use rustix::fs::{Mode, OFlags};
use rustix::io::{Errno, Result};
use rustix::ioctl::{IntegerSetter, Opcode, Setter, Updater, ioctl, opcode};
use rustix::net::{AddressFamily, SocketType};

use super::queue::{Framing, TunQueue};
use super::{DeviceConfig, Offloads};
use crate::vnet_hdr;

// linux/if_tun.h
const TUNSETIFF: Opcode = opcode::write::<c_int>(b'T', 202);
const TUNSETOWNER: Opcode = opcode::write::<c_int>(b'T', 204);
const TUNSETOFFLOAD: Opcode = opcode::write::<c_uint>(b'T', 208);
const TUNGETIFF: Opcode = opcode::read::<c_uint>(b'T', 210);
const TUNSETVNETHDRSZ: Opcode = opcode::write::<c_int>(b'T', 216);
const TUNSETVNETLE: Opcode = opcode::write::<c_int>(b'T', 220);

/// `struct ifreq` with its flags, as long as the kernel's.
#[repr(C)]
struct InterfaceRequest {
    name: [u8; libc::IFNAMSIZ],
    flags: u16,
    rest: [u8; size_of::<libc::ifreq>() - libc::IFNAMSIZ - 2],
}

const _: () = assert!(size_of::<InterfaceRequest>() == size_of::<libc::ifreq>());

/// Why a device could not be opened as wanted.
pub(super) enum OpenError {
    /// The kernel knows no such device; a simpler one may do.
    Unsupported { what: &'static str, source: Errno },
    /// No device at all.
    Fatal { action: &'static str, source: Errno },
}

/// Makes the device with all its queues, for this process alone.
pub(super) fn open(config: &DeviceConfig) -> std::result::Result<(Vec<TunQueue>, Offloads), OpenError> {
    let framing = if config.offload { Framing::VnetHeader } else { Framing::Bare };
    let mut flags = libc::IFF_TUN | libc::IFF_NO_PI;
    flags |= if config.queues > 1 { libc::IFF_MULTI_QUEUE } else { 0 };
    flags |= if config.offload { libc::IFF_VNET_HDR } else { 0 };

    // IFF_TUN_EXCL makes the first request the lock: the kernel makes the device or answers EBUSY, never attaches.
    let first = attach(&config.name, flags | libc::IFF_TUN_EXCL)?;
    keep_others_out(&first)?;
    let mut descriptors = vec![first];
    for _ in 1..config.queues {
        descriptors.push(attach(&config.name, flags)?);
    }
    let offloads = if config.offload { negotiate(&descriptors[0])? } else { Offloads::NONE };
    let queues = descriptors.into_iter().map(|fd| TunQueue::new(fd, framing)).collect();
    Ok((queues, offloads))
}

/// The device whose queues these descriptors are, if they are all of them and of one as it is wanted.
pub(super) fn adopt(config: &DeviceConfig, descriptors: Vec<OwnedFd>) -> Option<(Vec<TunQueue>, Offloads)> {
    if descriptors.len() != config.queues {
        return None;
    }
    let mut wanted = libc::IFF_TUN | libc::IFF_NO_PI;
    wanted |= if config.queues > 1 { libc::IFF_MULTI_QUEUE } else { 0 };
    wanted |= if config.offload { libc::IFF_VNET_HDR } else { 0 };
    // The kernel adds flags of its own to what it tells.
    let all = libc::IFF_TUN | libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_MULTI_QUEUE | libc::IFF_VNET_HDR;
    let is_wanted = |fd: &OwnedFd| {
        interface_of(fd).is_ok_and(|(name, flags)| name == config.name && c_int::from(flags) & all == wanted)
    };
    if !descriptors.iter().all(is_wanted) {
        return None;
    }
    let offloads = if config.offload { negotiate(&descriptors[0]).ok()? } else { Offloads::NONE };
    let framing = if config.offload { Framing::VnetHeader } else { Framing::Bare };
    Some((descriptors.into_iter().map(|fd| TunQueue::new(fd, framing)).collect(), offloads))
}

/// The name and the flags of the device that a descriptor is a queue of.
fn interface_of(fd: impl AsFd) -> Result<(String, u16)> {
    let mut request = InterfaceRequest { name: [0; _], flags: 0, rest: [0; _] };
    // SAFETY: TUNGETIFF writes one `struct ifreq`, which `InterfaceRequest` has the size and layout of.
    unsafe { ioctl(fd, Updater::<TUNGETIFF, InterfaceRequest>::new(&mut request)) }?;
    let len = request.name.iter().position(|byte| *byte == 0).unwrap_or(request.name.len());
    Ok((String::from_utf8_lossy(&request.name[..len]).into_owned(), request.flags))
}

/// Makes a device with one queue and nothing else that a driver may refuse.
pub(super) fn open_plain(name: &str) -> Result<TunQueue> {
    let interface = tun_tap::Iface::without_packet_info(name, tun_tap::Mode::Tun)
        .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    // SAFETY: the descriptor is open, and `into_raw_fd` has just given up its ownership.
    let fd = unsafe { OwnedFd::from_raw_fd(interface.into_raw_fd()) };
    rustix::io::ioctl_fionbio(&fd, true)?;
    Ok(TunQueue::new(fd, Framing::Bare))
}

/// The interface index of a device in this thread's network namespace.
pub(crate) fn index_of(name: &str) -> Result<u32> {
    let socket = rustix::net::socket(AddressFamily::UNIX, SocketType::DGRAM, None)?;
    rustix::net::netdevice::name_to_index(&socket, name)
}

fn attach(name: &str, flags: c_int) -> std::result::Result<OwnedFd, OpenError> {
    let fd = open_driver().map_err(|source| OpenError::Fatal { action: "open /dev/net/tun", source })?;
    set_interface(&fd, name, flags).map_err(|source| match source {
        Errno::INVAL | Errno::NOTTY | Errno::OPNOTSUPP | Errno::NOSYS => {
            OpenError::Unsupported { what: "IFF_MULTI_QUEUE or IFF_VNET_HDR", source }
        }
        _ => OpenError::Fatal { action: "make the TUN device", source },
    })?;
    Ok(fd)
}

pub(crate) fn open_driver() -> Result<OwnedFd> {
    rustix::fs::open("/dev/net/tun", OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty())
}

/// Sets the header's form and the best offloads that the kernel takes. They are the device's, not the queue's.
fn negotiate(fd: impl AsFd) -> std::result::Result<Offloads, OpenError> {
    let size = c_int::from(vnet_hdr::SIZE_U8);
    set_vnet_header_size(&fd, size).map_err(|source| OpenError::Unsupported { what: "TUNSETVNETHDRSZ", source })?;
    if let Err(source) = set_vnet_little_endian(&fd)
        && cfg!(target_endian = "big")
    {
        // Kernels before 4.0 know the host's byte order only.
        return Err(OpenError::Unsupported { what: "TUNSETVNETLE", source });
    }
    let taken = Offloads::PREFERENCE.into_iter().find(|set| set_offload(&fd, set.mask()).is_ok());
    Ok(taken.unwrap_or_default())
}

/// Makes this user the device's owner. A device without owner lets anyone who may open `/dev/net/tun`, by default every
/// local user, attach a queue and read what the kernel steers there. A device with one queue has no room for them.
fn keep_others_out(fd: impl AsFd) -> std::result::Result<(), OpenError> {
    let owner = rustix::process::geteuid().as_raw();
    set_owner(fd, owner).map_err(|source| OpenError::Unsupported { what: "TUNSETOWNER", source })
}

pub(crate) fn set_interface(fd: impl AsFd, name: &str, flags: c_int) -> Result<()> {
    let flags = u16::try_from(flags).map_err(|_| Errno::INVAL)?;
    let mut request = InterfaceRequest { name: [0; _], flags, rest: [0; _] };
    // The last byte stays zero.
    request.name.iter_mut().take(libc::IFNAMSIZ - 1).zip(name.bytes()).for_each(|(slot, byte)| *slot = byte);
    // SAFETY: TUNSETIFF reads and writes one `struct ifreq`, which `InterfaceRequest` has the size and layout of.
    unsafe { ioctl(fd, Updater::<TUNSETIFF, InterfaceRequest>::new(&mut request)) }
}

fn set_owner(fd: impl AsFd, user: u32) -> Result<()> {
    let user = usize::try_from(user).map_err(|_| Errno::INVAL)?;
    // SAFETY: TUNSETOWNER takes its argument by value and touches no memory of ours.
    unsafe { ioctl(fd, IntegerSetter::<TUNSETOWNER>::new_usize(user)) }
}

fn set_offload(fd: impl AsFd, mask: c_uint) -> Result<()> {
    let mask = usize::try_from(mask).map_err(|_| Errno::INVAL)?;
    // SAFETY: TUNSETOFFLOAD takes its argument by value and touches no memory of ours.
    unsafe { ioctl(fd, IntegerSetter::<TUNSETOFFLOAD>::new_usize(mask)) }
}

fn set_vnet_header_size(fd: impl AsFd, size: c_int) -> Result<()> {
    // SAFETY: TUNSETVNETHDRSZ reads one int.
    unsafe { ioctl(fd, Setter::<TUNSETVNETHDRSZ, c_int>::new(size)) }
}

fn set_vnet_little_endian(fd: impl AsFd) -> Result<()> {
    // SAFETY: TUNSETVNETLE reads one int.
    unsafe { ioctl(fd, Setter::<TUNSETVNETLE, c_int>::new(1)) }
}
