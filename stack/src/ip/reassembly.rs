//! Putting fragments together again (RFC 791 §3.2, RFC 8200 §4.5).
//!
//! Fragments wait in the frames that they came in. When the last gap closes they are copied once into a packet
//! without fragment header, which goes the way of every packet from there. What strangers can make us hold is
//! bounded in bytes, packets and fragments per packet; beyond that the oldest goes.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::net::IpAddr;
use core::time::Duration;

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use hayase_device::{Frame, checksum};
use hayase_time::Instant;

use crate::chain;
use crate::wire::{Protocol, ipv4, ipv6};

/// How long an IPv4 packet may take. RFC 1122 §3.3.2 recommends 60 to 120 s; but at today's rates the 16 bits
/// of identification come round in less, and fragments of two packets get mixed (RFC 4963 §2). 30 s is what
/// hosts use.
const TIMEOUT_V4: Duration = Duration::from_secs(30);

/// How long an IPv6 packet may take (RFC 8200 §4.5).
const TIMEOUT_V6: Duration = Duration::from_secs(60);

/// The most fragments of one packet: 65,535 bytes in the 576 that every IPv4 host takes are 119.
const FRAGMENT_COUNT_MAX: usize = 128;

/// The most packets at once: each costs some 200 bytes beside its frames, and is found by one hash.
const PACKET_COUNT_MAX: usize = 1024;

/// Congestion experienced: both bits (RFC 3168 §5).
const CE: u8 = 0b11;

/// What the fragments of one packet have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    src: IpAddr,
    dst: IpAddr,
    ident: u32,
    /// IPv4 only: in IPv6 the fragments of one packet may differ in it (RFC 8200 §4.5).
    protocol: Option<Protocol>,
}

/// Where a fragment belongs, and how its packet is put together.
#[derive(Debug, Clone, Copy)]
pub struct Fragment {
    key: Key,
    /// Its place in the fragmentable part, in bytes.
    start: u32,
    end: u32,
    /// Whether it has the end of the packet.
    last: bool,
    /// What it says of congestion: the lower two bits of type of service or traffic class.
    ecn: u8,
    /// It was sent to many on the link: nobody is told what becomes of it.
    is_group: bool,
    /// Where its payload starts in the packet that it came in.
    payload_at: u32,
    /// Length of the headers that the whole packet keeps.
    header_len: u32,
    /// IPv6: the field that named the fragment header, and what it names instead.
    next_header: Option<(u32, Protocol)>,
}

impl Fragment {
    /// A fragment with this header of `header_len` bytes. `None` if it is a whole packet.
    pub fn ipv4(header: &ipv4::Header, header_len: usize) -> Option<Fragment> {
        let start = u32::from(header.fragment_offset);
        header.is_fragment().then(|| Fragment {
            key: Key {
                src: header.src.into(),
                dst: header.dst.into(),
                ident: header.ident.into(),
                protocol: Some(header.protocol),
            },
            start,
            end: start + u32::from(header.payload_len),
            last: !header.more_fragments,
            ecn: header.tos & CE,
            is_group: false,
            payload_at: header_len as u32,
            header_len: header_len as u32,
            next_header: None,
        })
    }

    /// A fragment with this header and these extension headers. `None` if it is a whole packet.
    pub fn ipv6(header: &ipv6::Header, extensions: &ipv6::Extensions) -> Option<Fragment> {
        let fragment = extensions.fragment?;
        let (start, packet_len) = (u32::from(fragment.offset), ipv6::LEN + usize::from(header.payload_len));
        Some(Fragment {
            key: Key {
                src: header.src.into(),
                dst: header.dst.into(),
                ident: fragment.ident,
                protocol: None,
            },
            start,
            end: start + packet_len.checked_sub(extensions.offset)? as u32,
            last: !fragment.more,
            ecn: header.traffic_class & CE,
            is_group: false,
            payload_at: extensions.offset as u32,
            header_len: extensions.offset.checked_sub(ipv6::FRAGMENT_LEN)? as u32,
            next_header: Some((extensions.next_header_at as u32, fragment.next_header)),
        })
    }

    /// The same fragment, sent to many on the link, or not.
    #[must_use]
    pub fn in_group(self, is_group: bool) -> Fragment {
        Fragment { is_group, ..self }
    }

    fn is_ipv4(&self) -> bool {
        self.next_header.is_none()
    }

    fn timeout(&self) -> Duration {
        if self.is_ipv4() { TIMEOUT_V4 } else { TIMEOUT_V6 }
    }
}

