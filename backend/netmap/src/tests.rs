//! Against a fake of netmap's memory, everywhere; and against the real one where `/dev/netmap` exists.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::mem::offset_of;
use std::path::Path;
use std::rc::Rc;

use hayase_device::conformance::packet::{Ip, Packet, raw};
use hayase_device::conformance::{self, Arrived, Harness, PEER_MAC, run};
use hayase_device::{Burst, Device, Frame, Interest, Offloads, SharedBytes, TxMeta};
use netmap_sys::{Interface, NS_BUF_CHANGED, NS_MOREFRAG, NmreqRegister, Ring, Slot};

use crate::device::{PairSetup, Setup};
use crate::fake::{BUFFER_LEN, Image, Nic, NicKernel, Pipe, PipeKernel, Shape, SharedNic};
use crate::memory::{Kernel, RECEIVE_RESERVE};
use crate::sys::{Binding, Region, testing};
use crate::{NetmapConfig, NetmapDevice, NetmapError, NetmapFrame, open};

/// The offsets that a NIC is asked for.
const OFFSETS: u64 = 0xffff;

/// A device on the fake; what differs from test to test.
#[derive(Debug, Clone, Copy)]
struct Options {
    keeps_buffer: bool,
    takes_chains: bool,
    has_offsets: bool,
    mtu: usize,
}

impl Default for Options {
    fn default() -> Options {
        Options { keeps_buffer: true, takes_chains: true, has_offsets: false, mtu: 1500 }
    }
}

fn device(
    image: &Image,
    region: &Rc<Region>,
    options: Options,
    end: usize,
    kernel: Box<dyn Kernel>,
) -> NetmapDevice {
    let bound = image.bound[end];
    let pair = |ringid| PairSetup::new(region, &NmreqRegister { ringid, ..bound }, options.has_offsets);
    let setup = Setup {
        region: Rc::clone(region),
        binding: Binding::new(region, &bound).expect("a binding"),
        pairs: (0..bound.rx_rings).map(|ring| pair(ring).expect("a pair")).collect(),
        keeps_buffer: options.keeps_buffer,
        takes_chains: options.takes_chains,
        mac: [2, 0, 0, 0, 0, end as u8],
        mtu: options.mtu,
        offloads: Offloads::ALL,
        queue: 0,
        queues: 1,
    };
    NetmapDevice::new("fake".into(), setup, kernel).expect("a device")
}

/// A device on a fake NIC.
struct NicLink {
    device: NetmapDevice,
    nic: SharedNic,
    region: Rc<Region>,
    image: Image,
}

impl NicLink {
    fn new(shape: Shape, options: Options) -> NicLink {
        let image = Image::new(shape);
        let region = image.region();
        let options = Options { has_offsets: shape.offset_mask != 0, ..options };
        let nic = Rc::new(RefCell::new(Nic::new(&region, &image.bound[0])));
        let device = device(&image, &region, options, 0, Box::new(NicKernel(Rc::clone(&nic))));
        NicLink { device, nic, region, image }
    }

    fn arrives(&self, frame: &[u8]) {
        self.nic.borrow_mut().arriving[0].push_back(frame.to_vec());
    }

    fn receive(&mut self) -> Vec<NetmapFrame> {
        let mut burst = Burst::new(32);
        self.device.receive(&mut burst);
        burst.drain().map(|(frame, _)| frame).collect()
    }

    fn frame(&mut self, bytes: &[u8]) -> NetmapFrame {
        let mut frame = self.device.alloc(bytes.len()).expect("a buffer");
        frame.extend(bytes.len()).expect("room").copy_from_slice(bytes);
        frame
    }

    fn send(&mut self, frame: NetmapFrame) {
        self.device.transmit(frame, TxMeta::default());
        self.device.flush();
    }

    fn drops(&self, name: &str) -> u64 {
        let mut found = None;
        self.device.drops(&mut |reason, count| found = found.or((reason == name).then_some(count)));
        found.expect("a known reason")
    }

    /// Closes the device, and looks whether the kernel finds every buffer once.
    fn assert_whole(self) {
        drop(self.device);
        let extra = Binding::new(&self.region, &self.image.bound[0]).expect("a binding").extra();
        assert_each_once(&self.region, self.nic.borrow().buffers(), extra);
    }
}

fn assert_each_once(region: &Region, slots: Vec<u32>, extra: Vec<u32>) {
    let mut buffers = [slots, extra].concat();
    buffers.sort_unstable();
    assert_eq!(buffers, (2..region.buffer_count()).collect::<Vec<_>>());
}

/// Where a frame is: the number of its buffer and the offset in it.
fn place(frame: &NetmapFrame) -> (u32, usize) {
    (frame.buffer().id().expect("a live buffer").number(), frame.start() as usize)
}

