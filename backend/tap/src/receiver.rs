//! The way in: one `readv` a frame, into buffers that are kept ready.

use std::fs::File;
use std::io::{self, IoSliceMut, Read};

use hayase_device::headers::ETHERNET_LEN;
use hayase_device::heap::{HeapFrame, Pool};
use hayase_device::{Frame, RxMeta};

use crate::vnet::{VNET_LEN, VnetHeader};

/// The largest frame that the kernel hands over: a 64 KiB super-frame, tagged.
const FRAME_LEN_MAX: usize = 65_536 + ETHERNET_LEN + 8;

/// A small buffer takes an ordinary frame; what does not fit goes on in a large one, chained to it, so that a
/// super-frame's headers are in the linear part. A buffer that was not touched serves the next frame.
#[derive(Debug)]
pub(crate) struct Receiver {
    small: Option<HeapFrame>,
    large: Option<HeapFrame>,
    /// Where frames go that there is no buffer for: unread, they would block the queue for good.
    scratch: Box<[u8]>,
    /// Frames that made no sense.
    pub(crate) dropped: u64,
    /// Frames that there was no buffer for.
    pub(crate) no_buffer: u64,
}

impl Receiver {
    pub(crate) fn new(pool: &Pool) -> Receiver {
        let mut receiver = Receiver {
            small: None,
            large: None,
            scratch: vec![0; FRAME_LEN_MAX].into_boxed_slice(),
            dropped: 0,
            no_buffer: 0,
        };
        receiver.refill(pool);
        receiver
    }

    /// How many buffers are kept ready.
    pub(crate) fn ready_count(&self) -> usize {
        usize::from(self.small.is_some()) + usize::from(self.large.is_some())
    }

    fn refill(&mut self, pool: &Pool) {
        if self.small.is_none() {
            self.small = pool.alloc(0).and_then(opened);
        }
        if self.large.is_none() {
            self.large = pool.alloc_large().and_then(opened);
        }
    }

    /// Reads one frame. `Ok(None)` if it was dropped and counted; `WouldBlock` if there is none.
    #[inline]
    pub(crate) fn read(
        &mut self,
        mut tun: &File,
        pool: &Pool,
        wants_verdict: bool,
    ) -> io::Result<Option<(HeapFrame, RxMeta)>> {
        self.refill(pool);
        let mut header = [0; VNET_LEN];
        let (small, large, scratch) =
            (bytes_of(&mut self.small), bytes_of(&mut self.large), &mut self.scratch[..]);
        let small_len = small.len();
        let len = if small.is_empty() {
            tun.read_vectored(&mut [IoSliceMut::new(&mut header), IoSliceMut::new(scratch)])?
        } else {
            let rest = if large.is_empty() { scratch } else { large };
            let mut slices = [&mut header[..], small, rest].map(IoSliceMut::new);
            tun.read_vectored(&mut slices)?
        };
        let Some(len) = len.checked_sub(VNET_LEN).filter(|&len| len >= ETHERNET_LEN) else {
            self.dropped += 1;
            return Ok(None);
        };
        let Some(meta) = VnetHeader::from_bytes(header).to_rx(wants_verdict) else {
            self.dropped += 1;
            return Ok(None);
        };
        let frame = self.take(len, small_len);
        self.no_buffer += u64::from(frame.is_none());
        Ok(frame.map(|frame| (frame, meta)))
    }

    /// Takes the buffers that `len` bytes were read into. `None` if some went to scratch.
    fn take(&mut self, len: usize, small_len: usize) -> Option<HeapFrame> {
        if len <= small_len {
            let mut frame = self.small.take()?;
            frame.truncate(len);
            return Some(frame);
        }
        if self.small.is_none() || self.large.is_none() {
            return None;
        }
        let (mut frame, mut rest) = (self.small.take()?, self.large.take()?);
        rest.truncate(len - small_len);
        frame.chain(rest);
        Some(frame)
    }
}

/// A frame grown to all the room it has, for the kernel to write into.
fn opened(mut frame: HeapFrame) -> Option<HeapFrame> {
    let room = frame.tailroom();
    frame.extend(room).is_some().then_some(frame)
}

fn bytes_of(frame: &mut Option<HeapFrame>) -> &mut [u8] {
    frame.as_mut().and_then(HeapFrame::bytes_mut).unwrap_or_default()
}
