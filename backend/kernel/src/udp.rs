//! Datagrams.

use std::io;
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::task::Poll;

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, SocketType, sockopt};

use crate::address;
use crate::source::{Readiness, Side, Source};

/// A UDP socket.
#[derive(Debug)]
pub struct Udp {
    source: Source,
    is_ipv6: bool,
}

impl Udp {
    pub(crate) fn bind(addr: SocketAddr, shares_port: bool) -> io::Result<Udp> {
        let is_free = addr.port() == 0;
        let (fd, addr) = address::open_for(addr, SocketType::DGRAM)?;
        // A port that the system chooses is to be nobody else's, and among sockets that share theirs it is any.
        if shares_port && !is_free {
            sockopt::set_socket_reuseport(&fd, true)?;
        }
        rustix::net::bind(&fd, &addr)?;
        if shares_port && is_free {
            sockopt::set_socket_reuseport(&fd, true)?;
        }
        Ok(Udp { source: Source::eager(fd), is_ipv6: addr.is_ipv6() })
    }

    pub(crate) fn source(&self) -> &Source {
        &self.source
    }

    pub(crate) fn source_mut(&mut self) -> &mut Source {
        &mut self.source
    }

    /// Sets the peer, the only one that is received from.
    ///
    /// # Errors
    /// If there is no route.
    pub fn connect(&mut self, remote: SocketAddr) -> io::Result<()> {
        Ok(rustix::net::connect(self.source.fd(), &self.of_our_family(remote))?)
    }

    /// Sends a datagram, to the connected peer or to another.
    ///
    /// # Errors
    /// If there is no peer, no route, the datagram is too long, or an ICMP error came back for an earlier one.
    pub fn send(&mut self, bytes: &[u8], to: Option<SocketAddr>) -> Poll<io::Result<usize>> {
        let to = to.map(|to| self.of_our_family(to));
        self.source.attempt(Side::Write, |fd| {
            let sent = match to {
                None => rustix::net::send(fd, bytes, SendFlags::NOSIGNAL),
                Some(to) => rustix::net::sendto(fd, bytes, SendFlags::NOSIGNAL, &to),
            };
            sent.map_err(|error| if error == Errno::DESTADDRREQ { Errno::NOTCONN } else { error })
        })
    }

    /// Receives a datagram; what does not fit is cut.
    ///
    /// # Errors
    /// If an ICMP error came back for what was sent.
    pub fn recv(&mut self, buf: &mut [u8]) -> Poll<io::Result<(usize, SocketAddr)>> {
        self.recv_with(buf, RecvFlags::empty())
    }

    /// Looks at the next datagram without taking it.
    ///
    /// # Errors
    /// As [`recv`](Udp::recv).
    pub fn peek(&mut self, buf: &mut [u8]) -> Poll<io::Result<(usize, SocketAddr)>> {
        self.recv_with(buf, RecvFlags::PEEK)
    }

    fn recv_with(&mut self, buf: &mut [u8], flags: RecvFlags) -> Poll<io::Result<(usize, SocketAddr)>> {
        let receive = |fd: BorrowedFd<'_>| rustix::net::recvfrom(fd, &mut *buf, flags);
        self.source.attempt(Side::Read, receive)?.map(|(len, _, from)| {
            let from = from.ok_or_else(|| io::Error::other("a datagram without a sender"))?;
            Ok((len, address::of_kernel(from)?))
        })
    }

    /// What it is ready for.
    ///
    /// # Errors
    /// If the kernel has no memory for the question.
    pub fn readiness(&mut self) -> io::Result<Readiness> {
        self.source.readiness()
    }

    /// The address that it is bound to.
    ///
    /// # Errors
    /// None that can be provoked.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        address::local(self.source.fd())
    }

    /// The connected peer.
    ///
    /// # Errors
    /// If there is none.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        address::peer(self.source.fd())
    }

    /// The hop limit of what is sent.
    ///
    /// # Errors
    /// None that can be provoked.
    pub fn ttl(&self) -> io::Result<u8> {
        address::ttl(self.source.fd())
    }

    /// Sets the hop limit of what is sent, to groups as well, which have one of 1 until then.
    ///
    /// # Errors
    /// If it is 0.
    pub fn set_ttl(&self, ttl: u8) -> io::Result<()> {
        let fd = self.source.fd();
        address::set_ttl(fd, ttl)?;
        if self.is_ipv6 {
            sockopt::set_ipv6_multicast_hops(fd, ttl.into())?;
        }
        Ok(sockopt::set_ip_multicast_ttl(fd, ttl.into())?)
    }

    /// The type of service of what is sent.
    ///
    /// # Errors
    /// As all of these: if the kernel refuses.
    pub fn tos(&self) -> io::Result<u8> {
        address::tos(self.source.fd())
    }

    /// Sets the type of service of what is sent: DSCP, in the upper six bits.
    ///
    /// # Errors
    /// As all of these: if the kernel refuses.
    pub fn set_tos(&self, tos: u8) -> io::Result<()> {
        address::set_tos(self.source.fd(), tos)
    }

    fn of_our_family(&self, addr: SocketAddr) -> SocketAddr {
        if self.is_ipv6 { address::mapped(addr) } else { address::canonical(addr) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hop_limit_that_was_chosen_holds_for_groups() {
        for at in ["127.0.0.1:0", "[::1]:0"] {
            let socket = Udp::bind(at.parse().unwrap(), false).unwrap();
            let of_groups = || {
                let fd = socket.source.fd();
                let v6 = socket.is_ipv6.then(|| sockopt::ipv6_multicast_hops(fd).unwrap());
                (sockopt::ip_multicast_ttl(fd).unwrap(), v6)
            };
            assert_eq!(of_groups(), (1, socket.is_ipv6.then_some(1)));
            socket.set_ttl(9).unwrap();
            assert_eq!(socket.ttl().unwrap(), 9);
            assert_eq!(of_groups(), (9, socket.is_ipv6.then_some(9)));
        }
    }
}
