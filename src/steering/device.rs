//! A device whose frames are sorted: those for other shards go there, and theirs for us come in.

use std::collections::VecDeque;
use std::fmt;
use std::rc::Rc;

use hayase_device::segment::{PieceChecksum, fill_checksum, segment};
use hayase_device::{Burst, Caps, Device, Frame, Interest, Offloads, Rss, RxMeta, SharedBytes, TxMeta};

use super::arrival::{classify, is_plain};
use super::fabric::Seat;
use super::ring::Receiver;
use super::station::Station;

/// Frames that one turn takes from the device at most: four bursts of a shard, as without steering.
const GATHER_LEN: usize = 256;

/// After so many shards a frame stays where it is: their news disagree for a moment.
const HOPS_MAX: u8 = 4;

/// A queue pair, and the rings from the other shards.
pub(crate) struct Steered<D: Device> {
    inner: D,
    station: Rc<Station>,
    from: Vec<Option<Receiver>>,
    downlinks: Vec<Receiver<TxMeta>>,
    raw: Burst<D::Frame>,
    /// Frames that were taken and not looked at yet, with the number of shards that passed them on.
    gathered: VecDeque<(D::Frame, RxMeta, u8)>,
    /// What others have to send waits for room, whatever room there is for what we have.
    is_held_up: bool,
    rx_no_buffer: u64,
    tx_no_buffer: u64,
}

impl<D: Device> Steered<D> {
    /// Takes the receiving ends of a seat.
    pub(crate) fn new(inner: D, seat: &mut Seat, station: Rc<Station>) -> Steered<D> {
        Steered {
            inner,
            station,
            from: std::mem::take(&mut seat.from),
            downlinks: std::mem::take(&mut seat.downlinks),
            raw: Burst::new(GATHER_LEN),
            gathered: VecDeque::with_capacity(GATHER_LEN),
            is_held_up: false,
            rx_no_buffer: 0,
            tx_no_buffer: 0,
        }
    }

    /// Takes what has arrived, without a look at whom it is for: the shard reads its news in between. Returns how many
    /// frames of others were sent.
    pub(crate) fn gather(&mut self) -> usize {
        if self.gathered.len() < GATHER_LEN {
            self.inner.receive(&mut self.raw);
            self.gathered.extend(self.raw.drain().map(|(frame, meta)| (frame, meta, 0)));
            self.unpack();
        }
        self.relay()
    }

    /// What other shards passed on, copied into our own memory.
    fn unpack(&mut self) {
        let Steered { inner, from, gathered, rx_no_buffer, .. } = self;
        for receiver in from.iter_mut().flatten() {
            for _ in 0..receiver.len() {
                receiver.take(|parcel| match copy(inner, &parcel.bytes) {
                    Some(frame) => gathered.push_back((frame, parcel.label.meta, parcel.label.hops)),
                    None => *rx_no_buffer += 1,
                });
            }
        }
    }

    /// Sends what shards without a queue pair have to send, as far as there is room.
    ///
    /// A frame that our buffers hold only together needs scatter-gather, and nothing that is done here helps it. So for that
    /// long it is in force where it was switched off, and the room is what such frames have.
    fn relay(&mut self) -> usize {
        self.is_held_up = false;
        if self.downlinks.iter().all(|downlink| downlink.len() == 0) {
            return 0;
        }
        let offloads = self.inner.caps().offloads;
        if offloads.contains(Offloads::SG) {
            return self.relay_waiting();
        }
        self.inner.set_offloads(offloads | Offloads::SG);
        let count = self.relay_waiting();
        self.is_held_up = self.inner.room() == 0;
        self.inner.set_offloads(offloads);
        // Only where the room that there is without it says nothing of this.
        self.is_held_up &= self.inner.room() > 0;
        count
    }

    fn relay_waiting(&mut self) -> usize {
        let Steered { inner, downlinks, tx_no_buffer, .. } = self;
        let mut count = 0;
        for downlink in downlinks {
            for _ in 0..downlink.len().min(inner.room()) {
                downlink.take(|parcel| match copy(inner, &parcel.bytes) {
                    Some(frame) => *tx_no_buffer += u64::from(!transmit(inner, frame, parcel.label)),
                    None => *tx_no_buffer += 1,
                });
                count += 1;
            }
        }
        count
    }
}

