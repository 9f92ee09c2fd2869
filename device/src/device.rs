//! The contract of a backend.

use crate::{Burst, Caps, Frame, Offloads, Rss, SharedBytes, TxMeta};

/// A descriptor that a parked thread sleeps on for a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interest {
    /// The file descriptor to poll.
    pub fd: i32,
    /// Wake when it becomes readable.
    pub readable: bool,
    /// Wake when it becomes writable.
    pub writable: bool,
}

/// One queue pair of a NIC, with the memory its frames live in.
///
/// The turn of a shard calls [`receive`](Device::receive) once, then lets tasks and stack run, which
/// [`alloc`](Device::alloc) and [`transmit`](Device::transmit), then calls [`flush`](Device::flush) once.
/// All calls come from one thread; nothing blocks.
///
/// The conformance suite (feature `conformance`) holds a backend to the words below.
pub trait Device {
    /// The frames of this device's memory.
    type Frame: Frame + 'static;

    /// What the device can do, with what was switched off left out.
    fn caps(&self) -> &Caps;

    /// Puts the wanted offloads in force, as far as the device has them, and returns what then holds.
    ///
    /// May be called at any time; frames already queued keep what they were promised.
    fn set_offloads(&mut self, wanted: Offloads) -> Offloads;

    /// The link-layer address.
    fn mac(&self) -> [u8; 6];

    /// Takes frames from the receive queue until the burst is full or the queue empty; returns how many.
    ///
    /// A frame's linear part (the first fragment) holds at least its Ethernet, IP and TCP/UDP headers if the
    /// frame has them whole.
    fn receive(&mut self, burst: &mut Burst<Self::Frame>) -> usize;

    /// An empty frame with room for `len` bytes of payload behind at least [`Frame::HEADROOM`] bytes of
    /// headroom. It may hold less where buffers are smaller, never 0; the caller looks at
    /// [`Frame::tailroom`], and chains more of them up to [`Caps::fill_len_max`]. `None` if the pool is dry: the caller
    /// tries again after frames came home.
    fn alloc(&mut self, len: usize) -> Option<Self::Frame>;

    /// A frame whose bytes are the application's, sent from where they are.
    /// `None` if this device cannot send from foreign memory: the caller copies.
    fn wrap(&mut self, bytes: &SharedBytes) -> Option<Self::Frame>;

    /// How many frames the transmit queue takes now.
    fn room(&self) -> usize;

    /// Queues a frame for transmission.
    ///
    /// The frame starts with its Ethernet header. `meta` asks for nothing that [`caps`](Device::caps) does not
    /// promise, and the caller has looked at [`room`](Device::room); a frame given beyond that is dropped and
    /// counted by the device.
    fn transmit(&mut self, frame: Self::Frame, meta: TxMeta);

    /// Makes the queued frames go (the doorbell). Called once a turn.
    fn flush(&mut self);

    /// Whether [`receive`](Device::receive) would bring something, or queued frames still wait for
    /// [`flush`](Device::flush): a shard with pending work does not park. Frames that the device finds no room for now
    /// are no such work: one of [`interests`](Device::interests) tells when there is, or [`arm`](Device::arm) naps
    /// until it may be.
    fn pending(&self) -> bool;

    /// Names the descriptors to sleep on. A device that has none (both ends in one thread) names none.
    fn interests(&self, interest: &mut dyn FnMut(Interest));

    /// Readies the device for the thread's sleep: asks the hardware for an interrupt when the next frame comes.
    /// Called after [`pending`](Device::pending) said no; the caller asks that again afterwards, since a frame
    /// may have come in between.
    ///
    /// Returns the longest time in nanoseconds that the thread may sleep without a look at the device, for one
    /// whose frames raise no descriptor; `None` if one of [`interests`](Device::interests) will wake it.
    fn arm(&mut self) -> Option<u64> {
        None
    }

    /// The sleep is over: interrupts would only disturb.
    fn disarm(&mut self) {}

    /// How the NIC spreads flows over its queues, where it does and says how.
    fn rss(&self) -> Option<&Rss> {
        None
    }

    /// Frames that the device itself threw away so far, and why, in Linux's names
    /// (`rx_dropped`, `tx_dropped`, `tx_errors`, `rx_no_buffer`).
    fn drops(&self, count: &mut dyn FnMut(&'static str, u64));
}
