//! One case of a test: a namespace, a device, an address family and a set of offloads.

use std::fmt;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::{Namespace, Process, binary, kernel, rights};

/// The interface at the kernel's end.
pub const INTERFACE: &str = "hy0";
/// The interface at our end, where the device is one of the kernel's.
pub const OUR_INTERFACE: &str = "hx0";
/// The port of the service under test.
pub const PORT: u16 = 7000;
/// The port by which a test steers the server.
pub const CONTROL_PORT: u16 = 7001;

/// How long the program may take to say that it listens.
pub(crate) const START_MAX: Duration = Duration::from_secs(20);

/// The address family of a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// What the device under test is. The kernel is at the other end of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Device {
    /// A TAP interface.
    Tap,
    /// AF_XDP on both queues of a veth interface.
    Xdp,
    /// The kernel's own sockets: both ends are on the loopback interface.
    Kernel,
    /// DPDK's driver of packet sockets on a veth interface.
    Dpdk,
}

/// What the device under test does for the stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offloads {
    /// Whatever it can.
    All,
    /// Nothing: software does everything.
    None,
}

impl fmt::Display for Offloads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Offloads::All => "all",
            Offloads::None => "none",
        })
    }
}

/// Where a case takes place.
#[derive(Debug)]
pub struct Site {
    /// Holds the kernel's end of the device, and every process of the case.
    pub namespace: Namespace,
    /// The device under test.
    pub device: Device,
    /// The family that the case uses. The device has addresses of both.
    pub family: Family,
    /// The offloads that the device is given.
    pub offloads: Offloads,
}

impl Site {
    /// Runs a case, unless the rights for it are missing, which is printed.
    ///
    /// # Panics
    /// If the case does.
    pub fn run(device: Device, family: Family, offloads: Offloads, case: impl FnOnce(&Site)) {
        if !rights::can_use_tap() || !can_use(device) {
            return;
        }
        let namespace = Namespace::new().unwrap_or_else(|error| panic!("{error}"));
        match device {
            Device::Tap => {}
            Device::Xdp => make_veth(&namespace),
            Device::Kernel => name_loopback(&namespace),
            Device::Dpdk => {
                make_veth(&namespace);
                // A packet socket would get checksums that the kernel leaves to hardware, and segments that it leaves
                // uncut, and DPDK does not ask which those are.
                let off = ["-K", INTERFACE, "tx", "off", "tso", "off", "gso", "off"];
                namespace.run("ethtool", &off);
            }
        }
        case(&Site { namespace, device, family, offloads });
    }

    /// The device under test, in the words of the command line.
    pub fn device(&self) -> String {
        let (v4, v6) = (hayase_address(Family::V4), hayase_address(Family::V6));
        // Nobody else is on the link: a test need not wait until that is known.
        let common = format!("addr={v4}/24,addr={v6}/64,offloads={},dad=0", self.offloads);
        let (host_v4, host_v6) = (kernel_address(Family::V4), kernel_address(Family::V6));
        match self.device {
            Device::Tap => format!("tap:name={INTERFACE},{common},host={host_v4}/24,host={host_v6}/64"),
            // The kernel leaves checksums to hardware that a veth has not got.
            Device::Xdp => format!("xdp:if={OUR_INTERFACE},{common},trust=on"),
            Device::Kernel => "kernel".to_owned(),
            Device::Dpdk => format!("dpdk:vdev=net_af_packet0,iface={OUR_INTERFACE},{common}"),
        }
    }

