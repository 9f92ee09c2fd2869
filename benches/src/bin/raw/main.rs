//! A device without a stack: what is to be had from a link at most.
//!
//! One end answers each frame, the other keeps so many on their way. Both ends of a link, each in a process of its own,
//! or both ends of a wire in one, are what `hayase bench` has at its disposal there.
#![forbid(unsafe_code)]

mod stream;

use std::error::Error;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

use hayase_device::conformance::packet::{Ip, Packet};
use hayase_device::{Burst, Caps, Device, Frame, Offloads, TxMeta};

use stream::Stream;

type Result<T = ()> = std::result::Result<T, Box<dyn Error>>;

const USAGE: &str = "\
usage: raw DEVICE echo [OFFLOADS]
       raw DEVICE pingpong WINDOW [OFFLOADS]    frames of 60 bytes, WINDOW of them on their way at a time
       raw DEVICE bulk WINDOW [OFFLOADS]        as large as the device takes them, each answered by one of 60 bytes
       raw DEVICE write [OFFLOADS]              the same, and nobody answers: what the device takes
       raw DEVICE stream US KERNEL:PORT [OFFLOADS]
                                                the same, as a stream that the kernel's TCP takes: US is nobody's address

DEVICE is tap:NAME, xdp:INTERFACE, netmap:PORT or dpdk:VDEV, with the echo at the other end; or wire, which has both in one
thread.
OFFLOADS is all or none, or a list as `hayase bench` takes it.";

/// The shortest frame of Ethernet, in bytes.
const SHORT_LEN: usize = 60;

const ETHERNET_LEN: usize = 14;

/// Headers of Ethernet, IPv4 and TCP.
const HEADER_LEN: usize = 54;

/// The IP packet of a super-segment: what fits a large buffer of every device.
const SUPER_LEN: usize = 65_000;

/// Where an answer says how many bytes it is for: in the payload of its segment.
const COUNT_AT: usize = HEADER_LEN;

/// How long is measured.
const DURATION: Duration = Duration::from_secs(1);

/// Looks at an empty queue before a nap, and its length.
const LOOKS: u32 = 64;
const NAP: Duration = Duration::from_micros(1);

/// Looks for what may come any moment, where nobody but the other end has to work for it.
#[cfg(any(feature = "dpdk", feature = "netmap"))]
const LOOKS_OF_POLLED: u32 = 1 << 16;

/// Frames that were not answered for so long are lost.
const LOST_AFTER: Duration = Duration::from_millis(20);

fn main() -> Result {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let (device, game, rest) = match words[..] {
        [device, "echo", ref rest @ ..] => (device, Game::Echo, rest),
        [device, "pingpong", window, ref rest @ ..] => (device, Game::Pingpong(window.parse()?), rest),
        [device, "bulk", window, ref rest @ ..] => (device, Game::Bulk(window.parse()?), rest),
        [device, "write", ref rest @ ..] => (device, Game::Write, rest),
        [device, "stream", us, kernel, ref rest @ ..] => {
            (device, Game::Stream(us.parse()?, kernel.parse()?), rest)
        }
        _ => return Err(USAGE.into()),
    };
    let offloads = rest.first().map_or(Ok(Offloads::ALL), |list| list.parse())?;
    match device.split_once(':') {
        None if device == "wire" && matches!(game, Game::Pingpong(_) | Game::Bulk(_)) => {
            on_wire(game, offloads);
        }
        Some(("tap", name)) => play(open_tap(name, offloads)?, game, 0)?,
        Some(("xdp", interface)) => play(open_xdp(interface, offloads)?, game, 0)?,
        #[cfg(feature = "netmap")]
        Some(("netmap", port)) => {
            let is_polled = hayase_netmap::PortName::parse(port)?.kind() != hayase_netmap::PortKind::Nic;
            play(open_netmap(port, offloads)?, game, if is_polled { LOOKS_OF_POLLED } else { 0 })?;
        }
        #[cfg(feature = "dpdk")]
        Some(("dpdk", vdev)) => {
            let is_polled =
                ["net_vhost", "net_virtio_user", "net_memif"].iter().any(|name| vdev.starts_with(name));
            let looks = if is_polled { LOOKS_OF_POLLED } else { 0 };
            play(open_dpdk(vdev, offloads)?, game, looks)?;
        }
        _ => return Err(USAGE.into()),
    }
    Ok(())
}

#[derive(Debug, Clone, Copy)]
enum Game {
    Echo,
    Pingpong(usize),
    Bulk(usize),
    Write,
    Stream(Ipv4Addr, SocketAddrV4),
}

fn open_tap(name: &str, offloads: Offloads) -> Result<hayase_tap::TapDevice> {
    let config = hayase_tap::TapConfig { name: name.into(), offloads, ..Default::default() };
    let device = hayase_tap::TapDevice::open(&config)?;
    hayase_tap::host::configure(name, config.mtu, &[])?;
    Ok(device)
}