/// Why a fragment was thrown away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// It was there already, byte for byte. The packet goes on waiting.
    Duplicate,
    /// It overlaps another, or they disagree about the end: the whole packet is given up (RFC 5722).
    Overlap,
    /// It belongs to an IPv6 packet that was given up for an overlap.
    GivenUp,
    /// Its packet has too many fragments.
    Count,
    /// There is no memory for it.
    Budget,
    /// The packet would be longer than 65,535 bytes, and is given up.
    TooLong,
    /// The packet is complete, but one fragment met congestion and another cannot say so (RFC 3168 §5.3).
    Marks,
    /// The packet is complete, but the pool has no frames to put it together, and it is given up.
    NoFrames,
}

/// A packet that was not completed in time.
#[derive(Debug)]
pub struct Expired<F> {
    /// Its first fragment, from the IP header on, if that arrived: what a time exceeded message quotes.
    /// Without it none is sent (RFC 792, RFC 4443 §3.3), nor of what came to many on the link (RFC 1122 §3.2.2).
    pub first: Option<F>,
    /// How many fragments were thrown away with it.
    pub fragment_count: usize,
}

#[derive(Debug)]
struct Piece<F> {
    fragment: Fragment,
    frame: F,
}

/// A packet that waits for fragments.
#[derive(Debug)]
struct Packet<F> {
    /// In the order of the payload, without overlaps.
    pieces: Vec<Piece<F>>,
    /// Bytes of payload that are there.
    received_len: u32,
    /// Bytes of payload in all, once the last fragment told.
    total_len: Option<u32>,
    /// Bytes of pool memory that the pieces hold.
    memory_len: usize,
    /// Its place in the order of age.
    age: Age,
    /// Its fragments overlapped: what still comes is thrown away until its time is over (RFC 5722 §4).
    given_up: bool,
}

/// When a packet's time is over, and a serial number that tells apart those of one instant.
type Age = (Instant, u64);

/// Packets waiting for fragments.
#[derive(Debug)]
pub struct Reassembly<F> {
    packets: HashMap<Key, Packet<F>, FixedState>,
    by_age: BTreeMap<Age, Key>,
    serial: u64,
    /// Bytes of pool memory held, and how many may be.
    memory_len: usize,
    memory_len_max: usize,
    evicted_count: u64,
    given_up_count: u64,
}

impl<F: Frame> Reassembly<F> {
    /// Holds at most `memory_len_max` bytes of frames, by [`Frame::capacity`]. `seed` is secret, so that
    /// nobody can choose packets that collide.
    pub fn new(memory_len_max: usize, seed: u64) -> Reassembly<F> {
        Reassembly {
            packets: HashMap::with_hasher(FixedState::with_seed(seed)),
            by_age: BTreeMap::new(),
            serial: 0,
            memory_len: 0,
            memory_len_max,
            evicted_count: 0,
            given_up_count: 0,
        }
    }

    /// Takes a fragment in; `frame` starts with its IP header. Returns the whole packet, from its IP header
    /// on, if this completes it: in one frame if `alloc` gives one with so much room, else in a chain.
    ///
    /// `alloc(len)` gives an empty frame with room for up to `len` bytes, as
    /// [`Device::alloc`](hayase_device::Device::alloc) does.
    ///
    /// # Errors
    /// Why the fragment was thrown away, and whether its packet with it.
    pub fn receive(
        &mut self,
        fragment: Fragment,
        frame: F,
        now: Instant,
        alloc: impl FnMut(usize) -> Option<F>,
    ) -> Result<Option<F>, Refused> {
        let memory_len = chain::capacity(&frame);
        self.make_room(&fragment.key, memory_len)?;
        let key = fragment.key;
        let packet = self.packet(&fragment, now);
        match packet.insert(Piece { fragment, frame }) {
            Ok(()) => packet.memory_len += memory_len,
            Err(Refused::Overlap) => {
                self.give_up(&key, fragment.is_ipv4());
                return Err(Refused::Overlap);
            }
            Err(refused) => return Err(refused),
        }
        let complete = packet.total_len == Some(packet.received_len);
        self.memory_len += memory_len;
        if !complete {
            return Ok(None);
        }
        let Some(packet) = self.remove(&key) else { return Ok(None) };
        let others_count = packet.pieces.len() as u64 - 1;
        let assembled = packet.assemble(alloc);
        if assembled.is_err() {
            self.given_up_count += others_count;
        }
        assembled.map(Some)
    }

