//! SYN cookies (RFC 4987 §3.6): while a listener has no room for another half-open connection, what it must remember of
//! a SYN travels in its answer, and comes back with the acknowledgement that ends the handshake. A flood then costs
//! frames, and no memory.
//!
//! The sequence number of the SYN-ACK holds the time, the peer's MSS and a check, all of it masked by a keyed function
//! of the addresses. A peer that offers timestamps gets its other options back through them: in the low bits of TSval,
//! which is late by that much.

use hayase_time::Instant;

use super::flow::Tuple;
use crate::random::Random;
use crate::seq::Seq;
use crate::wire::tcp::Options;

const DOMAIN_MASK: u64 = 0x5c_00;
const DOMAIN_CHECK: u64 = 0x5c_01;

/// Segment sizes that a cookie can name: the least that we use, RFC 9293's and RFC 8200's defaults, what tunnels leave of
/// Ethernet, Ethernet, and jumbo frames. A peer's is rounded down to one of these.
const MSS: [u16; 8] = [64, 536, 1220, 1360, 1400, 1440, 1460, 8940];

/// A tick is 2^16 ms: a cookie is good for one to two of them, longer than a SYN-ACK is ever sent again.
const TICK_SHIFT: u32 = 16;

/// Bits of a cookie below the tick: the check, an index of `MSS`, and whether there are timestamps.
const CHECK_MASK: u32 = 0x00ff_fff0;
const HAS_TIMESTAMPS: u32 = 0x8;

/// Bits of TSval below the time: the window scale (15: none), whether SACK is permitted, and whether ECN was agreed on.
const STAMP_MASK: u32 = 0x3f;
const STAMP_NO_SCALE: u32 = 0xf;
const STAMP_SACK: u32 = 0x10;
const STAMP_ECN: u32 = 0x20;

/// What a cookie remembers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cookie {
    pub(super) mss: u16,
    pub(super) has_timestamps: bool,
}

impl Cookie {
    /// The sequence number that answers a SYN with sequence number `irs`. It grows with the peer's, and with time, as
    /// sequence numbers of successive connections should (RFC 9293 §3.4.1).
    pub(super) fn seal(self, random: &Random, tuple: &Tuple, irs: Seq, now: Instant) -> Seq {
        let index = MSS.iter().rposition(|mss| *mss <= self.mss).unwrap_or(0) as u32;
        let said = (tick(now) << 24) | if self.has_timestamps { HAS_TIMESTAMPS } else { 0 } | index;
        mask(random, tuple, irs) + (said | check(random, tuple, irs, tick(now), said))
    }

    /// What a sequence number of ours says, which was acknowledged by a peer that started with `irs`. `None` if it is
    /// no cookie for it, or too old.
    pub(super) fn open(seq: Seq, random: &Random, tuple: &Tuple, irs: Seq, now: Instant) -> Option<Cookie> {
        let body = seq - mask(random, tuple, irs);
        let age = tick(now).wrapping_sub(body >> 24) & 0xff;
        let sealed_at = tick(now).wrapping_sub(age);
        (age <= 1 && body & CHECK_MASK == check(random, tuple, irs, sealed_at, body))
            .then(|| Cookie { mss: MSS[(body & 7) as usize], has_timestamps: body & HAS_TIMESTAMPS != 0 })
    }
}

fn tick(now: Instant) -> u32 {
    (now.as_millis() >> TICK_SHIFT) as u32
}

fn mask(random: &Random, tuple: &Tuple, irs: Seq) -> Seq {
    irs + random.keyed(DOMAIN_MASK, &tuple.as_words()) as u32
}

/// Covers what the cookie says, and all of the tick it was made in.
fn check(random: &Random, tuple: &Tuple, irs: Seq, tick: u32, said: u32) -> u32 {
    let [a, b, c, d, e] = tuple.as_words();
    let words = [a, b, c, d, e, u64::from(irs.0), u64::from(tick) << 32 | u64::from(said & !CHECK_MASK)];
    random.keyed(DOMAIN_CHECK, &words) as u32 & CHECK_MASK
}

