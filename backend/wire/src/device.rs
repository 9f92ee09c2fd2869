//! One end of the wire.

use std::cell::{Cell, RefCell};
use std::mem;
use std::rc::Rc;

use hayase_device::headers::ETHERNET_LEN;
use hayase_device::heap::{HeapFrame, Pool};
use hayase_device::hint::{likely, usually};
use hayase_device::segment::OffloadError;
use hayase_device::{
    Burst, Caps, Device, Frame, FrameQueue, Interest, Offloads, RxMeta, SharedBytes, TxMeta,
};

use crate::WireConfig;
use crate::crossing::{Crossing, Passage};

/// The largest packet of TSO: what IPv4's length field can say.
const TSO_LEN_MAX: usize = 65_535;
/// More than a super-segment in small buffers needs.
pub(crate) const FRAGMENTS_MAX: usize = 64;

/// One end of a [`Wire`](crate::Wire).
#[derive(Debug)]
pub struct WireDevice {
    mac: [u8; 6],
    caps: Caps,
    available: Offloads,
    pool: Pool,
    inbound: Rc<Direction>,
    outbound: Rc<Direction>,
    /// What is being transmitted, on its way to [`transmit_rest`](Self::transmit_rest).
    leaving: Option<(HeapFrame, TxMeta)>,
    tx_dropped: u64,
    tx_errors: u64,
}

/// One direction of the wire: the receive queue of the end that it leads to.
#[derive(Debug)]
struct Direction {
    queue: RefCell<FrameQueue<HeapFrame>>,
    frames_max: usize,
    /// What the receiving end has in force: it decides in what state frames arrive.
    receiver: Cell<Offloads>,
    /// What the sending end has in force.
    sender: Cell<Offloads>,
    /// What follows for frames that need no work.
    passage: Cell<Passage>,
    /// Whether the receiving end still exists.
    plugged: Cell<bool>,
}

impl Direction {
    fn new(frames_max: usize, sender: Offloads, receiver: Offloads) -> Rc<Direction> {
        Rc::new(Direction {
            queue: RefCell::default(),
            frames_max,
            receiver: Cell::new(receiver),
            sender: Cell::new(sender),
            passage: Cell::new(Passage::between(sender, receiver)),
            plugged: Cell::new(true),
        })
    }

    /// Either end puts other offloads in force.
    fn agree(&self, sender: Offloads, receiver: Offloads) {
        self.sender.set(sender);
        self.receiver.set(receiver);
        self.passage.set(Passage::between(sender, receiver));
    }

    #[inline]
    fn room(&self) -> usize {
        self.frames_max.saturating_sub(self.queue.borrow().len())
    }

    #[inline]
    fn push(&self, frame: HeapFrame, meta: RxMeta) {
        self.queue.borrow_mut().push_back(frame, meta);
    }
}

impl WireDevice {
    pub(crate) fn pair(config: &WireConfig) -> (WireDevice, WireDevice) {
        assert!(config.queue_frames_max > 0, "a wire needs room for at least one frame");
        assert!((68..=TSO_LEN_MAX).contains(&config.mtu), "an MTU of {} bytes is no MTU", config.mtu);
        let (a, b) = (config.a.offloads.consistent(), config.b.offloads.consistent());
        let to_a = Direction::new(config.queue_frames_max, b, a);
        let to_b = Direction::new(config.queue_frames_max, a, b);
        let end = |mac, available, inbound: &Rc<Direction>, outbound: &Rc<Direction>| {
            let pool = Pool::new(config.pool);
            WireDevice {
                mac,
                // What arrives lies in the other end's memory, which is as large.
                caps: caps(config.mtu, available, &pool),
                available,
                pool,
                inbound: Rc::clone(inbound),
                outbound: Rc::clone(outbound),
                leaving: None,
                tx_dropped: 0,
                tx_errors: 0,
            }
        };
        (end(config.a.mac, a, &to_a, &to_b), end(config.b.mac, b, &to_b, &to_a))
    }