impl Harness for NicLink {
    type Device = NetmapDevice;

    fn device(&mut self) -> &mut NetmapDevice {
        &mut self.device
    }

    fn peer_send(&mut self, frame: &[u8], _meta: TxMeta) {
        self.arrives(frame);
    }

    fn peer_offloads(&self) -> Offloads {
        Offloads::NONE
    }

    fn peer_receive(&mut self) -> Option<Arrived> {
        self.nic.borrow_mut().wire_max += 1;
        self.device.flush();
        let bytes = self.nic.borrow_mut().sent.pop_front();
        self.nic.borrow_mut().wire_max -= 1;
        self.device.flush();
        Some(Arrived { bytes: bytes?, meta: hayase_device::RxMeta::default() })
    }

    fn in_use(&self) -> usize {
        self.device.in_use()
    }

    fn is_ready(&mut self, interests: &[Interest]) -> bool {
        let kernel = NicKernel(Rc::clone(&self.nic));
        interests.iter().any(|interest| {
            interest.readable && kernel.is_readable(interest.fd as usize)
                || interest.writable && self.nic.borrow_mut().is_writable()
        })
    }
}

/// Two devices at the ends of one link.
struct Ends {
    device: NetmapDevice,
    peer: NetmapDevice,
    inbox: VecDeque<Arrived>,
    /// What a real one has not.
    fake: Option<Rc<RefCell<Pipe>>>,
}

impl Ends {
    fn pipe(options: Options) -> (Ends, Rc<RefCell<Pipe>>, Rc<Region>, Image) {
        let image = Image::new(Shape { interfaces: 2, ..Shape::default() });
        let region = image.region();
        let pipe = Rc::new(RefCell::new(Pipe::new(&region, &image.bound)));
        let options = Options { keeps_buffer: false, ..options };
        let end = |end| {
            let kernel = PipeKernel { pipe: Rc::clone(&pipe), end };
            device(&image, &region, options, end, Box::new(kernel))
        };
        let fake = Some(Rc::clone(&pipe));
        let ends = Ends { device: end(0), peer: end(1), inbox: VecDeque::new(), fake };
        (ends, pipe, region, image)
    }
}

impl Harness for Ends {
    type Device = NetmapDevice;

    fn device(&mut self) -> &mut NetmapDevice {
        &mut self.device
    }

    fn peer_send(&mut self, bytes: &[u8], _meta: TxMeta) {
        self.peer.flush();
        let mut pieces = bytes.chunks(BUFFER_LEN - NetmapFrame::HEADROOM).map(|piece| {
            let mut frame = self.peer.alloc(piece.len()).expect("a buffer");
            frame.extend(piece.len()).expect("room").copy_from_slice(piece);
            frame
        });
        let mut frame = pieces.next().expect("a frame has bytes");
        pieces.for_each(|piece| frame.chain(piece));
        assert!(self.peer.room() > 0, "the peer has room");
        self.peer.transmit(frame, TxMeta::default());
        self.peer.flush();
    }

    fn peer_offloads(&self) -> Offloads {
        Offloads::NONE
    }

    fn peer_receive(&mut self) -> Option<Arrived> {
        // Each look also gives back what the one before took out.
        let mut burst = Burst::new(32);
        self.peer.receive(&mut burst);
        self.inbox.extend(burst.drain().map(|(frame, meta)| {
            let bytes = frame.fragments().flatten().copied().collect();
            Arrived { bytes, meta }
        }));
        self.device.flush();
        self.inbox.pop_front()
    }

    fn in_use(&self) -> usize {
        self.device.in_use()
    }

    fn is_ready(&mut self, interests: &[Interest]) -> bool {
        let Some(pipe) = &self.fake else { return conformance::is_ready(interests) };
        let kernel = PipeKernel { pipe: Rc::clone(pipe), end: 0 };
        interests.iter().any(|interest| {
            interest.readable && kernel.is_readable(0)
                || interest.writable && pipe.borrow_mut().is_writable(0)
        })
    }
}

#[test]
fn conforms_on_a_nic() {
    for (offset_mask, takes_chains, lags) in
        [(OFFSETS, false, false), (OFFSETS, true, true), (0, true, false), (0, false, true)]
    {
        println!("offsets {offset_mask:#x}, chains {takes_chains}, lags {lags}");
        run(|| {
            let shape = Shape { offset_mask, ..Shape::default() };
            let link = NicLink::new(shape, Options { takes_chains, ..Options::default() });
            link.nic.borrow_mut().lags = lags;
            link.nic.borrow_mut().wire_max = 0;
            link
        });
    }
}