/// The timestamp clock's `millis`, moved back to the last value whose low bits say what the peer offered.
pub(super) fn stamp(millis: u32, offer: &Options, ecn: bool) -> u32 {
    let scale = offer.window_scale.map_or(STAMP_NO_SCALE, |shift| u32::from(shift.min(14)));
    let sack = if offer.sack_permitted { STAMP_SACK } else { 0 };
    let bits = scale | sack | if ecn { STAMP_ECN } else { 0 };
    let stamped = (millis & !STAMP_MASK) | bits;
    if stamped > millis { stamped.wrapping_sub(STAMP_MASK + 1) } else { stamped }
}

/// What a stamp says that came back, and whether that is ECN as well.
pub(super) fn offer_of(stamp: u32) -> (Options, bool) {
    let scale = (stamp & STAMP_NO_SCALE) as u8;
    let options = Options {
        window_scale: (u32::from(scale) != STAMP_NO_SCALE).then_some(scale),
        sack_permitted: stamp & STAMP_SACK != 0,
        ..Options::default()
    };
    (options, stamp & STAMP_ECN != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tuple(port: u16) -> Tuple {
        Tuple::new(([10, 0, 0, 1], 80).into(), ([10, 0, 0, 2], port).into())
    }

    #[test]
    fn what_is_sealed_is_opened_for_two_ticks_and_by_nobody_else() {
        let (random, irs, now) = (Random::new([3; 32]), Seq(77), Instant::from_millis(1 << 30));
        let cookie = Cookie { mss: 1400, has_timestamps: true };
        let seq = cookie.seal(&random, &tuple(1), irs, now);
        let open = |tuple: &Tuple, irs, millis: u64| {
            Cookie::open(seq, &random, tuple, irs, Instant::from_millis((1u64 << 30) + millis))
        };
        assert_eq!(open(&tuple(1), irs, 0), Some(cookie));
        assert_eq!(open(&tuple(1), irs, 131_071), Some(cookie));
        assert_eq!(open(&tuple(1), irs, 131_072), None, "too old");
        assert_eq!(
            open(&tuple(1), irs, 256 << TICK_SHIFT),
            None,
            "the tick came round: the check knows it all"
        );
        assert_eq!(open(&tuple(2), irs, 0), None);
        assert_eq!(open(&tuple(1), irs + 1, 0), None);
    }

    #[test]
    fn a_guess_hardly_ever_opens() {
        let (random, now) = (Random::new([4; 32]), Instant::from_millis(1 << 30));
        let opened = (0..1u32 << 18)
            .filter(|n| {
                Cookie::open(Seq(n.wrapping_mul(0x9e37_79b9)), &random, &tuple(1), Seq(0), now).is_some()
            })
            .count();
        assert_eq!(opened, 0, "32 of 2^32 sequence numbers are good");
    }

    #[test]
    fn segment_sizes_are_rounded_down() {
        let (random, now) = (Random::new([5; 32]), Instant::ZERO);
        for (mss, kept) in
            [(0, 64), (64, 64), (535, 64), (536, 536), (1459, 1440), (1460, 1460), (u16::MAX, 8940)]
        {
            let seq = Cookie { mss, has_timestamps: false }.seal(&random, &tuple(1), Seq(9), now);
            let cookie = Cookie::open(seq, &random, &tuple(1), Seq(9), now);
            assert_eq!(cookie, Some(Cookie { mss: kept, has_timestamps: false }));
        }
    }

    #[test]
    fn a_stamp_is_never_ahead_of_the_clock_and_says_what_was_offered() {
        for (window_scale, sack_permitted) in
            [(None, false), (Some(0), true), (Some(14), false), (None, true)]
        {
            let offer = Options { window_scale, sack_permitted, ..Options::default() };
            for millis in [0, 5, 63, 64, 1000, u32::MAX] {
                let stamped = stamp(millis, &offer, millis == 5);
                assert!(millis.wrapping_sub(stamped) < 64, "{millis}: {stamped}");
                assert_eq!(offer_of(stamped), (offer, millis == 5));
            }
        }
    }
}
