//! A link with three hosts: the stack under test, the kernel, and an attacker who sends whatever frames a test makes.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use crate::forge::{self, ETHERNET_LEN, protocol};
use crate::site::{
    CONTROL_PORT, OUR_INTERFACE, PORT, START_MAX, address, hayase_address, kernel_address, listens_at,
};
use crate::tap::{self, Tap};
use crate::{Family, Namespace, Offloads, Process, binary, kernel, rights};

/// The link-layer address of the stack under test.
pub const HAYASE_MAC: [u8; 6] = [2, 0, 0, 0, 7, 2];
/// The link-layer address of the attacker.
pub const ATTACKER_MAC: [u8; 6] = [2, 0, 0, 0, 7, 66];

/// The bridge, whose address is the kernel's.
const BRIDGE: &str = "br0";
const ATTACKER_INTERFACE: &str = "at0";

/// Where a case takes place.
#[derive(Debug)]
pub struct Lan {
    /// Holds the bridge, and every process of the case.
    pub namespace: Namespace,
    /// The family that the case uses.
    pub family: Family,
    offloads: Offloads,
    attacker: Tap,
}

impl Lan {
    /// Runs a case, unless the rights for it are missing, which is printed.
    ///
    /// # Panics
    /// If the case does.
    pub fn run(family: Family, offloads: Offloads, case: impl FnOnce(&Lan)) {
        if !rights::can_use_tap() {
            return;
        }
        let namespace = Namespace::new().unwrap_or_else(|error| panic!("{error}"));
        namespace.ip(&["link", "add", BRIDGE, "type", "bridge", "mcast_snooping", "0"]);
        namespace.ip(&["link", "set", BRIDGE, "up"]);
        namespace.ip(&["tuntap", "add", "dev", OUR_INTERFACE, "mode", "tap"]);
        let ours = ["link", "set", OUR_INTERFACE, "addrgenmode", "none", "txqueuelen", tap::QUEUE_LEN];
        namespace.ip(&[&ours[..], &["master", BRIDGE, "up"]].concat());
        let attacker = Tap::new(&namespace, ATTACKER_INTERFACE);
        namespace.ip(&["link", "set", ATTACKER_INTERFACE, "master", BRIDGE]);
        for family in [Family::V4, Family::V6] {
            let prefix = if family == Family::V4 { 24 } else { 64 };
            let address = format!("{}/{prefix}", kernel_address(family));
            namespace.ip(&["address", "add", &address, "dev", BRIDGE]);
        }
        if let IpAddr::V6(address) = kernel_address(Family::V6) {
            kernel::eventually("an address is the kernel's", || {
                kernel::is_local(&namespace, address).then_some(())
            });
        }
        case(&Lan { namespace, family, offloads, attacker });
    }

    /// Starts an echo server for TCP and UDP with a control port, and waits until the kernel reaches it.
    ///
    /// # Panics
    /// If it does not.
    pub fn serve(&self) -> Process {
        let addresses = [Family::V4, Family::V6].map(|family| {
            let prefix = if family == Family::V4 { 24 } else { 64 };
            format!("addr={}/{prefix},gateway={}", hayase_address(family), kernel_address(family))
        });
        let mac = HAYASE_MAC.map(|byte| format!("{byte:02x}")).join(":");
        let device = format!(
            "tap:name={OUR_INTERFACE},{},mac={mac},dad=0,offloads={}",
            addresses.join(","),
            self.offloads
        );
        let (port, control) = (PORT.to_string(), CONTROL_PORT.to_string());
        let mut command = binary::hayase();
        command.args(["serve", "echo", "--udp", "--port", &port, "--ctl", &control, "--device", &device]);
        let server = Process::spawn_in(&self.namespace, &mut command);
        server.line(START_MAX, |line| listens_at(line).is_some_and(|address| address.port() == PORT));
        self.check_echo();
        server
    }

    /// The stack under test.
    pub fn hayase(&self) -> IpAddr {
        hayase_address(self.family)
    }

    /// The kernel.
    pub fn kernel(&self) -> IpAddr {
        kernel_address(self.family)
    }

    /// The attacker, when it speaks for itself.
    pub fn attacker(&self) -> IpAddr {
        address(self.family, 66)
    }

    /// A port of the stack under test.
    pub fn port(&self, port: u16) -> SocketAddr {
        (self.hayase(), port).into()
    }

