//! The command line of `hayase bench`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use hayase::net::Congestion;
use hayase::{DeviceSpec, Model, Offloads};

use super::{CoreArgs, DEVICES, Target, at_least_one, congestion, cores, count, payload, seconds, write_len};

#[derive(Debug, Args)]
pub(crate) struct BenchArgs {
    #[command(subcommand)]
    pub(crate) kind: BenchKind,
}

#[derive(Debug, Subcommand)]
pub(crate) enum BenchKind {
    /// Send a payload, wait for its echo, and again
    Pingpong(PingpongArgs),
    /// Send as fast as the peer takes it
    Bulk(BulkArgs),
    /// Compare the CPU models: round trips per second against their times, at several loads
    Models(ModelsArgs),
    /// What idle connections cost one that works
    IdleCost(IdleCostArgs),
    /// Memory of an idle connection, with and without a task that waits for it
    Memory(MemoryArgs),
    /// Open and close connections as fast as possible
    Churn(ChurnArgs),
    /// What a byte costs when many are on their way
    InFlight(InFlightArgs),
    /// Compare with smoltcp on the same wire, and with tokio and monoio on the kernel's TCP
    Peers(PeersArgs),
    /// Make all of these measurements, and one HTML page of them
    Report(ReportArgs),
}

#[derive(Debug, Clone, Args)]
#[command(after_help = format!("\
Examples:
  hayase bench pingpong
  hayase bench pingpong --connections 32 --idle 10000 --offloads none --json
  hayase bench pingpong --device tap:name=hy0,addr=10.7.0.2/24 --connect 10.7.0.1:7 --payload 100
  hayase bench pingpong --sweep connections --svg latency.svg
  hayase bench pingpong --sweep cores --connections 32 --values 1,2
  hayase bench pingpong --connections 32 --rate 500000 --svg times.svg
  hayase bench pingpong --connections 32 --sweep rate --values 10000,100000,1000000

By itself a connection sends the next request when it has the reply to the last, so a server that stops for a while is
asked less in that while. With --rate, requests are due at times that nobody's slowness moves, and the time of each counts
from when it was due.

Counting instructions: on one core, only what happens inside the function measured_round_trips is the measurement, so
  valgrind --tool=callgrind --toggle-collect='*measured_round_trips' hayase bench pingpong --round-trips 100000
counts neither setup nor end. To take out its own start and end as well, subtract a run from one of twice as many. With
--virtual-time and with --cores that is the only way: nothing of them is inside that function.

{DEVICES}"))]
pub(crate) struct PingpongArgs {
    #[command(flatten)]
    pub(crate) common: BenchCommon,
    /// Further established connections on which nothing happens
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = count)]
    pub(crate) idle: usize,
    /// Bytes that go there and back
    #[arg(long, value_name = "BYTES", default_value_t = 1, value_parser = payload)]
    pub(crate) payload: usize,
    /// Make exactly so many round trips, shared by the connections of all cores, instead of measuring for a time
    #[arg(long, value_name = "N", conflicts_with = "duration", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) round_trips: Option<u64>,
    /// Take the time of each round trip with --round-trips, too; it costs a look at the clock each
    #[arg(long)]
    pub(crate) latency: bool,
    /// Play the same game on so many cores at once, each with a stack and as many connections of its own
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = cores)]
    pub(crate) cores: usize,
    /// Let so many requests be due each second, over all connections, whether the last was answered or not
    #[arg(long, value_name = "PER_SECOND", value_parser = rate, conflicts_with_all = ["latency", "sweep"])]
    pub(crate) rate: Option<f64>,
    /// Take both ends' time from a clock that goes on with the turns and not by itself, and their secrets from a constant:
    /// the same run then costs the same instructions; on the wire, with --round-trips
    #[arg(long, requires = "round_trips", conflicts_with_all = ["connect", "rate", "sweep", "latency"])]
    pub(crate) virtual_time: bool,
    /// Measure at each of several numbers of cores or connections, or rates
    #[arg(long, value_name = "WHAT", conflicts_with = "round_trips")]
    pub(crate) sweep: Option<PingpongSweep>,
    #[command(flatten)]
    pub(crate) points: SweepArgs,
}

