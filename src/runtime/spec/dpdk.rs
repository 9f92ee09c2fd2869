//! `dpdk`: a device of one of DPDK's drivers.

use std::fmt;
use std::net::IpAddr;

use hayase_device::Offloads;
use hayase_stack::Cidr;

use super::{ETHERNET_MTU, Link, LinkSpec, address_options, common_options, once};

/// A device of one of DPDK's drivers.
///
/// In its text form, `vdev=` or `pci=` begins the device's own list of arguments: from there on, what is no option of
/// ours (`addr`, `gateway`, `mac`, `mtu`, `offloads`, `dad`, `autoconf`,
/// `vlan`, `nap`, `eal`) belongs to the driver, in the order in which it is written.
/// So in `dpdk:vdev=net_virtio_user0,path=/run/x.sock,queues=2,addr=10.7.0.2/24` the driver gets
/// `net_virtio_user0,path=/run/x.sock,queues=2`. An argument of a driver that has the name of an option of ours cannot be
/// given this way; ours does the same (`mac=`). As many queue pairs are used as there are cores, if the device has them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DpdkSpec {
    /// The device, with its driver's arguments, as DPDK writes it: `net_virtio_user0,path=/run/x.sock`.
    pub device: String,
    /// Further arguments of EAL, one word each. In the text form, `eal=` may come several times and hold several words;
    /// a comma ends it.
    pub eal: Vec<String>,
    /// Our addresses.
    pub addresses: Vec<Cidr>,
    /// Where packets for other networks go: at most one for each IP version.
    pub gateways: Vec<IpAddr>,
    /// Our link-layer address, or the device's.
    pub mac: Option<[u8; 6]>,
    /// The largest IP packet, in bytes.
    pub mtu: usize,
    /// The offloads to be used, as far as the device has them.
    pub offloads: Offloads,
    /// The longest nap of an idle core whose driver wakes nobody, in milliseconds (`nap=`), 16 if it is not said. A nap is an
    /// eighth of the time in which nothing came or went: by so much the next frame may be late. The longer it may be, the
    /// less of a processor an idle core takes.
    pub nap_ms: Option<u16>,
    /// How the host behaves on its link.
    pub link: LinkSpec,
}

impl DpdkSpec {
    /// The huge pages that a device on one core wants, in MiB; with fewer, DPDK takes ordinary memory. What it takes for each
    /// further core is less.
    pub const HUGE_PAGES_MIB: usize = 175;

    /// Whether the device is on the PCI bus.
    fn is_pci(&self) -> bool {
        self.device.split(',').next().is_some_and(|name| name.contains(':'))
    }
}

pub(super) fn parse(list: &str) -> Result<DpdkSpec, String> {
    let (mut device, mut eal, mut link, mut seen) = (String::new(), Vec::new(), Link::new(), Vec::new());
    let mut nap_ms = None;
    for option in list.split(',').filter(|option| !option.is_empty()) {
        match option.split_once('=') {
            Some(("eal", value)) => eal.extend(value.split_whitespace().map(str::to_owned)),
            Some((key @ ("vdev" | "pci"), value)) => begin(&mut device, key, value)?,
            Some(("nap", value)) => {
                once(&mut seen, "nap")?;
                nap_ms = Some(nap(value)?);
            }
            Some((key, value)) if link.takes(key, value)? => once(&mut seen, key)?,
            _ if device.is_empty() => {
                return Err(format!(
                    "`{option}` is no option of a DPDK device, which are vdev, pci, addr, gateway, mac, mtu, offloads, \
                     dad, autoconf, vlan, nap and eal; a driver's own come after vdev= or pci="
                ));
            }
            _ => {
                device.push(',');
                device.push_str(option);
            }
        }
    }
    if device.is_empty() {
        return Err("a DPDK device needs vdev= or pci=".into());
    }
    let Link { addresses, gateways, mac, mtu, offloads, manners } = link.complete("a DPDK device")?;
    let mtu = mtu.unwrap_or(ETHERNET_MTU);
    Ok(DpdkSpec { device, eal, addresses, gateways, mac, mtu, offloads, nap_ms, link: manners })
}

/// Naps that somebody who waits for an answer would take for a broken link are refused.
const NAP_MS_MAX: u16 = 1000;

