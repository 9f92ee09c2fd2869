//! A bounded ring of frames from one thread to another.

use hayase_device::{Frame, RxMeta};
use rtrb::{Consumer, Producer, RingBuffer};

/// Frames that wait in one ring: a few bursts. At 1.5 KB each that is less than a megabyte.
pub(super) const RING_LEN: usize = 512;

/// Buffers above this length are not kept for the next frame: a super-frame is rare.
const BUFFER_LEN_KEPT: usize = 4096;

/// A frame between two shards, in memory that belongs to neither device.
#[derive(Debug)]
pub(super) struct Parcel<L> {
    pub(super) bytes: Vec<u8>,
    /// What is written on it.
    pub(super) label: L,
}

/// What is written on a frame that was received.
#[derive(Debug, Clone, Copy)]
pub(super) struct Passed {
    pub(super) meta: RxMeta,
    /// How many shards have passed it on.
    pub(super) hops: u8,
}

#[derive(Debug)]
pub(super) struct Sender<L = Passed> {
    parcels: Producer<Parcel<L>>,
    empties: Consumer<Vec<u8>>,
}

#[derive(Debug)]
pub(super) struct Receiver<L = Passed> {
    parcels: Consumer<Parcel<L>>,
    empties: Producer<Vec<u8>>,
}

pub(super) fn ring<L>() -> (Sender<L>, Receiver<L>) {
    let (to, from) = RingBuffer::new(RING_LEN);
    let (give, get) = RingBuffer::new(RING_LEN);
    (Sender { parcels: to, empties: get }, Receiver { parcels: from, empties: give })
}

impl<L> Sender<L> {
    /// Frames for which there is room.
    pub(super) fn room(&self) -> usize {
        self.parcels.slots()
    }

    /// Sends a copy. `false` if the ring is full.
    pub(super) fn send<F: Frame>(&mut self, frame: &F, label: L) -> bool {
        if self.parcels.is_full() {
            return false;
        }
        let mut bytes = self.empties.pop().unwrap_or_default();
        bytes.clear();
        frame.fragments().for_each(|fragment| bytes.extend_from_slice(fragment));
        self.parcels.push(Parcel { bytes, label }).is_ok()
    }
}

impl<L> Receiver<L> {
    /// Frames that are there.
    pub(super) fn len(&self) -> usize {
        self.parcels.slots()
    }

    /// Hands the next frame to `f`, and its buffer back to the sender.
    pub(super) fn take<T>(&mut self, f: impl FnOnce(&Parcel<L>) -> T) -> Option<T> {
        let parcel = self.parcels.pop().ok()?;
        let result = f(&parcel);
        if parcel.bytes.capacity() <= BUFFER_LEN_KEPT {
            // A sender that is gone needs no buffers.
            let _ = self.empties.push(parcel.bytes);
        }
        Some(result)
    }
}
