//! ICMP echo (RFC 792, RFC 4443 §4): what ping is made of.
//!
//! Linux has sockets for just that, to which `net.ipv4.ping_group_range` gives the right, and raw sockets, to which
//! CAP_NET_RAW does. The former are asked for first. Those keep our identifier and our answers apart from everybody
//! else's; with the latter that is done here.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicU16, Ordering};
use std::task::Poll;

use hayase_device::checksum::checksum;
use rustix::event::epoll::EventFlags;
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketType, ipproto};

use crate::address;
use crate::source::{Side, Source};
use crate::sys;

/// Type, code, checksum, identifier, sequence number.
const HEADER_LEN: usize = 8;

/// What an IP packet can hold, headers included.
const PACKET_LEN_MAX: usize = 65_535;

/// Room for what the kernel says about a packet, in words.
const CONTROL_LEN: usize = 16;

/// An answer to an echo request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reply {
    /// Who answered.
    pub from: IpAddr,
    /// Which request this answers.
    pub sequence: u16,
    /// Bytes of data that came back.
    pub len: usize,
    /// Hops that the answer had left.
    pub ttl: u8,
}

/// A socket for echo requests and their replies, over both versions of IP.
#[derive(Debug)]
pub struct Echo {
    v4: io::Result<Pinger>,
    v6: io::Result<Pinger>,
    buffer: Vec<u8>,
}

/// The half for one version of IP.
#[derive(Debug)]
struct Pinger {
    source: Source,
    version: &'static Version,
    /// The identifier of a raw socket, which is ours to choose and to look for.
    raw_ident: Option<u16>,
}

/// The numbers of one version.
#[derive(Debug)]
struct Version {
    family: AddressFamily,
    protocol: rustix::net::Protocol,
    request: u8,
    reply: u8,
    flag: sys::Flag,
    /// Level and type of the kernel's word on the hops that were left.
    hops: (i32, i32),
}

static V4: Version = Version {
    family: AddressFamily::INET,
    protocol: ipproto::ICMP,
    request: 8,
    reply: 0,
    flag: sys::Flag::ReceiveTtl,
    hops: (libc::IPPROTO_IP, libc::IP_TTL),
};

static V6: Version = Version {
    family: AddressFamily::INET6,
    protocol: ipproto::ICMPV6,
    request: 128,
    reply: 129,
    flag: sys::Flag::ReceiveHopLimit,
    hops: (libc::IPPROTO_IPV6, libc::IPV6_HOPLIMIT),
};

impl Echo {
    pub(crate) fn open() -> io::Result<Echo> {
        let (v4, v6) = (Pinger::open(&V4), Pinger::open(&V6));
        match (v4, v6) {
            (Err(error), Err(_)) => Err(error),
            (v4, v6) => Ok(Echo { v4, v6, buffer: vec![0; PACKET_LEN_MAX] }),
        }
    }

    pub(crate) fn sources(&self) -> [Option<&Source>; 2] {
        [&self.v4, &self.v6].map(|pinger| pinger.as_ref().ok().map(|pinger| &pinger.source))
    }

    /// Either has something, and both will look.
    pub(crate) fn hear(&mut self, events: EventFlags) {
        for pinger in [&mut self.v4, &mut self.v6].into_iter().flatten() {
            pinger.source.hear(events);
        }
    }

    /// Sends a request.
    ///
    /// # Errors
    /// If there is no right, no route, no room now, or `payload` exceeds what a packet can hold.
    pub fn send(&mut self, to: IpAddr, sequence: u16, payload: &[u8]) -> io::Result<()> {
        let pinger = if to.is_ipv4() { &mut self.v4 } else { &mut self.v6 };
        match pinger {
            Ok(pinger) => pinger.send(to, sequence, payload),
            Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
        }
    }

