//! Addresses, and sockets of the family that fits them.
//!
//! A socket on `[::]` serves IPv4 as well, as everywhere in Hayase; the kernel then writes an IPv4 address as an IPv6
//! one (RFC 4291 §2.5.5.2). Nobody outside gets to see that.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{AddressFamily, Protocol, SocketAddrAny, SocketFlags, SocketType, socket_with, sockopt};

/// A new socket, non-blocking and closed on exec.
pub(crate) fn open(
    family: AddressFamily,
    kind: SocketType,
    protocol: Option<Protocol>,
) -> rustix::io::Result<OwnedFd> {
    socket_with(family, kind, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC, protocol)
}

pub(crate) fn family(addr: SocketAddr) -> AddressFamily {
    if addr.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 }
}

/// A new socket to be bound to `addr`, and the address to bind it to: on a kernel without IPv6, `[::]` is all IPv4
/// addresses.
pub(crate) fn open_for(addr: SocketAddr, kind: SocketType) -> io::Result<(OwnedFd, SocketAddr)> {
    match open(family(addr), kind, None) {
        Err(Errno::AFNOSUPPORT) if addr.is_ipv6() && addr.ip().is_unspecified() => {
            let addr = SocketAddr::from((Ipv4Addr::UNSPECIFIED, addr.port()));
            Ok((open(AddressFamily::INET, kind, None)?, addr))
        }
        socket => {
            let socket = socket?;
            if addr.is_ipv6() {
                sockopt::set_ipv6_v6only(&socket, false)?;
            }
            Ok((socket, addr))
        }
    }
}

/// An IPv4 address in the form that a socket of IPv6 wants.
pub(crate) fn mapped(addr: SocketAddr) -> SocketAddr {
    match addr.ip() {
        IpAddr::V4(ip) => (ip.to_ipv6_mapped(), addr.port()).into(),
        IpAddr::V6(_) => addr,
    }
}

/// The address without the form that only sockets of IPv6 have.
pub(crate) fn canonical(addr: SocketAddr) -> SocketAddr {
    match addr.ip().to_canonical() {
        IpAddr::V4(ip) => (ip, addr.port()).into(),
        // With its scope.
        IpAddr::V6(_) => addr,
    }
}

/// What the kernel calls an address, as an address of IP.
pub(crate) fn of_kernel(addr: SocketAddrAny) -> io::Result<SocketAddr> {
    Ok(canonical(SocketAddr::try_from(addr)?))
}

pub(crate) fn local(fd: BorrowedFd<'_>) -> io::Result<SocketAddr> {
    of_kernel(rustix::net::getsockname(fd)?)
}

pub(crate) fn peer(fd: BorrowedFd<'_>) -> io::Result<SocketAddr> {
    of_kernel(rustix::net::getpeername(fd)?.ok_or(Errno::NOTCONN)?)
}

/// Whether a socket is one of IPv6, which may carry IPv4 too.
pub(crate) fn is_ipv6(fd: BorrowedFd<'_>) -> rustix::io::Result<bool> {
    Ok(sockopt::socket_domain(fd)? == AddressFamily::INET6)
}

pub(crate) fn ttl(fd: BorrowedFd<'_>) -> io::Result<u8> {
    if is_ipv6(fd)? {
        return Ok(sockopt::ipv6_unicast_hops(fd)?);
    }
    u8::try_from(sockopt::ip_ttl(fd)?).map_err(io::Error::other)
}

/// The type of service; the traffic class of an IPv6 socket.
pub(crate) fn tos(fd: BorrowedFd<'_>) -> io::Result<u8> {
    if is_ipv6(fd)? {
        return u8::try_from(sockopt::ipv6_tclass(fd)?).map_err(io::Error::other);
    }
    Ok(sockopt::ip_tos(fd)?)
}

/// Sets it, for both versions where the socket carries both.
pub(crate) fn set_tos(fd: BorrowedFd<'_>, tos: u8) -> io::Result<()> {
    if is_ipv6(fd)? {
        sockopt::set_ipv6_tclass(fd, tos.into())?;
    }
    Ok(sockopt::set_ip_tos(fd, tos)?)
}

pub(crate) fn set_ttl(fd: BorrowedFd<'_>, ttl: u8) -> io::Result<()> {
    if is_ipv6(fd)? {
        sockopt::set_ipv6_unicast_hops(fd, Some(ttl))?;
    }
    Ok(sockopt::set_ip_ttl(fd, ttl.into())?)
}