#[test]
fn conforms_with_frames_of_several_slots() {
    for (offset_mask, receive_offset, fragment_len) in [(OFFSETS, 64, 1400), (0, 0, 40)] {
        run(|| {
            let link =
                NicLink::new(Shape { offset_mask, slots: 512, ..Shape::default() }, Options::default());
            link.nic.borrow_mut().fragment_len = fragment_len;
            link.nic.borrow_mut().receive_offset = receive_offset;
            link.nic.borrow_mut().wire_max = 0;
            link
        });
    }
}

#[test]
fn jumbo_frames_take_as_many_slots_as_they_need() {
    let mut ends = Ends::pipe(Options { mtu: JUMBO_MTU, ..Options::default() }).0;
    assert_eq!(ends.device.room(), 63 / (JUMBO_MTU + 14).div_ceil(BUFFER_LEN));
    jumbo_frames_cross(&mut ends);
}

const JUMBO_MTU: usize = 9000;

/// As many jumbo frames as there is room for, made of what was received and stays shared.
fn jumbo_frames_cross(ends: &mut Ends) {
    let bytes = raw([2; 6], PEER_MAC, JUMBO_MTU + 14);
    ends.peer_send(&bytes, TxMeta::default());
    let mut burst = Burst::new(1);
    ends.device.receive(&mut burst);
    let (received, _) = burst.drain().next().expect("a frame");
    assert_eq!(received.fragments().flatten().copied().collect::<Vec<_>>(), bytes);
    let room = ends.device.room().min(40);
    for _ in 0..room {
        let mut frame = received.share();
        let mut rest = received.next();
        while let Some(fragment) = rest {
            frame.chain(fragment.share());
            rest = fragment.next();
        }
        ends.device.transmit(frame, TxMeta::default());
    }
    ends.device.flush();
    for _ in 0..room {
        assert_eq!(ends.peer_receive().expect("what there was room for").bytes, bytes);
    }
    assert!(ends.peer_receive().is_none());
}

#[test]
fn conforms_on_a_pipe() {
    run(|| Ends::pipe(Options::default()).0);
}

#[test]
fn what_is_received_leaves_its_slot_and_a_spare_buffer_takes_its_place() {
    let mut link = NicLink::new(Shape::default(), Options::default());
    let expected = link.nic.borrow().next_receive_buffer();
    link.arrives(&raw(PEER_MAC, [2; 6], 77));
    let [frame] = <[_; 1]>::try_from(link.receive()).expect("one frame");
    assert_eq!((place(&frame), frame.headroom(), frame.len()), ((expected, 0), 0, 77), "no byte was moved");
    let slot = link.nic.borrow().receive_ring_slot(0);
    assert!(slot.buf_idx != expected && slot.flags & NS_BUF_CHANGED != 0, "{slot:?}");
    assert_eq!(link.device.in_use(), 1);
    drop(frame);
    assert_eq!(link.device.in_use(), 0);
    link.assert_whole();
}

#[test]
fn what_is_sent_enters_its_slot_where_it_is_while_others_read_it() {
    let shape = Shape { offset_mask: OFFSETS, ..Shape::default() };
    let mut link = NicLink::new(shape, Options::default());
    link.nic.borrow_mut().lags = true;
    let bytes = raw([2; 6], PEER_MAC, 200);
    let frame = link.frame(&bytes);
    let (number, offset) = place(&frame);
    let mut kept = frame.share();
    link.send(frame);
    let slot = link.nic.borrow().transmit_slot(0);
    assert_eq!((slot.buf_idx, slot.ptr, slot.len), (number, offset as u64, 200), "no byte was moved");
    assert_eq!(link.nic.borrow().sent, [bytes]);
    assert!(kept.bytes_mut().is_none(), "the NIC may still read it");
    link.device.flush();
    assert!(kept.bytes_mut().is_some(), "the slot has another buffer now");
    assert_ne!(link.nic.borrow().transmit_slot(0).buf_idx, number);
    assert_eq!(link.device.in_use(), 1);
    drop(kept);
    link.assert_whole();
}

#[test]
fn without_offsets_a_frame_moves_to_the_start_and_a_shared_one_is_copied() {
    let bytes = raw([2; 6], PEER_MAC, 100);
    let mut ends = Ends::pipe(Options::default()).0;
    for shared in [false, true] {
        let mut frame = ends.device.alloc(100).expect("a buffer");
        frame.extend(100).expect("room").copy_from_slice(&bytes);
        let (number, _) = place(&frame);
        let kept = shared.then(|| frame.share());
        ends.device.transmit(frame, TxMeta::default());
        ends.device.flush();
        let mut burst = Burst::new(1);
        ends.peer.receive(&mut burst);
        let (arrived, _) = burst.drain().next().expect("a frame");
        assert_eq!((arrived.bytes(), arrived.start()), (&bytes[..], 0));
        assert_eq!(
            place(&arrived).0 == number,
            !shared,
            "the buffer itself crosses unless somebody reads it"
        );
        assert!(kept.is_none_or(|kept| kept.is_unique() && kept.bytes() == bytes));
    }
}

