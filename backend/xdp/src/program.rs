//! The program that runs for each received packet: ours go to the socket of their queue, the others to the kernel.
//!
//! It is a handful of instructions, so it is put together here, for the choice at hand, rather than compiled.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use crate::Keep;
use crate::sys::Instruction;

/// What a program returns: the packet goes on to the kernel.
const PASS: i32 = 2;

/// `bpf_redirect_map`.
const REDIRECT_MAP: i32 = 51;

/// A map's descriptor is loaded as its address.
const PSEUDO_MAP_FD: u8 = 1;

/// Offsets in the program's context, `struct xdp_md`.
const DATA: i16 = 0;
const DATA_END: i16 = 4;
const QUEUE_INDEX: i16 = 16;

const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_IPV6: u16 = 0x86dd;

const HOP_BY_HOP: i32 = 0;
const ICMP: i32 = 1;
const IGMP: i32 = 2;
const TCP: i32 = 6;
const UDP: i32 = 17;
const ICMPV6: i32 = 58;

/// Registers, and what this program has in them.
const RETURN: u8 = 0;
const SCRATCH: u8 = 0;
const ARGUMENT_1: u8 = 1;
const ARGUMENT_2: u8 = 2;
const ARGUMENT_3: u8 = 3;
/// The first byte of the packet.
const PACKET: u8 = 2;
/// Behind its last byte.
const END: u8 = 3;
const LIMIT: u8 = 4;
const PROTOCOL: u8 = 5;
const CONTEXT: u8 = 6;
/// The first byte of the transport header.
const TRANSPORT: u8 = 7;

/// A place in the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Label {
    Redirect,
    Pass,
    V4,
    V6,
    Transport,
    Icmp,
    Icmpv6,
    /// One that a part of the program has for itself.
    Local(usize),
}

/// How wide a load is; as the instruction has it.
#[derive(Debug, Clone, Copy)]
enum Width {
    Byte = 0x71,
    Half = 0x69,
    Word = 0x61,
}

/// Why a jump is taken; as the instruction has it. The comparison is with a constant, unsigned.
#[derive(Debug, Clone, Copy)]
enum If {
    Equal = 0x15,
    Differs = 0x55,
    Below = 0xa5,
    NotAbove = 0xb5,
    AnyBit = 0x45,
    /// Of the low 32 bits.
    Differs32 = 0x56,
}

#[derive(Debug, Default)]
struct Assembler {
    code: Vec<Instruction>,
    /// Jumps that do not know yet how far.
    jumps: Vec<(usize, Label)>,
    places: Vec<(Label, usize)>,
    locals: usize,
}

impl Assembler {
    fn emit(&mut self, code: u8, destination: u8, source: u8, offset: i16, immediate: i32) {
        let registers = if cfg!(target_endian = "little") {
            destination | source << 4
        } else {
            destination << 4 | source
        };
        self.code.push(Instruction { code, registers, offset, immediate });
    }

    fn copy(&mut self, destination: u8, source: u8) {
        self.emit(0xbf, destination, source, 0, 0);
    }

    fn set(&mut self, destination: u8, value: i32) {
        self.emit(0xb7, destination, 0, 0, value);
    }

    fn add(&mut self, destination: u8, value: i32) {
        self.emit(0x07, destination, 0, 0, value);
    }

    fn add_register(&mut self, destination: u8, source: u8) {
        self.emit(0x0f, destination, source, 0, 0);
    }

    fn and(&mut self, destination: u8, value: i32) {
        self.emit(0x57, destination, 0, 0, value);
    }

    fn shift_left(&mut self, destination: u8, bits: i32) {
        self.emit(0x67, destination, 0, 0, bits);
    }

    fn load(&mut self, width: Width, destination: u8, source: u8, offset: i16) {
        self.emit(width as u8, destination, source, offset, 0);
    }

    /// Loads 16 bits that are in network order.
    fn load_be16(&mut self, destination: u8, source: u8, offset: i16) {
        self.load(Width::Half, destination, source, offset);
        self.emit(0xdc, destination, 0, 0, 16);
    }

    fn jump(&mut self, to: Label) {
        self.jumps.push((self.code.len(), to));
        self.emit(0x05, 0, 0, 0, 0);
    }

    fn jump_if(&mut self, register: u8, why: If, value: i32, to: Label) {
        self.jumps.push((self.code.len(), to));
        self.emit(why as u8, register, 0, 0, value);
    }

    /// Jumps to `to` unless `len` bytes from `base` on are in the packet.
    fn need(&mut self, base: u8, len: i32, to: Label) {
        self.copy(LIMIT, base);
        self.add(LIMIT, len);
        self.jumps.push((self.code.len(), to));
        // Unsigned greater than.
        self.emit(0x2d, LIMIT, END, 0, 0);
    }