    /// Hands out one packet whose time is over; call it until there is none.
    pub fn expire(&mut self, now: Instant) -> Option<Expired<F>> {
        let (&(deadline, _), &key) = self.by_age.first_key_value()?;
        if deadline > now {
            return None;
        }
        let packet = self.remove(&key)?;
        let fragment_count = packet.pieces.len();
        let was_for_many = packet.pieces.iter().any(|piece| piece.fragment.is_group);
        let first = packet.pieces.into_iter().next();
        let first = first.filter(|piece| piece.fragment.start == 0 && !was_for_many);
        Some(Expired { first: first.map(|piece| piece.frame), fragment_count })
    }

    /// When to call [`expire`](Self::expire) next.
    pub fn deadline(&self) -> Option<Instant> {
        self.by_age.first_key_value().map(|(&(deadline, _), _)| deadline)
    }

    /// Bytes of pool memory that waiting fragments hold.
    pub fn memory_len(&self) -> usize {
        self.memory_len
    }

    /// How many fragments were thrown away to make room since the last call.
    pub fn take_evicted(&mut self) -> u64 {
        core::mem::take(&mut self.evicted_count)
    }

    /// How many fragments were thrown away with one that [`receive`](Self::receive) refused, since the last call.
    pub fn take_given_up(&mut self) -> u64 {
        core::mem::take(&mut self.given_up_count)
    }

    /// Throws out the oldest packets other than this fragment's until the fragment fits.
    fn make_room(&mut self, key: &Key, memory_len: usize) -> Result<(), Refused> {
        let new_count = usize::from(!self.packets.contains_key(key));
        while self.memory_len + memory_len > self.memory_len_max
            || self.packets.len() + new_count > PACKET_COUNT_MAX
        {
            let oldest = self.by_age.values().find(|other| *other != key).copied();
            let evicted = oldest.and_then(|oldest| self.remove(&oldest)).ok_or(Refused::Budget)?;
            self.evicted_count += evicted.pieces.len() as u64;
        }
        Ok(())
    }

    /// The packet of a fragment, made now if there is none.
    fn packet(&mut self, fragment: &Fragment, now: Instant) -> &mut Packet<F> {
        let Reassembly { packets, by_age, serial, .. } = self;
        packets.entry(fragment.key).or_insert_with(|| {
            let age = (now + fragment.timeout(), *serial);
            *serial += 1;
            by_age.insert(age, fragment.key);
            Packet {
                pieces: Vec::new(),
                received_len: 0,
                total_len: None,
                memory_len: 0,
                age,
                given_up: false,
            }
        })
    }

    /// Drops a packet whose fragments overlap. In IPv6 what still comes of it is dropped as well; in IPv4 the
    /// next packet with the same identification may be on its way, and is not to suffer.
    fn give_up(&mut self, key: &Key, ipv4: bool) {
        let Some(packet) = self.packets.get_mut(key) else { return };
        self.given_up_count += packet.pieces.len() as u64;
        if ipv4 {
            self.remove(key);
            return;
        }
        self.memory_len -= packet.memory_len;
        packet.memory_len = 0;
        packet.pieces = Vec::new();
        packet.given_up = true;
    }

    fn remove(&mut self, key: &Key) -> Option<Packet<F>> {
        let packet = self.packets.remove(key)?;
        self.by_age.remove(&packet.age);
        self.memory_len -= packet.memory_len;
        Some(packet)
    }
}

impl<F: Frame> Packet<F> {
    /// Puts a piece where it belongs.
    fn insert(&mut self, piece: Piece<F>) -> Result<(), Refused> {
        if self.given_up {
            return Err(Refused::GivenUp);
        }
        let Fragment { start, end, last, .. } = piece.fragment;
        let at = self.pieces.partition_point(|other| other.fragment.start < start);
        if self.pieces.get(at).is_some_and(|other| other.is_duplicate(&piece)) {
            return Err(Refused::Duplicate);
        }
        let overlaps_before = at > 0 && self.pieces[at - 1].fragment.end > start;
        let overlaps_behind = self.pieces.get(at).is_some_and(|other| other.fragment.start < end);
        if overlaps_before || overlaps_behind || self.disagrees_about_end(end, last) {
            return Err(Refused::Overlap);
        }
        if self.pieces.len() >= FRAGMENT_COUNT_MAX {
            return Err(Refused::Count);
        }
        self.received_len += end - start;
        if last {
            self.total_len = Some(end);
        }
        self.pieces.insert(at, piece);
        Ok(())
    }

