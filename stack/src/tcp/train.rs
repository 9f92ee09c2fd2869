//! A train of full segments: bulk data in the frames that writes filled, to a neighbour that is known, while nothing
//! is going on but data.
//!
//! Their headers differ in a few fields, so they are written once and copied; what is said of the whole train, that it
//! was sent, is booked once. The segments are those of [`output`](super::output), which sees to everything else.

use hayase_device::checksum::Sum;
use hayase_device::{Device, Frame, Prefix, TxMeta, TxSegmentation};

use super::connection::Connection;
use super::emit::checksum_request;
use crate::config::Config;
use crate::counters::Count;
use crate::egress::Egress;
use crate::seq::Seq;
use crate::usual::{Headers, TCP_V4, TCP_V6};
use crate::wire::tcp::{Flags, TcpHeader};

impl<F: Frame> Connection<F> {
    /// Sends full segments, or super-segments of them, as long as the queue has whole frames of them, and windows and
    /// device let them go, until `len_max` bytes are sent. What is left is for the caller.
    #[inline]
    pub(super) fn output_train<D>(&mut self, len_max: u32, egress: &mut Egress<'_, F, D>, config: &Config)
    where
        D: Device<Frame = F>,
    {
        debug_assert!(!self.steady || self.is_steady());
        if !self.steady || self.unsent_len() < 2 * self.mss {
            return;
        }
        match (self.is_v4, self.timestamps_ok) {
            (true, true) => self.send_trains::<TCP_V4, { TCP_V4 + 32 }, D>(len_max, egress, config),
            (true, false) => self.send_trains::<TCP_V4, { TCP_V4 + 20 }, D>(len_max, egress, config),
            (false, true) => self.send_trains::<TCP_V6, { TCP_V6 + 32 }, D>(len_max, egress, config),
            (false, false) => self.send_trains::<TCP_V6, { TCP_V6 + 20 }, D>(len_max, egress, config),
        }
    }

    #[inline(never)]
    fn send_trains<const AT: usize, const LEN: usize, D>(
        &mut self,
        len_max: u32,
        egress: &mut Egress<'_, F, D>,
        config: &Config,
    ) where
        D: Device<Frame = F>,
    {
        let segment_max = self.segment_max(egress, config);
        if segment_max > self.mss {
            self.send_supers::<AT, LEN, D>(len_max, segment_max, egress, config);
        } else {
            self.send_train::<AT, LEN, D>(len_max, egress, config);
        }
    }

    /// Super-segments, for a device that cuts them.
    fn send_supers<const AT: usize, const LEN: usize, D>(
        &mut self,
        len_max: u32,
        segment_max: u32,
        egress: &mut Egress<'_, F, D>,
        config: &Config,
    ) where
        D: Device<Frame = F>,
    {
        let (now, mss, first) = (egress.now, self.mss, self.snd_nxt);
        let is_paced = self.is_paced(config) || self.congestion.model_rate().is_some();
        let cut = TxSegmentation { segment_len: mss as u16, header_len: LEN as u16, ipv6: AT == TCP_V6 };
        let meta = TxMeta { checksum: checksum_request(egress.offloads(), AT), segmentation: Some(cut) };
        let is_behind = self.is_behind_others();
        let mut count = 0;
        while egress.device.room() > 0
            && self.snd_nxt - first < len_max
            && !(is_paced && self.is_held_back(now, config))
        {
            let unsent = self.unsent_len();
            let len = unsent.min(self.usable_window()).min(segment_max);
            // The device cuts whole segments; the rest waits for the window or for the next one.
            let len = if len < unsent { len - len % mss } else { len };
            if len <= mss {
                break;
            }
            let Some(headers) = self.headers::<AT, LEN, D>(self.snd_nxt, len, len == unsent, egress) else {
                break;
            };
            let payload = self.send.payload(self.snd_nxt, len as usize, LEN, egress.device);
            let Some(payload) = payload.filter(|payload| payload.len() == len as usize) else { break };
            let put = |bytes: &mut [u8], _: Option<&F>| bytes[..LEN].copy_from_slice(&headers);
            let Some(out) = payload.with_headers(LEN, put) else { break };
            egress.device.transmit(out, meta);
            if is_paced && (is_behind || count > 0) {
                self.pace(len, now, config);
            }
            self.snd_nxt += len;
            count += 1;
        }
        if count > 0 {
            egress.counters.add(Count::OutSegs, count);
            self.note_train_sent(is_behind, true, now, config);
        }
    }

    fn send_train<const AT: usize, const LEN: usize, D>(
        &mut self,
        len_max: u32,
        egress: &mut Egress<'_, F, D>,
        config: &Config,
    ) where
        D: Device<Frame = F>,
    {
        let (now, mss, first) = (egress.now, self.mss, self.snd_nxt);
        let meta = TxMeta { checksum: checksum_request(egress.offloads(), AT), segmentation: None };
        let Some(mut template) = self.template::<AT, LEN, D>(meta.checksum.is_some(), egress) else { return };
        let mut count = egress.device.room().min((len_max.min(self.usable_window()) / mss) as usize);
        let mut index = self.send.index_of(first);
        let is_behind = self.is_behind_others();
        let is_paced = self.is_paced(config) || self.congestion.model_rate().is_some();
        while count > 0 && !(is_paced && self.is_held_back(now, config)) {
            let is_last = self.snd_nxt + mss == self.send.end();
            let Some((frame, sum)) = self.send.whole_at(index, self.snd_nxt, mss) else { break };
            let Some(out) = template.put_before(frame, sum, self.snd_nxt, is_last) else { break };
            egress.device.transmit(out, meta);
            if is_paced && (is_behind || self.snd_nxt != first) {
                self.pace(mss, now, config);
            }
            self.snd_nxt += mss;
            index += 1;
            count -= 1;
        }
        let sent = self.snd_nxt - first;
        if sent > 0 {
            egress.counters.add(Count::OutSegs, u64::from(sent / mss));
            self.note_train_sent(is_behind, sent > mss, now, config);
        }
    }

    /// The template of full segments that go now. `None` if the neighbour must be asked for first.
    fn template<const AT: usize, const LEN: usize, D>(
        &self,
        is_offloaded: bool,
        egress: &Egress<'_, F, D>,
    ) -> Option<Template<AT, LEN>>
    where
        D: Device<Frame = F>,
    {
        let bytes = self.headers::<AT, LEN, D>(Seq(0), self.mss, false, egress)?;
        // The sum of the pseudo-header is in its field, so that of the whole header goes on from it.
        let mut sum = Sum::default();
        sum.add(&bytes[AT..]);
        Some(Template { bytes, sum, is_offloaded })
    }

    /// The headers of a segment that goes now, for a device that does the checksum. `None` as above.
    #[inline(always)]
    fn headers<const AT: usize, const LEN: usize, D>(
        &self,
        seq: Seq,
        payload_len: u32,
        is_last: bool,
        egress: &Egress<'_, F, D>,
    ) -> Option<[u8; LEN]>
    where
        D: Device<Frame = F>,
    {
        let mut bytes = [0; LEN];
        let headers: Headers<'_, AT> = Headers {
            front: egress.known_front(self.neighbor)?,
            ttl: &self.ttl,
            tos: &(self.tos | self.recovery.ecn.ect),
            tuple: &self.tuple,
            address_sum: &self.address_sum,
            // MUST-61: the last segment of what was written.
            flags: if is_last { Flags::ACK | Flags::PSH } else { Flags::ACK },
            seq: &seq,
            ack: &self.rcv_nxt,
            edge: (&self.rcv_adv.max(self.rcv_nxt), &self.rcv_wscale),
            timestamps: (egress.millis, &self.ts_offset, &self.ts_recent),
            payload_len,
            payload_sum: None,
        };
        headers.write(&mut bytes);
        Some(bytes)
    }
}

