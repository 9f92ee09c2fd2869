//! One or several queues of an interface, on their core.

use std::os::fd::AsRawFd;
use std::sync::Arc;

use hayase_device::headers::ETHERNET_LEN;
use hayase_device::segment::{fill_checksum, linearise};
use hayase_device::{
    Burst, Caps, Device, Frame, Interest, Nap, Offloads, Rss, RxChecksum, RxMeta, SharedBytes, TxChecksum,
    TxMeta,
};

use crate::config::Mode;
use crate::error::XdpError;
use crate::frame::{self, FRONT, XdpFrame};
use crate::neighbours::Neighbours;
use crate::open::{Attachment, Facts, XdpQueue};
use crate::pool::Pool;
use crate::sys::{Channel, Kicked, Statistics};
use crate::trust;

/// After this many looks at the queues, there is one at what comes seldom.
const LOOKS_PER_ROUND: u32 = 64;

/// How long a thread may sleep while frames wait for an interface that is down, in nanoseconds.
const DOWN_NAP_NS: u64 = 10_000_000;

/// One or several queues of an interface, with their part of the memory.
///
/// When the last device of an interface is dropped, the program is taken off and everything is the kernel's again.
#[derive(Debug)]
pub struct XdpDevice {
    /// Dropped before the pool is closed, so that what the kernel still has is never given out again.
    channels: Vec<Receiving>,
    pool: Pool,
    chunk_len: usize,
    caps: Caps,
    available: Offloads,
    facts: Facts,
    neighbours: Option<Neighbours>,
    attachment: Arc<Attachment>,
    /// Which channel is looked at first.
    first: usize,
    looks: u32,
    attempt: Attempt,
    tx_dropped: u64,
    tx_errors: u64,
    rx_dropped: u64,
}

/// How the last attempt to send went, and how long a thread may sleep until the next. The kernel tells neither that an
/// interface has come up nor that it has room again.
#[derive(Debug)]
struct Attempt {
    outcome: Kicked,
    nap: Nap,
}

impl Attempt {
    fn note(&mut self, outcome: Kicked) {
        self.outcome = outcome;
        if outcome != Kicked::Stuck {
            self.nap.reset();
        }
    }

    fn nap(&mut self) -> Option<u64> {
        match self.outcome {
            Kicked::Slow | Kicked::Stuck => Some(self.nap.take()),
            Kicked::Down => Some(DOWN_NAP_NS),
            Kicked::Taken | Kicked::Gone => None,
        }
    }
}

/// A channel, and what has come of a packet in fragments.
#[derive(Debug)]
struct Receiving {
    channel: Channel,
    partial: Option<XdpFrame>,
}

impl XdpDevice {
    pub(crate) fn new(queue: XdpQueue) -> Result<XdpDevice, XdpError> {
        let XdpQueue { endpoints, part, neighbours, attachment, facts } = queue;
        let (layout, count) = (part.layout(), part.chunk_count());
        let chunk_len = layout.1;
        let pool = Pool::new(part);
        // From here on it is closed as a device is, if it does not become one.
        let mut device = XdpDevice {
            channels: Vec::new(),
            pool,
            chunk_len,
            caps: Caps { queue: facts.device, queues: facts.device_count, ..Caps::ethernet(facts.mtu) },
            available: available(&facts),
            neighbours,
            attachment,
            first: 0,
            looks: 0,
            attempt: Attempt { outcome: Kicked::Taken, nap: Nap::new() },
            tx_dropped: 0,
            tx_errors: 0,
            rx_dropped: 0,
            facts,
        };
        // Half of the memory at most waits for packets; the other half is for what sockets hold.
        let lent_max = count / (2 * endpoints.len());
        for (queue, endpoint) in endpoints {
            device.redirect(queue, Channel::new(endpoint, layout, lent_max))?;
        }
        device.caps.held_len_max = (count - device.ready_count()) * chunk_len;
        device.set_offloads(Offloads::ALL);
        Ok(device)
    }

    /// Has a queue's packets come to us.
    fn redirect(&mut self, queue: u32, mut channel: Channel) -> Result<(), XdpError> {
        channel.lend(|| self.pool.take());
        self.channels.push(Receiving { channel, partial: None });
        let socket = self.channels[self.channels.len() - 1].channel.socket();
        self.attachment.map.insert(queue, socket).map_err(|error| {
            XdpError::io(format!("redirect queue {queue} of {}", self.facts.interface), error)
        })
    }

