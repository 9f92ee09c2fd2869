//! A DPDK port: a queue pair for each core, as far as it has them.

use std::io;
use std::time::Duration;

use hayase_dpdk::{DpdkConfig, DpdkError, DpdkQueue};

use super::{Queue, addressed};
use crate::runtime::spec::DpdkSpec;

// It is told to users who have built without the driver, too.
const _: () = assert!(hayase_dpdk::MEMORY_LEN.div_ceil(1 << 20) == DpdkSpec::HUGE_PAGES_MIB);

pub(super) fn open(spec: &DpdkSpec, cores: usize) -> io::Result<Vec<Queue>> {
    let config = DpdkConfig {
        device: spec.device.clone(),
        eal: spec.eal.clone(),
        queues: u16::try_from(cores).unwrap_or(u16::MAX),
        mac: spec.mac,
        mtu: spec.mtu,
        offloads: spec.offloads,
        nap_max: spec.nap_ms.map_or(DpdkConfig::NAP_MAX, |nap| Duration::from_millis(nap.into())),
        ..DpdkConfig::default()
    };
    let queues = hayase_dpdk::open(&config).map_err(dpdk_error)?;
    if let Some(note) = hayase_dpdk::memory_note() {
        eprintln!("hayase: {note}");
    }
    let queue = |queue: DpdkQueue| {
        let open = move || queue.into_device().map_err(dpdk_error);
        addressed(open, spec.addresses.clone(), spec.gateways.clone(), spec.link.clone())
    };
    Ok(queues.into_iter().map(queue).collect())
}

fn dpdk_error(error: DpdkError) -> io::Error {
    let kind = match &error {
        DpdkError::Argument(_) | DpdkError::EalDiffers { .. } | DpdkError::NoPci(_) => {
            io::ErrorKind::InvalidInput
        }
        DpdkError::Probe { .. } => io::ErrorKind::NotFound,
        DpdkError::Busy(_) => io::ErrorKind::ResourceBusy,
        DpdkError::NoMemory { .. } => io::ErrorKind::OutOfMemory,
        DpdkError::Io { source, .. } => source.kind(),
        _ => io::ErrorKind::Other,
    };
    io::Error::new(kind, error)
}
