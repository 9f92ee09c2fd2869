//! The network interfaces, as `/sys/class/net` and netlink tell of them.

use std::fs;
use std::path::Path;

use super::facts::Interface;
use super::gather::{names, read};
use super::{netdev, proc};

/// `ARPHRD_LOOPBACK`.
const LOOPBACK: &str = "772";

/// `IFF_UP`.
const UP: u32 = 1;

/// Every interface of this network namespace; of these, some have a default route.
pub(super) fn all(default_routes: &[&str]) -> Vec<Interface> {
    let features = netdev::xdp_features().unwrap_or_default();
    let folder = Path::new("/sys/class/net");
    let interface = |name: String| {
        let folder = folder.join(&name);
        // Files such as bonding_masters are no interfaces.
        let index: u32 = number(&folder, "ifindex")?;
        let queues = names(folder.join("queues"));
        let count = |kind| queues.iter().filter(|queue| queue.starts_with(kind)).count();
        Some(Interface {
            driver: driver(&folder, index),
            loopback: word(&folder, "type") == LOOPBACK,
            mtu: number(&folder, "mtu")?,
            up: flags(&folder) & UP != 0,
            carrier: word(&folder, "carrier") == "1",
            rx_queues: count("rx-"),
            tx_queues: count("tx-"),
            default_route: default_routes.contains(&name.as_str()),
            xdp: features.get(&index).copied(),
            name,
        })
    };
    // What `/sys` shows are the interfaces of the namespace that it was mounted in, which need not be ours.
    let ours = read("/proc/thread-self/net/dev");
    let ours = proc::interfaces(&ours);
    names(folder).into_iter().filter(|name| ours.contains(&name.as_str())).filter_map(interface).collect()
}

fn word(folder: &Path, file: &str) -> String {
    read(folder.join(file)).trim().to_owned()
}

fn number(folder: &Path, file: &str) -> Option<u32> {
    word(folder, file).parse().ok()
}

fn flags(folder: &Path) -> u32 {
    u32::from_str_radix(word(folder, "flags").trim_start_matches("0x"), 16).unwrap_or(0)
}

/// The driver of a device; of an interface without one, its kind, as far as that shows.
fn driver(folder: &Path, index: u32) -> Option<String> {
    if let Ok(link) = fs::read_link(folder.join("device/driver")) {
        return Some(link.file_name()?.to_string_lossy().into_owned());
    }
    let uevent = read(folder.join("uevent"));
    if let Some(kind) = uevent.lines().find_map(|line| line.strip_prefix("DEVTYPE=")) {
        return Some(kind.to_owned());
    }
    if folder.join("tun_flags").exists() {
        return Some("tun".to_owned());
    }
    // An interface that is linked to another one, and has no other mark: the two ends of a cable.
    number(folder, "iflink").filter(|peer| *peer != index).map(|_| "veth".to_owned())
}
