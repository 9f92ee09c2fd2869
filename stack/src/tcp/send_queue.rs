//! Data from the application until it is acknowledged: frames with headroom, in sequence order.
//!
//! A write fills frames that leave room in front. The first time a frame goes out, its headers are written into
//! that room and the device gets a second handle: one buffer, no copy, no chain. Where that cannot be (part of a
//! frame, several frames at once, the application's own memory, a retransmission while the device still holds the
//! first one) the headers get a frame of their own and the payload is chained behind it, or copied if the device
//! cannot gather.

use hayase_device::checksum::Sum;
use hayase_device::hint::{likely, usually};
use hayase_device::{Device, Frame, SharedBytes, copy};

use crate::fifo::Fifo;
use crate::seq::Seq;

/// Payloads up to this length are copied behind their headers rather than chained or held: a fragment costs more. Measured
/// (docs/BENCHMARKS.md): up to 1,448 bytes copying takes less time, from 2,400 on more.
const COPY_LEN_MAX: usize = 2048;

/// Writes from this length on fill super-frames where the device can cut them (TSO). Smaller ones would waste
/// most of a 64 KiB buffer.
const LARGE_WRITE_LEN: usize = 16 * 1024;

#[derive(Debug)]
struct Entry<F> {
    seq: Seq,
    /// The checksum's sum over the frame, if it was taken while the frame was filled.
    sum: Option<u16>,
    frame: F,
}

impl<F: Frame> Entry<F> {
    fn end(&self) -> Seq {
        self.seq + self.frame.len() as u32
    }
}

#[derive(Debug)]
pub(super) struct SendQueue<F> {
    entries: Fifo<Entry<F>>,
    /// Sequence number behind the last byte.
    end: Seq,
    /// Bytes of buffers held: less than 2^32, since they are no more than twice [`SEND_LEN_MAX`] and a frame.
    memory_len: u32,
}

/// The most that is kept for a peer, whatever is configured: half of what sequence numbers tell apart, and no window is
/// larger.
pub(super) const SEND_LEN_MAX: usize = 1 << 30;

/// How frames are filled: what a segment may be at most, and whether the device cuts super-segments.
#[derive(Debug, Clone, Copy)]
pub(super) struct Filling {
    pub(super) mss: usize,
    pub(super) tso_len_max: Option<usize>,
    pub(super) buffer_len: usize,
    /// The room that a blocked writer waits for.
    pub(super) room_min: usize,
    /// The device does no checksums: what is copied is summed on the way.
    pub(super) is_summed: bool,
}

impl Filling {
    /// Copies to the end of a frame that holds `len` bytes, whose sum was `sum`. Returns the sum of both.
    #[inline(always)]
    fn copy(&self, tail: &mut [u8], bytes: &[u8], sum: Option<u16>, len: usize) -> Option<u16> {
        match sum {
            Some(value) if self.is_summed => Some(copy_summed(tail, bytes, Sum::resume(value, len))),
            _ => {
                tail.copy_from_slice(bytes);
                None
            }
        }
    }
}

#[inline(never)]
fn copy_summed(tail: &mut [u8], bytes: &[u8], mut sum: Sum) -> u16 {
    sum.add_copied(tail, bytes);
    sum.value()
}

impl<F: Frame> SendQueue<F> {
    pub(super) fn new(start: Seq) -> SendQueue<F> {
        SendQueue { entries: Fifo::default(), end: start, memory_len: 0 }
    }

    /// Sequence number behind the last byte.
    #[inline]
    pub(super) fn end(&self) -> Seq {
        self.end
    }

    /// Whether everything that was written is acknowledged.
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Bytes of buffers held.
    #[inline]
    pub(super) fn memory_len(&self) -> usize {
        self.memory_len as usize
    }

    /// Bytes queued.
    #[inline]
    fn len(&self) -> usize {
        self.entries.front().map_or(0, |first| (self.end - first.seq) as usize)
    }

