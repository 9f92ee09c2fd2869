//! The checks, one word of the contract each.

use std::boxed::Box;
use std::vec::Vec;

use super::packet::{self, ChecksumState, Ip, Packet, assert_ip_header, assert_pieces, checksum_state};
use super::{Arrived, Bench, DeviceFrame, Harness, PEER_MAC, bytes_of, is_from_peer, wait_for};
use crate::headers::is_linear_enough;
use crate::{
    Burst, Device, Frame, Offloads, RxChecksum, RxMeta, SharedBytes, TxChecksum, TxMeta, TxSegmentation,
};

type Check<H> = fn(&mut Bench<H>);

pub(super) fn all<H: Harness>() -> Vec<(&'static str, Check<H>)> {
    let checks: Box<[(&'static str, Check<H>)]> = Box::new([
        ("fresh frames have room", fresh_frames_have_room),
        ("a frame can be filled as far as is promised", fill_len_is_kept),
        ("a frame's capacity is its buffer's, whatever is done to it", capacity_stays),
        ("frames of every length cross unchanged and in order", every_length_crosses),
        ("receive honours the burst's room", receive_honours_the_bursts_room),
        ("pending agrees with receive", pending_agrees_with_receive),
        ("a thread that sleeps is woken by the next frame", sleep_ends_with_the_next_frame),
        ("a thread may sleep though the queue is full", a_full_queue_lets_the_thread_sleep),
        ("frames of no possible length are refused", impossible_lengths_are_refused),
        ("room counts, and what exceeds it is counted", room_counts),
        ("a second handle survives transmit", second_handle_survives),
        ("a chain is the same as a linear frame", chain_equals_linear),
        ("foreign bytes arrive", foreign_bytes_arrive),
        ("requested checksums are filled in", requested_checksums_are_filled_in),
        ("super-segments are cut, or handed over as such", super_segments_are_cut),
        ("senseless requests are refused", senseless_requests_are_refused),
        ("only right checksums are called verified", only_right_checksums_are_verified),
        ("right checksums are called verified where that is claimed", right_checksums_are_verified),
        ("what the peer's hardware was asked for is done or told", peer_offloads_are_honoured),
        ("nothing is claimed or taken with offloads off", offloads_off),
        ("a dry pool degrades and recovers", dry_pool_degrades_and_recovers),
    ]);
    checks.into_vec()
}

fn fresh_frames_have_room<H: Harness>(bench: &mut Bench<H>) {
    let mtu = bench.device().caps().mtu;
    for len in [0, 1, 60, 536, 1448, mtu, 65_535] {
        let frame = bench.device().alloc(len).expect("the pool has a buffer");
        assert!(frame.headroom() >= DeviceFrame::<H>::HEADROOM, "headroom for {len} bytes");
        assert!(frame.tailroom() >= len.clamp(1, 1448), "tailroom for {len} bytes: {}", frame.tailroom());
        assert!(frame.is_empty() && frame.is_unique() && frame.next().is_none());
    }
}

fn fill_len_is_kept<H: Harness>(bench: &mut Bench<H>) {
    let caps = *bench.device().caps();
    let mut left = caps.fill_len_max.min(65_535);
    let mut fragments = Vec::new();
    while left > 0 {
        assert!(fragments.len() < caps.fragments_max, "{left} bytes are left, and no fragment is");
        let frame = bench.device().alloc(left).expect("the pool has a buffer");
        left -= frame.tailroom().min(left);
        fragments.push(frame);
    }
}

/// Who holds frames adds up their capacities when they come and subtracts them when they go.
fn capacity_stays<H: Harness>(bench: &mut Bench<H>) {
    let mac = bench.mac();
    let fresh = bench.frame(&packet::raw(mac, PEER_MAC, 600));
    let long = bench.frame(&packet::raw(mac, PEER_MAC, 1400));
    bench.harness.peer_send(&packet::raw(PEER_MAC, mac, 600), TxMeta::default());
    let (received, _) = bench.expect_at_device();
    let foreign = bench.device().wrap(&SharedBytes::from(packet::pattern(600)));
    for frame in [fresh, long, received].into_iter().chain(foreign) {
        capacity_of_one_stays(frame);
    }
}

