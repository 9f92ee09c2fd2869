//! What a driver offers, and the ways of those that are not like hardware.

use hayase_device::Offloads;

use crate::DpdkConfig;
use crate::sys::port::PortInfo;

const RX_UDP_CHECKSUM: u64 = 1 << 2;
const RX_TCP_CHECKSUM: u64 = 1 << 3;
const RX_LRO: u64 = 1 << 4;
const RX_SCATTER: u64 = 1 << 13;
const RX_RSS_HASH: u64 = 1 << 19;
const TX_IPV4_CHECKSUM: u64 = 1 << 1;
const TX_UDP_CHECKSUM: u64 = 1 << 2;
const TX_TCP_CHECKSUM: u64 = 1 << 3;
const TX_TSO: u64 = 1 << 5;
const TX_SEGMENTS: u64 = 1 << 15;

/// How a driver treats what it is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Hardware, and whatever is not known better.
    Hardware,
    /// The guest's side of virtio. It takes the sum of the pseudo-header as we have it, and holds a few frames that it
    /// has sent until more are sent.
    Virtio,
    /// The host's side of virtio. It copies, passes super-frames both ways without saying so in its offloads, and tells
    /// nobody what its guest takes.
    Vhost,
    /// A driver that copies.
    Copying,
    /// The driver of packet sockets. It copies, and sleeps on its sockets.
    Packet,
    /// The driver of AF_XDP, which sleeps on its sockets.
    Xdp,
    /// A driver that hands the mbuf itself to whoever is at the other end.
    HandsOver,
}

/// What the other end of a link takes as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Peer {
    /// Checksums that were never filled in.
    pub(crate) checksum: bool,
    /// Super-segments of TCP over IPv4.
    pub(crate) tso4: bool,
    /// Super-segments of TCP over IPv6.
    pub(crate) tso6: bool,
}

impl Peer {
    /// A NIC does for anybody what it was asked for.
    pub(crate) const ANY: Peer = Peer { checksum: true, tso4: true, tso6: true };

    /// A guest takes what it has agreed to (virtio 1.2 §5.1.3).
    pub(crate) fn guest(features: u64) -> Peer {
        const GUEST_CSUM: u32 = 1;
        const GUEST_TSO4: u32 = 7;
        const GUEST_TSO6: u32 = 8;
        let has = |bit: u32| features >> bit & 1 == 1;
        Peer { checksum: has(GUEST_CSUM), tso4: has(GUEST_TSO4), tso6: has(GUEST_TSO6) }
    }
}

/// Which bytes of the application a driver can send from where they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Foreign {
    /// All.
    Anywhere,
    /// Those in memory that DPDK knows.
    Reachable,
    /// None.
    Never,
}

impl Kind {
    /// Whether super-segments that it says it takes arrive. A driver that copies cuts in software, as the stack does; and
    /// net_tap stops at those with segments of full size, since it counts the link's header as part of the MTU.
    fn cuts(self) -> bool {
        !matches!(self, Kind::Copying | Kind::Packet)
    }

    pub(crate) fn of(driver: &str, config: &DpdkConfig) -> Kind {
        match driver {
            "net_virtio" | "net_virtio_user" => Kind::Virtio,
            "net_vhost" => Kind::Vhost,
            // It can be told not to copy, and then has mbufs in memory that both ends share.
            "net_memif" if config.argument("zero-copy") == Some("yes") => Kind::Hardware,
            "net_af_packet" => Kind::Packet,
            "net_memif" | "net_tap" | "net_pcap" | "net_null" => Kind::Copying,
            "net_af_xdp" => Kind::Xdp,
            "net_ring" => Kind::HandsOver,
            _ => Kind::Hardware,
        }
    }

    pub(crate) fn foreign(self) -> Foreign {
        match self {
            Kind::Vhost | Kind::Copying | Kind::Packet => Foreign::Anywhere,
            Kind::Hardware | Kind::Virtio | Kind::Xdp => Foreign::Reachable,
            Kind::HandsOver => Foreign::Never,
        }
    }
}

/// The offloads of a port, of those that are wanted.
pub(crate) fn offloads(info: &PortInfo, kind: Kind, config: &DpdkConfig) -> Offloads {
    let passes_super_frames = kind == Kind::Vhost && config.argument("tso") == Some("1");
    let both = RX_UDP_CHECKSUM | RX_TCP_CHECKSUM;
    let mut found = Offloads::NONE;
    let mut add = |offload, there| found |= if there { offload } else { Offloads::NONE };
    add(Offloads::TX_CHECKSUM_TCP, info.tx_offloads & TX_TCP_CHECKSUM != 0);
    add(Offloads::TX_CHECKSUM_UDP, info.tx_offloads & TX_UDP_CHECKSUM != 0);
    add(Offloads::TSO, (info.tx_offloads & TX_TSO != 0 && kind.cuts()) || passes_super_frames);
    add(Offloads::SG, info.tx_offloads & TX_SEGMENTS != 0);
    add(Offloads::RX_CHECKSUM, info.rx_offloads & both == both);
    add(Offloads::LRO, info.rx_offloads & RX_LRO != 0 || passes_super_frames);
    (found & config.offloads).consistent()
}