    fn disagrees_about_end(&self, end: u32, last: bool) -> bool {
        let highest = self.pieces.last().map_or(0, |piece| piece.fragment.end);
        match self.total_len {
            Some(total_len) => end > total_len || last && end != total_len,
            None => last && end < highest,
        }
    }

    /// What the whole packet says of congestion: no mark is lost, and none put on a packet whose sender does not
    /// understand it (RFC 3168 §5.3).
    fn ecn(&self) -> Option<u8> {
        let mut all = self.pieces.iter().map(|piece| piece.fragment.ecn);
        let first = all.clone().next()?;
        if all.clone().all(|ecn| ecn != CE) {
            return Some(first);
        }
        all.all(|ecn| ecn != 0).then_some(CE)
    }

    /// Copies the pieces into a packet of their own.
    fn assemble(self, alloc: impl FnMut(usize) -> Option<F>) -> Result<F, Refused> {
        let (Some(first), Some(payload_len)) = (self.pieces.first(), self.total_len) else {
            return Err(Refused::NoFrames);
        };
        let (header_len, payload_len) = (first.fragment.header_len as usize, payload_len as usize);
        let packet_len = header_len + payload_len;
        let packet_len_max =
            if first.fragment.is_ipv4() { ipv4::PACKET_LEN_MAX } else { ipv6::LEN + ipv6::PAYLOAD_LEN_MAX };
        if packet_len > packet_len_max {
            return Err(Refused::TooLong);
        }
        let ecn = self.ecn().ok_or(Refused::Marks)?;
        let mut writer = Writer { alloc, frames: Vec::new(), left: packet_len };
        writer.append(&first.frame, 0, header_len).ok_or(Refused::NoFrames)?;
        for Piece { fragment, frame } in &self.pieces {
            let len = (fragment.end - fragment.start) as usize;
            writer.append(frame, fragment.payload_at as usize, len).ok_or(Refused::NoFrames)?;
        }
        let header = writer.frames.first_mut().and_then(|frame| frame.bytes_mut()?.get_mut(..header_len));
        mend_header(header.ok_or(Refused::NoFrames)?, packet_len, ecn, first.fragment.next_header);
        writer.finish().ok_or(Refused::NoFrames)
    }
}

/// Makes the header of a first fragment that of the whole packet.
fn mend_header(header: &mut [u8], packet_len: usize, ecn: u8, next_header: Option<(u32, Protocol)>) {
    match next_header {
        None => {
            header[2..4].copy_from_slice(&(packet_len as u16).to_be_bytes());
            header[1] = header[1] & !CE | ecn;
            header[6..8].fill(0);
            header[10..12].fill(0);
            let sum = checksum::checksum(header);
            header[10..12].copy_from_slice(&sum.to_be_bytes());
        }
        Some((at, protocol)) => {
            header[4..6].copy_from_slice(&((packet_len - ipv6::LEN) as u16).to_be_bytes());
            header[1] = header[1] & !(CE << 4) | ecn << 4;
            header[at as usize] = protocol.0;
        }
    }
}

impl<F: Frame> Piece<F> {
    fn payload(&self) -> impl Iterator<Item = &u8> {
        let Fragment { start, end, payload_at, .. } = self.fragment;
        self.frame.fragments().flatten().skip(payload_at as usize).take((end - start) as usize)
    }

    /// The network may duplicate a fragment, which is no attack (RFC 8200 §4.5).
    fn is_duplicate(&self, other: &Piece<F>) -> bool {
        let (a, b) = (&self.fragment, &other.fragment);
        (a.start, a.end, a.last) == (b.start, b.end, b.last) && self.payload().eq(other.payload())
    }
}

/// Fills frame after frame.
struct Writer<F, A> {
    alloc: A,
    frames: Vec<F>,
    /// Bytes still to come.
    left: usize,
}

impl<F: Frame, A: FnMut(usize) -> Option<F>> Writer<F, A> {
    /// Appends `len` bytes of a chain from `at` on. `None` if it has not so many, or the pool is dry.
    fn append(&mut self, from: &F, mut at: usize, len: usize) -> Option<()> {
        let end = at + len;
        while at < end {
            let tailroom = self.frames.last().map_or(0, F::tailroom);
            if tailroom == 0 {
                let frame = (self.alloc)(self.left).filter(|frame| frame.tailroom() > 0)?;
                self.frames.push(frame);
                continue;
            }
            let room = self.frames.last_mut()?.extend(tailroom.min(end - at))?;
            if chain::copy(from, at, room) != room.len() {
                return None;
            }
            at += room.len();
            self.left -= room.len();
        }
        Some(())
    }