impl PingpongArgs {
    /// Round trips of so many bytes, timed, and nothing else.
    pub(crate) fn new(common: BenchCommon, payload: usize) -> PingpongArgs {
        PingpongArgs {
            common,
            idle: 0,
            payload,
            round_trips: None,
            latency: true,
            cores: 1,
            rate: None,
            virtual_time: false,
            sweep: None,
            points: SweepArgs::default(),
        }
    }
}

/// What changes from one point of a pingpong sweep to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum PingpongSweep {
    /// Cores, each with --connections of its own, 32 unless said otherwise
    Cores,
    /// Connections that work at the same time
    Connections,
    /// Requests that are due each second, as with --rate, over --connections, 32 unless said otherwise
    Rate,
}

/// Of a sweep.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct SweepArgs {
    /// The points of the sweep
    #[arg(long, value_name = "LIST", value_delimiter = ',', requires = "sweep", value_parser = write_len)]
    pub(crate) values: Vec<usize>,
    /// Measure each point of the sweep so often, in turns; the median counts
    #[arg(long, value_name = "N", default_value_t = 1, requires = "sweep", value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(crate) rounds: u16,
    /// Draw what was found into this file: the sweep, or the times of round trips, or the rate of bulk as time goes by
    #[arg(long, value_name = "FILE")]
    pub(crate) svg: Option<PathBuf>,
}

#[derive(Debug, Clone, Args)]
#[command(after_help = format!("\
Examples:
  hayase bench bulk
  hayase bench bulk --write 1448 --offloads none --json
  hayase bench bulk --device tap:name=hy0,addr=10.7.0.2/24 --connect 10.7.0.1:9 --connections 4
  hayase bench bulk --sweep message-size --duration 0.5 --svg bulk.svg

The clock stops when the server has read everything and closed. Counting instructions: as with pingpong, inside the
function measured_bytes.

{DEVICES}"))]
pub(crate) struct BulkArgs {
    #[command(flatten)]
    pub(crate) common: BenchCommon,
    /// Bytes of one write
    #[arg(long, value_name = "BYTES", default_value_t = 65_536, value_parser = write_len)]
    pub(crate) write: usize,
    /// Send exactly so many bytes, shared by the connections of all cores, instead of measuring for a time
    #[arg(long, value_name = "N", conflicts_with = "duration", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) bytes: Option<u64>,
    /// Send without a copy, from memory that is held until acknowledged
    #[arg(long)]
    pub(crate) owned: bool,
    /// Send on so many cores at once, each with a stack and as many connections of its own
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = cores)]
    pub(crate) cores: usize,
    /// Measure with writes of several sizes, from 62 KiB to 40 MiB, and with each offload left out
    #[arg(long, value_name = "WHAT", conflicts_with_all = ["bytes", "write", "owned", "offloads"])]
    pub(crate) sweep: Option<BulkSweep>,
    #[command(flatten)]
    pub(crate) points: SweepArgs,
}

/// What changes from one point of a bulk sweep to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum BulkSweep {
    /// Bytes of one write
    MessageSize,
}

#[derive(Debug, Args)]
#[command(after_help = format!("\
Examples:
  hayase bench models
  hayase bench models --svg models.svg --json > models.json
  hayase bench models --models unified,split --connections 1,8,64 --rounds 5 --duration 2

The load is the number of connections, each of which sends its next request when it has the reply to the last. Every
point is measured in a runtime of its own. The models take turns at each load, and of several rounds the median counts.
On the wire, client and server are in this process: unified is one thread for all of it; with split, both ends' stacks
are on one CPU and the tasks of client and server on another; with merge, both threads are on one CPU.

