//! Where a bench takes place: a runtime, a client's host, and a server there or elsewhere.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hayase::net::{TcpListener, TcpStream};
use hayase::{DeviceSpec, Host, Offloads, Runtime, TapSpec, WireSpec, time};

use super::join_all;
use super::report::{Conditions, Counts};
use crate::cli::{self, BenchCommon, CoreArgs, Target};
use crate::device;
use crate::failure::{Attempt, Failure, Result};
use crate::say::note;
use crate::serve;
use crate::signal::Interrupt;

/// Connections that are opened at the same time: fewer than any server's queue of those not accepted yet.
const OPENING_MAX: usize = 64;

/// Connections to one port of our own server. The client has 28,232 ports to call from.
const PER_PORT: usize = 20_000;

/// Our server's first port.
const PORT: u16 = 7;

/// How long new connections may take to finish what belongs to their beginning.
pub(super) const SETTLING_TIME: Duration = Duration::from_millis(20);

#[derive(Debug)]
pub(super) struct Bed {
    pub(super) runtime: Runtime,
    /// What ends a run early. On a wire nobody is left who would have to be told: there a signal may kill.
    interrupt: Option<Interrupt>,
    spec: DeviceSpec,
    core: CoreArgs,
    /// The server in this process, if it is.
    server: Option<Host>,
    /// Where a server elsewhere is.
    remote: Option<Target>,
}

impl Bed {
    pub(super) fn new(common: &BenchCommon) -> Result<Bed> {
        Bed::with_cores(common, 1)
    }

    /// The bed of core 0 in a runtime with so many of them.
    pub(super) fn with_cores(common: &BenchCommon, cores: usize) -> Result<Bed> {
        let spec = device_spec(common)?;
        let builder = device::builder(cores, std::slice::from_ref(&spec), common.offloads, &common.core)?;
        let runtime = builder.build()?;
        let server = runtime.peer();
        let interrupt = if server.is_none() { Some(Interrupt::catch()?) } else { None };
        Ok(Bed { runtime, interrupt, spec, core: common.core.clone(), server, remote: common.connect })
    }

    /// Runs a future, unless a signal comes before: then the connections are to be closed, which dropping this does.
    pub(super) fn block_on<F: Future>(&self, future: F) -> Result<F::Output> {
        match &self.interrupt {
            Some(interrupt) => self.runtime.block_on(interrupt.unless_before(future)),
            None => Ok(self.runtime.block_on(future)),
        }
    }

    /// Opens connections. On a wire, `serve` is what the server does with each.
    pub(super) async fn connect<F>(
        &self,
        count: usize,
        serve: impl Fn(TcpStream) -> F + Copy + 'static,
    ) -> Result<Vec<TcpStream>>
    where
        F: Future<Output = io::Result<()>> + 'static,
    {
        connect(self.server, self.remote, count, serve).await
    }

    /// The same where the first port of our own server is `PORT` and so many ports on.
    pub(super) async fn connect_at<F>(
        &self,
        ports_on: u16,
        count: usize,
        serve: impl Fn(TcpStream) -> F + Copy + 'static,
    ) -> Result<Vec<TcpStream>>
    where
        F: Future<Output = io::Result<()>> + 'static,
    {
        connect_from(PORT + ports_on, self.server, self.remote, count, serve).await
    }

    /// Where the server is. On a wire it is started, and `serve` is what it does with each connection.
    pub(super) async fn server<F>(
        &self,
        serve: impl Fn(TcpStream) -> F + Copy + 'static,
    ) -> Result<SocketAddr>
    where
        F: Future<Output = io::Result<()>> + 'static,
    {
        target(PORT, self.server, self.remote, serve).await
    }

    /// The circumstances, for a report.
    pub(super) fn conditions(&self, command: &'static str, connections: usize) -> Result<Conditions> {
        let offloads = self.runtime.host().offloads()?.to_string();
        Ok(Conditions {
            command,
            device: self.spec.to_string(),
            model: self.core.model.name(),
            spin_us: self.core.spin.map(|time| time.as_micros() as u64),
            offloads,
            connections,
            ..Conditions::default()
        })
    }

