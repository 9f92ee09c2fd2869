//! Fragments in any order and number, that overlap, contradict each other or never end. A datagram that comes out of
//! them is one that the fragments describe.

use std::task::Poll;
use std::time::Duration;

use hayase_device::Offloads;
use hayase_stack::{Config, UdpId};

use crate::host::Host;
use crate::input::Input;
use crate::packet::{FRAME_LEN_MAX, UDP, ethernet, ours, peer, repair};

const STEPS_MAX: usize = 300;
const PORT: u16 = 9000;
/// What may wait for fragments in this target: little, so that the limit is met.
const REASSEMBLY_LEN_MAX: usize = 64 * 1024;
/// Payload of a fragment.
const PIECE_LEN_MAX: usize = 1400;

/// Byte of the fragmentable part of a packet. Its first bytes are a UDP header without a checksum.
fn byte_at(ident: u8, at: usize, total_len: usize) -> u8 {
    let [a, b] = PORT.to_be_bytes();
    let [c, d] = (total_len as u16).to_be_bytes();
    match at {
        0 | 1 => 77,
        2 => a,
        3 => b,
        4 => c,
        5 => d,
        6 | 7 => 0,
        _ => content(ident, at),
    }
}

fn content(ident: u8, at: usize) -> u8 {
    (at * 7 + at / 251) as u8 ^ ident
}

/// One piece of a packet.
struct Piece {
    ident: u8,
    start: usize,
    end: usize,
    total_len: usize,
    more: bool,
    /// Its bytes are not those of the packet.
    lies: bool,
    ecn: u8,
}

/// A host that is sent fragments, as time passes.
pub fn reassembly(data: &[u8]) {
    let mut input = Input::new(data);
    let choice = input.byte();
    let mut config = Config::default();
    config.reassembly_len_max = REASSEMBLY_LEN_MAX;
    let mut host = Host::new(config, if choice & 1 != 0 { Offloads::ALL } else { Offloads::NONE });
    let socket = host.stack.udp_bind((ours(false), PORT).into()).expect("a free port");
    let mut honest = true;
    for _ in 0..STEPS_MAX {
        if input.is_empty() {
            break;
        }
        step(&mut host, &mut input, &mut honest);
        receive(&mut host, socket, honest);
    }
    host.stack.udp_close(socket);
    host.finish(&[]);
}

fn step(host: &mut Host, input: &mut Input<'_>, honest: &mut bool) {
    let choice = input.byte();
    if choice.is_multiple_of(16) {
        host.pass(Duration::from_secs(u64::from(input.byte())));
        return;
    }
    let total_len = usize::from(input.pick(&[40_u16, 1000, 2000, 8000, 65_000, 9]));
    let start = usize::from(input.u16()) % (total_len + 16);
    let start = if choice & 1 != 0 { start / 8 * 8 } else { start / 8 * 8 % 256 };
    let len = if input.flag() { usize::from(input.byte()) * 8 } else { usize::from(input.u16()) % 1408 };
    let reaches_end = start + len >= total_len;
    let piece = Piece {
        ident: input.byte() % 4,
        start,
        end: start + if reaches_end { total_len.saturating_sub(start) } else { len }.min(PIECE_LEN_MAX),
        total_len,
        more: if choice & 32 != 0 { input.flag() } else { !reaches_end },
        lies: choice & 64 != 0,
        ecn: input.byte() & 3,
    };
    // Two lengths of one packet, or a wrong end, are lies as well.
    *honest &= !piece.lies;
    let frame = if choice & 2 != 0 { ipv4(&piece) } else { ipv6(&piece, input) };
    host.inject(&frame);
    if input.flag() {
        host.settle();
    }
}

fn payload(piece: &Piece) -> Vec<u8> {
    let byte = |at| byte_at(piece.ident, at, piece.total_len) ^ if piece.lies { 0x55 } else { 0 };
    (piece.start..piece.end).map(byte).collect()
}

fn ipv4(piece: &Piece) -> Vec<u8> {
    let payload = payload(piece);
    let mut packet = vec![0x45, piece.ecn];
    packet.extend((20 + payload.len() as u16).to_be_bytes());
    packet.extend([0, piece.ident]);
    packet.extend(((piece.start / 8) as u16 | u16::from(piece.more) << 13).to_be_bytes());
    packet.extend([64, UDP, 0, 0, 10, 0, 0, 2, 10, 0, 0, 1]);
    let sum = hayase_device::checksum::checksum(&packet);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet.extend(payload);
    ethernet(0x0800, &packet)
}

/// With a few extension headers in front of the fragment header, some of them nonsense.
fn ipv6(piece: &Piece, input: &mut Input<'_>) -> Vec<u8> {
    let mut body = Vec::new();
    let mut first = 44;
    let extensions = input.byte() % 4;
    for kind in [60, 43, 0].into_iter().take(usize::from(extensions)) {
        body.splice(0..0, [first, 0, 1, 4, 0, 0, 0, 0]);
        first = kind;
    }
    body.extend([UDP, 0]);
    body.extend(((piece.start / 8 * 8) as u16 | u16::from(piece.more)).to_be_bytes());
    body.extend([0, 0, 0, piece.ident]);
    body.extend(payload(piece));
    body.truncate(FRAME_LEN_MAX - 54);
    let mut packet = vec![0x60 | piece.ecn >> 4, piece.ecn << 4, 0, 0];
    packet.extend((body.len() as u16).to_be_bytes());
    packet.extend([first, 64]);
    for address in [peer(true), ours(true)] {
        if let std::net::IpAddr::V6(address) = address {
            packet.extend(address.octets());
        }
    }
    packet.extend(body);
    let mut frame = ethernet(0x86dd, &packet);
    repair(&mut frame);
    frame
}

/// As long as nobody lied about a byte, every byte that comes out is right.
fn receive(host: &mut Host, socket: UdpId, honest: bool) {
    let mut bytes = vec![0; 65_536];
    while let Poll::Ready(Ok((len, _))) = host.stack.udp_recv(socket, &mut bytes) {
        let is = |ident| (0..len).all(|at| bytes[at] == content(ident, at + 8));
        assert!(!honest || (0..4).any(is), "a datagram of {len} bytes that nobody sent");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fragments_that_fit_become_a_datagram() {
        let mut host = Host::new(Config::default(), Offloads::NONE);
        let socket = host.stack.udp_bind((ours(false), PORT).into()).unwrap();
        for (start, end) in [(800, 1500), (0, 800)] {
            let (more, lies) = (end < 1500, false);
            let piece = Piece { ident: 3, start, end, total_len: 1500, more, lies, ecn: 0 };
            host.inject(&ipv4(&piece));
        }
        host.settle();
        assert!(host.stack.udp_ready(socket).contains(hayase_stack::Ready::READABLE));
        receive(&mut host, socket, true);
    }
}
