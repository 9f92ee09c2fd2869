//! Where clients on this machine are, if we serve on a TAP interface: the kernel's side of it.

use std::net::{IpAddr, UdpSocket};

use hayase::{DeviceSpec, TapSpec};

use crate::say::note;

/// Says for each TAP interface what the kernel's side is called: what its clients come from, and what answers to `ping`.
pub(super) fn announce(devices: &[DeviceSpec]) {
    let default = [DeviceSpec::Tap(TapSpec::default())];
    for spec in if devices.is_empty() { &default } else { devices } {
        if let DeviceSpec::Tap(tap) = spec
            && let Some(line) = line(tap, is_ours)
        {
            note(format_args!("hayase: {line}"));
        }
    }
}

/// `None`: its addresses are somebody else's affair.
fn line(tap: &TapSpec, has: impl Fn(IpAddr) -> bool) -> Option<String> {
    let wanted = tap.kernel_addresses();
    let there: Vec<_> = wanted.iter().filter(|cidr| has(cidr.addr())).map(ToString::to_string).collect();
    let first = wanted.first()?;
    let name = &tap.name;
    Some(if there.is_empty() {
        format!("the kernel's side of {name} has no address of ours: `ip address add {first} dev {name}`")
    } else {
        format!("the kernel's side of {name} is {}", there.join(" and "))
    })
}

/// Whether the kernel has this address: then a socket can have it.
fn is_ours(addr: IpAddr) -> bool {
    UdpSocket::bind((addr, 0)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(spec: &str, has: impl Fn(IpAddr) -> bool) -> Option<String> {
        let DeviceSpec::Tap(tap) = spec.parse().unwrap() else { panic!("{spec} is no TAP interface") };
        line(&tap, has)
    }

    #[test]
    fn the_kernels_addresses_are_those_that_it_has() {
        let spec = "tap:name=hy7,addr=10.7.0.2/24,addr=fd00::2/64";
        let both = said(spec, |_| true).unwrap();
        assert_eq!(both, "the kernel's side of hy7 is 10.7.0.1/24 and fd00::1/64");
        let one = said(spec, |addr| addr.is_ipv4()).unwrap();
        assert_eq!(one, "the kernel's side of hy7 is 10.7.0.1/24");
        let none = said(spec, |_| false).unwrap();
        assert!(none.ends_with("`ip address add 10.7.0.1/24 dev hy7`"), "{none}");
        assert_eq!(said("tap:name=hy7,addr=10.7.0.2/32", |_| true), None);
    }

    #[test]
    fn what_the_kernel_has_is_found_by_asking() {
        assert!(is_ours([127, 0, 0, 1].into()) && !is_ours([192, 0, 2, 1].into()));
    }
}
