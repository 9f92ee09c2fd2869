//! A TAP interface: our host on one side, the kernel on the other.

use std::io;
use std::net::IpAddr;

use hayase_stack::{Cidr, Config};
use hayase_tap::{TapConfig, TapDevice, TapError};

use super::{Queue, give_addresses, on_link};
use crate::host::Host;
use crate::reactor::Reactor;
use crate::runtime::spec::TapSpec;
use crate::time;

/// One queue: the kernel's side has one as well.
pub(super) fn open(spec: &TapSpec) -> Vec<Queue> {
    let spec = spec.clone();
    vec![Box::new(move |reactor, config| attach(reactor, &spec, config))]
}

fn attach(reactor: &mut Reactor, spec: &TapSpec, config: &Config) -> io::Result<Vec<Host>> {
    let tap = TapConfig {
        name: spec.name.clone(),
        mac: spec.mac,
        mtu: spec.mtu,
        offloads: spec.offloads,
        ..TapConfig::default()
    };
    let device = TapDevice::open(&tap).map_err(tap_error)?;
    configure_kernel(spec)?;
    let host = reactor.attach(device, on_link(config, &spec.link), time::now())?;
    give_addresses(host, &spec.addresses, &spec.gateways)?;
    Ok(vec![host])
}

/// Brings the kernel's side up, with its addresses.
fn configure_kernel(spec: &TapSpec) -> io::Result<()> {
    let kernel = kernel_addresses(spec);
    let addresses: Vec<_> = kernel.iter().map(|cidr| (cidr.addr(), cidr.prefix())).collect();
    match hayase_tap::host::configure(&spec.name, spec.mtu, &addresses) {
        // We may open the interface and not change it: whoever made it for us sees to its kernel side.
        Err(TapError::ConfigureNotPermitted { .. }) if spec.host.is_empty() => Ok(()),
        result => result.map_err(tap_error),
    }
}

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

impl TapSpec {
    /// What the kernel's side is called once the device is open, if we may say so: as [`host`](TapSpec::host) has it; else one
    /// address in each of our networks, the gateway's if it is there. None on a bridge and in a VLAN.
    #[must_use]
    pub fn kernel_addresses(&self) -> Vec<Cidr> {
        kernel_addresses(self)
    }
}

/// What the kernel's side is to be called: as the spec says; else one address in each of our networks, the
/// gateway's if it is there. On a bridge, the addresses are the bridge's affair.
fn kernel_addresses(spec: &TapSpec) -> Vec<Cidr> {
    if *spec == TapSpec::default() {
        // Nobody asked for these addresses: a kernel without IPv6 does without.
        let is_possible = |cidr: &&Cidr| cidr.addr().is_ipv4() || kernel_has_ipv6();
        return spec.host.iter().filter(is_possible).copied().collect();
    }
    // In a VLAN, the kernel's side is an interface of its own, which somebody has to make.
    if !spec.host.is_empty() || spec.link.vlan.is_some() || is_bridged(&spec.name) {
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
fn kernel_has_ipv6() -> bool {
    std::fs::read_to_string("/proc/sys/net/ipv6/conf/default/disable_ipv6")
        .is_ok_and(|text| text.trim() == "0")
}

fn is_bridged(name: &str) -> bool {
    std::fs::exists(format!("/sys/class/net/{name}/master")).unwrap_or(false)
}

/// The first address of our network that is not ours: `.1`, or `.2` if that is us; in a network of two (RFC
/// 3021, RFC 6164) simply the other one. `None` if there is no other.
fn neighbour(ours: Cidr) -> Option<IpAddr> {
    let network = ours.network().addr();
    let candidates = [1, 2, 0].into_iter().map(|offset| match network {
        IpAddr::V4(addr) => IpAddr::V4(addr.to_bits().saturating_add(offset).into()),
        IpAddr::V6(addr) => IpAddr::V6(addr.to_bits().saturating_add(offset.into()).into()),
    });
    candidates.into_iter().find(|addr| *addr != ours.addr() && ours.contains(*addr))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::DeviceSpec;

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
