//! From a device spec to hosts with addresses.

use std::io;
#[cfg(feature = "tap")]
use std::net::IpAddr;

#[cfg(feature = "tap")]
use hayase_stack::Cidr;
use hayase_stack::Config;
#[cfg(feature = "tap")]
use hayase_tap::{TapConfig, TapDevice, TapError};
use hayase_wire::{EndConfig, Wire, WireConfig};

use super::spec::{DeviceSpec, TapSpec, WireSpec};
use crate::door;
use crate::host::Host;
use crate::reactor::Reactor;
use crate::time;

/// The hosts that a device brought.
pub(super) struct Attached {
    pub(super) hosts: Vec<Host>,
}

/// The addresses on a wire: first our end's, then the other's.
const WIRE_ADDRESSES: [[&str; 2]; 2] = [["10.7.0.2/24", "fd00:7::2/64"], ["10.7.0.1/24", "fd00:7::1/64"]];

pub(super) fn attach(reactor: &mut Reactor, spec: &DeviceSpec, config: &Config) -> io::Result<Attached> {
    match spec {
        DeviceSpec::Wire(spec) => attach_wire(reactor, spec, config),
        DeviceSpec::Tap(spec) => attach_tap(reactor, spec, config),
    }
}

fn attach_wire(reactor: &mut Reactor, spec: &WireSpec, config: &Config) -> io::Result<Attached> {
    let mut wire = WireConfig { mtu: spec.mtu, ..WireConfig::default() };
    wire.a = EndConfig { offloads: spec.offloads, ..wire.a };
    wire.b = EndConfig { offloads: spec.offloads, ..wire.b };
    let (ours, other) = Wire::pair(wire);
    let now = time::now();
    let hosts = vec![reactor.attach(ours, config.clone(), now)?, reactor.attach(other, config.clone(), now)?];
    for (host, addresses) in hosts.iter().zip(WIRE_ADDRESSES) {
        for address in addresses {
            host.add_address(address.parse().expect("a constant"))?;
        }
    }
    door::join(hosts[0].shard(), hosts[1].shard())?;
    Ok(Attached { hosts })
}

#[cfg(feature = "tap")]
fn attach_tap(reactor: &mut Reactor, spec: &TapSpec, config: &Config) -> io::Result<Attached> {
    let tap = TapConfig {
        name: spec.name.clone(),
        mac: spec.mac,
        mtu: spec.mtu,
        offloads: spec.offloads,
        ..TapConfig::default()
    };
    let device = TapDevice::open(&tap).map_err(tap_error)?;
    configure_kernel(spec)?;
    let host = reactor.attach(device, config.clone(), time::now())?;
    for address in &spec.addresses {
        host.add_address(*address)?;
    }
    for gateway in &spec.gateways {
        host.add_route(if gateway.is_ipv4() { Cidr::ALL_V4 } else { Cidr::ALL_V6 }, *gateway)?;
    }
    Ok(Attached { hosts: vec![host] })
}

#[cfg(not(feature = "tap"))]
fn attach_tap(_: &mut Reactor, spec: &TapSpec, _: &Config) -> io::Result<Attached> {
    let text = format!("cannot open TAP device {}: hayase was built without its feature `tap`", spec.name);
    Err(io::Error::new(io::ErrorKind::Unsupported, text))
}

/// Brings the kernel's side up, with its addresses.
#[cfg(feature = "tap")]
fn configure_kernel(spec: &TapSpec) -> io::Result<()> {
    let kernel = kernel_addresses(spec);
    let addresses: Vec<_> = kernel.iter().map(|cidr| (cidr.addr(), cidr.prefix())).collect();
    match hayase_tap::host::configure(&spec.name, spec.mtu, &addresses) {
        // We may open the interface and not change it: whoever made it for us sees to its kernel side.
        Err(TapError::ConfigureNotPermitted { .. }) if spec.host.is_empty() => Ok(()),
        result => result.map_err(tap_error),
    }
}

