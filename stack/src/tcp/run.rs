//! A run: the segments of a burst that continue what their connection just received (software GRO).
//!
//! Their headers say what those of the segment before said, but for where they stand in the sequence; so they are
//! compared rather than read, and what is to be done for all of them is done once.

use hayase_device::checksum::{Sum, fold};
use hayase_device::{Burst, Frame, RxChecksum, RxMeta};

use super::connection::Connection;
use super::receive_queue::COPY_LEN_MAX;
use crate::seq::Seq;
use crate::usual::{TCP_V4, TCP_V6};
use crate::wire::tcp::Flags;

impl<F: Frame> Connection<F> {
    /// Takes the payload of the segment that was expected, whose TCP header starts `AT`, and with it the frames at the
    /// front of the burst that continue it. Returns how many these are.
    #[inline(never)]
    pub(super) fn take_run<const AT: usize>(&mut self, frame: F, burst: &mut Burst<F>) -> u64 {
        match (AT == TCP_V4, self.timestamps_ok) {
            (true, true) => self.take_all::<TCP_V4, { TCP_V4 + 32 }>(frame, burst),
            (true, false) => self.take_all::<TCP_V4, { TCP_V4 + 20 }>(frame, burst),
            (false, true) => self.take_all::<TCP_V6, { TCP_V6 + 32 }>(frame, burst),
            (false, false) => self.take_all::<TCP_V6, { TCP_V6 + 20 }>(frame, burst),
        }
    }

    /// The same behind `LEN` bytes of headers.
    fn take_all<const AT: usize, const LEN: usize>(&mut self, mut frame: F, burst: &mut Burst<F>) -> u64 {
        let Some(head) = frame.bytes().first_chunk::<LEN>().copied() else { return 0 };
        let (first, window) = (self.rcv_nxt, self.rcv_wnd());
        let mut taken = frame.len() as u32 - LEN as u32;
        let mut count = 0;
        frame.trim_front(LEN);
        self.receive.push_fragment(frame);
        while let Some((frame, meta)) = burst.front()
            && let Some(len) = follows::<AT, LEN, F>(&head, first + taken, frame, meta)
            && taken + len <= window
            && let Some((mut frame, _)) = burst.pop_front()
        {
            frame.trim_front(LEN);
            // Not by what the peer calls a full segment, or it would be given a buffer for each of the tiniest.
            if len as usize > COPY_LEN_MAX {
                self.receive.push_another(frame);
            } else {
                self.receive.push_fragment(frame);
            }
            // What it says of the window is no news, but the newest word.
            self.snd_wl1 = first + taken;
            taken += len;
            count += 1;
        }
        self.note_expected(taken);
        // New data: our acknowledgements arrive (RFC 4861 §7.3.1).
        self.progressed = true;
        count
    }
}

/// The length of the payload, if the frame holds a segment that starts at `seq` and is what `head` is else.
#[inline(always)]
fn follows<const AT: usize, const LEN: usize, F: Frame>(
    head: &[u8; LEN],
    seq: Seq,
    frame: &F,
    meta: RxMeta,
) -> Option<u32> {
    let bytes = frame.bytes();
    let (headers, payload) = bytes.split_first_chunk::<LEN>()?;
    let is_alike = !differ(head, headers, const { &compared::<AT, LEN>() })
        && headers[AT + 4..AT + 8] == seq.0.to_be_bytes()
        && is_whole::<AT, LEN>(headers, bytes.len())
        && !payload.is_empty()
        && frame.next().is_none();
    let is_good =
        is_alike && (meta.checksum == RxChecksum::Verified || is_intact::<AT, LEN>(headers, payload));
    is_good.then_some(payload.len() as u32)
}

/// The bits that are the same in all segments of a run: not lengths and checksums, the packet's number, SEG.SEQ, PSH and
/// the urgent pointer, which nothing points to without URG.
const fn compared<const AT: usize, const LEN: usize>() -> [u8; LEN] {
    let mut mask = [0xff; LEN];
    let varying: &[usize] = if AT == TCP_V4 {
        &[16, 17, 18, 19, 24, 25, AT + 4, AT + 5, AT + 6, AT + 7, AT + 16, AT + 17, AT + 18, AT + 19]
    } else {
        &[18, 19, AT + 4, AT + 5, AT + 6, AT + 7, AT + 16, AT + 17, AT + 18, AT + 19]
    };
    let mut i = 0;
    while i < varying.len() {
        mask[varying[i]] = 0;
        i += 1;
    }
    mask[AT + 13] = !Flags::PSH.0;
    mask
}

/// Whether two headers differ in what `mask` has.
#[inline(always)]
fn differ<const LEN: usize>(a: &[u8; LEN], b: &[u8; LEN], mask: &[u8; LEN]) -> bool {
    let word =
        |bytes: &[u8; LEN], at: usize| u64::from_ne_bytes(core::array::from_fn(|byte| bytes[at + byte]));
    let difference = |at: usize| (word(a, at) ^ word(b, at)) & word(mask, at);
    // The last word overlaps the one before it.
    (0..LEN / 8).fold(difference(LEN - 8), |all, i| all | difference(i * 8)) != 0
}

/// Whether the packet is all of the frame, and the header of IPv4 intact.
#[inline(always)]
fn is_whole<const AT: usize, const LEN: usize>(headers: &[u8; LEN], frame_len: usize) -> bool {
    if AT != TCP_V4 {
        return AT + usize::from(u16::from_be_bytes([headers[18], headers[19]])) == frame_len;
    }
    let word = |at: usize| {
        u64::from(u32::from_ne_bytes([headers[at], headers[at + 1], headers[at + 2], headers[at + 3]]))
    };
    let sum = word(14) + word(18) + word(22) + word(26) + word(30);
    14 + usize::from(u16::from_be_bytes([headers[16], headers[17]])) == frame_len && fold(sum) == 0xffff
}