    /// The interface of the kernel's that every frame of the case crosses.
    pub fn link(&self) -> &'static str {
        match self.device {
            Device::Tap | Device::Xdp | Device::Dpdk => INTERFACE,
            Device::Kernel => "lo",
        }
    }

    /// Whether `len` bytes reach the stack in one datagram, or in one echo request. They do, but for one driver: that of
    /// packet sockets has the kernel put IPv4 fragments together (`PACKET_FANOUT_FLAG_DEFRAG`), and what then is longer than
    /// its buffers of 2 KiB is lost.
    pub fn carries(&self, len: usize) -> bool {
        self.device != Device::Dpdk || self.family == Family::V6 || len < 1900
    }

    /// A port of the stack under test.
    pub fn hayase(&self, port: u16) -> SocketAddr {
        (hayase_address(self.family), port).into()
    }

    /// A port of the kernel.
    pub fn kernel(&self, port: u16) -> SocketAddr {
        (kernel_address(self.family), port).into()
    }

    /// Starts `hayase ARGUMENTS --device SPEC`.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn start(&self, arguments: &[&str]) -> Process {
        let mut command = match self.device {
            Device::Dpdk => binary::hayase_with_dpdk(),
            _ => binary::hayase(),
        };
        command.args(arguments).args(["--device", &self.device()]);
        Process::spawn_in(&self.namespace, &mut command)
    }

    /// Starts `hayase serve SERVICE --port PORT ARGUMENTS` and waits until it listens.
    ///
    /// # Panics
    /// If it does not.
    pub fn serve(&self, service: &str, arguments: &[&str]) -> Process {
        let port = PORT.to_string();
        let process = self.start(&[&["serve", service, "--port", &port], arguments].concat());
        process.line(START_MAX, |line| listens_at(line).is_some_and(|address| address.port() == PORT));
        process
    }

    /// Starts an echo server with a control port.
    ///
    /// # Panics
    /// If it does not listen.
    pub fn serve_control(&self) -> Process {
        self.serve("echo", &["--ctl", &CONTROL_PORT.to_string()])
    }

    /// Connects the kernel to the service under test.
    ///
    /// # Panics
    /// If that fails.
    pub fn connect(&self) -> TcpStream {
        kernel::connect(&self.namespace, self.hayase(PORT))
    }

    /// Connects the kernel to the control port and gives one order.
    ///
    /// # Panics
    /// If that fails.
    pub fn order(&self, order: &str) -> TcpStream {
        let mut stream = kernel::connect(&self.namespace, self.hayase(CONTROL_PORT));
        stream.write_all(format!("{order}\n").as_bytes()).expect("the control port takes an order");
        stream
    }

    /// Has the stack under test connect to the kernel, by the control port. Returns the kernel's end: the other one echoes.
    ///
    /// # Panics
    /// If it does not connect.
    pub fn dialled(&self) -> TcpStream {
        self.dialled_at(kernel_address(self.family))
    }

    /// The same at another address of the kernel's.
    ///
    /// # Panics
    /// If it does not connect.
    pub fn dialled_at(&self, to: IpAddr) -> TcpStream {
        let listener = kernel::listen(&self.namespace, self.family);
        let mut control = self.order(&format!("CONNECT {to} {}", kernel::port(&listener)));
        let stream = kernel::accept(&listener);
        let mut answer = String::new();
        control.read_to_string(&mut answer).expect("the control port answers");
        assert_eq!(answer.trim_end(), "OK");
        stream
    }

    /// Connections that the stack under test has, but for those in TIME_WAIT and the one that asks.
    ///
    /// # Panics
    /// If it does not tell.
    pub fn connections(&self) -> u64 {
        let mut answer = String::new();
        self.order("CONNECTIONS").read_to_string(&mut answer).expect("the control port answers");
        answer.trim_end().parse::<u64>().unwrap_or_else(|_| panic!("{answer:?}")) - 1
    }

    /// What the stack under test has counted under this name, by the control port.
    ///
    /// # Panics
    /// If it does not tell.
    pub fn count(&self, name: &str) -> u64 {
        let mut answer = String::new();
        self.order(&format!("COUNT {name}")).read_to_string(&mut answer).expect("the control port answers");
        answer.trim_end().parse().unwrap_or_else(|_| panic!("{name}: {answer:?}"))
    }

    /// The service is alive: a fresh connection echoes.
    ///
    /// # Panics
    /// If it does not.
    pub fn check_echo(&self) {
        kernel::echo_of_pattern(&self.connect(), 10_000);
    }

    /// Gives the kernel's end of the link another address: that of host `number`.
    ///
    /// # Panics
    /// If it has it already.
    pub fn add_kernel_address(&self, number: u8) -> IpAddr {
        let address = address(self.family, number);
        add_address(&self.namespace, INTERFACE, address);
        address
    }

    /// Runs a program of the system inside the namespace, to its end.
    ///
    /// # Panics
    /// If it fails, or is not done in [`kernel::PATIENCE`].
    pub fn system(&self, program: &str, arguments: &[&str]) -> String {
        let mut command = Command::new(program);
        let process = Process::spawn_in(&self.namespace, command.args(arguments));
        process.wait(kernel::PATIENCE).success().text()
    }
}

/// Whether there is here what this device needs beside TAP; says why not if there is not.
fn can_use(device: Device) -> bool {
    match device {
        Device::Tap | Device::Kernel => true,
        Device::Xdp => rights::can_use_xdp(),
        Device::Dpdk => rights::can_use_dpdk() && rights::has_program("ethtool"),
    }
}

