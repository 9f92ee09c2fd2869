//! The command line. Its words are a contract: they are added to, not changed.

mod bench;
mod target;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use hayase::net::Congestion;
use hayase::{DeviceSpec, Model};

pub(crate) use bench::{
    BenchArgs, BenchCommon, BenchKind, BulkArgs, BulkSweep, ChurnArgs, IdleCostArgs, InFlightArgs,
    MemoryArgs, ModelsArgs, PeersArgs, PingpongArgs, PingpongSweep, ReportArgs,
};
pub(crate) use target::{Ports, Target};

const DEVICES: &str = "\
Devices (SPEC):
  wire[:mtu=1500][,offloads=LIST]
      the in-memory wire: two hosts in this process, 10.7.0.2 (ours) and 10.7.0.1; needs no rights
  tap:name=hy0,addr=10.7.0.2/24[,addr=fd00::2/64][,host=10.7.0.1/24][,gateway=10.7.0.1][,mac=..][,mtu=..][,offloads=LIST]
      a TAP interface of Linux, created if it does not exist; the kernel's side gets the address `host`,
      or the gateway's, or else the first free one of the network
  xdp:if=eth1,addr=10.0.0.2/24[,queues=0-3][,mode=zerocopy|copy|skb][,keep=tcp:22][,gateway=..][,mac=..][,mtu=..]
      [,offloads=LIST][,trust=on]
      the receive queues of a network interface, through AF_XDP: what arrives there is ours, but for what is kept
      for the kernel (tcp:PORT[-PORT], udp:PORT[-PORT], icmp, arp, ADDRESS; may be repeated); trust=on over a veth
  dpdk:vdev=NAME[,ARGUMENTS]|pci=ADDRESS,addr=10.7.0.2/24[,gateway=..][,mac=..][,mtu=..][,offloads=LIST][,eal=WORDS]
      [,nap=MS]
      a device of one of DPDK's drivers (in a build with --features dpdk); nap=16 is the longest nap of an idle core whose
      driver wakes nobody; after vdev= or pci=, what is none of these options, nor of those below, belongs to the driver,
      as in dpdk:vdev=net_virtio_user0,path=/run/x.sock,queues=2,addr=10.7.0.2/24
  netmap:port=eth1|pipe{1|vale0:1,addr=10.7.0.2/24[,gateway=..][,mac=..][,mtu=..][,offloads=LIST]
      netmap's rings of an interface, an end of a pipe ({ or }), or a port of a VALE switch (in a build with
      --features netmap; needs netmap's kernel module)
  kernel
      the operating system's own sockets, without a stack of ours: for laptops, containers and comparison; needs no
      rights (ping: CAP_NET_RAW, or a group in the sysctl net.ipv4.ping_group_range)
  all but wire and kernel also take
    dad=N     how often the link is asked whether another host has an IPv6 address before it is used: once, by default,
              and the program is ready a second later; 0 for at once
    autoconf=on
              IPv6 addresses, networks, default routes and the MTU as routers of the link advertise them; addr may be
              left out
    vlan=N    the VLAN that the host is in: its frames carry a tag (802.1Q), and others are not for it
  with --device several times (serve, ping, connect), or several SPECs with `;` between them in HAYASE_DEVICE, the program
      is one host with an interface on each: it is reached on all, and connects by the longest matching prefix of their
      routes; not with the wire
  without --device: the environment variable HAYASE_DEVICE; else tap:name=hy0 with 10.7.0.2/24 and fd00:7::2/64
      if that may be opened, else the wire (bench: the wire, unless --connect is given)
Offloads (LIST):
  all | none | names joined by + of tx-checksum rx-checksum tso lro sg

A TAP interface needs CAP_NET_ADMIN: run as root, or try things out in a namespace with `unshare -rn`.";

/// Servers, clients and measurements on Hayase, an async TCP/IP stack in user space.
#[derive(Debug, Parser)]
#[command(name = "hayase", version, propagate_version = true, after_help = DEVICES)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run servers: echo, discard, source, http, close
    Serve(ServeArgs),
    /// Send ICMP echo requests and print the replies, as ping(8) does
    Ping(PingArgs),
    /// Connect stdin and stdout to a TCP server, as nc(1) does
    Connect(ConnectArgs),
    /// Measure round trips, throughput, idle connections, churn and memory through the async API, and compare
    Bench(Box<BenchArgs>),
    /// Simulate networks and hosts on virtual time
    Sim(SimArgs),
    /// Look at this machine and say which devices would work, why others would not, and what to do
    Doctor(DoctorArgs),
}