fn capacity_of_one_stays<F: Frame>(mut frame: F) {
    let capacity = frame.capacity();
    assert!(capacity >= frame.len(), "{capacity} bytes for {}", frame.len());
    let mut stays = |what: &str, change: &mut dyn FnMut(&mut F)| {
        change(&mut frame);
        assert_eq!(frame.capacity(), capacity, "after {what}");
    };
    stays("trim_front", &mut |frame| frame.trim_front(100));
    stays("prepend", &mut |frame| frame.prepend(40).into_iter().for_each(|front| front.fill(1)));
    stays("truncate", &mut |frame| frame.truncate(200));
    stays("extend", &mut |frame| frame.extend(40).into_iter().for_each(|back| back.fill(2)));
    stays("share", &mut |frame| {
        let mut second = frame.share();
        second.trim_front(10);
        assert_eq!(second.capacity(), capacity, "of a second handle");
        frame.chain(second);
    });
    stays("unchain", &mut |frame| {
        let second = frame.unchain().expect("chained just now");
        assert_eq!(second.capacity(), capacity, "of what was chained");
    });
    stays("trim_front of everything", &mut |frame| frame.trim_front(usize::MAX));
}

fn every_length_crosses<H: Harness>(bench: &mut Bench<H>) {
    let (mac, mtu) = (bench.mac(), bench.device().caps().mtu);
    for len in 60..=mtu + 14 {
        let out = packet::raw(mac, PEER_MAC, len);
        bench.transmit_bytes(&out, TxMeta::default());
        let arrived = bench.expect_at_peer();
        assert_eq!((&arrived.bytes, arrived.meta.segment_len), (&out, 0));

        let back = packet::raw(PEER_MAC, mac, len);
        bench.harness.peer_send(&back, TxMeta::default());
        let (frame, meta) = bench.expect_at_device();
        assert_eq!((bytes_of(&frame), meta.segment_len), (back, 0));
    }
    for len in 100..140 {
        let frame = packet::raw(mac, PEER_MAC, len);
        bench.transmit_bytes(&frame, TxMeta::default());
    }
    for len in 100..140 {
        assert_eq!(bench.expect_at_peer().bytes.len(), len, "order");
    }
}

fn receive_honours_the_bursts_room<H: Harness>(bench: &mut Bench<H>) {
    let mac = bench.mac();
    for len in 100..105 {
        bench.harness.peer_send(&packet::raw(PEER_MAC, mac, len), TxMeta::default());
    }
    let (mut burst, mut lens) = (Burst::new(2), Vec::new());
    wait_for("five frames", || {
        let received = bench.device().receive(&mut burst);
        assert_eq!(received, burst.len(), "receive tells how many it brought");
        lens.extend(
            burst.drain().map(|(frame, _)| frame).filter(is_from_peer).map(|frame| frame.total_len()),
        );
        (lens.len() == 5).then_some(())
    });
    assert_eq!(lens, [100, 101, 102, 103, 104]);
    bench.harness.peer_send(&packet::raw(PEER_MAC, mac, 99), TxMeta::default());
    let (frame, meta) = bench.expect_at_device();
    let mut full = Burst::new(1);
    full.push(frame, meta);
    assert_eq!(bench.device().receive(&mut full), 0, "a full burst takes nothing");
}

fn pending_agrees_with_receive<H: Harness>(bench: &mut Bench<H>) {
    let mac = bench.mac();
    wait_for("the device to be idle", || {
        bench.drain();
        (!bench.device().pending()).then_some(())
    });
    bench.harness.peer_send(&packet::raw(PEER_MAC, mac, 60), TxMeta::default());
    wait_for("the device to be pending", || bench.device().pending().then_some(()));
    let mut burst = Burst::new(32);
    assert!(bench.device().receive(&mut burst) > 0, "pending, but nothing came");
    assert!(burst.drain().any(|(frame, _)| is_from_peer(&frame)));
    let out = packet::raw(mac, PEER_MAC, 60);
    bench.transmit_bytes(&out, TxMeta::default());
    bench.expect_at_peer();
    wait_for("the device to be idle again", || {
        bench.drain();
        (!bench.device().pending()).then_some(())
    });
}

