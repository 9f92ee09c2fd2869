//! `kernel`: the operating system's own sockets.

use super::DeviceSpec;

/// All there is to write.
pub(super) const NAME: &str = "kernel";

pub(super) fn parse(options: &str) -> Result<DeviceSpec, String> {
    if options.is_empty() {
        return Ok(DeviceSpec::Kernel);
    }
    Err(format!(
        "the device `kernel` takes no options, and so no `{options}`: links and addresses are the operating system's"
    ))
}