#[derive(Debug, Clone, Args)]
#[command(after_help = format!("\
Examples:
  hayase serve echo --device tap:name=hy0,addr=10.7.0.2/24      then: socat - TCP:10.7.0.2:7
  hayase serve http --port 8080                                 then: curl http://10.7.0.2:8080/bytes/1000000
  hayase serve discard --device wire                            shows a client of its own, and ends
  hayase serve echo discard close                               what `hayase bench` asks for, each on its own port
  hayase serve echo --port 7000-7009                            more connections than one client has ports to call from

Standard output has one line `listening on ADDR:PORT` for each address and port, once the server is ready; everything else
goes to standard error. SIGINT and SIGTERM end it.

{DEVICES}"))]
pub(crate) struct ServeArgs {
    /// What to do with a connection; of several services, each has its own port
    #[arg(required = true, value_name = "SERVICE")]
    pub(crate) service: Vec<Service>,
    /// The device to serve on; may be repeated, to serve on several
    #[arg(long, value_name = "SPEC", env = "HAYASE_DEVICE", value_delimiter = ';')]
    pub(crate) device: Vec<DeviceSpec>,
    /// The TCP port, or several; by default echo 7, discard 9, close 10, source 19, http 80; 0 takes a free one
    #[arg(long, value_name = "PORT[-PORT]")]
    pub(crate) port: Option<Ports>,
    /// Serve on so many cores, each with a stack and a listener of its own
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = cores)]
    pub(crate) cores: usize,
    #[command(flatten)]
    pub(crate) core: CoreArgs,
    /// Take data that comes with a SYN from clients that were here before (TCP Fast Open): it may come twice
    #[arg(long)]
    pub(crate) fastopen: bool,
    /// Also echo UDP datagrams, on the same port
    #[arg(long)]
    pub(crate) udp: bool,
    /// Also listen on this TCP port, where test programs give one order a connection
    #[arg(long, value_name = "PORT", long_help = CONTROL)]
    pub(crate) ctl: Option<u16>,
    #[command(flatten)]
    pub(crate) capture: CaptureArgs,
}

/// A record of what goes by.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct CaptureArgs {
    /// Record every frame in this file, a pcapng for Wireshark and tcpdump; one that is there is overwritten
    #[arg(long = "capture", value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// Of each frame, record so many bytes; headers are in the first 128 [default: 262144]
    #[arg(long, value_name = "BYTES", requires = "file", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) snap_len: Option<u32>,
}

/// How a core does its work.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct CoreArgs {
    /// Where the stack runs: unified, on the thread of the tasks; split, on a CPU of its own; merge, on a thread of its
    /// own on the CPU of the tasks
    #[arg(long, value_name = "MODEL", default_value_t)]
    pub(crate) model: Model,
    /// How long a core that has nothing to do goes on looking before it sleeps, in microseconds; it looks less long by itself
    /// where that is in vain [default: 20; 200 with split and on DPDK]
    #[arg(long, value_name = "MICROSECONDS", value_parser = microseconds)]
    pub(crate) spin: Option<Duration>,
    /// The congestion control of all connections: newreno, cubic or bbr
    #[arg(long, value_name = "NAME", value_parser = congestion)]
    pub(crate) congestion: Option<Congestion>,
}