    /// The memory that this end's frames live in.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Everything but a linear frame that passes as it is.
    #[inline(never)]
    fn transmit_rest(&mut self) {
        let Some((frame, meta)) = self.leaving.take() else { return };
        if self.room() == 0 || !self.outbound.plugged.get() {
            self.tx_dropped += 1;
            return;
        }
        let crossing = Crossing {
            mtu: self.caps.mtu,
            sender: self.caps.offloads,
            receiver: self.outbound.receiver.get(),
            passage: self.outbound.passage.get(),
            pool: &self.pool,
        };
        let crossed = crossing.cross(frame, meta, |frame, meta| self.outbound.push(frame, meta));
        match crossed {
            Ok(()) => {}
            Err(OffloadError::Malformed) => self.tx_errors += 1,
            Err(OffloadError::NoBuffer) => self.tx_dropped += 1,
        }
    }
}

fn caps(mtu: usize, offloads: Offloads, pool: &Pool) -> Caps {
    let or = |offload, with, without| if offloads.intersects(offload) { with } else { without };
    let fragments_max = or(Offloads::SG, FRAGMENTS_MAX, 1);
    Caps {
        offloads,
        mtu,
        tso_len_max: or(Offloads::TSO, TSO_LEN_MAX, mtu),
        fragments_max,
        fill_len_max: fragments_max * pool.alloc_len_max(),
        queue: 0,
        queues: 1,
        held_len_max: pool.small_len_max(),
    }
}

impl Device for WireDevice {
    type Frame = HeapFrame;

    #[inline]
    fn caps(&self) -> &Caps {
        &self.caps
    }

    fn set_offloads(&mut self, wanted: Offloads) -> Offloads {
        let in_force = (wanted & self.available).consistent();
        self.caps = caps(self.caps.mtu, in_force, &self.pool);
        self.inbound.agree(self.inbound.sender.get(), in_force);
        self.outbound.agree(in_force, self.outbound.receiver.get());
        in_force
    }

    fn mac(&self) -> [u8; 6] {
        self.mac
    }

    #[inline]
    fn receive(&mut self, burst: &mut Burst<HeapFrame>) -> usize {
        burst.take_from(&mut self.inbound.queue.borrow_mut())
    }

    #[inline(always)]
    fn alloc(&mut self, len: usize) -> Option<HeapFrame> {
        self.pool.alloc(len)
    }

    fn wrap(&mut self, bytes: &SharedBytes) -> Option<HeapFrame> {
        Pool::wrap(bytes.clone())
    }

    #[inline]
    fn room(&self) -> usize {
        self.outbound.room()
    }

    #[inline(always)]
    fn transmit(&mut self, frame: HeapFrame, meta: TxMeta) {
        let (outbound, len) = (&*self.outbound, frame.len());
        if likely((ETHERNET_LEN..=ETHERNET_LEN + self.caps.mtu).contains(&len))
            && likely(frame.next().is_none())
            && likely(meta.segmentation.is_none())
            && let Some(checksum) = usually(outbound.passage.get().rx_checksum_of(len, meta.checksum))
            && likely(outbound.plugged.get())
            && let Ok(mut queue) = outbound.queue.try_borrow_mut()
            && likely(queue.len() < outbound.frames_max)
        {
            return queue.push_back(frame, RxMeta { checksum, ..RxMeta::default() });
        }
        // By way of the device: a frame that is handed to a function lies in memory from the start, also where it is not.
        // Nothing is left there that would have to be dropped.
        mem::forget(self.leaving.replace((frame, meta)));
        self.transmit_rest();
    }

    /// Without effect: a wire has no doorbell, frames are there as soon as they are transmitted.
    #[inline]
    fn flush(&mut self) {}

    #[inline]
    fn pending(&self) -> bool {
        !self.inbound.queue.borrow().is_empty()
    }

    fn interests(&self, _interest: &mut dyn FnMut(Interest)) {}

    fn drops(&self, count: &mut dyn FnMut(&'static str, u64)) {
        count("tx_dropped", self.tx_dropped);
        count("tx_errors", self.tx_errors);
    }
}

impl Drop for WireDevice {
    /// Pulls the plug: what is on its way here goes back to its pool.
    fn drop(&mut self) {
        self.inbound.plugged.set(false);
        // Taken out first: the owner of foreign bytes may run code of its own when it is dropped.
        drop(mem::take(&mut *self.inbound.queue.borrow_mut()));
    }
}

#[cfg(test)]
mod tests {
    use hayase_device::RxChecksum;
    use hayase_device::conformance::packet::{Ip, Packet};
    use hayase_device::conformance::{Arrived, Harness, POOL, run};
    use hayase_device::heap::PoolConfig;