{DEVICES}"))]
pub(crate) struct ModelsArgs {
    /// The device; on a wire, client and server are in this process, each with its own stack
    #[arg(long, value_name = "SPEC", env = "HAYASE_DEVICE")]
    pub(crate) device: Option<DeviceSpec>,
    /// The echo server elsewhere
    #[arg(long, value_name = "ADDR:PORT[-PORT]")]
    pub(crate) connect: Option<Target>,
    /// The models to compare
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "unified,split,merge")]
    pub(crate) models: Vec<Model>,
    /// The loads: connections that work at the same time
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "1,2,4,8,16,32,64,128,256", value_parser = at_least_one)]
    pub(crate) connections: Vec<usize>,
    /// Bytes that go there and back
    #[arg(long, value_name = "BYTES", default_value_t = 1, value_parser = payload)]
    pub(crate) payload: usize,
    /// Use these offloads, as far as the device has them, whatever its SPEC says
    #[arg(long, value_name = "LIST")]
    pub(crate) offloads: Option<Offloads>,
    /// The congestion control of all connections: newreno, cubic or bbr
    #[arg(long, value_name = "NAME", value_parser = congestion)]
    pub(crate) congestion: Option<Congestion>,
    #[command(flatten)]
    pub(crate) study: StudyArgs,
}

#[derive(Debug, Clone, Default, Args)]
pub(crate) struct BenchCommon {
    /// The device; on a wire, client and server are in this process, each with its own stack
    #[arg(long, value_name = "SPEC", env = "HAYASE_DEVICE")]
    pub(crate) device: Option<DeviceSpec>,
    /// The server elsewhere: an echo server for pingpong, one that discards for bulk
    #[arg(long, value_name = "ADDR:PORT[-PORT]")]
    pub(crate) connect: Option<Target>,
    /// Connections that work at the same time [default: 1; in a sweep of cores 32 on each, of rates 32]
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub(crate) connections: Option<usize>,
    /// Measure for so long, each point of a sweep
    #[arg(long, value_name = "SECONDS", default_value = "3", value_parser = seconds)]
    pub(crate) duration: Duration,
    /// Use these offloads, as far as the device has them, whatever its SPEC says
    #[arg(long, value_name = "LIST")]
    pub(crate) offloads: Option<Offloads>,
    #[command(flatten)]
    pub(crate) core: CoreArgs,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

impl BenchCommon {
    /// Connections that work at the same time.
    pub(crate) fn connections(&self) -> usize {
        self.connections.unwrap_or(1)
    }
}

/// What all studies take: measurements of several points, in rounds.
#[derive(Debug, Clone, Args)]
pub(crate) struct StudyArgs {
    /// Measure each point for so long
    #[arg(long, value_name = "SECONDS", default_value = "0.5", value_parser = seconds)]
    pub(crate) duration: Duration,
    /// Measure each point so often, in turns; the median counts
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(crate) rounds: u16,
    /// Draw what was found into this file
    #[arg(long, value_name = "FILE")]
    pub(crate) svg: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Clone, Args)]
#[command(after_help = format!("\
Examples:
  hayase bench idle-cost
  hayase bench idle-cost --idle 0,1000,100000 --rounds 5 --svg idle.svg --json
  hayase bench idle-cost --device tap:name=hy0,addr=10.7.0.2/24 --connect 10.7.0.1:7000-7005

One connection makes round trips of one byte; so many others are established, and nothing happens on them. What a stack does
for connections on which nothing happens shows as time that the one loses.

A client has 28,232 ports to call from, so that more connections than those need a server on several ports: `hayase serve echo
--port 7000-7005`. What cannot be had is reported as such, and the other points are.

