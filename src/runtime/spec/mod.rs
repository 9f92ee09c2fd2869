//! Which device: the text form that command line and environment share. Each kind has a file.

mod dpdk;
mod kernel;
mod link;
mod netmap;
mod tap;
mod wire;
mod xdp;

pub use dpdk::DpdkSpec;
pub use link::LinkSpec;
pub use netmap::NetmapSpec;
pub use tap::TapSpec;
pub use wire::WireSpec;
pub use xdp::{XdpKeep, XdpMode, XdpSpec};

use std::error::Error;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use hayase_device::Offloads;
use hayase_stack::Cidr;

/// The payload of an Ethernet frame, in bytes.
const ETHERNET_MTU: usize = 1500;

/// What IPv6 asks of a link (RFC 8200 §5), in bytes.
const MTU_MIN: usize = 1280;

/// What the length field of an IPv4 packet can say, in bytes.
const MTU_MAX: usize = 65_535;

/// Which device a runtime uses, and with which addresses.
///
/// ```text
/// wire[:mtu=1500][,offloads=all]
/// kernel
/// tap:name=hy0,addr=10.7.0.2/24[,addr=fd00::2/64][,host=10.7.0.1/24][,gateway=10.7.0.1][,mac=02:00:00:00:00:02][,mtu=1500][,offloads=all]
/// xdp:if=eth1,addr=10.0.0.2/24[,gateway=10.0.0.1][,queues=0-3][,mode=zerocopy][,keep=tcp:22][,mac=..][,mtu=1500][,offloads=all][,trust=on]
/// netmap:port=eth1|pipe{1|vale0:1,addr=10.7.0.2/24[,gateway=10.7.0.1][,mac=..][,mtu=1500][,offloads=all]
/// dpdk:vdev=net_virtio_user0,path=/run/x.sock|pci=0000:01:00.0,addr=10.7.0.2/24[,gateway=10.7.0.1][,mac=..][,mtu=1500][,offloads=all][,eal=-m 512]
/// ```
///
/// `addr`, `host` and `gateway` may come several times. All but the wire and the kernel also take `dad=N`, `vlan=N`, and
/// `autoconf=on`, with which `addr` may be left out ([`LinkSpec`]). Offloads are `all`, `none`, or names joined by `+` of
/// `tx-checksum rx-checksum tso lro sg`.
///
/// ```
/// use hayase::DeviceSpec;
///
/// let spec: DeviceSpec = "tap:name=hy0,addr=10.7.0.2/24".parse().unwrap();
/// assert_eq!(spec.to_string(), "tap:name=hy0,addr=10.7.0.2/24");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum DeviceSpec {
    /// The in-memory wire: two hosts in one thread, `10.7.0.2` and `10.7.0.1`.
    Wire(WireSpec),
    /// A TAP interface of Linux: our host on one side, the kernel on the other.
    Tap(TapSpec),
    /// The operating system's own sockets, without a stack of ours: one host, with the machine's addresses.
    Kernel,
    /// The queues of a network interface, through AF_XDP.
    Xdp(XdpSpec),
    /// A netmap port: rings of a NIC, a port of a VALE switch, an end of a pipe.
    Netmap(NetmapSpec),
    /// A device of one of DPDK's drivers.
    Dpdk(DpdkSpec),
}

/// What separates several devices in one text. No option has it in its value.
const SEPARATOR: char = ';';

impl DeviceSpec {
    /// Reads several specs with `;` between them, as the environment variable `HAYASE_DEVICE` has them.
    ///
    /// ```
    /// use hayase::DeviceSpec;
    ///
    /// let specs = DeviceSpec::list("tap:name=hy0,addr=10.7.0.2/24;xdp:if=eth1,addr=10.8.0.2/24").unwrap();
    /// assert_eq!(specs[1].to_string(), "xdp:if=eth1,addr=10.8.0.2/24");
    /// ```
    ///
    /// # Errors
    /// That of the first which is none.
    pub fn list(text: &str) -> Result<Vec<DeviceSpec>, ParseSpecError> {
        text.split(SEPARATOR).map(|spec| spec.trim().parse()).collect()
    }

