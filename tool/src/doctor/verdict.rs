//! Which devices would work, decided from facts alone.

use hayase::DpdkSpec;
use serde::Serialize;

use super::facts::{Facts, Interface, UserSpaceDevice};

/// What AF_XDP locks for one device of 16,384 frames, in bytes.
const UMEM_LEN: u64 = 32 << 20;

/// What can be said of one device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Verdict {
    /// The word that its SPEC begins with.
    pub(super) device: &'static str,
    pub(super) works: bool,
    /// A SPEC for this machine, or what one looks like.
    pub(super) spec: String,
    pub(super) why_not: Vec<String>,
    /// What to do about it, one step each.
    pub(super) remedies: Vec<String>,
    /// What is good to know although it works.
    pub(super) notes: Vec<String>,
}

impl Verdict {
    fn new(device: &'static str, spec: impl Into<String>) -> Verdict {
        let (why_not, remedies, notes) = (Vec::new(), Vec::new(), Vec::new());
        Verdict { device, works: true, spec: spec.into(), why_not, remedies, notes }
    }

    fn refuse(&mut self, why: impl Into<String>, remedy: impl Into<String>) {
        self.works = false;
        self.why_not.push(why.into());
        self.remedies.push(remedy.into());
    }

    fn note(&mut self, text: impl Into<String>) {
        self.notes.push(text.into());
    }
}

/// One for each device, in the order of the help.
pub(super) fn all(facts: &Facts) -> Vec<Verdict> {
    vec![wire(facts), kernel(facts), tap(facts), xdp(facts), dpdk(facts), netmap(facts)]
}

fn wire(facts: &Facts) -> Verdict {
    let mut verdict = Verdict::new("wire", "wire");
    if !facts.io_uring.works {
        verdict.note(format!(
            "threads sleep in ppoll, which costs a little more: io_uring is not to be had ({}){}",
            facts.io_uring.words(),
            if facts.seccomp { "; a filter of system calls, as containers have one, may be why" } else { "" }
        ));
    }
    verdict
}

fn kernel(facts: &Facts) -> Verdict {
    let mut verdict = Verdict::new("kernel", "kernel");
    if !facts.capabilities.net_bind_service && facts.unprivileged_port_start > 1 {
        let start = facts.unprivileged_port_start;
        verdict
            .note(format!("ports below {start} need CAP_NET_BIND_SERVICE: give --port, or use a higher one"));
    }
    if !facts.echo.works {
        verdict.note(format!("no `ping` on this device: {}", facts.echo.words()));
    }
    if let Some(limit) = facts.limits.nofile {
        verdict.note(format!("at most {limit} sockets: `ulimit -n` raises that"));
    }
    verdict
}

fn tap(facts: &Facts) -> Verdict {
    let mut verdict = Verdict::new("tap", "tap:name=hy0,addr=10.7.0.2/24");
    if !facts.tun.exists {
        verdict.refuse("there is no /dev/net/tun", "`modprobe tun`; in a container: --device /dev/net/tun");
    } else if !facts.tun.works {
        verdict.refuse(
            format!("/dev/net/tun cannot be opened: {}", facts.tun.words()),
            "`chmod 666 /dev/net/tun`, which is its usual mode; in a container: --device /dev/net/tun",
        );
    }
    if !facts.capabilities.net_admin {
        verdict.refuse(
            "a TAP interface needs CAP_NET_ADMIN",
            "run as root or, for a namespace of your own, under `unshare -rn`; or have root prepare the interface: \
             `ip tuntap add dev hy0 mode tap user $USER`; in a container: --cap-add NET_ADMIN",
        );
    }
    verdict
}

fn xdp(facts: &Facts) -> Verdict {
    let usable: Vec<_> = facts.interfaces.iter().filter(|interface| !interface.loopback).collect();
    // One that is up, and that the machine itself does not live on, rather, unless the others are mere software.
    let order = |i: &&&Interface| (!i.up, i.driver.is_none(), i.default_route, !i.carrier, !is_native(i));
    let best = usable.iter().min_by_key(order);
    let name = best.map_or("eth1", |interface| interface.name.as_str());
    let keep = if best.is_some_and(|interface| interface.default_route) { ",keep=tcp:22" } else { "" };
    let mut verdict = Verdict::new("xdp", format!("xdp:if={name},addr=10.0.0.2/24{keep}"));
    if best.is_none() {
        verdict.refuse(
            "there is no interface but loopback",
            "give the machine one; to try things out: `ip link add eth1 type veth peer name eth2`",
        );
    } else if best.is_some_and(|interface| !interface.up) {
        verdict.refuse("every interface but loopback is down", format!("`ip link set {name} up`"));
    }
    refuse_xdp_rights(facts, &mut verdict);
    usable.iter().for_each(|interface| verdict.note(xdp_interface(interface)));
    verdict
}

