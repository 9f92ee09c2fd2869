//! What both the kernel and we must see: ARP, neighbour discovery, ICMP errors.
//!
//! A packet that the program leaves to the kernel is not ours. A packet socket brings a copy of those that we need as
//! well; there are few of them, so that it costs nothing to read them one by one.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd};

use hayase_device::Frame;

use crate::XdpError;
use crate::frame::XdpFrame;
use crate::interface::Interface;
use crate::pool::Pool;
use crate::sys::{self, Filter};

/// The most frames that one look takes.
const FRAMES_MAX: usize = 16;

/// The socket that hears what is for both.
#[derive(Debug)]
pub(crate) struct Neighbours {
    socket: File,
    /// Frames that there was no buffer for.
    pub(crate) no_buffer: u64,
}

impl Neighbours {
    /// Listens on an interface.
    pub(crate) fn open(interface: &Interface) -> Result<Neighbours, XdpError> {
        let open = || {
            // With no protocol yet, nothing comes before the filter is there.
            let socket = sys::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_NONBLOCK, 0)?;
            sys::attach_filter(socket.as_fd(), &filter())?;
            sys::ignore_outgoing(socket.as_fd())?;
            sys::bind_packet(socket.as_fd(), interface.index)?;
            Ok(socket)
        };
        let socket = open().map_err(|error| XdpError::of_call("listen to neighbours", error))?;
        Ok(Neighbours { socket: File::from(socket), no_buffer: 0 })
    }

    /// The descriptor to sleep on.
    pub(crate) fn fd(&self) -> i32 {
        self.socket.as_raw_fd()
    }

    /// Takes what has come, up to `room` frames.
    pub(crate) fn receive(&mut self, pool: &Pool, room: usize, mut push: impl FnMut(XdpFrame)) {
        for _ in 0..room.min(FRAMES_MAX) {
            let Some(mut frame) = pool.alloc() else {
                // Unread, it would keep us awake.
                self.no_buffer += u64::from(self.socket.read(&mut [0; 14]).is_ok());
                return;
            };
            let tailroom = frame.tailroom();
            let Some(bytes) = frame.extend(tailroom) else { return };
            let Ok(len) = self.socket.read(bytes) else { return };
            frame.truncate(len);
            push(frame);
        }
    }
}

const LOAD_WORD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
const LOAD_HALF: u16 = (libc::BPF_LD | libc::BPF_H | libc::BPF_ABS) as u16;
const LOAD_BYTE: u16 = (libc::BPF_LD | libc::BPF_B | libc::BPF_ABS) as u16;
const LOAD_BYTE_AT_X: u16 = (libc::BPF_LD | libc::BPF_B | libc::BPF_IND) as u16;
/// Four times the low half of a byte: the length of an IPv4 header.
const LOAD_HEADER_LEN: u16 = (libc::BPF_LDX | libc::BPF_B | libc::BPF_MSH) as u16;
const IF_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
const IF_NOT_BELOW: u16 = (libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K) as u16;
const IF_ABOVE: u16 = (libc::BPF_JMP | libc::BPF_JGT | libc::BPF_K) as u16;
const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;

/// Whether a packet came with a VLAN tag, which the kernel has taken off.
const IS_TAGGED: u32 = (libc::SKF_AD_OFF + libc::SKF_AD_VLAN_TAG_PRESENT) as u32;