fn impossible_lengths_are_refused<H: Harness>(bench: &mut Bench<H>) {
    let (mac, mtu) = (bench.mac(), bench.device().caps().mtu);
    let long = packet::raw(mac, PEER_MAC, mtu + 15);
    let frame = bench.frame(&long);
    bench.assert_refused(frame, TxMeta::default(), "a frame longer than the link's");
    for len in [0, 1, 13] {
        let frame = bench.frame(&long[..len]);
        bench.assert_refused(frame, TxMeta::default(), "a frame shorter than its header");
    }
    if bench.offloads().contains(Offloads::TSO4) {
        let packet = Packet::tcp(Ip::V4, 4000).between(mac, PEER_MAC);
        let frame = bench.frame(&packet.build_partial());
        bench.assert_refused(frame, packet.checksum_meta(), "a super-segment that nobody asked to cut");
    }
}

/// More frames than any reasonable queue holds.
const FRAMES_MAX: usize = 3000;

/// Fills the transmit queue. Returns how many frames that took; `None` if the link is as fast as the sender.
fn fill_queue<H: Harness>(bench: &mut Bench<H>) -> Option<usize> {
    let frame = packet::raw(bench.mac(), PEER_MAC, 60);
    let mut sent = 0;
    while bench.device().room() > 0 && sent < FRAMES_MAX {
        bench.transmit_bytes(&frame, TxMeta::default());
        sent += 1;
    }
    (sent < FRAMES_MAX).then_some(sent)
}

/// What is named to sleep on must agree with what is received.
fn sleep_ends_with_the_next_frame<H: Harness>(bench: &mut Bench<H>) {
    let mac = bench.mac();
    for len in [60, 1000] {
        let sleep = bench.fall_asleep();
        let bytes = packet::raw(PEER_MAC, mac, len);
        bench.harness.peer_send(&bytes, TxMeta::default());
        bench.wake_up(sleep, "a frame to wake the thread");
        let (frame, _) = bench.expect_at_device();
        assert_eq!(bytes_of(&frame), bytes);
    }
}

/// A descriptor that is ready while nothing changes burns a processor for as long as the peer stands still.
fn a_full_queue_lets_the_thread_sleep<H: Harness>(bench: &mut Bench<H>) {
    let Some(sent) = fill_queue(bench) else { return };
    let sleep = bench.fall_asleep();
    for _ in 0..sent {
        bench.expect_at_peer();
    }
    bench.wake_up(sleep, "room to wake the thread");
    wait_for("room for as many frames as before", || {
        bench.device().flush();
        (bench.device().room() >= sent).then_some(())
    });
}

fn room_counts<H: Harness>(bench: &mut Bench<H>) {
    let frame = packet::raw(bench.mac(), PEER_MAC, 60);
    let Some(sent) = fill_queue(bench) else { return };
    let before = bench.drops();
    let excess = bench.frame(&frame);
    bench.device().transmit(excess, TxMeta::default());
    bench.device().flush();
    assert_eq!(bench.drops(), before + 1, "a frame beyond the queue's room is counted");
    for _ in 0..sent {
        bench.expect_at_peer();
    }
    wait_for("room for as many frames as before", || (bench.device().room() >= sent).then_some(()));
}

fn second_handle_survives<H: Harness>(bench: &mut Bench<H>) {
    let packet = Packet::tcp(Ip::V4, 100).between(bench.mac(), PEER_MAC);
    let requested = bench.offloads().contains(Offloads::TX_CHECKSUM_TCP);
    let (bytes, meta) = if requested {
        (packet.build_partial(), packet.checksum_meta())
    } else {
        (packet.build(), TxMeta::default())
    };
    let frame = bench.frame(&bytes);
    let mut kept = frame.share();
    kept.trim_front(packet.header_len());
    bench.transmit(frame, meta);
    assert_arrived(bench.expect_at_peer(), &packet);
    assert_eq!(kept.bytes(), packet.payload);
    wait_for("the handle to be the only one", || {
        while bench.harness.peer_receive().is_some() {}
        bench.device().flush();
        kept.is_unique().then_some(())
    });
    kept.bytes_mut().expect("it may be changed again").fill(0);
}

