//! A cable between two TAP interfaces that does to frames what bad networks do to them. Chance comes from a seed.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::forge::{ETHERNET_LEN, Random, protocol};
use crate::tap::{self, Tap};

/// How long a frame that is overtaken is held back: a few dozen full frames at 100 Mbit/s.
const HELD_BACK: Duration = Duration::from_millis(3);

/// How often a cable that nothing happens on looks whether its test is over.
const IDLE_NS: u64 = 20_000_000;

/// What a cable is like, in each direction. Chances are in ten-thousandths.
#[derive(Clone, Copy, Debug)]
pub struct Impairment {
    /// Frames that do not arrive.
    pub loss: u64,
    /// Frames that arrive twice.
    pub duplication: u64,
    /// Frames that are overtaken by those behind them.
    pub reordering: u64,
    /// Frames of which one bit is turned.
    pub corruption: u64,
    /// How long a frame takes.
    pub delay: Duration,
    /// Bits a second.
    pub rate: u64,
    /// Bytes that wait where the rate is exceeded; what comes beyond is lost.
    pub queue_len: u64,
    /// The longest packet that gets through. Nobody is told.
    pub silent_mtu: usize,
}

impl Impairment {
    /// A cable without faults: 100 Mbit/s, 5 ms each way, and a queue of as much as is on its way in a round trip.
    pub const NONE: Impairment = Impairment {
        loss: 0,
        duplication: 0,
        reordering: 0,
        corruption: 0,
        delay: Duration::from_millis(5),
        rate: 100_000_000,
        queue_len: 125_000,
        silent_mtu: usize::MAX,
    };
}

/// Two TAP interfaces and the cable between them, which works until this is dropped.
#[derive(Debug)]
pub struct Cable {
    over: Arc<AtomicBool>,
    worker: Option<JoinHandle<()>>,
}

impl Cable {
    /// Connects two interfaces.
    pub fn new(a: Tap, b: Tap, impairment: Impairment, seed: u64) -> Cable {
        let over = Arc::new(AtomicBool::new(false));
        let is_over = Arc::clone(&over);
        let worker = thread::spawn(move || {
            let mut there = Direction::new(impairment, seed);
            let mut back = Direction::new(impairment, !seed);
            while !is_over.load(Ordering::Relaxed) {
                let next = [there.carry(&a, &b), back.carry(&b, &a)].into_iter().flatten().min();
                let until_next =
                    next.map(|at| at.saturating_duration_since(Instant::now()).as_nanos() as u64);
                tap::wait(&[&a, &b], until_next.unwrap_or(IDLE_NS).min(IDLE_NS));
            }
        });
        Cable { over, worker: Some(worker) }
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(worker) = self.worker.take()
            && worker.join().is_err()
            && !thread::panicking()
        {
            panic!("the cable broke");
        }
    }
}

/// Frames on their way in one direction.
struct Direction {
    impairment: Impairment,
    random: Random,
    /// When the line has sent what was given to it.
    free_at: Instant,
    /// The earliest first; of one instant, in their order.
    on_the_way: BinaryHeap<Reverse<(Instant, u64, Vec<u8>)>>,
    serial: u64,
    buffer: Vec<u8>,
}

impl Direction {
    fn new(impairment: Impairment, seed: u64) -> Direction {
        Direction {
            impairment,
            random: Random::new(seed),
            free_at: Instant::now(),
            on_the_way: BinaryHeap::new(),
            serial: 0,
            buffer: vec![0; 70_000],
        }
    }

    /// Takes in what was sent, delivers what is due; when the next is.
    fn carry(&mut self, from: &Tap, to: &Tap) -> Option<Instant> {
        while let Some(len) = from.receive(&mut self.buffer) {
            let frame = self.buffer[..len].to_vec();
            self.take(frame, Instant::now());
        }
        let now = Instant::now();
        while let Some(Reverse((at, _, _))) = self.on_the_way.peek() {
            if *at > now {
                return Some(*at);
            }
            if let Some(Reverse((_, _, frame))) = self.on_the_way.pop() {
                to.send(&frame);
            }
        }
        None
    }