    /// The interface's name.
    pub fn name(&self) -> &str {
        &self.facts.interface
    }

    /// How packets get to our memory.
    pub fn mode(&self) -> Mode {
        self.facts.mode
    }

    /// The memory that this device's frames live in.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Chunks of the [pool](Self::pool) that wait for packets.
    pub fn ready_count(&self) -> usize {
        self.channels.iter().map(|receiving| receiving.channel.lent_count()).sum()
    }

    /// Whether the interface still exists. If it was deleted, nothing is received any more, and what is transmitted is
    /// dropped and counted.
    pub fn is_attached(&self) -> bool {
        self.attempt.outcome != Kicked::Gone
    }

    fn transmitter(&mut self) -> &mut Channel {
        &mut self.channels[0].channel
    }

    /// Takes frames of the first channel that is to be looked at, and of the others in turn.
    fn receive_all(&mut self, burst: &mut Burst<XdpFrame>) {
        if self.channels.len() == 1 {
            return self.receive_from(0, burst);
        }
        for index in (self.first..self.channels.len()).chain(0..self.first) {
            self.receive_from(index, burst);
        }
        self.first = (self.first + 1) % self.channels.len();
    }

    #[inline]
    fn receive_from(&mut self, index: usize, burst: &mut Burst<XdpFrame>) {
        let Receiving { channel, partial } = &mut self.channels[index];
        let pool = &self.pool;
        let (trust, in_force) = (self.facts.config.trust, self.caps.offloads);
        let mut taken = 0;
        while burst.room() > 0
            && let Some(arrival) = channel.receive()
        {
            taken += 1;
            let Some(fragment) = frame::received(arrival.chunk, arrival.start, arrival.len) else {
                continue;
            };
            let Some(frame) = whole(partial, fragment, arrival.continued) else { continue };
            if frame.len() < ETHERNET_LEN {
                self.rx_dropped += 1;
                continue;
            }
            let judged = if trust {
                trust::judge(frame, in_force, |_| pool.alloc())
            } else {
                Some((frame, RxChecksum::Unverified))
            };
            let Some((frame, checksum)) = judged else { continue };
            burst.push(frame, RxMeta { checksum, ..RxMeta::default() });
        }
        if taken > 0 {
            channel.release();
        }
        channel.lend(|| pool.take());
    }

    /// Now and then: what both the kernel and we must see, and whether the interface is still there.
    #[cold]
    fn look_around(&mut self, burst: &mut Burst<XdpFrame>) {
        self.looks = 0;
        if let Some(neighbours) = &mut self.neighbours {
            neighbours.receive(&self.pool, burst.room(), |frame| burst.push(frame, RxMeta::default()));
        }
        let error = self.channels[0].channel.take_error();
        if error.is_some_and(|error| matches!(error.raw_os_error(), Some(libc::ENETDOWN | libc::ENODEV))) {
            self.attempt.note(Kicked::Gone);
        }
    }

    /// Whether the frame has a length and a number of fragments that can be, and asks for nothing that was not
    /// promised.
    #[inline]
    fn is_acceptable(&self, frame: &XdpFrame, meta: &TxMeta) -> bool {
        let len = frame.total_len();
        (ETHERNET_LEN..=ETHERNET_LEN + self.caps.mtu).contains(&len)
            && meta.is_promised_by(self.caps.offloads)
            && meta.checksum.is_none_or(|request| field_end(request) <= len)
            && self.has_fragments_of_ours(frame)
            && self.is_attached()
    }

    /// Whether the frame has no more fragments than is allowed, all of this device's memory.
    #[inline]
    fn has_fragments_of_ours(&self, frame: &XdpFrame) -> bool {
        if frame.next().is_none() {
            return self.pool.owns(frame.buffer());
        }
        let fragments = std::iter::successors(Some(frame), |fragment| fragment.next());
        let is_stranger = |fragment: &XdpFrame| !self.pool.owns(fragment.buffer());
        let fragments = fragments.take(self.caps.fragments_max + 1);
        fragments
            .enumerate()
            .all(|(index, fragment)| index < self.caps.fragments_max && !is_stranger(fragment))
    }