fn open_xdp(interface: &str, offloads: Offloads) -> Result<hayase_xdp::XdpDevice> {
    let config = hayase_xdp::XdpConfig {
        interface: interface.into(),
        trust: true,
        devices_max: 1,
        offloads,
        ..Default::default()
    };
    Ok(hayase_xdp::open(&config)?.pop().ok_or("an interface without queues")?.into_device()?)
}

#[cfg(feature = "netmap")]
fn open_netmap(port: &str, offloads: Offloads) -> Result<hayase_netmap::NetmapDevice> {
    let config = hayase_netmap::NetmapConfig { port: port.into(), offloads, ..Default::default() };
    Ok(hayase_netmap::open(&config)?.pop().ok_or("a port without queues")?.into_device()?)
}

#[cfg(feature = "dpdk")]
fn open_dpdk(vdev: &str, offloads: Offloads) -> Result<hayase_dpdk::DpdkDevice> {
    let config = hayase_dpdk::DpdkConfig { device: vdev.into(), queues: 1, offloads, ..Default::default() };
    Ok(hayase_dpdk::open(&config)?.pop().ok_or("a port without queues")?.into_device()?)
}

fn on_wire(game: Game, offloads: Offloads) {
    let (mut client, mut server) = hayase_wire::Wire::pair(hayase_wire::WireConfig::default());
    client.set_offloads(offloads);
    server.set_offloads(offloads);
    let (mut burst, mut short) = (Burst::new(64), short(&server));
    measure(&mut client, game, |has_come| {
        if !has_come {
            answer(&mut server, &mut burst, &mut short);
        }
    });
}

/// Spends the time until something comes: the kernel, which carries the frames of most links, may need the processor for that.
#[derive(Debug)]
struct Patience {
    /// Looks without a nap.
    looks: u32,
    empty: u32,
}

impl Patience {
    fn new(looks: u32) -> Patience {
        Patience { looks, empty: 0 }
    }

    /// Something came: who looks long without a nap begins anew. Who does not naps after so many empty looks, whatever came
    /// between.
    fn stir(&mut self) {
        if self.looks > 0 {
            self.empty = 0;
        }
    }

    fn wait(&mut self) {
        self.empty = self.empty.wrapping_add(1);
        if self.empty > self.looks && self.empty.is_multiple_of(LOOKS) {
            std::thread::sleep(NAP);
        }
    }
}

/// The other end is another process.
fn play<D: Device>(mut device: D, game: Game, looks: u32) -> Result {
    let mut patience = Patience::new(looks);
    match game {
        Game::Echo => {
            println!("answering, offloads {}", device.caps().offloads);
            let (mut burst, mut short) = (Burst::new(64), short(&device));
            loop {
                match answer(&mut device, &mut burst, &mut short) {
                    0 => patience.wait(),
                    _ => patience.stir(),
                }
            }
        }
        Game::Write => write(&mut device),
        Game::Stream(us, kernel) => {
            let (frame_len, bytes, took) =
                Stream::connect(&mut device, us, kernel)?.send(&mut device, DURATION)?;
            report(&device, frame_len, bytes, took);
        }
        game => measure(&mut device, game, |has_come| match has_come {
            true => patience.stir(),
            false => patience.wait(),
        }),
    }
    Ok(())
}

fn is_ours<F: Frame>(frame: &F) -> bool {
    let bytes = frame.bytes();
    bytes.len() >= HEADER_LEN && bytes[12..14] == [8, 0] && bytes[26..30] == [192, 0, 2, 1]
}

/// Frames of one kind: what is sent is a copy, with a few bytes of its own.
#[derive(Debug)]
struct Template {
    bytes: Vec<u8>,
    meta: TxMeta,
}

impl Template {
    /// A frame to everybody, and as much of it left to the device as that does.
    fn new(len: usize, mac: [u8; 6], caps: &Caps) -> Template {
        let packet = Packet::tcp(Ip::V4, len - HEADER_LEN).between(mac, [0xff; 6]);
        let segment_len = (caps.mtu + ETHERNET_LEN - HEADER_LEN) as u16;
        if len > caps.mtu + ETHERNET_LEN {
            Template { bytes: packet.build_partial(), meta: packet.segmentation_meta(segment_len) }
        } else if caps.offloads.contains(Offloads::TX_CHECKSUM_TCP) {
            Template { bytes: packet.build_partial(), meta: packet.checksum_meta() }
        } else {
            Template { bytes: packet.build(), meta: TxMeta::default() }
        }
    }

    /// From now on, to the sender of this frame.
    fn turn_to(&mut self, frame: &impl Frame) {
        self.bytes[..6].copy_from_slice(&frame.bytes()[6..12]);
    }

