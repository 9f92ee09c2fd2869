//! Wire formats: from bytes to small values and back.
//!
//! Each format has a module with a `Header` (or `Packet`, or `Message`): a `Copy` value that is well-formed by
//! construction. `parse` makes one from received bytes after every check that needs no state, so that nothing
//! behind it looks at raw fields again; `emit` writes one. Parsing never panics, whatever the bytes are, and
//! reads a header with a single bounds check.

use core::fmt;
use core::net::IpAddr;

use hayase_device::checksum::{self, Sum};

pub mod arp;
pub mod ethernet;
pub mod icmpv4;
pub mod icmpv6;
pub mod ipv4;
pub mod ipv6;
pub mod mld;
pub mod ndp;
pub mod tcp;
pub mod udp;

pub use ethernet::{EtherType, Mac, VlanId};

/// Why received bytes are not a valid header. Each is a counted drop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WireError {
    /// The bytes end before the header does.
    Truncated,
    /// The IP version field does not match the link's EtherType.
    Version,
    /// A header length below the minimum, or beyond the packet.
    HeaderLength,
    /// A total or payload length below its header or beyond what arrived.
    TotalLength,
    /// The checksum is wrong, or missing where it is mandatory.
    Checksum,
    /// An option with an impossible length.
    OptionLength,
    /// An IPv4 source route, or an IPv6 routing header with segments left: not followed (RFC 5095, RFC 7126).
    SourceRoute,
    /// A fragment that is empty, cut at no multiple of 8, or reaches beyond the largest packet.
    FragmentLength,
    /// A first fragment without the whole header chain (RFC 8200 §4.5).
    FragmentHeaders,
    /// An IPv6 option that asks to be dropped where it is not known.
    UnknownOption,
    /// A hop-by-hop header that is not the first extension header.
    HeaderOrder,
    /// More extension headers than [`ipv6::EXTENSION_COUNT_MAX`].
    HeaderCount,
    /// ARP for something other than IPv4 on Ethernet.
    Protocol,
    /// An ARP operation other than request and reply.
    Operation,
    /// An ICMP type that this host does not know.
    MessageType,
    /// An ICMP code that its type does not have.
    MessageCode,
    /// A neighbor discovery message that crossed a router (RFC 4861 §7.1).
    HopLimit,
    /// An address that must not stand where it does.
    Address,
}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            WireError::Truncated => "truncated header",
            WireError::Version => "wrong IP version",
            WireError::HeaderLength => "impossible header length",
            WireError::TotalLength => "impossible packet length",
            WireError::Checksum => "bad checksum",
            WireError::OptionLength => "impossible option length",
            WireError::SourceRoute => "source route",
            WireError::FragmentLength => "impossible fragment",
            WireError::FragmentHeaders => "first fragment without all headers",
            WireError::UnknownOption => "unknown option",
            WireError::HeaderOrder => "extension headers out of order",
            WireError::HeaderCount => "too many extension headers",
            WireError::Protocol => "not ARP for IPv4 on Ethernet",
            WireError::Operation => "unknown ARP operation",
            WireError::MessageType => "unknown ICMP type",
            WireError::MessageCode => "unknown ICMP code",
            WireError::HopLimit => "neighbor discovery from beyond the link",
            WireError::Address => "impossible address",
        })
    }
}

impl core::error::Error for WireError {}

/// What an IP packet carries: the IPv4 protocol number, the IPv6 next header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Protocol(pub u8);

impl Protocol {
    /// IPv6 hop-by-hop options. Its number is that of no protocol in IPv4.
    pub const HOP_BY_HOP: Protocol = Protocol(0);
    /// ICMP for IPv4.
    pub const ICMPV4: Protocol = Protocol(1);
    /// TCP.
    pub const TCP: Protocol = Protocol(6);
    /// UDP.
    pub const UDP: Protocol = Protocol(17);
    /// IPv6 routing header.
    pub const ROUTING: Protocol = Protocol(43);
    /// IPv6 fragment header.
    pub const FRAGMENT: Protocol = Protocol(44);
    /// ICMP for IPv6.
    pub const ICMPV6: Protocol = Protocol(58);
    /// IPv6: nothing follows.
    pub const NO_NEXT_HEADER: Protocol = Protocol(59);
    /// IPv6 destination options.
    pub const DESTINATION_OPTIONS: Protocol = Protocol(60);
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Protocol::ICMPV4 => f.write_str("ICMP"),
            Protocol::TCP => f.write_str("TCP"),
            Protocol::UDP => f.write_str("UDP"),
            Protocol::ICMPV6 => f.write_str("ICMPv6"),
            Protocol(number) => write!(f, "protocol {number}"),
        }
    }
}

/// The sum of the pseudo-header between two addresses of one family, for a transport of `len` bytes.
#[inline]
pub fn pseudo_header(src: IpAddr, dst: IpAddr, protocol: Protocol, len: usize) -> Sum {
    // No transport is longer than an IPv6 payload, 16 bits: the cast loses nothing.
    match (src, dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            checksum::pseudo_header(&src.octets(), &dst.octets(), protocol.0, len as u32)
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            checksum::pseudo_header(&src.octets(), &dst.octets(), protocol.0, len as u32)
        }
        _ => unreachable!("a packet has two addresses of one family"),
    }
}

/// A big-endian 16-bit field of a header whose length is known.
#[inline]
const fn be16<const N: usize>(header: &[u8; N], at: usize) -> u16 {
    u16::from_be_bytes([header[at], header[at + 1]])
}

/// A big-endian 32-bit field of a header whose length is known.
#[inline]
const fn be32<const N: usize>(header: &[u8; N], at: usize) -> u32 {
    u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
}

/// `LEN` bytes at `at`, if they are there.
#[inline]
fn array_at<const LEN: usize>(bytes: &[u8], at: usize) -> Result<&[u8; LEN], WireError> {
    bytes.get(at..).and_then(<[u8]>::first_chunk).ok_or(WireError::Truncated)
}