const CONTROL: &str = "\
Also listen on this TCP port, where test programs give one order a connection, in one line:
  CLOSE              close at once
  CLOSEUNREAD ms     close after ms milliseconds, with what came in unread
  SHUTWR             shut down writing, discard until the end, close
  SEND n             send n bytes of the pattern, discard until the end, close
  SENDCLOSE n        send n bytes of the pattern, close
  SENDSLOW n k ms    send n bytes k times, ms milliseconds apart, discard until the end, close
  NOREAD ms          read nothing for ms milliseconds, then echo until the end
  DISCARD            discard until the end, close
  ABORT              reset the connection
  CONNECT ip port    open a connection, answer `OK` or `ERR kind` and close; echo on the new one
  CORE               answer the number of the core that serves this connection, then echo until the end
  CONGESTION         answer the congestion control of this connection, then echo until the end
  CONNECTIONS        answer how many connections there are, this one included, and close
  COUNT name         answer what the core's stack has counted under that name, such as TcpRetransSegs, and close
Byte i of the pattern is (i*7 + i/251) & 255.";

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Service {
    /// Send back what comes in (RFC 862)
    Echo,
    /// Throw away what comes in (RFC 863)
    Discard,
    /// Send a pattern of bytes until the peer closes
    Source,
    /// Answer HTTP/1.1 requests: / and /bytes/N
    Http,
    /// Close every connection at once
    Close,
}

impl Service {
    /// The port that RFC 862, RFC 863, RFC 864 and RFC 9110 give it; for closing, one that nobody else has.
    pub(crate) fn default_port(self) -> u16 {
        match self {
            Service::Echo => 7,
            Service::Discard => 9,
            Service::Source => 19,
            Service::Http => 80,
            Service::Close => 10,
        }
    }
}

#[derive(Debug, Args)]
#[command(after_help = format!("\
Examples:
  hayase ping 10.7.0.1 --device wire --count 3
  hayase ping fd00::1 --device tap:name=hy0,addr=fd00::2/64 --size 8192 --interval 0.2

The exit code is 1 if nothing was answered.