fn chain_equals_linear<H: Harness>(bench: &mut Bench<H>) {
    let caps = *bench.device().caps();
    let bytes = packet::raw(bench.mac(), PEER_MAC, 1000);
    let frame = bench.chain(&bytes, &[14]);
    if !caps.offloads.contains(Offloads::SG) {
        assert_eq!(caps.fragments_max, 1);
        return bench.assert_refused(frame, TxMeta::default(), "a chain without scatter-gather");
    }
    assert!(caps.fragments_max > 1);
    bench.transmit(frame, TxMeta::default());
    assert_eq!(bench.expect_at_peer().bytes, bytes);
    for seams in [&[1][..], &[14, 34, 54], &[200, 200, 201]] {
        let frame = bench.chain(&bytes, seams);
        bench.transmit(frame, TxMeta::default());
        assert_eq!(bench.expect_at_peer().bytes, bytes, "seams at {seams:?}");
    }
    let seams: Vec<usize> = (14..14 + caps.fragments_max - 1).collect();
    let frame = bench.chain(&bytes, &seams);
    bench.transmit(frame, TxMeta::default());
    assert_eq!(bench.expect_at_peer().bytes, bytes, "as many fragments as promised");
    let seams: Vec<usize> = (14..14 + caps.fragments_max).collect();
    let frame = bench.chain(&bytes, &seams);
    bench.assert_refused(frame, TxMeta::default(), "more fragments than promised");
}

fn foreign_bytes_arrive<H: Harness>(bench: &mut Bench<H>) {
    let bytes = packet::raw(bench.mac(), PEER_MAC, 500);
    let whole = SharedBytes::from(bytes.clone());
    let Some(frame) = bench.device().wrap(&whole) else { return };
    bench.transmit(frame, TxMeta::default());
    assert_eq!(bench.expect_at_peer().bytes, bytes);
    if bench.offloads().contains(Offloads::SG) {
        let mut frame = bench.frame(&bytes[..54]);
        let payload = bench.device().wrap(&whole.slice(54..500)).expect("it did so before");
        frame.chain(payload);
        bench.transmit(frame, TxMeta::default());
        assert_eq!(bench.expect_at_peer().bytes, bytes);
    }
}

fn requested_checksums_are_filled_in<H: Harness>(bench: &mut Bench<H>) {
    let (mac, offloads) = (bench.mac(), bench.offloads());
    let kinds =
        [(Offloads::TX_CHECKSUM_TCP, Packet::tcp as fn(_, _) -> _), (Offloads::TX_CHECKSUM_UDP, Packet::udp)];
    for (needed, build) in kinds {
        for ip in [Ip::V4, Ip::V6] {
            for payload_len in [1, 2, 501, 1400] {
                let packet: Packet = build(ip, payload_len).between(mac, PEER_MAC);
                let frame = bench.frame(&packet.build_partial());
                if !offloads.contains(needed) {
                    bench.assert_refused(frame, packet.checksum_meta(), "a checksum that was not promised");
                    continue;
                }
                bench.transmit(frame, packet.checksum_meta());
                assert_arrived(bench.expect_at_peer(), &packet);
                if offloads.contains(Offloads::SG) {
                    let frame = bench.chain(&packet.build_partial(), &[packet.header_len()]);
                    let header = frame.share();
                    bench.transmit(frame, packet.checksum_meta());
                    assert_arrived(bench.expect_at_peer(), &packet);
                    assert_eq!(header.bytes(), &packet.build_partial()[..packet.header_len()]);
                }
            }
        }
    }
}

