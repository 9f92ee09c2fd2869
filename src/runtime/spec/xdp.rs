//! `xdp`: the queues of a network interface of Linux, through AF_XDP.

use std::fmt;
use std::net::IpAddr;
use std::ops::RangeInclusive;

use hayase_device::Offloads;
use hayase_stack::Cidr;

use super::{Link, LinkSpec, address_options, options, switch};

/// The queues of a network interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct XdpSpec {
    /// The interface's name. It must exist and be up.
    pub interface: String,
    /// Our addresses.
    pub addresses: Vec<Cidr>,
    /// Where packets for other networks go: at most one for each IP version.
    pub gateways: Vec<IpAddr>,
    /// The receive queues to take, or all.
    pub queues: Option<RangeInclusive<u32>>,
    /// How packets get to our memory, or the best way there is.
    pub mode: Option<XdpMode>,
    /// What is left to the kernel; if nothing, all packets on these queues are ours. Not in a VLAN.
    pub keep: Vec<XdpKeep>,
    /// Our link-layer address, or the interface's.
    pub mac: Option<[u8; 6]>,
    /// The largest IP packet, in bytes, or the interface's.
    pub mtu: Option<usize>,
    /// The offloads to be used, as far as there are any.
    pub offloads: Offloads,
    /// How the host behaves on its link.
    pub link: LinkSpec,
    /// Whether the other end of the link is on this machine, so that a checksum which its kernel left out is right.
    pub trust: bool,
}

/// How packets get from the NIC to our memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum XdpMode {
    /// The NIC itself writes and reads: needs a driver that can.
    ZeroCopy,
    /// The driver hands packets over, the kernel copies.
    Copy,
    /// The kernel makes its own packets of them first, and copies: works on every interface.
    Skb,
}

/// Packets that are left to the kernel. With any of them, the kernel hears of neighbours and errors as well as we do.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum XdpKeep {
    /// TCP to these ports.
    Tcp(RangeInclusive<u16>),
    /// UDP to these ports.
    Udp(RangeInclusive<u16>),
    /// Echo requests and replies.
    Icmp,
    /// Only what both sides need to live on the link.
    Arp,
    /// Everything to this address.
    Address(IpAddr),
}

pub(super) fn parse(list: &str) -> Result<XdpSpec, String> {
    let mut link = Link::new();
    let mut spec = XdpSpec {
        interface: String::new(),
        addresses: Vec::new(),
        gateways: Vec::new(),
        queues: None,
        mode: None,
        keep: Vec::new(),
        mac: None,
        mtu: None,
        offloads: Offloads::ALL,
        link: LinkSpec::default(),
        trust: false,
    };
    for option in options(list) {
        match option? {
            ("if", value) => spec.interface = value.to_owned(),
            ("queues", value) => spec.queues = Some(queues(value)?),
            ("mode", value) => spec.mode = Some(mode(value)?),
            ("keep", value) => spec.keep.push(keep(value)?),
            ("trust", value) => spec.trust = switch("trust", value)?,
            (key, value) if link.takes(key, value)? => {}
            (key, _) => {
                return Err(format!(
                    "an AF_XDP device has no option `{key}`, only if, addr, gateway, queues, mode, keep, mac, mtu, \
                     offloads, trust, dad, autoconf and vlan"
                ));
            }
        }
    }
    if spec.interface.is_empty() {
        return Err("an AF_XDP device needs an interface: if=NAME, as `ip link` shows it".into());
    }
    let Link { addresses, gateways, mac, mtu, offloads, manners } = link.complete("an AF_XDP device")?;
    let spec = XdpSpec { addresses, gateways, mac, mtu, offloads, link: manners, ..spec };
    spec.check()?;
    Ok(spec)
}

impl XdpSpec {
    /// Whether it can be had, as far as that can be said without the interface.
    pub(in crate::runtime) fn check(&self) -> Result<(), String> {
        if !self.keep.is_empty() && self.link.vlan.is_some() {
            return Err("keep= and vlan= do not go together: what sorts packets for the kernel does not look behind a \
                        VLAN's tag, so that all of ours would be the kernel's; leave one of them out"
                .into());
        }
        Ok(())
    }
}

/// `3`, or `0-3`.
fn range<T: std::str::FromStr + PartialOrd + Copy>(value: &str) -> Option<RangeInclusive<T>> {
    let (first, last) = value.split_once('-').unwrap_or((value, value));
    let (first, last) = (first.parse().ok()?, last.parse().ok()?);
    (first <= last).then_some(first..=last)
}

fn queues(value: &str) -> Result<RangeInclusive<u32>, String> {
    range(value).ok_or_else(|| format!("queues={value} is neither a queue, as 0, nor a range, as 0-3"))
}

