//! What can be given where an address is wanted.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

/// Anything that names one or more socket addresses, without a look at the network.
///
/// [`SocketAddr`] and its kinds, pairs of address and port, slices of [`SocketAddr`], and text:
/// `"10.7.0.2:80"`, `"[fd00::2]:80"`, `"localhost:80"`, or a pair of text and port. Other host names are an
/// error: resolving one would block the thread, and with it every connection that it carries, so do that
/// first and elsewhere. `localhost` is 127.0.0.1 and ::1: the host itself, and of several cores
/// the one that asks.
pub trait ToSocketAddrs: sealed::Addresses {}

impl<T: sealed::Addresses + ?Sized> ToSocketAddrs for T {}

pub(crate) mod sealed {
    use super::*;

    /// One address, which is the rule, or several.
    #[derive(Debug)]
    pub struct AddressIter {
        pub(super) first: Option<SocketAddr>,
        pub(super) rest: std::vec::IntoIter<SocketAddr>,
    }

    impl Iterator for AddressIter {
        type Item = SocketAddr;
        fn next(&mut self) -> Option<SocketAddr> {
            self.first.take().or_else(|| self.rest.next())
        }
    }

    pub trait Addresses {
        fn addresses(&self) -> io::Result<AddressIter>;
    }
}

use sealed::{AddressIter, Addresses};

/// The addresses that `host` names, in the order in which [`TcpStream::connect`](super::TcpStream::connect) tries them: by tokio's
/// name, and without a look at the network. It resolves what [`ToSocketAddrs`] does, addresses and `localhost`, and never waits.
///
/// ```
/// # async fn look() -> std::io::Result<()> {
/// for addr in hayase::net::lookup_host("localhost:80").await? {
///     println!("{addr}");
/// }
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// [`io::ErrorKind::InvalidInput`] if it is no address, has no port, or is a host name: those are to be resolved before, with
/// [`std::net::ToSocketAddrs`] on a thread that may block for example.
///
/// # Cancel safety
/// Cancel safe: it never waits.
pub async fn lookup_host<T: ToSocketAddrs>(host: T) -> io::Result<impl Iterator<Item = SocketAddr>> {
    host.addresses()
}

/// Tries each address until one works; the error is the last one's.
pub(crate) fn first_that<A: Addresses + ?Sized, T>(
    addr: &A,
    attempt: impl FnMut(SocketAddr) -> io::Result<T>,
) -> io::Result<T> {
    let mut last = None;
    for result in addr.addresses()?.map(attempt) {
        match result {
            Ok(value) => return Ok(value),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(none))
}

/// No address was given at all.
pub(crate) fn none() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "an empty list of addresses")
}

/// Whom `remote` means for a socket at `local`: no address in particular means this host itself, as Linux has it. So it is
/// reached by what a listener at `0.0.0.0` tells as its address.
#[inline]
pub(crate) fn meant(remote: SocketAddr, local: impl FnOnce() -> Option<IpAddr>) -> SocketAddr {
    if remote.ip().is_unspecified() { itself(remote, local()) } else { remote }
}

#[cold]
fn itself(mut remote: SocketAddr, local: Option<IpAddr>) -> SocketAddr {
    remote.set_ip(match local {
        // Of IPv4 it is the address that the socket has, if it has one.
        Some(local @ IpAddr::V4(_)) if remote.is_ipv4() && !local.is_unspecified() => local,
        _ if remote.is_ipv4() => Ipv4Addr::LOCALHOST.into(),
        _ => Ipv6Addr::LOCALHOST.into(),
    });
    remote
}

fn one(addr: SocketAddr) -> io::Result<AddressIter> {
    Ok(AddressIter { first: Some(addr), rest: Vec::new().into_iter() })
}

macro_rules! one_address {
    ($($addr:ty),*) => {
        $(impl Addresses for $addr {
            fn addresses(&self) -> io::Result<AddressIter> {
                one(SocketAddr::from(*self))
            }
        })*
    };
}

one_address!(SocketAddr, SocketAddrV4, SocketAddrV6, (IpAddr, u16), (Ipv4Addr, u16), (Ipv6Addr, u16));

impl Addresses for [SocketAddr] {
    fn addresses(&self) -> io::Result<AddressIter> {
        Ok(AddressIter { first: None, rest: Vec::from(self).into_iter() })
    }
}