    /// Whether it names no addresses, because routers are asked for them.
    pub(super) fn is_learning(&self) -> bool {
        let (link, addresses) = match self {
            DeviceSpec::Tap(spec) => (&spec.link, &spec.addresses),
            DeviceSpec::Xdp(spec) => (&spec.link, &spec.addresses),
            DeviceSpec::Netmap(spec) => (&spec.link, &spec.addresses),
            DeviceSpec::Dpdk(spec) => (&spec.link, &spec.addresses),
            DeviceSpec::Wire(_) | DeviceSpec::Kernel => return false,
        };
        link.autoconf && addresses.is_empty()
    }
}

/// Why a text is no [`DeviceSpec`], and what one looks like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseSpecError {
    what: String,
    example: &'static str,
}

const TAP_EXAMPLE: &str = "tap:name=hy0,addr=10.7.0.2/24";
const XDP_EXAMPLE: &str = "xdp:if=eth1,addr=10.0.0.2/24";
const NETMAP_EXAMPLE: &str = "netmap:port=vale0:1,addr=10.7.0.2/24";
const DPDK_EXAMPLE: &str = "dpdk:vdev=net_virtio_user0,path=/run/x.sock,addr=10.7.0.2/24";
const WIRE_EXAMPLE: &str = "wire:mtu=1500";

impl fmt::Display for ParseSpecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; a device is written like `{}`", self.what, self.example)
    }
}

impl Error for ParseSpecError {}

impl FromStr for DeviceSpec {
    type Err = ParseSpecError;

    fn from_str(text: &str) -> Result<DeviceSpec, ParseSpecError> {
        let text = text.trim();
        if text.contains(SEPARATOR) {
            let text = format!("`{text}` is several devices, where one is wanted");
            return Err(wrong(text, TAP_EXAMPLE));
        }
        let (kind, options) = text.split_once(':').unwrap_or((text, ""));
        match kind {
            "wire" => wire::parse(options).map(DeviceSpec::Wire).map_err(|what| wrong(what, WIRE_EXAMPLE)),
            "tap" => tap::parse(options).map(DeviceSpec::Tap).map_err(|what| wrong(what, TAP_EXAMPLE)),
            "xdp" => xdp::parse(options).map(DeviceSpec::Xdp).map_err(|what| wrong(what, XDP_EXAMPLE)),
            "netmap" => {
                netmap::parse(options).map(DeviceSpec::Netmap).map_err(|what| wrong(what, NETMAP_EXAMPLE))
            }
            "dpdk" => dpdk::parse(options).map(DeviceSpec::Dpdk).map_err(|what| wrong(what, DPDK_EXAMPLE)),
            "kernel" => kernel::parse(options).map_err(|what| wrong(what, kernel::NAME)),
            _ => Err(wrong(
                format!("there is no device `{kind}`, only wire, tap, xdp, netmap, dpdk and kernel"),
                TAP_EXAMPLE,
            )),
        }
    }
}

fn wrong(what: String, example: &'static str) -> ParseSpecError {
    ParseSpecError { what, example }
}

/// Options that may come several times.
const REPEATED: [&str; 4] = ["addr", "host", "gateway", "keep"];

/// The `key=value` pairs of a list.
fn options(list: &str) -> impl Iterator<Item = Result<(&str, &str), String>> {
    let mut seen = Vec::new();
    list.split(',').filter(|option| !option.is_empty()).map(move |option| {
        let pair = option.split_once('=');
        let (key, value) = pair.ok_or_else(|| format!("`{option}` is no option of the form key=value"))?;
        once(&mut seen, key)?;
        Ok((key, value))
    })
}

