//! The kernel's end of the link: brought up and given addresses through ioctls and rtnetlink.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{IpAddr, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};

use crate::TapError;
use crate::sys::{self, IfRequest, Ifreq};

/// `struct nlmsghdr` and `struct ifaddrmsg`, in bytes.
const NLMSG_HEADER_LEN: usize = 16;
const IFADDRMSG_LEN: usize = 8;

/// Sets the MTU of the kernel's side, gives it addresses with their prefix lengths, and brings it up.
///
/// What already is as wanted stays so; other addresses stay too. IPv6 addresses are usable at once: nobody else
/// is on the link, so duplicate address detection is skipped.
///
/// # Errors
/// [`TapError::ConfigureNotPermitted`] without CAP_NET_ADMIN, [`TapError::Io`] if there is no such interface or
/// the kernel refuses a value.
pub fn configure(name: &str, mtu: usize, addresses: &[(IpAddr, u8)]) -> Result<(), TapError> {
    let interface = Interface::open(name)?;
    interface.set_mtu(mtu)?;
    for &(address, prefix_len) in addresses {
        let command = format!("ip address add {address}/{prefix_len} dev {name}");
        match interface.add_address(address, prefix_len) {
            // The kernel asks for the right first, and only then whether there is anything to do.
            Err(error) if error.raw_os_error() == Some(libc::EPERM) && is_there(address) => {}
            result => result.map_err(|error| TapError::of_configure(command, error))?,
        }
    }
    interface.bring_up()
}

/// Whether the kernel has this address: then a socket can have it.
fn is_there(address: IpAddr) -> bool {
    UdpSocket::bind((address, 0)).is_ok()
}

/// Whether there is an interface of that name in this network namespace.
pub fn exists(name: &str) -> bool {
    Interface::open(name).is_ok_and(|interface| interface.request(IfRequest::GetIndex).is_ok())
}

/// The link-layer address of the kernel's side.
///
/// # Errors
/// [`TapError::Io`] if there is no such interface.
pub fn mac(name: &str) -> Result<[u8; 6], TapError> {
    let ifreq = Interface::open(name)?
        .request(IfRequest::GetMac)
        .map_err(|error| TapError::io(format!("read the link-layer address of {name}"), error))?;
    // Behind the address family come the bytes of the address.
    let mut mac = [0; 6];
    mac.copy_from_slice(&ifreq.data[2..8]);
    Ok(mac)
}

/// Index of the interface, as packet sockets and rtnetlink want it.
#[cfg(test)]
pub(crate) fn index(name: &str) -> io::Result<i32> {
    let interface = Interface::open(name).map_err(io::Error::other)?;
    Ok(interface.request(IfRequest::GetIndex)?.as_i32())
}

/// Makes the kernel's side cut its packets to `mtu`.
pub(crate) fn set_mtu(name: &str, mtu: usize) -> Result<(), TapError> {
    Interface::open(name)?.set_mtu(mtu)
}

/// An interface by name, and a socket to ask the kernel about it.
struct Interface<'a> {
    name: &'a str,
    socket: OwnedFd,
}

