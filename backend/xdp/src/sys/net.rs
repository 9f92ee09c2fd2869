//! Requests about interfaces, and packet sockets.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use super::check;

/// Longest interface name, without the terminating zero.
pub(crate) const NAME_LEN_MAX: usize = libc::IFNAMSIZ - 1;

const SIOCETHTOOL: libc::c_ulong = 0x8946;
const ETHTOOL_GCHANNELS: u32 = 0x3c;
const ETHTOOL_GRSSH: u32 = 0x46;
const ETHTOOL_GRXFH: u32 = 0x29;

/// No NIC has a larger table, or key.
const FLOW_TABLE_MAX: usize = 65_536;
const PACKET_ADD_MEMBERSHIP: libc::c_int = 1;
const PACKET_IGNORE_OUTGOING: libc::c_int = 23;
const PACKET_MR_PROMISC: u16 = 1;
const PACKET_MR_ALLMULTI: u16 = 2;
const PACKET_MR_UNICAST: u16 = 3;

/// The kernel's `struct ifreq`: a name, and a union of at most 24 bytes on every architecture.
#[repr(C, align(8))]
pub(crate) struct Ifreq {
    name: [u8; libc::IFNAMSIZ],
    pub(crate) data: [u8; 24],
}

const _: () = assert!(size_of::<Ifreq>() >= size_of::<libc::ifreq>());

impl Ifreq {
    /// A request about the interface of that name, of which the first 15 bytes are taken.
    pub(crate) fn new(name: &str) -> Ifreq {
        let mut request = Ifreq { name: [0; libc::IFNAMSIZ], data: [0; 24] };
        let len = name.len().min(NAME_LEN_MAX);
        request.name[..len].copy_from_slice(&name.as_bytes()[..len]);
        request
    }

    pub(crate) fn as_i32(&self) -> i32 {
        i32::from_ne_bytes([self.data[0], self.data[1], self.data[2], self.data[3]])
    }

    pub(crate) fn as_i16(&self) -> i16 {
        i16::from_ne_bytes([self.data[0], self.data[1]])
    }
}

/// What this crate asks about an interface; each answer comes in a `struct ifreq`.
#[derive(Debug, Clone, Copy)]
pub(crate) enum IfRequest {
    Index,
    Flags,
    Mtu,
    Mac,
}

/// Asks about an interface.
pub(crate) fn interface(fd: BorrowedFd<'_>, request: IfRequest, ifreq: &mut Ifreq) -> io::Result<()> {
    let request = match request {
        IfRequest::Index => libc::SIOCGIFINDEX as libc::c_ulong,
        IfRequest::Flags => libc::SIOCGIFFLAGS as libc::c_ulong,
        IfRequest::Mtu => libc::SIOCGIFMTU as libc::c_ulong,
        IfRequest::Mac => libc::SIOCGIFHWADDR as libc::c_ulong,
    };
    // SAFETY: each of these requests reads and writes one `struct ifreq`, which `Ifreq` is at least as large as and
    // laid out like; the reference is valid and exclusive for the call.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), request as _, std::ptr::from_mut(ifreq)) })
}

/// Makes a request of ethtool's about an interface: the first word is the command, the answer comes in its place.
///
/// # Safety
/// The words are as many as the command may write.
unsafe fn ethtool(fd: BorrowedFd<'_>, name: &str, words: &mut [u32]) -> io::Result<()> {
    let mut request = Ifreq::new(name);
    let address = words.as_mut_ptr() as usize;
    request.data[..size_of::<usize>()].copy_from_slice(&address.to_ne_bytes());
    // SAFETY: the request reads a `struct ifreq` whose union holds a pointer; it leads to words that are ours alone
    // for the call, as many as the caller promises.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), SIOCETHTOOL as _, std::ptr::from_mut(&mut request)) })
}

/// How many channels an interface has in use: those that receive, and those that send. Some may do both.
pub(crate) fn channel_counts(fd: BorrowedFd<'_>, name: &str) -> io::Result<(u32, u32)> {
    // `struct ethtool_channels`: the command, four maxima, then what receives, sends, does else, and does both.
    let mut words = [0; 9];
    words[0] = ETHTOOL_GCHANNELS;
    // SAFETY: the structure has nine words.
    unsafe { ethtool(fd, name, &mut words) }?;
    let [.., receive, send, _, both] = words;
    Ok((receive + both, send + both))
}

/// How an interface spreads flows: `struct ethtool_rxfh`.
#[derive(Debug)]
pub(crate) struct FlowHash {
    /// The functions in use, as bits.
    pub(crate) function: u8,
    /// What is done to addresses and ports before, as bits.
    pub(crate) transform: u8,
    pub(crate) table: Vec<u32>,
    pub(crate) key: Vec<u8>,
}

