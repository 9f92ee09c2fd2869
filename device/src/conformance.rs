//! The suite that every backend runs in its tests: it holds a [`Device`] to the words of its documentation.
//!
//! A backend implements [`Harness`] for its device with a peer at the other end of its link, and calls [`run`].
//! The suite sends and expects only frames between [`PEER_MAC`] and the device's own address; whatever else
//! lives on the link (a kernel's neighbour discovery) is passed over.

mod checks;
pub mod packet;

use std::eprintln;
use std::thread;
use std::time::{Duration, Instant};
use std::vec::Vec;

use crate::heap::PoolConfig;
use crate::{Burst, Device, Frame, Interest, Offloads, RxMeta, TxMeta, sys};

/// The peer's link-layer address in every frame of the suite.
pub const PEER_MAC: [u8; 6] = [0x02, 0x68, 0x79, 0x00, 0x00, 0x99];

/// A pool for devices under test that live in ordinary memory: small enough to run dry.
pub const POOL: PoolConfig = PoolConfig { small_count_max: 4096, large_count_max: 64, ..PoolConfig::DEFAULT };

/// How long a frame may take from one end to the other before the suite gives it up.
const ARRIVAL_TIMEOUT: Duration = Duration::from_secs(20);

/// A frame as the peer's software sees it.
#[derive(Debug, Clone)]
pub struct Arrived {
    /// The whole frame, in one piece.
    pub bytes: Vec<u8>,
    /// What the peer's hardware says of it.
    pub meta: RxMeta,
}

/// A device under test and the peer at the other end of its link.
pub trait Harness {
    /// The device under test.
    type Device: Device;

    /// Whether a thread can sleep on the device. Not if both ends of its link are in that thread.
    const SLEEPS: bool = true;

    /// The device under test.
    fn device(&mut self) -> &mut Self::Device;

    /// Makes the peer send a frame. `meta` asks for nothing beyond [`peer_offloads`](Harness::peer_offloads).
    fn peer_send(&mut self, frame: &[u8], meta: TxMeta);

    /// What the peer can be asked to do to the frames it sends.
    fn peer_offloads(&self) -> Offloads;

    /// The next frame that has arrived at the peer, if any. Does not wait.
    fn peer_receive(&mut self) -> Option<Arrived>;

    /// Buffers in use of the device's memory, apart from those that the device itself keeps ready.
    fn in_use(&self) -> usize;

    /// Whether one of these descriptors of the device is ready. What is no descriptor of the system's is known to the
    /// harness alone.
    fn is_ready(&mut self, interests: &[Interest]) -> bool {
        is_ready(interests)
    }
}

/// Says on the terminal, whatever the test harness captures, that a test does nothing.
///
/// # Panics
/// If `HAYASE_NO_SKIP` is set: then a test that cannot run fails.
pub fn skip(reason: &str) {
    assert!(
        std::env::var_os("HAYASE_NO_SKIP").is_none(),
        "HAYASE_NO_SKIP is set, and this test cannot run: {reason}"
    );
    let current = thread::current();
    let name = current.name().unwrap_or("a test");
    // A closed standard error is no reason to fail.
    let _ = std::io::Write::write_fmt(&mut std::io::stderr(), format_args!("skipped: {name}: {reason}\n"));
}

/// Whether one of these descriptors of the system's is ready.
pub fn is_ready(interests: &[Interest]) -> bool {
    sys::is_ready(interests)
}

/// Runs every check, each on a harness of its own.
///
/// # Panics
/// If the device breaks its contract; the last line printed before names the check.
pub fn run<H: Harness>(mut make: impl FnMut() -> H) {
    for (name, check) in checks::all::<H>() {
        eprintln!("conformance: {name}");
        let mut bench = Bench::new(make());
        check(&mut bench);
        bench.assert_all_came_home();
    }
}

/// A harness with the words that checks are written in.
struct Bench<H: Harness> {
    harness: H,
    burst: Burst<DeviceFrame<H>>,
    idle_in_use: usize,
}

type DeviceFrame<H> = <<H as Harness>::Device as Device>::Frame;

impl<H: Harness> Bench<H> {
    fn new(harness: H) -> Self {
        let mut bench = Bench { harness, burst: Burst::new(32), idle_in_use: 0 };
        bench.drain();
        bench.idle_in_use = bench.harness.in_use();
        bench
    }

    fn device(&mut self) -> &mut H::Device {
        self.harness.device()
    }

    fn mac(&mut self) -> [u8; 6] {
        self.device().mac()
    }

    fn offloads(&mut self) -> Offloads {
        self.device().caps().offloads
    }

    /// Everything that the device says it threw away, for whatever reason.
    fn drops(&mut self) -> u64 {
        let mut sum = 0;
        self.device().drops(&mut |_, count| sum += count);
        sum
    }

