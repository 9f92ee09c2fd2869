//! Ethernet II.

use core::fmt;
use core::net::{Ipv4Addr, Ipv6Addr};
use core::str::FromStr;

use super::{WireError, array_at, be16};

/// Length of the header, in bytes.
pub const LEN: usize = 14;

/// Length of an 802.1Q tag, in bytes: it stands between the addresses and the EtherType.
pub const TAG_LEN: usize = 4;

/// A link-layer address.
///
/// ```
/// use hayase_stack::wire::Mac;
/// let mac: Mac = "02:00:00:00:00:2a".parse().unwrap();
/// assert!(mac.is_unicast());
/// assert_eq!(mac.to_string(), "02:00:00:00:00:2a");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// Every station of the link.
    pub const BROADCAST: Mac = Mac([0xff; 6]);
    /// No address: what an ARP request puts in place of the one it asks for.
    pub const UNSPECIFIED: Mac = Mac([0; 6]);

    /// Whether this is a group address; broadcast is one.
    #[inline]
    pub const fn is_multicast(self) -> bool {
        self.0[0] & 1 != 0
    }

    /// Whether this is the address of a single station.
    #[inline]
    pub const fn is_unicast(self) -> bool {
        !self.is_multicast() && !self.is_unspecified()
    }

    /// Whether all bytes are zero.
    #[inline]
    pub const fn is_unspecified(self) -> bool {
        let [a, b, c, d, e, f] = self.0;
        a | b | c | d | e | f == 0
    }

    /// Where packets to an IPv4 group go (RFC 1112 §6.4).
    #[inline]
    pub const fn for_ipv4_multicast(group: Ipv4Addr) -> Mac {
        let [_, b, c, d] = group.octets();
        Mac([0x01, 0x00, 0x5e, b & 0x7f, c, d])
    }

    /// Where packets to an IPv6 group go (RFC 2464 §7).
    #[inline]
    pub const fn for_ipv6_multicast(group: Ipv6Addr) -> Mac {
        let [.., c, d, e, f] = group.octets();
        Mac([0x33, 0x33, c, d, e, f])
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mac({self})")
    }
}

/// A text that is no link-layer address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParseMacError;

impl fmt::Display for ParseMacError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a MAC address is six pairs of hexadecimal digits, as in 02:00:00:00:00:2a")
    }
}

impl core::error::Error for ParseMacError {}

impl FromStr for Mac {
    type Err = ParseMacError;

    fn from_str(text: &str) -> Result<Mac, ParseMacError> {
        let mut pairs = text.split(':');
        let mut mac = Mac::UNSPECIFIED;
        for byte in &mut mac.0 {
            let pair = pairs.next().ok_or(ParseMacError)?;
            // `from_str_radix` alone would take `+a` and `0a0`.
            if pair.len() != 2 || !pair.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                return Err(ParseMacError);
            }
            *byte = u8::from_str_radix(pair, 16).map_err(|_| ParseMacError)?;
        }
        if pairs.next().is_some() { Err(ParseMacError) } else { Ok(mac) }
    }
}

/// What a frame carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct EtherType(pub u16);

impl EtherType {
    /// IPv4.
    pub const IPV4: EtherType = EtherType(0x0800);
    /// ARP.
    pub const ARP: EtherType = EtherType(0x0806);
    /// A VLAN tag follows (802.1Q).
    pub const VLAN: EtherType = EtherType(0x8100);
    /// IPv6.
    pub const IPV6: EtherType = EtherType(0x86dd);
}

/// The number of a virtual LAN (802.1Q): 1 to 4094.
///
/// ```
/// use hayase_stack::wire::VlanId;
/// assert_eq!(VlanId::new(5).map(VlanId::get), Some(5));
/// assert_eq!((VlanId::new(0), VlanId::new(4095)), (None, None));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VlanId(u16);

impl VlanId {
    /// The VLAN of this number. `None` for 0, which means none, and for what is reserved.
    pub const fn new(id: u16) -> Option<VlanId> {
        if matches!(id, 1..=4094) { Some(VlanId(id)) } else { None }
    }

    /// Its number.
    pub const fn get(self) -> u16 {
        self.0
    }
}

impl fmt::Display for VlanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Reads the tag of a frame whose header says that it has one: its VLAN, `None` if it is there for the priority alone, and
/// what follows it.
///
/// # Errors
/// `Truncated`; `Address` for the reserved number.
pub fn parse_tag(frame: &[u8]) -> Result<(Option<VlanId>, EtherType), WireError> {
    let tag: &[u8; TAG_LEN] = array_at(frame, LEN)?;
    // The upper four bits are priority and drop eligibility.
    let id = be16(tag, 0) & 0x0fff;
    let vlan = VlanId::new(id);
    if vlan.is_none() && id != 0 {
        return Err(WireError::Address);
    }
    Ok((vlan, EtherType(be16(tag, 2))))
}

/// An Ethernet II header. An 802.1Q tag shows as [`EtherType::VLAN`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The receiving station or group.
    pub dst: Mac,
    /// The sending station.
    pub src: Mac,
    /// What follows.
    pub ethertype: EtherType,
}