    fn take(&mut self, mut frame: Vec<u8>, now: Instant) {
        let Impairment { loss, duplication, reordering, corruption, delay, rate, queue_len, silent_mtu } =
            self.impairment;
        // What is to be seen is TCP: neighbours find each other as on a good cable.
        if is_resolution(&frame) {
            return self.push(now + delay, frame);
        }
        let waiting_ns = self.free_at.saturating_duration_since(now).as_nanos() as u64;
        let is_full = waiting_ns * (rate / 8_000) / 1_000_000 > queue_len;
        if is_full || frame.len() - ETHERNET_LEN > silent_mtu || self.random.chance(loss) {
            return;
        }
        let time = Duration::from_nanos(frame.len() as u64 * 8_000_000_000 / rate);
        self.free_at = self.free_at.max(now) + time;
        if self.random.chance(corruption) {
            let bit = self.random.next_u64() as usize % ((frame.len() - ETHERNET_LEN) * 8);
            frame[ETHERNET_LEN + bit / 8] ^= 1 << (bit % 8);
        }
        let held_back = if self.random.chance(reordering) { HELD_BACK } else { Duration::ZERO };
        let at = self.free_at + delay + held_back;
        if self.random.chance(duplication) {
            self.push(at, frame.clone());
        }
        self.push(at, frame);
    }

    fn push(&mut self, at: Instant, frame: Vec<u8>) {
        self.serial += 1;
        self.on_the_way.push(Reverse((at, self.serial, frame)));
    }
}

/// ARP, or a message of ICMPv6 about the link.
fn is_resolution(frame: &[u8]) -> bool {
    frame.len() <= ETHERNET_LEN
        || frame[12..14] == [8, 6]
        || (frame[12..14] == [0x86, 0xdd]
            && frame.get(20) == Some(&protocol::ICMPV6)
            && frame.get(54).is_some_and(|kind| (133..=137).contains(kind)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const COUNT: usize = 10_000;

    /// What becomes of many frames that are sent one after the other.
    fn arrivals(impairment: Impairment) -> Vec<(Instant, u64, Vec<u8>)> {
        let mut direction = Direction::new(impairment, 7);
        let start = direction.free_at;
        for number in 0..COUNT {
            let mut frame = vec![0; 1000];
            frame[12] = 8;
            frame[100..108].copy_from_slice(&number.to_be_bytes());
            direction.take(frame, start + number as u32 * Duration::from_micros(100));
        }
        let frames = direction.on_the_way.into_sorted_vec();
        frames.into_iter().rev().map(|Reverse(frame)| frame).collect()
    }

    fn inversions(arrivals: &[(Instant, u64, Vec<u8>)]) -> usize {
        arrivals.windows(2).filter(|pair| pair[0].2[100..108] > pair[1].2[100..108]).count()
    }

    #[test]
    fn a_good_cable_delivers_everything_in_order() {
        let arrived = arrivals(Impairment::NONE);
        assert_eq!((arrived.len(), inversions(&arrived)), (COUNT, 0));
    }

    #[test]
    fn faults_are_as_frequent_as_they_are_said_to_be() {
        // A hundred, give or take five standard deviations.
        let about = |count: usize| (50..=150).contains(&count);
        let lossy = arrivals(Impairment { loss: 100, ..Impairment::NONE });
        assert!(about(COUNT - lossy.len()), "{} arrived", lossy.len());
        let double = arrivals(Impairment { duplication: 100, ..Impairment::NONE });
        assert!(about(double.len() - COUNT), "{} arrived", double.len());
        let reordered = arrivals(Impairment { reordering: 100, ..Impairment::NONE });
        assert!(about(inversions(&reordered)), "{} were overtaken", inversions(&reordered));
        let corrupt = arrivals(Impairment { corruption: 100, ..Impairment::NONE });
        let bits = |frame: &[u8]| frame.iter().map(|byte| byte.count_ones()).sum::<u32>();
        let good: u32 = (0..COUNT).map(|number| number.count_ones() + 1).sum();
        let turned = corrupt.iter().map(|(_, _, frame)| bits(frame)).sum::<u32>() - good;
        assert!(about(turned as usize), "{turned} bits were turned");
    }

    #[test]
    fn a_slow_line_delays_and_then_drops() {
        let arrived = arrivals(Impairment { rate: 40_000_000, queue_len: 100_000, ..Impairment::NONE });
        let span = arrived[arrived.len() - 1].0 - arrived[0].0;
        let rate = arrived.len() as f64 * 8000.0 / span.as_secs_f64();
        assert!((39e6..41e6).contains(&rate), "{rate} bit/s");
        assert!(arrivals(Impairment { silent_mtu: 900, ..Impairment::NONE }).is_empty());
    }
}