    /// The frames as a chain, put together from the end so that no step walks what is done.
    fn finish(mut self) -> Option<F> {
        let mut chain = self.frames.pop()?;
        while let Some(mut frame) = self.frames.pop() {
            frame.chain(chain);
            chain = frame;
        }
        Some(chain)
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use hayase_device::heap::{HeapFrame, Pool, PoolConfig};
    use proptest::prelude::*;

    use super::*;

    const BUDGET: usize = 64 * 2048;

    struct Host {
        pool: Pool,
        reassembly: Reassembly<HeapFrame>,
    }

    fn host() -> Host {
        let config = PoolConfig { small_count_max: 256, large_count_max: 1, ..PoolConfig::default() };
        Host { pool: Pool::new(config), reassembly: Reassembly::new(BUDGET, 3) }
    }

    fn at(seconds: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(seconds)
    }

    /// A fragment of a payload: its range, and whether more follow.
    type Cut = (usize, usize, bool);

    impl Host {
        fn frame(&self, parts: &[&[u8]]) -> HeapFrame {
            let mut frame = self.pool.alloc(1).unwrap();
            for part in parts {
                frame.extend(part.len()).unwrap().copy_from_slice(part);
            }
            frame
        }

        fn receive(
            &mut self,
            fragment: Fragment,
            frame: HeapFrame,
            now: Instant,
        ) -> Result<Option<HeapFrame>, Refused> {
            let pool = self.pool.clone();
            let result = self.reassembly.receive(fragment, frame, now, |len| pool.alloc(len));
            assert!(self.reassembly.memory_len() <= BUDGET);
            assert_eq!(self.reassembly.packets.len(), self.reassembly.by_age.len());
            result
        }

        /// Sends a part of `payload`, in a packet with options, by way of its bytes.
        fn v4(
            &mut self,
            ident: u16,
            payload: &[u8],
            (from, to, more): Cut,
            now: Instant,
        ) -> Result<Option<HeapFrame>, Refused> {
            let header = ipv4::Header {
                src: [10, 0, 0, 1].into(),
                dst: [10, 0, 0, 2].into(),
                protocol: Protocol::UDP,
                ttl: 64,
                tos: 0,
                ident,
                dont_fragment: false,
                more_fragments: more,
                fragment_offset: from as u16,
                payload_len: (to - from) as u16,
            };
            let mut bytes = header.to_bytes().to_vec();
            bytes.extend([1, 1, 1, 0]);
            bytes[0] = 0x46;
            bytes[2..4].copy_from_slice(&((24 + to - from) as u16).to_be_bytes());
            bytes[10..12].fill(0);
            let sum = checksum::checksum(&bytes);
            bytes[10..12].copy_from_slice(&sum.to_be_bytes());
            let frame = self.frame(&[&bytes, &payload[from..to]]);
            let (parsed, header_len) = ipv4::parse(frame.bytes(), frame.len()).unwrap();
            self.receive(Fragment::ipv4(&parsed, header_len).unwrap(), frame, now)
        }

        /// Sends a part of `payload` behind a destination options header.
        fn v6(
            &mut self,
            ident: u32,
            payload: &[u8],
            (from, to, more): Cut,
            now: Instant,
        ) -> Result<Option<HeapFrame>, Refused> {
            let header = ipv6::Header {
                src: "fd00::1".parse().unwrap(),
                dst: "fd00::2".parse().unwrap(),
                next_header: Protocol::DESTINATION_OPTIONS,
                hop_limit: 64,
                traffic_class: 0,
                flow_label: 0,
                payload_len: (8 + 8 + to - from) as u16,
            };
            let options = [Protocol::FRAGMENT.0, 0, 1, 4, 0, 0, 0, 0];
            let mut fragment = [0; ipv6::FRAGMENT_LEN];
            // The next header of a later fragment does not count.
            let next_header = if from == 0 { Protocol(253) } else { Protocol(254) };
            ipv6::FragmentHeader { next_header, offset: from as u16, more, ident }.emit(&mut fragment);
            let frame = self.frame(&[&header.to_bytes(), &options, &fragment, &payload[from..to]]);
            let extensions = ipv6::walk_extensions(frame.bytes(), &header).unwrap();
            self.receive(Fragment::ipv6(&header, &extensions).unwrap(), frame, now)
        }
    }

    fn payload(len: usize) -> Vec<u8> {
        (0..len).map(|i| (i * 7 + i / 251) as u8).collect()
    }

    fn bytes(frame: &HeapFrame) -> Vec<u8> {
        frame.fragments().flatten().copied().collect()
    }

    #[track_caller]
    fn assert_whole_v4(frame: &HeapFrame, payload: &[u8]) {
        let bytes = bytes(frame);
        let (header, at) = ipv4::parse(&bytes, bytes.len()).unwrap();
        assert!(!header.is_fragment() && at == 24);
        assert_eq!((usize::from(header.payload_len), &bytes[at..]), (payload.len(), payload));
    }

    #[track_caller]
    fn assert_whole_v6(frame: &HeapFrame, payload: &[u8]) {
        let bytes = bytes(frame);
        let header = ipv6::parse(&bytes, bytes.len()).unwrap();
        let extensions = ipv6::walk_extensions(&bytes, &header).unwrap();
        assert_eq!((extensions.protocol, extensions.offset, extensions.fragment), (Protocol(253), 48, None));
        assert_eq!(&bytes[48..], payload);
    }

    #[test]
    fn i5_any_order_makes_the_packet() {
        let payload = payload(27);
        for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
            let mut host = host();
            let cuts = [(0, 8, true), (8, 24, true), (24, 27, false)];
            for (i, which) in order.into_iter().enumerate() {
                let v4 = host.v4(1, &payload, cuts[which], at(0)).unwrap();
                let v6 = host.v6(1, &payload, cuts[which], at(0)).unwrap();
                assert_eq!((v4.is_some(), v6.is_some()), (i == 2, i == 2));
                if let (Some(v4), Some(v6)) = (v4, v6) {
                    assert_whole_v4(&v4, &payload);
                    assert_whole_v6(&v6, &payload);
                }
            }
            assert_eq!((host.pool.in_use(), host.reassembly.memory_len()), (0, 0));
            assert_eq!(host.reassembly.deadline(), None);
        }
    }