/// Headers that are the same for every segment of a train, but for sequence number and checksum.
struct Template<const AT: usize, const LEN: usize> {
    bytes: [u8; LEN],
    /// Of pseudo-header and TCP header, for sequence number 0 and no PSH.
    sum: Sum,
    is_offloaded: bool,
}

impl<const AT: usize, const LEN: usize> Template<AT, LEN> {
    /// Puts the headers in front of the payload at `seq`, whose sum may be known, for the device and not for the queue.
    #[inline(always)]
    fn put_before<F: Frame>(
        &mut self,
        frame: &mut F,
        payload_sum: Option<u16>,
        seq: Seq,
        is_last: bool,
    ) -> Option<F> {
        let bytes = frame.prepend(LEN)?;
        // MUST-61: the last segment of what was written.
        let flags = if is_last { Flags::ACK | Flags::PSH } else { Flags::ACK };
        self.bytes[AT + 4..AT + 8].copy_from_slice(&seq.0.to_be_bytes());
        self.bytes[AT + 13] = flags.0;
        if !self.is_offloaded {
            let mut sum = self.sum;
            sum.add_u32(seq.0);
            sum.add_u16(u16::from(flags.0 ^ Flags::ACK.0));
            match payload_sum {
                Some(value) => sum.add_u16(value),
                None => sum.add(&bytes[LEN..]),
            }
            let at = AT + TcpHeader::CHECKSUM;
            self.bytes[at..at + 2].copy_from_slice(&sum.checksum().to_be_bytes());
        }
        *bytes.first_chunk_mut()? = self.bytes;
        let out = frame.share();
        frame.trim_front(LEN);
        Some(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tcp::flow::Tuple;
    use crate::usual::{Arrived, Front, Own, tcp_at};
    use crate::wire::Mac;
    use hayase_device::heap::{HeapFrame, Pool, PoolConfig};

    const MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);
    const MSS: usize = 101;

    fn template<const AT: usize, const LEN: usize>(local: &str, remote: &str) -> Template<AT, LEN> {
        let tuple = Tuple::new(local.parse().unwrap(), remote.parse().unwrap());
        let headers: Headers<'_, AT> = Headers {
            front: &Front::new(MAC, MAC, AT == TCP_V4),
            ttl: &64,
            tos: &0,
            tuple: &tuple,
            address_sum: &tuple.address_sum(),
            flags: Flags::ACK,
            seq: &Seq(0),
            ack: &Seq(0xdead_beef),
            edge: (&Seq(0xdead_beef + 0xabcd), &0),
            timestamps: (7, &0, &9),
            payload_len: MSS as u32,
            payload_sum: None,
        };
        let mut bytes = [0; LEN];
        headers.write(&mut bytes);
        let mut sum = Sum::default();
        sum.add(&bytes[AT..]);
        Template { bytes, sum, is_offloaded: false }
    }

