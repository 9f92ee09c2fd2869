//! The queues of a network interface: the kernel at the other end of the link, or anybody.

use std::io;

use hayase_xdp::{Keep, Mode, XdpConfig, XdpError, XdpQueue};

use super::{Queue, addressed};
use crate::runtime::spec::{XdpKeep, XdpMode, XdpSpec};

/// All queues, dealt out to at most `cores` devices.
pub(super) fn open(spec: &XdpSpec, cores: usize) -> io::Result<Vec<Queue>> {
    spec.check().map_err(|what| io::Error::new(io::ErrorKind::InvalidInput, what))?;
    let config = XdpConfig {
        interface: spec.interface.clone(),
        mac: spec.mac,
        mtu: spec.mtu,
        queues: spec.queues.clone(),
        devices_max: cores,
        mode: spec.mode.map(mode),
        keep: spec.keep.iter().map(keep).collect(),
        trust: spec.trust,
        promiscuous: spec.link.vlan.is_some(),
        offloads: spec.offloads,
        ..XdpConfig::default()
    };
    let queues = hayase_xdp::open(&config).map_err(xdp_error)?;
    if config.mode.is_none() && queues.iter().any(|queue| queue.mode() == Mode::Skb) {
        let name = &config.interface;
        eprintln!(
            "hayase: packets of {name} come by mode=skb, the slowest; with mode=copy, the error says why not by another"
        );
    }
    let queue = |queue: XdpQueue| {
        let open = move || queue.into_device().map_err(xdp_error);
        addressed(open, spec.addresses.clone(), spec.gateways.clone(), spec.link.clone())
    };
    Ok(queues.into_iter().map(queue).collect())
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
        XdpError::BadName(_)
        | XdpError::NoSuchQueue { .. }
        | XdpError::NoSendQueue { .. }
        | XdpError::OverOthers { .. }
        | XdpError::MtuTooLarge { .. } => io::ErrorKind::InvalidInput,
        XdpError::NoInterface(_) => io::ErrorKind::NotFound,
        XdpError::Down(_) => io::ErrorKind::NetworkDown,
        XdpError::NotPermitted { .. } => io::ErrorKind::PermissionDenied,
        XdpError::NoKernelSupport { .. } | XdpError::NoMode { .. } | XdpError::MoreQueues { .. } => {
            io::ErrorKind::Unsupported
        }
        XdpError::Busy { .. } | XdpError::ProgramTaken(_) => io::ErrorKind::ResourceBusy,
        XdpError::MemoryLimit { .. } => io::ErrorKind::OutOfMemory,
        XdpError::Io { source, .. } => source.kind(),
        _ => io::ErrorKind::Other,
    };
    io::Error::new(kind, error)
}