    #[test]
    fn i5_interleaved_packets_are_kept_apart() {
        let (a, b) = (payload(16), vec![9; 16]);
        let mut host = host();
        host.v4(1, &a, (0, 8, true), at(0)).unwrap();
        host.v4(2, &b, (0, 8, true), at(0)).unwrap();
        assert_whole_v4(&host.v4(2, &b, (8, 16, false), at(0)).unwrap().unwrap(), &b);
        assert_whole_v4(&host.v4(1, &a, (8, 16, false), at(0)).unwrap().unwrap(), &a);
    }

    #[test]
    fn i6_l5_overlaps_drop_the_packet_and_duplicates_do_not() {
        let good = payload(24);
        let mut host = host();
        host.v4(1, &good, (0, 16, true), at(0)).unwrap();
        assert_eq!(host.v4(1, &good, (0, 16, true), at(0)).unwrap_err(), Refused::Duplicate);
        assert_eq!(host.v4(1, &[7; 24], (0, 16, true), at(0)).unwrap_err(), Refused::Overlap);
        assert_eq!(host.reassembly.take_given_up(), 1, "with it goes the one that was there");
        assert!(host.v4(1, &good, (16, 24, false), at(0)).unwrap().is_none(), "a new packet in IPv4");
        host.v6(1, &good, (0, 16, true), at(0)).unwrap();
        assert_eq!(host.v6(1, &good, (0, 16, true), at(0)).unwrap_err(), Refused::Duplicate);
        assert_eq!(host.v6(1, &good, (8, 24, true), at(0)).unwrap_err(), Refused::Overlap);
        assert_eq!(host.reassembly.take_given_up(), 1);
        assert_eq!(host.v6(1, &good, (16, 24, false), at(0)).unwrap_err(), Refused::GivenUp);
        assert_eq!(host.v6(1, &good, (0, 16, true), at(59)).unwrap_err(), Refused::GivenUp);
        assert_eq!(host.pool.in_use(), 1);
        while host.reassembly.expire(at(60)).is_some() {}
        assert_eq!(host.pool.in_use(), 0);
        assert!(host.v6(1, &good, (0, 16, true), at(60)).is_ok());
    }

