//! The addresses of this machine, as rtnetlink tells them (RFC 3549 §2.2, §3.1.2).

use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;

use rustix::io::{Errno, retry_on_intr};
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, socket_with};

/// `struct nlmsghdr`, `struct ifaddrmsg`, `struct rtattr`, in bytes.
const MESSAGE_HEADER_LEN: usize = 16;
const ADDRESS_HEADER_LEN: usize = 8;
const ATTRIBUTE_HEADER_LEN: usize = 4;

/// What the kernel puts into one answer at most is half of this.
const ANSWER_LEN: usize = 65_536;

/// Every address of this machine's interfaces in this network namespace that is in use, with the length of its prefix,
/// loopback included: first those of IPv4.
///
/// # Errors
/// If the kernel does not tell.
pub fn addresses() -> io::Result<Vec<(IpAddr, u8)>> {
    // Protocol 0 is that of routing.
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
    rustix::net::send(&socket, &request(), SendFlags::empty())?;
    let mut addresses = Vec::new();
    let mut answer = vec![0; ANSWER_LEN];
    loop {
        let (len, _) = retry_on_intr(|| rustix::net::recv(&socket, &mut answer[..], RecvFlags::empty()))?;
        if !take_messages(&answer[..len], &mut addresses)? {
            return Ok(addresses);
        }
    }
}

/// The addresses of this machine, for those who ask often: the kernel tells when they change, and is asked for them then.
#[derive(Debug)]
pub struct Addresses {
    /// Hears of each address that comes or goes.
    news: OwnedFd,
    /// `None` before they are asked for, and after a change.
    known: Option<Vec<(IpAddr, u8)>>,
}