/// Reads the header of a frame; its packet starts at [`LEN`].
///
/// # Errors
/// `Truncated` below 14 bytes; `Address` if the source is a group, which no station is.
#[inline]
pub fn parse(frame: &[u8]) -> Result<Header, WireError> {
    let header: &[u8; LEN] = array_at(frame, 0)?;
    let [d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5, ..] = *header;
    let (dst, src) = (Mac([d0, d1, d2, d3, d4, d5]), Mac([s0, s1, s2, s3, s4, s5]));
    if src.is_multicast() {
        return Err(WireError::Address);
    }
    Ok(Header { dst, src, ethertype: EtherType(be16(header, 12)) })
}

impl Header {
    /// Writes the header, with a tag if `vlan` is some.
    ///
    /// # Panics
    /// If `out` does not have just the length of that.
    #[inline]
    pub fn emit_tagged(&self, vlan: Option<VlanId>, out: &mut [u8]) {
        let Some(vlan) = vlan else { return self.emit(out) };
        Header { ethertype: EtherType::VLAN, ..*self }.emit(&mut out[..LEN]);
        out[LEN..LEN + 2].copy_from_slice(&vlan.0.to_be_bytes());
        out[LEN + 2..].copy_from_slice(&self.ethertype.0.to_be_bytes());
    }

    /// Writes the header.
    ///
    /// # Panics
    /// If `header` is not [`LEN`] bytes long.
    #[inline]
    pub fn emit(&self, header: &mut [u8]) {
        header.copy_from_slice(&self.to_bytes());
    }

    /// The header as bytes: a template that a connection keeps.
    #[inline]
    pub fn to_bytes(&self) -> [u8; LEN] {
        let ([d0, d1, d2, d3, d4, d5], [s0, s1, s2, s3, s4, s5]) = (self.dst.0, self.src.0);
        let [t0, t1] = self.ethertype.0.to_be_bytes();
        [d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5, t0, t1]
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn groups_map_to_group_addresses() {
        let v4 = Mac::for_ipv4_multicast(Ipv4Addr::new(224, 129, 2, 3));
        assert_eq!(v4, Mac([0x01, 0x00, 0x5e, 0x01, 2, 3]), "the highest bit of the group is lost");
        let v6 = Mac::for_ipv6_multicast("ff02::1:ff00:abcd".parse().unwrap());
        assert_eq!(v6, Mac([0x33, 0x33, 0xff, 0x00, 0xab, 0xcd]));
        assert!(v4.is_multicast() && v6.is_multicast() && Mac::BROADCAST.is_multicast());
        assert!(!Mac::UNSPECIFIED.is_unicast() && !Mac::UNSPECIFIED.is_multicast());
    }

    #[test]
    fn text_that_is_no_address_is_refused() {
        for text in [
            "",
            "02:00:00:00:00",
            "02:00:00:00:00:00:00",
            "2:00:00:00:00:00",
            "+2:00:00:00:00:00",
            "0g:0:0:0:0:0",
        ] {
            assert_eq!(text.parse::<Mac>(), Err(ParseMacError), "{text:?}");
        }
    }

    #[test]
    fn a_vlan_tag_is_reported() {
        let mut frame = [0u8; 18];
        frame[12..14].copy_from_slice(&[0x81, 0x00]);
        assert_eq!(parse(&frame).unwrap().ethertype, EtherType::VLAN);
        frame[6] = 1;
        assert_eq!(parse(&frame), Err(WireError::Address));
        assert_eq!(parse(&frame[..13]), Err(WireError::Truncated));
    }

    #[test]
    fn tags_are_written_and_read() {
        let header = Header { dst: Mac([2; 6]), src: Mac([4; 6]), ethertype: EtherType::IPV6 };
        let mut frame = [0; LEN + TAG_LEN];
        header.emit_tagged(VlanId::new(0x123), &mut frame);
        assert_eq!(frame[12..], [0x81, 0x00, 0x01, 0x23, 0x86, 0xdd]);
        assert_eq!(parse_tag(&frame), Ok((VlanId::new(0x123), EtherType::IPV6)));
        frame[14] |= 0xf0;
        assert_eq!(parse_tag(&frame), Ok((VlanId::new(0x123), EtherType::IPV6)), "with a priority");
        frame[14..16].copy_from_slice(&[0xe0, 0]);
        assert_eq!(parse_tag(&frame), Ok((None, EtherType::IPV6)), "a priority alone");
        frame[14..16].copy_from_slice(&[0x0f, 0xff]);
        assert_eq!(parse_tag(&frame), Err(WireError::Address));
        assert_eq!(parse_tag(&frame[..17]), Err(WireError::Truncated));
        let mut plain = [0; LEN];
        header.emit_tagged(None, &mut plain);
        assert_eq!(parse(&plain), Ok(header));
    }

    proptest! {
        #[test]
        fn round_trips(dst: [u8; 6], mut src: [u8; 6], ethertype: u16) {
            src[0] &= 0xfe;
            let header = Header { dst: Mac(dst), src: Mac(src), ethertype: EtherType(ethertype) };
            let mut bytes = [0; LEN];
            header.emit(&mut bytes);
            prop_assert_eq!(parse(&bytes), Ok(header));
            prop_assert_eq!(Mac(dst).to_string().parse::<Mac>(), Ok(Mac(dst)));
        }
    }
}
