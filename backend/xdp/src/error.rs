//! Errors that say what to do.

use std::error::Error;
use std::{fmt, io};

use crate::Mode;

/// Why an interface could not be opened.
#[derive(Debug)]
#[non_exhaustive]
pub enum XdpError {
    /// The name is empty or longer than 15 bytes.
    BadName(String),
    /// There is no interface of that name in this network namespace.
    NoInterface(String),
    /// The interface is down.
    Down(String),
    /// The process lacks a right.
    NotPermitted {
        /// What was attempted.
        what: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// The kernel was built without AF_XDP or bpf(2), or is too old.
    NoKernelSupport {
        /// What was attempted.
        what: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// The interface has fewer queues.
    NoSuchQueue {
        /// The interface.
        interface: String,
        /// The last queue wanted, from 0.
        wanted: u32,
        /// How many there are.
        count: u32,
    },
    /// None of the queues can send: the interface has fewer to send by than to receive by.
    NoSendQueue {
        /// The interface.
        interface: String,
        /// The first queue wanted, from 0.
        wanted: u32,
        /// How many can send.
        count: u32,
    },
    /// The interface takes no packets as large as that.
    MtuTooLarge {
        /// The interface.
        interface: String,
        /// The MTU wanted, in bytes.
        wanted: usize,
        /// The interface's, in bytes.
        mtu: usize,
    },
    /// An AF_XDP socket of somebody else has the queue.
    Busy {
        /// The interface.
        interface: String,
        /// The queue.
        queue: u32,
    },
    /// Another XDP program is attached to the interface.
    ProgramTaken(String),
    /// Driver or kernel do not do it in that way.
    NoMode {
        /// The interface.
        interface: String,
        /// The mode, if one was asked for.
        mode: Option<Mode>,
        /// What the kernel said.
        source: io::Error,
    },
    /// The interface stands over others, and this mode is the driver's: packets of those would be thrown away.
    OverOthers {
        /// The interface.
        interface: String,
        /// The mode that was asked for.
        mode: Mode,
        /// The interfaces below.
        lower: Vec<String>,
    },
    /// With the program attached, the interface receives on more queues than were bound.
    MoreQueues {
        /// The interface.
        interface: String,
        /// How many there were.
        bound: u32,
        /// How many there are now.
        now: u32,
    },
    /// The memory may not be locked.
    MemoryLimit {
        /// How much it is, in bytes.
        len: usize,
        /// What the kernel said.
        source: io::Error,
    },
    /// The kernel's verifier refused the program.
    Program {
        /// What it said.
        log: String,
        /// The error that went with it.
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

impl XdpError {
    pub(crate) fn io(what: impl Into<String>, source: io::Error) -> XdpError {
        XdpError::Io { what: what.into(), source }
    }

    /// The error of something that needs a right and a kernel that knows it.
    pub(crate) fn of_call(what: &'static str, source: io::Error) -> XdpError {
        match source.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => XdpError::NotPermitted { what, source },
            Some(libc::EAFNOSUPPORT | libc::ENOSYS) => XdpError::NoKernelSupport { what, source },
            _ => XdpError::io(what, source),
        }
    }
}

impl fmt::Display for Mode {
    /// As in a SPEC.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Mode::ZeroCopy => "zerocopy",
            Mode::Copy => "copy",
            Mode::Skb => "skb",
        })
    }
}

impl fmt::Display for XdpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            XdpError::BadName(name) => {
                write!(f, "`{name}` is no interface name: take one that `ip link` shows, such as eth1")
            }
            XdpError::NoInterface(name) => {
                write!(
                    f,
                    "there is no interface {name} here: `ip link` shows those of this network namespace"
                )
            }
            XdpError::Down(name) => write!(f, "interface {name} is down: `ip link set dev {name} up`"),
            XdpError::NotPermitted { what, source } => write!(
                f,
                "cannot {what} ({source}): AF_XDP needs CAP_NET_RAW, CAP_NET_ADMIN and CAP_BPF, and not just those \
                 of a user namespace: run as root, or `setcap cap_net_raw,cap_net_admin,cap_bpf+ep PROGRAM`"
            ),
            XdpError::NoKernelSupport { what, source } => write!(
                f,
                "cannot {what} ({source}): this needs Linux 5.10 or newer, built with CONFIG_XDP_SOCKETS and \
                 CONFIG_BPF_SYSCALL"
            ),
            XdpError::NoSuchQueue { interface, wanted, count } => {
                f.write_str(&no_such_queue(interface, *wanted, *count))
            }
            XdpError::NoSendQueue { interface, wanted, count } => {
                f.write_str(&no_send_queue(interface, *wanted, *count))
            }
            XdpError::MtuTooLarge { interface, wanted, mtu } => write!(
                f,
                "interface {interface} takes packets of {mtu} bytes, not of {wanted}: `ip link set dev {interface} \
                 mtu {wanted}`"
            ),
            XdpError::Busy { interface, queue } => write!(
                f,
                "queue {queue} of interface {interface} is busy: another process has an AF_XDP socket on it; end \
                 that one or take another queue"
            ),
            XdpError::ProgramTaken(name) => write!(
                f,
                "interface {name} has another XDP program: end its owner, or take it off with `ip link set dev \
                 {name} xdp off`"
            ),
            XdpError::NoMode { interface, mode, source } => f.write_str(&no_mode(interface, *mode, source)),
            XdpError::OverOthers { interface, mode, lower } => {
                f.write_str(&over_others(interface, *mode, lower))
            }
            XdpError::MoreQueues { interface, bound, now } => {
                f.write_str(&more_queues(interface, *bound, *now))
            }
            XdpError::MemoryLimit { len, source } => write!(
                f,
                "cannot lock {} MiB of memory ({source}): raise the limit with `ulimit -l {}`, or run with \
                 CAP_IPC_LOCK",
                len >> 20,
                len >> 10
            ),
            XdpError::Program { log, source } => {
                write!(f, "the kernel refuses the XDP program ({source}): {log}")
            }
            XdpError::Io { what, source } => write!(f, "cannot {what}: {source}"),
        }
    }
}