/// The frame is the packet, and its checksum is right, or known not to matter.
fn assert_arrived(arrived: Arrived, packet: &Packet) {
    match checksum_state(&arrived.bytes) {
        ChecksumState::Complete => assert_eq!(arrived.bytes, packet.build()),
        ChecksumState::Partial => {
            assert_eq!(arrived.meta.checksum, RxChecksum::Verified, "unfinished, and nobody was told");
            assert_eq!(arrived.bytes, packet.build_partial());
        }
        ChecksumState::Wrong => panic!("wrong checksum: {packet:?}"),
    }
    assert_eq!(arrived.meta.segment_len, 0);
}

fn super_segments_are_cut<H: Harness>(bench: &mut Bench<H>) {
    let (mac, caps) = (bench.mac(), *bench.device().caps());
    for (needed, ip, header_len) in [(Offloads::TSO4, Ip::V4, 40), (Offloads::TSO6, Ip::V6, 60)] {
        let segment_len = caps.mtu - header_len;
        for payload_len in [1, segment_len, segment_len + 1, 20_000, caps.tso_len_max - header_len] {
            let mut packet = Packet::tcp(ip, payload_len).between(mac, PEER_MAC);
            packet.flags = 0x19;
            let meta = packet.segmentation_meta(segment_len as u16);
            let frame = bench.frame(&packet.build_partial());
            if !caps.offloads.contains(needed) {
                bench.assert_refused(frame, meta, "segmentation that was not promised");
                break;
            }
            bench.transmit(frame, meta);
            assert_super_segment(bench, &packet, segment_len);
            if caps.offloads.contains(Offloads::SG) && payload_len > 1 {
                let seams = [packet.header_len(), packet.header_len() + payload_len / 2];
                let frame = bench.chain(&packet.build_partial(), &seams);
                bench.transmit(frame, meta);
                assert_super_segment(bench, &packet, segment_len);
            }
        }
    }
}

/// Either the peer takes super-frames and gets this one whole, or it gets what a NIC makes of it.
fn assert_super_segment<H: Harness>(bench: &mut Bench<H>, packet: &Packet, segment_len: usize) {
    let first = bench.expect_at_peer();
    if first.meta.segment_len != 0 {
        assert_eq!(usize::from(first.meta.segment_len), segment_len);
        return assert_arrived(Arrived { meta: RxMeta { segment_len: 0, ..first.meta }, ..first }, packet);
    }
    if packet.payload.len() <= segment_len {
        return assert_arrived(first, packet);
    }
    let count = packet.payload.len().div_ceil(segment_len);
    let mut pieces = Vec::from([first]);
    pieces.extend((1..count).map(|_| bench.expect_at_peer()));
    assert_pieces(packet, segment_len, &pieces.into_iter().map(complete).collect::<Vec<_>>());
}

/// The bytes of an arrived frame, with a checksum that its receiver did not need to see filled in.
fn complete(arrived: Arrived) -> Vec<u8> {
    let mut bytes = arrived.bytes;
    assert_ip_header(&bytes);
    if checksum_state(&bytes) == ChecksumState::Partial {
        assert_eq!(arrived.meta.checksum, RxChecksum::Verified, "unfinished, and nobody was told");
        packet::complete_tcp(&mut bytes);
    }
    bytes
}

fn senseless_requests_are_refused<H: Harness>(bench: &mut Bench<H>) {
    let (mac, offloads) = (bench.mac(), bench.offloads());
    let packet = Packet::tcp(Ip::V4, 600).between(mac, PEER_MAC);
    let bytes = packet.build_partial();
    let refuse = |bench: &mut Bench<H>, meta, why| {
        let frame = bench.frame(&bytes);
        bench.assert_refused(frame, meta, why);
    };
    if offloads.contains(Offloads::TX_CHECKSUM_TCP) {
        for start in [bytes.len() as u16, u16::MAX - 1] {
            let checksum = Some(TxChecksum { start, offset: 16 });
            refuse(bench, TxMeta { checksum, segmentation: None }, "a checksum beyond the frame");
        }
    }
    if offloads.contains(Offloads::TSO4) {
        let good = packet.segmentation(100);
        let meta = |segmentation| TxMeta { segmentation: Some(segmentation), ..packet.checksum_meta() };
        refuse(bench, meta(TxSegmentation { segment_len: 0, ..good }), "segments of nothing");
        refuse(bench, meta(TxSegmentation { segment_len: u16::MAX, ..good }), "segments beyond the link");
        refuse(bench, meta(TxSegmentation { header_len: u16::MAX, ..good }), "headers beyond the frame");
        refuse(bench, meta(TxSegmentation { header_len: 53, ..good }), "headers that end elsewhere");
        let no_checksum = TxMeta { checksum: None, segmentation: Some(good) };
        refuse(bench, no_checksum, "segmentation without the checksum");
    }
}