    /// Every segment of a train is one that the receiver's checks let pass.
    fn train<const AT: usize, const LEN: usize>(local: &str, remote: &str) {
        let pool = Pool::new(PoolConfig::default());
        let mut template = template::<AT, LEN>(local, remote);
        for number in 0..4u32 {
            let mut frame: HeapFrame = pool.alloc(MSS).unwrap();
            frame.extend(MSS).unwrap().fill(number as u8 + 1);
            let mut sum = Sum::default();
            sum.add(frame.bytes());
            let sums = [None, Some(sum.value())];
            let seq = Seq(0xffff_ff00) + number * MSS as u32;
            let out = template.put_before(&mut frame, sums[number as usize % 2], seq, number == 3).unwrap();
            assert_eq!((frame.bytes().len(), frame.bytes()[0]), (MSS, number as u8 + 1));
            assert_eq!(tcp_at(out.bytes(), Own::new(MAC)), Some(AT), "segment {number}");
            let arrived = Arrived::new::<AT>(out.bytes()).unwrap();
            assert!(Arrived::is_intact::<AT>(out.bytes()), "segment {number}");
            assert_eq!((arrived.seq(), arrived.ack(), arrived.window()), (seq, Seq(0xdead_beef), 0xabcd));
            assert_eq!(arrived.plain(LEN - AT == 32).flatten().map(|t| t.val), (LEN - AT == 32).then_some(7));
            assert_eq!(out.bytes()[AT + 13] & Flags::PSH.0 != 0, number == 3);
        }
    }

    #[test]
    fn every_segment_of_a_train_is_whole() {
        train::<TCP_V4, { TCP_V4 + 32 }>("10.0.0.1:80", "10.200.30.4:65535");
        train::<TCP_V4, { TCP_V4 + 20 }>("10.0.0.1:80", "10.200.30.4:65535");
        train::<TCP_V6, { TCP_V6 + 32 }>("[fd00::1]:80", "[fe80::2]:4000");
        train::<TCP_V6, { TCP_V6 + 20 }>("[fd00::1]:80", "[fe80::2]:4000");
    }
}