    #[test]
    fn i6_fragments_agree_about_the_end() {
        let good = payload(64);
        for cuts in [
            [(0, 8, true), (16, 32, false), (32, 40, true)],
            [(32, 40, true), (0, 8, true), (8, 16, false)],
            [(8, 16, false), (16, 24, false), (0, 8, true)],
        ] {
            let mut host = host();
            let overlap = cuts.map(|cut| host.v4(1, &good, cut, at(0)).err());
            assert!(overlap.contains(&Some(Refused::Overlap)), "{cuts:?}");
        }
    }

    #[test]
    fn the_longest_packet_comes_whole_in_one_frame_or_in_many() {
        let longest = payload(65_535 - 24);
        let cut = |i: usize| (i * 1480, longest.len().min((i + 1) * 1480), (i + 1) * 1480 < longest.len());
        for large_count in [1, 0] {
            let mut host = host();
            let taken: Vec<_> = (large_count..1).map(|_| host.pool.alloc_large().unwrap()).collect();
            let whole =
                (0..45).rev().filter_map(|i| host.v4(1, &longest, cut(i), at(0)).unwrap()).next().unwrap();
            assert_whole_v4(&whole, &longest);
            assert_eq!(whole.next().is_some(), large_count == 0);
            drop((whole, taken));
            assert_eq!(host.pool.in_use(), 0);
        }
    }

    #[test]
    fn a_packet_too_long_with_its_first_header_is_given_up() {
        let all = payload(65_528);
        let mut host = host();
        // 20 bytes of header would just fit, the options of the first fragment make it too long.
        let frame = |host: &Host, len: usize| host.frame(&[&[0x45; 20], &all[..len.min(1400)]]);
        for start in (0..65_520).step_by(1400) {
            let end = (start + 1400).min(65_520);
            let last = end == 65_520;
            let key = Key { src: [1, 1, 1, 1].into(), dst: [1, 1, 1, 2].into(), ident: 1, protocol: None };
            let (start, end) = (start as u32, end as u32);
            let fragment = Fragment {
                key,
                start,
                end,
                last,
                ecn: 0,
                is_group: false,
                payload_at: 20,
                header_len: 20,
                next_header: None,
            };
            let frame = frame(&host, (end - start) as usize);
            let result = host.receive(fragment, frame, at(0)).err();
            assert_eq!(result, last.then_some(Refused::TooLong));
        }
        assert_eq!(host.pool.in_use(), 0);
    }

    #[test]
    fn i6_time_runs_out_and_the_first_fragment_comes_back() {
        let payload = payload(24);
        let mut host = host();
        host.v4(1, &payload, (0, 8, true), at(0)).unwrap();
        host.v4(2, &payload, (8, 16, true), at(1)).unwrap();
        host.v6(3, &payload, (0, 8, true), at(1)).unwrap();
        assert_eq!(host.reassembly.deadline(), Some(at(30)));
        assert!(host.reassembly.expire(at(29)).is_none());
        let first = host.reassembly.expire(at(30)).unwrap().first.unwrap();
        assert_eq!((first.bytes()[0], first.len()), (0x46, 32));
        assert!(host.reassembly.expire(at(31)).unwrap().first.is_none());
        assert!(host.reassembly.expire(at(60)).is_none());
        assert_eq!(host.reassembly.expire(at(61)).unwrap().fragment_count, 1);
        drop(first);
        assert_eq!(host.pool.in_use(), 0);
    }

    #[test]
    fn i6_floods_push_out_the_oldest_and_stay_within_the_budget() {
        let payload = payload(16);
        let mut host = host();
        for ident in 0..1000 {
            host.v4(ident, &payload, (0, 8, true), at(0)).unwrap();
        }
        assert_eq!(host.pool.in_use(), 64);
        assert_eq!(host.reassembly.take_evicted(), 1000 - 64);
        assert!(host.v4(999, &payload, (8, 16, false), at(0)).unwrap().is_some());
        assert!(host.v4(0, &payload, (8, 16, false), at(0)).unwrap().is_none());
    }

