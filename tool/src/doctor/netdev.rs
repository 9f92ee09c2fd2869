//! What drivers can do with XDP, asked over generic netlink (family `netdev`, Linux 6.3 and later).

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;

use rustix::io::{Errno, retry_on_intr};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, socket_with};

use super::facts::XdpFeatures;

/// `struct nlmsghdr` and `struct genlmsghdr`, in bytes.
const HEADER_LEN: usize = 16;
const GENERIC_LEN: usize = 4;

const NLM_F_REQUEST: u16 = 1;
const NLM_F_DUMP: u16 = 0x300;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;

/// `GENL_ID_CTRL` and its command and attributes.
const CONTROL: u16 = 16;
const GET_FAMILY: u8 = 3;
const FAMILY_ID: u16 = 1;
const FAMILY_NAME: u16 = 2;

/// The command and the attributes of the family `netdev`.
const DEV_GET: u8 = 1;
const IFINDEX: u16 = 1;
const XDP_FEATURES: u16 = 3;

/// What the kernel puts into one answer at most is half of this.
const ANSWER_LEN: usize = 65_536;

/// The features of every interface that has any, by its index.
///
/// # Errors
/// If the kernel is too old to tell.
pub(super) fn xdp_features() -> io::Result<HashMap<u32, XdpFeatures>> {
    let generic = Some(netlink::GENERIC);
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, generic)?;
    let name = [&[11, 0, FAMILY_NAME as u8, 0][..], b"netdev\0\0"].concat();
    let mut family = None;
    ask(&socket, &request(CONTROL, NLM_F_REQUEST, GET_FAMILY, &name), |message| {
        family = family.or(message.attribute(FAMILY_ID).and_then(u16_of));
    })?;
    let family = family.ok_or(io::ErrorKind::Unsupported)?;
    let mut features = HashMap::new();
    ask(&socket, &request(family, NLM_F_REQUEST | NLM_F_DUMP, DEV_GET, &[]), |message| {
        let index = message.attribute(IFINDEX).and_then(u32_of);
        let flags = message.attribute(XDP_FEATURES).and_then(u64_of);
        features.extend(index.zip(flags.map(XdpFeatures::new)));
    })?;
    Ok(features)
}

fn request(kind: u16, flags: u16, command: u8, attributes: &[u8]) -> Vec<u8> {
    let mut request = ((HEADER_LEN + GENERIC_LEN + attributes.len()) as u32).to_ne_bytes().to_vec();
    request.extend(kind.to_ne_bytes());
    request.extend(flags.to_ne_bytes());
    request.extend([0; 8]);
    request.extend([command, 1, 0, 0]);
    request.extend(attributes);
    request
}

/// Sends a request and shows `look` every message of the answer.
fn ask(socket: &OwnedFd, request: &[u8], mut look: impl FnMut(Message<'_>)) -> io::Result<()> {
    let is_dump = u16_of(&request[6..8]).is_some_and(|flags| flags & NLM_F_DUMP != 0);
    rustix::net::send(socket, request, SendFlags::empty())?;
    let mut answer = vec![0; ANSWER_LEN];
    loop {
        let (len, _) = retry_on_intr(|| rustix::net::recv(socket, &mut answer[..], RecvFlags::empty()))?;
        let mut rest = &answer[..len];
        while let Some((message, behind)) = Message::split(rest) {
            match message.kind {
                NLMSG_DONE => return Ok(()),
                NLMSG_ERROR => return message.outcome(),
                _ => look(message),
            }
            rest = behind;
        }
        if !is_dump {
            return Ok(());
        }
    }
}

/// One message of an answer.
#[derive(Debug, PartialEq, Eq)]
struct Message<'a> {
    kind: u16,
    /// Behind `struct nlmsghdr`.
    body: &'a [u8],
}

impl<'a> Message<'a> {
    /// The first message, and what comes after it.
    fn split(bytes: &'a [u8]) -> Option<(Message<'a>, &'a [u8])> {
        let len = u32_of(bytes)? as usize;
        let kind = u16_of(bytes.get(4..)?)?;
        let body = bytes.get(HEADER_LEN..len)?;
        Some((Message { kind, body }, bytes.get(len.next_multiple_of(4)..).unwrap_or_default()))
    }

    /// What an `NLMSG_ERROR` says; 0 is no error.
    fn outcome(&self) -> io::Result<()> {
        match u32_of(self.body).map_or(0, |code| code as i32) {
            0 => Ok(()),
            code => Err(Errno::from_raw_os_error(code.saturating_neg()).into()),
        }
    }

    /// The value of an attribute.
    fn attribute(&self, wanted: u16) -> Option<&'a [u8]> {
        let mut attributes = self.body.get(GENERIC_LEN..)?;
        loop {
            let len = usize::from(u16_of(attributes)?);
            let value = attributes.get(4..len)?;
            if u16_of(attributes.get(2..)?)? == wanted {
                return Some(value);
            }
            attributes = attributes.get(len.next_multiple_of(4)..)?;
        }
    }
}

fn u16_of(bytes: &[u8]) -> Option<u16> {
    Some(u16::from_ne_bytes(*bytes.first_chunk()?))
}

fn u32_of(bytes: &[u8]) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.first_chunk()?))
}

fn u64_of(bytes: &[u8]) -> Option<u64> {
    Some(u64::from_ne_bytes(*bytes.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_found_and_cut_answers_end() {
        let mut attributes = vec![8, 0, 1, 0, 7, 0, 0, 0];
        attributes.extend([12, 0, 3, 0, 0x0b, 0, 0, 0, 0, 0, 0, 0]);
        let bytes = request(40, 0, DEV_GET, &attributes);
        let (message, rest) = Message::split(&bytes).unwrap();
        assert_eq!((message.kind, rest), (40, &[][..]));
        assert_eq!(message.attribute(IFINDEX).and_then(u32_of), Some(7));
        let features = message.attribute(XDP_FEATURES).and_then(u64_of).map(XdpFeatures::new).unwrap();
        assert!(features.native && features.zero_copy && !features.multi_buffer);
        assert_eq!(message.attribute(9), None);
        for len in 0..bytes.len() {
            assert_eq!(Message::split(&bytes[..len]), None);
            let cut = Message { kind: 0, body: bytes.get(HEADER_LEN..len).unwrap_or_default() };
            assert!(cut.attribute(XDP_FEATURES).is_none());
        }
    }
}