    /// A stranger far away.
    pub fn stranger(&self, number: u32) -> IpAddr {
        let [a, b, c, d] = number.to_be_bytes();
        match self.family {
            Family::V4 => [198, 18 + (a & 1), c, d.max(1)].into(),
            Family::V6 => {
                [0x2001, 0xdb8, 0, 0, 0, 0, u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])].into()
            }
        }
    }

    /// Sends a packet to the stack under test.
    pub fn send(&self, packet: &[u8]) {
        let ethertype = if packet[0] >> 4 == 4 { 0x0800 } else { 0x86dd };
        self.attacker.send(&forge::ethernet(HAYASE_MAC, ATTACKER_MAC, ethertype, packet));
    }

    /// Sends a frame to anybody.
    pub fn send_frame(&self, frame: &[u8]) {
        self.attacker.send(frame);
    }

    /// Sends many packets, with a breath after every hundred: what is to be tested is the stack, not the queue of the
    /// interface.
    pub fn flood(&self, count: u32, mut packet: impl FnMut(u32) -> Vec<u8>) {
        for number in 0..count {
            self.send(&packet(number));
            if number % 100 == 99 {
                std::thread::sleep(Duration::from_micros(500));
            }
        }
    }

    /// The attacker asks for the stack's address, so that the stack knows the attacker's.
    ///
    /// # Panics
    /// If it is not answered.
    pub fn introduce(&self) {
        self.drain();
        let (src, dst) = (self.attacker(), self.hayase());
        if src.is_ipv4() {
            let arp = arp(1, (ATTACKER_MAC, src), ([0; 6], dst));
            self.attacker.send(&forge::ethernet([0xff; 6], ATTACKER_MAC, 0x0806, &arp));
        } else {
            let body = [&[0; 4], &forge::octets(dst)[..], &[1, 1], &ATTACKER_MAC].concat();
            self.send(&forge::icmp(src, dst, 135, 0, &body));
        }
        let is_answer = |frame: &[u8]| frame[6..12] == HAYASE_MAC;
        self.hear(Duration::from_secs(5), is_answer).expect("the stack answers the attacker's question");
    }

    /// Waits for a frame to the attacker that `accepts` likes.
    pub fn hear(&self, limit: Duration, accepts: impl Fn(&[u8]) -> bool) -> Option<Vec<u8>> {
        let end_at = Instant::now() + limit;
        let mut buffer = vec![0; 70_000];
        loop {
            while let Some(len) = self.attacker.receive(&mut buffer) {
                if accepts(&buffer[..len]) {
                    return Some(buffer[..len].to_vec());
                }
            }
            let left = end_at.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            tap::wait(&[&self.attacker], left.as_nanos() as u64);
        }
    }

    /// Forgets what came to the attacker until now.
    pub fn drain(&self) {
        let mut buffer = vec![0; 70_000];
        while self.attacker.receive(&mut buffer).is_some() {}
    }

    /// A fresh connection of the kernel echoes.
    ///
    /// # Panics
    /// If it does not.
    pub fn check_echo(&self) {
        kernel::echo_of_pattern(&kernel::connect(&self.namespace, self.port(PORT)), 10_000);
    }
}

/// An ARP packet: 1 asks, 2 answers.
pub fn arp(operation: u8, sender: ([u8; 6], IpAddr), target: ([u8; 6], IpAddr)) -> Vec<u8> {
    let head = [0, 1, 8, 0, 6, 4, 0, operation];
    [&head[..], &sender.0, &forge::octets(sender.1), &target.0, &forge::octets(target.1)].concat()
}

/// Whether a frame has a packet from the stack under test, of this protocol.
pub fn is_from_hayase(frame: &[u8], wanted: u8) -> bool {
    let packet = &frame[ETHERNET_LEN..];
    let protocol = match packet.first().map(|byte| byte >> 4) {
        Some(4) => packet.get(9),
        Some(6) => packet.get(6),
        _ => None,
    };
    frame[6..12] == HAYASE_MAC && protocol == Some(&wanted)
}

/// The transport header and what follows, of a packet without extension headers.
pub fn transport(frame: &[u8]) -> &[u8] {
    let header_len = if frame[ETHERNET_LEN] >> 4 == 4 { 20 } else { 40 };
    &frame[ETHERNET_LEN + header_len..]
}

/// Whether a frame is a TCP segment of the stack's.
pub fn is_segment(frame: &[u8]) -> bool {
    is_from_hayase(frame, protocol::TCP)
}

/// Declares tests on such a link: over IPv4 with every offload, over IPv6 with none.
#[macro_export]
macro_rules! lan {
    ($($(#[$attribute:meta])* fn $name:ident($lan:ident) $body:block)*) => {$(
        $(#[$attribute])*
        mod $name {
            use super::*;

            fn case($lan: &$crate::lan::Lan) $body

            #[test]
            fn v4() {
                $crate::lan::Lan::run($crate::Family::V4, $crate::Offloads::All, case);
            }

            #[test]
            fn v6() {
                $crate::lan::Lan::run($crate::Family::V6, $crate::Offloads::None, case);
            }
        }
    )*};
}