    /// Bytes that may be added under a limit. Buffers count as well as bytes, so that one-byte writes do not
    /// take two thousand times their size.
    #[inline]
    pub(super) fn room(&self, buffer_len: usize) -> usize {
        if self.memory_len() >= 2 * buffer_len { 0 } else { buffer_len.saturating_sub(self.len()) }
    }

    /// Copies bytes in; returns how many. Fewer than given: the buffer is full; 0 with room: the pool is dry.
    /// What was sent already (before `nxt`) is never touched.
    #[inline]
    pub(super) fn write<D: Device<Frame = F>>(
        &mut self,
        bytes: &[u8],
        nxt: Seq,
        filling: Filling,
        device: &mut D,
    ) -> usize {
        let mut rest = &bytes[..bytes.len().min(self.room(filling.buffer_len))];
        let wanted = rest.len();
        rest = &rest[self.append(rest, nxt, filling)..];
        while !rest.is_empty() && self.room(filling.buffer_len) > 0 {
            match self.push_copy(rest, filling, device) {
                0 => break,
                copied => rest = &rest[copied..],
            }
        }
        wanted - rest.len()
    }

    /// Takes bytes that one frame holds, behind nothing else. Returns how large its buffer is, if there was such a frame.
    #[inline(always)]
    pub(super) fn push_segment<D: Device<Frame = F>>(
        &mut self,
        bytes: &[u8],
        device: &mut D,
    ) -> Option<usize> {
        let mut frame = usually(device.alloc(bytes.len()))?;
        copy(usually(frame.extend(bytes.len()))?, bytes);
        let capacity = frame.capacity();
        self.entries.push_front(Entry { seq: self.end, sum: None, frame });
        self.end += bytes.len() as u32;
        self.memory_len = capacity as u32;
        Some(capacity)
    }

    /// Fills up the last frame, if none of it was sent.
    #[inline]
    fn append(&mut self, bytes: &[u8], nxt: Seq, filling: Filling) -> usize {
        let Some(last) = self.entries.back_mut() else { return 0 };
        if last.seq.before(nxt) {
            return 0;
        }
        let limit = filling.tso_len_max.unwrap_or(filling.mss);
        let held = last.frame.len();
        let len = bytes.len().min(limit.saturating_sub(held)).min(last.frame.tailroom());
        if len > 0
            && let Some(tail) = last.frame.extend(len)
        {
            last.sum = filling.copy(tail, &bytes[..len], last.sum, held);
            self.end += len as u32;
            return len;
        }
        0
    }

    #[inline]
    fn push_copy<D: Device<Frame = F>>(&mut self, bytes: &[u8], filling: Filling, device: &mut D) -> usize {
        let want = match filling.tso_len_max {
            Some(tso) if bytes.len() >= LARGE_WRITE_LEN => bytes.len().min(tso),
            _ => bytes.len().min(filling.mss),
        };
        let Some(mut frame) = device.alloc(want) else { return 0 };
        let len = want.min(frame.tailroom());
        let Some(tail) = frame.extend(len) else { return 0 };
        let sum = filling.copy(tail, &bytes[..len], Some(0), 0);
        self.memory_len += frame.capacity() as u32;
        self.entries.push_another(Entry { seq: self.end, sum, frame });
        self.end += len as u32;
        len
    }

    /// Appends a frame of `len` bytes.
    #[inline(always)]
    fn push(&mut self, frame: F, len: usize, sum: Option<u16>) {
        self.memory_len += frame.capacity() as u32;
        self.entries.push_back(Entry { seq: self.end, sum, frame });
        self.end += len as u32;
    }