    use super::*;
    use crate::{EndConfig, Wire};

    /// The first end is tested; the second plays its peer.
    struct Ends {
        device: WireDevice,
        peer: WireDevice,
    }

    impl Ends {
        fn new(device: Offloads, peer: Offloads) -> Ends {
            let mut config = WireConfig { pool: POOL, queue_frames_max: 100, ..WireConfig::default() };
            (config.a.offloads, config.b.offloads) = (device, peer);
            let (device, peer) = Wire::pair(config);
            Ends { device, peer }
        }
    }

    impl Harness for Ends {
        type Device = WireDevice;
        const SLEEPS: bool = false;

        fn device(&mut self) -> &mut WireDevice {
            &mut self.device
        }

        fn peer_send(&mut self, frame: &[u8], meta: TxMeta) {
            // A sender may put the seams of a chain anywhere; the receiver must not notice.
            let seam = if self.peer.caps.offloads.contains(Offloads::SG) { 20 } else { frame.len() };
            let mut chain = filled(&self.peer, &frame[..seam]);
            if seam < frame.len() {
                chain.chain(filled(&self.peer, &frame[seam..]));
            }
            self.peer.transmit(chain, meta);
        }

        fn peer_offloads(&self) -> Offloads {
            self.peer.caps().offloads
        }

        fn peer_receive(&mut self) -> Option<Arrived> {
            receive_one(&mut self.peer)
        }

        fn in_use(&self) -> usize {
            self.device.pool().in_use()
        }
    }

    fn filled(device: &WireDevice, bytes: &[u8]) -> HeapFrame {
        let mut frame = device.pool().alloc(bytes.len()).expect("the pool has a buffer");
        frame.extend(bytes.len()).expect("the buffer has room").copy_from_slice(bytes);
        frame
    }

    fn receive_one(device: &mut WireDevice) -> Option<Arrived> {
        let mut burst = Burst::new(1);
        device.receive(&mut burst);
        let (frame, meta) = burst.drain().next()?;
        Some(Arrived { bytes: frame.fragments().flatten().copied().collect(), meta })
    }

    #[test]
    fn conforms_with_every_mixture_of_offloads() {
        let named = ["tx-checksum", "rx-checksum", "tso", "lro", "sg"].map(|name| name.parse().unwrap());
        for bits in 0..1 << named.len() {
            let chosen = named.iter().enumerate().filter(|(i, _)| bits >> i & 1 == 1);
            let device: Offloads = chosen.fold(Offloads::NONE, |set, (_, &offload)| set | offload);
            for peer in [Offloads::ALL, Offloads::NONE, Offloads::TX_CHECKSUM | Offloads::RX_CHECKSUM] {
                eprintln!("device {device}, peer {peer}");
                run(|| Ends::new(device, peer));
            }
        }
    }

    #[test]
    fn conforms_with_offloads_of_one_protocol() {
        let tcp = Offloads::TX_CHECKSUM_TCP | Offloads::RX_CHECKSUM_TCP | Offloads::TSO4;
        let udp = Offloads::TX_CHECKSUM_UDP | Offloads::RX_CHECKSUM_UDP;
        for (device, peer) in [(tcp, udp), (udp, tcp), (Offloads::ALL, tcp), (tcp, Offloads::ALL)] {
            run(|| Ends::new(device, peer));
        }
    }

    #[test]
    fn nothing_is_computed_where_both_ends_can_do_without() {
        let mut ends = Ends::new(Offloads::ALL, Offloads::ALL);
        let packet = Packet::tcp(Ip::V4, 30_000);
        let frame = filled(&ends.device, &packet.build_partial());
        let address = frame.bytes().as_ptr();
        ends.device.transmit(frame, packet.segmentation_meta(1460));
        let mut burst = Burst::new(1);
        assert_eq!(ends.peer.receive(&mut burst), 1);
        let (frame, meta) = burst.drain().next().unwrap();
        assert_eq!((frame.bytes().as_ptr(), meta.segment_len), (address, 1460));
        assert_eq!((frame.bytes(), meta.checksum), (&packet.build_partial()[..], RxChecksum::Verified));
    }

