//! What a link does to frames.

use std::fmt;
use std::time::Duration;

use crate::random::Random;

/// One direction of a cable, and all that can be wrong with it. Probabilities go from 0 to 1.
///
/// A frame meets, in this order: the cut, the MTUs, the queue with its marks and the rate, loss, duplication, damage,
/// reordering, and the delay.
///
/// ```
/// use std::time::Duration;
/// use hayase_sim::Link;
///
/// let adsl = Link { delay: Duration::from_millis(20), rate: Some(8_000_000), loss: 0.001, ..Link::default() };
/// assert_eq!(adsl.to_string(), "delay 20ms, 8 Mbit/s, queue 262144 B, loss 0.1 %");
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Link {
    /// How long a frame is on its way.
    pub delay: Duration,
    /// The most that is added to the delay, by chance. Frames do not overtake each other for it.
    pub jitter: Duration,
    /// Bits a second, at least one; `None` is no limit.
    pub rate: Option<u64>,
    /// Bytes that wait for the rate, what is being sent included. What does not fit is dropped.
    pub queue_len: usize,
    /// Bytes that wait for the rate, beyond which the packets of who understands ECN are marked as having met
    /// congestion (RFC 3168 §5). Those of others wait in the queue as without it. `None`: nothing is marked.
    pub mark_len: Option<usize>,
    /// Frames that are lost, each by itself.
    pub loss: f64,
    /// Losses that come in bursts.
    pub burst_loss: Option<BurstLoss>,
    /// Frames that arrive twice.
    pub duplicate: f64,
    /// Frames that others overtake.
    pub reorder: f64,
    /// By how many frames at most; 0.1 s later they arrive in any case.
    pub reorder_frames_max: u64,
    /// IP packets of which one byte is changed. ARP is spared: on Ethernet, only what a router damages gets past the
    /// frame check sequence, and that is packets.
    pub corrupt: f64,
    /// Frames that lose some of their end.
    pub truncate: f64,
    /// Longer IP packets are dropped, and their sender is told so by ICMP.
    pub mtu: Option<usize>,
    /// Longer IP packets are dropped without a word.
    pub silent_mtu: Option<usize>,
    /// Nothing passes. What was on its way arrives.
    pub cut: bool,
}

/// Loss after Gilbert and Elliott: the link is good or bad, and changes with each frame by chance.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BurstLoss {
    /// How often a good link turns bad.
    pub begins: f64,
    /// How often a bad link turns good: bursts are `1 / ends` frames long on average.
    pub ends: f64,
    /// Frames that are lost while the link is bad.
    pub loss: f64,
}

impl Default for Link {
    /// 1 ms of delay, no limit and no faults.
    fn default() -> Link {
        Link {
            delay: Duration::from_millis(1),
            jitter: Duration::ZERO,
            rate: None,
            queue_len: 256 * 1024,
            mark_len: None,
            loss: 0.0,
            burst_loss: None,
            duplicate: 0.0,
            reorder: 0.0,
            reorder_frames_max: 3,
            corrupt: 0.0,
            truncate: 0.0,
            mtu: None,
            silent_mtu: None,
            cut: false,
        }
    }
}

impl Link {
    /// A link with a delay and nothing else.
    #[must_use]
    pub fn with_delay(delay: Duration) -> Link {
        Link { delay, ..Link::default() }
    }

    /// A link with a rate in bits a second and a delay, whose queue holds what it sends in two delays, and at least
    /// 32 KiB: a router as its owner should have it.
    #[must_use]
    pub fn with_rate(rate: u64, delay: Duration) -> Link {
        let bits = u128::from(rate) * 2 * delay.as_nanos() / 1_000_000_000;
        let queue_len = usize::try_from(bits / 8).unwrap_or(usize::MAX).max(32 * 1024);
        Link { delay, rate: Some(rate), queue_len, ..Link::default() }
    }

    /// A bad link: each seed has its own mixture of faults, all of which a transfer survives.
    #[must_use]
    pub fn bad(random: &mut Random) -> Link {
        let delay = Duration::from_micros(random.between(50..=100_000));
        let rate = 1_000_000 << random.between(0..=9);
        let mut link = Link { rate: random.chance(0.5).then_some(rate), ..Link::with_rate(rate, delay) };
        let mut some = |most: f64| if random.chance(0.4) { random.unit() * most } else { 0.0 };
        (link.loss, link.duplicate, link.reorder) = (some(0.05), some(0.05), some(0.1));
        (link.corrupt, link.truncate) = (some(0.02), some(0.02));
        if random.chance(0.3) {
            link.jitter = random.time(delay);
        }
        if random.chance(0.2) {
            link.burst_loss = Some(BurstLoss { begins: 0.002, ends: 0.2, loss: 0.9 });
        }
        link.reorder_frames_max = random.between(1..=20);
        link
    }
}

impl Link {
    /// What is wrong with it in a way that cannot be simulated, if anything is.
    pub(crate) fn check(&self) -> Result<(), String> {
        match self.rate {
            Some(0) => {
                Err("a rate of nothing never ends: say `cut` for a link over which nothing goes".to_owned())
            }
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Link {
    /// What is not as in an ideal link.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "delay {:?}", self.delay)?;
        if !self.jitter.is_zero() {
            write!(f, ", jitter {:?}", self.jitter)?;
        }
        if let Some(rate) = self.rate {
            write!(f, ", {} Mbit/s, queue {} B", rate as f64 / 1e6, self.queue_len)?;
            if let Some(mark_len) = self.mark_len {
                write!(f, ", marked from {mark_len} B on")?;
            }
        }
        for (name, probability) in [
            ("loss", self.loss),
            ("duplication", self.duplicate),
            ("reordering", self.reorder),
            ("corruption", self.corrupt),
            ("truncation", self.truncate),
        ] {
            if probability > 0.0 {
                write!(f, ", {name} {} %", (probability * 1e5).round() / 1e3)?;
            }
        }
        if self.reorder > 0.0 {
            write!(f, " by {} frames", self.reorder_frames_max)?;
        }
        if let Some(BurstLoss { begins, ends, loss }) = self.burst_loss {
            write!(f, ", bursts of loss (begin {begins}, end {ends}, lose {loss})")?;
        }
        for (name, mtu) in [("MTU", self.mtu), ("silent MTU", self.silent_mtu)] {
            if let Some(mtu) = mtu {
                write!(f, ", {name} {mtu}")?;
            }
        }
        if self.cut { f.write_str(", cut") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_shown() {
        let link = Link {
            jitter: Duration::from_micros(5),
            reorder: 0.25,
            burst_loss: Some(BurstLoss { begins: 0.1, ends: 0.5, loss: 1.0 }),
            silent_mtu: Some(1300),
            cut: true,
            ..Link::default()
        };
        let text = "delay 1ms, jitter 5µs, reordering 25 % by 3 frames, bursts of loss (begin 0.1, end 0.5, lose 1), \
                    silent MTU 1300, cut";
        assert_eq!(link.to_string(), text);
        let link = Link { mark_len: Some(9000), ..Link::with_rate(8_000_000, Duration::from_millis(1)) };
        assert_eq!(link.to_string(), "delay 1ms, 8 Mbit/s, queue 32768 B, marked from 9000 B on");
    }

    #[test]
    fn a_queue_holds_two_delays() {
        assert_eq!(Link::with_rate(100_000_000, Duration::from_millis(10)).queue_len, 250_000);
        assert_eq!(Link::with_rate(1_000_000, Duration::from_millis(1)).queue_len, 32 * 1024);
    }
}
