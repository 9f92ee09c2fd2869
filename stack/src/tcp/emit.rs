//! From a segment to a frame: Ethernet, IP and TCP headers in one go.

use core::net::IpAddr;

use hayase_device::checksum::Sum;
use hayase_device::{Device, Frame, Offloads, TxChecksum, TxMeta, TxSegmentation};

use super::flow::Tuple;
use super::output::Output;
use super::segment::Reply;
use super::send_queue::Payload;
use crate::counters::{Count, Drop};
use crate::egress::{Egress, Hop};
use crate::ip::neighbor::NeighborId;
use crate::seq::Seq;
use crate::wire::tcp::{Flags, Options, TcpHeader};
use crate::wire::{Protocol, pseudo_header};

/// What a connection's segments have in common.
#[derive(Debug, Clone, Copy)]
pub(super) struct Emission {
    pub(super) tuple: Tuple,
    pub(super) ttl: u8,
}

/// The next hop of a connection. `None` if the device takes nothing now; a destination that cannot be reached
/// counts as a loss and shows by the retransmission timer.
#[inline]
pub(super) fn next_hop<F, D>(
    emission: &Emission,
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
    Some(egress.next_hop(emission.tuple.remote_ip(), cached))
}

/// Sends a segment with payload. `None` if there was no buffer.
#[inline]
pub(super) fn data<F, D>(
    emission: &Emission,
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
    let (local, remote) = (emission.tuple.local_ip(), emission.tuple.remote_ip());
    let payload_len = payload.len();
    let network_len = egress.headers_len(local);
    let headers_len = network_len + header.len();
    let segmentation = (payload_len > mss as usize).then(|| TxSegmentation {
        segment_len: mss as u16,
        header_len: headers_len as u16,
        ipv6: local.is_ipv6(),
    });
    let meta = TxMeta { checksum: tcp_checksum(egress.offloads(), network_len), segmentation };
    // A device that cuts a packet numbers the pieces: leave it the numbers.
    let pieces = payload_len.div_ceil(mss.max(1) as usize) as u16;
    let network =
        egress.network_header(local, remote, Protocol::TCP, emission.ttl, header.len() + payload_len, pieces);
    let frame = payload.with_headers(headers_len, |bytes, chained| {
        let (front, segment) = bytes.split_at_mut(network_len);
        network.emit(front, hop.mac, egress.mac());
        write_tcp(header, segment, chained, meta.checksum.is_some(), local, remote);
    })?;
    egress.counters.count(Count::OutSegs);
    egress.transmit(hop, frame, meta);
    Some(())
}

/// Sends a segment without payload.
pub(super) fn bare<F, D>(
    emission: Emission,
    header: &TcpHeader,
    cached: &mut Option<NeighborId>,
    egress: &mut Egress<'_, F, D>,
) -> Output
where
    F: Frame,
    D: Device<Frame = F>,
{
    let Some(hop) = next_hop(&emission, cached, egress) else { return Output::Blocked };
    let Some(frame) = egress.device.alloc(0) else {
        egress.counters.drop(Drop::NoMem);
        return Output::Blocked;
    };
    let payload = Payload::Separate { frame, chain: None, len: 0 };
    match data(&emission, header, payload, hop, u32::from(u16::MAX), egress) {
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
    if header.flags.contains(Flags::RST) {
        egress.counters.count(Count::OutRsts);
    }
    bare(Emission { tuple: reply.tuple, ttl }, &header, &mut None, egress)
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
    segment: &mut [u8],
    chained: Option<&F>,
    offloaded: bool,
    local: IpAddr,
    remote: IpAddr,
) {
    let len = segment.len() + chained.map_or(0, Frame::total_len);
    let mut sum: Sum = pseudo_header(local, remote, Protocol::TCP, len);
    if offloaded {
        return header.emit(segment, sum.value());
    }
    header.emit(segment, 0);
    sum.add(segment);
    for bytes in chained.into_iter().flat_map(Frame::fragments) {
        sum.add(bytes);
    }
    if let Some(field) = segment.get_mut(TcpHeader::CHECKSUM..TcpHeader::CHECKSUM + 2) {
        field.copy_from_slice(&sum.checksum().to_be_bytes());
    }
}