/// Accepts what the program gives to both: see [`program`](crate::program). What comes with a tag is another network's.
fn filter() -> [Filter; 27] {
    // Places to jump to.
    const NEXT: u8 = 0;
    const V6: u8 = 12;
    const OPTIONS: u8 = 20;
    const REJECT: u8 = 25;
    const ACCEPT: u8 = 26;
    let load = |code, k| Filter { code, jt: NEXT, jf: NEXT, k };
    let jump = |code, k, jt, jf| Filter { code, jt, jf, k };
    let mut filter = [
        load(LOAD_WORD, IS_TAGGED),
        jump(IF_EQUAL, 0, NEXT, REJECT),
        load(LOAD_HALF, 12),
        jump(IF_EQUAL, libc::ETH_P_ARP as u32, ACCEPT, NEXT),
        jump(IF_EQUAL, libc::ETH_P_IP as u32, NEXT, V6),
        load(LOAD_BYTE, 23),
        jump(IF_EQUAL, libc::IPPROTO_ICMP as u32, NEXT, REJECT),
        load(LOAD_HEADER_LEN, 14),
        load(LOAD_BYTE_AT_X, 14),
        jump(IF_EQUAL, 3, ACCEPT, NEXT),
        jump(IF_EQUAL, 11, ACCEPT, NEXT),
        jump(IF_EQUAL, 12, ACCEPT, REJECT),
        // V6
        jump(IF_EQUAL, libc::ETH_P_IPV6 as u32, NEXT, REJECT),
        load(LOAD_BYTE, 20),
        jump(IF_EQUAL, libc::IPPROTO_ICMPV6 as u32, NEXT, OPTIONS),
        load(LOAD_BYTE, 54),
        jump(IF_ABOVE, 137, REJECT, NEXT),
        jump(IF_NOT_BELOW, 133, ACCEPT, NEXT),
        jump(IF_ABOVE, 4, REJECT, NEXT),
        jump(IF_NOT_BELOW, 1, ACCEPT, REJECT),
        // OPTIONS: eight bytes of them, and then a query for listeners.
        jump(IF_EQUAL, libc::IPPROTO_HOPOPTS as u32, NEXT, REJECT),
        load(LOAD_HALF, 54),
        jump(IF_EQUAL, (libc::IPPROTO_ICMPV6 as u32) << 8, NEXT, REJECT),
        load(LOAD_BYTE, 62),
        jump(IF_EQUAL, 130, ACCEPT, REJECT),
        // REJECT
        load(RETURN, 0),
        // ACCEPT
        load(RETURN, u32::MAX),
    ];
    // A jump's two distances are counted from the instruction behind it.
    for (next, instruction) in (1..).zip(&mut filter) {
        instruction.jt = instruction.jt.saturating_sub(next);
        instruction.jf = instruction.jf.saturating_sub(next);
    }
    filter
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs the filter as the kernel does.
    fn accepts(frame: &[u8]) -> bool {
        accepts_with(frame, false)
    }

    fn accepts_with(frame: &[u8], is_tagged: bool) -> bool {
        let (mut at, mut a, mut x, filter) = (0, 0, 0, filter());
        loop {
            let Filter { code, jt, jf, k } = filter[at];
            let branch = |taken| usize::from(if taken { jt } else { jf });
            at += 1;
            match code {
                LOAD_WORD if k == IS_TAGGED => a = u32::from(is_tagged),
                LOAD_HALF => a = u32::from(u16::from_be_bytes([frame[k as usize], frame[k as usize + 1]])),
                LOAD_BYTE => a = u32::from(frame[k as usize]),
                LOAD_BYTE_AT_X => a = u32::from(frame[(x + k) as usize]),
                LOAD_HEADER_LEN => x = u32::from(frame[k as usize] & 0xf) * 4,
                IF_EQUAL => at += branch(a == k),
                IF_ABOVE => at += branch(a > k),
                IF_NOT_BELOW => at += branch(a >= k),
                RETURN => return k > 0,
                _ => panic!("an instruction that the filter does not use"),
            }
        }
    }

    fn ipv4(protocol: u8, header_len: usize, kind: u8) -> Vec<u8> {
        let mut frame = vec![0; 64 + header_len];
        frame[12..15].copy_from_slice(&[0x08, 0x00, 0x40 | (header_len / 4) as u8]);
        frame[23] = protocol;
        frame[14 + header_len] = kind;
        frame
    }

    fn ipv6(protocol: u8, kind: u8) -> Vec<u8> {
        let mut frame = vec![0; 64];
        frame[12..14].copy_from_slice(&[0x86, 0xdd]);
        (frame[20], frame[54]) = (protocol, kind);
        frame
    }

    #[test]
    fn it_accepts_what_both_need_and_nothing_else() {
        let mut arp = vec![0; 42];
        arp[12..14].copy_from_slice(&[0x08, 0x06]);
        assert!(accepts(&arp));
        assert!(!accepts_with(&arp, true), "of another network");
        arp[13] = 0x07;
        assert!(!accepts(&arp), "an unknown type");
        for kind in 0..=u8::MAX {
            for header_len in [20, 24, 60] {
                assert_eq!(accepts(&ipv4(1, header_len, kind)), matches!(kind, 3 | 11 | 12), "ICMP {kind}");
                assert!(!accepts(&ipv4(6, header_len, kind)));
            }
            assert_eq!(accepts(&ipv6(58, kind)), matches!(kind, 1..=4 | 133..=137), "ICMPv6 {kind}");
            assert!(!accepts(&ipv6(17, kind)));
            let mut listeners = ipv6(0, 58);
            listeners[62] = kind;
            assert_eq!(accepts(&listeners), kind == 130, "ICMPv6 {kind} behind a router alert");
            listeners[55] = 1;
            assert!(!accepts(&listeners), "longer options");
        }
    }
}