{DEVICES}"))]
pub(crate) struct IdleCostArgs {
    /// The device; on a wire, client and server are in this process, each with its own stack
    #[arg(long, value_name = "SPEC", env = "HAYASE_DEVICE")]
    pub(crate) device: Option<DeviceSpec>,
    /// The echo server elsewhere
    #[arg(long, value_name = "ADDR:PORT[-PORT]")]
    pub(crate) connect: Option<Target>,
    /// Numbers of idle connections
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "0,100,1000,10000,100000", value_parser = count)]
    pub(crate) idle: Vec<usize>,
    #[command(flatten)]
    pub(crate) study: StudyArgs,
}

#[derive(Debug, Clone, Args)]
#[command(after_help = format!("\
Examples:
  hayase bench memory
  hayase bench memory --connections 200000 --json
  hayase bench memory --device tap:name=hy0,addr=10.7.0.2/24 --connect 10.7.0.1:7 --connections 1000,10000

Connections are opened, and nothing happens on them. Then each end gets a task that waits for something to read. What that
took is told twice: as bytes that the program asked the allocator for, and as pages that the process has (RSS), each divided
by the number of connections. On the in-memory wire both ends of each are in this process, and half of it is one end's; on
another device only ours is, and the server elsewhere has to keep its own (an echo server does). Every number of connections
is measured in a process of its own. What the kernel's sockets take is the kernel's, and cannot be seen.

{DEVICES}"))]
pub(crate) struct MemoryArgs {
    /// The device; on a wire, client and server are in this process, each with its own stack
    #[arg(long, value_name = "SPEC", env = "HAYASE_DEVICE")]
    pub(crate) device: Option<DeviceSpec>,
    /// The echo server elsewhere
    #[arg(long, value_name = "ADDR:PORT[-PORT]")]
    pub(crate) connect: Option<Target>,
    /// Numbers of connections
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "10000,50000,100000,200000", value_parser = at_least_one)]
    pub(crate) connections: Vec<usize>,
    /// Draw what was found into this file
    #[arg(long, value_name = "FILE")]
    pub(crate) svg: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
    /// Measure in this process, and print what a process of its own tells the one that started it
    #[arg(long, hide = true)]
    pub(crate) here: bool,
}

#[derive(Debug, Clone, Args)]
#[command(after_help = format!("\
Examples:
  hayase bench churn
  hayase bench churn --connections 1,32 --duration 2 --json
  hayase bench churn --device tap:name=hy0,addr=10.7.0.2/24 --connect 10.7.0.1:10

So many tasks each open a connection, wait until the server, which closes every connection at once, has done so, close their
end, and open the next. The time is that of all of it. The server has to be one that closes, as `hayase serve close` is: on a
device other than the wire, name its port with --connect.

{DEVICES}"))]
pub(crate) struct ChurnArgs {
    /// The device; on a wire, client and server are in this process, each with its own stack
    #[arg(long, value_name = "SPEC", env = "HAYASE_DEVICE")]
    pub(crate) device: Option<DeviceSpec>,
    /// The server elsewhere
    #[arg(long, value_name = "ADDR:PORT[-PORT]")]
    pub(crate) connect: Option<Target>,
    /// Numbers of tasks that open connections
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "1,8,64,256", value_parser = at_least_one)]
    pub(crate) connections: Vec<usize>,
    #[command(flatten)]
    pub(crate) study: StudyArgs,
}

#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  hayase bench in-flight
  hayase bench in-flight --in-flight 64K,16M --rounds 5 --json

Two hosts on an in-memory wire that holds each frame for 5 ms of virtual time: the sender has as many bytes on their way as
the buffers of both ends allow, and nobody ever waits for real. What is measured is the processor time of a byte, both
ends together. A stack that walks over what is not acknowledged yet gets slower with more of it.")]
pub(crate) struct InFlightArgs {
    /// Bytes on their way, with K or M for 1,024 and 1,048,576
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "64K,256K,1M,4M,16M", value_parser = in_flight)]
    pub(crate) in_flight: Vec<usize>,
    /// Use these offloads
    #[arg(long, value_name = "LIST", default_value = "all")]
    pub(crate) offloads: Offloads,
    /// Send so many bytes to measure once
    #[arg(long, value_name = "N", default_value_t = 256 << 20, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) bytes: u64,
    /// Measure each point so often, in turns; the median counts
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(crate) rounds: u16,
    /// Draw what was found into this file
    #[arg(long, value_name = "FILE")]
    pub(crate) svg: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  hayase bench peers
  hayase bench peers --rounds 9 --duration 1 --svg peers.svg --json

