//! Looks at the machine. Nothing is changed, and what cannot be read counts as not there.

use std::fs::{self, OpenOptions};
use std::io;
use std::path::Path;
use std::thread::available_parallelism;

use hayase::net::EchoSocket;
use hayase::{DeviceSpec, Parking, Runtime};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

use super::facts::{Built, Capabilities, Facts, HugepageSize, Hugepages, Probe, UserSpaceDevice};
use super::{interfaces, proc};

/// The drivers that leave a PCI device to a process.
const USER_SPACE_DRIVERS: [&str; 3] = ["vfio-pci", "uio_pci_generic", "igb_uio"];

/// Ports below need a right unless the system says otherwise.
const PORT_START: u16 = 1024;

impl Facts {
    pub(super) fn gather() -> Facts {
        let status = read("/proc/self/status");
        Facts {
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            cpus: available_parallelism().map_or(1, usize::from),
            capabilities: Capabilities::new(proc::capabilities(&status)),
            initial_user_namespace: proc::is_initial(&read("/proc/self/uid_map")),
            seccomp: proc::has_seccomp(&status),
            io_uring: Probe::of(runtime("wire", Parking::IoUring)),
            tun: open("/dev/net/tun"),
            af_xdp: Probe::of(xdp_socket()),
            echo: Probe::of(echo_socket()),
            netmap: netmap(),
            vfio: open("/dev/vfio/vfio"),
            unprivileged_port_start: read("/proc/sys/net/ipv4/ip_unprivileged_port_start")
                .trim()
                .parse()
                .unwrap_or(PORT_START),
            limits: proc::limits(&read("/proc/self/limits")),
            hugepages: hugepages(),
            user_space_devices: USER_SPACE_DRIVERS.into_iter().flat_map(bound_to).collect(),
            built: Built { dpdk: cfg!(feature = "dpdk"), netmap: cfg!(feature = "netmap") },
            interfaces: interfaces::all(&proc::default_routes(
                &read("/proc/net/route"),
                &read("/proc/net/ipv6_route"),
            )),
        }
    }
}

pub(super) fn read(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// The names in a folder, sorted.
pub(super) fn names(folder: impl AsRef<Path>) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<_> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    names
}

fn open(path: &str) -> Probe {
    Probe::of(OpenOptions::new().read(true).write(true).open(path))
}

#[cfg(feature = "netmap")]
fn netmap() -> Probe {
    let opened = open("/dev/netmap");
    match hayase::device::netmap::probe() {
        Err(error) if opened.works => Probe::of(Err::<(), _>(io::Error::other(error))),
        _ => opened,
    }
}

#[cfg(not(feature = "netmap"))]
fn netmap() -> Probe {
    open("/dev/netmap")
}

fn runtime(device: &str, parking: Parking) -> io::Result<Runtime> {
    let device: DeviceSpec = device.parse().map_err(io::Error::other)?;
    Runtime::builder().device(device).parking(parking).build()
}

fn xdp_socket() -> io::Result<()> {
    socket_with(AddressFamily::XDP, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
    Ok(())
}

fn echo_socket() -> io::Result<()> {
    runtime("kernel", Parking::Auto)?.block_on(async { EchoSocket::open().map(drop) })
}

/// All sizes, where `/sys` tells them; else the default one.
fn hugepages() -> Hugepages {
    let folder = Path::new("/sys/kernel/mm/hugepages");
    let size = |name: String| {
        let kib = name.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok()?;
        let number = |file| read(folder.join(&name).join(file)).trim().parse().ok();
        Some(HugepageSize { kib, total: number("nr_hugepages")?, free: number("free_hugepages")? })
    };
    let mut sizes: Vec<_> = names(folder).into_iter().filter_map(size).collect();
    if sizes.is_empty() {
        sizes.extend(proc::hugepages(&read("/proc/meminfo")));
    }
    sizes.sort_by_key(|size| size.kib);
    Hugepages { sizes, mounts: proc::hugetlbfs(&read("/proc/self/mounts")) }
}

fn bound_to(driver: &str) -> Vec<UserSpaceDevice> {
    let entries = names(Path::new("/sys/bus/pci/drivers").join(driver)).into_iter();
    // Beside the devices there are files to bind and unbind with.
    let devices = entries.filter(|name| name.matches(':').count() == 2);
    devices.map(|address| UserSpaceDevice { address, driver: driver.to_owned() }).collect()
}