fn no_such_queue(interface: &str, wanted: u32, count: u32) -> String {
    format!(
        "interface {interface} has no receive queue {wanted}, only 0 to {}: leave `queues` out to take them all, or have more \
         of them with `ethtool -L {interface} combined {}`",
        count.saturating_sub(1),
        wanted + 1
    )
}

fn no_send_queue(interface: &str, wanted: u32, count: u32) -> String {
    format!(
        "interface {interface} sends by queues 0 to {} only, and none of them is among `queues`: name one of these as well, or \
         have more of them with `ethtool -L {interface} tx {}`",
        count.saturating_sub(1),
        wanted + 1
    )
}

fn no_mode(interface: &str, mode: Option<Mode>, source: &io::Error) -> String {
    let hint = mtu_hint(interface, source);
    match mode {
        Some(mode) => format!(
            "interface {interface} cannot do mode={mode} ({source}): leave `mode` out to have the best that its driver knows{hint}"
        ),
        None => format!("interface {interface} can do AF_XDP in no mode ({source}){hint}"),
    }
}

fn over_others(interface: &str, mode: Mode, lower: &[String]) -> String {
    let lower = lower.join(", ");
    format!(
        "interface {interface} has the packets of {lower}, which cannot be had from it with mode={mode}: take mode=skb, or an \
         interface below"
    )
}

fn more_queues(interface: &str, bound: u32, now: u32) -> String {
    format!(
        "with an XDP program, the driver of interface {interface} receives on {now} queues instead of {bound}, and what comes on \
         the others would be lost to us: have as many as there can be, before (`ethtool -l {interface}` shows the maximum, \
         `ethtool -L {interface} combined N` sets it), or take mode=skb"
    )
}

/// What to do where the MTU may be why: the drivers' way to say that a packet would not fit their pages, and ours that it
/// would not fit a chunk.
fn mtu_hint(interface: &str, source: &io::Error) -> String {
    match source.raw_os_error() {
        Some(libc::ERANGE | libc::EINVAL) => {
            format!(
                "; its MTU may be too large for it: try `ip link set dev {interface} mtu 1500`; or it has too many queues in use to \
                 have one more for each CPU: `ethtool -L {interface} combined N` with half of them"
            )
        }
        Some(libc::EMSGSIZE) => format!(
            "; packets as large as its MTU need Linux 6.6 or newer: `ip link set dev {interface} mtu 1500`"
        ),
        _ => String::new(),
    }
}

impl Error for XdpError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            XdpError::NotPermitted { source, .. }
            | XdpError::NoKernelSupport { source, .. }
            | XdpError::NoMode { source, .. }
            | XdpError::MemoryLimit { source, .. }
            | XdpError::Program { source, .. }
            | XdpError::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_the_mtu_may_be_why_the_refusal_says_what_to_do() {
        let said = |mode, errno| {
            let source = io::Error::from_raw_os_error(errno);
            XdpError::NoMode { interface: "eth1".into(), mode, source }.to_string()
        };
        for mode in [None, Some(Mode::Copy), Some(Mode::ZeroCopy)] {
            for errno in [libc::EMSGSIZE, libc::ERANGE, libc::EINVAL] {
                assert!(said(mode, errno).contains("ip link set dev eth1 mtu 1500"), "{}", said(mode, errno));
            }
            assert!(said(mode, libc::EMSGSIZE).contains("Linux 6.6"));
            assert!(!said(mode, libc::EPERM).contains("mtu") && !said(mode, libc::EPERM).contains("root"));
        }
    }
}
