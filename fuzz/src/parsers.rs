//! Every parser of the wire, on any bytes; what is understood and written again is understood as the same.

use hayase_device::checksum::Sum;
use hayase_device::headers::Headers;
use hayase_stack::wire::{arp, ethernet, icmpv4, icmpv6, ipv4, ipv6, mld, ndp, udp};

use crate::input::Input;

/// Bytes go to one parser, or through the layers as they come.
pub fn parsers(data: &[u8]) {
    let mut input = Input::new(data);
    let choice = input.byte();
    let bytes = input.bytes(usize::MAX);
    match choice % 8 {
        0 => ethernet(bytes),
        1 => arp(bytes),
        2 => ipv4(bytes),
        3 => ipv6(bytes),
        4 => icmp(bytes),
        5 => icmp6(bytes),
        6 => udp(bytes),
        _ => device(bytes),
    }
}

fn ethernet(bytes: &[u8]) {
    let Ok(header) = ethernet::parse(bytes) else { return };
    assert_eq!(header.to_bytes(), bytes[..ethernet::LEN]);
    let _ = ethernet::parse_tag(bytes);
}

fn arp(bytes: &[u8]) {
    let Ok(packet) = arp::parse(bytes) else { return };
    let mut again = [0; arp::LEN];
    packet.emit(&mut again);
    assert_eq!(arp::parse(&again), Ok(packet));
    packet.reply(ethernet::Mac([2; 6])).emit(&mut again);
}

fn ipv4(bytes: &[u8]) {
    let _ = ipv4::parse_quote(bytes);
    let Ok((header, header_len)) = ipv4::parse(bytes, bytes.len()) else { return };
    assert!(header_len + usize::from(header.payload_len) <= bytes.len());
    // Options are not written again.
    let mut again = header.to_bytes().to_vec();
    again.resize(ipv4::LEN + usize::from(header.payload_len), 0);
    assert_eq!(ipv4::parse(&again, again.len()), Ok((header, ipv4::LEN)));
}

fn ipv6(bytes: &[u8]) {
    let _ = ipv6::parse_quote(bytes);
    let _ = mld::has_router_alert(bytes);
    let Ok(header) = ipv6::parse(bytes, bytes.len()) else { return };
    assert_eq!(ipv6::parse(&header.to_bytes(), bytes.len()), Ok(header));
    let Ok(extensions) = ipv6::walk_extensions(bytes, &header) else { return };
    assert!(extensions.offset <= bytes.len() && extensions.next_header_at < extensions.offset);
    assert!(extensions.offset <= ipv6::LEN + usize::from(header.payload_len));
}

fn icmp(bytes: &[u8]) {
    let _ = icmpv4::is_error(bytes);
    // A sum that is right: what is behind the checksum is what is looked for.
    let mut right = Sum::default();
    right.add_u16(0xffff);
    let Ok(message) = icmpv4::parse(bytes, right) else { return };
    let header = message.to_bytes(Sum::default());
    let mut sum = Sum::default();
    sum.add(&header);
    assert_eq!(icmpv4::parse(&header, sum), Ok(message));
}

fn icmp6(bytes: &[u8]) {
    let _ = icmpv6::is_error(bytes);
    let Some((addresses, message)) = bytes.split_at_checked(33) else { return };
    let address = |at: usize| {
        let octets: [u8; 16] = addresses[at..at + 16].try_into().expect("sixteen bytes");
        octets.into()
    };
    let packet = ipv6::Header {
        src: address(0),
        dst: address(16),
        next_header: hayase_stack::wire::Protocol::ICMPV6,
        hop_limit: if addresses[32] & 1 == 0 { 255 } else { 1 },
        traffic_class: 0,
        flow_label: 0,
        payload_len: message.len() as u16,
    };
    let mut right = Sum::default();
    right.add_u16(0xffff);
    let _ = icmpv6::parse(message, right, &packet);
    let _ = mld::parse(message, &packet);
    let Ok(parsed) = ndp::parse(message, &packet) else { return };
    if matches!(parsed, ndp::Message::RouterAdvert(_) | ndp::Message::Redirect { .. }) {
        return;
    }
    let mut again = vec![0; parsed.len()];
    parsed.emit(packet.src, packet.dst, &mut again);
    let packet = ipv6::Header { hop_limit: 255, payload_len: again.len() as u16, ..packet };
    assert_eq!(ndp::parse(&again, &packet), Ok(parsed));
}

fn udp(bytes: &[u8]) {
    let Ok(header) = udp::parse(bytes, bytes.len()) else { return };
    assert!(header.payload_len() <= bytes.len());
    let mut again = [0; udp::LEN];
    header.emit(&mut again);
    assert_eq!(udp::parse(&again, bytes.len()), Ok(header));
}

/// What devices read of frames, to cut and to verify them.
fn device(bytes: &[u8]) {
    let _ = hayase_device::headers::is_linear_enough(bytes);
    let Some(headers) = Headers::parse(bytes) else { return };
    if let Some(end) = headers.end(bytes) {
        assert!(end <= bytes.len());
    }
    let _ = headers.pseudo_header(bytes, bytes.len());
}