impl<'a> Interface<'a> {
    fn open(name: &'a str) -> Result<Interface<'a>, TapError> {
        if name.is_empty() || name.len() > sys::NAME_LEN_MAX {
            return Err(TapError::BadName(name.into()));
        }
        let socket = sys::socket(libc::AF_INET, libc::SOCK_DGRAM, 0)
            .map_err(|error| TapError::io("open a socket for interface requests", error))?;
        Ok(Interface { name, socket })
    }

    fn request(&self, request: IfRequest) -> io::Result<Ifreq> {
        self.request_with(request, Ifreq::new(self.name))
    }

    fn request_with(&self, request: IfRequest, mut ifreq: Ifreq) -> io::Result<Ifreq> {
        sys::interface(self.socket.as_fd(), request, &mut ifreq)?;
        Ok(ifreq)
    }

    fn set_mtu(&self, mtu: usize) -> Result<(), TapError> {
        let command = || format!("ip link set dev {} mtu {mtu}", self.name);
        let wanted = i32::try_from(mtu)
            .map_err(|_| TapError::io(command(), io::Error::from_raw_os_error(libc::EINVAL)))?;
        let set = || {
            // An unprivileged owner of a persistent device may leave right what root has set right.
            if self.request(IfRequest::GetMtu)?.as_i32() != wanted {
                self.request_with(IfRequest::SetMtu, Ifreq::new(self.name).with_i32(wanted))?;
            }
            Ok(())
        };
        set().map_err(|error| TapError::of_configure(command(), error))
    }

    fn bring_up(&self) -> Result<(), TapError> {
        let up = libc::IFF_UP as i16;
        let set = || {
            let flags = self.request(IfRequest::GetFlags)?.as_i16();
            if flags & up == 0 {
                self.request_with(IfRequest::SetFlags, Ifreq::new(self.name).with_i16(flags | up))?;
            }
            Ok(())
        };
        set().map_err(|error| TapError::of_configure(format!("ip link set dev {} up", self.name), error))
    }

    fn add_address(&self, address: IpAddr, prefix_len: u8) -> io::Result<()> {
        let index = self.request(IfRequest::GetIndex)?.as_i32() as u32;
        let socket = sys::socket(libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_ROUTE)?;
        let mut socket = File::from(socket);
        socket.write_all(&new_address_request(index, address, prefix_len))?;
        let mut answer = [0; 4096];
        let len = socket.read(&mut answer)?;
        match netlink_error(&answer[..len]) {
            None => Err(io::Error::new(io::ErrorKind::InvalidData, "rtnetlink's answer makes no sense")),
            Some(0) => Ok(()),
            Some(error) if -error == libc::EEXIST => Ok(()),
            Some(error) => Err(io::Error::from_raw_os_error(-error)),
        }
    }
}

/// An `RTM_NEWADDR` message that wants to be acknowledged (rtnetlink(7)).
fn new_address_request(index: u32, address: IpAddr, prefix_len: u8) -> Vec<u8> {
    let (family, bytes) = match address {
        IpAddr::V4(address) => (libc::AF_INET, address.octets().to_vec()),
        IpAddr::V6(address) => (libc::AF_INET6, address.octets().to_vec()),
    };
    let attribute_len = 4 + bytes.len();
    let len = NLMSG_HEADER_LEN + IFADDRMSG_LEN + 2 * attribute_len;
    let flags = libc::NLM_F_REQUEST | libc::NLM_F_ACK | libc::NLM_F_CREATE | libc::NLM_F_EXCL;
    let mut message = Vec::with_capacity(len);
    message.extend((len as u32).to_ne_bytes());
    message.extend(libc::RTM_NEWADDR.to_ne_bytes());
    message.extend((flags as u16).to_ne_bytes());
    message.extend([0; 8]); // sequence number and port
    message.extend([family as u8, prefix_len, libc::IFA_F_NODAD as u8, libc::RT_SCOPE_UNIVERSE]);
    message.extend(index.to_ne_bytes());
    for attribute in [libc::IFA_LOCAL, libc::IFA_ADDRESS] {
        message.extend((attribute_len as u16).to_ne_bytes());
        message.extend(attribute.to_ne_bytes());
        message.extend(&bytes);
    }
    message
}

/// The error number (0 or negative) of an acknowledgement; `None` if this is none.
fn netlink_error(answer: &[u8]) -> Option<i32> {
    let kind = u16::from_ne_bytes(answer.get(4..6)?.try_into().ok()?);
    let error = i32::from_ne_bytes(answer.get(NLMSG_HEADER_LEN..NLMSG_HEADER_LEN + 4)?.try_into().ok()?);
    (i32::from(kind) == libc::NLMSG_ERROR && error <= 0).then_some(error)
}

#[cfg(test)]
mod unit {
    use super::*;

    #[test]
    fn names_that_cannot_be_are_told() {
        for name in ["", "sixteen-bytes-xx"] {
            assert!(matches!(configure(name, 1500, &[]), Err(TapError::BadName(_))));
            assert!(!exists(name));
        }
        assert!(exists("lo") && !exists("hayase-nowhere"));
    }

    #[test]
    fn an_address_that_the_kernel_has_is_found() {
        assert!(is_there([127, 0, 0, 1].into()) && !is_there([192, 0, 2, 1].into()));
    }

    #[test]
    fn answers_that_make_no_sense_are_no_success() {
        assert_eq!(netlink_error(&[]), None);
        assert_eq!(netlink_error(&[0; 36]), None);
        let mut answer = [0; 36];
        answer[4..6].copy_from_slice(&2u16.to_ne_bytes());
        assert_eq!(netlink_error(&answer), Some(0));
        answer[16..20].copy_from_slice(&(-17i32).to_ne_bytes());
        assert_eq!(netlink_error(&answer), Some(-17));
        answer[16..20].copy_from_slice(&i32::MIN.to_ne_bytes());
        assert_eq!(netlink_error(&answer[..19]), None);
    }
}