    /// Takes bytes of the application's own memory, as far as there is room; returns how many. None are taken for less room
    /// than a writer is woken for: pieces that are cut at any place have segments straddle them.
    pub(super) fn write_owned<D: Device<Frame = F>>(
        &mut self,
        bytes: &mut SharedBytes,
        nxt: Seq,
        filling: Filling,
        device: &mut D,
    ) -> usize {
        let room = self.room(filling.buffer_len);
        let unit = filling.tso_len_max.unwrap_or(filling.mss);
        let len = match bytes.len() {
            len if len <= room => len,
            _ if room < filling.room_min => return 0,
            _ if room < filling.mss => room,
            _ if room < unit => room - room % filling.mss,
            _ => room - room % unit,
        };
        let part = bytes.slice(0..len);
        // A few bytes are cheaper to copy than to keep.
        let frame = if len > COPY_LEN_MAX { device.wrap(&part) } else { None };
        let written = match frame {
            Some(frame) => {
                self.push(frame, len, None);
                len
            }
            None => self.write(&part, nxt, filling, device),
        };
        bytes.advance(written);
        written
    }

    /// Whether one frame is all there is, and ends at `una`.
    #[inline(always)]
    pub(super) fn is_sole_until(&self, una: Seq) -> bool {
        likely(self.end == una) && self.entries.has_one()
    }

    /// The one frame there is goes home.
    #[inline(always)]
    pub(super) fn drop_sole(&mut self) {
        if let Some(entry) = self.entries.pop_sole() {
            entry.frame.release();
            self.memory_len = 0;
        }
    }

    /// Everything before `una` arrived: its frames go home.
    #[inline]
    pub(super) fn acknowledge(&mut self, una: Seq) {
        if self.is_sole_until(una) {
            self.drop_sole();
        } else {
            self.acknowledge_some(una);
        }
    }

    #[inline(never)]
    fn acknowledge_some(&mut self, una: Seq) {
        self.entries.consume(|entry| {
            let is_over = entry.end().at_or_before(una);
            if is_over {
                self.memory_len -= entry.frame.capacity() as u32;
            } else {
                let part = una.since(entry.seq);
                entry.frame.trim_front(part as usize);
                entry.seq += part;
                entry.sum = None;
            }
            is_over
        });
    }

    /// What is queued, in order.
    pub(super) fn frames(&self) -> impl Iterator<Item = &F> {
        self.entries.iter().map(|entry| &entry.frame)
    }

    /// Throws everything away.
    pub(super) fn clear(&mut self) {
        *self = SendQueue::new(self.end);
    }

    /// Index of the entry that holds `seq`. What is sent next is nearly always in the first or the last one.
    #[inline]
    pub(super) fn index_of(&self, seq: Seq) -> usize {
        match self.entries.front() {
            Some(front) if front.end().after(seq) => 0,
            _ => self.entries.partition_point(|entry| entry.end().at_or_before(seq)),
        }
    }

    /// The last frame, if it is just the `len` bytes from `seq` on.
    #[inline(always)]
    pub(super) fn last_whole(&mut self, seq: Seq, len: u32) -> Option<&mut F> {
        let last = usually(self.entries.back_mut())?;
        let is_it = likely(last.seq == seq) && likely(last.frame.len() == len as usize);
        if is_it { Some(&mut last.frame) } else { None }
    }

    /// The frame at `index`, if it is just the `len` bytes from `seq` on, and their sum, if it is known.
    #[inline(always)]
    pub(super) fn whole_at(&mut self, index: usize, seq: Seq, len: u32) -> Option<(&mut F, Option<u16>)> {
        let entry = self.entries.get_mut(index)?;
        (entry.seq == seq && entry.frame.len() == len as usize).then_some((&mut entry.frame, entry.sum))
    }