fn mode(value: &str) -> Result<XdpMode, String> {
    match value {
        "zerocopy" => Ok(XdpMode::ZeroCopy),
        "copy" => Ok(XdpMode::Copy),
        "skb" => Ok(XdpMode::Skb),
        _ => Err(format!("mode={value} is none of zerocopy, copy and skb")),
    }
}

fn keep(value: &str) -> Result<XdpKeep, String> {
    let wrong = || {
        format!(
            "keep={value} is none of tcp:PORT, udp:PORT (or PORT-PORT), icmp, arp and an address of the kernel's"
        )
    };
    let kept = match value.split_once(':') {
        Some(("tcp", ports)) => range(ports).map(XdpKeep::Tcp),
        Some(("udp", ports)) => range(ports).map(XdpKeep::Udp),
        _ if value == "icmp" => Some(XdpKeep::Icmp),
        _ if value == "arp" => Some(XdpKeep::Arp),
        _ => value.parse().ok().map(XdpKeep::Address),
    };
    kept.ok_or_else(wrong)
}

/// A range as it is written.
struct Shown<'a, T>(&'a RangeInclusive<T>);

impl<T: fmt::Display + PartialEq> fmt::Display for Shown<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (first, last) = (self.0.start(), self.0.end());
        if first == last { write!(f, "{first}") } else { write!(f, "{first}-{last}") }
    }
}

impl fmt::Display for XdpMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            XdpMode::ZeroCopy => "zerocopy",
            XdpMode::Copy => "copy",
            XdpMode::Skb => "skb",
        })
    }
}

impl fmt::Display for XdpKeep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            XdpKeep::Tcp(ports) => write!(f, "tcp:{}", Shown(ports)),
            XdpKeep::Udp(ports) => write!(f, "udp:{}", Shown(ports)),
            XdpKeep::Icmp => f.write_str("icmp"),
            XdpKeep::Arp => f.write_str("arp"),
            XdpKeep::Address(address) => address.fmt(f),
        }
    }
}

impl fmt::Display for XdpSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut options = vec![format!("if={}", self.interface)];
        options.extend(address_options(&self.addresses, &self.gateways, None));
        options.extend(self.queues.as_ref().map(|queues| format!("queues={}", Shown(queues))));
        options.extend(self.mode.map(|mode| format!("mode={mode}")));
        options.extend(self.keep.iter().map(|keep| format!("keep={keep}")));
        options.extend(address_options(&[], &[], self.mac));
        options.extend(self.mtu.map(|mtu| format!("mtu={mtu}")));
        if self.offloads != Offloads::ALL {
            options.push(format!("offloads={}", self.offloads));
        }
        if self.trust {
            options.push("trust=on".into());
        }
        options.extend(self.link.options());
        write!(f, "xdp:{}", options.join(","))
    }
}

#[cfg(test)]
mod tests {
    use crate::runtime::DeviceSpec;

    #[test]
    fn text_and_value_are_the_same() {
        for text in [
            "xdp:if=eth1,addr=10.0.0.2/24",
            "xdp:if=eth1,addr=10.0.0.2/24,addr=fd00::2/64,gateway=10.0.0.1,queues=0-3,mode=zerocopy,keep=tcp:22,\
             keep=udp:67-68,keep=icmp,keep=arp,keep=fd00::1,mac=02:00:00:00:00:2a,mtu=9000,offloads=sg,trust=on,dad=0,\
             autoconf=on",
            "xdp:if=eth1,addr=10.0.0.2/24,queues=2,mode=skb",
        ] {
            assert_eq!(text.parse::<DeviceSpec>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn errors_name_the_mistake() {
        for (options, part) in [
            ("addr=10.0.0.2/24", "needs an interface"),
            ("if=eth1", "needs an address"),
            ("if=eth1,addr=10.0.0.2/24,queues=3-1", "queues=3-1"),
            ("if=eth1,addr=10.0.0.2/24,mode=fast", "mode=fast"),
            ("if=eth1,addr=10.0.0.2/24,keep=tcp:", "keep=tcp:"),
            ("if=eth1,addr=10.0.0.2/24,keep=tcp:70000", "keep=tcp:70000"),
            ("if=eth1,addr=10.0.0.2/24,keep=ssh", "keep=ssh"),
            ("if=eth1,addr=10.0.0.2/24,trust=yes", "trust=yes"),
            ("if=eth1,addr=10.0.0.2/24,autoconf=yes", "autoconf=yes"),
            ("if=eth1,addr=10.0.0.2/24,name=hy0", "`name`"),
            ("if=eth1,addr=10.0.0.2/24,vlan=5,keep=tcp:22", "keep= and vlan= do not go together"),
        ] {
            let error = format!("xdp:{options}").parse::<DeviceSpec>().unwrap_err().to_string();
            assert!(error.contains(part) && error.contains("xdp:if="), "{options}: {error}");
        }
    }
}