    /// Queues the fragments of a frame. There is room.
    #[inline]
    fn send(&mut self, frame: &XdpFrame, requests: bool) {
        let channel = &mut self.channels[0].channel;
        if frame.next().is_none() {
            return channel.transmit(frame.buffer(), frame.start(), frame.len() as u32, requests, false);
        }
        let mut requests = requests;
        let mut next = Some(frame);
        while let Some(fragment) = next {
            // The kernel takes no fragment without bytes.
            next = frame::next_with_bytes(fragment);
            channel.transmit(
                fragment.buffer(),
                fragment.start(),
                fragment.len() as u32,
                requests,
                next.is_some(),
            );
            requests = false;
        }
    }

    /// The frame as the kernel takes it, and whether there is a request in front of it. `None` if the pool is dry.
    #[inline]
    fn prepare(&self, frame: XdpFrame, checksum: Option<TxChecksum>) -> Option<(XdpFrame, bool)> {
        let needed = checksum.map_or(ETHERNET_LEN, field_end);
        let frame = if frame.len() < needed { linearise(&frame, |_| self.pool.alloc()).ok()? } else { frame };
        let Some(request) = checksum else { return Some((frame, false)) };
        if frame.buffer().memory.request_checksum(frame.start(), request.start, request.offset) {
            return Some((frame, true));
        }
        // Another handle may see the place in front of it.
        fill_checksum(frame, request, |_| self.pool.alloc()).ok().map(|frame| (frame, false))
    }
}

/// Adds a fragment to what has come of its packet, and takes the packet if that was the last one.
#[inline]
fn whole(partial: &mut Option<XdpFrame>, fragment: XdpFrame, continued: bool) -> Option<XdpFrame> {
    match partial {
        None if !continued => return Some(fragment),
        None => *partial = Some(fragment),
        Some(first) => first.chain(fragment),
    }
    if continued { None } else { partial.take() }
}

/// Packets that the kernel threw away, and those of which it had no chunk for. Where it copies, the latter are in both of its
/// counts; with zero copy it counts how often the driver found no chunk, which loses nothing by itself.
fn lost(statistics: &Statistics, mode: Mode) -> (u64, u64) {
    let without_chunk = if mode == Mode::ZeroCopy { 0 } else { statistics.rx_fill_ring_empty_descs };
    (statistics.rx_dropped.saturating_sub(without_chunk) + statistics.rx_ring_full, without_chunk)
}

fn field_end(request: TxChecksum) -> usize {
    usize::from(request.start) + usize::from(request.offset) + 2
}

/// What kernel, link and choice allow.
fn available(facts: &Facts) -> Offloads {
    let has = |yes, offloads| if yes { offloads } else { Offloads::NONE };
    let all = has(facts.checksum, Offloads::TX_CHECKSUM)
        | has(facts.config.trust, Offloads::RX_CHECKSUM)
        | has(facts.fragments_max > 1, Offloads::SG);
    all & facts.config.offloads
}

impl Drop for XdpDevice {
    fn drop(&mut self) {
        self.channels.clear();
        self.pool.close();
    }
}

impl Device for XdpDevice {
    type Frame = XdpFrame;

    fn caps(&self) -> &Caps {
        &self.caps
    }

    fn set_offloads(&mut self, wanted: Offloads) -> Offloads {
        self.caps.offloads = (wanted & self.available).consistent();
        let has_fragments = self.caps.offloads.contains(Offloads::SG);
        self.caps.fragments_max = if has_fragments { self.facts.fragments_max } else { 1 };
        self.caps.fill_len_max = self.caps.fragments_max * (self.chunk_len - FRONT);
        self.caps.offloads
    }

    fn mac(&self) -> [u8; 6] {
        self.facts.mac
    }

    fn receive(&mut self, burst: &mut Burst<XdpFrame>) -> usize {
        let before = burst.len();
        self.transmitter().complete();
        self.receive_all(burst);
        self.looks += 1;
        if self.looks >= LOOKS_PER_ROUND {
            self.look_around(burst);
        }
        burst.len() - before
    }

    /// One chunk, whatever `len` is.
    #[inline]
    fn alloc(&mut self, _len: usize) -> Option<XdpFrame> {
        match self.pool.alloc() {
            None => {
                self.transmitter().complete();
                self.pool.alloc()
            }
            frame => frame,
        }
    }

    /// The kernel sends from the UMEM only.
    fn wrap(&mut self, _bytes: &SharedBytes) -> Option<XdpFrame> {
        None
    }

    #[inline]
    fn room(&self) -> usize {
        // A frame may take as many places as it may have fragments, a power of two: dividing would be slow.
        self.channels[0].channel.room() >> self.caps.fragments_max.trailing_zeros()
    }