#[test]
fn a_pipe_loses_no_buffer_whatever_is_on_its_way() {
    let (mut ends, pipe, region, image) = Ends::pipe(Options::default());
    let mut held = Vec::new();
    for round in 0..500 {
        let bytes = raw([2; 6], PEER_MAC, 60 + round % 1400);
        if round % 3 != 0 && ends.device.room() > 0 {
            let mut frame = ends.device.alloc(bytes.len()).expect("a buffer");
            frame.extend(bytes.len()).expect("room").copy_from_slice(&bytes);
            held.extend((round % 5 == 0).then(|| frame.share()));
            ends.device.transmit(frame, TxMeta::default());
        }
        ends.device.flush();
        if round % 4 == 0 {
            let mut burst = Burst::new(3);
            ends.peer.receive(&mut burst);
            held.extend(burst.drain().map(|(frame, _)| frame));
        }
        held.truncate(40);
    }
    drop(held);
    drop(ends);
    let extra = |end: usize| Binding::new(&region, &image.bound[end]).expect("a binding").extra();
    assert_each_once(&region, pipe.borrow().buffers(), [extra(0), extra(1)].concat());
}

#[test]
fn an_end_of_a_pipe_that_comes_again_leaves_alone_what_is_on_its_way() {
    let options = Options { keeps_buffer: false, ..Options::default() };
    let (ends, pipe, region, image) = Ends::pipe(options);
    check_end_that_comes_again(ends.device, ends.peer, || {
        let kernel = PipeKernel { pipe: Rc::clone(&pipe), end: 0 };
        device(&image, &region, options, 0, Box::new(kernel))
    });
    let extra = |end: usize| Binding::new(&region, &image.bound[end]).expect("a binding").extra();
    assert_each_once(&region, pipe.borrow().buffers(), [extra(0), extra(1)].concat());
}

/// What an end has sent when it goes is the other end's. Who opens it again neither takes that for its own, nor loses what
/// comes back for it.
fn check_end_that_comes_again(
    mut device: NetmapDevice,
    mut peer: NetmapDevice,
    open_again: impl Fn() -> NetmapDevice,
) {
    for round in 0..40 {
        let held = send_and_receive(&mut device, &mut peer, round);
        drop(device);
        device = open_again();
        // Around the ring and on: every slot is used, and every spare buffer.
        for _ in 0..device.caps().held_len_max / BUFFER_LEN {
            drop(send_and_receive(&mut device, &mut peer, 0xff));
        }
        for frame in held {
            assert_eq!(frame.bytes(), [round; 60]);
        }
    }
    assert_eq!((device.in_use(), peer.in_use()), (0, 0));
}

/// Sends frames of this byte, and returns them as they arrived. They do not come back before the next ones are received.
fn send_and_receive(device: &mut NetmapDevice, peer: &mut NetmapDevice, byte: u8) -> Vec<NetmapFrame> {
    for _ in 0..5 {
        let mut frame = device.alloc(60).expect("a buffer");
        frame.extend(60).expect("room").fill(byte);
        device.transmit(frame, TxMeta::default());
    }
    device.flush();
    let mut burst = Burst::new(32);
    peer.receive(&mut burst);
    let arrived: Vec<_> = burst.drain().map(|(frame, _)| frame).collect();
    assert_eq!(arrived.len(), 5);
    arrived
}

/// Chance without a dependency: Knuth's MMIX generator.
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: u64) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) % limit) as usize
    }
}

#[test]
fn a_storm_loses_no_buffer() {
    for seed in 0..8 {
        let shape = Shape {
            offset_mask: if seed % 2 == 0 { OFFSETS } else { 0 },
            slots: 16,
            extra: 80,
            ..Shape::default()
        };
        let mut link = NicLink::new(shape, Options { mtu: 4000, ..Options::default() });
        link.nic.borrow_mut().lags = seed % 4 < 2;
        let (mut chance, mut held) = (Chance(seed), Vec::new());
        for _ in 0..5000 {
            match chance.below(8) {
                0 | 1 => link.arrives(&raw(PEER_MAC, [2; 6], 60 + chance.below(3900))),
                2 => held.extend(link.receive()),
                3 if link.device.room() > 0 && !held.is_empty() => {
                    let frame = held.swap_remove(chance.below(held.len() as u64));
                    held.extend((chance.below(2) == 0).then(|| frame.share()));
                    link.device.transmit(frame, TxMeta::default());
                }
                4 => link.device.flush(),
                5 => held.extend(link.device.alloc(1)),
                6 => link.nic.borrow_mut().wire_max = chance.below(4) * 50,
                _ => held.truncate(chance.below(40)),
            }
            link.nic.borrow_mut().sent.truncate(60);
            link.nic.borrow_mut().arriving[0].truncate(20);
        }
        link.nic.borrow_mut().wire_max = usize::MAX;
        held.clear();
        (0..3).for_each(|_| link.device.flush());
        link.receive();
        assert_eq!(link.device.in_use(), 0, "seed {seed}");
        link.assert_whole();
    }
}

