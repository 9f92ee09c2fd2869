//! A device that is looked at.

use hayase_device::hint::unlikely;
use hayase_device::{Burst, Caps, Device, Frame, Interest, Offloads, Rss, SharedBytes, TxMeta};

use super::Capture;

/// Where a record looks at a device.
#[derive(Debug)]
pub(crate) struct Tap {
    capture: Capture,
    interface: u32,
}

impl Tap {
    /// The next interface of a record.
    pub(crate) fn new(capture: Capture, mac: [u8; 6]) -> Option<Tap> {
        let interface = capture.register(mac)?;
        Some(Tap { capture, interface })
    }

    /// The last `count` of the burst.
    fn received<F: Frame>(&self, burst: &Burst<F>, count: usize) {
        if self.capture.is_on() && count > 0 {
            let frames = burst.iter().skip(burst.len() - count).map(|(frame, _)| frame.fragments());
            self.capture.note(self.interface, true, frames);
        }
    }

    fn sends<F: Frame>(&self, frame: &F) {
        if self.capture.is_on() {
            self.capture.note(self.interface, false, [frame.fragments()].into_iter());
        }
    }

    /// The thread goes to sleep, or ends: who reads along sees the last frame.
    fn rest(&self) {
        if self.capture.is_on() {
            self.capture.flush();
        }
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.rest();
    }
}

/// A device, and the record of what it sends and receives, if there is to be one.
#[derive(Debug)]
pub(crate) struct Captured<D> {
    device: D,
    tap: Option<Tap>,
}

impl<D: Device> Captured<D> {
    pub(crate) fn new(device: D, tap: Option<Tap>) -> Captured<D> {
        Captured { device, tap }
    }

    #[cold]
    #[inline(never)]
    fn note_received(&self, burst: &Burst<D::Frame>, count: usize) {
        self.tap.iter().for_each(|tap| tap.received(burst, count));
    }

    /// Gives it back, so that where nobody looks a frame stays in registers.
    #[cold]
    #[inline(never)]
    fn note_sent(&self, frame: D::Frame) -> D::Frame {
        self.tap.iter().for_each(|tap| tap.sends(&frame));
        frame
    }
}

impl<D: Device> Device for Captured<D> {
    type Frame = D::Frame;

    #[inline(always)]
    fn caps(&self) -> &Caps {
        self.device.caps()
    }

    fn set_offloads(&mut self, wanted: Offloads) -> Offloads {
        self.device.set_offloads(wanted)
    }

    fn mac(&self) -> [u8; 6] {
        self.device.mac()
    }

    #[inline(always)]
    fn receive(&mut self, burst: &mut Burst<D::Frame>) -> usize {
        let count = self.device.receive(burst);
        if unlikely(self.tap.is_some()) {
            self.note_received(burst, count);
        }
        count
    }

    #[inline(always)]
    fn alloc(&mut self, len: usize) -> Option<D::Frame> {
        self.device.alloc(len)
    }

    #[inline(always)]
    fn wrap(&mut self, bytes: &SharedBytes) -> Option<D::Frame> {
        self.device.wrap(bytes)
    }

    #[inline(always)]
    fn room(&self) -> usize {
        self.device.room()
    }

    #[inline(always)]
    fn transmit(&mut self, frame: D::Frame, meta: TxMeta) {
        let frame = if unlikely(self.tap.is_some()) { self.note_sent(frame) } else { frame };
        self.device.transmit(frame, meta);
    }

    #[inline(always)]
    fn flush(&mut self) {
        self.device.flush();
    }

    #[inline(always)]
    fn pending(&self) -> bool {
        self.device.pending()
    }

    fn interests(&self, interest: &mut dyn FnMut(Interest)) {
        self.device.interests(interest);
    }

    fn arm(&mut self) -> Option<u64> {
        if let Some(tap) = &self.tap {
            tap.rest();
        }
        self.device.arm()
    }

    fn disarm(&mut self) {
        self.device.disarm();
    }

    fn rss(&self) -> Option<&Rss> {
        self.device.rss()
    }

    fn drops(&self, count: &mut dyn FnMut(&'static str, u64)) {
        self.device.drops(count);
    }
}
