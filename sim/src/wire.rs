//! The in-memory wire on virtual time: for measurements that are to repeat themselves.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use hayase::device::heap::{HeapFrame, PoolConfig};
use hayase::device::wire::{EndConfig, Wire, WireConfig, WireDevice};
use hayase::device::{Burst, Caps, Device, Interest, Offloads, RxMeta, SharedBytes, TxMeta};
use hayase::stack::Config;
use hayase::time::Instant;
use hayase::{Host, Reactor};
use hayase_executor::{Clock, Executor, VirtualClock, VirtualPark};

use crate::world::START;

/// The addresses of client and server.
const ADDRESSES: [[&str; 2]; 2] = [["10.7.0.1/24", "fd00:7::1/64"], ["10.7.0.2/24", "fd00:7::2/64"]];

/// Frames that one look at the wire brings.
const BURST_LEN: usize = 64;

/// Two hosts on the in-memory wire, with the executor of every other program, but on virtual time and with secrets that are
/// always the same: what runs twice does exactly the same twice, so that its instructions can be counted.
///
/// Nothing watches, nothing is lost, and frames are not copied: that is what tells it from [`Sim`](crate::Sim). Time
/// goes on by [`turn_time`](Self::turn_time) with every turn, and jumps to the next deadline where there is nothing to do.
///
/// ```
/// use hayase::net::{TcpListener, TcpStream};
/// use hayase_sim::VirtualWire;
///
/// let len = VirtualWire::default().run(|client, server| async move {
///     let listener = server.scope(TcpListener::bind("10.7.0.2:7")).await?;
///     let (stream, accepted) = (TcpStream::connect("10.7.0.2:7").await?, listener.accept().await?);
///     std::io::Result::Ok(stream.peer_addr()?.port() + accepted.0.local_addr()?.port())
/// })?;
/// assert_eq!(len?, 14);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone)]
#[must_use = "nothing happens until `run` is called"]
pub struct VirtualWire {
    wire: WireConfig,
    delay: Duration,
    turn_time: Duration,
    stack: Config,
}

impl Default for VirtualWire {
    /// Every offload, Ethernet's MTU, no delay, and a microsecond a turn.
    fn default() -> VirtualWire {
        VirtualWire {
            wire: WireConfig::default(),
            delay: Duration::ZERO,
            turn_time: Duration::from_micros(1),
            stack: Config::default(),
        }
    }
}

impl VirtualWire {
    /// What both ends' devices can do.
    pub fn offloads(mut self, offloads: Offloads) -> VirtualWire {
        self.wire.a = EndConfig { offloads, ..self.wire.a };
        self.wire.b = EndConfig { offloads, ..self.wire.b };
        self
    }

    /// The largest IP packet, in bytes.
    pub fn mtu(mut self, mtu: usize) -> VirtualWire {
        self.wire.mtu = mtu;
        self
    }

    /// The memory of each end.
    pub fn pool(mut self, pool: PoolConfig) -> VirtualWire {
        self.wire.pool = pool;
        self
    }

    /// How long a frame is on its way, in either direction. The frames on their way are held, not copied.
    pub fn delay(mut self, delay: Duration) -> VirtualWire {
        self.delay = delay;
        self
    }

    /// How long a turn takes.
    pub fn turn_time(mut self, time: Duration) -> VirtualWire {
        self.turn_time = time;
        self
    }

    /// The limits and habits of both stacks.
    pub fn stack(mut self, config: Config) -> VirtualWire {
        self.stack = config;
        self
    }

    /// Runs `scenario` on the client, whose host is its first argument; the server's, 10.7.0.2, is the second.
    ///
    /// # Errors
    /// If this thread can have no further shards or descriptors.
    ///
    /// # Panics
    /// If the scenario does, or if every task waits and nothing is going to happen.
    pub fn run<F: Future>(&self, scenario: impl FnOnce(Host, Host) -> F) -> io::Result<F::Output> {
        let clock = VirtualClock::new(START);
        let (a, b) = Wire::pair(self.wire.clone());
        let mut line = Line {
            reactor: Reactor::new(),
            clock: clock.clone(),
            turn_time: self.turn_time,
            lanes: Vec::new(),
        };
        let client = line.attach(a, self, 0)?;
        let server = line.attach(b, self, 1)?;
        let builder = Executor::builder().clock(Clock::Virtual(clock.clone())).park(VirtualPark::new(clock));
        let executor = builder.build()?;
        let output = executor.block_on(&line, client.scope(async { scenario(client, server).await }));
        // Tasks own sockets: they go while the network is still there.
        drop(executor);
        Ok(output)
    }
}

impl fmt::Debug for VirtualWire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VirtualWire")
            .field("wire", &self.wire)
            .field("delay", &self.delay)
            .field("turn_time", &self.turn_time)
            .finish_non_exhaustive()
    }
}

/// The frames on their way to one end, each with the instant of its arrival.
type Lane = Rc<RefCell<VecDeque<(Instant, HeapFrame, RxMeta)>>>;

/// Both hosts, as the executor sees them.
struct Line {
    reactor: Reactor,
    clock: VirtualClock,
    turn_time: Duration,
    lanes: Vec<Lane>,
}