/// Sends a frame of a shard that believes in the offloads of the start: what has been switched off since is done here.
/// False if no buffer is left for that.
fn transmit<D: Device>(device: &mut D, frame: D::Frame, meta: TxMeta) -> bool {
    if meta.is_promised_by(device.caps().offloads) {
        device.transmit(frame, meta);
        return true;
    }
    let mut done = Vec::new();
    let alloc = |len| device.alloc(len);
    let is_whole = match (meta.segmentation, meta.checksum) {
        (Some(request), _) => {
            segment(&frame, request, PieceChecksum::Complete, alloc, |piece| done.push(piece)).is_ok()
        }
        (None, Some(request)) => fill_checksum(frame, request, alloc).map(|frame| done.push(frame)).is_ok(),
        (None, None) => true,
    };
    done.into_iter().for_each(|frame| device.transmit(frame, TxMeta::default()));
    is_whole
}

/// A frame of the device with these bytes, in several fragments if its buffers are smaller.
fn copy<D: Device>(device: &mut D, bytes: &[u8]) -> Option<D::Frame> {
    let mut frame = fill(device, bytes)?;
    while frame.total_len() < bytes.len() {
        let next = fill(device, &bytes[frame.total_len()..])?;
        frame.chain(next);
    }
    Some(frame)
}

fn fill<D: Device>(device: &mut D, bytes: &[u8]) -> Option<D::Frame> {
    let mut frame = device.alloc(bytes.len())?;
    let len = bytes.len().min(frame.tailroom());
    let out = frame.extend(len).filter(|out| !out.is_empty())?;
    out.copy_from_slice(&bytes[..len]);
    Some(frame)
}

impl<D: Device> Device for Steered<D> {
    type Frame = D::Frame;

    #[inline]
    fn caps(&self) -> &Caps {
        self.inner.caps()
    }

    fn set_offloads(&mut self, wanted: Offloads) -> Offloads {
        self.inner.set_offloads(wanted)
    }

    fn mac(&self) -> [u8; 6] {
        self.inner.mac()
    }

    /// What was gathered and is for us. The rest goes to the shards that it is for.
    fn receive(&mut self, burst: &mut Burst<D::Frame>) -> usize {
        let before = burst.len();
        let Steered { gathered, station, .. } = self;
        while burst.room() > 0
            && let Some((frame, meta, hops)) = gathered.pop_front()
        {
            // What the NIC spreads by something else than the flow, errors and fragments, may be another shard's in any case.
            let stays = hops >= HOPS_MAX || station.is_trivial() && is_plain(frame.bytes());
            let home = if stays { station.core() } else { station.home(classify(frame.bytes())) };
            if home == station.core() {
                burst.push(frame, meta);
            } else {
                station.pass_on(home, &frame, meta, hops + 1);
            }
        }
        burst.len() - before
    }

    #[inline]
    fn alloc(&mut self, len: usize) -> Option<D::Frame> {
        self.inner.alloc(len)
    }

    fn wrap(&mut self, bytes: &SharedBytes) -> Option<D::Frame> {
        self.inner.wrap(bytes)
    }

    #[inline]
    fn room(&self) -> usize {
        self.inner.room()
    }

    #[inline]
    fn transmit(&mut self, frame: D::Frame, meta: TxMeta) {
        self.inner.transmit(frame, meta);
    }

    #[inline]
    fn flush(&mut self) {
        self.inner.flush();
        if self.is_held_up {
            let offloads = self.inner.caps().offloads;
            self.inner.set_offloads(offloads | Offloads::SG);
            self.is_held_up = self.inner.room() == 0;
            self.inner.set_offloads(offloads);
        }
    }

    fn pending(&self) -> bool {
        let can_relay = || {
            let has_room = !self.is_held_up && self.inner.room() > 0;
            has_room && self.downlinks.iter().any(|downlink| downlink.len() > 0)
        };
        self.inner.pending()
            || !self.gathered.is_empty()
            || self.from.iter().flatten().any(|receiver| receiver.len() > 0)
            || can_relay()
    }

    fn interests(&self, interest: &mut dyn FnMut(Interest)) {
        self.inner.interests(interest);
    }

    fn arm(&mut self) -> Option<u64> {
        self.inner.arm()
    }

    fn disarm(&mut self) {
        self.inner.disarm();
    }

    fn rss(&self) -> Option<&Rss> {
        self.inner.rss()
    }

    fn drops(&self, count: &mut dyn FnMut(&'static str, u64)) {
        self.inner.drops(count);
        count("CPU_BACKLOG", self.station.dropped());
        count("NEIGH_BACKLOG", self.station.unheard());
        count("rx_steering_no_buffer", self.rx_no_buffer);
        count("tx_steering_no_buffer", self.tx_no_buffer);
    }
}

impl<D: Device> fmt::Debug for Steered<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Steered").field("core", &self.station.core()).finish_non_exhaustive()
    }
}
