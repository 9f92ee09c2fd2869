//! From a segment to a frame: Ethernet, IP and TCP headers in one go.

use core::net::IpAddr;

use hayase_device::{Device, Frame, Offloads, TxChecksum, TxMeta, TxSegmentation};

use super::output::Output;
use super::segment::Reply;
use super::send_queue::Payload;
use super::template::Template;
use crate::counters::{Count, Drop};
use crate::egress::{Egress, Hop};
use crate::ip::neighbor::NeighborId;
use crate::seq::Seq;
use crate::wire::tcp::{Flags, Options, TcpHeader};

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
#[inline]
pub(super) fn data<F, D>(
    template: &Template,
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
    let (payload_len, tcp_len, network_len) = (payload.len(), header.len(), template.len());
    let headers_len = network_len + tcp_len;
    let is_super = payload_len > mss as usize;
    let meta = TxMeta {
        checksum: tcp_checksum(egress.offloads(), network_len),
        segmentation: is_super.then(|| TxSegmentation {
            segment_len: mss as u16,
            header_len: headers_len as u16,
            ipv6: !template.is_v4(),
        }),
    };
    // A device that cuts a packet numbers the pieces: leave it the numbers.
    let pieces = if is_super { payload_len.div_ceil(mss as usize) } else { 1 };
    let ident = egress.take_idents(pieces as u32);
    let segment_len = (tcp_len + payload_len) as u16;
    let mac = egress.mac();
    let frame = payload.with_headers(headers_len, |bytes, chained| {
        template.emit(bytes, hop.mac, mac, ident, segment_len);
        let segment = &mut bytes[network_len..];
        write_tcp(header, tcp_len, segment, chained, meta.checksum.is_some(), template, segment_len);
    })?;
    egress.counters.count(Count::OutSegs);
    egress.transmit(hop, frame, meta);
    Some(())
}

/// Sends a segment without payload.
pub(super) fn bare<F, D>(
    template: &Template,
    remote: impl FnOnce() -> IpAddr,
    header: &TcpHeader,
    cached: &mut Option<NeighborId>,
    egress: &mut Egress<'_, F, D>,
) -> Output
where
    F: Frame,
    D: Device<Frame = F>,
{
    let Some(hop) = next_hop(remote, cached, egress) else { return Output::Blocked };
    let Some(frame) = egress.device.alloc(0) else {
        egress.counters.drop(Drop::NoMem);
        return Output::Blocked;
    };
    let payload = Payload::Separate { frame, chain: None, len: 0 };
    match data(template, header, payload, hop, u32::from(u16::MAX), egress) {
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
        options: Options { timestamps: reply.timestamps, ..Options::default() },
    };
    let sent =
        bare(&Template::new(&reply.tuple, ttl), || reply.tuple.remote_ip(), &header, &mut None, egress);
    if sent == Output::Done && header.flags.contains(Flags::RST) {
        egress.counters.count(Count::OutRsts);
    }
    sent
}

/// What the device is to do about the checksum.
#[inline]
fn tcp_checksum(offloads: Offloads, network_len: usize) -> Option<TxChecksum> {
    offloads
        .contains(Offloads::TX_CHECKSUM_TCP)
        .then_some(TxChecksum { start: network_len as u16, offset: TcpHeader::CHECKSUM as u16 })
}

/// Writes the header at the front of `segment` and its checksum: over everything, or over the pseudo-header if
/// the device does the rest.
#[inline]
fn write_tcp<F: Frame>(
    header: &TcpHeader,
    header_len: usize,
    segment: &mut [u8],
    chained: Option<&F>,
    offloaded: bool,
    template: &Template,
    segment_len: u16,
) {
    let mut sum = template.pseudo_header(segment_len);
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