/// What a port is asked for so that these offloads can be in force: receive offloads, then transmit offloads.
pub(crate) fn requests(info: &PortInfo, kind: Kind, offloads: Offloads) -> (u64, u64) {
    let on = |offload, bits| if offloads.intersects(offload) { bits } else { 0 };
    let rx = on(Offloads::RX_CHECKSUM, RX_UDP_CHECKSUM | RX_TCP_CHECKSUM) | on(Offloads::LRO, RX_LRO);
    let tx = on(Offloads::TX_CHECKSUM_TCP, TX_TCP_CHECKSUM)
        | on(Offloads::TX_CHECKSUM_UDP, TX_UDP_CHECKSUM)
        | on(Offloads::TSO, TX_TSO | TX_IPV4_CHECKSUM);
    // virtio has no checksum of IP headers. Scattered frames and chains cost nothing where there are none.
    let tx = if kind == Kind::Virtio { tx & !TX_IPV4_CHECKSUM } else { tx };
    ((rx | RX_SCATTER | RX_RSS_HASH) & info.rx_offloads, (tx | TX_SEGMENTS) & info.tx_offloads)
}

/// Whether super-segments over IPv4 want the checksum of IP filled in, too: each piece of hardware's has its own.
pub(crate) fn fills_ip_checksum(tx_offloads: u64) -> bool {
    tx_offloads & TX_IPV4_CHECKSUM != 0
}

#[cfg(test)]
mod unit {
    use super::*;

    fn config(device: &str) -> DpdkConfig {
        DpdkConfig { device: device.into(), ..DpdkConfig::default() }
    }

    fn info(driver: &str, rx_offloads: u64, tx_offloads: u64) -> PortInfo {
        PortInfo { driver: driver.into(), rx_offloads, tx_offloads, ..PortInfo::default() }
    }

    #[test]
    fn drivers_are_known_by_their_ways() {
        for (driver, device, kind, foreign) in [
            ("net_virtio_user", "", Kind::Virtio, Foreign::Reachable),
            ("net_vhost", "", Kind::Vhost, Foreign::Anywhere),
            ("net_memif", "net_memif0", Kind::Copying, Foreign::Anywhere),
            ("net_memif", "net_memif0,zero-copy=yes", Kind::Hardware, Foreign::Reachable),
            ("net_af_packet", "", Kind::Packet, Foreign::Anywhere),
            ("net_af_xdp", "", Kind::Xdp, Foreign::Reachable),
            ("net_ring", "", Kind::HandsOver, Foreign::Never),
            ("mlx5_pci", "", Kind::Hardware, Foreign::Reachable),
        ] {
            let found = Kind::of(driver, &config(device));
            assert_eq!((found, found.foreign()), (kind, foreign), "{driver}");
        }
    }

    #[test]
    fn offloads_are_those_of_both_sides() {
        // As the drivers of 22.11 tell them.
        let virtio = info("net_virtio_user", 0x201d, 0x802d);
        let vhost = info("net_vhost", 0xd, 0x800d);
        let all = |info: &PortInfo, device| {
            offloads(info, Kind::of(&info.driver, &config(device)), &config(device))
        };
        assert_eq!(all(&virtio, "net_virtio_user0"), Offloads::ALL);
        assert_eq!(all(&vhost, "net_vhost0,tso=1"), Offloads::ALL);
        assert_eq!(all(&vhost, "net_vhost0"), !(Offloads::TSO | Offloads::LRO));
        assert_eq!(all(&info("net_memif", 0, 0x8000), "net_memif0"), Offloads::SG);
        assert_eq!(all(&info("net_null", 0, 0), "net_null0"), Offloads::NONE);
        assert_eq!(all(&info("net_af_packet", 0, 0x8000), "net_af_packet0"), Offloads::SG);
        let sums = Offloads::TX_CHECKSUM_TCP | Offloads::TX_CHECKSUM_UDP;
        assert_eq!(all(&info("net_tap", 0, 0x802e), "net_tap0"), sums | Offloads::SG);
        let half = DpdkConfig { offloads: Offloads::TSO | Offloads::SG, ..config("") };
        assert_eq!(offloads(&virtio, Kind::Virtio, &half), Offloads::SG);
    }

    #[test]
    fn a_port_is_asked_for_what_it_has() {
        let virtio = info("net_virtio_user", 0x201d, 0x802d);
        assert_eq!(requests(&virtio, Kind::Virtio, Offloads::ALL), (0x201c, 0x802c));
        assert_eq!(requests(&virtio, Kind::Virtio, Offloads::NONE), (0x2000, 0x8000));
        let hardware = info("net_x", u64::MAX, u64::MAX);
        assert_eq!(
            requests(&hardware, Kind::Hardware, Offloads::NONE),
            (RX_SCATTER | RX_RSS_HASH, TX_SEGMENTS)
        );
        assert!(fills_ip_checksum(requests(&hardware, Kind::Hardware, Offloads::ALL).1));
        assert!(!fills_ip_checksum(requests(&hardware, Kind::Virtio, Offloads::ALL).1));
    }
}
