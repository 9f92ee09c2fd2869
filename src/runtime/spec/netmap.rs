//! `netmap`: rings of a NIC, a port of a VALE switch or an end of a pipe.

use std::fmt;
use std::net::IpAddr;

use hayase_device::Offloads;
use hayase_stack::Cidr;

use super::{ETHERNET_MTU, Link, LinkSpec, address_options, common_options, options};

/// A netmap port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetmapSpec {
    /// The port: an interface (`eth1`), a port of a switch (`vale0:1`), an end of a pipe (`pipe{1` or `pipe}1`).
    pub port: String,
    /// Our addresses.
    pub addresses: Vec<Cidr>,
    /// Where packets for other networks go: at most one for each IP version.
    pub gateways: Vec<IpAddr>,
    /// Our link-layer address; or the interface's, or one that follows from the port's name.
    pub mac: Option<[u8; 6]>,
    /// The largest IP packet, in bytes.
    pub mtu: usize,
    /// The offloads to be used, as far as the port has them.
    pub offloads: Offloads,
    /// How the host behaves on its link.
    pub link: LinkSpec,
}

pub(super) fn parse(list: &str) -> Result<NetmapSpec, String> {
    let (mut port, mut link) = (String::new(), Link::new());
    for option in options(list) {
        match option? {
            ("port", value) => port = value.to_owned(),
            (key, value) if link.takes(key, value)? => {}
            (key, _) => {
                return Err(format!(
                    "a netmap device has no option `{key}`, only port, addr, gateway, mac, mtu, offloads, dad, autoconf and vlan"
                ));
            }
        }
    }
    if port.is_empty() {
        return Err("a netmap device needs a port: port=eth1, port=vale0:1 or port=pipe{1".into());
    }
    let Link { addresses, gateways, mac, mtu, offloads, manners } = link.complete("a netmap device")?;
    Ok(NetmapSpec {
        port,
        addresses,
        gateways,
        mac,
        mtu: mtu.unwrap_or(ETHERNET_MTU),
        offloads,
        link: manners,
    })
}

impl fmt::Display for NetmapSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut options = vec![format!("port={}", self.port)];
        options.extend(address_options(&self.addresses, &self.gateways, self.mac));
        common_options(&mut options, self.mtu, self.offloads);
        options.extend(self.link.options());
        write!(f, "netmap:{}", options.join(","))
    }
}

#[cfg(test)]
mod tests {
    use crate::runtime::DeviceSpec;

    #[test]
    fn text_and_value_are_the_same() {
        for text in [
            "netmap:port=vale0:1,addr=10.7.0.2/24",
            "netmap:port=pipe{1,addr=10.7.0.2/24,addr=fd00::2/64,gateway=10.7.0.1",
            "netmap:port=eth1,addr=10.7.0.2/24,mac=02:00:00:00:00:2a,mtu=9000,offloads=none",
        ] {
            assert_eq!(text.parse::<DeviceSpec>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        for (text, part) in [
            ("netmap:addr=10.7.0.2/24", "port=vale0:1"),
            ("netmap:port=eth1", "needs an address"),
            ("netmap:port=eth1,addr=10.7.0.2/24,queues=2", "`queues`"),
            ("netmap:eth1", "`eth1`"),
        ] {
            let error = text.parse::<DeviceSpec>().unwrap_err().to_string();
            assert!(error.contains(part) && error.contains("netmap:port="), "{text}: {error}");
        }
    }
}