fn only_right_checksums_are_verified<H: Harness>(bench: &mut Bench<H>) {
    let mac = bench.mac();
    for build in [Packet::tcp, Packet::udp] {
        for ip in [Ip::V4, Ip::V6] {
            let right = build(ip, 200).between(PEER_MAC, mac).build();
            bench.harness.peer_send(&right, TxMeta::default());
            let (frame, _) = bench.expect_at_device();
            assert_eq!(bytes_of(&frame), right);
            assert!(is_linear_enough(frame.bytes()));

            let mut wrong = right;
            wrong[100] ^= 0x40;
            bench.harness.peer_send(&wrong, TxMeta::default());
            let (frame, meta) = bench.expect_at_device();
            assert_eq!(bytes_of(&frame), wrong, "software counts bad packets, so it must see them");
            assert_eq!(meta.checksum, RxChecksum::Unverified);
        }
    }
}

/// Who claims it and never says it makes software do the work all the same. Some know only of checksums that their sender
/// left to hardware, so the peer must be one that does.
fn right_checksums_are_verified<H: Harness>(bench: &mut Bench<H>) {
    let (mac, in_force, peer) = (bench.mac(), bench.offloads(), bench.harness.peer_offloads());
    for ip in [Ip::V4, Ip::V6] {
        for packet in [Packet::tcp(ip, 300), Packet::udp(ip, 300)] {
            let packet = packet.between(PEER_MAC, mac);
            let (asked_of_peer, of_us) = checksum_offloads(&packet);
            if !in_force.contains(of_us) || !peer.contains(asked_of_peer) {
                continue;
            }
            bench.harness.peer_send(&packet.build(), TxMeta::default());
            let complete = receive_one(bench).meta.checksum;
            bench.harness.peer_send(&packet.build_partial(), packet.checksum_meta());
            let left_out = receive_one(bench).meta.checksum;
            let what = if packet.tcp { "TCP" } else { "UDP" };
            assert!([complete, left_out].contains(&RxChecksum::Verified), "never said of {what} over {ip:?}");
        }
    }
}

fn peer_offloads_are_honoured<H: Harness>(bench: &mut Bench<H>) {
    let (mac, offloads) = (bench.mac(), bench.harness.peer_offloads());
    for ip in [Ip::V4, Ip::V6] {
        for packet in [Packet::tcp(ip, 1001), Packet::udp(ip, 1001)] {
            let packet = packet.between(PEER_MAC, mac);
            let (asked_of_peer, of_us) = checksum_offloads(&packet);
            if offloads.contains(asked_of_peer) {
                bench.harness.peer_send(&packet.build_partial(), packet.checksum_meta());
                let arrived = receive_one(bench);
                let wanted = bench.offloads().contains(of_us);
                assert!(
                    wanted || arrived.meta.checksum == RxChecksum::Unverified,
                    "a claim that nobody wants"
                );
                assert_arrived(arrived, &packet);
            }
        }
    }
    for (needed, ip) in [(Offloads::TSO4, Ip::V4), (Offloads::TSO6, Ip::V6)] {
        if offloads.contains(needed) {
            peer_sends_super_segment(bench, ip);
        }
    }
}

/// What a sender and a receiver need to leave the packet's checksum to hardware.
fn checksum_offloads(packet: &Packet) -> (Offloads, Offloads) {
    if packet.tcp {
        (Offloads::TX_CHECKSUM_TCP, Offloads::RX_CHECKSUM_TCP)
    } else {
        (Offloads::TX_CHECKSUM_UDP, Offloads::RX_CHECKSUM_UDP)
    }
}