#[test]
fn slots_that_make_no_sense_are_counted_and_block_nothing() {
    let mut link = NicLink::new(Shape { offset_mask: OFFSETS, ..Shape::default() }, Options::default());
    let good = link.nic.borrow().next_receive_buffer();
    for slot in [
        Slot { buf_idx: good, len: 2049, flags: 0, ptr: 0 },
        Slot { buf_idx: good + 1, len: 100, flags: 0, ptr: 2000 },
        Slot { buf_idx: 0, len: 100, flags: 0, ptr: 0 },
        Slot { buf_idx: u32::MAX, len: 100, flags: 0, ptr: 0 },
    ] {
        let before = link.drops("rx_errors");
        link.nic.borrow_mut().receive_slot(slot);
        assert!(link.receive().is_empty());
        assert_eq!(link.drops("rx_errors"), before + 1, "{slot:?}");
    }
    link.nic.borrow_mut().receive_slot(Slot { buf_idx: good + 4, len: 0, flags: 0, ptr: 0 });
    assert!(link.receive().is_empty());
    assert_eq!((link.drops("rx_errors"), link.device.in_use()), (4, 0), "an empty slot is no frame");
}

#[test]
fn a_chain_without_an_end_does_not_block_the_ring() {
    let mut link = NicLink::new(Shape { slots: 8, ..Shape::default() }, Options::default());
    for _ in 0..7 {
        let buf_idx = link.nic.borrow().next_receive_buffer();
        link.nic.borrow_mut().receive_slot(Slot { buf_idx, len: 100, flags: NS_MOREFRAG, ptr: 0 });
    }
    assert_eq!(link.receive().len(), 1, "as much as the ring holds");
    link.arrives(&raw(PEER_MAC, [2; 6], 77));
    assert_eq!(link.receive().len(), 1);
    link.assert_whole();
}

#[test]
fn headers_that_lie_in_several_slots_are_brought_together() {
    let mut link = NicLink::new(Shape::default(), Options::default());
    link.nic.borrow_mut().fragment_len = 30;
    let packet = Packet::tcp(Ip::V6, 300).build();
    link.arrives(&packet);
    let [frame] = <[_; 1]>::try_from(link.receive()).expect("one frame");
    assert_eq!((frame.bytes(), frame.next().is_none()), (&packet[..], true));
    drop(frame);
    link.assert_whole();
}

#[test]
fn acknowledgements_come_in_though_senders_took_everything() {
    let mut link = NicLink::new(Shape::default(), Options::default());
    let hoard: Vec<_> = std::iter::from_fn(|| link.device.alloc(1)).collect();
    assert_eq!(link.device.in_use(), hoard.len());
    let held: usize = hoard.iter().map(Frame::capacity).sum();
    assert_eq!(link.device.caps().held_len_max, held, "what sockets may hold is what senders can take");
    for _ in 0..RECEIVE_RESERVE {
        link.arrives(&raw(PEER_MAC, [2; 6], 60));
    }
    let received = link.receive();
    assert_eq!((received.len(), link.drops("rx_no_buffer")), (RECEIVE_RESERVE, 0));
    link.arrives(&raw(PEER_MAC, [2; 6], 60));
    assert!(link.receive().is_empty());
    assert_eq!(link.drops("rx_no_buffer"), 1);
    drop((received, hoard));
    link.assert_whole();
}

#[test]
fn every_ring_of_a_queue_is_heard_and_one_call_a_turn_serves_it() {
    let mut link = NicLink::new(Shape { rings: 3, ..Shape::default() }, Options::default());
    for ring in 0..3 {
        for _ in 0..20 {
            link.nic.borrow_mut().arriving[ring].push_back(raw([2, 0, 0, 0, 0, ring as u8], [2; 6], 60));
        }
    }
    let mut counts = [0; 3];
    for _ in 0..3 {
        let mut burst = Burst::new(20);
        link.device.receive(&mut burst);
        burst.drain().for_each(|(frame, _)| counts[usize::from(frame.bytes()[11])] += 1);
    }
    assert_eq!(counts, [20, 20, 20], "each was first once");
    let calls = link.nic.borrow().calls;
    link.device.receive(&mut Burst::new(20));
    assert_eq!(link.nic.borrow().calls, calls + 3);
    let mut descriptors = Vec::new();
    link.device.interests(&mut |interest| descriptors.push((interest.fd, interest.readable)));
    assert_eq!(descriptors, [(0, true), (1, true), (2, true)]);
    link.assert_whole();
}