fn refuse_xdp_rights(facts: &Facts, verdict: &mut Verdict) {
    let capabilities = facts.capabilities;
    let may_load = capabilities.sys_admin || capabilities.bpf && capabilities.net_admin;
    if !facts.af_xdp.works {
        verdict.refuse(
            format!("a socket of AF_XDP cannot be opened: {}", facts.af_xdp.words()),
            if capabilities.net_raw {
                "use a kernel with CONFIG_XDP_SOCKETS, and a filter of system calls that lets AF_XDP pass"
            } else {
                "give CAP_NET_RAW: run as root; in a container: --cap-add NET_RAW"
            },
        );
    }
    if !may_load {
        verdict.refuse(
            "the program that steers frames to AF_XDP cannot be loaded: that needs CAP_BPF and CAP_NET_ADMIN",
            "run as root; in a container: --cap-add BPF --cap-add NET_ADMIN --cap-add NET_RAW",
        );
    } else if !facts.initial_user_namespace {
        verdict.refuse(
            "this is a user namespace, and bpf(2) asks for CAP_BPF outside of it",
            "run as root of the machine; `unshare -rn` is not enough",
        );
    }
    if let Some(limit) = facts.limits.memlock
        && limit < UMEM_LEN
        && !capabilities.ipc_lock
    {
        verdict.refuse(
            format!("{} KiB may be locked in memory, and a device takes {} KiB", limit >> 10, UMEM_LEN >> 10),
            "`ulimit -l unlimited`, or CAP_IPC_LOCK; with systemd: LimitMEMLOCK=infinity",
        );
    }
}

fn is_native(interface: &Interface) -> bool {
    interface.xdp.is_some_and(|xdp| xdp.native)
}

/// What AF_XDP would be on an interface.
fn xdp_interface(interface: &Interface) -> String {
    let manner = match interface.xdp {
        Some(xdp) if xdp.native && xdp.zero_copy => "native, without a copy",
        Some(xdp) if xdp.native => "native, with a copy (mode=copy)",
        Some(_) => "generic, which is slow (mode=skb)",
        None => "this kernel, older than 6.3, does not tell what the driver can do; what works is taken",
    };
    let queues = interface.rx_queues.min(interface.tx_queues);
    let mut text =
        format!("{}: {manner}; {queues} queue{}", interface.name, if queues == 1 { "" } else { "s" });
    if !interface.up {
        text += &format!("; down: `ip link set {} up`", interface.name);
    } else if !interface.carrier {
        text += "; no link: check the cable";
    }
    if interface.default_route {
        text += "; the machine's default route goes here: keep=tcp:22 leaves ssh to the kernel";
    }
    text
}

fn dpdk(facts: &Facts) -> Verdict {
    let mut verdict = Verdict::new("dpdk", format!("dpdk:{},addr=10.7.0.2/24", dpdk_device(facts)));
    if !facts.built.dpdk {
        verdict.refuse(
            "this program was built without DPDK",
            "`apt-get install libdpdk-dev pkg-config`, then `cargo install --path tool --features dpdk`",
        );
    }
    let free_mib = facts.hugepages.sizes.iter().map(|size| size.kib * size.free).sum::<u64>() >> 10;
    let wanted_mib = DpdkSpec::HUGE_PAGES_MIB as u64;
    if free_mib < wanted_mib {
        verdict.note(format!(
            "{free_mib} MiB in large pages are free, and a NIC wants {wanted_mib} MiB for one core: `sysctl \
             vm.nr_hugepages=512` is enough for eight; virtual devices do without"
        ));
    } else if facts.hugepages.mounts.is_empty() {
        verdict.note(
            "no hugetlbfs is mounted, which an eal= of your own may need: \
             `mount -t hugetlbfs none /dev/hugepages`",
        );
    }
    for device in &facts.user_space_devices {
        let mut text = format!("{} is bound to {}", device.address, device.driver);
        if !may_take(facts, device) {
            text += &format!(
                ", and /dev/vfio/vfio cannot be opened ({}): run as root; in a container: --device /dev/vfio",
                facts.vfio.words()
            );
        }
        verdict.note(text);
    }
    if facts.user_space_devices.is_empty() {
        verdict.note(
            "no NIC is given to user space: `dpdk-devbind.py --bind=vfio-pci ADDRESS` (not for drivers of NVIDIA, which \
             share it)",
        );
    }
    verdict
}