{DEVICES}"))]
pub(crate) struct PingArgs {
    /// Whom to ask
    #[arg(value_name = "ADDR")]
    pub(crate) to: IpAddr,
    /// Requests to send; without it, until interrupted
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: Option<u64>,
    /// Bytes of data in a request; what exceeds the MTU is fragmented
    #[arg(long, value_name = "BYTES", default_value_t = 56, value_parser = clap::value_parser!(u16).range(..=65_000))]
    pub(crate) size: u16,
    /// Seconds from one request to the next
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = seconds)]
    pub(crate) interval: Duration,
    /// Seconds to wait for the last reply
    #[arg(long, value_name = "SECONDS", default_value = "2", value_parser = seconds)]
    pub(crate) timeout: Duration,
    /// The device to send from; of several, the one with the nearest route
    #[arg(long, value_name = "SPEC", env = "HAYASE_DEVICE", value_delimiter = ';')]
    pub(crate) device: Vec<DeviceSpec>,
    #[command(flatten)]
    pub(crate) capture: CaptureArgs,
    /// Print one JSON object at the end, and nothing else
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = format!("\
Examples:
  echo hello | hayase connect 10.7.0.1:7 --device tap:name=hy0,addr=10.7.0.2/24
  hayase connect [fd00::1]:8080 < request > response

The end of standard input shuts down our direction; the command ends when the peer has shut down its own as well.

With --fastopen, the command waits for the first bytes of standard input, and they go with the SYN. That takes a cookie,
which the server gave to an earlier connection of the same process: so a connection that carries nothing comes first. A line
on standard error says whether the server took the bytes.

{DEVICES}"))]
pub(crate) struct ConnectArgs {
    /// The server
    #[arg(value_name = "ADDR:PORT")]
    pub(crate) to: SocketAddr,
    /// The device to connect from; of several, the one with the nearest route
    #[arg(long, value_name = "SPEC", env = "HAYASE_DEVICE", value_delimiter = ';')]
    pub(crate) device: Vec<DeviceSpec>,
    #[command(flatten)]
    pub(crate) capture: CaptureArgs,
    /// The congestion control: newreno, cubic or bbr
    #[arg(long, value_name = "NAME", value_parser = congestion)]
    pub(crate) congestion: Option<Congestion>,
    /// Send the first bytes with the SYN (TCP Fast Open): they may arrive twice
    #[arg(long)]
    pub(crate) fastopen: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Nothing is changed: what is opened to see whether it may be is closed again. The exit code is 0 whatever is found.")]
pub(crate) struct DoctorArgs {
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct SimArgs {
    #[command(subcommand)]
    pub(crate) kind: SimKind,
}

#[derive(Debug, Subcommand)]
pub(crate) enum SimKind {
    /// Run random worlds with random faults until the time is over or a rule is broken
    Storm(StormArgs),
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  hayase sim storm --minutes 10 --seed 1
  hayase sim storm --seed 17 --count 1          replays one storm

Each storm has a seed of its own: the first, the one after it, and so on. Whatever is random in it comes from there, so
the same seed is the same storm. A storm that breaks a rule says which, leaves captures for Wireshark, and ends the
command with exit code 1. docs/SIMULATION.md lists the rules.")]
pub(crate) struct StormArgs {
    /// Begin no storm after so long
    #[arg(long, value_name = "MINUTES", default_value = "1", value_parser = minutes)]
    pub(crate) minutes: Duration,
    /// The seed of the first storm
    #[arg(long, value_name = "SEED", default_value_t = 1)]
    pub(crate) seed: u64,
    /// Run exactly so many storms instead
    #[arg(long, value_name = "N", conflicts_with = "minutes", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: Option<u64>,
    /// Print one JSON object at the end, and nothing else on standard output
    #[arg(long)]
    pub(crate) json: bool,
}

/// Connections of one run: a little less than what a stack holds by default.
pub(crate) const CONNECTIONS_MAX: usize = 1_000_000;

/// What is on its way in both directions at once, so that the buffers of both ends hold it: else client and server wait for
/// each other to read.
const PAYLOAD_MAX: usize = 256 * 1024;

/// The buffer of a write, in bytes.
const WRITE_MAX: usize = 64 << 20;

/// More than one device can be shared by.
pub(crate) const CORES_MAX: usize = 64;

/// A year: nobody waits longer, and no sum overflows.
const SECONDS_MAX: f64 = 31_536_000.0;

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().filter(|seconds| *seconds > 0.0 && *seconds <= SECONDS_MAX);
    seconds
        .map(Duration::from_secs_f64)
        .ok_or_else(|| "give a number of seconds above 0, such as 3 or 0.5".into())
}

fn microseconds(text: &str) -> Result<Duration, String> {
    let count = text.parse().ok().filter(|count| *count <= SECONDS_MAX as u64 * 1_000_000);
    count.map(Duration::from_micros).ok_or_else(|| "give a number of microseconds, such as 0 or 1000".into())
}

fn minutes(text: &str) -> Result<Duration, String> {
    let minutes = text.parse().ok().filter(|minutes| *minutes > 0.0 && *minutes <= SECONDS_MAX / 60.0);
    minutes
        .map(|minutes: f64| Duration::from_secs_f64(60.0 * minutes))
        .ok_or_else(|| "give a number of minutes above 0, such as 10 or 0.5".into())
}

fn number(text: &str, min: usize, max: usize) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| (min..=max).contains(number));
    number.ok_or_else(|| format!("give a number from {min} to {max}"))
}

/// What the command line calls each; Linux's name of the first, reno, is understood as well.
const CONGESTION: [(&str, Congestion); 3] =
    [("newreno", Congestion::NewReno), ("cubic", Congestion::Cubic), ("bbr", Congestion::Bbr)];

fn congestion(text: &str) -> Result<Congestion, String> {
    let found = CONGESTION.iter().find(|(name, congestion)| text == *name || text == congestion.name());
    found.map(|(_, congestion)| *congestion).ok_or_else(|| "give newreno, cubic or bbr".into())
}

/// The name under which the command line knows it.
pub(crate) fn congestion_name(congestion: Congestion) -> &'static str {
    let found = CONGESTION.iter().find(|(_, other)| *other == congestion);
    found.map_or(congestion.name(), |(name, _)| name)
}