impl<const N: usize> Addresses for [SocketAddr; N] {
    fn addresses(&self) -> io::Result<AddressIter> {
        self[..].addresses()
    }
}

impl Addresses for Vec<SocketAddr> {
    fn addresses(&self) -> io::Result<AddressIter> {
        self[..].addresses()
    }
}

impl Addresses for str {
    fn addresses(&self) -> io::Result<AddressIter> {
        if let Ok(addr) = self.parse() {
            return one(addr);
        }
        match self.rsplit_once(':').map(|(host, port)| (host, port.parse())) {
            Some((host, Ok(port))) => named(host, port),
            _ => Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("`{self}` is no address with a port: write it as 10.7.0.2:80 or [fd00::2]:80"),
            )),
        }
    }
}

impl Addresses for String {
    fn addresses(&self) -> io::Result<AddressIter> {
        self[..].addresses()
    }
}

impl Addresses for (&str, u16) {
    fn addresses(&self) -> io::Result<AddressIter> {
        named(self.0, self.1)
    }
}

impl Addresses for (String, u16) {
    fn addresses(&self) -> io::Result<AddressIter> {
        named(&self.0, self.1)
    }
}

impl<T: Addresses + ?Sized> Addresses for &T {
    fn addresses(&self) -> io::Result<AddressIter> {
        (**self).addresses()
    }
}

fn named(host: &str, port: u16) -> io::Result<AddressIter> {
    if let Ok(addr) = host.parse::<IpAddr>() {
        return one(SocketAddr::new(addr, port));
    }
    if host == "localhost" {
        let v6 = vec![SocketAddr::from((Ipv6Addr::LOCALHOST, port))];
        return Ok(AddressIter { first: Some((Ipv4Addr::LOCALHOST, port).into()), rest: v6.into_iter() });
    }
    Err(io::Error::new(
        io::ErrorKind::InvalidInput,
        format!(
            "`{host}` is no IP address: resolve host names first, with std::net::ToSocketAddrs on a thread \
             that may block for example"
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(addr: impl ToSocketAddrs) -> Vec<String> {
        addr.addresses().unwrap().map(|addr| addr.to_string()).collect()
    }

    #[test]
    fn every_form_is_understood() {
        let plain: SocketAddr = "10.7.0.2:80".parse().unwrap();
        assert_eq!(all(plain), ["10.7.0.2:80"]);
        assert_eq!(all("10.7.0.2:80"), ["10.7.0.2:80"]);
        assert_eq!(all(String::from("[fd00::2]:80")), ["[fd00::2]:80"]);
        assert_eq!(all(("10.7.0.2", 80)), ["10.7.0.2:80"]);
        assert_eq!(all((Ipv6Addr::UNSPECIFIED, 80)), ["[::]:80"]);
        assert_eq!(all("localhost:80"), ["127.0.0.1:80", "[::1]:80"]);
        assert_eq!(all([plain, plain]), ["10.7.0.2:80", "10.7.0.2:80"]);
    }

    #[test]
    fn a_look_up_has_the_same_answers() {
        fn look_up(host: impl ToSocketAddrs) -> io::Result<Vec<String>> {
            let found = crate::tests::futures_executor(lookup_host(host))?;
            Ok(found.map(|addr| addr.to_string()).collect())
        }
        assert_eq!(look_up("10.7.0.2:80").unwrap(), ["10.7.0.2:80"]);
        assert_eq!(look_up(("localhost", 80)).unwrap(), ["127.0.0.1:80", "[::1]:80"]);
        assert_eq!(look_up(Vec::new()).unwrap(), [""; 0], "as tokio's: that is for the caller to judge");
        let error = look_up("example.com:80").unwrap_err();
        assert!(error.to_string().contains("resolve"), "{error}");
    }

    #[test]
    fn errors_say_what_to_write() {
        let error = "10.7.0.2".addresses().unwrap_err();
        assert!(error.to_string().contains("10.7.0.2:80"), "{error}");
        let error = "example.com:80".addresses().unwrap_err();
        assert!(error.to_string().contains("resolve"), "{error}");
        assert_eq!(first_that(&[][..], Ok).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
}
