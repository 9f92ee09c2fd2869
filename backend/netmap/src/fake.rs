//! netmap without a kernel: its memory in ordinary memory, laid out alike, and ports that move slots as the real ones
//! do. A fake NIC reads and writes the buffers it was last told of, so that a forgotten `NS_BUF_CHANGED` shows.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::mem::offset_of;
use std::os::fd::RawFd;
use std::rc::Rc;

use netmap_sys::{Interface, NS_BUF_CHANGED, NS_MOREFRAG, NmreqRegister, Ring, Slot};

use crate::memory::Kernel;
use crate::receiver::{advance, distance};
use crate::sys::{Binding, Region, RingView, testing};

pub(crate) const BUFFER_LEN: usize = 2048;

/// Rings of the host, of which each interface has one pair behind those of the hardware.
const HOST_RINGS: u16 = 1;

/// What to lay out.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) interfaces: usize,
    /// Receive rings.
    pub(crate) rings: u16,
    pub(crate) tx_rings: u16,
    pub(crate) slots: u32,
    pub(crate) extra: u32,
    pub(crate) offset_mask: u64,
}

impl Default for Shape {
    fn default() -> Shape {
        Shape { interfaces: 1, rings: 1, tx_rings: 1, slots: 64, extra: 256, offset_mask: 0 }
    }
}

/// The bytes of netmap's memory, and what registering would have reported.
pub(crate) struct Image {
    pub(crate) bytes: Vec<u8>,
    pub(crate) bound: Vec<NmreqRegister>,
    next_buffer: u32,
    buffers_at: usize,
}

impl Image {
    pub(crate) fn new(shape: Shape) -> Image {
        let ring_len = size_of::<Ring>() + shape.slots as usize * size_of::<Slot>();
        let rings = usize::from(shape.tx_rings + shape.rings + 2 * HOST_RINGS);
        let interface_len = (size_of::<Interface>() + rings * size_of::<isize>()).next_multiple_of(128);
        let rings_at = shape.interfaces * interface_len;
        let structures = rings_at + shape.interfaces * rings * ring_len.next_multiple_of(128);
        let buffers_at = structures.next_multiple_of(BUFFER_LEN);
        let buffers = 2 + shape.interfaces as u32 * (rings as u32 * shape.slots + shape.extra);
        let bytes = vec![0; buffers_at + buffers as usize * BUFFER_LEN];
        let mut image = Image { bytes, bound: Vec::new(), next_buffer: 2, buffers_at };
        for interface in 0..shape.interfaces {
            let at = interface * interface_len;
            let first_ring = rings_at + interface * rings * ring_len.next_multiple_of(128);
            let ring_at = |ring: usize| first_ring + ring * ring_len.next_multiple_of(128);
            image.put_interface(at, shape, &(0..rings).map(ring_at).collect::<Vec<_>>());
        }
        image
    }

    fn put(&mut self, at: usize, bytes: &[u8]) {
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
    }

    pub(crate) fn put_u32(&mut self, at: usize, value: u32) {
        self.put(at, &value.to_ne_bytes());
    }

    fn put_interface(&mut self, at: usize, shape: Shape, rings: &[usize]) {
        for (field, value) in [
            (offset_of!(Interface, ni_tx_rings), u32::from(shape.tx_rings)),
            (offset_of!(Interface, ni_rx_rings), u32::from(shape.rings)),
            (offset_of!(Interface, ni_host_tx_rings), u32::from(HOST_RINGS)),
            (offset_of!(Interface, ni_host_rx_rings), u32::from(HOST_RINGS)),
        ] {
            self.put_u32(at + field, value);
        }
        for (index, ring) in rings.iter().enumerate() {
            let table = at + size_of::<Interface>() + index * size_of::<isize>();
            self.put(table, &((ring - at) as isize).to_ne_bytes());
            self.put_ring(*ring, shape, index >= usize::from(shape.tx_rings + HOST_RINGS));
        }
        let mut head = 0;
        for _ in 0..shape.extra {
            let buffer = self.new_buffer();
            self.put_u32(self.buffers_at + buffer as usize * BUFFER_LEN, head);
            head = buffer;
        }
        self.put_u32(at + offset_of!(Interface, ni_bufs_head), head);
        self.bound.push(NmreqRegister {
            offset: at as u64,
            memsize: self.bytes.len() as u64,
            tx_rings: shape.tx_rings,
            rx_rings: shape.rings,
            extra_bufs: shape.extra,
            ..NmreqRegister::default()
        });
    }

