//! The queues of a network interface: the kernel at the other end of the link, or anybody.

use std::io;

use hayase_stack::Config;
use hayase_xdp::{Keep, Mode, XdpConfig, XdpError, XdpQueue};

use super::{Queue, give_addresses};
use crate::host::Host;
use crate::reactor::Reactor;
use crate::runtime::spec::{XdpKeep, XdpMode, XdpSpec};
use crate::time;

/// All queues, dealt out to at most `cores` devices.
pub(super) fn open(spec: &XdpSpec, cores: usize) -> io::Result<Vec<Queue>> {
    let config = XdpConfig {
        interface: spec.interface.clone(),
        mac: spec.mac,
        mtu: spec.mtu,
        queues: spec.queues.clone(),
        devices_max: cores,
        mode: spec.mode.map(mode),
        keep: spec.keep.iter().map(keep).collect(),
        trust: spec.trust,
        offloads: spec.offloads,
        ..XdpConfig::default()
    };
    let queues = hayase_xdp::open(&config).map_err(xdp_error)?;
    let queue = |queue| {
        let spec = spec.clone();
        let attach = move |reactor: &mut Reactor, config: &Config| attach(reactor, queue, &spec, config);
        Box::new(attach) as Queue
    };
    Ok(queues.into_iter().map(queue).collect())
}

fn attach(reactor: &mut Reactor, queue: XdpQueue, spec: &XdpSpec, config: &Config) -> io::Result<Vec<Host>> {
    let device = queue.into_device().map_err(xdp_error)?;
    let host = reactor.attach(device, config.clone(), time::now())?;
    give_addresses(host, &spec.addresses, &spec.gateways)?;
    Ok(vec![host])
}

fn mode(mode: XdpMode) -> Mode {
    match mode {
        XdpMode::ZeroCopy => Mode::ZeroCopy,
        XdpMode::Copy => Mode::Copy,
        XdpMode::Skb => Mode::Skb,
    }
}

fn keep(keep: &XdpKeep) -> Keep {
    match keep {
        XdpKeep::Tcp(ports) => Keep::Tcp(ports.clone()),
        XdpKeep::Udp(ports) => Keep::Udp(ports.clone()),
        XdpKeep::Icmp => Keep::Icmp,
        XdpKeep::Arp => Keep::Arp,
        XdpKeep::Address(address) => Keep::Address(*address),
    }
}

fn xdp_error(error: XdpError) -> io::Error {
    let kind = match &error {
        XdpError::BadName(_) | XdpError::NoSuchQueue { .. } | XdpError::MtuTooLarge { .. } => {
            io::ErrorKind::InvalidInput
        }
        XdpError::NoInterface(_) => io::ErrorKind::NotFound,
        XdpError::Down(_) => io::ErrorKind::NetworkDown,
        XdpError::NotPermitted { .. } => io::ErrorKind::PermissionDenied,
        XdpError::NoKernelSupport { .. } | XdpError::NoMode { .. } => io::ErrorKind::Unsupported,
        XdpError::Busy { .. } | XdpError::ProgramTaken(_) => io::ErrorKind::ResourceBusy,
        XdpError::MemoryLimit { .. } => io::ErrorKind::OutOfMemory,
        XdpError::Io { source, .. } => source.kind(),
        _ => io::ErrorKind::Other,
    };
    io::Error::new(kind, error)
}
