//! The device of a shard without a queue pair: it sends through that of another, and gets its frames from all of them.

use std::io;
use std::sync::Arc;

use hayase_device::heap::{HeapFrame, Pool, PoolConfig};
use hayase_device::{Burst, Caps, Device, Interest, Offloads, RxMeta, SharedBytes, TxMeta};

use super::fabric::{Fabric, Seat};
use super::ring::Sender;

/// A device whose transmit queue is a ring to the core that has a real one. It offers no offload for what is sent: a
/// frame then needs nothing but its bytes, whatever the real device can do when it gets there.
#[derive(Debug)]
pub(crate) struct Satellite {
    caps: Caps,
    mac: [u8; 6],
    pool: Pool,
    uplink: Sender,
    owner: usize,
    fabric: Arc<Fabric>,
    /// Whether something was sent since the last flush.
    is_dirty: bool,
    dropped: u64,
}

impl Satellite {
    /// Takes the uplink of a seat.
    ///
    /// # Errors
    /// If the seat has none, or the core at its other end has no device yet.
    pub(crate) fn new(seat: &mut Seat) -> io::Result<Satellite> {
        let uplink = seat.uplink.take();
        let (owner, uplink) =
            uplink.ok_or_else(|| io::Error::other("this core has a queue pair of its own"))?;
        let real = seat.fabric.uplink(owner)?;
        Ok(Satellite {
            caps: Caps { queue: seat.core as u16, ..Caps::ethernet(real.caps.mtu) },
            mac: real.mac,
            pool: Pool::new(PoolConfig::default()),
            uplink,
            owner,
            fabric: Arc::clone(&seat.fabric),
            is_dirty: false,
            dropped: 0,
        })
    }
}

impl Device for Satellite {
    type Frame = HeapFrame;

    fn caps(&self) -> &Caps {
        &self.caps
    }

    fn set_offloads(&mut self, _wanted: Offloads) -> Offloads {
        Offloads::NONE
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

    fn wrap(&mut self, _bytes: &SharedBytes) -> Option<HeapFrame> {
        None
    }

    fn room(&self) -> usize {
        self.uplink.room()
    }

    fn transmit(&mut self, frame: HeapFrame, _meta: TxMeta) {
        if self.uplink.send(&frame, RxMeta::default(), 0) {
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
