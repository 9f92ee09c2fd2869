//! From a device spec to hosts with addresses. Each kind of device has a file.

#[cfg(feature = "dpdk")]
mod dpdk;
#[cfg(feature = "kernel")]
mod kernel;
#[cfg(feature = "netmap")]
mod netmap;
#[cfg(feature = "tap")]
mod tap;
mod wire;
#[cfg(feature = "xdp")]
mod xdp;

use std::io;
use std::net::IpAddr;

use hayase_stack::{Cidr, Config, Congestion};

use super::spec::DeviceSpec;
#[cfg(any(feature = "tap", feature = "xdp", feature = "dpdk", feature = "netmap"))]
use super::spec::LinkSpec;
use crate::capture::Capture;
use crate::host::Host;
use crate::reactor::Reactor;

/// A queue pair of a device, on its way to its core. There, on the core's own thread, it puts a stack on the
/// queue and returns that stack's hosts: the one that tasks of the core mean, and on a wire the other end's.
pub(crate) type Queue = Box<dyn FnOnce(&mut Reactor, &Config) -> io::Result<Vec<Host>> + Send>;

/// Opens a device, with a queue pair for each core as far as it has them: core i gets the i-th. Never empty. A stack has
/// its congestion control from its configuration; where there is none, it is `congestion`.
pub(super) fn open(
    spec: &DeviceSpec,
    cores: usize,
    #[cfg_attr(not(feature = "kernel"), expect(unused_variables, reason = "every device has a stack"))]
    congestion: Option<Congestion>,
) -> io::Result<Vec<Queue>> {
    match spec {
        DeviceSpec::Wire(spec) => Ok(wire::open(spec, cores)),
        #[cfg(feature = "tap")]
        DeviceSpec::Tap(spec) => Ok(tap::open(spec)),
        #[cfg(not(feature = "tap"))]
        DeviceSpec::Tap(_) => Err(not_built("tap")),
        #[cfg(feature = "kernel")]
        DeviceSpec::Kernel => Ok(kernel::open(cores, congestion)),
        #[cfg(not(feature = "kernel"))]
        DeviceSpec::Kernel => Err(not_built("kernel")),
        #[cfg(feature = "xdp")]
        DeviceSpec::Xdp(spec) => xdp::open(spec, cores),
        #[cfg(not(feature = "xdp"))]
        DeviceSpec::Xdp(_) => Err(not_built("xdp")),
        #[cfg(feature = "netmap")]
        DeviceSpec::Netmap(spec) => netmap::open(spec, cores),
        #[cfg(not(feature = "netmap"))]
        DeviceSpec::Netmap(_) => Err(not_built("netmap")),
        #[cfg(feature = "dpdk")]
        DeviceSpec::Dpdk(spec) => dpdk::open(spec, cores),
        #[cfg(not(feature = "dpdk"))]
        DeviceSpec::Dpdk(_) => Err(not_built("dpdk")),
    }
}

/// The same queue pairs, whose frames are recorded.
///
/// # Errors
/// If there are no frames: with the operating system's sockets.
pub(super) fn captured(spec: &DeviceSpec, queues: Vec<Queue>, capture: &Capture) -> io::Result<Vec<Queue>> {
    if matches!(spec, DeviceSpec::Kernel) {
        let text = "the device `kernel` has no frames to record: use tcpdump on the interfaces of the system";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    let recorded = |queue: Queue| {
        let capture = capture.clone();
        Box::new(move |reactor: &mut Reactor, config: &Config| {
            reactor.capture(&capture);
            queue(reactor, config)
        }) as Queue
    };
    Ok(queues.into_iter().map(recorded).collect())
}

/// Whether all queue pairs of the device are one network, so that any core may get any frame.
pub(super) fn is_one_network(spec: &DeviceSpec) -> bool {
    !matches!(spec, DeviceSpec::Wire(_) | DeviceSpec::Kernel)
}

/// A queue pair whose device is opened on its core, and whose host gets what its spec says of addresses.
#[cfg(any(feature = "xdp", feature = "dpdk", feature = "netmap"))]
fn addressed<D: hayase_device::Device + 'static>(
    open: impl FnOnce() -> io::Result<D> + Send + 'static,
    addresses: Vec<Cidr>,
    gateways: Vec<IpAddr>,
    link: LinkSpec,
) -> Queue {
    Box::new(move |reactor, config| {
        let host = reactor.attach(open()?, on_link(config, &link), crate::time::now())?;
        give_addresses(host, &addresses, &gateways)?;
        Ok(vec![host])
    })
}

/// The habits of a stack on a link with other hosts, where its owner has not chosen them.
#[cfg(any(feature = "tap", feature = "xdp", feature = "dpdk", feature = "netmap"))]
fn on_link(config: &Config, spec: &LinkSpec) -> Config {
    let mut config = config.clone();
    config.dad_transmits = spec.dad_transmits.or(config.dad_transmits).or(Some(1));
    config.vlan = spec.vlan.or(config.vlan);
    config.autoconf |= spec.autoconf;
    config.announce = config.announce.or(Some(true));
    config
}

/// Whether the device is one that programs are expected to keep polling.
pub(super) fn is_polled(spec: &DeviceSpec) -> bool {
    matches!(spec, DeviceSpec::Dpdk(_))
}

/// Gives a host what its spec says of addresses.
#[cfg_attr(
    not(any(feature = "tap", feature = "dpdk", feature = "netmap", feature = "xdp")),
    expect(dead_code, reason = "a wire has addresses of its own")
)]
fn give_addresses(host: Host, addresses: &[Cidr], gateways: &[IpAddr]) -> io::Result<()> {
    addresses.iter().try_for_each(|address| host.add_address(*address))?;
    gateways.iter().try_for_each(|gateway| {
        host.add_route(if gateway.is_ipv4() { Cidr::ALL_V4 } else { Cidr::ALL_V6 }, *gateway)
    })
}

/// The error for a device that a feature would have brought.
#[cfg(not(all(feature = "tap", feature = "dpdk", feature = "netmap", feature = "xdp", feature = "kernel")))]
fn not_built(feature: &str) -> io::Error {
    let text =
        format!("hayase was built without its feature `{feature}`: build it with `--features {feature}`");
    io::Error::new(io::ErrorKind::Unsupported, text)
}