    /// Queues one that is for `count` bytes. Whether there was room and memory for it.
    fn send<D: Device>(&self, device: &mut D, count: usize) -> bool {
        if device.room() == 0 {
            return false;
        }
        let Some(mut frame) = device.alloc(self.bytes.len()) else { return false };
        let Some(out) = frame.extend(self.bytes.len()) else { return false };
        out.copy_from_slice(&self.bytes);
        out[COUNT_AT..COUNT_AT + 4].copy_from_slice(&(count as u32).to_be_bytes());
        device.transmit(frame, self.meta);
        true
    }
}

/// Answers what is there, each with a short frame. Returns how many came.
fn answer<D: Device>(device: &mut D, burst: &mut Burst<D::Frame>, short: &mut Template) -> usize {
    let received = device.receive(burst);
    for (frame, _) in burst.drain().filter(|(frame, _)| is_ours(frame)) {
        short.turn_to(&frame);
        short.send(device, frame.total_len());
    }
    device.flush();
    received
}

fn short<D: Device>(device: &D) -> Template {
    Template::new(SHORT_LEN, device.mac(), device.caps())
}

fn full<D: Device>(device: &D) -> Template {
    let caps = device.caps();
    let is_cut = caps.offloads.contains(Offloads::TSO4);
    let len = if is_cut { caps.tso_len_max.min(SUPER_LEN) } else { caps.mtu };
    Template::new(len + ETHERNET_LEN, device.mac(), caps)
}

/// Waits for the link, which may take a moment to come up at both ends, and learns the other end's address.
fn wait_for_answer<D: Device>(device: &mut D, template: &mut Template, mut idle: impl FnMut(bool)) {
    let mut burst = Burst::new(64);
    loop {
        short(device).send(device, 0);
        device.flush();
        std::thread::sleep(LOST_AFTER);
        idle(false);
        device.receive(&mut burst);
        if let Some((frame, _)) = burst.drain().find(|(frame, _)| is_ours(frame)) {
            return template.turn_to(&frame);
        }
    }
}

/// Keeps the window full until the time is over; `looked` is called after each look, and told whether something has come.
fn measure<D: Device>(device: &mut D, game: Game, mut looked: impl FnMut(bool)) {
    let (window, mut template) = match game {
        Game::Echo | Game::Write | Game::Stream(..) => return,
        Game::Pingpong(window) => (window, short(device)),
        Game::Bulk(window) => (window, full(device)),
    };
    wait_for_answer(device, &mut template, &mut looked);
    let room = window * template.bytes.len();
    let (mut burst, mut on_their_way, mut answered) = (Burst::new(64), 0_usize, 0_u64);
    let start = Instant::now();
    let mut heard_at = start;
    while start.elapsed() < DURATION {
        while on_their_way + template.bytes.len() <= room && template.send(device, 0) {
            on_their_way += template.bytes.len();
        }
        device.flush();
        device.receive(&mut burst);
        let mut count = 0;
        for (frame, _) in burst.drain().filter(|(frame, _)| is_ours(frame)) {
            count += count_in(&frame);
        }
        looked(count > 0);
        if count > 0 {
            (on_their_way, heard_at) = (on_their_way.saturating_sub(count), Instant::now());
            answered += count as u64;
        } else if heard_at.elapsed() > LOST_AFTER {
            (on_their_way, heard_at) = (0, Instant::now());
        }
    }
    report(device, template.bytes.len(), answered, start.elapsed());
}

/// Writes until the time is over; nobody says what arrived.
fn write<D: Device>(device: &mut D) {
    let (template, mut patience, mut written) = (full(device), Patience::new(0), 0_u64);
    let start = Instant::now();
    while start.elapsed() < DURATION {
        // As many as the stack has in a turn.
        let count = (0..64).take_while(|_| template.send(device, 0)).count();
        device.flush();
        written += count as u64;
        if count == 0 {
            patience.wait();
        }
    }
    let mut dropped = 0;
    device.drops(&mut |name, count| dropped += if name.starts_with("tx") { count } else { 0 });
    let frame_len = template.bytes.len();
    report(device, frame_len, (written - dropped) * frame_len as u64, start.elapsed());
}

fn report<D: Device>(device: &D, frame_len: usize, bytes: u64, elapsed: Duration) {
    let (seconds, offloads) = (elapsed.as_secs_f64(), device.caps().offloads);
    let (frames, bits) = (bytes as f64 / frame_len as f64, bytes as f64 * 8.0);
    println!("{:.0} frames/s, {:.3} Gbit/s, offloads {offloads}", frames / seconds, bits / seconds / 1e9);
}

/// For how many bytes an answer is; none, if it is no answer.
fn count_in<F: Frame>(frame: &F) -> usize {
    let bytes = frame.bytes().get(COUNT_AT..COUNT_AT + 4).and_then(|bytes| bytes.try_into().ok());
    bytes.map_or(0, u32::from_be_bytes) as usize
}