    #[test]
    fn the_receiving_nic_verifies_what_the_sender_computed() {
        let mut ends = Ends::new(Offloads::NONE, Offloads::ALL);
        for (bytes, verdict) in [
            (Packet::udp(Ip::V6, 40).build(), RxChecksum::Verified),
            (Packet::udp(Ip::V6, 40).build_partial(), RxChecksum::Unverified),
        ] {
            let frame = filled(&ends.device, &bytes);
            ends.device.transmit(frame, TxMeta::default());
            assert_eq!(receive_one(&mut ends.peer).unwrap().meta.checksum, verdict);
        }
    }

    #[test]
    fn a_checksum_is_computed_for_a_receiver_that_must_look_itself() {
        let mut ends = Ends::new(Offloads::ALL, Offloads::RX_CHECKSUM_UDP);
        for packet in [Packet::tcp(Ip::V6, 333), Packet::udp(Ip::V6, 333)] {
            let mut frame = filled(&ends.device, &packet.build_partial()[..100]);
            frame.chain(filled(&ends.device, &packet.build_partial()[100..]));
            let kept = frame.share();
            ends.device.transmit(frame, packet.checksum_meta());
            let arrived = receive_one(&mut ends.peer).unwrap();
            let (bytes, checksum) = if packet.tcp {
                (packet.build(), RxChecksum::Unverified)
            } else {
                (packet.build_partial(), RxChecksum::Verified)
            };
            assert_eq!((arrived.bytes, arrived.meta.checksum), (bytes, checksum));
            assert_eq!(kept.bytes(), &packet.build_partial()[..100], "the sender's handle sees no change");
        }
    }

    #[test]
    fn queued_frames_keep_what_they_were_promised() {
        let mut ends = Ends::new(Offloads::ALL, Offloads::ALL);
        let packet = Packet::tcp(Ip::V4, 40);
        let frame = filled(&ends.device, &packet.build_partial());
        ends.device.transmit(frame, packet.checksum_meta());
        ends.peer.set_offloads(Offloads::NONE);
        assert_eq!(receive_one(&mut ends.peer).unwrap().meta.checksum, RxChecksum::Verified);
    }

    #[test]
    fn segments_longer_than_the_link_are_refused() {
        for peer in [Offloads::ALL, Offloads::NONE] {
            let mut ends = Ends::new(Offloads::ALL, peer);
            let packet = Packet::tcp(Ip::V4, 5000);
            let frame = filled(&ends.device, &packet.build_partial());
            ends.device.transmit(frame, packet.segmentation_meta(1461));
            assert_eq!((ends.device.tx_errors, ends.peer.pending()), (1, false));
        }
    }

    #[test]
    fn a_dry_pool_while_cutting_is_counted() {
        let pool = PoolConfig { small_count_max: 2, large_count_max: 1, ..POOL };
        let mut config = WireConfig { pool, ..WireConfig::default() };
        config.b = EndConfig { offloads: Offloads::NONE, ..config.b };
        let (mut a, mut b) = Wire::pair(config);
        let packet = Packet::tcp(Ip::V4, 10_000);
        let frame = filled(&a, &packet.build_partial());
        a.transmit(frame, packet.segmentation_meta(1460));
        assert_eq!(a.tx_dropped, 1);
        assert_eq!(b.receive(&mut Burst::new(8)), 2);
        assert_eq!(a.pool().in_use(), 0);
    }

    #[test]
    fn an_unplugged_end_swallows_and_counts() {
        let mut ends = Ends::new(Offloads::ALL, Offloads::ALL);
        let frame = filled(&ends.device, &[0; 60]);
        ends.device.transmit(frame.share(), TxMeta::default());
        drop(ends.peer);
        assert!(frame.is_unique(), "what was on its way is released");
        ends.device.transmit(frame, TxMeta::default());
        assert_eq!((ends.device.tx_dropped, ends.device.pool().in_use()), (1, 0));
        assert!(ends.device.room() > 0 && !ends.device.pending());
    }
}
