//! How a host behaves on its link: options that all devices have which lead to other hosts.

use hayase_stack::wire::VlanId;

use super::switch;

/// How a host behaves on its link.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LinkSpec {
    /// How often the link is asked whether another host has an IPv6 address, before it is used (`dad=`): by default
    /// once, and a runtime is ready a second later; with 0 addresses are used at once.
    pub dad_transmits: Option<u8>,
    /// Whether routers of the link are asked and believed (`autoconf=on`): for IPv6 addresses, networks, default routes
    /// and the MTU. Anybody on the link can play router; on a link that is not trusted, leave it off.
    pub autoconf: bool,
    /// The VLAN that the host is in (`vlan=5`): its frames carry a tag, which takes four bytes of the device's MTU.
    pub vlan: Option<VlanId>,
}

impl LinkSpec {
    /// Takes an option, if it is one of these. Returns whether it was.
    pub(super) fn take(&mut self, key: &str, value: &str) -> Result<bool, String> {
        match key {
            "dad" => self.dad_transmits = Some(dad(value)?),
            "vlan" => self.vlan = Some(vlan(value)?),
            "autoconf" => self.autoconf = switch("autoconf", value)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Those options that were given, as they are written.
    pub(super) fn options(&self) -> impl Iterator<Item = String> {
        let dad = self.dad_transmits.map(|count| format!("dad={count}"));
        let autoconf = self.autoconf.then(|| "autoconf=on".to_owned());
        [dad, autoconf, self.vlan.map(|vlan| format!("vlan={vlan}"))].into_iter().flatten()
    }
}

/// As many questions as anybody waits for the answers of.
const DAD_MAX: u8 = 10;

fn dad(value: &str) -> Result<u8, String> {
    let count = value.parse().ok().filter(|count| *count <= DAD_MAX);
    count.ok_or_else(|| format!("dad={value} is no number of questions from 0 to {DAD_MAX}"))
}

fn vlan(value: &str) -> Result<VlanId, String> {
    let vlan = value.parse().ok().and_then(VlanId::new);
    vlan.ok_or_else(|| format!("vlan={value} is no number of a VLAN, from 1 to 4094"))
}
