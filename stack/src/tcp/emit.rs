//! From a segment of any kind to a frame, layer by layer. Those that carry nothing special go the way of
//! [`usual`](super::usual).

use core::net::IpAddr;

use hayase_device::checksum::Sum;
use hayase_device::{Device, Frame, Offloads, TxChecksum, TxMeta, TxSegmentation};

use super::flow::Tuple;
use super::output::Output;
use super::segment::Reply;
use super::send_queue::Payload;
use crate::counters::Count;
use crate::egress::{Egress, Envelope, Hop, NetworkHeader};
use crate::ip::neighbor::NeighborId;
use crate::seq::Seq;
use crate::wire::tcp::{Flags, TcpHeader};
use crate::wire::{Protocol, pseudo_header};

/// The next hop to a peer. `None` if the device takes nothing now; a destination that cannot be reached counts
/// as a loss and shows by the retransmission timer.
#[inline]
pub(super) fn next_hop<F, D>(
    remote: impl FnOnce() -> IpAddr,
    cached: &mut Option<NeighborId>,
    egress: &mut Egress<'_, F, D>,
) -> Option<Hop>
where
    F: Frame,
    D: Device<Frame = F>,
{
    if egress.device.room() == 0 {
        return None;
    }
    Some(egress.next_hop(remote, cached))
}

/// Sends a segment with payload. `None` if there was no buffer.
pub(super) fn data<F, D>(
    envelope: &Envelope,
    header: &TcpHeader,
    payload: Payload<'_, F>,
    hop: Hop,
    mss: u32,
    egress: &mut Egress<'_, F, D>,
) -> Option<()>
where
    F: Frame,
    D: Device<Frame = F>,
{
    let (payload_len, tcp_len) = (payload.len(), header.len());
    let lower_len = egress.headers_len(envelope.src);
    let headers_len = lower_len + tcp_len;
    let is_super = payload_len > mss as usize;
    let meta = TxMeta {
        checksum: checksum_request(egress.offloads(), lower_len),
        segmentation: is_super.then(|| TxSegmentation {
            segment_len: mss as u16,
            header_len: headers_len as u16,
            ipv6: !envelope.src.is_ipv4(),
        }),
    };
    let segment_len = tcp_len + payload_len;
    // Nobody cuts it on its way, so it needs no number (RFC 6864 §4.1).
    let network = NetworkHeader::new(envelope, segment_len, 0);
    let station = egress.station();
    let frame = payload.with_headers(headers_len, |bytes, chained| {
        let (lower, segment) = bytes.split_at_mut(lower_len);
        network.emit(lower, hop.mac, station);
        let sum = pseudo_header(envelope.src, envelope.dst, Protocol::TCP, segment_len);
        write_tcp(header, tcp_len, segment, chained, meta.checksum.is_some(), sum);
    })?;
    egress.counters.count(Count::OutSegs);
    egress.transmit(hop, frame, meta);
    Some(())
}

/// Sends a segment without payload.
pub(super) fn bare<F, D>(
    envelope: &Envelope,
    header: &TcpHeader,
    cached: &mut Option<NeighborId>,
    egress: &mut Egress<'_, F, D>,
) -> Output
where
    F: Frame,
    D: Device<Frame = F>,
{
    let Some(hop) = next_hop(|| envelope.dst, cached, egress) else { return Output::Blocked };
    // Nothing is lost: whoever wants it sent asks again.
    let Some(frame) = egress.device.alloc(0) else { return Output::Blocked };
    let payload = Payload::Separate { frame, chain: None, len: 0 };
    match data(envelope, header, payload, hop, u32::from(u16::MAX), egress) {
        Some(()) => Output::Done,
        None => Output::Blocked,
    }
}

/// Sends a reply on behalf of no connection.
pub(super) fn reply<F, D>(reply: &Reply, ttl: u8, egress: &mut Egress<'_, F, D>) -> Output
where
    F: Frame,
    D: Device<Frame = F>,
{
    let header = TcpHeader {
        src_port: reply.tuple.local_port(),
        dst_port: reply.tuple.remote_port(),
        seq: reply.seq,
        ack: reply.ack.unwrap_or(Seq(0)),
        flags: if reply.ack.is_some() { reply.flags | Flags::ACK } else { reply.flags },
        window: reply.window,
        urgent: 0,
        options: reply.options,
    };
    let sent = bare(&envelope(&reply.tuple, ttl, reply.tos), &header, &mut None, egress);
    if sent == Output::Done && header.flags.contains(Flags::RST) {
        egress.counters.count(Count::OutRsts);
    }
    sent
}

/// The envelope of a connection's segments.
#[inline]
pub(super) fn envelope(tuple: &Tuple, ttl: u8, tos: u8) -> Envelope {
    Envelope { src: tuple.local_ip(), dst: tuple.remote_ip(), protocol: Protocol::TCP, ttl, tos }
}

/// What the device is to do about the checksum of a segment behind headers of `lower_len` bytes.
#[inline]
pub(super) fn checksum_request(offloads: Offloads, lower_len: usize) -> Option<TxChecksum> {
    offloads
        .contains(Offloads::TX_CHECKSUM_TCP)
        .then_some(TxChecksum { start: lower_len as u16, offset: TcpHeader::CHECKSUM as u16 })
}

/// Writes the header at the front of `segment` and its checksum: over everything, or over the pseudo-header if
/// the device does the rest.
fn write_tcp<F: Frame>(
    header: &TcpHeader,
    header_len: usize,
    segment: &mut [u8],
    chained: Option<&F>,
    offloaded: bool,
    mut sum: Sum,
) {
    if offloaded {
        return header.emit(segment, header_len, sum.value());
    }
    header.emit(segment, header_len, 0);
    sum.add(segment);
    for bytes in chained.into_iter().flat_map(Frame::fragments) {
        sum.add(bytes);
    }
    if let Some(field) = segment.get_mut(TcpHeader::CHECKSUM..TcpHeader::CHECKSUM + 2) {
        field.copy_from_slice(&sum.checksum().to_be_bytes());
    }
}