    fn put_ring(&mut self, at: usize, shape: Shape, receives: bool) {
        self.put(at, &((self.buffers_at as i64) - at as i64).to_ne_bytes());
        self.put_u32(at + offset_of!(Ring, num_slots), shape.slots);
        self.put_u32(at + offset_of!(Ring, nr_buf_size), BUFFER_LEN as u32);
        self.put_u32(at + offset_of!(Ring, tail), if receives { 0 } else { shape.slots - 1 });
        self.put(at + offset_of!(Ring, offset_mask), &shape.offset_mask.to_ne_bytes());
        for slot in 0..shape.slots as usize {
            let buffer = self.new_buffer();
            self.put_u32(at + size_of::<Ring>() + slot * size_of::<Slot>(), buffer);
        }
    }

    fn new_buffer(&mut self) -> u32 {
        self.next_buffer += 1;
        self.next_buffer - 1
    }

    pub(crate) fn region(&self) -> Rc<Region> {
        testing::region(&self.bytes, &self.bound[0]).expect("an image that makes sense")
    }
}

/// A ring as the kernel sees it.
#[derive(Debug)]
struct KernelRing {
    ring: RingView,
    /// The first slot that the kernel has not looked at since the program handed it over.
    at: u32,
    /// The first slot that is not the program's, as it will be told next time.
    tail: u32,
    /// The buffer that the hardware was told of, for each slot.
    programmed: Vec<u32>,
}

impl KernelRing {
    fn new(ring: RingView) -> KernelRing {
        let programmed = (0..ring.count()).map(|slot| ring.slot(slot).buf_idx).collect();
        KernelRing { at: ring.head(), tail: ring.tail(), ring, programmed }
    }

    /// A transmit ring, those of the host behind those of the hardware.
    fn transmit(region: &Rc<Region>, bound: &NmreqRegister, ringid: u16) -> KernelRing {
        let bound = NmreqRegister { ringid, ..*bound };
        KernelRing::new(
            Binding::new(region, &bound).and_then(|binding| binding.transmit_ring()).expect("a ring"),
        )
    }

    /// A receive ring, those of the host behind those of the hardware.
    fn receive(region: &Rc<Region>, bound: &NmreqRegister, ringid: u16) -> KernelRing {
        let bound = NmreqRegister { ringid, ..*bound };
        KernelRing::new(
            Binding::new(region, &bound).and_then(|binding| binding.receive_ring()).expect("a ring"),
        )
    }

    fn next(&self, at: u32) -> u32 {
        advance(at, 1, self.ring.count())
    }

    fn previous(&self, at: u32) -> u32 {
        advance(at, self.ring.count() - 1, self.ring.count())
    }

    /// What a driver does with a slot that comes from the program: it maps the buffer anew, if it is told to.
    fn accept(&mut self, at: u32) -> Slot {
        let slot = self.ring.slot(at);
        if slot.flags & NS_BUF_CHANGED != 0 {
            self.programmed[at as usize] = slot.buf_idx;
            self.ring.set_slot(at, Slot { flags: slot.flags & !NS_BUF_CHANGED, ..slot });
        }
        assert_eq!(self.programmed[at as usize], slot.buf_idx, "a buffer that the hardware was not told of");
        slot
    }

    fn buffers(&self) -> Vec<u32> {
        (0..self.ring.count()).map(|slot| self.ring.slot(slot).buf_idx).collect()
    }
}

/// A NIC, or a VALE port: slots keep their buffers, bytes travel.
#[derive(Debug)]
pub(crate) struct Nic {
    region: Rc<Region>,
    transmit: KernelRing,
    receive: Vec<KernelRing>,
    others: Vec<u32>,
    assembly: Vec<u8>,
    /// Frames on the wire, to the peer.
    pub(crate) sent: VecDeque<Vec<u8>>,
    /// The most frames that the wire holds until the peer takes them.
    pub(crate) wire_max: usize,
    /// Frames on the wire, to each receive ring.
    pub(crate) arriving: Vec<VecDeque<Vec<u8>>>,
    /// How much of a frame goes into one slot, and where in the buffer.
    pub(crate) fragment_len: usize,
    pub(crate) receive_offset: usize,
    /// Whether slots come back one synchronisation late.
    pub(crate) lags: bool,
    pub(crate) down: bool,
    /// A receive ring that alone does not move.
    pub(crate) stuck: Option<usize>,
    /// System calls so far.
    pub(crate) calls: usize,
}

/// The handle that tests share with the device.
pub(crate) type SharedNic = Rc<RefCell<Nic>>;

impl Nic {
    pub(crate) fn new(region: &Rc<Region>, bound: &NmreqRegister) -> Nic {
        let transmit = |ring| KernelRing::transmit(region, bound, ring);
        let receive = |ring| KernelRing::receive(region, bound, ring);
        let unused_transmit = (1..bound.tx_rings + HOST_RINGS).flat_map(|ring| transmit(ring).buffers());
        Nic {
            region: Rc::clone(region),
            transmit: transmit(0),
            receive: (0..bound.rx_rings).map(receive).collect(),
            others: unused_transmit.chain(receive(bound.rx_rings).buffers()).collect(),
            assembly: Vec::new(),
            sent: VecDeque::new(),
            wire_max: usize::MAX,
            arriving: vec![VecDeque::new(); bound.rx_rings.into()],
            fragment_len: BUFFER_LEN,
            receive_offset: 0,
            lags: false,
            down: false,
            stuck: None,
            calls: 0,
        }
    }