/// A received frame, as the peer's side of the suite has it. Its linear part must hold the headers.
fn receive_one<H: Harness>(bench: &mut Bench<H>) -> Arrived {
    let (frame, meta) = bench.expect_at_device();
    assert!(is_linear_enough(frame.bytes()), "headers lie across fragments: {:?}", frame.len());
    Arrived { bytes: bytes_of(&frame), meta }
}

fn peer_sends_super_segment<H: Harness>(bench: &mut Bench<H>, ip: Ip) {
    let in_force = bench.offloads();
    let (mac, segment_len) = (bench.mac(), 1400);
    let mut packet = Packet::tcp(ip, 20_000).between(PEER_MAC, mac);
    packet.flags = 0x19;
    bench.harness.peer_send(&packet.build_partial(), packet.segmentation_meta(segment_len as u16));
    let first = receive_one(bench);
    if in_force.contains(Offloads::LRO) {
        assert_eq!(usize::from(first.meta.segment_len), segment_len, "handed over as a super-frame");
        return assert_arrived(Arrived { meta: RxMeta { segment_len: 0, ..first.meta }, ..first }, &packet);
    }
    let mut pieces = Vec::from([first]);
    pieces.extend((1..20_000usize.div_ceil(segment_len)).map(|_| receive_one(bench)));
    if !in_force.intersects(Offloads::RX_CHECKSUM) {
        assert!(pieces.iter().all(|piece| piece.meta == RxMeta::default()), "nothing is claimed");
    }
    assert_pieces(&packet, segment_len, &pieces.into_iter().map(complete).collect::<Vec<_>>());
}

fn offloads_off<H: Harness>(bench: &mut Bench<H>) {
    let before = bench.offloads();
    assert_eq!(bench.device().set_offloads(Offloads::NONE), Offloads::NONE);
    let caps = *bench.device().caps();
    assert_eq!((caps.offloads, caps.fragments_max), (Offloads::NONE, 1));
    let mac = bench.mac();
    let packet = Packet::tcp(Ip::V6, 900).between(PEER_MAC, mac);
    bench.harness.peer_send(&packet.build(), TxMeta::default());
    let (frame, meta) = bench.expect_at_device();
    assert_eq!((bytes_of(&frame), meta), (packet.build(), RxMeta::default()));
    drop(frame);
    requested_checksums_are_filled_in(bench);
    super_segments_are_cut(bench);
    chain_equals_linear(bench);
    only_right_checksums_are_verified(bench);
    peer_offloads_are_honoured(bench);
    assert_eq!(bench.device().set_offloads(Offloads::ALL), before, "what it had comes back");
    assert_eq!(bench.offloads(), before);
    peer_offloads_are_honoured(bench);
    for offload in [Offloads::TSO, Offloads::LRO] {
        let alone = bench.device().set_offloads(offload);
        assert_eq!(alone, Offloads::NONE, "{offload} makes no sense alone");
    }
}

/// More buffers than any pool under test has.
const BUFFERS_MAX: usize = 1 << 20;

fn dry_pool_degrades_and_recovers<H: Harness>(bench: &mut Bench<H>) {
    let mac = bench.mac();
    let mut hoard = Vec::new();
    while hoard.len() < BUFFERS_MAX
        && let Some(frame) = bench.device().alloc(1)
    {
        hoard.push(frame);
    }
    assert!(hoard.len() < BUFFERS_MAX, "a pool without a limit");
    let bytes = packet::raw(PEER_MAC, mac, 60);
    let before = bench.drops();
    let mut received = Vec::new();
    for count in 1..=8 {
        bench.harness.peer_send(&bytes, TxMeta::default());
        let mut burst = Burst::new(4);
        wait_for("the frame to be received or counted", || {
            bench.device().receive(&mut burst);
            received.extend(burst.drain().map(|(frame, _)| frame).filter(is_from_peer));
            (received.len() as u64 + bench.drops() - before >= count).then_some(())
        });
    }
    drop((hoard, received));
    bench.harness.peer_send(&bytes, TxMeta::default());
    let (frame, _) = bench.expect_at_device();
    assert_eq!(bytes_of(&frame), bytes);
}
