//! The device of a shard without a queue pair: it sends through that of another, and gets its frames from all of them.

use std::io;
use std::sync::Arc;

use hayase_device::headers::ETHERNET_LEN;
use hayase_device::heap::{HeapFrame, Pool, PoolConfig};
use hayase_device::{Burst, Caps, Device, Interest, Offloads, SharedBytes, TxMeta};
use hayase_stack::Config;

use super::fabric::{Fabric, Seat};
use super::ring::Sender;

/// Fragments of a frame that is sent. The ring makes one piece of them, so there is no reason for fewer.
const FRAGMENTS_MAX: usize = 64;

/// A device whose transmit queue is a ring to the core that has a real one.
///
/// It promises what the real one did at the start, and what is asked for travels with the frame. Should the real one
/// lack it by then, its core does it in software. What is received is as the real device gave it.
#[derive(Debug)]
pub(crate) struct Satellite {
    caps: Caps,
    available: Offloads,
    mac: [u8; 6],
    pool: Pool,
    uplink: Sender<TxMeta>,
    owner: usize,
    fabric: Arc<Fabric>,
    /// Whether something was sent since the last flush.
    is_dirty: bool,
    dropped: u64,
}

impl Satellite {
    /// Takes the uplink of a seat. Returns how the stack at its other end behaves, too: what a device asks of its stack,
    /// a VLAN above all, it asks of all whose frames it carries.
    ///
    /// # Errors
    /// If the seat has none, or the core at its other end has no device yet.
    pub(crate) fn new(seat: &mut Seat) -> io::Result<(Satellite, Config)> {
        let uplink = seat.uplink.take();
        let (owner, uplink) =
            uplink.ok_or_else(|| io::Error::other("this core has a queue pair of its own"))?;
        let fabric = Arc::clone(&seat.fabric);
        let real = fabric.uplink(owner)?;
        let pool = Pool::new(PoolConfig::default());
        // Frames are copied into the other core's buffers, headers and all.
        let packet_len_max = real.caps.fill_len_max.saturating_sub(ETHERNET_LEN);
        let mut satellite = Satellite {
            caps: Caps {
                queue: seat.core as u16,
                held_len_max: pool.small_len_max(),
                mtu: real.caps.mtu.min(packet_len_max),
                tso_len_max: real.caps.tso_len_max.min(packet_len_max),
                ..real.caps
            },
            available: real.caps.offloads | Offloads::SG,
            mac: real.mac,
            pool,
            uplink,
            owner,
            fabric: Arc::clone(&fabric),
            is_dirty: false,
            dropped: 0,
        };
        satellite.set_offloads(Offloads::ALL);
        Ok((satellite, real.config.clone()))
    }
}

impl Device for Satellite {
    type Frame = HeapFrame;

    fn caps(&self) -> &Caps {
        &self.caps
    }

    fn set_offloads(&mut self, wanted: Offloads) -> Offloads {
        self.caps.offloads = (wanted & self.available).consistent();
        self.caps.fragments_max = if self.caps.offloads.contains(Offloads::SG) { FRAGMENTS_MAX } else { 1 };
        self.caps.offloads
    }

    fn mac(&self) -> [u8; 6] {
        self.mac
    }

    /// Frames come over the rings of the steering.
    fn receive(&mut self, _burst: &mut Burst<HeapFrame>) -> usize {
        0
    }

    fn alloc(&mut self, len: usize) -> Option<HeapFrame> {
        self.pool.alloc(len)
    }

    /// The ring copies, whatever the memory.
    fn wrap(&mut self, bytes: &SharedBytes) -> Option<HeapFrame> {
        Pool::wrap(bytes.clone())
    }

    fn room(&self) -> usize {
        self.uplink.room()
    }

    fn transmit(&mut self, frame: HeapFrame, meta: TxMeta) {
        if self.uplink.send(&frame, meta) {
            self.is_dirty = true;
        } else {
            self.dropped += 1;
        }
    }

    fn flush(&mut self) {
        if std::mem::take(&mut self.is_dirty) {
            self.fabric.wake(self.owner);
        }
    }

