//! `tap`: a TAP interface of Linux.

use std::fmt;
use std::net::IpAddr;

use hayase_device::Offloads;
use hayase_stack::Cidr;

use super::{ETHERNET_MTU, Link, LinkSpec, address_options, cidr, common_options, options};

/// A TAP interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TapSpec {
    /// The interface's name. It is created if it does not exist.
    pub name: String,
    /// Our addresses.
    pub addresses: Vec<Cidr>,
    /// The kernel's addresses. If there are none, the kernel gets the gateway's, or else the first free one
    /// of each of our networks, unless the interface is part of a bridge.
    pub host: Vec<Cidr>,
    /// Where packets for other networks go: at most one for each IP version.
    pub gateways: Vec<IpAddr>,
    /// Our link-layer address, or one derived from the kernel's.
    pub mac: Option<[u8; 6]>,
    /// The largest IP packet, in bytes.
    pub mtu: usize,
    /// The offloads to be used, as far as the device has them.
    pub offloads: Offloads,
    /// How the host behaves on its link.
    pub link: LinkSpec,
}

impl Default for TapSpec {
    /// `hy0`, 10.7.0.2/24 and fd00:7::2/64, the kernel at `.1` of both.
    fn default() -> TapSpec {
        let cidr = |text: &str| text.parse().expect("a constant");
        TapSpec {
            name: "hy0".into(),
            addresses: vec![cidr("10.7.0.2/24"), cidr("fd00:7::2/64")],
            host: vec![cidr("10.7.0.1/24"), cidr("fd00:7::1/64")],
            gateways: Vec::new(),
            mac: None,
            mtu: ETHERNET_MTU,
            offloads: Offloads::ALL,
            link: LinkSpec::default(),
        }
    }
}

pub(super) fn parse(list: &str) -> Result<TapSpec, String> {
    let (mut name, mut host, mut link) = (String::new(), Vec::new(), Link::new());
    for option in options(list) {
        match option? {
            ("name", value) => name = value.to_owned(),
            ("host", value) => host.push(cidr("host", value)?),
            (key, value) if link.takes(key, value)? => {}
            (key, _) => {
                return Err(format!(
                    "a TAP device has no option `{key}`, only name, addr, host, gateway, mac, mtu, offloads, dad, autoconf and vlan"
                ));
            }
        }
    }
    if name.is_empty() {
        return Err("a TAP device needs a name: name=hy0".into());
    }
    let Link { addresses, gateways, mac, mtu, offloads, manners } = link.complete("a TAP device")?;
    if let Some(cidr) = host.iter().find(|host| addresses.iter().any(|ours| ours.addr() == host.addr())) {
        return Err(format!("host={cidr} is the kernel's side, and cannot be ours as well"));
    }
    Ok(TapSpec {
        name,
        addresses,
        host,
        gateways,
        mac,
        mtu: mtu.unwrap_or(ETHERNET_MTU),
        offloads,
        link: manners,
    })
}

impl fmt::Display for TapSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut options = vec![format!("name={}", self.name)];
        options.extend(address_options(&self.addresses, &[], None));
        options.extend(self.host.iter().map(|cidr| format!("host={cidr}")));
        options.extend(address_options(&[], &self.gateways, self.mac));
        common_options(&mut options, self.mtu, self.offloads);
        options.extend(self.link.options());
        write!(f, "tap:{}", options.join(","))
    }
}
