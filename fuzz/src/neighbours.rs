//! What hosts and routers of the link say of themselves and each other: ARP, neighbour and router discovery, multicast
//! listener queries, with any options; while the stack looks for neighbours, makes addresses and watches them.

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use hayase_device::Offloads;
use hayase_stack::Config;

use crate::host::{Host, any_address};
use crate::input::Input;
use crate::packet::{ICMPV6, ethernet, ip};

const STEPS_MAX: usize = 200;
/// Fewer than the fuzzer can name, so that the limits are met.
const NEIGHBORS_MAX: usize = 4;
const ADDRESSES_MAX: usize = 6;
const ROUTES_MAX: usize = 8;

/// A host that believes routers, on a link where anybody says anything.
pub fn neighbours(data: &[u8]) {
    let mut input = Input::new(data);
    let choice = input.byte();
    let mut config = Config::default();
    config.autoconf = choice & 1 != 0;
    config.dad_transmits = Some(choice >> 1 & 3);
    config.announce = Some(choice & 8 != 0);
    (config.neighbors_max, config.addresses_max, config.routes_max) =
        (NEIGHBORS_MAX, ADDRESSES_MAX, ROUTES_MAX);
    let mut host =
        if choice & 16 != 0 { Host::alone(config, Offloads::NONE) } else { Host::new(config, Offloads::ALL) };
    let socket = host.stack.udp_bind("[::]:9000".parse().expect("an address")).expect("a free port");
    for _ in 0..STEPS_MAX {
        if input.is_empty() {
            break;
        }
        match input.byte() % 8 {
            0 => arp(&mut host, &mut input),
            1..=4 => discovery(&mut host, &mut input),
            5 => {
                let to = (any_address(input.flag(), input.byte()), 9001).into();
                let _ = host.stack.udp_send(host.now, socket, b"hello", Some(to), &mut host.device);
            }
            6 => drop(host.pass(Duration::from_millis(u64::from(input.u16()) * 20))),
            _ => configure(&mut host, &mut input),
        }
        host.settle();
        assert!(host.stack.address_states().count() <= ADDRESSES_MAX, "addresses without a limit");
    }
    host.stack.udp_close(socket);
    host.finish(&[]);
}

fn mac(input: &mut Input<'_>) -> [u8; 6] {
    input.pick(&[[2, 0, 0, 0, 0, 0x0a], [2, 0, 0, 0, 0, 0x0b], [2, 0, 0, 0, 0, 9], [0xff; 6], [0; 6]])
}

fn arp(host: &mut Host, input: &mut Input<'_>) {
    let mut packet = vec![0, 1, 8, 0, 6, 4, 0, 1 + input.byte() % 3];
    packet.extend(mac(input));
    packet.extend([10, 0, 0, input.byte() % 8]);
    packet.extend(mac(input));
    packet.extend([10, 0, 0, input.byte() % 8]);
    if input.flag() {
        let at = usize::from(input.byte()) % packet.len();
        packet[at] = input.byte();
    }
    host.inject(&ethernet(0x0806, &packet));
}

/// Addresses that matter, and others.
fn address(host: &Host, input: &mut Input<'_>) -> Ipv6Addr {
    let own = host.stack.address_states().filter_map(|(cidr, _)| match cidr.addr() {
        IpAddr::V6(address) => Some(address),
        IpAddr::V4(_) => None,
    });
    let own: Vec<_> = own.collect();
    let choice = input.byte();
    match choice % 8 {
        0 => Ipv6Addr::UNSPECIFIED,
        1 => Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1),
        2 => Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, u16::from(choice >> 3)),
        3 => Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, u16::from(choice >> 3)),
        4 => match own.first() {
            // The group in which an address is asked for.
            Some(own) => {
                let [.., a, b, c] = own.octets();
                let (high, low) = (0xff00 | u16::from(a), u16::from_be_bytes([b, c]));
                Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, high, low)
            }
            None => Ipv6Addr::LOCALHOST,
        },
        _ => own.get(usize::from(choice >> 3) % own.len().max(1)).copied().unwrap_or(Ipv6Addr::LOCALHOST),
    }
}

fn discovery(host: &mut Host, input: &mut Input<'_>) {
    let (src, dst) = (address(host, input), address(host, input));
    let kind = input.pick(&[133, 134, 134, 134, 135, 135, 136, 137, 130, 128]);
    let mut message = vec![kind, 0, 0, 0];
    match kind {
        134 => message.extend(input.bytes(12)),
        135..=137 => {
            message.extend([input.byte(), 0, 0, 0]);
            message.extend(address(host, input).octets());
        }
        _ => message.extend(input.bytes(4)),
    }
    if kind == 137 {
        message.extend(address(host, input).octets());
    }
    message.resize(message.len().next_multiple_of(8), 0);
    for _ in 0..input.byte() % 5 {
        option(&mut message, input);
    }
    let hop_limit = if input.byte() == 7 { 64 } else { 255 };
    host.inject(&ip(src.into(), dst.into(), ICMPV6, hop_limit, &message));
}

fn option(message: &mut Vec<u8>, input: &mut Input<'_>) {
    match input.byte() % 6 {
        0 => {
            message.extend([1, 1]);
            message.extend(mac(input));
        }
        1 => {
            message.extend([2, 1]);
            message.extend(mac(input));
        }
        2 | 3 => {
            let len = input.pick(&[64, 64, 64, 0, 48, 128, 129]);
            message.extend([3, 4, len, input.byte()]);
            let seconds = [0, 1, 60, 7200, 86_400, u32::MAX];
            message.extend(input.pick(&seconds).to_be_bytes());
            message.extend(input.pick(&seconds).to_be_bytes());
            message.extend([0; 4]);
            let network = input.pick(&[0xfd00, 0x2001, 0xfe80, 0xff02]);
            message.extend(Ipv6Addr::new(network, u16::from(input.byte()), 0, 0, 0, 0, 0, 0).octets());
        }
        4 => {
            message.extend([5, 1, 0, 0]);
            message.extend(input.pick(&[1280, 1500, 0, 68, 9000, u32::MAX]).to_be_bytes());
        }
        _ => message.extend(input.some_bytes(40)),
    }
}

fn configure(host: &mut Host, input: &mut Input<'_>) {
    let v6 = input.flag();
    let address = any_address(v6, input.byte());
    let prefix = if v6 { 64 } else { 24 };
    let cidr = format!("{address}/{prefix}").parse().expect("an address and a length");
    let _ = match input.byte() % 4 {
        0 => host.stack.add_address(cidr),
        1 => host.stack.remove_address(address),
        2 => host.stack.add_route(cidr, any_address(v6, input.byte())),
        _ => host.stack.remove_route(cidr),
    };
}