    fn pending(&self) -> bool {
        false
    }

    fn interests(&self, _interest: &mut dyn FnMut(Interest)) {}

    fn drops(&self, count: &mut dyn FnMut(&'static str, u64)) {
        count("tx_dropped", self.dropped);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::steering::fabric::seats;
    use crate::steering::ring::RING_LEN;
    use crate::steering::{AcceptPolicy, Station, Steered};
    use hayase_device::conformance::PEER_MAC;
    use hayase_device::conformance::packet::{Ip, Packet, assert_pieces, raw};
    use hayase_device::{Frame, RxMeta};
    use hayase_wire::{EndConfig, Wire, WireConfig, WireDevice};

    /// A core with a wire, whose other end leaves nothing undone or everything, and one without.
    fn bed(peer: Offloads) -> (Steered<WireDevice>, Satellite, WireDevice) {
        let config = WireConfig::default();
        bed_on(WireConfig { b: EndConfig { offloads: peer, ..config.b }, ..config })
    }

    fn bed_on(config: WireConfig) -> (Steered<WireDevice>, Satellite, WireDevice) {
        let (real, peer) = Wire::pair(config);
        let mut seats = seats(2, 1, AcceptPolicy::Local).unwrap().into_iter();
        let (mut first, mut second) = (seats.next().unwrap(), seats.next().unwrap());
        let station = Station::new(&mut first, &real, &Config::default());
        let (satellite, _) = Satellite::new(&mut second).unwrap();
        (Steered::new(real, &mut first, station), satellite, peer)
    }

    /// What the peer gets of a super-segment that the satellite sends as two fragments.
    fn sent(
        real: &mut Steered<WireDevice>,
        satellite: &mut Satellite,
        peer: &mut WireDevice,
        packet: &Packet,
    ) -> Vec<(Vec<u8>, RxMeta)> {
        let bytes = packet.build_partial();
        let mut frame = satellite.alloc(packet.header_len()).unwrap();
        frame.extend(packet.header_len()).unwrap().copy_from_slice(&bytes[..packet.header_len()]);
        let payload = SharedBytes::from(bytes[packet.header_len()..].to_vec());
        frame.chain(satellite.wrap(&payload).unwrap());
        satellite.transmit(frame, packet.segmentation_meta(1000));
        satellite.flush();
        assert_eq!(real.gather(), 1);
        real.flush();
        let mut burst = Burst::new(32);
        peer.receive(&mut burst);
        burst.drain().map(|(frame, meta)| (frame.fragments().flatten().copied().collect(), meta)).collect()
    }

    fn packet(satellite: &Satellite) -> Packet {
        Packet::tcp(Ip::V4, 10_500).between(satellite.mac(), PEER_MAC)
    }

    /// A jumbo interface without scatter-gather, whose buffers hold less.
    #[test]
    fn packets_are_as_large_as_the_other_cores_buffers() {
        let WireConfig { a, b, .. } = WireConfig::default();
        let none = |end| EndConfig { offloads: Offloads::NONE, ..end };
        let pool = PoolConfig { large_len: 2048, ..PoolConfig::default() };
        let config = WireConfig { a: none(a), b: none(b), pool, mtu: 9000, ..WireConfig::default() };
        let (mut real, mut satellite, mut peer) = bed_on(config);
        let mtu = satellite.caps().mtu;
        assert!((1500..2048).contains(&mtu), "{mtu}");
        let bytes = raw(satellite.mac(), PEER_MAC, ETHERNET_LEN + mtu);
        let mut frame = satellite.alloc(bytes.len()).unwrap();
        frame.extend(bytes.len()).unwrap().copy_from_slice(&bytes);
        satellite.transmit(frame, TxMeta::default());
        assert_eq!(real.gather(), 1);
        real.flush();
        let mut burst = Burst::new(1);
        peer.receive(&mut burst);
        assert_eq!(burst.drain().next().unwrap().0.bytes(), bytes);
    }

    #[test]
    fn what_the_uplink_has_no_room_for_is_dropped_and_counted() {
        let (mut real, mut satellite, _peer) = bed(Offloads::ALL);
        let bytes = raw(satellite.mac(), PEER_MAC, 60);
        let mut send = |count| {
            for _ in 0..count {
                let mut frame = satellite.alloc(bytes.len()).unwrap();
                frame.extend(bytes.len()).unwrap().copy_from_slice(&bytes);
                satellite.transmit(frame, TxMeta::default());
            }
            let mut drops = Vec::new();
            satellite.drops(&mut |name, count| drops.push((name, count)));
            (satellite.room(), drops)
        };
        assert_eq!(send(RING_LEN), (0, vec![("tx_dropped", 0)]));
        assert_eq!(send(3), (0, vec![("tx_dropped", 3)]));
        // The core with the queue takes them, and there is room again.
        let taken = real.gather();
        assert!(taken > 1, "{taken}");
        assert_eq!(send(1), (taken - 1, vec![("tx_dropped", 3)]));
    }

    #[test]
    fn what_is_asked_for_travels_with_the_frame() {
        let (mut real, mut satellite, mut peer) = bed(Offloads::ALL);
        assert_eq!(satellite.caps().offloads, real.caps().offloads);
        let packet = packet(&satellite);
        let arrived = sent(&mut real, &mut satellite, &mut peer, &packet);
        assert_eq!(arrived.len(), 1, "handed over uncut");
        assert_eq!((&arrived[0].0, arrived[0].1.segment_len), (&packet.build_partial(), 1000));
    }

    #[test]
    fn what_was_switched_off_since_is_done_in_software() {
        let (mut real, mut satellite, mut peer) = bed(Offloads::NONE);
        real.set_offloads(Offloads::NONE);
        let packet = packet(&satellite);
        let arrived = sent(&mut real, &mut satellite, &mut peer, &packet);
        let pieces: Vec<_> = arrived.into_iter().map(|(bytes, _)| bytes).collect();
        assert_eq!(pieces.len(), 11);
        assert_pieces(&packet, 1000, &pieces);
    }

    /// A jumbo interface whose buffers hold less, and whose scatter-gather is switched off after the start.
    #[test]
    fn what_no_single_buffer_of_the_owner_holds_is_sent_in_several() {
        let WireConfig { a, b, .. } = WireConfig::default();
        let a = EndConfig { offloads: Offloads::SG | Offloads::TX_CHECKSUM, ..a };
        let pool = PoolConfig { large_len: 2048, ..PoolConfig::default() };
        let (mut real, mut satellite, mut peer) = bed_on(WireConfig {
            a,
            b: EndConfig { offloads: Offloads::NONE, ..b },
            pool,
            mtu: 9000,
            ..WireConfig::default()
        });
        real.set_offloads(Offloads::NONE);
        let packet = Packet::tcp(Ip::V4, satellite.caps().mtu - 40).between(satellite.mac(), PEER_MAC);
        let bytes = packet.build_partial();
        let mut frame = satellite.alloc(bytes.len()).unwrap();
        frame.extend(bytes.len()).unwrap().copy_from_slice(&bytes);
        satellite.transmit(frame, packet.checksum_meta());
        assert_eq!(real.gather(), 1);
        real.flush();
        let mut burst = Burst::new(1);
        peer.receive(&mut burst);
        let arrived = burst.drain().next().expect("it arrives").0;
        assert!(arrived.fragments().flatten().eq(&packet.build()));
        assert_eq!(real.caps().offloads, Offloads::NONE);
    }

    #[test]
    fn what_the_owner_lacks_is_not_promised() {
        let (mut real, ..) = bed(Offloads::NONE);
        real.set_offloads(Offloads::NONE);
        let mut seats = seats(2, 1, AcceptPolicy::Local).unwrap().into_iter();
        let (mut first, mut second) = (seats.next().unwrap(), seats.next().unwrap());
        let _station = Station::new(&mut first, &real, &Config::default());
        let (satellite, _) = Satellite::new(&mut second).unwrap();
        assert_eq!(satellite.caps().offloads, Offloads::SG);
    }
}
