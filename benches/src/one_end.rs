//! What one end of a connection does, by the stack's own calls: the other end is a device, from which the same segment comes
//! again and again with other numbers in it. Both devices are in the figures: a frame's way over the wire is what `wire-echo`
//! costs, by half.

use std::hint::black_box;
use std::task::Poll;

use hayase_device::heap::HeapFrame;
use hayase_device::{Burst, Device, Frame, Offloads, TxChecksum, TxMeta};
use hayase_stack::wire::{ethernet, ipv4};
use hayase_stack::{Instant, TcpId};
use hayase_wire::WireDevice;

use crate::round_trip::{Host, Pair};

/// The payload of a full segment.
const SEGMENT_LEN: usize = 1448;

/// Where headers and fields start in a frame without VLAN tag and IP options.
const IP: usize = 14;
const TCP: usize = IP + 20;
const SEQ: usize = TCP + 4;
const ACK: usize = TCP + 8;

/// The checksum is left to the receiver, which counts it as right: nobody sums anything.
const META: TxMeta =
    TxMeta { checksum: Some(TxChecksum { start: TCP as u16, offset: 16 }), segmentation: None };

/// A segment, to be sent again with other numbers.
struct Template {
    bytes: Vec<u8>,
    /// Of sequence number and acknowledgement, one changes.
    field: usize,
    number: u32,
}

impl Template {
    /// The last of the frames that wait at a device.
    fn of(device: &mut WireDevice, burst: &mut Burst<HeapFrame>, field: usize) -> Template {
        device.receive(burst);
        let frame = burst.drain().last().expect("a frame was sent").0;
        let mut bytes = frame.bytes().to_vec();
        let mut rest = frame.next();
        while let Some(next) = rest {
            bytes.extend_from_slice(next.bytes());
            rest = next.next();
        }
        let number = u32::from_be_bytes(bytes[field..field + 4].try_into().expect("four bytes"));
        Template { bytes, field, number }
    }

    fn send(&mut self, device: &mut WireDevice) {
        let mut frame = device.alloc(self.bytes.len()).expect("the pool is not empty");
        let bytes = frame.extend(self.bytes.len()).expect("there is room");
        bytes.copy_from_slice(&self.bytes);
        bytes[self.field..self.field + 4].copy_from_slice(&self.number.to_be_bytes());
        device.transmit(frame, META);
        device.flush();
    }

    fn advance(&mut self, len: usize) {
        self.number = self.number.wrapping_add(len as u32);
    }
}

/// A host with a connection, and the device at the other end.
struct End {
    host: Host,
    id: TcpId,
    far: WireDevice,
    burst: Burst<HeapFrame>,
    now: Instant,
}

impl End {
    /// With the template that `make` has the other host send, before it is taken away.
    fn new(field: usize, make: impl FnOnce(&mut Pair, TcpId, TcpId)) -> (End, Template) {
        let mut pair = Pair::new(Offloads::ALL);
        let (clients, servers) = pair.connect(1);
        make(&mut pair, clients[0], servers[0]);
        let Pair { client: mut host, server, now } = pair;
        let mut burst = Burst::new(64);
        let template = Template::of(&mut host.device, &mut burst, field);
        (End { host, id: clients[0], far: server.device, burst, now }, template)
    }

    fn turn(&mut self, work: impl FnOnce(&mut Host, TcpId, Instant)) {
        self.now += std::time::Duration::from_nanos(500);
        self.host.receive(self.now);
        work(&mut self.host, self.id, self.now);
        self.host.stack.drain_ready(|_, _| {});
        self.host.transmit(self.now);
        self.far.receive(&mut self.burst);
        self.burst.drain().for_each(drop);
    }
}

/// The server sends a full segment, which stays at the client's device.
fn full_segment(pair: &mut Pair, _client: TcpId, server: TcpId) {
    let Host { stack, device, .. } = &mut pair.server;
    let written = stack.tcp_write(pair.now, server, &[0x5a; SEGMENT_LEN], device);
    assert_eq!(written, Poll::Ready(Ok(SEGMENT_LEN)));
    pair.server.transmit(pair.now);
}

/// The client sends two segments, and the server acknowledges both.
fn acknowledgement(pair: &mut Pair, client: TcpId, _server: TcpId) {
    let Host { stack, device, .. } = &mut pair.client;
    let written = stack.tcp_write(pair.now, client, &[0x5a; 2 * SEGMENT_LEN], device);
    assert_eq!(written, Poll::Ready(Ok(2 * SEGMENT_LEN)));
    pair.client.transmit(pair.now);
    pair.server.receive(pair.now);
    pair.server.transmit(pair.now);
}

/// A full segment in order: demultiplexed, queued, read with a copy; an acknowledgement for every second one.
pub(crate) fn receive_segment(count: u64) {
    let (mut end, mut template) = End::new(SEQ, full_segment);
    let mut buf = vec![0; SEGMENT_LEN];
    for _ in 0..count {
        template.send(&mut end.far);
        template.advance(SEGMENT_LEN);
        end.turn(|host, id, now| {
            let read = host.stack.tcp_read(now, id, &mut buf);
            assert_eq!(read, Poll::Ready(Ok(SEGMENT_LEN)));
        });
    }
}

/// A full segment written, sent and acknowledged.
pub(crate) fn send_segment(count: u64) {
    let (mut end, mut template) = End::new(ACK, acknowledgement);
    let bytes = vec![0x5a; SEGMENT_LEN];
    for _ in 0..count {
        template.send(&mut end.far);
        template.advance(SEGMENT_LEN);
        end.turn(|host, id, now| {
            let written = host.stack.tcp_write(now, id, &bytes, &mut host.device);
            assert_eq!(written, Poll::Ready(Ok(SEGMENT_LEN)));
        });
    }
}

/// An acknowledgement that says nothing new: demultiplexed, checked, and dropped.
pub(crate) fn receive_old_ack(count: u64) {
    let (mut end, mut template) = End::new(ACK, acknowledgement);
    for _ in 0..count {
        template.send(&mut end.far);
        end.turn(|_, _, _| {});
    }
}

/// A datagram of 64 bytes: route, neighbour, headers, checksum left to the device.
pub(crate) fn send_datagram(count: u64) {
    let (mut end, _) = End::new(SEQ, full_segment);
    let local = "0.0.0.0:9".parse().expect("an address");
    let to = Some("10.0.0.2:9".parse().expect("an address"));
    let socket = end.host.stack.udp_bind(local).expect("a free port");
    for _ in 0..count {
        end.turn(|host, _, now| {
            let sent = host.stack.udp_send(now, socket, &[0x5a; 64], to, &mut host.device);
            assert_eq!(sent, Poll::Ready(Ok(64)));
        });
    }
}

/// The headers of Ethernet and IPv4, read. (TCP's are read where they lie, in the stack's own stages.)
pub(crate) fn headers(count: u64) {
    let (_end, template) = End::new(SEQ, full_segment);
    for _ in 0..count {
        let bytes = black_box(&template.bytes[..]);
        let ethernet = ethernet::parse(bytes).expect("the stack made it");
        let ip = ipv4::parse(&bytes[IP..], bytes.len() - IP).expect("the stack made it");
        black_box((ethernet, ip));
    }
}