    fn place(&mut self, label: Label) {
        self.places.push((label, self.code.len()));
    }

    fn local(&mut self) -> Label {
        self.locals += 1;
        Label::Local(self.locals)
    }

    /// The program, with every jump as far as it goes.
    fn finish(mut self) -> Vec<Instruction> {
        for (at, label) in self.jumps {
            let (_, to) = self.places.iter().find(|(place, _)| *place == label).expect("a label has a place");
            self.code[at].offset = (*to as i64 - at as i64 - 1) as i16;
        }
        self.code
    }
}

/// The program for a map of sockets that leaves to the kernel what is to be kept, and what arrives on a queue that is
/// not in the map.
pub(crate) fn assemble(keep: &[Keep], map: i32) -> Vec<Instruction> {
    let mut asm = Assembler::default();
    asm.copy(CONTEXT, ARGUMENT_1);
    if !keep.is_empty() {
        sort(&mut asm, keep);
    }
    asm.place(Label::Redirect);
    asm.load(Width::Word, ARGUMENT_2, CONTEXT, QUEUE_INDEX);
    // The address of the map, in two instructions.
    asm.emit(0x18, ARGUMENT_1, PSEUDO_MAP_FD, 0, map);
    asm.emit(0, 0, 0, 0, 0);
    asm.set(ARGUMENT_3, PASS);
    asm.emit(0x85, 0, 0, 0, REDIRECT_MAP);
    asm.emit(0x95, 0, 0, 0, 0);
    // The verifier refuses what is never reached.
    if !keep.is_empty() {
        asm.place(Label::Pass);
        asm.set(RETURN, PASS);
        asm.emit(0x95, 0, 0, 0, 0);
    }
    asm.finish()
}

/// Falls through with what is ours, and jumps with what is the kernel's.
fn sort(asm: &mut Assembler, keep: &[Keep]) {
    asm.load(Width::Word, PACKET, CONTEXT, DATA);
    asm.load(Width::Word, END, CONTEXT, DATA_END);
    asm.need(PACKET, 14, Label::Pass);
    asm.load_be16(SCRATCH, PACKET, 12);
    asm.jump_if(SCRATCH, If::Equal, i32::from(ETHERTYPE_IPV4), Label::V4);
    asm.jump_if(SCRATCH, If::Equal, i32::from(ETHERTYPE_IPV6), Label::V6);
    // ARP among others: we have it from the kernel.
    asm.jump(Label::Pass);
    sort_v4(asm, keep);
    sort_v6(asm, keep);
    asm.place(Label::Transport);
    sort_ports(
        asm,
        TCP,
        keep.iter().filter_map(|keep| if let Keep::Tcp(ports) = keep { Some(ports) } else { None }),
    );
    sort_ports(
        asm,
        UDP,
        keep.iter().filter_map(|keep| if let Keep::Udp(ports) = keep { Some(ports) } else { None }),
    );
    asm.jump(Label::Redirect);
    let echo = keep.contains(&Keep::Icmp);
    // Destination unreachable, time exceeded, parameter problem (RFC 792); echo.
    sort_types(asm, Label::Icmp, &[(3, 3), (11, 12)], &[(0, 0), (8, 8)], echo);
    // Errors (RFC 4443 §2.1), neighbour discovery (RFC 4861 §4); echo.
    sort_types(asm, Label::Icmpv6, &[(1, 4), (133, 137)], &[(128, 129)], echo);
}

fn sort_v4(asm: &mut Assembler, keep: &[Keep]) {
    asm.place(Label::V4);
    asm.need(PACKET, 34, Label::Redirect);
    for keep in keep {
        if let Keep::Address(IpAddr::V4(address)) = keep {
            let next = asm.local();
            jump_unless_equal(asm, 30, &address.octets(), next);
            asm.jump(Label::Pass);
            asm.place(next);
        }
    }
    // Fragments but the first have no transport header (RFC 791 §3.1).
    asm.load_be16(SCRATCH, PACKET, 20);
    asm.jump_if(SCRATCH, If::AnyBit, 0x1fff, Label::Redirect);
    asm.load(Width::Byte, PROTOCOL, PACKET, 23);
    asm.load(Width::Byte, SCRATCH, PACKET, 14);
    asm.and(SCRATCH, 0x0f);
    asm.shift_left(SCRATCH, 2);
    asm.copy(TRANSPORT, PACKET);
    asm.add_register(TRANSPORT, SCRATCH);
    asm.add(TRANSPORT, 14);
    asm.need(TRANSPORT, 4, Label::Redirect);
    asm.jump_if(PROTOCOL, If::Equal, ICMP, Label::Icmp);
    // Queries for groups: the kernel is in some, and we in none that anybody asks for.
    asm.jump_if(PROTOCOL, If::Equal, IGMP, Label::Pass);
    asm.jump(Label::Transport);
}

