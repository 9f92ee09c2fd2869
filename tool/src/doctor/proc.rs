//! The texts of `/proc`, read as what they say.

use super::facts::{HugepageSize, Limits};

/// The word after `name:` on its own line.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.split_whitespace().next()
}

/// The effective capabilities in `/proc/self/status`.
pub(super) fn capabilities(status: &str) -> u64 {
    field(status, "CapEff").and_then(|word| u64::from_str_radix(word, 16).ok()).unwrap_or(0)
}

/// Whether `/proc/self/status` tells of a filter of system calls.
pub(super) fn has_seccomp(status: &str) -> bool {
    field(status, "Seccomp").is_some_and(|mode| mode != "0")
}

/// Whether `/proc/self/uid_map` is that of a machine's first user namespace: everybody is who they are.
pub(super) fn is_initial(uid_map: &str) -> bool {
    uid_map.split_whitespace().eq(["0", "0", "4294967295"])
}

/// The soft limits in `/proc/self/limits`.
pub(super) fn limits(text: &str) -> Limits {
    let soft = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line?.split_whitespace().next()?.parse().ok()
    };
    Limits { memlock: soft("Max locked memory"), nofile: soft("Max open files") }
}

/// The large pages of the default size in `/proc/meminfo`.
pub(super) fn hugepages(meminfo: &str) -> Option<HugepageSize> {
    let number = |name| field(meminfo, name)?.parse().ok();
    let (kib, total, free) = (number("Hugepagesize")?, number("HugePages_Total")?, number("HugePages_Free")?);
    Some(HugepageSize { kib, total, free })
}

/// Where `/proc/self/mounts` has a hugetlbfs.
pub(super) fn hugetlbfs(mounts: &str) -> Vec<String> {
    let mounted = mounts.lines().filter_map(|line| {
        let mut words = line.split_whitespace().skip(1);
        let (place, kind) = (words.next()?, words.next()?);
        (kind == "hugetlbfs").then(|| place.to_owned())
    });
    mounted.collect()
}

/// The interfaces in `/proc/net/dev`.
pub(super) fn interfaces(dev: &str) -> Vec<&str> {
    // Two lines of headings have no colon behind the first word.
    let lines = dev.lines().skip(2);
    lines.filter_map(|line| Some(line.split_once(':')?.0.trim())).collect()
}

/// The interfaces of the default routes in `/proc/net/route` and in `/proc/net/ipv6_route`.
pub(super) fn default_routes<'a>(route: &'a str, ipv6_route: &'a str) -> Vec<&'a str> {
    let is_default = |line: &&str| line.split_whitespace().nth(1) == Some("00000000");
    let lines = route.lines().skip(1).filter(is_default);
    let ipv4 = lines.filter_map(|line| line.split_whitespace().next());
    // No heading here: destination and its prefix come first, the interface last. Without any route to the world, there is one
    // of the loopback interface that refuses.
    let is_default = |line: &&str| line.starts_with(&format!("{:032} 00 ", 0));
    let lines = ipv6_route.lines().filter(is_default);
    let ipv6 = lines.filter_map(|line| line.split_whitespace().last()).filter(|name| *name != "lo");
    ipv4.chain(ipv6).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_tells_rights() {
        let status =
            "Name:\thayase\nCapPrm:\tff\nCapEff:\t0000008000003000\nSeccomp:\t2\nSeccomp_filters:\t1\n";
        assert_eq!((capabilities(status), has_seccomp(status)), (1 << 39 | 1 << 12 | 1 << 13, true));
        assert_eq!((capabilities(""), has_seccomp("Seccomp:\t0\n")), (0, false));
    }

    #[test]
    fn only_the_whole_map_is_the_first_namespace() {
        assert!(is_initial("         0          0 4294967295\n"));
        assert!(!is_initial("         0       1000          1\n") && !is_initial(""));
    }

    #[test]
    fn limits_are_numbers_or_none() {
        let text = "Limit                     Soft Limit           Hard Limit           Units     \n\
                    Max open files            1024                 524288               files     \n\
                    Max locked memory         unlimited            unlimited            bytes     \n";
        assert_eq!(limits(text), Limits { memlock: None, nofile: Some(1024) });
    }

    #[test]
    fn hugepages_and_where_they_are_mounted() {
        let meminfo = "MemTotal: 1 kB\nHugePages_Total:       8\nHugePages_Free:        6\nHugepagesize:       2048 kB\n";
        assert_eq!(hugepages(meminfo), Some(HugepageSize { kib: 2048, total: 8, free: 6 }));
        assert_eq!(hugepages("MemTotal: 1 kB\n"), None);
        let mounts = "proc /proc proc rw 0 0\nhugetlbfs /dev/hugepages hugetlbfs rw,pagesize=2M 0 0\n";
        assert_eq!(hugetlbfs(mounts), ["/dev/hugepages"]);
    }

    #[test]
    fn interfaces_are_named_before_their_counters() {
        let dev = "Inter-|   Receive\n face |bytes    packets\n    lo: 7 1\n  eth0:8 2\n";
        assert_eq!(interfaces(dev), ["lo", "eth0"]);
    }

    #[test]
    fn the_default_route_is_found() {
        let route = "Iface\tDestination\tGateway\neth0\t00000000\t010200C0\neth1\t000200C0\t00000000\n";
        let nothing = "0".repeat(32);
        let to = |prefix_len, interface| {
            format!("{nothing} {prefix_len} {nothing} 00 {nothing} 00000400 1 0 3 {interface}\n")
        };
        let ipv6_route = [to("00", "eth2"), to("40", "eth1"), to("00", "lo")].concat();
        assert_eq!(default_routes(route, &ipv6_route), ["eth0", "eth2"]);
    }
}
