//! What there is to know about an interface before it is used.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use crate::XdpError;
use crate::sys::{self, IfRequest, Ifreq};

/// An interface as it was when it was looked at.
#[derive(Debug, Clone)]
pub(crate) struct Interface {
    pub(crate) name: String,
    pub(crate) index: u32,
    pub(crate) mac: [u8; 6],
    /// The largest IP packet, in bytes.
    pub(crate) mtu: usize,
    /// Queues on which it receives.
    pub(crate) queue_count: u32,
    /// Queues to send by. The kernel takes nothing from a socket of a queue beyond these, and does not say so.
    pub(crate) send_queue_count: u32,
}

impl Interface {
    /// Looks at the interface of that name.
    pub(crate) fn look(name: &str) -> Result<Interface, XdpError> {
        if name.is_empty() || name.len() > sys::NAME_LEN_MAX {
            return Err(XdpError::BadName(name.into()));
        }
        let socket = sys::socket(libc::AF_INET, libc::SOCK_DGRAM, 0)
            .map_err(|error| XdpError::io("open a socket for interface requests", error))?;
        let ask = |request| ask(&socket, name, request);
        let index = ask(IfRequest::Index)?.as_i32() as u32;
        if i32::from(ask(IfRequest::Flags)?.as_i16()) & libc::IFF_UP == 0 {
            return Err(XdpError::Down(name.into()));
        }
        // Behind the address family come the bytes of the address.
        let mut mac = [0; 6];
        mac.copy_from_slice(&ask(IfRequest::Mac)?.data[2..8]);
        let mtu = ask(IfRequest::Mtu)?.as_i32().max(0) as usize;
        let (queue_count, send_queue_count) = queue_counts(&socket, name)?;
        Ok(Interface { name: name.into(), index, mac, mtu, queue_count, send_queue_count })
    }
}

fn ask(socket: &OwnedFd, name: &str, request: IfRequest) -> Result<Ifreq, XdpError> {
    let mut ifreq = Ifreq::new(name);
    sys::interface(socket.as_fd(), request, &mut ifreq).map_err(|error| of_request(name, error))?;
    Ok(ifreq)
}

/// Of queues to receive by, and of those to send by.
fn queue_counts(socket: &OwnedFd, name: &str) -> Result<(u32, u32), XdpError> {
    match sys::channel_counts(socket.as_fd(), name) {
        Ok((receive, send)) => Ok((receive.max(1), send.max(1))),
        // A driver that says nothing of channels has one.
        Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => Ok((1, 1)),
        Err(error) => Err(of_request(name, error)),
    }
}

fn of_request(name: &str, error: io::Error) -> XdpError {
    match error.raw_os_error() {
        Some(libc::ENODEV | libc::ENXIO) => XdpError::NoInterface(name.into()),
        _ => XdpError::io(format!("ask about interface {name}"), error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_cannot_be_are_told() {
        for name in ["", "sixteen-bytes-xx"] {
            assert!(matches!(Interface::look(name), Err(XdpError::BadName(_))));
        }
        let error = Interface::look("hayase-nowhere").unwrap_err();
        assert!(matches!(error, XdpError::NoInterface(_)), "{error}");
        assert!(error.to_string().contains("ip link"));
    }
}