/// Refuses a second one of those options of which there is one.
fn once<'a>(seen: &mut Vec<&'a str>, key: &'a str) -> Result<(), String> {
    if seen.contains(&key) && !REPEATED.contains(&key) {
        return Err(format!("`{key}` is given twice"));
    }
    seen.push(key);
    Ok(())
}

fn mtu(value: &str) -> Result<usize, String> {
    let mtu = value.parse().ok().filter(|mtu| (MTU_MIN..=MTU_MAX).contains(mtu));
    mtu.ok_or_else(|| format!("mtu={value} is no number from {MTU_MIN} to {MTU_MAX}"))
}

fn offloads(value: &str) -> Result<Offloads, String> {
    value.parse().map_err(|error: hayase_device::ParseOffloadsError| error.to_string())
}

fn cidr(key: &str, value: &str) -> Result<Cidr, String> {
    value.parse().map_err(|error| format!("{key}={value}: {error}"))
}

fn gateway(value: &str) -> Result<IpAddr, String> {
    value.parse().map_err(|_| format!("gateway={value} is no IP address"))
}

fn switch(key: &str, value: &str) -> Result<bool, String> {
    match value {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err(format!("{key}={value} is neither on nor off")),
    }
}

fn mac(value: &str) -> Result<[u8; 6], String> {
    let bytes: Result<Vec<u8>, _> = value.split(':').map(|byte| u8::from_str_radix(byte, 16)).collect();
    let mac: Option<[u8; 6]> = bytes.ok().and_then(|bytes| bytes.try_into().ok());
    // The lowest bit of the first byte marks a group.
    mac.filter(|mac| mac[0] & 1 == 0 && *mac != [0; 6])
        .ok_or_else(|| format!("mac={value} is no address of a single station, as 02:00:00:00:00:02 is"))
}

impl fmt::Display for DeviceSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DeviceSpec::Wire(spec) => spec.fmt(f),
            DeviceSpec::Tap(spec) => spec.fmt(f),
            DeviceSpec::Kernel => f.write_str(kernel::NAME),
            DeviceSpec::Xdp(spec) => spec.fmt(f),
            DeviceSpec::Netmap(spec) => spec.fmt(f),
            DeviceSpec::Dpdk(spec) => spec.fmt(f),
        }
    }
}

/// What there is to say of every link but the wire.
#[derive(Debug)]
struct Link {
    addresses: Vec<Cidr>,
    gateways: Vec<IpAddr>,
    mac: Option<[u8; 6]>,
    mtu: Option<usize>,
    offloads: Offloads,
    manners: LinkSpec,
}

impl Link {
    fn new() -> Link {
        let (addresses, gateways, manners) = (Vec::new(), Vec::new(), LinkSpec::default());
        Link { addresses, gateways, mac: None, mtu: None, offloads: Offloads::ALL, manners }
    }

    /// Takes an option, if it is one of these.
    fn takes(&mut self, key: &str, value: &str) -> Result<bool, String> {
        match key {
            "addr" => self.addresses.push(cidr("addr", value)?),
            "gateway" => self.gateways.push(gateway(value)?),
            "mac" => self.mac = Some(mac(value)?),
            "mtu" => self.mtu = Some(mtu(value)?),
            "offloads" => self.offloads = offloads(value)?,
            _ => return self.manners.take(key, value),
        }
        Ok(true)
    }

    /// The link, which needs an address, of `device`.
    fn complete(self, device: &str) -> Result<Link, String> {
        if self.addresses.is_empty() && !self.manners.autoconf {
            return Err(format!("{device} needs an address: addr=ADDRESS/PREFIX, or autoconf=on"));
        }
        for (index, address) in self.addresses.iter().enumerate() {
            if self.addresses[..index].iter().any(|other| other.addr() == address.addr()) {
                return Err(format!("addr={address} is given twice"));
            }
            if is_network(*address) {
                return Err(format!(
                    "addr={address} is the network itself: a host has another address in it, as in {}",
                    if address.addr().is_ipv4() { "10.7.0.2/24" } else { "fd00::2/64" }
                ));
            }
        }
        Ok(self)
    }
}

