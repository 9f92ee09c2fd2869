//! Errors that say what to do.

use std::error::Error;
use std::{fmt, io};

/// Why a TAP device could not be opened, or its kernel side not be configured.
#[derive(Debug)]
#[non_exhaustive]
pub enum TapError {
    /// The name is empty, longer than 15 bytes, or has a character that no interface name may have.
    BadName(String),
    /// The process lacks CAP_NET_ADMIN for opening this device.
    NotPermitted {
        /// The device's name.
        name: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// There is no `/dev/net/tun`.
    NoTunDriver(io::Error),
    /// Another process has the device open.
    Busy(String),
    /// An interface of this name exists that is no TAP device, or one with several queues.
    NotTap(String),
    /// The process lacks CAP_NET_ADMIN for changing the kernel's side.
    ConfigureNotPermitted {
        /// What was to be done, as a command.
        command: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// Anything else.
    Io {
        /// What was attempted.
        what: String,
        /// What the kernel said.
        source: io::Error,
    },
}

impl TapError {
    pub(crate) fn io(what: impl Into<String>, source: io::Error) -> TapError {
        TapError::Io { what: what.into(), source }
    }

    /// The error of opening `/dev/net/tun`.
    pub(crate) fn of_open(name: &str, source: io::Error) -> TapError {
        match source.kind() {
            io::ErrorKind::NotFound => TapError::NoTunDriver(source),
            io::ErrorKind::PermissionDenied => TapError::NotPermitted { name: name.into(), source },
            _ if source.raw_os_error() == Some(libc::ENODEV) => TapError::NoTunDriver(source),
            _ => TapError::io("open /dev/net/tun", source),
        }
    }

    /// The error of attaching to the device.
    pub(crate) fn of_attach(name: &str, source: io::Error) -> TapError {
        match source.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => TapError::NotPermitted { name: name.into(), source },
            Some(libc::EBUSY) => TapError::Busy(name.into()),
            Some(libc::EINVAL) => TapError::NotTap(name.into()),
            _ => TapError::io(format!("attach to TAP device {name}"), source),
        }
    }

    /// The error of changing the kernel's side; `command` is what would do the same.
    pub(crate) fn of_configure(command: String, source: io::Error) -> TapError {
        match source.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => TapError::ConfigureNotPermitted { command, source },
            _ => TapError::io(command, source),
        }
    }
}

impl fmt::Display for TapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TapError::BadName(name) => write!(
                f,
                "`{name}` is no interface name: take 1 to 15 bytes without `/`, `:`, `%` or white space, such as hy0"
            ),
            TapError::NotPermitted { name, .. } => write!(
                f,
                "cannot open TAP device {name}: needs CAP_NET_ADMIN: run as root, or in a namespace of your own with \
                 `unshare -rn`, or have root create the device for you: `ip tuntap add dev {name} mode tap user $USER`"
            ),
            TapError::NoTunDriver(_) => f.write_str(
                "there is no /dev/net/tun: load the driver with `modprobe tun`; in a container, pass the device in \
                 (`--device /dev/net/tun --cap-add NET_ADMIN`)",
            ),
            TapError::Busy(name) => write!(
                f,
                "TAP device {name} is busy: another process has it open; end that one or take another name"
            ),
            TapError::NotTap(name) => write!(
                f,
                "interface {name} exists and is no TAP device with a single queue: take another name, or remove it \
                 with `ip link del {name}`"
            ),
            TapError::ConfigureNotPermitted { command, source } => write!(
                f,
                "the kernel refuses `{command}` ({source}): it needs CAP_NET_ADMIN: run as root, or in a namespace \
                 of your own with `unshare -rn`, or have root run that command; for an IPv6 address, see also that \
                 IPv6 is not disabled by sysctl"
            ),
            TapError::Io { what, source } => write!(f, "cannot {what}: {source}"),
        }
    }
}

impl Error for TapError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            TapError::NotPermitted { source, .. }
            | TapError::NoTunDriver(source)
            | TapError::ConfigureNotPermitted { source, .. }
            | TapError::Io { source, .. } => Some(source),
            TapError::BadName(_) | TapError::Busy(_) | TapError::NotTap(_) => None,
        }
    }
}