    /// What `poll` says of the transmit ring: it synchronises, and tells of slots behind `cur`.
    pub(crate) fn is_writable(&mut self) -> bool {
        self.synchronise_transmit();
        self.transmit.ring.cur() != self.transmit.ring.tail()
    }

    fn synchronise_transmit(&mut self) {
        let ring = &self.transmit.ring;
        let from_head = |slot| distance(ring.head(), slot, ring.count());
        assert!(from_head(ring.cur()) <= from_head(ring.tail()), "netmap would reset the ring");
        let before = self.transmit.at;
        while self.transmit.at != self.transmit.ring.head() && self.sent.len() < self.wire_max {
            let at = self.transmit.at;
            let slot = self.transmit.accept(at);
            let start = self.transmit.ring.offset(&slot) as usize;
            assert!(slot.len > 0, "a slot without bytes");
            let buffer = self.region.peek(slot.buf_idx);
            self.assembly.extend(&buffer[start..start + usize::from(slot.len)]);
            if slot.flags & NS_MOREFRAG == 0 {
                self.sent.push_back(std::mem::take(&mut self.assembly));
            }
            self.transmit.at = self.transmit.next(at);
        }
        let back = if self.lags { before } else { self.transmit.at };
        self.transmit.ring.set_tail(self.transmit.previous(back));
    }

    fn synchronise_receive(&mut self, pair: usize) {
        let ring = &mut self.receive[pair];
        while ring.at != ring.ring.head() {
            ring.accept(ring.at);
            ring.at = ring.next(ring.at);
        }
        while let Some(frame) = self.arriving[pair].pop_front() {
            let slots = frame.len().div_ceil(self.fragment_len) as u32;
            if slots > distance(ring.tail, ring.previous(ring.at), ring.ring.count()) {
                self.arriving[pair].push_front(frame);
                break;
            }
            for (index, bytes) in (1..).zip(frame.chunks(self.fragment_len)) {
                let (at, flags) = (ring.tail, if index < slots { NS_MOREFRAG } else { 0 });
                let buf_idx = ring.programmed[at as usize];
                self.region.poke(buf_idx, self.receive_offset, bytes);
                let (len, ptr) = (bytes.len() as u16, self.receive_offset as u64);
                ring.ring.set_slot(at, Slot { buf_idx, len, flags, ptr });
                ring.tail = ring.next(at);
            }
        }
        ring.ring.set_tail(ring.tail);
    }

    /// Hands a slot over that says what no real port would.
    pub(crate) fn receive_slot(&mut self, slot: Slot) {
        let ring = &mut self.receive[0];
        ring.ring.set_slot(ring.tail, slot);
        ring.programmed[ring.tail as usize] = slot.buf_idx;
        ring.tail = ring.next(ring.tail);
    }

    /// The buffer that the next frame will be received into.
    pub(crate) fn next_receive_buffer(&self) -> u32 {
        self.receive[0].programmed[self.receive[0].tail as usize]
    }

    /// What a slot of the transmit ring says.
    pub(crate) fn transmit_slot(&self, at: u32) -> Slot {
        self.transmit.ring.slot(at)
    }

    /// What a slot of the first receive ring says.
    pub(crate) fn receive_ring_slot(&self, at: u32) -> Slot {
        self.receive[0].ring.slot(at)
    }

    /// Every buffer that a slot names.
    pub(crate) fn buffers(&self) -> Vec<u32> {
        let rings = self.receive.iter().flat_map(KernelRing::buffers);
        rings.chain(self.transmit.buffers()).chain(self.others.iter().copied()).collect()
    }
}

#[derive(Debug)]
pub(crate) struct NicKernel(pub(crate) SharedNic);

impl Kernel for NicKernel {
    fn sync_transmit(&self, pair: usize) -> io::Result<()> {
        assert_eq!(pair, 0, "the device transmits on its first ring");
        let mut nic = self.0.borrow_mut();
        nic.calls += 1;
        if nic.down {
            return Err(io::Error::from_raw_os_error(libc::EIO));
        }
        nic.synchronise_transmit();
        Ok(())
    }

    fn sync_receive(&self, pair: usize) -> io::Result<()> {
        let mut nic = self.0.borrow_mut();
        nic.calls += 1;
        if nic.down || nic.stuck == Some(pair) {
            return Err(io::Error::from_raw_os_error(libc::EIO));
        }
        nic.synchronise_receive(pair);
        Ok(())
    }