    /// What both hosts have counted so far.
    pub(super) fn counts(&self) -> io::Result<Counts> {
        counts_of(self.runtime.hosts())
    }
}

/// Opens connections from the current host, to `remote` or to our own `server`, where `serve` is what it does with each.
pub(super) async fn connect<F>(
    server: Option<Host>,
    remote: Option<Target>,
    count: usize,
    serve: impl Fn(TcpStream) -> F + Copy + 'static,
) -> Result<Vec<TcpStream>>
where
    F: Future<Output = io::Result<()>> + 'static,
{
    connect_from(PORT, server, remote, count, serve).await
}

async fn connect_from<F>(
    first_port: u16,
    server: Option<Host>,
    remote: Option<Target>,
    count: usize,
    serve: impl Fn(TcpStream) -> F + Copy + 'static,
) -> Result<Vec<TcpStream>>
where
    F: Future<Output = io::Result<()>> + 'static,
{
    let mut streams = Vec::with_capacity(count);
    match remote {
        Some(remote) => {
            let ports = spread(count, remote.ports.count());
            for (target, count) in remote.addresses().zip(ports) {
                open(target, count, &mut streams).await?;
            }
        }
        None => {
            for (port, first) in (first_port..).zip((0..count).step_by(PER_PORT)) {
                let target = target(port, server, None, serve).await?;
                open(target, PER_PORT.min(count - first), &mut streams).await?;
            }
        }
    }
    time::sleep(SETTLING_TIME).await;
    Ok(streams)
}

/// How many connections each of the ports gets that are needed for `count`, if there are `ports_max`.
fn spread(count: usize, ports_max: usize) -> impl Iterator<Item = usize> {
    let ports = count.div_ceil(PER_PORT).clamp(1, ports_max);
    (0..ports).map(move |port| count / ports + usize::from(port < count % ports))
}

/// Where the server of a port is: elsewhere, or at our own other end, where it is started.
async fn target<F>(
    port: u16,
    server: Option<Host>,
    remote: Option<Target>,
    serve: impl Fn(TcpStream) -> F + Copy + 'static,
) -> Result<SocketAddr>
where
    F: Future<Output = io::Result<()>> + 'static,
{
    match (remote, server) {
        (Some(remote), _) if remote.ports.count() > 1 => Err(Failure::Usage(ONE_PORT.into())),
        (Some(remote), _) => Ok(remote.first()),
        (None, Some(server)) => start_server(server, port, serve).await,
        (None, None) => Err(Failure::Usage(NO_SERVER.into())),
    }
}

/// Who rules the congestion windows of a run, by one of its connections. `None`: an algorithm of the system's own.
pub(super) fn congestion_of(streams: &[TcpStream]) -> Option<&'static str> {
    streams.first()?.congestion().ok().map(cli::congestion_name)
}

/// What hosts have counted so far.
pub(super) fn counts_of(hosts: &[Host]) -> io::Result<Counts> {
    let mut counts = Counts::default();
    for host in hosts {
        counts.add(&host.counters()?);
    }
    Ok(counts)
}

const NO_SERVER: &str = "on this device the server is elsewhere: name an echo server (bench pingpong) or one that discards \
                         (bench bulk) with --connect ADDR:PORT, or measure on --device wire";

const ONE_PORT: &str = "connections that are closed at once are opened to one port: give --connect ADDR:PORT";

const NO_REMOTE: &str =
    "on the wire the server is in this process: leave --connect out, or choose another --device";

/// The device: the wire by default, unless there is somebody to connect to.
fn device_spec(common: &BenchCommon) -> Result<DeviceSpec> {
    let is_remote = common.connect.is_some();
    let spec = common.device.clone().unwrap_or_else(|| default_device(is_remote));
    check(&spec, is_remote)?;
    Ok(spec)
}