    /// The payload of a segment: `len` bytes from `seq` on, or fewer if buffers or fragments run out.
    /// `None` if there is nothing at `seq`, or no buffer.
    #[inline]
    pub(super) fn payload<D: Device<Frame = F>>(
        &mut self,
        seq: Seq,
        len: usize,
        header_len: usize,
        device: &mut D,
    ) -> Option<Payload<'_, F>> {
        let index = self.index_of(seq);
        let entry = self.entries.get(index)?;
        let whole = entry.seq == seq && entry.frame.len() <= len;
        let in_place = whole
            && (entry.frame.len() == len || index + 1 == self.entries.len())
            && entry.frame.headroom() >= header_len;
        if in_place {
            return Some(Payload::InPlace(&mut self.entries.get_mut(index)?.frame));
        }
        let fragments_max = device.caps().fragments_max;
        if fragments_max > 1 && len > COPY_LEN_MAX {
            return self.gather(index, seq, len, fragments_max - 1, device);
        }
        self.copy(index, seq, len, device)
    }

    /// Headers in a frame of their own, the payload chained behind it.
    fn gather<D: Device<Frame = F>>(
        &self,
        index: usize,
        seq: Seq,
        len: usize,
        fragments_max: usize,
        device: &mut D,
    ) -> Option<Payload<'_, F>> {
        let header = device.alloc(0)?;
        let mut chain: Option<F> = None;
        let mut gathered = 0;
        for at in index..index + fragments_max {
            let Some(entry) = self.entries.get(at) else { break };
            let mut share = entry.frame.share();
            share.trim_front((seq + gathered as u32).since(entry.seq) as usize);
            share.truncate(len - gathered);
            gathered += share.len();
            match &mut chain {
                Some(chain) => chain.chain(share),
                None => chain = Some(share),
            }
            if gathered == len {
                break;
            }
        }
        Some(Payload::Separate { frame: header, chain, len: gathered })
    }

    /// Headers and payload together in a new frame.
    fn copy<D: Device<Frame = F>>(
        &self,
        index: usize,
        seq: Seq,
        len: usize,
        device: &mut D,
    ) -> Option<Payload<'_, F>> {
        let mut frame = device.alloc(len)?;
        let len = len.min(frame.tailroom());
        let out = frame.extend(len)?;
        let mut copied = 0;
        for at in index.. {
            let Some(entry) = self.entries.get(at) else { break };
            let bytes = entry.frame.bytes();
            let bytes = bytes.get((seq + copied as u32).since(entry.seq) as usize..).unwrap_or(&[]);
            let part = bytes.len().min(len - copied);
            out[copied..copied + part].copy_from_slice(&bytes[..part]);
            copied += part;
            if copied == len {
                break;
            }
        }
        frame.truncate(copied);
        Some(Payload::Separate { frame, chain: None, len: copied })
    }
}

/// The payload of a segment that is about to get its headers.
#[derive(Debug)]
pub(super) enum Payload<'a, F> {
    /// The queued frame itself.
    InPlace(&'a mut F),
    /// A frame for the headers, with the payload in it or chained behind it.
    Separate { frame: F, chain: Option<F>, len: usize },
}