/// Whether it is the address of the network and not of a host: the first, but in networks of two or one (RFC 3021, RFC
/// 6164). In IPv6 the first is that of any router (RFC 4291 §2.6.1).
fn is_network(cidr: Cidr) -> bool {
    let prefix_max = if cidr.addr().is_ipv4() { 30 } else { 126 };
    cidr.prefix() <= prefix_max && cidr.addr() == cidr.network().addr()
}

fn address_options(addresses: &[Cidr], gateways: &[IpAddr], mac: Option<[u8; 6]>) -> Vec<String> {
    let addresses = addresses.iter().map(|cidr| format!("addr={cidr}"));
    let gateways = gateways.iter().map(|gateway| format!("gateway={gateway}"));
    let mac = mac.map(|mac| format!("mac={}", mac.map(|byte| format!("{byte:02x}")).join(":")));
    addresses.chain(gateways).chain(mac).collect()
}

/// What differs from the default.
fn common_options(options: &mut Vec<String>, mtu: usize, offloads: Offloads) {
    if mtu != ETHERNET_MTU {
        options.push(format!("mtu={mtu}"));
    }
    if offloads != Offloads::ALL {
        options.push(format!("offloads={offloads}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn text_and_value_are_the_same() {
        for text in [
            "wire",
            "wire:mtu=9000",
            "wire:mtu=1280,offloads=none",
            "kernel",
            "tap:name=hy0,addr=10.7.0.2/24",
            "tap:name=hy0,addr=10.7.0.2/24,addr=fd00::2/64,host=10.7.0.1/24,gateway=10.7.0.1,gateway=fd00::1,\
             mac=02:00:00:00:00:2a,mtu=9000,offloads=tx-checksum+tso,dad=2,autoconf=on,vlan=4094",
        ] {
            assert_eq!(text.parse::<DeviceSpec>().unwrap().to_string(), text);
        }
        let default = DeviceSpec::Tap(TapSpec::default());
        assert_eq!(default.to_string().parse(), Ok(default));
    }

    #[test]
    fn a_list_has_a_spec_between_semicolons() {
        let texts = |list: &str| {
            DeviceSpec::list(list).map(|specs| specs.iter().map(DeviceSpec::to_string).collect::<Vec<_>>())
        };
        assert_eq!(texts("wire").unwrap(), ["wire"]);
        let two = "tap:name=hy0,addr=10.7.0.2/24; netmap:port=vale0:1,addr=10.8.0.2/24";
        assert_eq!(texts(two).unwrap(), two.split("; ").collect::<Vec<_>>());
        for apart in ["wire ; kernel", " wire;kernel ", "\twire;\n kernel"] {
            assert_eq!(texts(apart).unwrap(), ["wire", "kernel"]);
            // As it comes from a parser of command lines, which splits by itself.
            let each = apart.split(';').map(|text| text.parse::<DeviceSpec>().unwrap().to_string());
            assert_eq!(each.collect::<Vec<_>>(), ["wire", "kernel"]);
        }
        assert!(texts("wire;").is_err() && texts("wire;warp").unwrap_err().to_string().contains("`warp`"));
    }

    #[test]
    fn without_addresses_they_are_to_be_learnt() {
        let is_learning = |text: &str| text.parse::<DeviceSpec>().unwrap().is_learning();
        assert!(is_learning("tap:name=hy0,autoconf=on") && is_learning("xdp:if=eth1,autoconf=on"));
        assert!(!is_learning("tap:name=hy0,addr=10.7.0.2/24,autoconf=on") && !is_learning("wire"));
    }

    #[test]
    fn errors_name_the_mistake_and_show_how_it_is_done() {
        for (text, part) in [
            ("dpdk:port=0", "`port=0`"),
            ("tap:name=hy0,addr=10.7.0.2/24;wire", "several devices"),
            ("warp:port=0", "`warp`"),
            ("wire:mtu=12", "mtu=12"),
            ("wire:speed=1", "`speed`"),
            ("kernel:mtu=9000", "`mtu=9000`"),
            ("tap:hy0", "`hy0`"),
            ("tap:name=hy0", "needs an address"),
            ("tap:addr=10.7.0.2/24", "needs a name"),
            ("tap:name=hy0,addr=10.7.0.2", "10.7.0.2/24"),
            ("tap:name=hy0,addr=10.7.0.2/40", "addr=10.7.0.2/40"),
            ("tap:name=hy0,addr=10.7.0.2/24,mac=01:02:03:04:05:06", "single station"),
            ("tap:name=hy0,addr=10.7.0.2/24,gateway=x", "gateway=x"),
            ("tap:name=hy0,addr=10.7.0.2/24,offloads=gro", "`gro`"),
            ("tap:name=hy0,addr=10.7.0.2/24,dad=11", "dad=11"),
            ("tap:name=hy0,addr=10.7.0.2/24,vlan=4095", "vlan=4095"),
            ("tap:name=hy0,addr=10.7.0.2/24,name=hy1", "`name` is given twice"),
            ("wire:mtu=1500,mtu=9000", "`mtu` is given twice"),
            ("tap:name=hy0,addr=10.7.0.2/24,addr=10.7.0.2/16", "addr=10.7.0.2/16 is given twice"),
            ("tap:name=hy0,addr=10.7.0.0/24", "the network itself"),
            ("xdp:if=eth1,addr=fd00::/64", "the network itself"),
            ("tap:name=hy0,addr=10.7.0.2/24,host=10.7.0.2/24", "host=10.7.0.2/24"),
            ("dpdk:vdev=net_null0,addr=10.7.0.2/24,addr=10.7.0.2/24", "given twice"),
        ] {
            let error = text.parse::<DeviceSpec>().unwrap_err();
            let words = error.to_string();
            assert!(words.contains(part), "{text}: {words}");
            assert!(error.example.parse::<DeviceSpec>().is_ok() && words.contains(error.example));
        }
    }

    /// The keys of a device's SPEC, as its parser tells them to who gives another: "... only name, addr, host and vlan".
    fn keys_of(device: &str) -> BTreeSet<String> {
        let error = format!("{device}:nonsense=1").parse::<DeviceSpec>().unwrap_err().to_string();
        let list = error.split_once("only ").or_else(|| error.split_once("which are ")).map(|(_, list)| list);
        let list = list.unwrap_or_else(|| panic!("{error} names no keys"));
        let list = list.split_once(';').map_or(list, |(list, _)| list).replace(" and ", ", ");
        list.split(", ").map(str::to_owned).collect()
    }

    /// The table of SPECs in docs/BACKENDS.md has each key of each device, and no other.
    #[test]
    fn every_key_of_a_device_is_in_the_table() {
        const DEVICES: [&str; 5] = ["wire", "tap", "xdp", "dpdk", "netmap"];
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/BACKENDS.md");
        let text = std::fs::read_to_string(file).expect("docs/BACKENDS.md");
        let (_, table) = text.split_once("| key | device | value | default |").expect("the table of keys");
        let mut told: BTreeSet<(&str, String)> = BTreeSet::new();
        for line in table.lines().skip(2).take_while(|line| line.starts_with('|')) {
            let cells: Vec<_> = line.split('|').map(str::trim).collect();
            let of_all = cells[2].strip_prefix("all but ");
            let named: Vec<_> = of_all.unwrap_or(cells[2]).split([',', ' ']).collect();
            let has = |device: &&&str| named.contains(*device) == of_all.is_none();
            told.extend(
                DEVICES.iter().filter(has).map(|device| (*device, cells[1].trim_matches('`').to_owned())),
            );
        }
        let known =
            DEVICES.into_iter().flat_map(|device| keys_of(device).into_iter().map(move |key| (device, key)));
        let known: BTreeSet<_> = known.collect();
        assert_eq!(told, known, "the table, and what the parsers take");
    }
}