impl Addresses {
    /// Listens for changes.
    ///
    /// # Errors
    /// If the process may have no more descriptors, or the kernel does not tell.
    pub fn new() -> io::Result<Addresses> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let news = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
        let groups = (libc::RTMGRP_IPV4_IFADDR | libc::RTMGRP_IPV6_IFADDR) as u32;
        bind(&news, &SocketAddrNetlink::new(0, groups))?;
        Ok(Addresses { news, known: None })
    }

    /// As [`addresses`].
    ///
    /// # Errors
    /// If the kernel does not tell.
    pub fn get(&mut self) -> io::Result<&[(IpAddr, u8)]> {
        if self.have_changed()? {
            self.known = None;
        }
        match &mut self.known {
            Some(known) => Ok(known),
            none => Ok(none.insert(addresses()?)),
        }
    }

    /// What has changed is of no interest: all are asked for again.
    fn have_changed(&self) -> io::Result<bool> {
        let mut have_changed = false;
        loop {
            match retry_on_intr(|| rustix::net::recv(&self.news, &mut [0; 16], RecvFlags::empty())) {
                // More has changed than the kernel keeps.
                Ok(_) | Err(Errno::NOBUFS) => have_changed = true,
                Err(Errno::AGAIN) => return Ok(have_changed),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// `RTM_GETADDR` for all there are.
fn request() -> [u8; MESSAGE_HEADER_LEN + ADDRESS_HEADER_LEN] {
    let mut request = [0; MESSAGE_HEADER_LEN + ADDRESS_HEADER_LEN];
    request[..4].copy_from_slice(&((MESSAGE_HEADER_LEN + ADDRESS_HEADER_LEN) as u32).to_ne_bytes());
    request[4..6].copy_from_slice(&libc::RTM_GETADDR.to_ne_bytes());
    request[6..8].copy_from_slice(&((libc::NLM_F_REQUEST | libc::NLM_F_DUMP) as u16).to_ne_bytes());
    request
}

/// Takes the addresses out of one answer. Returns whether more are to come.
fn take_messages(mut answer: &[u8], addresses: &mut Vec<(IpAddr, u8)>) -> io::Result<bool> {
    while let Some((kind, body, rest)) = split_message(answer) {
        match i32::from(kind) {
            libc::NLMSG_DONE => return Ok(false),
            libc::NLMSG_ERROR => return Err(error(body).into()),
            _ if kind == libc::RTM_NEWADDR => addresses.extend(address(body)),
            _ => {}
        }
        answer = rest;
    }
    Ok(true)
}

/// The type and the body of the first message, and what comes after it.
fn split_message(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let len = u32::from_ne_bytes(*bytes.first_chunk()?) as usize;
    let kind = u16::from_ne_bytes(*bytes.get(4..)?.first_chunk()?);
    let body = bytes.get(MESSAGE_HEADER_LEN..len)?;
    Some((kind, body, bytes.get(len.next_multiple_of(4)..).unwrap_or_default()))
}

fn error(body: &[u8]) -> Errno {
    let number = body.first_chunk().map_or(0, |number| i32::from_ne_bytes(*number));
    Errno::from_raw_os_error(number.saturating_neg())
}

/// The address in an `RTM_NEWADDR`, if it is in use: on a point-to-point link, `IFA_ADDRESS` is the peer's and `IFA_LOCAL`
/// ours.
fn address(body: &[u8]) -> Option<(IpAddr, u8)> {
    let (header, mut attributes) = body.split_first_chunk::<ADDRESS_HEADER_LEN>()?;
    let prefix_len = header[1];
    if !is_in_use(header[2].into()) {
        return None;
    }
    let mut found = None;
    while let Some((kind, value, rest)) = split_attribute(attributes) {
        match kind {
            libc::IFA_LOCAL => return Some((ip(value)?, prefix_len)),
            libc::IFA_ADDRESS => found = ip(value),
            _ => {}
        }
        attributes = rest;
    }
    Some((found?, prefix_len))
}

/// Whether sockets can be bound to it: not while it is asked whether another host has it (RFC 4862 §5.4), and not if one has;
/// but if the kernel is optimistic meanwhile (RFC 4429). The first eight flags, which these are among, are in the header.
fn is_in_use(flags: u32) -> bool {
    let is_waiting = flags & libc::IFA_F_TENTATIVE != 0 && flags & libc::IFA_F_OPTIMISTIC == 0;
    !is_waiting && flags & libc::IFA_F_DADFAILED == 0
}

fn split_attribute(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let len = usize::from(u16::from_ne_bytes(*bytes.first_chunk()?));
    let kind = u16::from_ne_bytes(*bytes.get(2..)?.first_chunk()?);
    let value = bytes.get(ATTRIBUTE_HEADER_LEN..len)?;
    Some((kind, value, bytes.get(len.next_multiple_of(4)..).unwrap_or_default()))
}

fn ip(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn loopback_is_among_the_addresses() {
        let addresses = addresses().unwrap();
        assert!(addresses.contains(&("127.0.0.1".parse().unwrap(), 8)), "{addresses:?}");
    }

    /// Set for the process that has a network of its own.
    const INSIDE: &str = "HAYASE_KERNEL_INSIDE";

    #[test]
    fn addresses_are_asked_for_again_when_they_change() {
        if std::env::var_os(INSIDE).is_some() {
            return change_addresses();
        }
        // The end-to-end tests remove those of this form whose process is gone.
        let namespace = format!("hayase-test-{}-kernel", std::process::id());
        let ip = |arguments: &[&str]| Command::new("ip").args(arguments).stderr(Stdio::null()).status();
        // One that had our process id before us may have been killed.
        let _ = ip(&["netns", "delete", &namespace]);
        if !ip(&["netns", "add", &namespace]).is_ok_and(|status| status.success()) {
            return crate::tests::skip("a network of its own takes root and iproute2");
        }
        let test = "interfaces::tests::addresses_are_asked_for_again_when_they_change";
        let status = Command::new("ip")
            .args(["netns", "exec", &namespace])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", test, "--nocapture"])
            .env(INSIDE, "")
            .status();
        ip(&["netns", "delete", &namespace]).unwrap();
        assert!(status.unwrap().success());
    }

    fn change_addresses() {
        let ip = |verb: &str| {
            let arguments = ["address", verb, "192.0.2.1/32", "dev", "lo"];
            assert!(Command::new("ip").args(arguments).status().unwrap().success());
        };
        let has = |known: &[(IpAddr, u8)]| known.contains(&("192.0.2.1".parse().unwrap(), 32));
        let mut addresses = Addresses::new().unwrap();
        assert!(!has(addresses.get().unwrap()));
        // Who is not told of a change does not ask.
        let mark = ("203.0.113.9".parse().unwrap(), 32);
        addresses.known = Some(vec![mark]);
        assert_eq!(addresses.get().unwrap(), [mark]);
        ip("add");
        assert!(has(addresses.get().unwrap()) && !addresses.get().unwrap().contains(&mark));
        ip("delete");
        assert!(!has(addresses.get().unwrap()));
    }

    /// `RTM_NEWADDR` of 10.0.0.1/24, the peer 10.0.0.2, with these flags.
    fn answer(flags: u32) -> Vec<u8> {
        let mut answer = vec![44, 0, 0, 0];
        answer.extend(libc::RTM_NEWADDR.to_ne_bytes());
        answer.extend([0; 10]);
        answer.extend([2, 24, flags as u8, 0, 1, 0, 0, 0]);
        answer.extend([8, 0, 1, 0, 10, 0, 0, 2, 8, 0, 2, 0, 10, 0, 0, 1, 0, 0, 0, 0]);
        answer
    }

    #[test]
    fn addresses_that_are_not_in_use_are_left_out() {
        let (permanent, optimistic) = (libc::IFA_F_PERMANENT, libc::IFA_F_OPTIMISTIC);
        for (flags, is_in_use) in [
            (permanent, true),
            (permanent | libc::IFA_F_DEPRECATED, true),
            (libc::IFA_F_TENTATIVE, false),
            (permanent | libc::IFA_F_TENTATIVE, false),
            (permanent | libc::IFA_F_TENTATIVE | optimistic, true),
            (permanent | libc::IFA_F_TENTATIVE | libc::IFA_F_DADFAILED, false),
            (permanent | libc::IFA_F_DADFAILED, false),
        ] {
            let mut addresses = Vec::new();
            assert!(take_messages(&answer(flags), &mut addresses).unwrap());
            assert_eq!(addresses.len(), usize::from(is_in_use), "flags {flags:#x}");
        }
    }

    #[test]
    fn answers_cut_anywhere_end() {
        let answer = answer(libc::IFA_F_PERMANENT);
        for len in 0..=answer.len() {
            let mut addresses = Vec::new();
            assert!(take_messages(&answer[..len], &mut addresses).unwrap());
            let wanted = (len == answer.len()).then(|| ("10.0.0.1".parse().unwrap(), 24));
            assert_eq!(addresses, Vec::from_iter(wanted));
        }
    }

    #[test]
    fn an_error_is_told_by_its_number() {
        let mut answer = vec![36, 0, 0, 0, libc::NLMSG_ERROR as u8, 0];
        answer.extend([0; 10]);
        answer.extend((-libc::EPERM).to_ne_bytes());
        answer.extend([0; 16]);
        let error = take_messages(&answer, &mut Vec::new()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
    }
}