/// Asks how an interface spreads flows over its queues.
pub(crate) fn flow_hash(fd: BorrowedFd<'_>, name: &str) -> io::Result<FlowHash> {
    const HEADER: usize = 6;
    let mut header = [0; HEADER];
    header[0] = ETHTOOL_GRSSH;
    // SAFETY: with no place for table and key, the kernel writes the six words of the header, and their lengths.
    unsafe { ethtool(fd, name, &mut header) }?;
    let (table_len, key_len) = (header[2] as usize, header[3] as usize);
    if table_len > FLOW_TABLE_MAX || key_len > FLOW_TABLE_MAX {
        return Err(io::Error::from_raw_os_error(libc::E2BIG));
    }
    let mut words = vec![0; HEADER + table_len + key_len.div_ceil(4)];
    words[..HEADER].copy_from_slice(&[ETHTOOL_GRSSH, 0, header[2], header[3], 0, 0]);
    // SAFETY: behind the header is place for as many entries and bytes of key as the header says.
    unsafe { ethtool(fd, name, &mut words) }?;
    let [function, transform, ..] = words[4].to_ne_bytes();
    let key = words[HEADER + table_len..].iter().flat_map(|word| word.to_ne_bytes()).take(key_len).collect();
    let table = words[HEADER..HEADER + table_len].to_vec();
    Ok(FlowHash { function, transform, table, key })
}

/// Asks what of a packet of a kind (`TCP_V4_FLOW` and so on) the hash is over, as bits.
pub(crate) fn hash_fields(fd: BorrowedFd<'_>, name: &str, flow_kind: u32) -> io::Result<u64> {
    // `struct ethtool_rxnfc` starts with command, kind and 64 bits of data; the rest is for other commands.
    let mut words = [0; 64];
    (words[0], words[1]) = (ETHTOOL_GRXFH, flow_kind);
    // SAFETY: the structure is smaller than 64 words, and ends in a list of which it asks for nothing.
    unsafe { ethtool(fd, name, &mut words) }?;
    Ok(u64::from_ne_bytes(
        [words[2].to_ne_bytes(), words[3].to_ne_bytes()].concat().try_into().unwrap_or_default(),
    ))
}

/// A new socket, closed on exec.
pub(crate) fn socket(domain: i32, kind: i32, protocol: i32) -> io::Result<OwnedFd> {
    // SAFETY: the call takes no pointer.
    let fd = unsafe { libc::socket(domain, kind | libc::SOCK_CLOEXEC, protocol) };
    check(fd)?;
    // SAFETY: the descriptor was opened just now and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// An instruction of a socket filter (`struct sock_filter`).
pub(crate) type Filter = libc::sock_filter;

/// Lets a socket see only what a filter accepts.
pub(crate) fn attach_filter(fd: BorrowedFd<'_>, filter: &[Filter]) -> io::Result<()> {
    // The kernel only reads it, whatever the structure's pointer says.
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_ptr().cast_mut() };
    set_option(fd, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &program)
}

/// Lets a packet socket see only what arrives.
pub(crate) fn ignore_outgoing(fd: BorrowedFd<'_>) -> io::Result<()> {
    let on: libc::c_int = 1;
    set_option(fd, libc::SOL_PACKET, PACKET_IGNORE_OUTGOING, &on)
}

/// Binds a packet socket to everything that an interface receives.
pub(crate) fn bind_packet(fd: BorrowedFd<'_>, interface_index: u32) -> io::Result<()> {
    let address = libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: (libc::ETH_P_ALL as u16).to_be(),
        sll_ifindex: interface_index as i32,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    let len = size_of_val(&address) as libc::socklen_t;
    // SAFETY: the pointer is to a valid `sockaddr_ll` that lives through the call, and `len` is its size.
    check(unsafe { libc::bind(fd.as_raw_fd(), std::ptr::from_ref(&address).cast(), len) })
}

/// Makes the interface accept all groups' frames, as long as the packet socket lives.
pub(crate) fn join_all_multicast(fd: BorrowedFd<'_>, interface_index: u32) -> io::Result<()> {
    join(fd, interface_index, PACKET_MR_ALLMULTI, [0; 6])
}

/// Makes the interface accept frames for one more station, as long as the packet socket lives.
pub(crate) fn join_unicast(fd: BorrowedFd<'_>, interface_index: u32, mac: [u8; 6]) -> io::Result<()> {
    join(fd, interface_index, PACKET_MR_UNICAST, mac)
}

/// Makes the interface accept all frames, as long as the packet socket lives.
pub(crate) fn join_promiscuous(fd: BorrowedFd<'_>, interface_index: u32) -> io::Result<()> {
    join(fd, interface_index, PACKET_MR_PROMISC, [0; 6])
}

fn join(fd: BorrowedFd<'_>, interface_index: u32, kind: u16, mac: [u8; 6]) -> io::Result<()> {
    /// `struct packet_mreq`.
    #[derive(Clone, Copy)]
    #[repr(C)]
    struct Membership {
        interface_index: i32,
        kind: u16,
        address_len: u16,
        address: [u8; 8],
    }
    let mut address = [0; 8];
    address[..6].copy_from_slice(&mac);
    let membership = Membership { interface_index: interface_index as i32, kind, address_len: 6, address };
    set_option(fd, libc::SOL_PACKET, PACKET_ADD_MEMBERSHIP, &membership)
}

/// Sets an option whose value is a plain structure.
fn set_option<T: Copy>(fd: BorrowedFd<'_>, level: i32, option: i32, value: &T) -> io::Result<()> {
    let (value, len) = (std::ptr::from_ref(value).cast(), size_of::<T>() as libc::socklen_t);
    // SAFETY: the pointer is to a value that lives through the call, as does the filter that one of them points to,
    // and `len` is its size.
    check(unsafe { libc::setsockopt(fd.as_raw_fd(), level, option, value, len) })
}