impl Line {
    fn attach(&mut self, device: WireDevice, choices: &VirtualWire, end: u8) -> io::Result<Host> {
        let (config, now) = (choices.stack.clone(), self.clock.now());
        let seed = [end + 1; 32];
        let host = if choices.delay.is_zero() {
            self.reactor.attach_seeded(device, config, seed, now)?
        } else {
            let lane = Lane::default();
            self.lanes.push(Rc::clone(&lane));
            let (clock, delay) = (self.clock.clone(), choices.delay);
            let far = FarDevice { device, clock, delay, burst: Burst::new(BURST_LEN), lane };
            self.reactor.attach_seeded(far, config, seed, now)?
        };
        for address in ADDRESSES[usize::from(end)] {
            host.add_address(address.parse().expect("these are addresses"))?;
        }
        Ok(host)
    }
}

impl hayase_executor::Reactor for Line {
    #[inline]
    fn receive(&self, now: Instant) -> usize {
        self.reactor.receive(now)
    }

    #[inline]
    fn transmit(&self, now: Instant) -> usize {
        let count = self.reactor.transmit(now);
        self.clock.advance(self.turn_time);
        count
    }

    fn deadline(&self) -> Option<Instant> {
        let arrivals = self.lanes.iter().filter_map(|lane| Some(lane.borrow().front()?.0));
        arrivals.chain(self.reactor.deadline()).min()
    }

    fn pending(&self) -> bool {
        self.reactor.pending()
    }

    fn interests(&self, _add: &mut dyn FnMut(hayase_executor::Interest)) {}
}

/// One end of a wire that is far from the other.
struct FarDevice {
    device: WireDevice,
    clock: VirtualClock,
    delay: Duration,
    burst: Burst<HeapFrame>,
    lane: Lane,
}

impl FarDevice {
    /// Sees what has been sent here: it arrives when its time has come.
    fn notice(&mut self) {
        let arrives_at = self.clock.now() + self.delay;
        while self.device.receive(&mut self.burst) > 0 {
            let frames = self.burst.drain().map(|(frame, meta)| (arrives_at, frame, meta));
            self.lane.borrow_mut().extend(frames);
        }
    }
}

impl Device for FarDevice {
    type Frame = HeapFrame;

    fn caps(&self) -> &Caps {
        self.device.caps()
    }

    fn set_offloads(&mut self, wanted: Offloads) -> Offloads {
        self.device.set_offloads(wanted)
    }

    fn mac(&self) -> [u8; 6] {
        self.device.mac()
    }

    fn receive(&mut self, burst: &mut Burst<HeapFrame>) -> usize {
        self.notice();
        let (now, mut lane) = (self.clock.now(), self.lane.borrow_mut());
        let mut count = 0;
        while burst.room() > 0
            && let Some((_, frame, meta)) = lane.pop_front_if(|(arrives_at, ..)| *arrives_at <= now)
        {
            burst.push(frame, meta);
            count += 1;
        }
        count
    }

    fn alloc(&mut self, len: usize) -> Option<HeapFrame> {
        self.device.alloc(len)
    }

    fn wrap(&mut self, bytes: &SharedBytes) -> Option<HeapFrame> {
        self.device.wrap(bytes)
    }

    fn room(&self) -> usize {
        self.device.room()
    }

    fn transmit(&mut self, frame: HeapFrame, meta: TxMeta) {
        self.device.transmit(frame, meta);
    }

    fn flush(&mut self) {
        self.device.flush();
    }

    fn pending(&self) -> bool {
        let is_here = |(arrives_at, ..): &(Instant, HeapFrame, RxMeta)| *arrives_at <= self.clock.now();
        self.device.pending() || self.lane.borrow().front().is_some_and(is_here)
    }

    fn interests(&self, interest: &mut dyn FnMut(Interest)) {
        self.device.interests(interest);
    }

    fn drops(&self, count: &mut dyn FnMut(&'static str, u64)) {
        self.device.drops(count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hayase::net::{TcpListener, TcpStream};
    use hayase::time;

    /// The time of one round trip of a byte, and how many segments both hosts have sent.
    fn round_trip(wire: &VirtualWire) -> (Duration, u64) {
        let times = wire.run(|client, server| async move {
            let listener = server.scope(TcpListener::bind("10.7.0.2:7")).await?;
            let (stream, accepted) = (TcpStream::connect("10.7.0.2:7").await?, listener.accept().await?);
            let (mut stream, mut accepted) = (stream, accepted.0);
            drop(server.spawn(async move {
                let mut byte = [0];
                while let Ok(1..) = accepted.read(&mut byte).await {
                    accepted.write_all(&byte).await.expect("the client is there");
                }
            }));
            let start = time::now();
            stream.write_all(b"x").await?;
            stream.read_exact(&mut [0]).await?;
            let took = time::now() - start;
            let sent = |host: Host| {
                host.counters().map(|counters| counters.get("TcpOutSegs").expect("it is counted"))
            };
            io::Result::Ok((took, sent(client)? + sent(server)?))
        });
        times.expect("a thread can have two shards more").expect("nothing is lost")
    }

    #[test]
    fn a_round_trip_takes_twice_the_delay() {
        let delay = Duration::from_millis(10);
        let (time, _) = round_trip(&VirtualWire::default().delay(delay));
        assert!((2 * delay..2 * delay + Duration::from_micros(100)).contains(&time), "{time:?}");
        let (time, _) = round_trip(&VirtualWire::default());
        assert!(time < Duration::from_micros(20), "{time:?}");
    }

    #[test]
    fn what_runs_twice_is_the_same() {
        let wire = VirtualWire::default().delay(Duration::from_millis(1)).offloads(Offloads::NONE);
        assert_eq!(round_trip(&wire), round_trip(&wire));
    }
}