#[test]
fn an_interface_that_goes_down_is_left_alone_and_comes_back() {
    let mut link = NicLink::new(Shape::default(), Options::default());
    link.nic.borrow_mut().down = true;
    let bytes = raw([2; 6], PEER_MAC, 60);
    for _ in 0..3 {
        let frame = link.frame(&bytes);
        link.send(frame);
        assert!(link.receive().is_empty());
    }
    assert!(link.device.is_stalled() && !link.device.pending());
    assert_eq!(link.drops("rx_errors"), 1, "told once");
    link.device.interests(&mut |interest| panic!("it would wake at once: {interest:?}"));
    assert!(link.device.arm().is_some(), "so it is looked at now and then");
    while link.device.room() > 0 {
        let frame = link.frame(&bytes);
        link.send(frame);
    }
    let frame = link.frame(&bytes);
    link.send(frame);
    assert_eq!(link.drops("tx_dropped"), 1);
    link.nic.borrow_mut().down = false;
    link.receive();
    link.device.flush();
    assert!(!link.device.is_stalled() && link.device.arm().is_none() && link.device.room() > 0);
    assert_eq!(link.nic.borrow().sent.len(), 63, "what waited has gone");
    link.assert_whole();
}

/// One queue of a NIC may fail alone: the others go on, and are slept on.
#[test]
fn a_ring_that_fails_alone_is_told_once() {
    let mut link = NicLink::new(Shape { rings: 2, ..Shape::default() }, Options::default());
    link.nic.borrow_mut().stuck = Some(0);
    for round in 1..=3 {
        let bytes = raw([2; 6], PEER_MAC, 60 + round);
        link.nic.borrow_mut().arriving[1].push_back(bytes.clone());
        assert!(link.device.pending(), "the other ring has something");
        let frame = link.receive().remove(0);
        assert_eq!(frame.bytes(), bytes);
        link.send(frame);
    }
    assert_eq!((link.nic.borrow().sent.len(), link.drops("rx_errors")), (3, 1), "told once");
    assert!(!link.device.is_stalled() && link.device.arm().is_some());
    let mut descriptors = Vec::new();
    link.device.interests(&mut |interest| descriptors.push(interest.fd));
    assert_eq!(descriptors, [1], "the first would wake at once");
    link.nic.borrow_mut().stuck = None;
    link.receive();
    assert!(link.device.arm().is_none());
    link.assert_whole();
}

/// A few slots are left over, which hold no frame of this MTU.
#[test]
fn a_full_ring_leaves_its_descriptor_quiet_until_there_is_room_for_more() {
    let shape = Shape { offset_mask: OFFSETS, ..Shape::default() };
    let mut link = NicLink::new(shape, Options { mtu: JUMBO_MTU, ..Options::default() });
    link.nic.borrow_mut().wire_max = 0;
    let bytes = raw([2; 6], PEER_MAC, 60);
    for _ in 0..58 {
        let frame = link.frame(&bytes);
        link.send(frame);
    }
    let mut last = link.frame(&bytes);
    (0..2).for_each(|_| last.chain(link.frame(&bytes)));
    link.send(last);
    // Of 63 slots two are left, and a frame may need five.
    for (taken, room) in [(1, 0), (2, 0), (3, 1)] {
        assert_eq!(link.device.room(), 0);
        assert!(!link.nic.borrow_mut().is_writable(), "awake although nothing changes");
        link.nic.borrow_mut().wire_max = taken;
        assert!(link.nic.borrow_mut().is_writable(), "a slot came back");
        link.receive();
        assert_eq!(link.device.room(), room);
    }
    link.nic.borrow_mut().wire_max = usize::MAX;
    let frame = link.frame(&bytes);
    link.send(frame);
    assert_eq!(link.nic.borrow().sent.len(), 60);
    link.assert_whole();
}

#[test]
fn a_full_ring_is_waited_for() {
    let mut link = NicLink::new(Shape::default(), Options::default());
    link.nic.borrow_mut().wire_max = 0;
    let writable = |device: &NetmapDevice| {
        let mut writable = false;
        device.interests(&mut |interest| writable |= interest.writable);
        writable
    };
    assert!(!writable(&link.device));
    while link.device.room() > 0 {
        let frame = link.frame(&raw([2; 6], PEER_MAC, 60));
        link.send(frame);
    }
    assert!(writable(&link.device));
}