pub(super) fn default_device(is_remote: bool) -> DeviceSpec {
    match is_remote {
        true => DeviceSpec::Tap(TapSpec::default()),
        false => DeviceSpec::Wire(WireSpec::default()),
    }
}

/// Whether there is a server where it has to be.
pub(super) fn check(spec: &DeviceSpec, is_remote: bool) -> Result {
    match (matches!(spec, DeviceSpec::Wire(_)), is_remote) {
        (true, true) => Err(Failure::Usage(NO_REMOTE.into())),
        (false, false) => Err(Failure::Usage(NO_SERVER.into())),
        _ => Ok(()),
    }
}

/// Starts a server on its own host, and returns its address.
async fn start_server<F>(
    server: Host,
    port: u16,
    serve: impl Fn(TcpStream) -> F + 'static,
) -> Result<SocketAddr>
where
    F: Future<Output = io::Result<()>> + 'static,
{
    let listener = server.scope(TcpListener::bind(("0.0.0.0", port))).await?;
    drop(hayase::spawn(serve::accept(listener, serve::serve_with(serve))));
    let addr = server.addresses()?.into_iter().map(|cidr| cidr.addr()).find(IpAddr::is_ipv4);
    let addr = addr.ok_or_else(|| Failure::Error("the wire's other end has no IPv4 address".into()))?;
    Ok(SocketAddr::new(addr, port))
}

/// Opens `count` more connections, some at a time.
async fn open(target: SocketAddr, count: usize, streams: &mut Vec<TcpStream>) -> Result {
    let end = streams.len() + count;
    while streams.len() < end {
        let batch = OPENING_MAX.min(end - streams.len());
        let opening = (0..batch).map(|_| hayase::spawn(open_one(target))).collect();
        let opened = join_all(opening).await.attempt(|| {
            format!("cannot open connection {} to {target}{}", streams.len() + 1, advice(count))
        })?;
        streams.extend(opened);
    }
    Ok(())
}

/// What helps where one port of a server has more connections than the client has ports to call from.
fn advice(count: usize) -> &'static str {
    match count > PER_PORT {
        true => " (--connect ADDR:PORT-PORT spreads connections over several ports of the server)",
        false => "",
    }
}

async fn open_one(target: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(target).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// The offloads of a run that asked for some the device lacks would lie in a report.
pub(super) fn warn_of_missing(wanted: Option<Offloads>, in_force: Offloads) {
    if let Some(wanted) = wanted.filter(|wanted| !in_force.contains(*wanted)) {
        note(format_args!("hayase: of the offloads {wanted} the device has {in_force}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hayase::stack;

    #[test]
    fn connections_are_spread_over_as_many_ports_as_they_need() {
        for (count, ports, each) in [
            (32, 6, vec![32]),
            (20_001, 6, vec![10_001, 10_000]),
            (100_001, 6, vec![16_667, 16_667, 16_667, 16_667, 16_667, 16_666]),
            (100_000, 2, vec![50_000, 50_000]),
            (0, 2, vec![0]),
        ] {
            assert_eq!(spread(count, ports).collect::<Vec<_>>(), each);
        }
    }

    /// What is measured is the stack that programs get: a bench that gave its own other habits would measure another.
    #[test]
    fn a_bench_waits_as_long_for_an_answer_as_every_program() {
        let bed = Bed::new(&BenchCommon::default()).unwrap();
        let streams = bed.runtime.block_on(bed.connect(1, serve::echo)).unwrap();
        let info = bed.runtime.block_on(async { streams[0].info() }).unwrap();
        // RFC 6298 §2.3, with the floor of RFC 6298 §2.4 under the part that varies.
        let usual = u64::from(stack::Config::default().rto_min_us);
        let longest = usual + u64::from(info.rtt_us) + 4 * u64::from(info.rttvar_us);
        assert!((usual..=longest).contains(&info.rto_us), "{info:?}");
    }
}
