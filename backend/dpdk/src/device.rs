//! A queue pair at its core.

use hayase_device::{Burst, Caps, Device, Interest, Offloads, Rss, SharedBytes, TxMeta};

use crate::driver::{Foreign, Kind};
use crate::idle::Idle;
use crate::port::Seat;
use crate::receiver::Receiver;
use crate::sys::eal::Registration;
use crate::sys::port::losses;
use crate::sys::{DpdkFrame, drop_released};
use crate::transmitter::Transmitter;
use crate::{DpdkError, DpdkQueue};

/// A queue pair of a DPDK port.
///
/// The port is closed with its last device; while another thread than that one's has frames of one that is gone, in leases
/// of the application, with the last of these. Frames may outlive it.
#[derive(Debug)]
pub struct DpdkDevice {
    // In this order they go: frames first, then the queue's share of the port, then the thread's place in EAL.
    receiver: Receiver,
    transmitter: Transmitter,
    idle: Idle,
    queue: DpdkQueue,
    caps: Caps,
    _registration: Registration,
}

impl DpdkDevice {
    pub(crate) fn new(queue: DpdkQueue) -> Result<DpdkDevice, DpdkError> {
        let registration = Registration::new();
        Ok(DpdkDevice {
            receiver: Receiver::new(),
            transmitter: Transmitter::new(queue.seat.port.kind),
            idle: Idle::new(queue.wake, queue.nap_max)?,
            caps: queue.caps(queue.available),
            queue,
            _registration: registration,
        })
    }

    /// Buffers of its memory in use, those included that wait at the device.
    pub fn in_use(&self) -> usize {
        self.seat().pools().in_use()
    }

    /// The number of its port.
    #[cfg(test)]
    pub(crate) fn port_number(&self) -> u16 {
        self.seat().port.number
    }

    fn seat(&self) -> &Seat {
        &self.queue.seat
    }
}

/// The receive checksum is switched for all protocols together.
fn whole_rx_checksum(offloads: Offloads) -> Offloads {
    if offloads.contains(Offloads::RX_CHECKSUM) { offloads } else { offloads & !Offloads::RX_CHECKSUM }
}

impl Device for DpdkDevice {
    type Frame = DpdkFrame;

    #[inline]
    fn caps(&self) -> &Caps {
        &self.caps
    }

    fn set_offloads(&mut self, wanted: Offloads) -> Offloads {
        self.caps = self.queue.caps(whole_rx_checksum(wanted & self.queue.available).consistent());
        self.caps.offloads
    }

    fn mac(&self) -> [u8; 6] {
        self.queue.mac
    }

    #[inline]
    fn receive(&mut self, burst: &mut Burst<DpdkFrame>) -> usize {
        let count = self.receiver.receive(burst, &self.queue.seat, self.caps.offloads);
        if count > 0 {
            self.idle.stir();
        }
        count
    }

    #[inline]
    fn alloc(&mut self, len: usize) -> Option<DpdkFrame> {
        self.seat().pools().alloc(len)
    }

    fn wrap(&mut self, bytes: &SharedBytes) -> Option<DpdkFrame> {
        let can = match self.seat().port.kind.foreign() {
            Foreign::Anywhere => true,
            Foreign::Reachable => DpdkFrame::is_reachable(bytes),
            Foreign::Never => false,
        };
        if can { DpdkFrame::wrap(&self.seat().pools().small, bytes) } else { None }
    }

    #[inline]
    fn room(&self) -> usize {
        self.transmitter.room()
    }

    #[inline]
    fn transmit(&mut self, frame: DpdkFrame, meta: TxMeta) {
        self.transmitter.send(frame, meta, &self.caps, &self.queue.seat);
    }

    fn flush(&mut self) {
        if self.transmitter.flush(&self.queue.seat) > 0 {
            self.idle.stir();
        }
    }

    /// Frames that a full driver does not take are no reason to stay awake: [`arm`](Device::arm) naps for them.
    fn pending(&self) -> bool {
        self.transmitter.is_waiting() || self.receiver.is_waiting(&self.queue.seat.lane)
    }

    fn interests(&self, interest: &mut dyn FnMut(Interest)) {
        if let Some(fd) = self.idle.fd() {
            interest(Interest { fd, readable: true, writable: false });
        }
    }

    fn arm(&mut self) -> Option<u64> {
        self.idle.arm(&self.queue.seat, self.transmitter.is_stuck())
    }

    fn disarm(&mut self) {
        self.idle.disarm(&self.queue.seat);
    }

    fn rss(&self) -> Option<&Rss> {
        self.queue.rss.as_ref()
    }

    /// What the port counts for all its queues is told with the first.
    fn drops(&self, count: &mut dyn FnMut(&'static str, u64)) {
        let seat = self.seat();
        let [missed, no_buffer, errors] =
            if seat.lane.number() == 0 { losses(seat.port.number) } else { [0; 3] };
        // virtio counts each try to find a buffer; its frames wait at the other end.
        let no_buffer = if seat.port.kind == Kind::Virtio { 0 } else { no_buffer };
        count("rx_dropped", missed);
        count("rx_no_buffer", no_buffer + self.receiver.no_buffer);
        count("rx_errors", errors + self.receiver.errors);
        count("tx_dropped", self.transmitter.dropped);
        count("tx_errors", self.transmitter.errors);
    }
}

impl Drop for DpdkDevice {
    /// What goes by now is sent.
    fn drop(&mut self) {
        self.transmitter.flush(&self.queue.seat);
        self.idle.disarm(&self.queue.seat);
        drop_released();
    }
}