/// Whether the checksum of TCP is right.
#[inline(always)]
fn is_intact<const AT: usize, const LEN: usize>(headers: &[u8; LEN], payload: &[u8]) -> bool {
    let addresses_len = if AT == TCP_V4 { 8 } else { 32 };
    let mut sum = Sum::default();
    // Pseudo-header, addresses included, header and payload. All lengths but the last are even.
    sum.add(&headers[AT - addresses_len..AT]);
    sum.add_u32(u32::from(crate::wire::Protocol::TCP.0) + (LEN - AT + payload.len()) as u32);
    sum.add(&headers[AT..]);
    sum.add(payload);
    sum.is_valid()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tcp::flow::Tuple;
    use crate::usual::{Front, Headers};
    use crate::wire::Mac;
    use alloc::vec::Vec;
    use hayase_device::Prefix;
    use hayase_device::heap::{HeapFrame, Pool, PoolConfig};

    const MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);
    const UNVERIFIED: RxMeta = RxMeta { checksum: RxChecksum::Unverified, segment_len: 0, flow_hash: None };

    /// Goes on from the sum of the pseudo-header, which stands in the field.
    fn fill_checksum(segment: &mut [u8]) {
        let mut sum = Sum::default();
        sum.add(segment);
        segment[16..18].copy_from_slice(&sum.checksum().to_be_bytes());
    }

    /// A segment with `len` bytes at `seq`, as it arrives.
    fn segment<const AT: usize, const LEN: usize>(ends: (&str, &str), seq: u32, len: usize) -> Vec<u8> {
        let tuple = Tuple::new(ends.0.parse().unwrap(), ends.1.parse().unwrap());
        let headers: Headers<'_, AT> = Headers {
            front: &Front::new(MAC, MAC, AT == TCP_V4),
            ttl: &64,
            tos: &0,
            tuple: &tuple,
            address_sum: &tuple.address_sum(),
            flags: Flags::ACK,
            seq: &Seq(seq),
            ack: &Seq(0xdead_beef),
            edge: (&Seq(0xdead_beef + 0xabcd), &0),
            timestamps: (7, &0, &9),
            payload_len: len as u32,
            payload_sum: None,
        };
        let mut bytes = alloc::vec![seq as u8; LEN + len];
        Prefix::<LEN>::write(&headers, bytes.first_chunk_mut().unwrap());
        fill_checksum(&mut bytes[AT..]);
        bytes
    }

    fn taken<const AT: usize, const LEN: usize>(head: &[u8], seq: u32, bytes: &[u8]) -> Option<u32> {
        let mut frame: HeapFrame = Pool::new(PoolConfig::default()).alloc(bytes.len()).unwrap();
        frame.extend(bytes.len()).unwrap().copy_from_slice(bytes);
        follows::<AT, LEN, _>(head.first_chunk().unwrap(), Seq(seq), &frame, UNVERIFIED)
    }

    /// The next segment follows, with PSH and shorter as well. Changed in any bit of its headers it does not, but for
    /// those of the urgent pointer; nor with other payload, for its checksum is wrong then.
    fn run<const AT: usize, const LEN: usize>(ends: (&str, &str)) {
        let head = segment::<AT, LEN>(ends, 1000, 300);
        let next = segment::<AT, LEN>(ends, 1300, 201);
        assert_eq!(taken::<AT, LEN>(&head, 1300, &next), Some(201));
        assert_eq!(taken::<AT, LEN>(&head, 1299, &next), None, "it is another one's turn");
        for bit in 0..LEN * 8 {
            let (at, flipped) = (bit / 8, 1 << (bit % 8));
            let mut other = next.clone();
            other[at] ^= flipped;
            let pseudo = pseudo::<AT, LEN>(&other).to_be_bytes();
            other[AT + 16..AT + 18].copy_from_slice(&pseudo);
            fill_checksum(&mut other[AT..]);
            let is_psh = at == AT + 13 && flipped == Flags::PSH.0;
            let may_vary = is_psh || (AT + 16..AT + 20).contains(&at);
            assert_eq!(
                taken::<AT, LEN>(&head, 1300, &other).is_some(),
                may_vary,
                "{flipped:#x} of byte {at}"
            );
        }
        let mut damaged = next.clone();
        damaged[LEN + 7] ^= 1;
        assert_eq!(taken::<AT, LEN>(&head, 1300, &damaged), None);
        assert_eq!(taken::<AT, LEN>(&head, 1300, &segment::<AT, LEN>(ends, 1300, 0)), None);
    }

    /// What stands in the checksum's field before it is filled.
    fn pseudo<const AT: usize, const LEN: usize>(bytes: &[u8]) -> u16 {
        let mut sum = Sum::default();
        sum.add(&bytes[AT - if AT == TCP_V4 { 8 } else { 32 }..AT]);
        sum.add_u32(6 + (bytes.len() - AT) as u32);
        sum.value()
    }

    #[test]
    fn what_says_the_same_and_comes_next_follows() {
        run::<TCP_V4, { TCP_V4 + 32 }>(("10.0.0.1:80", "10.200.30.4:65535"));
        run::<TCP_V4, { TCP_V4 + 20 }>(("10.0.0.1:80", "10.200.30.4:65535"));
        run::<TCP_V6, { TCP_V6 + 32 }>(("[fd00::1]:80", "[fe80::2]:4000"));
        run::<TCP_V6, { TCP_V6 + 20 }>(("[fd00::1]:80", "[fe80::2]:4000"));
    }
}