fn sort_v6(asm: &mut Assembler, keep: &[Keep]) {
    asm.place(Label::V6);
    asm.need(PACKET, 54, Label::Redirect);
    for keep in keep {
        if let Keep::Address(IpAddr::V6(address)) = keep {
            let next = asm.local();
            jump_unless_equal(asm, 38, &address.octets(), next);
            asm.jump(Label::Pass);
            asm.place(next);
        }
    }
    asm.load(Width::Byte, PROTOCOL, PACKET, 20);
    asm.copy(TRANSPORT, PACKET);
    asm.add(TRANSPORT, 54);
    asm.need(TRANSPORT, 4, Label::Redirect);
    asm.jump_if(PROTOCOL, If::Equal, ICMPV6, Label::Icmpv6);
    sort_listeners(asm);
}

/// Passes what is said of groups: a switch that looks into it would keep neighbour discovery from a kernel that never
/// answers. It stands behind a hop-by-hop header with a router alert, of eight bytes (RFC 3810 §5).
fn sort_listeners(asm: &mut Assembler) {
    let other = asm.local();
    asm.jump_if(PROTOCOL, If::Differs, HOP_BY_HOP, other);
    asm.need(TRANSPORT, 12, Label::Redirect);
    asm.load_be16(SCRATCH, TRANSPORT, 0);
    asm.jump_if(SCRATCH, If::Differs, ICMPV6 << 8, Label::Redirect);
    asm.load(Width::Byte, SCRATCH, TRANSPORT, 8);
    // Query, report, done (RFC 2710); report of version 2.
    pass_range(asm, 130, 132);
    pass_range(asm, 143, 143);
    asm.jump(Label::Redirect);
    asm.place(other);
}

/// Jumps to `to` unless the packet has these bytes at `offset`.
fn jump_unless_equal(asm: &mut Assembler, offset: i16, bytes: &[u8], to: Label) {
    for (index, word) in bytes.chunks_exact(4).enumerate() {
        let word = i32::from_ne_bytes([word[0], word[1], word[2], word[3]]);
        asm.load(Width::Word, SCRATCH, PACKET, offset + 4 * index as i16);
        asm.jump_if(SCRATCH, If::Differs32, word, to);
    }
}

/// Passes what goes to one of these ports of a protocol.
fn sort_ports<'a>(asm: &mut Assembler, protocol: i32, ports: impl Iterator<Item = &'a RangeInclusive<u16>>) {
    let other = asm.local();
    asm.jump_if(PROTOCOL, If::Differs, protocol, other);
    asm.load_be16(SCRATCH, TRANSPORT, 2);
    for range in ports {
        pass_range(asm, i32::from(*range.start()), i32::from(*range.end()));
    }
    asm.place(other);
}

/// Passes what is in the scratch register if it is in the range.
fn pass_range(asm: &mut Assembler, first: i32, last: i32) {
    let next = asm.local();
    asm.jump_if(SCRATCH, If::Below, first, next);
    asm.jump_if(SCRATCH, If::NotAbove, last, Label::Pass);
    asm.place(next);
}

/// Passes messages of ICMP by their types: those that both sides need, and echo if it is the kernel's.
fn sort_types(asm: &mut Assembler, label: Label, both: &[(i32, i32)], echo: &[(i32, i32)], has_echo: bool) {
    asm.place(label);
    asm.load(Width::Byte, SCRATCH, TRANSPORT, 0);
    let echo = if has_echo { echo } else { &[] };
    for &(first, last) in both.iter().chain(echo) {
        pass_range(asm, first, last);
    }
    asm.jump(Label::Redirect);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_anything_kept_it_is_a_redirection() {
        let code = assemble(&[], 7);
        assert_eq!(code.len(), 7);
        assert_eq!((code[2].code, code[2].immediate), (0x18, 7));
    }

    #[test]
    fn every_jump_goes_forward_to_a_place_in_the_program() {
        let keep = [
            Keep::Tcp(22..=22),
            Keep::Udp(0..=u16::MAX),
            Keep::Icmp,
            Keep::Arp,
            Keep::Address("10.7.0.1".parse().unwrap()),
            Keep::Address("fd00::1".parse().unwrap()),
        ];
        let code = assemble(&keep, 3);
        let is_jump = |code: u8| matches!(code & 7, 5 | 6) && !matches!(code, 0x85 | 0x95);
        for (at, instruction) in code.iter().enumerate().filter(|(_, instruction)| is_jump(instruction.code))
        {
            let to = at as i64 + 1 + i64::from(instruction.offset);
            assert!(to > at as i64 && to < code.len() as i64, "instruction {at} jumps to {to}");
        }
    }
}