    fn transmit(&mut self, frame: XdpFrame, meta: TxMeta) {
        if !self.is_acceptable(&frame, &meta) {
            self.tx_errors += 1;
        } else if self.room() == 0 {
            self.tx_dropped += 1;
        } else if let Some((frame, requests)) = self.prepare(frame, meta.checksum) {
            self.send(&frame, requests);
        } else {
            self.tx_dropped += 1;
        }
    }

    fn flush(&mut self) {
        if self.is_attached() {
            let outcome = self.transmitter().kick();
            self.attempt.note(outcome);
        }
        self.transmitter().complete();
    }

    fn pending(&self) -> bool {
        let transmitter = &self.channels[0].channel;
        self.is_attached()
            && (transmitter.has_unpublished()
                || self.channels.iter().any(|receiving| !receiving.channel.is_quiet()))
    }

    fn interests(&self, interest: &mut dyn FnMut(Interest)) {
        if !self.is_attached() {
            return;
        }
        let channels = self.channels.iter().map(|receiving| receiving.channel.socket().as_raw_fd());
        for fd in channels.chain(self.neighbours.as_ref().map(Neighbours::fd)) {
            interest(Interest { fd, readable: true, writable: false });
        }
    }

    /// The kernel raises the socket's descriptor with every packet: there is nothing to ask for. Frames that it does not
    /// take are napped for.
    fn arm(&mut self) -> Option<u64> {
        self.attempt.nap()
    }

    fn disarm(&mut self) {
        // What came seldom may be what woke us.
        self.looks = LOOKS_PER_ROUND;
    }

    fn rss(&self) -> Option<&Rss> {
        self.facts.rss.as_ref()
    }

    fn drops(&self, count: &mut dyn FnMut(&'static str, u64)) {
        let statistics = self.channels.iter().map(|receiving| receiving.channel.statistics());
        let (mut rx, mut no_buffer, mut tx) = (0, 0, 0);
        for statistics in statistics {
            let (dropped, without_chunk) = lost(&statistics, self.facts.mode);
            (rx, no_buffer) = (rx + dropped, no_buffer + without_chunk);
            tx += statistics.tx_invalid_descs;
        }
        let strange: u64 = self.channels.iter().map(|receiving| receiving.channel.strange).sum();
        let lost_in_kernel: u64 = self.channels.iter().map(|receiving| receiving.channel.lost).sum();
        let neighbours = self.neighbours.as_ref().map_or(0, |neighbours| neighbours.no_buffer);
        count("rx_dropped", rx + self.rx_dropped);
        count("rx_no_buffer", no_buffer + neighbours);
        count("rx_errors", strange);
        count("tx_dropped", self.tx_dropped + lost_in_kernel);
        count("tx_errors", self.tx_errors + tx);
    }
}

#[cfg(test)]
mod unit {
    use super::*;

    #[test]
    fn looks_for_chunks_are_no_packets_where_nothing_is_copied() {
        let statistics = Statistics {
            rx_dropped: 10,
            rx_invalid_descs: 0,
            tx_invalid_descs: 0,
            rx_ring_full: 3,
            rx_fill_ring_empty_descs: 7,
            tx_ring_empty_descs: 0,
        };
        assert_eq!(lost(&statistics, Mode::Copy), (6, 7));
        assert_eq!(lost(&statistics, Mode::Skb), (6, 7));
        assert_eq!(lost(&statistics, Mode::ZeroCopy), (13, 0));
    }

    #[test]
    fn a_kernel_that_takes_nothing_is_asked_less_and_less() {
        let mut attempt = Attempt { outcome: Kicked::Taken, nap: Nap::new() };
        let mut naps = |outcomes: &[Kicked]| -> Vec<_> {
            let nap = |outcome: &Kicked| {
                attempt.note(*outcome);
                attempt.nap()
            };
            outcomes.iter().map(nap).collect()
        };
        assert_eq!(naps(&[Kicked::Stuck; 3]), [20_000, 40_000, 80_000].map(Some));
        assert_eq!(
            naps(&[Kicked::Slow, Kicked::Stuck]),
            [20_000, 40_000].map(Some),
            "what moves is worth a look"
        );
        assert_eq!(naps(&[Kicked::Stuck; 9])[8], Some(Nap::MAX));
        assert_eq!(naps(&[Kicked::Taken, Kicked::Stuck, Kicked::Gone]), [None, Some(20_000), None]);
        assert_eq!(naps(&[Kicked::Down; 2]), [Some(DOWN_NAP_NS); 2]);
    }
}
