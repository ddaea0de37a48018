//! What a TUN device says about a packet beside its bytes (the meaning of a `virtio_net_hdr`).

/// Checksum and segmentation state of a packet, as read from the device or to be told to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offload {
    /// The transport checksum field holds the pseudo-header's sum only; whoever sends the packet adds the rest.
    pub checksum: Option<PartialChecksum>,
    /// The packet stands for several segments.
    pub gso: Option<Gso>,
    /// The device has verified the transport checksum.
    pub data_valid: bool,
}

/// A checksum that is still to be computed: over the bytes from `start` to the packet's end, stored at `start + offset`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartialChecksum {
    /// First byte that the checksum covers, from the packet's first byte.
    pub start: u16,
    /// Where the checksum field is, from `start`.
    pub offset: u16,
}

/// A super-packet: one set of headers and the payload of several segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gso {
    /// What kind of segments.
    pub kind: GsoKind,
    /// Transport payload bytes of each segment but the last, which may be shorter.
    pub segment_size: u16,
    /// Bytes of IP and transport headers. The device's own value is not to be trusted on forwarded packets.
    pub header_len: u16,
    /// The first segment carries CWR; later ones must not (TCP only).
    pub ecn: bool,
}

/// Kinds of super-packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GsoKind {
    /// TCP over IPv4.
    TcpV4,
    /// TCP over IPv6.
    TcpV6,
    /// UDP datagrams of equal size, over either IP version.
    Udp,
}
