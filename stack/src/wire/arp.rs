//! ARP for IPv4 on Ethernet (RFC 826).

use core::net::Ipv4Addr;

use super::{Mac, WireError, array_at, be16};

/// Length of a packet, in bytes.
pub const LEN: usize = 28;

/// Hardware type Ethernet, protocol type IPv4, and the lengths of their addresses.
const ETHERNET_IPV4: [u8; 6] = [0, 1, 0x08, 0x00, 6, 4];

/// What an ARP packet wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Who has the target address?
    Request,
    /// The sender has it.
    Reply,
}

/// An ARP packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet {
    /// Question or answer.
    pub operation: Operation,
    /// Link-layer address of the sender: of one station.
    pub sender_mac: Mac,
    /// Address of the sender; unspecified in a probe (RFC 5227 §2.1.1).
    pub sender_ip: Ipv4Addr,
    /// Link-layer address of the target; means nothing in a request.
    pub target_mac: Mac,
    /// Address of the target.
    pub target_ip: Ipv4Addr,
}

/// Reads a packet; link padding behind it is ignored.
///
/// # Errors
/// `Truncated`; `Protocol` for other hardware, protocols or address lengths; `Operation`; `Address` if the
/// sender claims a link-layer address that is no station's, or a group as its own address.
pub fn parse(bytes: &[u8]) -> Result<Packet, WireError> {
    let packet: &[u8; LEN] = array_at(bytes, 0)?;
    if packet[..6] != ETHERNET_IPV4 {
        return Err(WireError::Protocol);
    }
    let operation = match be16(packet, 6) {
        1 => Operation::Request,
        2 => Operation::Reply,
        _ => return Err(WireError::Operation),
    };
    let (sender_mac, sender_ip) = (Mac(*array_at(packet, 8)?), Ipv4Addr::from(*array_at::<4>(packet, 14)?));
    if !sender_mac.is_unicast() || sender_ip.is_multicast() || sender_ip.is_broadcast() {
        return Err(WireError::Address);
    }
    let (target_mac, target_ip) = (Mac(*array_at(packet, 18)?), Ipv4Addr::from(*array_at::<4>(packet, 24)?));
    Ok(Packet { operation, sender_mac, sender_ip, target_mac, target_ip })
}

impl Packet {
    /// Writes the packet.
    ///
    /// # Panics
    /// If `packet` is not [`LEN`] bytes long.
    pub fn emit(&self, packet: &mut [u8]) {
        assert_eq!(packet.len(), LEN, "an ARP packet has one length");
        packet[..6].copy_from_slice(&ETHERNET_IPV4);
        packet[6..8].copy_from_slice(match self.operation {
            Operation::Request => &[0, 1],
            Operation::Reply => &[0, 2],
        });
        packet[8..14].copy_from_slice(&self.sender_mac.0);
        packet[14..18].copy_from_slice(&self.sender_ip.octets());
        packet[18..24].copy_from_slice(&self.target_mac.0);
        packet[24..28].copy_from_slice(&self.target_ip.octets());
    }

    /// The answer to this request from the station that has the address asked for.
    #[must_use]
    pub fn reply(&self, mac: Mac) -> Packet {
        Packet {
            operation: Operation::Reply,
            sender_mac: mac,
            sender_ip: self.target_ip,
            target_mac: self.sender_mac,
            target_ip: self.sender_ip,
        }
    }

    /// The question who has `target`.
    pub fn request(mac: Mac, source: Ipv4Addr, target: Ipv4Addr) -> Packet {
        Packet {
            operation: Operation::Request,
            sender_mac: mac,
            sender_ip: source,
            target_mac: Mac::UNSPECIFIED,
            target_ip: target,
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    const MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);

    fn request() -> [u8; LEN] {
        let mut bytes = [0; LEN];
        Packet::request(MAC, Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2)).emit(&mut bytes);
        bytes
    }

    #[test]
    fn a_reply_answers_its_request() {
        let request = parse(&request()).unwrap();
        let reply = request.reply(Mac([2, 0, 0, 0, 0, 2]));
        assert_eq!((reply.sender_ip, reply.target_ip), (request.target_ip, request.sender_ip));
        assert_eq!(reply.target_mac, MAC);
    }

    #[test]
    fn every_malformed_field_is_refused() {
        for (at, value, error) in [
            (1, 6, WireError::Protocol),
            (2, 0x86, WireError::Protocol),
            (4, 8, WireError::Protocol),
            (5, 16, WireError::Protocol),
            (7, 0, WireError::Operation),
            (7, 3, WireError::Operation),
            (8, 3, WireError::Address),
            (14, 224, WireError::Address),
        ] {
            let mut bytes = request();
            bytes[at] = value;
            assert_eq!(parse(&bytes), Err(error), "byte {at} = {value}");
        }
        assert_eq!(parse(&request()[..27]), Err(WireError::Truncated));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            let _ = parse(&bytes);
        }

        #[test]
        fn round_trips(
            reply: bool, mut sender_mac: [u8; 6], target_mac: [u8; 6], sender_ip in 0u32..0xe000_0000, target_ip: u32,
        ) {
            sender_mac[0] = sender_mac[0] & 0xfe | 2;
            let packet = Packet {
                operation: if reply { Operation::Reply } else { Operation::Request },
                sender_mac: Mac(sender_mac),
                sender_ip: sender_ip.into(),
                target_mac: Mac(target_mac),
                target_ip: target_ip.into(),
            };
            let mut bytes = [0; LEN];
            packet.emit(&mut bytes);
            prop_assert_eq!(parse(&bytes), Ok(packet));
        }
    }
}