#[cfg(feature = "tap")]
fn tap_error(error: TapError) -> io::Error {
    let kind = match &error {
        TapError::BadName(_) => io::ErrorKind::InvalidInput,
        TapError::NotPermitted { .. } | TapError::ConfigureNotPermitted { .. } => {
            io::ErrorKind::PermissionDenied
        }
        TapError::NoTunDriver(_) => io::ErrorKind::NotFound,
        TapError::Busy(_) => io::ErrorKind::ResourceBusy,
        TapError::NotTap(_) => io::ErrorKind::AlreadyExists,
        TapError::Io { source, .. } => source.kind(),
        _ => io::ErrorKind::Other,
    };
    io::Error::new(kind, error)
}

/// What the kernel's side is to be called: as the spec says; else one address in each of our networks, the
/// gateway's if it is there. On a bridge, the addresses are the bridge's affair.
#[cfg(feature = "tap")]
fn kernel_addresses(spec: &TapSpec) -> Vec<Cidr> {
    if *spec == TapSpec::default() {
        // Nobody asked for these addresses: a kernel without IPv6 does without.
        let is_possible = |cidr: &&Cidr| cidr.addr().is_ipv4() || kernel_has_ipv6();
        return spec.host.iter().filter(is_possible).copied().collect();
    }
    if !spec.host.is_empty() || is_bridged(&spec.name) {
        return spec.host.clone();
    }
    let kernel = |ours: &Cidr| {
        let gateway = spec.gateways.iter().copied().find(|gateway| ours.contains(*gateway));
        Cidr::new(gateway.or_else(|| neighbour(*ours))?, ours.prefix())
    };
    let is_possible = |cidr: &Cidr| cidr.addr().is_ipv4() || kernel_has_ipv6();
    spec.addresses.iter().filter_map(kernel).filter(is_possible).collect()
}

/// Containers often switch it off for new interfaces.
#[cfg(feature = "tap")]
fn kernel_has_ipv6() -> bool {
    std::fs::read_to_string("/proc/sys/net/ipv6/conf/default/disable_ipv6")
        .is_ok_and(|text| text.trim() == "0")
}

#[cfg(feature = "tap")]
fn is_bridged(name: &str) -> bool {
    std::fs::exists(format!("/sys/class/net/{name}/master")).unwrap_or(false)
}

/// The first address of our network that is not ours: `.1`, or `.2` if that is us; in a network of two (RFC
/// 3021, RFC 6164) simply the other one. `None` if there is no other.
#[cfg(feature = "tap")]
fn neighbour(ours: Cidr) -> Option<IpAddr> {
    let network = ours.network().addr();
    let candidates = [1, 2, 0].into_iter().map(|offset| match network {
        IpAddr::V4(addr) => IpAddr::V4(addr.to_bits().saturating_add(offset).into()),
        IpAddr::V6(addr) => IpAddr::V6(addr.to_bits().saturating_add(offset.into()).into()),
    });
    candidates.into_iter().find(|addr| *addr != ours.addr() && ours.contains(*addr))
}

#[cfg(all(test, feature = "tap"))]
mod tests {
    use super::*;

    fn spec(text: &str) -> TapSpec {
        match text.parse().unwrap() {
            DeviceSpec::Tap(spec) => spec,
            other => panic!("{other} is no TAP device"),
        }
    }

    #[test]
    fn the_kernel_gets_an_address_in_each_of_our_networks() {
        for (text, wanted) in [
            ("addr=10.7.0.2/24,addr=fd00::2/64", vec!["10.7.0.1/24", "fd00::1/64"]),
            ("addr=10.7.0.1/24", vec!["10.7.0.2/24"]),
            ("addr=10.7.0.2/24,gateway=10.7.0.254", vec!["10.7.0.254/24"]),
            ("addr=10.7.0.2/24,gateway=10.8.0.1", vec!["10.7.0.1/24"]),
            ("addr=10.7.0.2/24,host=10.7.0.9/24", vec!["10.7.0.9/24"]),
            ("addr=10.7.0.1/31", vec!["10.7.0.0/31"]),
            ("addr=10.7.0.0/31", vec!["10.7.0.1/31"]),
            ("addr=10.7.0.1/32", vec![]),
        ] {
            let kernel = kernel_addresses(&spec(&format!("tap:name=no-such,{text}")));
            let kernel: Vec<_> = kernel.iter().map(Cidr::to_string).collect();
            assert_eq!(kernel, wanted, "{text}");
        }
    }
}
