//! What a socket is told before it listens or connects.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use rustix::net::sockopt;

use crate::address;

/// Options of a connection, or of those that a listener accepts: the kernel gives them what the listener has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TcpOptions {
    /// Connections that are over and in TIME-WAIT are no obstacle where its local port is wanted (`SO_REUSEADDR`), which is the
    /// default. A listener always is.
    pub reuse_address: bool,
    /// Listeners that all say so share their port, and connections are spread over them (`SO_REUSEPORT`).
    pub reuse_port: bool,
    /// Small segments go at once (`TCP_NODELAY`).
    pub nodelay: bool,
    /// A silent peer is probed (`SO_KEEPALIVE`), as the sysctls `net.ipv4.tcp_keepalive_*` say.
    pub keepalive: bool,
    /// As [`Tcp::set_linger`](crate::Tcp::set_linger).
    pub linger: Option<Duration>,
    /// The type of service of IPv4 packets (`IP_TOS`), if it is not the kernel's choice.
    pub tos: Option<u8>,
    /// The traffic class of IPv6 packets (`IPV6_TCLASS`), likewise.
    pub tclass: Option<u8>,
    /// What the kernel keeps for the peer, in bytes (`SO_SNDBUF`: it takes twice that, within `net.core.wmem_max`), if it is not to
    /// follow the path.
    pub send_buffer_len: Option<usize>,
    /// What it keeps for the application (`SO_RCVBUF`, `net.core.rmem_max`), likewise.
    pub receive_buffer_len: Option<usize>,
}

impl Default for TcpOptions {
    fn default() -> TcpOptions {
        TcpOptions {
            reuse_address: true,
            reuse_port: false,
            nodelay: false,
            keepalive: false,
            linger: None,
            tos: None,
            tclass: None,
            send_buffer_len: None,
            receive_buffer_len: None,
        }
    }
}

impl TcpOptions {
    /// Tells the kernel who may have the port beside it: before it is bound.
    pub(crate) fn apply_reuse(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        sockopt::set_socket_reuseaddr(fd, self.reuse_address)?;
        if self.reuse_port {
            sockopt::set_socket_reuseport(fd, true)?;
        }
        Ok(())
    }

    /// Tells the kernel, but for what is kept here. What it does by itself costs no call.
    pub(crate) fn apply(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        if self.nodelay {
            sockopt::set_tcp_nodelay(fd, true)?;
        }
        if self.keepalive {
            sockopt::set_socket_keepalive(fd, true)?;
        }
        // Before the first segment: the window's scale is chosen by it.
        if let Some(len) = self.send_buffer_len {
            sockopt::set_socket_send_buffer_size(fd, len)?;
        }
        if let Some(len) = self.receive_buffer_len {
            sockopt::set_socket_recv_buffer_size(fd, len)?;
        }
        // A socket of IPv6 that carries IPv4 has both.
        if let Some(tos) = self.tos {
            sockopt::set_ip_tos(fd, tos)?;
        }
        if let Some(tclass) = self.tclass
            && address::is_ipv6(fd)?
        {
            sockopt::set_ipv6_tclass(fd, tclass.into())?;
        }
        Ok(())
    }
}
