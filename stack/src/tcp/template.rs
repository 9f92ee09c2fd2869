//! Ethernet and IP header of a connection's segments, written once, with the sums over what never changes.

use core::net::IpAddr;

use hayase_device::checksum::{self, Sum};

use super::flow::Tuple;
use crate::egress::to_v6;
use crate::wire::{EtherType, Mac, Protocol, ethernet, ipv4, ipv6};

const LEN_V4: usize = ethernet::LEN + ipv4::LEN;
const LEN_V6: usize = ethernet::LEN + ipv6::LEN;

/// The headers below TCP. What differs from segment to segment is patched in: link-layer addresses, lengths,
/// identification and their checksum.
#[derive(Debug, Clone)]
pub(super) struct Template {
    bytes: [u8; LEN_V6],
    is_v4: bool,
    /// Over the IPv4 header without total length, identification and checksum.
    network_sum: Sum,
    /// Over the pseudo-header without the length.
    transport_sum: Sum,
}

impl Template {
    pub(super) fn new(tuple: &Tuple, ttl: u8) -> Template {
        let mut bytes = [0; LEN_V6];
        let (local, remote) = (tuple.local_ip(), tuple.remote_ip());
        let mut network_sum = Sum::default();
        let transport_sum = match (local, remote) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                let header = ipv4::Header {
                    src,
                    dst,
                    protocol: Protocol::TCP,
                    ttl,
                    tos: 0,
                    ident: 0,
                    // Path-MTU discovery: routers say so instead of cutting (RFC 1191 §3).
                    dont_fragment: true,
                    more_fragments: false,
                    fragment_offset: 0,
                    payload_len: 0,
                };
                let network = &mut bytes[ethernet::LEN..LEN_V4];
                header.emit(network);
                network[2..4].fill(0);
                network[10..12].fill(0);
                network_sum.add(network);
                checksum::pseudo_header(&src.octets(), &dst.octets(), Protocol::TCP.0, 0)
            }
            (src, dst) => {
                let (src, dst) = (to_v6(src), to_v6(dst));
                let header = ipv6::Header {
                    src,
                    dst,
                    next_header: Protocol::TCP,
                    hop_limit: ttl,
                    traffic_class: 0,
                    flow_label: 0,
                    payload_len: 0,
                };
                header.emit(&mut bytes[ethernet::LEN..]);
                checksum::pseudo_header(&src.octets(), &dst.octets(), Protocol::TCP.0, 0)
            }
        };
        let ethertype = if local.is_ipv4() { EtherType::IPV4 } else { EtherType::IPV6 };
        bytes[12..14].copy_from_slice(&ethertype.0.to_be_bytes());
        Template { bytes, is_v4: local.is_ipv4(), network_sum, transport_sum }
    }

    #[inline]
    pub(super) fn is_v4(&self) -> bool {
        self.is_v4
    }

    /// Length of Ethernet and IP header.
    #[inline]
    pub(super) fn len(&self) -> usize {
        if self.is_v4 { LEN_V4 } else { LEN_V6 }
    }

    /// Writes both headers into the first [`len`](Self::len) bytes of `out`, for a segment of `segment_len` bytes.
    #[inline]
    pub(super) fn emit(&self, out: &mut [u8], dst: Mac, src: Mac, ident: u16, segment_len: u16) {
        if self.is_v4 {
            let Some(out) = out.first_chunk_mut::<LEN_V4>() else { return };
            out.copy_from_slice(&self.bytes[..LEN_V4]);
            let total_len = ipv4::LEN as u16 + segment_len;
            let mut sum = self.network_sum;
            sum.add_u16(total_len);
            sum.add_u16(ident);
            out[16..18].copy_from_slice(&total_len.to_be_bytes());
            out[18..20].copy_from_slice(&ident.to_be_bytes());
            out[24..26].copy_from_slice(&sum.checksum().to_be_bytes());
        } else {
            let Some(out) = out.first_chunk_mut::<LEN_V6>() else { return };
            *out = self.bytes;
            out[18..20].copy_from_slice(&segment_len.to_be_bytes());
        }
        out[..6].copy_from_slice(&dst.0);
        out[6..12].copy_from_slice(&src.0);
    }

    /// The sum over the pseudo-header of a segment of `segment_len` bytes.
    #[inline]
    pub(super) fn pseudo_header(&self, segment_len: u16) -> Sum {
        let mut sum = self.transport_sum;
        sum.add_u16(segment_len);
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patches_to_the_same_headers_as_written_from_scratch() {
        let tuple = Tuple::new("10.0.0.1:80".parse().unwrap(), "10.9.8.7:4000".parse().unwrap());
        let template = Template::new(&tuple, 64);
        let mut out = [0xee; LEN_V4];
        template.emit(&mut out, Mac([1; 6]), Mac([2; 6]), 0xabcd, 1480);
        let (header, len) = ipv4::parse(&out[ethernet::LEN..], 1500).expect("checksum and lengths are right");
        assert_eq!((len, header.payload_len, header.ident, header.ttl), (20, 1480, 0xabcd, 64));
        assert_eq!(ethernet::parse(&out).map(|header| header.ethertype), Ok(EtherType::IPV4));
        let expected = checksum::pseudo_header(&[10, 0, 0, 1], &[10, 9, 8, 7], 6, 1480);
        assert_eq!(template.pseudo_header(1480).value(), expected.value());
    }

    #[test]
    fn ipv6_has_its_length() {
        let tuple = Tuple::new("[fd00::1]:80".parse().unwrap(), "[fd00::2]:4000".parse().unwrap());
        let mut out = [0; LEN_V6];
        Template::new(&tuple, 9).emit(&mut out, Mac([1; 6]), Mac([2; 6]), 0, 33);
        let header = ipv6::parse(&out[ethernet::LEN..], 200).expect("a good header");
        assert_eq!((header.payload_len, header.hop_limit, header.next_header), (33, 9, Protocol::TCP));
    }
}
