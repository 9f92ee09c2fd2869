//! From `--device` to a runtime.

use hayase::net::Congestion;
use hayase::{Builder, DeviceSpec, Model, Offloads, Runtime};

use crate::failure::Result;

/// What a TAP interface takes, for those who have no right to one.
pub(crate) const TAP_HINT: &str = "\
For clients outside of this process, serve on a TAP interface. It needs CAP_NET_ADMIN: run as root, or have root run
`ip tuntap add dev hy0 mode tap user $USER && ip addr add 10.7.0.1/24 dev hy0 && ip link set hy0 up`, and then give
`--device tap:name=hy0,addr=10.7.0.2/24`. To try it without root: `unshare -rn`, and both ends in that shell.";

/// A runtime of one core on the devices; without any, on what the facade takes by default, which it says.
pub(crate) fn runtime(devices: &[DeviceSpec], congestion: Option<Congestion>) -> Result<Runtime> {
    Ok(builder(1, Model::default(), devices, None, congestion).build()?)
}

/// What a runtime is built by, with so many cores, and a CPU model.
pub(crate) fn builder(
    cores: usize,
    model: Model,
    devices: &[DeviceSpec],
    offloads: Option<Offloads>,
    congestion: Option<Congestion>,
) -> Builder {
    let mut builder = Runtime::builder().cores(cores).model(model).devices(devices.iter().cloned());
    if let Some(offloads) = offloads {
        builder = builder.offloads(offloads);
    }
    if let Some(congestion) = congestion {
        builder = builder.congestion(congestion);
    }
    builder
}
