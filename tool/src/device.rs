//! From `--device` to a runtime.

use std::fs::File;
use std::path::PathBuf;

use hayase::net::Congestion;
use hayase::{Builder, Capture, DeviceSpec, Model, Offloads, Runtime};

use crate::cli::{CaptureArgs, CoreArgs};
use crate::failure::{Attempt, Failure, Result};
use crate::say::note;

/// What a TAP interface takes, for those who have no right to one.
pub(crate) const TAP_HINT: &str = "\
For clients outside of this process, serve on a TAP interface. It needs CAP_NET_ADMIN: run as root, or have root run
`ip tuntap add dev hy0 mode tap user $USER && ip addr add 10.7.0.1/24 dev hy0 && ip link set hy0 up`, and then give
`--device tap:name=hy0,addr=10.7.0.2/24`. To try it without root: `unshare -rn`, and both ends in that shell.";

/// A runtime of one core on the devices; without any, on what the facade takes by default, which it says.
pub(crate) fn runtime(
    devices: &[DeviceSpec],
    congestion: Option<Congestion>,
    recording: &Recording,
) -> Result<Runtime> {
    let builder = builder(1, devices, None, &CoreArgs { congestion, ..CoreArgs::default() })?;
    Ok(recording.of(builder).build()?)
}

/// The file that frames go to, if there is one. To be made before the runtime, and so to end after it.
#[derive(Debug)]
pub(crate) struct Recording(Option<(Capture, PathBuf)>);

impl Recording {
    pub(crate) fn start(args: &CaptureArgs) -> Result<Recording> {
        let Some(file) = &args.file else { return Ok(Recording(None)) };
        let capture = Capture::new();
        if let Some(len) = args.snap_len {
            capture.set_snap_len(len);
        }
        let started = File::create(file).and_then(|file| capture.start(file));
        started.attempt(|| format!("cannot record in {}", file.display()))?;
        Ok(Recording(Some((capture, file.clone()))))
    }

    /// Has what the builder builds recorded.
    pub(crate) fn of(&self, builder: Builder) -> Builder {
        self.0.iter().fold(builder, |builder, (capture, _)| builder.capture(capture))
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        if let Some((capture, file)) = &self.0
            && let Err(error) = capture.stop()
        {
            note(format_args!("hayase: the record in {} is not whole: {error}", file.display()));
        }
    }
}

/// What a runtime is built by, with so many cores that work like this.
///
/// # Errors
/// If a thread is to spin that must not.
pub(crate) fn builder(
    cores: usize,
    devices: &[DeviceSpec],
    offloads: Option<Offloads>,
    core: &CoreArgs,
) -> Result<Builder> {
    if core.spin.is_some() && core.model == Model::Merge {
        return Err(Failure::Usage(
            "with --model merge no thread spins, for it would keep the other from the CPU: leave --spin out"
                .into(),
        ));
    }
    let mut builder = Runtime::builder().cores(cores).model(core.model).devices(devices.iter().cloned());
    if let Some(time) = core.spin {
        builder = builder.spin(time);
    }
    if let Some(offloads) = offloads {
        builder = builder.offloads(offloads);
    }
    if let Some(congestion) = core.congestion {
        builder = builder.congestion(congestion);
    }
    Ok(builder)
}