    fn is_readable(&self, pair: usize) -> bool {
        let nic = self.0.borrow();
        !nic.down
            && (!nic.arriving[pair].is_empty() || nic.receive[pair].tail != nic.receive[pair].ring.head())
    }

    fn descriptor(&self, pair: usize) -> RawFd {
        pair as RawFd
    }
}

/// One end of a pipe.
#[derive(Debug)]
struct End {
    transmit: KernelRing,
    receive: KernelRing,
}

/// A pipe: slots travel, with their buffers. Slot k of one end's transmit ring and slot k of the other's receive
/// ring are one and the same.
#[derive(Debug)]
pub(crate) struct Pipe {
    ends: [End; 2],
    others: Vec<u32>,
}

impl Pipe {
    pub(crate) fn new(region: &Rc<Region>, bound: &[NmreqRegister]) -> Pipe {
        let mut others = Vec::new();
        let [a, b] = [0, 1].map(|end| {
            let transmit = |ring| KernelRing::transmit(region, &bound[end], ring);
            let receive = |ring| KernelRing::receive(region, &bound[end], ring);
            others.extend(transmit(1).buffers().into_iter().chain(receive(1).buffers()));
            End { transmit: transmit(0), receive: receive(0) }
        });
        // Of the two rings of a direction, the receiver's own buffers are not used.
        for (transmit, receive) in [(&a.transmit, &b.receive), (&b.transmit, &a.receive)] {
            others.extend(receive.buffers());
            (0..transmit.ring.count()).for_each(|at| receive.ring.set_slot(at, transmit.ring.slot(at)));
        }
        Pipe { ends: [a, b], others }
    }

    fn sync_transmit(&mut self, end: usize) {
        let [a, b] = &mut self.ends;
        let (from, to) =
            if end == 0 { (&mut a.transmit, &mut b.receive) } else { (&mut b.transmit, &mut a.receive) };
        from.ring.set_tail(from.tail);
        while from.at != from.ring.head() {
            let slot = from.ring.slot(from.at);
            to.ring.set_slot(from.at, slot);
            from.ring.set_slot(from.at, Slot { flags: slot.flags & !NS_BUF_CHANGED, ..slot });
            from.at = from.next(from.at);
            if slot.flags & NS_MOREFRAG == 0 {
                to.tail = from.at;
            }
        }
    }

    /// What `poll` says of an end's transmit ring: it synchronises, and tells of slots behind `cur`.
    pub(crate) fn is_writable(&mut self, end: usize) -> bool {
        self.sync_transmit(end);
        let ring = &self.ends[end].transmit.ring;
        ring.cur() != ring.tail()
    }

    fn sync_receive(&mut self, end: usize) {
        let [a, b] = &mut self.ends;
        let (from, to) =
            if end == 0 { (&mut a.receive, &mut b.transmit) } else { (&mut b.receive, &mut a.transmit) };
        from.ring.set_tail(from.tail);
        while from.at != from.ring.head() {
            let slot = from.ring.slot(from.at);
            to.ring.set_slot(from.at, slot);
            from.ring.set_slot(from.at, Slot { flags: slot.flags & !NS_BUF_CHANGED, ..slot });
            to.tail = from.at;
            from.at = from.next(from.at);
        }
    }

    /// Every buffer that a slot names, those of the two rings of a direction counted once: what is on its way or
    /// unread is in the receiver's slots, the rest in the sender's.
    pub(crate) fn buffers(&self) -> Vec<u32> {
        let [a, b] = &self.ends;
        let mut buffers = self.others.clone();
        for (transmit, receive) in [(&a.transmit, &b.receive), (&b.transmit, &a.receive)] {
            let mut slots = transmit.buffers();
            let mut at = receive.at;
            while at != transmit.at {
                slots[at as usize] = receive.ring.slot(at).buf_idx;
                at = transmit.next(at);
            }
            buffers.extend(slots);
        }
        buffers
    }
}

#[derive(Debug)]
pub(crate) struct PipeKernel {
    pub(crate) pipe: Rc<RefCell<Pipe>>,
    pub(crate) end: usize,
}

impl Kernel for PipeKernel {
    fn sync_transmit(&self, _pair: usize) -> io::Result<()> {
        self.pipe.borrow_mut().sync_transmit(self.end);
        Ok(())
    }

    fn sync_receive(&self, _pair: usize) -> io::Result<()> {
        self.pipe.borrow_mut().sync_receive(self.end);
        Ok(())
    }

    fn is_readable(&self, _pair: usize) -> bool {
        let receive = &self.pipe.borrow().ends[self.end].receive;
        receive.tail != receive.ring.head()
    }

    fn descriptor(&self, _pair: usize) -> RawFd {
        self.end as RawFd
    }
}