/// What DPDK would find here: a NIC that it may take, an interface of its own, or at least memory shared with another
/// process.
fn dpdk_device(facts: &Facts) -> String {
    match facts.user_space_devices.iter().find(|device| may_take(facts, device)) {
        Some(device) => format!("pci={}", device.address),
        None if facts.tun.works && facts.capabilities.net_admin => "vdev=net_tap0".into(),
        None => "vdev=net_memif0,socket=/tmp/memif.sock,socket-abstract=no".into(),
    }
}

/// Whether this process may have a device that was given to user space.
fn may_take(facts: &Facts, device: &UserSpaceDevice) -> bool {
    device.driver != "vfio-pci" || facts.vfio.works
}

fn netmap(facts: &Facts) -> Verdict {
    let physical = facts.interfaces.iter().find(|i| i.driver.is_some() && !i.loopback && !i.default_route);
    let port = physical.map_or("vale0:1", |interface| interface.name.as_str());
    let mut verdict = Verdict::new("netmap", format!("netmap:port={port},addr=10.0.0.2/24"));
    if !facts.built.netmap {
        verdict.refuse(
            "this program was built without netmap",
            "`cargo install --path tool --features netmap`; no C library is needed",
        );
    }
    if !facts.netmap.exists {
        verdict.refuse(
            "there is no /dev/netmap",
            "build netmap's kernel module for this kernel and load it: `modprobe netmap`",
        );
    } else if !facts.netmap.works {
        verdict.refuse(
            format!("/dev/netmap cannot be used: {}", facts.netmap.words()),
            "run as root, or give your group the right to the file; a module of another version: load one of today's",
        );
    }
    verdict
}

#[cfg(test)]
mod tests {
    use super::super::facts::{Built, Capabilities, HugepageSize, Hugepages, Limits, Probe, XdpFeatures};
    use super::*;
    use std::io::{Error, ErrorKind};

    fn works() -> Probe {
        Probe::of(Ok(()))
    }

    fn fails(kind: ErrorKind) -> Probe {
        Probe::of(Err::<(), _>(Error::from(kind)))
    }

    fn interface(name: &str) -> Interface {
        let xdp = XdpFeatures { native: true, zero_copy: true, multi_buffer: true };
        Interface {
            name: name.into(),
            driver: Some("ice".into()),
            loopback: false,
            mtu: 1500,
            up: true,
            carrier: true,
            rx_queues: 4,
            tx_queues: 8,
            default_route: false,
            xdp: Some(xdp),
        }
    }

    fn down(name: &str) -> Interface {
        Interface { up: false, carrier: false, ..interface(name) }
    }

    /// A machine on which everything works.
    fn server() -> Facts {
        Facts {
            kernel: "6.12.0".into(),
            cpus: 8,
            capabilities: Capabilities::new(u64::MAX),
            initial_user_namespace: true,
            seccomp: false,
            io_uring: works(),
            tun: works(),
            af_xdp: works(),
            echo: works(),
            netmap: works(),
            vfio: works(),
            unprivileged_port_start: 1024,
            limits: Limits { memlock: None, nofile: None },
            hugepages: Hugepages {
                sizes: vec![HugepageSize { kib: 2048, total: 512, free: 500 }],
                mounts: vec!["/dev/hugepages".into()],
            },
            user_space_devices: vec![UserSpaceDevice {
                address: "0000:01:00.0".into(),
                driver: "vfio-pci".into(),
            }],
            built: Built { dpdk: true, netmap: true },
            interfaces: vec![
                Interface { loopback: true, xdp: None, ..interface("lo") },
                Interface { default_route: true, ..interface("eth0") },
                interface("eth1"),
            ],
        }
    }

