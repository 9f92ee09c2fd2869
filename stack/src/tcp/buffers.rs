//! How much a connection keeps for its application and for its peer: as much as the path holds. A path of 100 ms at
//! 1 Gbit/s has 12 MB under way; a connection that gets as much from the start is a burden where it is not used.
//!
//! The receive buffer, and with it the window, grows with what the application takes in a round trip (dynamic
//! right-sizing, as Linux's `tcp_rcv_space_adjust`); the send buffer with the congestion window. Both end at limits of
//! [`Config`], and while TCP as a whole holds much, nothing grows.

use hayase_device::Frame;
use hayase_time::Instant;

use super::assembler::Limit;
use super::connection::Connection;
use super::send_queue::SEND_LEN_MAX;
use crate::config::Config;
use crate::seq::Seq;

/// What a round trip is taken for that nobody measured: a continent's width.
const RTT_UNKNOWN_US: u32 = 100_000;

/// One connection gets no more than this part of what TCP as a whole may still hold.
const SHARE: usize = 4;

/// What the application takes in a round trip, by which grows what is kept for it: from the first read on.
#[derive(Debug)]
pub(super) struct Intake {
    /// The round trip that is going on: when it began, and at which byte.
    since: Instant,
    from: Seq,
    /// The most that it took in any before.
    most: u32,
}

impl Intake {
    /// The most that the application took in a round trip.
    pub(super) fn most(&self) -> u32 {
        self.most
    }
}

impl<F: Frame> Connection<F> {
    /// The application read. Once a round trip: if it took more than ever before, the buffer becomes twice that, and twice
    /// the increase besides, since a sender in slow start goes on to double. `free_len`: what all connections together
    /// may still take.
    pub(super) fn size_receive_buffer(&mut self, now: Instant, free_len: usize, config: &Config) {
        let limit = config.receive_buffer_len_max.min(free_len / SHARE).min(u32::MAX as usize) as u32;
        if self.space_len >= limit || !self.window_scaling_ok || self.is_receive_len_fixed() {
            return;
        }
        // Four times what was taken decides, so there is nothing to measure yet.
        if self.congestion.bulk.is_none() && self.tally.bytes_received < u64::from(self.space_len / 4) {
            return;
        }
        let (consumed, rtt_us) = (self.consumed(), self.rtt.srtt_us());
        let rtt_us = if rtt_us == 0 { RTT_UNKNOWN_US } else { rtt_us };
        let intake = &mut self.congestion.bulk_mut().intake;
        let intake = intake.get_or_insert_with(|| Intake { since: now, from: consumed, most: 0 });
        if now < intake.since.after_micros(rtt_us.into()) {
            return;
        }
        let taken = consumed - intake.from;
        (intake.since, intake.from) = (now, consumed);
        if taken > intake.most {
            let wanted = taken.saturating_add(taken - intake.most).saturating_mul(2);
            intake.most = taken;
            self.space_len = self.space_len.max(wanted.min(limit));
        }
    }

    /// What may wait out of order: a number of segments, or a window of full ones, whose buffers are more than half full.
    /// How long a full segment is does not count: that is the peer's word.
    pub(super) fn out_of_order_limit(&self, config: &Config) -> Limit {
        Limit { count: config.out_of_order_count_max, memory_len: 2 * self.space_len as usize }
    }

    /// What the connection keeps for its peer: what the window lets be under way, and as much again to go on with. Of a
    /// window that something else keeps from being used, only what was used counts: the rest would but lie in the queue,
    /// and have left the processor's cache by the time that it goes. What the application has chosen follows nothing.
    #[inline]
    pub(super) fn send_buffer_len(&self, config: &Config) -> usize {
        if let Some(len) = self.wishes().and_then(|wishes| wishes.send_len) {
            return (len as usize).min(SEND_LEN_MAX);
        }
        let flight_max = self.congestion.bulk.as_ref().map_or(0, |bulk| bulk.flight_max);
        let used = self.congestion.cwnd().min(flight_max);
        let len = config.send_buffer_len.max((2 * used as usize).min(config.send_buffer_len_max));
        len.min(SEND_LEN_MAX)
    }
}