    /// A linear frame of the device's memory.
    fn frame(&mut self, bytes: &[u8]) -> DeviceFrame<H> {
        let mut frame = self.device().alloc(bytes.len()).expect("the pool has a buffer");
        frame.extend(bytes.len()).expect("the buffer has room").copy_from_slice(bytes);
        frame
    }

    /// A chain of the device's memory, with a seam at each offset of `seams`.
    fn chain(&mut self, bytes: &[u8], seams: &[usize]) -> DeviceFrame<H> {
        let (first, mut at) = (seams[0], seams[0]);
        let mut chain = self.frame(&bytes[..first]);
        for end in seams[1..].iter().copied().chain([bytes.len()]) {
            let fragment = self.frame(&bytes[at..end]);
            chain.chain(fragment);
            at = end;
        }
        chain
    }

    fn transmit(&mut self, frame: DeviceFrame<H>, meta: TxMeta) {
        assert!(self.device().room() > 0, "the transmit queue has no room though nothing waits");
        self.device().transmit(frame, meta);
        self.device().flush();
    }

    fn transmit_bytes(&mut self, bytes: &[u8], meta: TxMeta) {
        let frame = self.frame(bytes);
        self.transmit(frame, meta);
    }

    /// Transmits what must not pass: the device counts it, and a frame sent after it is the next to arrive.
    fn assert_refused(&mut self, frame: DeviceFrame<H>, meta: TxMeta, why: &str) {
        let before = self.drops();
        self.transmit(frame, meta);
        assert_eq!(self.drops(), before + 1, "not counted: {why}");
        let marker = packet::raw(self.mac(), PEER_MAC, 77);
        self.transmit_bytes(&marker, TxMeta::default());
        assert_eq!(self.expect_at_peer().bytes, marker, "passed: {why}");
    }

    /// The next frame from the device that arrives at the peer.
    fn expect_at_peer(&mut self) -> Arrived {
        let mac = self.mac();
        wait_for("a frame at the peer", || {
            self.harness.peer_receive().filter(|arrived| arrived.bytes.get(6..12) == Some(&mac[..]))
        })
    }

    /// The next frame from the peer that the device receives.
    fn expect_at_device(&mut self) -> (DeviceFrame<H>, RxMeta) {
        let mut burst = Burst::new(1);
        let harness = &mut self.harness;
        wait_for("a frame at the device", || {
            harness.device().receive(&mut burst);
            burst.drain().find(|(frame, _)| is_from_peer(frame))
        })
    }

    /// Goes to sleep as a parked thread does, once nothing disturbs it: the device is armed until it is
    /// [disarmed](Device::disarm).
    fn fall_asleep(&mut self) -> Sleep {
        wait_for("the device to let the thread sleep", || {
            self.drain();
            self.device().flush();
            if self.device().pending() {
                return None;
            }
            let nap = self.device().arm().map(Duration::from_nanos);
            let mut sleep = Sleep { interests: Vec::new(), nap, since: Instant::now() };
            self.device().interests(&mut |interest| sleep.interests.push(interest));
            assert!(
                !H::SLEEPS || nap.is_some() || !sleep.interests.is_empty(),
                "nothing would wake the thread"
            );
            if !self.device().pending() && !self.harness.is_ready(&sleep.interests) {
                return Some(sleep);
            }
            self.device().disarm();
            None
        })
    }

    /// Sleeps on, until something ends it.
    fn wake_up(&mut self, sleep: Sleep, what: &str) {
        wait_for(what, || {
            let has_napped = sleep.nap.is_some_and(|nap| sleep.since.elapsed() >= nap);
            (!H::SLEEPS || has_napped || self.harness.is_ready(&sleep.interests)).then_some(())
        });
        self.device().disarm();
    }

    /// Receives until nothing comes.
    fn drain(&mut self) {
        while self.harness.device().receive(&mut self.burst) > 0 {
            self.burst.drain().for_each(drop);
        }
    }

    /// Every buffer is back when nothing is on its way. The peer may hold some until it has looked at them.
    fn assert_all_came_home(&mut self) {
        wait_for("all buffers to come home", || {
            while self.harness.peer_receive().is_some() {}
            self.drain();
            (self.harness.in_use() == self.idle_in_use).then_some(())
        });
    }
}

/// A thread that sleeps until a descriptor is ready, or the nap over.
struct Sleep {
    interests: Vec<Interest>,
    nap: Option<Duration>,
    since: Instant,
}

fn is_from_peer<F: Frame>(frame: &F) -> bool {
    frame.bytes().get(6..12) == Some(&PEER_MAC[..])
}

fn bytes_of<F: Frame>(frame: &F) -> Vec<u8> {
    frame.fragments().flatten().copied().collect()
}

fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + ARRIVAL_TIMEOUT;
    loop {
        // Before the look: the last one is after the time is over, whoever had the processor until then.
        let is_last = Instant::now() >= deadline;
        if let Some(found) = look() {
            return found;
        }
        assert!(!is_last, "waited {ARRIVAL_TIMEOUT:?} for {what}");
        thread::yield_now();
    }
}