fn nap(value: &str) -> Result<u16, String> {
    let nap = value.parse().ok().filter(|nap| (1..=NAP_MS_MAX).contains(nap));
    nap.ok_or_else(|| format!("nap={value} is no number of milliseconds from 1 to {NAP_MS_MAX}"))
}

/// The device's name.
fn begin(device: &mut String, key: &str, value: &str) -> Result<(), String> {
    if !device.is_empty() {
        return Err(format!("{key}={value} is a second device; there is one for each SPEC"));
    }
    if value.is_empty() || (key == "pci") != value.contains(':') {
        return Err(format!(
            "{key}={value} is no device: a virtual one is written vdev=net_virtio_user0, one on the PCI bus \
             pci=0000:01:00.0"
        ));
    }
    value.clone_into(device);
    Ok(())
}

impl fmt::Display for DpdkSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = if self.is_pci() { "pci" } else { "vdev" };
        let mut options = vec![format!("{key}={}", self.device)];
        if !self.eal.is_empty() {
            options.push(format!("eal={}", self.eal.join(" ")));
        }
        options.extend(address_options(&self.addresses, &self.gateways, self.mac));
        common_options(&mut options, self.mtu, self.offloads);
        options.extend(self.nap_ms.map(|nap| format!("nap={nap}")));
        options.extend(self.link.options());
        write!(f, "dpdk:{}", options.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_the_device_what_is_not_ours_is_the_drivers() {
        let list = "mtu=9000,vdev=net_virtio_user0,path=/run/x.sock,addr=10.7.0.2/24,queues=2,flag,mac=02:00:00:00:00:01";
        let spec = parse(list).unwrap();
        assert_eq!(spec.device, "net_virtio_user0,path=/run/x.sock,queues=2,flag");
        assert_eq!((spec.mtu, spec.mac, spec.addresses.len()), (9000, Some([2, 0, 0, 0, 0, 1]), 1));
    }

    #[test]
    fn eal_takes_words() {
        let spec = parse("pci=0000:01:00.0,addr=10.7.0.2/24,eal=-m 512 --no-huge,eal=--log-level=8").unwrap();
        assert_eq!(spec.eal, ["-m", "512", "--no-huge", "--log-level=8"]);
        assert_eq!(spec.device, "0000:01:00.0");
    }

    #[test]
    fn text_and_value_are_the_same() {
        for text in [
            "dpdk:vdev=net_vhost0,iface=/run/x.sock,tso=1,client=0,addr=10.7.0.1/24",
            "dpdk:pci=0000:01:00.0,representor=0,eal=-m 512,addr=10.7.0.2/24,addr=fd00::2/64,gateway=10.7.0.1,\
             mac=02:00:00:00:00:2a,mtu=9000,offloads=none,nap=20",
        ] {
            assert_eq!(text.parse::<super::super::DeviceSpec>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn mistakes_are_named() {
        for (list, part) in [
            ("", "vdev= or pci="),
            ("addr=10.7.0.2/24", "vdev= or pci="),
            ("path=/run/x.sock,vdev=net_virtio_user0", "`path=/run/x.sock`"),
            ("vdev=net_null0", "needs an address"),
            ("vdev=net_null0,pci=0000:01:00.0,addr=10.7.0.2/24", "second device"),
            ("pci=net_null0,addr=10.7.0.2/24", "pci=net_null0"),
            ("vdev=0000:01:00.0,addr=10.7.0.2/24", "vdev=0000:01:00.0"),
            ("vdev=net_null0,mtu=1", "mtu=1"),
            ("vdev=net_null0,addr=10.7.0.2/24,nap=0", "nap=0 is no number of milliseconds from 1 to 1000"),
            ("vdev=net_null0,addr=10.7.0.2/24,nap=2,nap=3", "`nap` is given twice"),
            ("vdev=net_null0,mtu=1500,addr=10.7.0.2/24,mtu=9000", "`mtu` is given twice"),
            ("vdev=net_null0,addr=10.7.0.2/24,dad=0,dad=1", "`dad` is given twice"),
        ] {
            let words = parse(list).unwrap_err();
            assert!(words.contains(part), "{list}: {words}");
        }
    }
}
