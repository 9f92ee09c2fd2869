//! `hayase serve`: servers that anybody's clients can talk to.

mod close;
mod ctl;
mod demo;
mod discard;
mod echo;
mod http;
mod kernel_side;
mod source;
mod udp;

pub(crate) use close::close;
use discard::discard;
pub(crate) use echo::echo;

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use hayase::net::{TcpListener, TcpStream};
use hayase::{AddressState, DeviceSpec, DpdkSpec, Host, NetmapSpec, TapSpec, XdpSpec, time};

use crate::cli::{Ports, ServeArgs, Service};
use crate::device::{self, Recording, TAP_HINT};
use crate::failure::{Attempt, Failure, Result};
use crate::say::{note, say};
use crate::signal::Interrupt;

/// Connections that may have data before their handshake is over: what a flood with stolen cookies can take up at a time.
const FASTOPEN_PENDING_MAX: u32 = 256;

/// After an accept that failed, for lack of memory or sockets, the next is not tried at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

pub(crate) fn run(args: &ServeArgs) -> Result {
    let recording = Recording::start(&args.capture)?;
    let builder = device::builder(args.cores, &args.device, None, &args.core)?;
    let runtime = recording.of(builder).build()?;
    let interrupt = Interrupt::catch()?;
    runtime.block_on(async {
        let ports = start_everywhere(args).await?;
        let Some(client) = runtime.peer() else {
            kernel_side::announce(&args.device);
            interrupt.wait().await;
            return Ok(());
        };
        for (service, port) in args.service.iter().zip(ports) {
            demo::run(*service, client, runtime.host(), port).await?;
        }
        note(TAP_HINT);
        Ok(())
    })
}

/// What is listened on for a service.
#[derive(Debug, Clone)]
struct Place {
    service: Service,
    ports: Ports,
}

/// The ports of each service.
fn places(args: &ServeArgs) -> Result<Vec<Place>> {
    match args.port {
        Some(ports) if ports.first > 0 && args.service.len() > 1 => Err(Failure::Usage(
            "of several services each has its own port: leave --port out, or give 0 for free ones".into(),
        )),
        ports => {
            let place = |service: &Service| {
                let ports = ports.unwrap_or(Ports::one(service.default_port()));
                Place { service: *service, ports }
            };
            Ok(args.service.iter().map(place).collect())
        }
    }
}

/// Starts everything that was asked for on every core, and says so. Returns the first port of each service, which the first
/// core chooses if it is to be chosen.
async fn start_everywhere(args: &ServeArgs) -> Result<Vec<u16>> {
    let mut places = places(args)?;
    let host = Host::current()?;
    if addresses(host)?.is_empty() {
        return Err(unreachable(host)?);
    }
    let control = start(0, args, &mut places, args.ctl).await?;
    for core in 1..args.cores {
        let (args, mut places) = (args.clone(), places.clone());
        hayase::spawn_on(core, move || async move { start(core, &args, &mut places, control).await })?
            .await??;
    }
    if let Some(control) = control {
        note(format_args!("hayase: orders are taken on port {control}"));
    }
    announce(&addresses(host)?, &places)?;
    Ok(places.iter().map(|place| place.ports.first).collect())
}

/// Starts everything on this core; what is free to choose becomes what was chosen. Returns the port of the control, if there
/// is one.
async fn start(
    core: usize,
    args: &ServeArgs,
    places: &mut [Place],
    control: Option<u16>,
) -> Result<Option<u16>> {
    for Place { service, ports } in places {
        for port in ports.all() {
            let port = start_service(args, *service, port).await?;
            if ports.count() == 1 {
                *ports = Ports::one(port);
            }
        }
    }
    let Some(port) = control else { return Ok(None) };
    let control = listen(port).await?;
    let port = control.local_addr()?.port();
    drop(hayase::spawn(accept(control, serve_with(move |stream| ctl::obey(stream, core)))));
    Ok(Some(port))
}

/// Starts a service on a port of this core, and returns the port.
async fn start_service(args: &ServeArgs, service: Service, port: u16) -> Result<u16> {
    let listener = listen(port).await?;
    let port = listener.local_addr()?.port();
    if args.fastopen {
        let set = listener.set_fastopen(FASTOPEN_PENDING_MAX);
        set.attempt(|| format!("cannot take data with SYNs on port {port}"))?;
    }
    if args.udp {
        udp::start(port, args.may_get_addresses()).await?;
    }
    spawn_service(service, listener);
    Ok(port)
}