#[test]
fn leases_outlive_the_device_and_the_kernel_gets_its_buffers_back_after_them() {
    let mut link = NicLink::new(Shape { offset_mask: OFFSETS, ..Shape::default() }, Options::default());
    link.nic.borrow_mut().wire_max = 0;
    link.arrives(&raw(PEER_MAC, [2; 6], 77));
    let received = link.receive().remove(0);
    let sent = link.frame(&raw([2; 6], PEER_MAC, 66));
    let lease: [SharedBytes; 2] = [received.into_shared(), sent.share().into_shared()];
    link.send(sent);
    let NicLink { device, nic, region, image } = link;
    drop(device);
    let extra = || Binding::new(&region, &image.bound[0]).expect("a binding").extra();
    let used = [nic.borrow().buffers(), extra()].concat();
    assert_eq!(
        used.len() as u32 + 2,
        region.buffer_count() - 2,
        "what is leased is nowhere for the kernel to free"
    );
    assert_eq!((lease[0].len(), lease[1].len()), (77, 66));
    assert_eq!(lease[0][..6], [2; 6]);
    drop(lease);
    assert_each_once(&region, nic.borrow().buffers(), extra());
}

#[test]
fn a_process_that_is_killed_leaves_the_kernel_what_it_never_used() {
    let mut link = NicLink::new(Shape::default(), Options::default());
    let extra = |link: &NicLink| Binding::new(&link.region, &link.image.bound[0]).expect("a binding").extra();
    let all = extra(&link);
    let frames: Vec<_> = (0..5).map(|_| link.frame(&[0xff; 1500])).collect();
    let left = extra(&link);
    assert_eq!(left, all[5..], "frames are not on the list, nor do their bytes lead anywhere");
    assert!(frames.iter().all(|frame| !left.contains(&place(frame).0)));
    drop(frames);
    assert_eq!(extra(&link), left, "these are at hand, and what is written there is not a link");
    let lease = link.frame(&[0xff; 1500]).into_shared();
    assert_eq!(extra(&link), left);
    drop(lease);
    assert_eq!(extra(&link).len(), left.len() + 1, "what comes back without a frame is on it again");
    link.arrives(&raw(PEER_MAC, [2; 6], 77));
    drop(link.receive());
    link.assert_whole();
}

#[test]
fn frames_of_another_device_are_copied() {
    let mut link = NicLink::new(Shape { offset_mask: OFFSETS, ..Shape::default() }, Options::default());
    let mut other = NicLink::new(Shape::default(), Options::default());
    let bytes = raw([2; 6], PEER_MAC, 99);
    let mut foreign = other.frame(&bytes[..50]);
    foreign.chain(other.frame(&bytes[50..]));
    link.send(foreign);
    assert_eq!(link.nic.borrow().sent, [bytes]);
    assert_eq!((link.device.in_use(), other.device.in_use()), (0, 0));
    link.assert_whole();
    other.assert_whole();
}

#[test]
fn a_binding_of_another_pair_than_the_first_is_found() {
    let mut image = Image::new(Shape { rings: 2, tx_rings: 2, ..Shape::default() });
    image.bytes[size_of::<Interface>()..][..8].fill(0);
    image.bound[0].ringid = 1;
    let region = image.region();
    let binding = Binding::new(&region, &image.bound[0]).expect("a binding");
    assert!(binding.transmit_ring().is_ok(), "what is not bound has no offset");
    assert!(PairSetup::new(&region, &image.bound[0], false).is_ok());
}

#[test]
fn memory_that_makes_no_sense_is_refused() {
    let good = || Image::new(Shape::default());
    let ring_at = |image: &Image| {
        let table = size_of::<Interface>();
        isize::from_ne_bytes(image.bytes[table..table + 8].try_into().expect("eight bytes")) as usize
    };
    let refused = |image: &Image, what: &str| {
        let error = testing::region(&image.bytes, &image.bound[0]).expect_err(what);
        assert!(error.to_string().contains("makes no sense"), "{what}: {error}");
    };
    for (field, value) in [
        (offset_of!(Ring, num_slots), 0),
        (offset_of!(Ring, num_slots), u32::MAX),
        (offset_of!(Ring, buf_ofs), u32::MAX),
        (offset_of!(Ring, buf_ofs) + 4, 0x7fff_ffff),
    ] {
        let mut image = good();
        let at = ring_at(&image) + field;
        image.put_u32(at, value);
        refused(&image, &format!("{value:#x} at {field}"));
    }
    for offset in [1, 1 << 40] {
        let mut image = good();
        image.bytes[size_of::<Interface>()..][..8].copy_from_slice(&i64::to_ne_bytes(offset));
        refused(&image, &format!("a ring at {offset:#x}"));
    }
    let mut image = good();
    image.bound[0].offset = u64::MAX;
    refused(&image, "an interface beyond the memory");
}

/// Skips a test of the real thing where it is not to be had. It takes a kernel module, which is why a machine that
/// skips nothing else may skip this.
fn has_netmap() -> bool {
    let exists = Path::new(netmap_sys::DEVICE).exists();
    if !exists {
        skip(&format!("there is no {}: it needs netmap's kernel module", netmap_sys::DEVICE));
    }
    exists
}