    #[test]
    fn one_packet_has_so_many_fragments_and_a_dry_pool_is_survived() {
        let payload = payload(4096);
        let mut host = Host { reassembly: Reassembly::new(usize::MAX / 2, 3), ..host() };
        let pool = host.pool.clone();
        let mut send = |i: usize, dry: bool| {
            let key = Key { src: [1, 1, 1, 1].into(), dst: [1, 1, 1, 2].into(), ident: 1, protocol: None };
            let (start, end) = (i as u32 * 8, i as u32 * 8 + 8);
            let fragment = Fragment {
                key,
                start,
                end,
                last: dry,
                ecn: 0,
                is_group: false,
                payload_at: 0,
                header_len: 8,
                next_header: None,
            };
            let frame = host.frame(&[&payload[..8]]);
            host.reassembly.receive(fragment, frame, at(0), |_| None)
        };
        for i in 0..FRAGMENT_COUNT_MAX - 1 {
            assert!(send(i, false).unwrap().is_none());
        }
        assert!(send(FRAGMENT_COUNT_MAX, false).is_ok());
        assert_eq!(send(FRAGMENT_COUNT_MAX + 1, false).unwrap_err(), Refused::Count);
        assert_eq!(pool.in_use(), FRAGMENT_COUNT_MAX);
        let mut host = self::host();
        let frame = host.frame(&[&payload[..16]]);
        let key = Key { src: [1, 1, 1, 1].into(), dst: [1, 1, 1, 2].into(), ident: 1, protocol: None };
        let fragment = Fragment {
            key,
            start: 0,
            end: 8,
            last: true,
            ecn: 0,
            is_group: false,
            payload_at: 8,
            header_len: 8,
            next_header: None,
        };
        assert_eq!(host.reassembly.receive(fragment, frame, at(0), |_| None).unwrap_err(), Refused::NoFrames);
        assert_eq!((host.pool.in_use(), host.reassembly.memory_len()), (0, 0));
    }

    /// The numbers of a packet's fragments, in any order; more do not fit the budget.
    fn orders() -> impl Strategy<Value = Vec<usize>> {
        (2usize..64).prop_flat_map(|count| Just((0..count).collect::<Vec<_>>()).prop_shuffle())
    }

    proptest! {
        #[test]
        fn random_order_and_duplicates_still_make_the_packet(
            order in orders(),
            twice in prop::collection::vec(any::<bool>(), 64),
            units in 1usize..20,
            tail: usize,
            v6: bool,
        ) {
            let (count, step) = (order.len(), units * 8);
            let payload = payload((count - 1) * step + 1 + tail % step);
            let mut host = host();
            let mut send = |which: usize| {
                let cut = (which * step, payload.len().min((which + 1) * step), which + 1 < count);
                if v6 { host.v6(1, &payload, cut, at(0)) } else { host.v4(1, &payload, cut, at(0)) }
            };
            let (last, before) = order.split_last().unwrap();
            for (&which, twice) in before.iter().zip(twice) {
                prop_assert!(send(which).unwrap().is_none());
                if twice {
                    prop_assert_eq!(send(which).unwrap_err(), Refused::Duplicate);
                }
            }
            let whole = send(*last).unwrap().unwrap();
            if v6 { assert_whole_v6(&whole, &payload); } else { assert_whole_v4(&whole, &payload); }
            drop(whole);
            prop_assert_eq!((host.pool.in_use(), host.reassembly.memory_len()), (0, 0));
        }

        #[test]
        fn random_fragments_stay_within_the_budget_and_all_frames_come_home(
            fragments in prop::collection::vec(
                (0u16..4, 0usize..40, 1usize..40, any::<bool>(), any::<bool>(), 0u64..20),
                0..300,
            ),
        ) {
            let payload = payload(1024);
            let (mut host, mut now) = (host(), 0);
            for (ident, from, units, more, v6, seconds) in fragments {
                now += seconds / 10;
                let cut = (from * 8, from * 8 + units * 8, more);
                if cut.0 == 0 && !more { continue; } // not a fragment
                let whole = if v6 {
                    host.v6(ident.into(), &payload, cut, at(now))
                } else {
                    host.v4(ident, &payload, cut, at(now))
                };
                if let Ok(Some(whole)) = whole {
                    let bytes = bytes(&whole);
                    let header_len = if v6 { 48 } else { 24 };
                    prop_assert_eq!(&bytes[header_len..], &payload[..bytes.len() - header_len]);
                }
                while host.reassembly.expire(at(now)).is_some() {}
                let held: usize = host.reassembly.packets.values().map(|packet| packet.pieces.len()).sum();
                prop_assert_eq!(held, host.pool.in_use());
                prop_assert_eq!(held * 2048, host.reassembly.memory_len());
            }
            while host.reassembly.expire(at(now + 60)).is_some() {}
            prop_assert_eq!((host.pool.in_use(), host.reassembly.memory_len()), (0, 0));
            prop_assert!(host.reassembly.deadline().is_none());
        }
    }
}