    /// Takes a reply.
    ///
    /// # Errors
    /// If the network refused a request.
    pub fn recv(&mut self) -> Poll<io::Result<Reply>> {
        for pinger in [&mut self.v4, &mut self.v6].into_iter().flatten() {
            if let Poll::Ready(reply) = pinger.recv(&mut self.buffer) {
                return Poll::Ready(reply);
            }
        }
        Poll::Pending
    }
}

impl Pinger {
    fn open(version: &'static Version) -> io::Result<Pinger> {
        let socket = |kind| address::open(version.family, kind, Some(version.protocol));
        let (fd, raw_ident) = match socket(SocketType::DGRAM) {
            Ok(fd) => (fd, None),
            Err(_) => (socket(SocketType::RAW).map_err(explain)?, Some(ident())),
        };
        let source = Source::eager(fd);
        sys::enable(source.fd(), version.flag)?;
        Ok(Pinger { source, version, raw_ident })
    }

    fn send(&mut self, to: IpAddr, sequence: u16, payload: &[u8]) -> io::Result<()> {
        let mut message = Vec::with_capacity(HEADER_LEN + payload.len());
        message.extend([self.version.request, 0, 0, 0]);
        message.extend(self.raw_ident.unwrap_or(0).to_be_bytes());
        message.extend(sequence.to_be_bytes());
        message.extend(payload);
        // That of ICMPv6 covers addresses as well, and the kernel knows them.
        let sum = checksum(&message).to_be_bytes();
        message[2..4].copy_from_slice(&sum);
        let to = SocketAddr::new(to, 0);
        rustix::net::sendto(self.source.fd(), &message, SendFlags::NOSIGNAL, &to)?;
        Ok(())
    }

    /// Takes the next reply to us; what else a raw socket brings is passed over.
    fn recv(&mut self, buffer: &mut [u8]) -> Poll<io::Result<Reply>> {
        loop {
            let (version, raw_ident) = (self.version, self.raw_ident);
            let read = |fd: BorrowedFd<'_>| receive(fd, version, &mut *buffer);
            let Poll::Ready((from, len, hops)) = self.source.attempt(Side::Read, read)? else {
                return Poll::Pending;
            };
            let message = Message { from, bytes: &buffer[..len], hops };
            if let Some(reply) = message.reply(version, raw_ident) {
                return Poll::Ready(Ok(reply));
            }
        }
    }
}

/// What came in.
struct Message<'a> {
    from: IpAddr,
    bytes: &'a [u8],
    hops: u8,
}

impl Message<'_> {
    /// The reply that it is, if it is one to us.
    fn reply(&self, version: &Version, raw_ident: Option<u16>) -> Option<Reply> {
        // Raw sockets of IPv4 give the header, too.
        let has_header = raw_ident.is_some() && version.family == AddressFamily::INET;
        let header_len = if has_header { usize::from(self.bytes.first()? & 15) * 4 } else { 0 };
        let (header, data) = self.bytes.get(header_len..)?.split_first_chunk::<HEADER_LEN>()?;
        let [kind, _, _, _, ident_high, ident_low, sequence_high, sequence_low] = *header;
        let is_ours = raw_ident.is_none_or(|ident| ident.to_be_bytes() == [ident_high, ident_low]);
        let sequence = u16::from_be_bytes([sequence_high, sequence_low]);
        let reply = Reply { from: self.from, sequence, len: data.len(), ttl: self.hops };
        (kind == version.reply && is_ours).then_some(reply)
    }
}

/// Receives a message: its sender, its length, the hops that it had left.
fn receive(
    fd: BorrowedFd<'_>,
    version: &Version,
    buffer: &mut [u8],
) -> rustix::io::Result<(IpAddr, usize, u8)> {
    let (_, _, from) = rustix::net::recvfrom(fd, &mut [0_u8; 1], RecvFlags::PEEK)?;
    let from = from.and_then(|from| SocketAddr::try_from(from).ok()).ok_or(Errno::INVAL)?;
    let mut control = [0; CONTROL_LEN];
    let (len, control_len) = sys::receive(fd, buffer, &mut control)?;
    let control: Vec<u8> = control.iter().flat_map(|word| word.to_ne_bytes()).collect();
    let control = control.get(..control_len).unwrap_or_default();
    Ok((from.ip(), len, control_word(control, version.hops).unwrap_or(0)))
}

