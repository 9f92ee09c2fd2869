//! `wire`: the in-memory wire.

use std::fmt;

use hayase_device::Offloads;

use super::{ETHERNET_MTU, common_options, mtu, offloads, options};

/// The in-memory wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WireSpec {
    /// The largest IP packet, in bytes.
    pub mtu: usize,
    /// The offloads of both ends.
    pub offloads: Offloads,
}

impl Default for WireSpec {
    fn default() -> WireSpec {
        WireSpec { mtu: ETHERNET_MTU, offloads: Offloads::ALL }
    }
}

pub(super) fn parse(list: &str) -> Result<WireSpec, String> {
    let mut spec = WireSpec::default();
    for option in options(list) {
        match option? {
            ("mtu", value) => spec.mtu = mtu(value)?,
            ("offloads", value) => spec.offloads = offloads(value)?,
            (key, _) => return Err(format!("a wire has no option `{key}`, only mtu and offloads")),
        }
    }
    Ok(spec)
}

impl fmt::Display for WireSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut options = Vec::new();
        common_options(&mut options, self.mtu, self.offloads);
        f.write_str("wire")?;
        if options.is_empty() { Ok(()) } else { write!(f, ":{}", options.join(",")) }
    }
}