/// A pair of interfaces with two queues, the kernel's end with addresses.
fn make_veth(namespace: &Namespace) {
    let queues = ["numrxqueues", "2", "numtxqueues", "2"];
    let (ours, peer) = (["link", "add", OUR_INTERFACE], ["type", "veth", "peer", "name", INTERFACE]);
    namespace.ip(&[&ours[..], &queues, &peer, &queues].concat());
    // The kernel has nothing to say at our end.
    namespace.ip(&["link", "set", OUR_INTERFACE, "addrgenmode", "none", "up"]);
    namespace.ip(&["link", "set", INTERFACE, "up"]);
    for family in [Family::V4, Family::V6] {
        add_address(namespace, INTERFACE, kernel_address(family));
    }
}

/// Gives an interface of the kernel's an address in the network of the link, and waits until it can be used.
fn add_address(namespace: &Namespace, interface: &str, address: IpAddr) {
    let prefix = if address.is_ipv4() { 24 } else { 64 };
    namespace.ip(&["address", "add", &format!("{address}/{prefix}"), "dev", interface]);
    if let IpAddr::V6(address) = address {
        // Even if nobody looks for duplicates, that is done later, by a thread of the kernel.
        kernel::eventually("an IPv6 address is ours", || kernel::is_local(namespace, address).then_some(()));
    }
}

/// The addresses of both ends on the loopback interface, and an interface beside it for what comes and goes.
fn name_loopback(namespace: &Namespace) {
    namespace.ip(&["link", "add", INTERFACE, "type", "veth", "peer", "name", OUR_INTERFACE]);
    namespace.ip(&["link", "set", INTERFACE, "up"]);
    for family in [Family::V4, Family::V6] {
        add_address(namespace, "lo", hayase_address(family));
        add_address(namespace, "lo", kernel_address(family));
    }
}

/// The address in a line `listening on ADDR:PORT`.
pub fn listens_at(line: &str) -> Option<SocketAddr> {
    line.strip_prefix("listening on ")?.parse().ok()
}

/// Lets one test of this process work at a time: for those that keep every core busy.
pub fn heavy() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The address of the stack under test.
pub fn hayase_address(family: Family) -> IpAddr {
    address(family, 2)
}

/// The address of the kernel.
pub fn kernel_address(family: Family) -> IpAddr {
    address(family, 1)
}

/// The address of host `number` on the link.
pub fn address(family: Family, number: u8) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::new(10, 7, 0, number).into(),
        Family::V6 => Ipv6Addr::new(0xfd00, 7, 0, 0, 0, 0, 0, number.into()).into(),
    }
}

/// Declares tests, each over IPv4 and IPv6: with every offload and with none on TAP, over AF_XDP, over the kernel's own
/// sockets, and over DPDK.
///
/// `fn name(site) { .. }` becomes the tests `name::v4_offloads_all` and so on, each of which takes place in a
/// namespace of its own.
#[macro_export]
macro_rules! matrix {
    (@beside $others:tt $($(#[$attribute:meta])* fn $name:ident($site:ident) $body:block)*) => {$(
        $(#[$attribute])*
        mod $name {
            use super::*;

            fn case($site: &$crate::Site) $body

            $crate::matrix! { @cases {
                v4_offloads_all: Tap, V4, All;
                v4_offloads_none: Tap, V4, None;
                v6_offloads_all: Tap, V6, All;
                v6_offloads_none: Tap, V6, None;
                v4_xdp: Xdp, V4, All;
                v6_xdp_offloads_none: Xdp, V6, None;
                v4_kernel: Kernel, V4, All;
                v6_kernel: Kernel, V6, All;
                v4_dpdk: Dpdk, V4, All;
                v6_dpdk_offloads_none: Dpdk, V6, None;
            } }
            $crate::matrix! { @cases $others }
        }
    )*};
    (@cases { $($case:ident: $device:ident, $family:ident, $offloads:ident;)* }) => {$(
        #[test]
        fn $case() {
            let (device, family) = ($crate::Device::$device, $crate::Family::$family);
            $crate::Site::run(device, family, $crate::Offloads::$offloads, case);
        }
    )*};
    ($($functions:tt)*) => {
        $crate::matrix! { @beside {} $($functions)* }
    };
}

/// The same, and with every offload and with none over AF_XDP and DPDK as well. For what takes no time: elsewhere, the half
/// of it that [`matrix!`] has is enough.
#[macro_export]
macro_rules! matrix_in_full {
    ($($functions:tt)*) => {
        $crate::matrix! {
            @beside {
                v4_xdp_offloads_none: Xdp, V4, None;
                v6_xdp: Xdp, V6, All;
                v4_dpdk_offloads_none: Dpdk, V4, None;
                v6_dpdk: Dpdk, V6, All;
            }
            $($functions)*
        }
    };
}
