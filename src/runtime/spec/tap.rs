//! `tap`: a TAP interface of Linux.

use std::fmt;
use std::net::IpAddr;

use hayase_device::Offloads;
use hayase_stack::Cidr;

use super::{ETHERNET_MTU, LinkSpec, cidr, common_options, gateway, mac, mtu, offloads, options};

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
    let mut spec =
        TapSpec { name: String::new(), addresses: Vec::new(), host: Vec::new(), ..TapSpec::default() };
    for option in options(list) {
        match option? {
            ("name", value) => spec.name = value.to_owned(),
            ("addr", value) => spec.addresses.push(cidr("addr", value)?),
            ("host", value) => spec.host.push(cidr("host", value)?),
            ("gateway", value) => spec.gateways.push(gateway(value)?),
            ("mac", value) => spec.mac = Some(mac(value)?),
            ("mtu", value) => spec.mtu = mtu(value)?,
            ("offloads", value) => spec.offloads = offloads(value)?,
            (key, value) if spec.link.take(key, value)? => {}
            (key, _) => {
                return Err(format!(
                    "a TAP device has no option `{key}`, only name, addr, host, gateway, mac, mtu, offloads, dad, autoconf and vlan"
                ));
            }
        }
    }
    if spec.name.is_empty() {
        return Err("a TAP device needs a name".into());
    }
    if spec.addresses.is_empty() && !spec.link.autoconf {
        return Err("a TAP device needs an address: addr=ADDRESS/PREFIX, or autoconf=on".into());
    }
    Ok(spec)
}

impl fmt::Display for TapSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut options = vec![format!("name={}", self.name)];
        options.extend(self.addresses.iter().map(|cidr| format!("addr={cidr}")));
        options.extend(self.host.iter().map(|cidr| format!("host={cidr}")));
        options.extend(self.gateways.iter().map(|gateway| format!("gateway={gateway}")));
        options
            .extend(self.mac.map(|mac| format!("mac={}", mac.map(|byte| format!("{byte:02x}")).join(":"))));
        common_options(&mut options, self.mtu, self.offloads);
        options.extend(self.link.options());
        write!(f, "tap:{}", options.join(","))
    }
}
