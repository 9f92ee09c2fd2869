//! Option fields of TCP: on the SYN, on its answer, and on segments of an open connection.

use std::task::Poll;
use std::time::Duration;

use hayase_device::Offloads;
use hayase_stack::{Config, ListenerId, TcpId};

use crate::host::Host;
use crate::input::Input;
use crate::packet::{ACK, SYN, Segment, ours, peer};

/// The peer's port, and the one at which the stack listens.
const PORTS: (u16, u16) = (4000, 80);
const ISN: u32 = 1000;
/// Segments of one conversation.
const SEGMENTS_MAX: usize = 64;

/// A handshake with any options, from either side, then segments with any options.
pub fn options(data: &[u8]) {
    let mut input = Input::new(data);
    let v6 = input.flag();
    let offloads = if input.flag() { Offloads::ALL } else { Offloads::NONE };
    let mut host = Host::new(Config::default(), offloads);
    let listener = host.stack.tcp_listen((ours(v6), PORTS.1).into(), 4).expect("a free port");
    let opened = if input.flag() {
        accept(&mut host, &mut input, v6, listener)
    } else {
        connect(&mut host, &mut input, v6)
    };
    let id = opened.map(|(id, next)| {
        converse(&mut host, &mut input, v6, id, next);
        id
    });
    host.stack.close_listener(host.now, listener);
    host.finish(id.as_slice());
}

/// What the peer would rightly say next.
fn segment(ports: (u16, u16), seq: u32, ack: u32, flags: u8) -> Segment {
    Segment { src_port: ports.0, dst_port: ports.1, seq, ack, flags, window: 65_535, ..Segment::default() }
}

/// The peer connects.
fn accept(
    host: &mut Host,
    input: &mut Input<'_>,
    v6: bool,
    listener: ListenerId,
) -> Option<(TcpId, Segment)> {
    let syn = segment(PORTS, ISN, 0, SYN);
    host.inject(&Segment { options: input.some_bytes(40).to_vec(), ..syn }.frame(v6));
    let answer = host.settle().iter().find_map(|frame| Segment::parse(frame))?;
    let next = segment(PORTS, ISN + 1, answer.seq.wrapping_add(1), ACK);
    // With the timestamps that were agreed, as a rule.
    let timestamps = answer.options.windows(2).any(|pair| pair == [8, 10]);
    let options = match (input.flag(), timestamps) {
        (true, _) => input.some_bytes(40).to_vec(),
        (false, true) => vec![1, 1, 8, 10, 0xff, 0, 0, 0, 0, 0, 0, 0],
        (false, false) => Vec::new(),
    };
    host.inject(&Segment { options, ..next.clone() }.frame(v6));
    host.settle();
    match host.stack.tcp_accept(listener) {
        Poll::Ready(Ok((id, _))) => Some((id, next)),
        _ => None,
    }
}

/// The stack connects.
fn connect(host: &mut Host, input: &mut Input<'_>, v6: bool) -> Option<(TcpId, Segment)> {
    let id = host.stack.tcp_connect(host.now, (peer(v6), PORTS.0).into(), None).ok()?;
    let syn = host.settle().iter().find_map(|frame| Segment::parse(frame))?;
    let ports = (PORTS.0, syn.src_port);
    let answer = segment(ports, ISN, syn.seq.wrapping_add(1), SYN | ACK);
    host.inject(&Segment { options: input.some_bytes(40).to_vec(), ..answer.clone() }.frame(v6));
    host.settle();
    Some((id, Segment { seq: ISN + 1, flags: ACK, ..answer }))
}

/// Data both ways, with options that say anything about it.
fn converse(host: &mut Host, input: &mut Input<'_>, v6: bool, id: TcpId, mut next: Segment) {
    for _ in 0..SEGMENTS_MAX {
        if input.is_empty() {
            return;
        }
        let choice = input.byte();
        if choice & 1 != 0 {
            let _ = host.stack.tcp_write(host.now, id, &[7; 5000], &mut host.device);
        }
        if choice & 2 != 0 {
            let _ = host.stack.tcp_read(host.now, id, &mut [0; 4096]);
        }
        let payload = vec![9; usize::from(choice >> 4) * 100];
        // Some leave a hole in front of them, so that something is out of order.
        let seq = next.seq.wrapping_add(if choice & 4 != 0 { 500 } else { 0 });
        let options = input.some_bytes(40).to_vec();
        host.inject(&Segment { seq, options, payload, ..next.clone() }.frame(v6));
        let said = if choice & 8 != 0 { host.pass(Duration::from_millis(250)) } else { host.settle() };
        for segment in said.iter().filter_map(|frame| Segment::parse(frame)) {
            next.seq = segment.ack;
            next.ack = if input.flag() { segment.seq.wrapping_add(segment.len()) } else { next.ack };
        }
    }
}
