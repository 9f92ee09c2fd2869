//! A netmap port: whoever is on the NIC's link, on the switch or at the pipe's other end.

use std::io;

use hayase_netmap::{NetmapConfig, NetmapError, NetmapQueue};

use super::{Queue, addressed};
use crate::runtime::spec::NetmapSpec;

/// All rings, dealt out to at most `cores` queues.
pub(super) fn open(spec: &NetmapSpec, cores: usize) -> io::Result<Vec<Queue>> {
    let config = NetmapConfig {
        port: spec.port.clone(),
        queues: u16::try_from(cores).unwrap_or(u16::MAX),
        mac: spec.mac,
        mtu: spec.mtu,
        offloads: spec.offloads,
        ..NetmapConfig::default()
    };
    let queues = hayase_netmap::open(&config).map_err(netmap_error)?;
    let queue = |queue: NetmapQueue| {
        let open = move || queue.into_device().map_err(netmap_error);
        addressed(open, spec.addresses.clone(), spec.gateways.clone(), spec.link.clone())
    };
    Ok(queues.into_iter().map(queue).collect())
}

fn netmap_error(error: NetmapError) -> io::Error {
    let kind = match &error {
        NetmapError::BadName(_) | NetmapError::MtuTooLarge { .. } => io::ErrorKind::InvalidInput,
        NetmapError::NoModule(_) | NetmapError::NoInterface(_) => io::ErrorKind::NotFound,
        NetmapError::Down(_) => io::ErrorKind::NetworkDown,
        NetmapError::NotPermitted(_) => io::ErrorKind::PermissionDenied,
        NetmapError::Version(_) => io::ErrorKind::Unsupported,
        NetmapError::Busy(_) => io::ErrorKind::ResourceBusy,
        NetmapError::NoBuffers(_) => io::ErrorKind::OutOfMemory,
        NetmapError::Io { source, .. } => source.kind(),
        _ => io::ErrorKind::Other,
    };
    io::Error::new(kind, error)
}
