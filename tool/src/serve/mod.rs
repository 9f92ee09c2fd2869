//! `hayase serve`: servers that anybody's clients can talk to.

mod ctl;
mod demo;
mod discard;
mod echo;
mod http;
mod source;
mod udp;

use discard::discard;
pub(crate) use echo::echo;

use std::io::{self, Write};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use hayase::net::{TcpListener, TcpStream};
use hayase::{Host, time};

use crate::cli::{ServeArgs, Service};
use crate::device;
use crate::failure::{Attempt, Result};
use crate::signal::Interrupt;

/// Connections that may have data before their handshake is over: what a flood with stolen cookies can take up at a time.
const FASTOPEN_PENDING_MAX: u32 = 256;

/// After an accept that failed, for lack of memory or sockets, the next is not tried at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

pub(crate) fn run(args: &ServeArgs) -> Result {
    let builder = device::builder(args.cores, args.model, &args.device, None, args.congestion);
    let runtime = builder.build()?;
    let interrupt = Interrupt::catch()?;
    runtime.block_on(async {
        let port = start_everywhere(args).await?;
        match runtime.peer() {
            Some(client) => demo::run(args.service, client, runtime.host(), port).await,
            None => {
                interrupt.wait().await;
                Ok(())
            }
        }
    })
}

/// Starts everything that was asked for on every core, and says so. Returns the service's port, which the first core
/// chooses if it is to be chosen.
async fn start_everywhere(args: &ServeArgs) -> Result<u16> {
    let port = args.port.unwrap_or(args.service.default_port());
    let (port, control) = start(0, args.clone(), port, args.ctl).await?;
    for core in 1..args.cores {
        let args = args.clone();
        hayase::spawn_on(core, move || start(core, args, port, control))?.await??;
    }
    if let Some(control) = control {
        eprintln!("hayase: orders are taken on port {control}");
    }
    announce(&addresses(Host::current()?)?, port)?;
    Ok(port)
}

/// Starts everything on this core. Returns the ports of the service and, if there is one, of the control.
async fn start(core: usize, args: ServeArgs, port: u16, control: Option<u16>) -> Result<(u16, Option<u16>)> {
    let listener = listen(port).await?;
    let port = listener.local_addr()?.port();
    if args.fastopen {
        let set = listener.set_fastopen(FASTOPEN_PENDING_MAX);
        set.attempt(|| format!("cannot take data with SYNs on port {port}"))?;
    }
    if args.udp {
        for addr in addresses(Host::current()?)? {
            udp::start(SocketAddr::new(addr, port)).await?;
        }
    }
    let mut control_port = None;
    if let Some(port) = control {
        let control = listen(port).await?;
        control_port = Some(control.local_addr()?.port());
        drop(hayase::spawn(accept(control, serve_with(move |stream| ctl::obey(stream, core)))));
    }
    spawn_service(args.service, listener);
    Ok((port, control_port))
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
    });
}

/// The addresses that clients can be told. A link-local one means nothing without its link.
fn addresses(host: Host) -> io::Result<Vec<IpAddr>> {
    let is_link_local = |addr: &IpAddr| matches!(addr, IpAddr::V6(addr) if addr.is_unicast_link_local());
    let addresses = host.addresses()?.into_iter().map(|cidr| cidr.addr());
    Ok(addresses.filter(|addr| !is_link_local(addr)).collect())
}

/// Test programs and shell scripts wait for these lines.
fn announce(addresses: &[IpAddr], port: u16) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    for addr in addresses {
        writeln!(stdout, "listening on {}", SocketAddr::new(*addr, port))?;
    }
    stdout.flush()
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
                eprintln!("hayase: cannot accept a connection: {error}");
                time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}