/// The int of one kind in what the kernel says about a packet: `struct cmsghdr` after `struct cmsghdr`.
fn control_word(mut control: &[u8], (level, kind): (i32, i32)) -> Option<u8> {
    const LEN_LEN: usize = size_of::<usize>();
    loop {
        let (len, rest) = control.split_first_chunk::<LEN_LEN>()?;
        let (found_level, rest) = rest.split_first_chunk::<4>()?;
        let (found_kind, rest) = rest.split_first_chunk::<4>()?;
        if (i32::from_ne_bytes(*found_level), i32::from_ne_bytes(*found_kind)) == (level, kind) {
            return u8::try_from(i32::from_ne_bytes(*rest.first_chunk()?)).ok();
        }
        let len = usize::from_ne_bytes(*len).max(LEN_LEN + 8).checked_next_multiple_of(LEN_LEN)?;
        control = control.get(len..)?;
    }
}

/// An identifier that no other socket of this process has, and one of another process hardly.
fn ident() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    (std::process::id() as u16).wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed))
}

fn explain(error: Errno) -> io::Error {
    let kind = io::Error::from(error).kind();
    let text = match kind {
        io::ErrorKind::PermissionDenied => {
            "the kernel lets this process send no echo requests: give it CAP_NET_RAW, or its group the right with `sysctl \
             net.ipv4.ping_group_range=\"0 2147483647\"`"
                .to_owned()
        }
        _ => format!("no socket for ICMP: {}", io::Error::from(error)),
    };
    io::Error::new(kind, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn control(entries: &[(i32, i32, i32)]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (level, kind, value) in entries {
            bytes.extend((size_of::<usize>() + 12).to_ne_bytes());
            [*level, *kind, *value].iter().for_each(|word| bytes.extend(word.to_ne_bytes()));
            bytes.resize(bytes.len().next_multiple_of(size_of::<usize>()), 0);
        }
        bytes
    }

    #[test]
    fn the_hops_are_found_among_other_words() {
        let bytes = control(&[(1, 29, 7), V4.hops_with(61)]);
        assert_eq!(control_word(&bytes, V4.hops), Some(61));
        assert_eq!(control_word(&bytes, V6.hops), None);
        for len in 0..bytes.len() {
            assert!(control_word(&bytes[..len], V4.hops).is_none_or(|hops| hops == 61));
        }
        assert_eq!(control_word(&[0; 64], V4.hops), None, "a length of zero ends");
    }

    impl Version {
        fn hops_with(&self, value: i32) -> (i32, i32, i32) {
            (self.hops.0, self.hops.1, value)
        }
    }

    #[test]
    fn only_replies_to_us_count() {
        let bare = [0, 0, 0, 0, 0x12, 0x34, 0, 5, 1, 2, 3];
        let wanted = Reply { from: [127, 0, 0, 1].into(), sequence: 5, len: 3, ttl: 60 };
        fn message(bytes: &[u8]) -> Message<'_> {
            Message { from: [127, 0, 0, 1].into(), bytes, hops: 60 }
        }
        assert_eq!(message(&bare).reply(&V4, None), Some(wanted));
        let mut raw = vec![0x45; 20];
        raw.extend(bare);
        assert_eq!(message(&raw).reply(&V4, Some(0x1234)), Some(wanted));
        assert_eq!(message(&raw).reply(&V4, Some(0x1235)), None);
        for len in 0..28 {
            assert_eq!(message(&raw[..len]).reply(&V4, Some(0x1234)), None);
        }
        raw[20] = V4.request;
        assert_eq!(message(&raw).reply(&V4, Some(0x1234)), None, "our own request");
    }
}