async fn listen(port: u16) -> Result<TcpListener> {
    let everywhere = (Ipv6Addr::UNSPECIFIED, port);
    TcpListener::bind(everywhere).await.attempt(|| format!("cannot listen on port {port}"))
}

fn spawn_service(service: Service, listener: TcpListener) {
    drop(match service {
        Service::Echo => hayase::spawn(accept(listener, serve_with(echo))),
        Service::Discard => hayase::spawn(accept(listener, serve_with(discard))),
        Service::Source => hayase::spawn(accept(listener, serve_with(source::send))),
        Service::Http => hayase::spawn(accept(listener, serve_with(http::serve))),
        Service::Close => hayase::spawn(accept(listener, serve_with(close))),
    });
}

fn is_link_local(addr: &IpAddr) -> bool {
    matches!(addr, IpAddr::V6(addr) if addr.is_unicast_link_local())
}

/// The addresses that clients can be told. A link-local one means nothing without its link.
fn addresses(host: Host) -> io::Result<Vec<IpAddr>> {
    let addresses = host.addresses()?.into_iter().map(|cidr| cidr.addr());
    Ok(addresses.filter(|addr| !is_link_local(addr)).collect())
}

/// Why there are none, and what to do. A server that nobody can be told of would run for nothing.
fn unreachable(host: Host) -> Result<Failure> {
    let states = host.address_states()?;
    let taken = states.iter().filter(|(_, state)| *state == AddressState::Duplicate);
    let taken = taken.map(|(cidr, _)| format!("another host of the link has {}; ", cidr.addr()));
    Ok(Failure::Error(format!("no address to listen on: {}{MORE_ADDRESSES}", taken.collect::<String>())))
}

const MORE_ADDRESSES: &str = "give the device one (`addr=`), or look whether a router of its link advertises a network \
                              (`autoconf=on`); the operating system's sockets (`kernel`) have those of its interfaces \
                              (`ip link set lo up`, `ip address add`)";

/// Test programs and shell scripts wait for these lines.
fn announce(addresses: &[IpAddr], places: &[Place]) -> Result {
    let ports = places.iter().flat_map(|place| place.ports.all());
    let lines = ports.flat_map(|port| addresses.iter().map(move |addr| SocketAddr::new(*addr, port)));
    say(lines.map(|addr| format!("listening on {addr}")).collect::<Vec<_>>().join("\n"))
}

impl ServeArgs {
    /// Whether the host can get other addresses than it has, without being given them here.
    fn may_get_addresses(&self) -> bool {
        self.device.iter().any(|spec| match spec {
            DeviceSpec::Kernel => true,
            DeviceSpec::Tap(TapSpec { link, .. })
            | DeviceSpec::Xdp(XdpSpec { link, .. })
            | DeviceSpec::Netmap(NetmapSpec { link, .. })
            | DeviceSpec::Dpdk(DpdkSpec { link, .. }) => link.autoconf,
            _ => false,
        })
    }
}

/// Makes of a service for one connection what [`accept`] runs for each: a task.
pub(crate) fn serve_with<F>(serve: impl Fn(TcpStream) -> F) -> impl Fn(TcpStream)
where
    F: Future<Output = io::Result<()>> + 'static,
{
    // How a connection ends is its peer's affair: a reset must not fill the log. The future is the task as it is, without
    // another around it, which would hold it twice.
    move |stream| drop(hayase::spawn(serve(stream)))
}

/// Accepts connections forever, whatever happens to one of them.
pub(crate) async fn accept(listener: TcpListener, serve: impl Fn(TcpStream)) {
    loop {
        // A connection that died while it waited needs no service.
        match listener.accept().await.and_then(|(stream, _)| stream.set_nodelay(true).map(|()| stream)) {
            Ok(stream) => serve(stream),
            Err(error) if error.kind() == io::ErrorKind::NotConnected => {}
            Err(error) => {
                note(format_args!("hayase: cannot accept a connection: {error}"));
                time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}