/// Says on the terminal, whatever the test harness captures, that a test does nothing.
fn skip(reason: &str) {
    let name = std::thread::current().name().unwrap_or("a test").to_owned();
    // A closed standard error is no reason to fail.
    let _ = std::io::Write::write_fmt(&mut std::io::stderr(), format_args!("skipped: {name}: {reason}\n"));
}

fn open_one(port: &str, mtu: usize) -> Result<NetmapDevice, NetmapError> {
    let config = NetmapConfig { port: port.into(), mtu, buffers: 1024, ..NetmapConfig::default() };
    open(&config)?.remove(0).into_device()
}

fn open_ends(device: &str, peer: &str, mtu: usize) -> Ends {
    let [device, peer] = [device, peer].map(|port| open_one(port, mtu).expect("the port opens"));
    Ends { device, peer, inbox: VecDeque::new(), fake: None }
}

#[test]
fn conforms_on_real_pipes_and_switches() {
    if has_netmap() {
        run(|| open_ends("hayase{1", "hayase}1", 1500));
        run(|| open_ends("valehy:1", "valehy:2", 1500));
        jumbo_frames_cross(&mut open_ends("hayase{2", "hayase}2", JUMBO_MTU));
        jumbo_frames_cross(&mut open_ends("valehy:1", "valehy:2", JUMBO_MTU));
    }
}

#[test]
fn a_real_port_is_taken_once_and_comes_free() {
    if !has_netmap() {
        let error = open_one("valehy:3", 1500).expect_err("there is no module");
        assert!(matches!(error, NetmapError::NoModule(_)), "{error}");
        return;
    }
    let device = open_one("valehy:3", 1500).expect("the port opens");
    let busy = open_one("valehy:3", 1500).expect_err("it is taken");
    assert!(matches!(busy, NetmapError::Busy(_)), "{busy}");
    drop(device);
    drop(open_one("valehy:3", 1500).expect("it is free again"));
    let error = open_one("hayase-nowhere", 1500).expect_err("there is no such interface");
    assert!(matches!(error, NetmapError::NoInterface(_)), "{error}");
}

#[test]
fn a_real_pipe_has_a_ring_for_each_core_and_two_queues_serve_three() {
    if !has_netmap() {
        return;
    }
    let queues = |port: &str, queues| {
        let config = NetmapConfig { port: port.into(), queues, buffers: 256, ..NetmapConfig::default() };
        open(&config).expect("the port opens").into_iter().map(|queue| queue.into_device().expect("a device"))
    };
    let mut here: Vec<_> = queues("hayase{4", 3).collect();
    let mut there: Vec<_> = queues("hayase}4", 2).collect();
    assert_eq!((here.len(), there.len()), (3, 2));
    for (queue, device) in (0..).zip(&mut here) {
        assert_eq!((device.caps().queue, device.caps().queues), (queue, 3));
        let mut frame = device.alloc(60).expect("a buffer");
        frame.extend(60).expect("room").fill(queue as u8);
        device.transmit(frame, TxMeta::default());
        device.flush();
    }
    let mut heard = |queue: usize| {
        let mut burst = Burst::new(8);
        there[queue].receive(&mut burst);
        burst.drain().map(|(frame, _)| frame.bytes()[0]).collect::<Vec<_>>()
    };
    assert_eq!((heard(0), heard(1)), (vec![0, 2], vec![1]), "rings are dealt out in turn");
}

#[test]
fn the_end_of_a_real_pipe_may_go_and_come() {
    if !has_netmap() {
        return;
    }
    let Ends { mut device, mut peer, .. } = open_ends("hayase{3", "hayase}3", 1500);
    for round in 0..20 {
        while device.room() > 0 {
            let mut frame = device.alloc(60).expect("a buffer");
            frame.extend(60).expect("room").fill(round);
            device.transmit(frame, TxMeta::default());
            device.flush();
        }
        drop(peer);
        device.flush();
        device.receive(&mut Burst::new(8));
        peer = open_one("hayase}3", 1500).expect("the other end opens again");
        let mut burst = Burst::new(2048);
        peer.receive(&mut burst);
        burst.drain().for_each(|(frame, _)| assert_eq!(frame.bytes(), [round; 60]));
        peer.receive(&mut burst);
        device.flush();
        assert_eq!(device.in_use(), 0);
    }
}

#[test]
fn an_end_of_a_real_pipe_that_comes_again_leaves_alone_what_is_on_its_way() {
    if has_netmap() {
        let Ends { device, peer, .. } = open_ends("hayase{5", "hayase}5", 1500);
        check_end_that_comes_again(device, peer, || open_one("hayase{5", 1500).expect("the end opens again"));
    }
}
