//! What a port's name says.

use std::fs;
use std::io;

use crate::NetmapError;

/// The longest name that a request holds, without the terminating zero.
const NAME_LEN_MAX: usize = netmap_sys::PORT_NAME_LEN - 1;

/// Where the kernel tells of its network interfaces.
const INTERFACES: &str = "/sys/class/net";

/// Drivers whose netmap part takes frames of several slots.
const CHAINING_DRIVERS: [&str; 6] = ["e1000", "e1000e", "i40e", "ice", "igb", "ixgbe"];

/// `IFF_UP` of an interface's flags.
const IFF_UP: u32 = 1;

/// What a port is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PortKind {
    /// The rings of a network interface, taken from the kernel: `eth1`.
    Nic,
    /// A port of a VALE switch: `vale0:1`. Switch and port are made if they do not exist.
    Vale,
    /// One end of a pipe, `{` or `}`: `pipe{1` and `pipe}1` are connected. What is in front of the brace names an
    /// interface or VALE port whose memory the pipe uses; it is made if it does not exist.
    Pipe,
}

/// The name of a netmap port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortName {
    name: String,
    kind: PortKind,
}

impl PortName {
    /// Reads a name.
    ///
    /// # Errors
    /// [`NetmapError::BadName`] if no port can be called so.
    pub fn parse(name: &str) -> Result<PortName, NetmapError> {
        let is_strange = |c: char| !c.is_ascii_graphic() || matches!(c, '/' | '%' | ',' | '*' | '^' | '@');
        let (kind, parts) = if let Some(parts) = name.rsplit_once(['{', '}']) {
            (PortKind::Pipe, parts)
        } else if name.starts_with("vale")
            && let Some(parts) = name.split_once(':')
        {
            (PortKind::Vale, parts)
        } else {
            (PortKind::Nic, (name, name))
        };
        // The switch's own name is letters, digits and underscores.
        let is_word = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        let is_switch = kind != PortKind::Vale || is_word(parts.0);
        let is_whole = is_switch && !parts.0.is_empty() && !parts.1.is_empty() && !name.starts_with('.');
        if !is_whole || name.len() > NAME_LEN_MAX || name.contains(is_strange) {
            return Err(NetmapError::BadName(name.into()));
        }
        Ok(PortName { name: name.into(), kind })
    }

    /// The name as netmap has it.
    pub fn as_str(&self) -> &str {
        &self.name
    }

    /// What it is.
    pub fn kind(&self) -> PortKind {
        self.kind
    }

    /// Whether an interface is there to be taken, lets such packets pass, and is up: a ring of one that is down never
    /// moves.
    pub(crate) fn check_interface(&self, mtu: usize) -> Result<(), NetmapError> {
        if self.kind != PortKind::Nic {
            return Ok(());
        }
        let flags = self.attribute("flags").map_err(|_| NetmapError::NoInterface(self.name.clone()))?;
        let flags = u32::from_str_radix(flags.trim_start_matches("0x"), 16).unwrap_or(IFF_UP);
        if flags & IFF_UP == 0 {
            return Err(NetmapError::Down(self.name.clone()));
        }
        let mtu_max = self.attribute("mtu").ok().and_then(|mtu| mtu.parse().ok()).unwrap_or(mtu);
        if mtu > mtu_max {
            return Err(NetmapError::MtuTooLarge { port: self.name.clone(), mtu, mtu_max });
        }
        Ok(())
    }

    /// The interface's own address; elsewhere one that follows from the name, so that it is the same each time and
    /// two ports of one switch differ.
    pub(crate) fn mac(&self) -> [u8; 6] {
        let own = (self.kind == PortKind::Nic).then(|| self.attribute("address")).and_then(Result::ok);
        own.and_then(|text| parse_mac(&text)).unwrap_or_else(|| mac_of_name(&self.name))
    }

    /// Whether frames may take several slots.
    pub(crate) fn takes_chains(&self) -> bool {
        match self.kind {
            PortKind::Vale | PortKind::Pipe => true,
            PortKind::Nic => {
                let link = fs::read_link(format!("{INTERFACES}/{}/device/driver", self.name));
                let driver =
                    link.ok().and_then(|path| Some(path.file_name()?.to_string_lossy().into_owned()));
                driver.is_some_and(|driver| CHAINING_DRIVERS.contains(&driver.as_str()))
            }
        }
    }

    fn attribute(&self, attribute: &str) -> io::Result<String> {
        Ok(fs::read_to_string(format!("{INTERFACES}/{}/{attribute}", self.name))?.trim().to_owned())
    }
}

fn parse_mac(text: &str) -> Option<[u8; 6]> {
    let bytes: Result<Vec<u8>, _> = text.split(':').map(|byte| u8::from_str_radix(byte, 16)).collect();
    bytes.ok()?.try_into().ok()
}

/// A locally administered unicast address with the name's hash (FNV-1a).
fn mac_of_name(name: &str) -> [u8; 6] {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325, step).to_be_bytes();
    [0x02, hash[3] ^ hash[0], hash[4] ^ hash[1], hash[5] ^ hash[2], hash[6], hash[7]]
}

#[cfg(test)]
mod unit {
    use super::*;

    #[test]
    fn names_tell_what_they_are() {
        for (name, kind) in [
            ("eth1", PortKind::Nic),
            ("enp3s0f1", PortKind::Nic),
            ("valet", PortKind::Nic),
            ("vale0:1", PortKind::Vale),
            ("vale_x:port", PortKind::Vale),
            ("pipe{1", PortKind::Pipe),
            ("eth1}a", PortKind::Pipe),
            ("vale0:1{x", PortKind::Pipe),
        ] {
            assert_eq!(PortName::parse(name).unwrap().kind(), kind, "{name}");
        }
    }

    #[test]
    fn impossible_names_are_refused_before_the_kernel_sees_them() {
        let long = "x".repeat(64);
        for name in
            ["", "{1", "pipe{", "vale0:", "vale-x:1", "a b", "a/b", "eth1*", "eth1^", "..", "a\n", &long]
        {
            let error = PortName::parse(name).unwrap_err();
            assert!(matches!(error, NetmapError::BadName(_)), "{name:?}: {error}");
        }
        PortName::parse(&long[1..]).unwrap();
    }

    #[test]
    fn both_ends_of_a_pipe_have_addresses_of_single_stations() {
        let [a, b] = ["pipe{1", "pipe}1"].map(|name| PortName::parse(name).unwrap().mac());
        assert!(a != b && a[0] == 2 && b[0] == 2);
        assert_eq!(parse_mac("02:00:00:00:00:2a"), Some([2, 0, 0, 0, 0, 0x2a]));
        assert_eq!(parse_mac("02:00"), None);
    }

    #[test]
    fn interfaces_are_looked_at() {
        let loopback = PortName::parse("lo").unwrap();
        loopback.check_interface(1500).expect("the loopback interface is up");
        let error = loopback.check_interface(1 << 20).unwrap_err();
        assert!(matches!(error, NetmapError::MtuTooLarge { mtu_max: 65_536, .. }), "{error}");
        let nowhere = PortName::parse("hayase-nowhere").unwrap();
        assert!(matches!(nowhere.check_interface(1500), Err(NetmapError::NoInterface(_))));
        assert!(!nowhere.takes_chains());
    }
}