    /// An ordinary container: few rights, no devices, a filter of system calls.
    fn container() -> Facts {
        Facts {
            capabilities: Capabilities::new(0),
            seccomp: true,
            io_uring: fails(ErrorKind::PermissionDenied),
            tun: fails(ErrorKind::NotFound),
            af_xdp: fails(ErrorKind::PermissionDenied),
            echo: fails(ErrorKind::PermissionDenied),
            netmap: fails(ErrorKind::NotFound),
            vfio: fails(ErrorKind::NotFound),
            limits: Limits { memlock: Some(64 << 10), nofile: Some(1024) },
            hugepages: Hugepages { sizes: vec![], mounts: vec![] },
            user_space_devices: vec![],
            built: Built { dpdk: false, netmap: false },
            ..server()
        }
    }

    fn verdict(facts: &Facts, device: &str) -> Verdict {
        all(facts).into_iter().find(|verdict| verdict.device == device).unwrap()
    }

    fn working(facts: &Facts) -> Vec<&'static str> {
        all(facts).into_iter().filter(|verdict| verdict.works).map(|verdict| verdict.device).collect()
    }

    #[test]
    fn a_server_of_ones_own_has_them_all() {
        assert_eq!(working(&server()), ["wire", "kernel", "tap", "xdp", "dpdk", "netmap"]);
        assert!(
            all(&server()).iter().all(|verdict| verdict.why_not.is_empty() && verdict.remedies.is_empty())
        );
    }

    #[test]
    fn a_container_has_two_and_is_told_how_to_get_more() {
        assert_eq!(working(&container()), ["wire", "kernel"]);
        for device in ["tap", "xdp", "dpdk", "netmap"] {
            let verdict = verdict(&container(), device);
            assert_eq!(verdict.why_not.len(), verdict.remedies.len(), "{verdict:?}");
            assert!(
                verdict.remedies.iter().any(|remedy| remedy.contains('`') || remedy.contains("--cap-add"))
            );
        }
        assert!(verdict(&container(), "wire").notes[0].contains("ppoll"));
        let notes = verdict(&container(), "kernel").notes;
        assert!(notes.iter().any(|note| note.contains("below 1024")));
        assert!(notes.iter().any(|note| note.contains("ping")));
    }

    /// Each fact alone is enough, and is what the reason names.
    #[test]
    fn every_reason_is_named() {
        let without = |bits: u64| Capabilities::new(!bits);
        let denied = || fails(ErrorKind::PermissionDenied);
        for (device, facts, part) in [
            ("tap", Facts { tun: fails(ErrorKind::NotFound), ..server() }, "no /dev/net/tun"),
            ("tap", Facts { tun: denied(), ..server() }, "cannot be opened: permission denied"),
            ("tap", Facts { capabilities: without(1 << 12), ..server() }, "CAP_NET_ADMIN"),
            ("xdp", Facts { af_xdp: denied(), ..server() }, "AF_XDP cannot be opened"),
            ("xdp", Facts { capabilities: without(1 << 39 | 1 << 21), ..server() }, "CAP_BPF"),
            ("xdp", Facts { initial_user_namespace: false, ..server() }, "user namespace"),
            ("xdp", Facts { interfaces: vec![], ..server() }, "no interface"),
            (
                "xdp",
                Facts {
                    capabilities: without(1 << 14),
                    limits: Limits { memlock: Some(8 << 20), nofile: None },
                    ..server()
                },
                "8192 KiB may be locked",
            ),
            ("dpdk", Facts { built: Built { dpdk: false, netmap: true }, ..server() }, "without DPDK"),
            ("netmap", Facts { built: Built { dpdk: true, netmap: false }, ..server() }, "without netmap"),
            ("netmap", Facts { netmap: fails(ErrorKind::NotFound), ..server() }, "no /dev/netmap"),
            ("netmap", Facts { netmap: denied(), ..server() }, "cannot be used: permission denied"),
            ("xdp", Facts { interfaces: vec![down("eth1"), down("eth2")], ..server() }, "is down"),
        ] {
            let verdict = verdict(&facts, device);
            assert!(!verdict.works && verdict.why_not.len() == 1, "{part}: {verdict:?}");
            assert!(verdict.why_not[0].contains(part), "{part}: {verdict:?}");
        }
    }

    #[test]
    fn rights_that_make_others_unnecessary_count() {
        let by_admin = Facts { capabilities: Capabilities::new(!(1 << 39)), ..server() };
        assert!(verdict(&by_admin, "xdp").works, "CAP_SYS_ADMIN loads programs, too");
        let limited = Facts { limits: Limits { memlock: Some(65_536), nofile: None }, ..server() };
        assert!(verdict(&limited, "xdp").works, "CAP_IPC_LOCK knows no limit");
    }

    #[test]
    fn the_interface_that_is_free_is_proposed() {
        assert!(verdict(&server(), "xdp").spec.starts_with("xdp:if=eth1,"));
        let facts = Facts {
            interfaces: vec![
                Interface { default_route: true, ..interface("eth0") },
                Interface { driver: None, ..interface("ifb0") },
            ],
            ..server()
        };
        assert_eq!(verdict(&facts, "xdp").spec, "xdp:if=eth0,addr=10.0.0.2/24,keep=tcp:22");
        assert!(verdict(&facts, "netmap").spec.starts_with("netmap:port=vale0:1,"));
        let copy = XdpFeatures { native: true, zero_copy: false, multi_buffer: false };
        let facts = Facts {
            interfaces: vec![
                Interface { default_route: true, ..interface("eth0") },
                Interface { xdp: None, ..interface("eth1") },
                Interface { xdp: Some(copy), rx_queues: 1, ..interface("eth2") },
                Interface { carrier: false, ..interface("eth3") },
                down("eth4"),
            ],
            ..server()
        };
        let verdict = verdict(&facts, "xdp");
        assert!(verdict.spec.starts_with("xdp:if=eth2,"), "{}", verdict.spec);
        for (note, part) in verdict.notes.iter().zip([
            "eth0: native, without a copy; 4 queues; the machine's default route goes here: keep=tcp:22",
            "eth1: this kernel, older than 6.3",
            "eth2: native, with a copy (mode=copy); 1 queue",
            "eth3: native, without a copy; 4 queues; no link",
            "eth4: native, without a copy; 4 queues; down: `ip link set eth4 up`",
        ]) {
            assert!(note.starts_with(part), "{note}");
        }
    }

    /// Whatever is proposed can be given to `--device`.
    #[test]
    fn every_proposal_is_a_spec() {
        let bare = Facts { interfaces: vec![], user_space_devices: vec![], ..server() };
        let closed = Facts { vfio: fails(ErrorKind::PermissionDenied), ..server() };
        for facts in [server(), container(), bare, closed] {
            for verdict in all(&facts) {
                let spec = verdict.spec.parse::<hayase::DeviceSpec>();
                assert!(spec.is_ok(), "{}: {}", verdict.spec, spec.unwrap_err());
            }
        }
    }

    #[test]
    fn dpdk_says_what_it_finds() {
        let spec = |facts: &Facts| verdict(facts, "dpdk").spec;
        assert_eq!(spec(&server()), "dpdk:pci=0000:01:00.0,addr=10.7.0.2/24");
        let closed = Facts { vfio: fails(ErrorKind::PermissionDenied), ..server() };
        assert_eq!(spec(&closed), "dpdk:vdev=net_tap0,addr=10.7.0.2/24");
        let notes = verdict(&closed, "dpdk").notes;
        assert!(notes[0].contains("/dev/vfio/vfio cannot be opened (permission denied)"), "{notes:?}");
        assert!(spec(&container()).starts_with("dpdk:vdev=net_memif0,"));
        let unmounted = Hugepages { mounts: vec![], ..server().hugepages };
        let notes = verdict(&Facts { hugepages: unmounted, ..server() }, "dpdk").notes;
        assert!(notes[0].contains("hugetlbfs"), "{notes:?}");
        for (free, is_told) in [(87, true), (88, false)] {
            let sizes = vec![HugepageSize { kib: 2048, total: 512, free }];
            let hugepages = Hugepages { sizes, ..server().hugepages };
            let notes = verdict(&Facts { hugepages, ..server() }, "dpdk").notes;
            assert_eq!(notes[0].contains("175 MiB for one core"), is_told, "{notes:?}");
        }
        let notes = verdict(&container(), "dpdk").notes;
        assert!(notes[0].starts_with("0 MiB") && notes[1].contains("dpdk-devbind"), "{notes:?}");
    }
}