The same work is done by each, in turns, with both ends on one thread: round trips of one byte on 1 and on 32 connections,
and one connection in bulk. Hayase and smoltcp stand on the same in-memory wire, Hayase with its executor and its async API,
smoltcp with a loop around it. tokio and monoio use the kernel's TCP over the loopback interface. Each figure of Hayase is
divided by its peer's of the same round; the least, the median and the greatest of those ratios are printed. A second is one
of the thread's processor time, so that what else the machine does hardly counts.

Needs a build with --features peers.")]
pub(crate) struct PeersArgs {
    #[command(flatten)]
    pub(crate) study: StudyArgs,
}

#[derive(Debug, Clone, Args)]
#[command(after_help = format!("\
Examples:
  hayase bench report --out report
  hayase bench report --out report --quick
  hayase bench report --out report --device tap:name=hy0,addr=10.7.0.2/24 --connect 10.7.0.1:7 --discard 10.7.0.1:9 --close 10.7.0.1:10

Every study is made on the wire, or on the device that is named, against servers elsewhere: `hayase serve echo discard close`
is all three, on ports 7, 9 and 10. What cannot be measured there is left out, and the page says why. DIR gets index.html,
which needs nothing else, and for each measurement NAME.json and NAME.svg. A run takes about ten minutes, with --quick one.

{DEVICES}"))]
pub(crate) struct ReportArgs {
    /// The folder to write into, which is made if there is none
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
    /// The device; on a wire, client and server are in this process, each with its own stack
    #[arg(long, value_name = "SPEC", env = "HAYASE_DEVICE")]
    pub(crate) device: Option<DeviceSpec>,
    /// The echo server elsewhere
    #[arg(long, value_name = "ADDR:PORT[-PORT]")]
    pub(crate) connect: Option<Target>,
    /// The server elsewhere that discards, for bulk
    #[arg(long, value_name = "ADDR:PORT", requires = "connect")]
    pub(crate) discard: Option<Target>,
    /// The server elsewhere that closes at once, for churn
    #[arg(long, value_name = "ADDR:PORT", requires = "connect")]
    pub(crate) close: Option<Target>,
    /// Measure fewer points, once each and briefly: to see that everything works
    #[arg(long)]
    pub(crate) quick: bool,
    /// Print one JSON object with the names of the files
    #[arg(long)]
    pub(crate) json: bool,
}

/// More than a machine makes.
const RATE_MAX: f64 = 1e9;

fn rate(text: &str) -> Result<f64, String> {
    let rate = text.parse().ok().filter(|rate| *rate >= 1.0 && *rate <= RATE_MAX);
    rate.ok_or_else(|| "give a number of requests a second, from 1 to 1000000000".into())
}

/// Beyond this, what waits at both ends of the wire no longer fits the pool of a device.
const IN_FLIGHT_MAX: usize = 16 << 20;

fn in_flight(text: &str) -> Result<usize, String> {
    let (digits, unit) = match text.as_bytes() {
        [.., b'K' | b'k'] => (&text[..text.len() - 1], 1 << 10),
        [.., b'M' | b'm'] => (&text[..text.len() - 1], 1 << 20),
        _ => (text, 1),
    };
    let len = digits.parse::<usize>().ok().and_then(|number| number.checked_mul(unit));
    let len = len.filter(|len| (4096..=IN_FLIGHT_MAX).contains(len));
    len.ok_or_else(|| "give a number of bytes from 4K to 16M".into())
}