fn count(text: &str) -> Result<usize, String> {
    number(text, 0, CONNECTIONS_MAX)
}

fn at_least_one(text: &str) -> Result<usize, String> {
    number(text, 1, CONNECTIONS_MAX)
}

fn cores(text: &str) -> Result<usize, String> {
    number(text, 1, CORES_MAX)
}

fn payload(text: &str) -> Result<usize, String> {
    number(text, 1, PAYLOAD_MAX)
}

fn write_len(text: &str) -> Result<usize, String> {
    number(text, 1, WRITE_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;
    use clap::error::ErrorKind;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split_whitespace())
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_lines_of_the_contract_are_understood() {
        for line in [
            "hayase serve echo",
            "hayase serve discard --device wire:mtu=9000 --port 0",
            "hayase serve source --device tap:name=hy0,addr=10.7.0.2/24,addr=fd00::2/64,gateway=10.7.0.1 --udp",
            "hayase serve http --port 8080 --ctl 8081",
            "hayase ping fd00::1 --count 3 --size 8192 --interval 0.2 --json",
            "hayase connect [fd00::1]:80 --device wire",
            "hayase bench pingpong --device kernel --connect 127.0.0.1:7",
            "hayase serve echo --device tap:name=hy0,addr=10.7.0.2/24 --cores 2",
            "hayase bench pingpong --device wire --cores 2 --json",
            "hayase bench bulk --device wire --cores 2 --json",
            "hayase doctor --json",
            "hayase sim storm --minutes 0.5 --seed 7 --json",
            "hayase sim storm --seed 7 --count 1",
            "hayase bench pingpong --connections 32 --idle 10000 --payload 1 --duration 0.5 --offloads all --json",
            "hayase serve echo --model split --port 7",
            "hayase serve echo --device tap:name=hy0,addr=10.7.0.2/24 --device xdp:if=eth1,addr=10.8.0.2/24",
            "hayase connect 10.8.0.1:7 --device tap:name=hy0,addr=10.7.0.2/24;tap:name=hy1,addr=10.8.0.2/24",
            "hayase ping 10.8.0.1 --device kernel --device tap:name=hy1,addr=10.8.0.2/24",
            "hayase serve http --congestion bbr --fastopen --spin 0",
            "hayase serve echo discard close --device wire",
            "hayase serve echo --port 7000-7009",
            "hayase connect 10.7.0.1:80 --congestion newreno --fastopen",
            "hayase bench pingpong --congestion reno",
            "hayase bench bulk --congestion cubic --connections 2 --spin 1000",
            "hayase bench pingpong --model merge --connections 8",
            "hayase bench models --models split,merge --connections 1,32 --rounds 5 --duration 0.1 --svg models.svg --json",
            "hayase bench pingpong --device wire --connect 10.7.0.1:7 --round-trips 100",
            "hayase bench bulk --write 1448 --bytes 1000000 --offloads tx-checksum+tso --owned",
            "hayase bench pingpong --sweep connections --values 1,32 --rounds 3 --duration 0.1 --svg a.svg --json",
            "hayase bench pingpong --sweep cores --connections 8",
            "hayase bench pingpong --connections 32 --rate 100000 --duration 1",
            "hayase bench pingpong --round-trips 1000 --virtual-time",
            "hayase bench bulk --sweep message-size --values 63488 --svg a.svg --json",
            "hayase bench idle-cost --idle 0,1000 --rounds 1 --duration 0.1 --svg a.svg --json",
            "hayase bench memory --connections 1000 --json",
            "hayase bench churn --connections 1,64 --device wire",
            "hayase bench in-flight --in-flight 64K,1M,4194304 --bytes 1000000 --offloads none",
            "hayase bench peers --rounds 1 --duration 0.1 --svg a.svg --json",
            "hayase bench report --out a-folder --quick",
            "hayase bench report --out a-folder --device kernel --connect 127.0.0.1:7 --discard 127.0.0.1:9 --close 127.0.0.1:10",
            "hayase bench idle-cost --device kernel --connect 127.0.0.1:7000-7005 --idle 0,100000",
            "hayase bench memory --device tap:name=hy0,addr=10.7.0.2/24 --connect 10.7.0.1:7",
            "hayase bench pingpong --sweep rate --values 1000,5000 --connections 4",
            "hayase bench pingpong --round-trips 10 --svg a.svg",
            "hayase bench bulk --bytes 100000 --svg a.svg",
        ] {
            assert!(parse(line).is_ok(), "{line}: {}", parse(line).unwrap_err());
        }
    }

    #[test]
    fn mistakes_are_named_with_what_is_right() {
        for (line, part) in [
            ("hayase bench pingpong --duration 1 --round-trips 9", "cannot be used with"),
            ("hayase bench pingpong --round-trips 0", "1.."),
            ("hayase bench pingpong --connections 0", "from 1 to"),
            ("hayase bench pingpong --payload 9999999", "from 1 to 262144"),
            ("hayase bench bulk --duration -1", "unexpected argument"),
            ("hayase bench bulk --duration 0", "number of seconds"),
            ("hayase bench bulk --duration nan", "number of seconds"),
            ("hayase bench bulk --offloads gro", "tx-checksum"),
            ("hayase serve echo --congestion vegas", "newreno, cubic or bbr"),
            ("hayase serve echo --spin 20us", "number of microseconds"),
            ("hayase serve echo --model divided", "only unified, split and merge"),
            ("hayase bench models --connections 1,0", "from 1 to"),
            ("hayase bench pingpong --sweep sizes", "cores, connections, rate"),
            ("hayase bench pingpong --values 1,2", "--sweep"),
            ("hayase serve", "<SERVICE>"),
            ("hayase serve echo --port 9-7", "7000-7009"),
            ("hayase bench churn --connect 10.7.0.1:9-7", "ADDR:PORT-PORT"),
            ("hayase bench report --out a --close 10.7.0.1:10", "--connect"),
            ("hayase bench pingpong --sweep cores --round-trips 5", "cannot be used with"),
            ("hayase bench pingpong --rate 0", "requests a second"),
            ("hayase bench pingpong --rate 5 --sweep cores", "cannot be used with"),
            ("hayase bench pingpong --virtual-time", "--round-trips"),
            ("hayase bench bulk --sweep message-size --owned", "cannot be used with"),
            ("hayase bench idle-cost --idle 1,many", "from 0 to"),
            ("hayase bench in-flight --in-flight 1G", "from 4K to 16M"),
            ("hayase bench churn --rounds 0", "1..=1000"),
            ("hayase bench report", "--out"),
            ("hayase sim storm --minutes 0", "number of minutes"),
            ("hayase sim storm --minutes 1 --count 1", "cannot be used with"),
            ("hayase serve ftp", "echo"),
            ("hayase serve echo --device tap", "tap:name=hy0,addr=10.7.0.2/24"),
            ("hayase ping example.org", "invalid IP address"),
            ("hayase connect 10.7.0.1", "invalid socket address"),
        ] {
            let error = parse(line).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{line}");
            assert!(error.to_string().contains(part), "{line}: {error}");
        }
    }

    #[test]
    fn every_congestion_control_has_a_name() {
        for known in Congestion::ALL {
            assert_eq!(congestion(congestion_name(*known)), Ok(*known));
        }
        assert_eq!(congestion_name(Congestion::NewReno), "newreno");
    }

    #[test]
    fn help_and_version_are_no_errors() {
        assert_eq!(parse("hayase --version").unwrap_err().kind(), ErrorKind::DisplayVersion);
        for line in ["hayase --help", "hayase serve --help", "hayase bench bulk --help"] {
            let help = parse(line).unwrap_err();
            assert_eq!((help.kind(), help.exit_code()), (ErrorKind::DisplayHelp, 0));
            assert!(help.to_string().contains("tap:name=hy0"), "{help}");
        }
    }
}