impl<F: Frame> Payload<'_, F> {
    /// Payload bytes.
    #[inline]
    pub(super) fn len(&self) -> usize {
        match self {
            Payload::InPlace(frame) => frame.len(),
            Payload::Separate { len, .. } => *len,
        }
    }

    /// Makes `header_len` bytes of room in front, lets `write` fill them, and returns the frame to transmit.
    /// `write` sees headers and linear payload in one slice, and what is chained behind.
    #[inline]
    pub(super) fn with_headers(
        self,
        header_len: usize,
        write: impl FnOnce(&mut [u8], Option<&F>),
    ) -> Option<F> {
        match self {
            Payload::InPlace(frame) => {
                write(frame.prepend(header_len)?, None);
                let out = frame.share();
                frame.trim_front(header_len);
                Some(out)
            }
            Payload::Separate { mut frame, chain, .. } => {
                write(frame.prepend(header_len)?, chain.as_ref());
                if let Some(chain) = chain {
                    frame.chain(chain);
                }
                Some(frame)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hayase_device::heap::{HeapFrame, Pool, PoolConfig};
    use hayase_device::{Burst, Caps, Interest, Offloads, TxMeta};

    /// A pool with the verbs of a device.
    #[derive(Debug)]
    struct Memory(Pool, Caps);

    impl Device for Memory {
        type Frame = HeapFrame;
        fn caps(&self) -> &Caps {
            &self.1
        }
        fn set_offloads(&mut self, _: Offloads) -> Offloads {
            self.1.offloads
        }
        fn mac(&self) -> [u8; 6] {
            [2; 6]
        }
        fn receive(&mut self, _: &mut Burst<HeapFrame>) -> usize {
            0
        }
        fn alloc(&mut self, len: usize) -> Option<HeapFrame> {
            self.0.alloc(len)
        }
        fn wrap(&mut self, bytes: &SharedBytes) -> Option<HeapFrame> {
            Pool::wrap(bytes.clone())
        }
        fn room(&self) -> usize {
            1
        }
        fn transmit(&mut self, _: HeapFrame, _: TxMeta) {}
        fn flush(&mut self) {}
        fn pending(&self) -> bool {
            false
        }
        fn interests(&self, _: &mut dyn FnMut(Interest)) {}
        fn drops(&self, _: &mut dyn FnMut(&'static str, u64)) {}
    }

    /// Written in pieces of all lengths, some of which fill up frames at odd places; and a part of it acknowledged.
    #[test]
    fn the_sums_taken_while_copying_are_those_of_the_frames() {
        let mut device = Memory(Pool::new(PoolConfig::default()), Caps::ethernet(1500));
        let mut queue = SendQueue::new(Seq(0));
        let filling =
            Filling { mss: 1000, tso_len_max: None, buffer_len: 100_000, room_min: 33_333, is_summed: true };
        let bytes: alloc::vec::Vec<u8> = (0..2500).map(|i| (i * 151 + i / 251) as u8).collect();
        for len in [1, 998, 3, 2001, 77, 2500] {
            assert_eq!(queue.write(&bytes[..len], Seq(0), filling, &mut device), len);
        }
        queue.write(&bytes[..500], Seq(0), Filling { is_summed: false, ..filling }, &mut device);
        queue.acknowledge(Seq(1003));
        let sums: alloc::vec::Vec<_> = queue.entries.iter().map(|entry| entry.sum).collect();
        let known: alloc::vec::Vec<_> = sums.iter().map(Option::is_some).collect();
        assert_eq!(known, [false, true, true, true, false, false]);
        for entry in queue.entries.iter().filter(|entry| entry.sum.is_some()) {
            let mut sum = Sum::default();
            sum.add(entry.frame.bytes());
            assert_eq!(entry.sum, Some(sum.value()));
        }
    }

    /// Of what does not fit: nothing while there is little room, whole segments where there is room for some.
    #[test]
    fn an_owned_write_is_cut_between_segments() {
        let mut device = Memory(Pool::new(PoolConfig::default()), Caps::ethernet(1500));
        let mut queue = SendQueue::new(Seq(0));
        let filling = Filling {
            mss: 1000,
            tso_len_max: Some(30_000),
            buffer_len: 100_000,
            room_min: 33_333,
            is_summed: false,
        };
        let mut bytes = SharedBytes::from(alloc::vec![0; 230_000]);
        let mut write =
            |queue: &mut SendQueue<_>| queue.write_owned(&mut bytes, Seq(0), filling, &mut device);
        assert_eq!((write(&mut queue), write(&mut queue)), (90_000, 0));
        // 33,000: hardly less than what a writer is woken for, and more than a segment.
        queue.acknowledge(Seq(23_000));
        assert_eq!(write(&mut queue), 0);
        queue.acknowledge(Seq(24_000));
        assert_eq!(write(&mut queue), 30_000);
        queue.acknowledge(Seq(120_000));
        let small = Filling { mss: 999, tso_len_max: Some(200_000), ..filling };
        let written = queue.write_owned(&mut bytes, Seq(0), small, &mut device);
        assert_eq!(written, 99_900, "of segments that the device cuts");
        queue.acknowledge(Seq(219_900));
        let tiny = Filling { mss: 1000, buffer_len: 700, room_min: 233, ..filling };
        let written = queue.write_owned(&mut bytes, Seq(0), tiny, &mut device);
        assert_eq!((written, bytes.len()), (700, 9400), "less than a segment is all there is room for");
    }
}
