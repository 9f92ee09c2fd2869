//! The answer, for people and for programs.

use std::fmt;

use serde::Serialize;

use super::facts::{Facts, Interface, Probe};
use super::verdict::Verdict;

#[derive(Debug, Serialize)]
pub(super) struct Report {
    #[serde(rename = "machine")]
    pub(super) facts: Facts,
    #[serde(rename = "devices")]
    pub(super) verdicts: Vec<Verdict>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "machine")?;
        for (name, value) in machine(&self.facts) {
            writeln!(f, "  {name:<16} {value}")?;
        }
        writeln!(f, "interfaces")?;
        for interface in &self.facts.interfaces {
            writeln!(f, "  {:<16} {}", interface.name, describe(interface))?;
        }
        writeln!(f, "devices")?;
        self.verdicts.iter().try_for_each(|verdict| write!(f, "{verdict}"))
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let answer = if self.works { "yes" } else { "no" };
        writeln!(f, "  {:<16} {answer:<4} --device {}", self.device, self.spec)?;
        for (why, remedy) in self.why_not.iter().zip(&self.remedies) {
            writeln!(f, "{:19}because {why}\n{:19}     do {remedy}", "", "")?;
        }
        self.notes.iter().try_for_each(|note| writeln!(f, "{:19}   note {note}", ""))
    }
}

fn machine(facts: &Facts) -> Vec<(&'static str, String)> {
    let rights = facts.capabilities.named().into_iter().filter(|(_, has)| *has).map(|(name, _)| name);
    let rights: Vec<_> = rights.collect();
    let namespace = if facts.initial_user_namespace { "" } else { ", in a user namespace only" };
    let limit = |limit: Option<u64>, shift: u32| {
        limit.map_or("unlimited".to_owned(), |limit| (limit >> shift).to_string())
    };
    let pages = facts.hugepages.sizes.iter();
    let pages: Vec<_> =
        pages.map(|size| format!("{} of {} of {} KiB free", size.free, size.total, size.kib)).collect();
    vec![
        ("kernel", format!("{}, {} CPUs for this process", facts.kernel, facts.cpus)),
        ("rights", format!("{}{namespace}", list(&rights))),
        ("seccomp", if facts.seccomp { "a filter is in force" } else { "no filter" }.to_owned()),
        ("io_uring", words(&facts.io_uring)),
        ("/dev/net/tun", words(&facts.tun)),
        ("AF_XDP socket", words(&facts.af_xdp)),
        ("ICMP echo", words(&facts.echo)),
        ("/dev/netmap", words(&facts.netmap)),
        ("/dev/vfio/vfio", words(&facts.vfio)),
        (
            "locked memory",
            format!("{} KiB", limit(facts.limits.memlock, 10)).replace("unlimited KiB", "unlimited"),
        ),
        ("descriptors", limit(facts.limits.nofile, 0)),
        ("hugepages", list(&pages.iter().map(String::as_str).collect::<Vec<_>>())),
    ]
}

fn list(words: &[&str]) -> String {
    if words.is_empty() { "none".to_owned() } else { words.join(", ") }
}

fn words(probe: &Probe) -> String {
    if probe.works { "works".to_owned() } else { format!("no: {}", probe.words()) }
}

fn describe(interface: &Interface) -> String {
    let Interface { driver, mtu, up, carrier, rx_queues, tx_queues, .. } = interface;
    let link = match (up, carrier) {
        (false, _) => "down",
        (true, false) => "up, no link",
        (true, true) => "up",
    };
    let driver = driver.as_deref().unwrap_or("no driver");
    format!("{driver}, {link}, mtu {mtu}, queues {rx_queues} rx {tx_queues} tx")
}
