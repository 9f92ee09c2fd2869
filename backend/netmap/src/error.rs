//! Errors that say what to do.

use std::error::Error;
use std::{fmt, io};

/// Why a netmap port could not be opened.
#[derive(Debug)]
#[non_exhaustive]
pub enum NetmapError {
    /// No port can have this name.
    BadName(String),
    /// There is no `/dev/netmap`: the kernel's module is not loaded.
    NoModule(io::Error),
    /// The process may not open `/dev/netmap`.
    NotPermitted(io::Error),
    /// The module refuses the request: it may speak another version of the interface.
    Version(io::Error),
    /// There is no network interface of this name.
    NoInterface(String),
    /// The network interface is down.
    Down(String),
    /// Another program has the port.
    Busy(String),
    /// The module's memory has no buffers left.
    NoBuffers(String),
    /// The interface, or a buffer where frames take one only, is too small for this MTU.
    MtuTooLarge {
        /// The port's name.
        port: String,
        /// The MTU that was asked for, in bytes.
        mtu: usize,
        /// The largest one possible, in bytes.
        mtu_max: usize,
    },
    /// Anything else.
    Io {
        /// What was attempted.
        what: String,
        /// What the kernel said.
        source: io::Error,
    },
}

impl NetmapError {
    pub(crate) fn io(what: impl Into<String>, source: io::Error) -> NetmapError {
        NetmapError::Io { what: what.into(), source }
    }

    /// The error of opening `/dev/netmap`.
    pub(crate) fn of_open(source: io::Error) -> NetmapError {
        match (source.kind(), source.raw_os_error()) {
            (io::ErrorKind::NotFound, _) | (_, Some(libc::ENODEV | libc::ENXIO)) => {
                NetmapError::NoModule(source)
            }
            (io::ErrorKind::PermissionDenied, _) => NetmapError::NotPermitted(source),
            _ => NetmapError::io(format!("open {}", netmap_sys::DEVICE), source),
        }
    }

    /// The error of binding a port.
    pub(crate) fn of_bind(port: &str, source: io::Error) -> NetmapError {
        match source.raw_os_error() {
            Some(libc::EINVAL) => NetmapError::Version(source),
            Some(libc::EBUSY) => NetmapError::Busy(port.into()),
            Some(libc::ENXIO | libc::ENODEV) => NetmapError::NoInterface(port.into()),
            Some(libc::ENOMEM) => NetmapError::NoBuffers(port.into()),
            Some(libc::EPERM | libc::EACCES) => NetmapError::NotPermitted(source),
            _ => NetmapError::io(format!("bind netmap port {port}"), source),
        }
    }
}

impl fmt::Display for NetmapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NetmapError::BadName(name) => write!(
                f,
                "`{name}` is no netmap port: write an interface (eth1), a port of a switch (vale0:1), or an end of a \
                 pipe (pipe{{1 or pipe}}1)"
            ),
            NetmapError::NoModule(_) => f.write_str(
                "there is no /dev/netmap: build netmap's module for the running kernel from \
                 https://github.com/luigirizzo/netmap and load it with `insmod netmap.ko`; in a container, pass the \
                 device in (`--device /dev/netmap`)",
            ),
            NetmapError::NotPermitted(_) => f.write_str(
                "cannot open /dev/netmap: run as root, or have root give you the device: `chown $USER /dev/netmap`",
            ),
            NetmapError::Version(source) => write!(
                f,
                "the netmap module refuses what this program asks for ({source}): `dmesg` says why; if it may be that \
                 the module speaks another version of its interface than {}, load one built from today's sources",
                netmap_sys::API
            ),
            NetmapError::NoInterface(name) => {
                write!(f, "there is no network interface {name} that netmap could take: see `ip link`")
            }
            NetmapError::Down(name) => {
                write!(f, "interface {name} is down: `ip link set dev {name} up`")
            }
            NetmapError::Busy(name) => write!(
                f,
                "netmap port {name} is busy: another program has its rings; end that one or take another port"
            ),
            NetmapError::NoBuffers(name) => write!(
                f,
                "netmap has no memory left for port {name}: end other users of it, or raise \
                 /sys/module/netmap/parameters/buf_num and ring_num"
            ),
            NetmapError::MtuTooLarge { port, mtu, mtu_max } => write!(
                f,
                "netmap port {port} takes packets of at most {mtu_max} bytes: write mtu={mtu_max}, or raise what limits \
                 it: the interface (`ip link set dev {port} mtu {mtu}`), netmap's buffers \
                 (/sys/module/netmap/parameters/buf_size)"
            ),
            NetmapError::Io { what, source } => write!(f, "cannot {what}: {source}"),
        }
    }
}

impl Error for NetmapError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            NetmapError::NoModule(source)
            | NetmapError::NotPermitted(source)
            | NetmapError::Version(source)
            | NetmapError::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}

#[cfg(test)]
mod unit {
    use super::*;

    fn of_errno(errno: i32) -> NetmapError {
        NetmapError::of_bind("eth1", io::Error::from_raw_os_error(errno))
    }

    #[test]
    fn each_refusal_says_what_to_do() {
        for (error, words) in [
            (NetmapError::of_open(io::ErrorKind::NotFound.into()), "insmod netmap.ko"),
            (NetmapError::of_open(io::ErrorKind::PermissionDenied.into()), "chown $USER /dev/netmap"),
            (of_errno(libc::EBUSY), "end that one"),
            (of_errno(libc::ENXIO), "ip link"),
            (of_errno(libc::ENOMEM), "buf_num"),
            (of_errno(libc::EIO), "bind netmap port eth1"),
            (of_errno(libc::EINVAL), "`dmesg` says why"),
            (NetmapError::Down("eth1".into()), "ip link set dev eth1 up"),
            (NetmapError::MtuTooLarge { port: "eth1".into(), mtu: 9000, mtu_max: 1500 }, "eth1 mtu 9000"),
        ] {
            assert!(error.to_string().contains(words), "{error}");
        }
    }
}
