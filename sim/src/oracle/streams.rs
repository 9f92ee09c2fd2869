//! What can be seen of each TCP stream from outside: bytes, acknowledgements and windows.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

use hayase::time::Instant;

use super::{Verdict, Violation};
use crate::packet::{ACK, RST, SYN, Segment};

const ARRIVED: &str = "every byte arrives once and in order";
const SAME: &str = "what is sent again is what was sent before";
const WINDOW: &str = "windows never shrink";

/// Sequence numbers this far from the first are those of another incarnation: no simulated connection sends 2 GiB.
const SEQUENCE_MAX: u32 = 1 << 31;

/// How far beyond what was seen of a stream its next segment may be: a SYN's window is of no more, and what its own
/// device dropped of it nobody has seen.
const REACH: u32 = 1 << 16;

/// One incarnation of one direction. Sequence numbers count from that of its SYN.
#[derive(Debug)]
struct Stream {
    isn: u32,
    /// The shift that the sender of this direction offered for its own windows.
    scale: Option<u8>,
    /// What is in the network: the first number, and the bytes from there on.
    base: u32,
    bytes: VecDeque<u8>,
    /// Stretches of them that never were on the cable, because the sender's own device dropped them.
    unseen: Vec<(u32, u32)>,
    /// The first number that has not arrived, and what arrived beyond it.
    arrived: u32,
    beyond: BTreeMap<u32, u32>,
    /// The end of what arrived with the SYN. Whether the receiver took it, its first acknowledgement tells (RFC 7413).
    early: u32,
    /// The end of the window that the receiver has offered.
    edge: u32,
}

impl Stream {
    fn new(isn: u32, scale: Option<u8>) -> Stream {
        let (bytes, unseen, beyond) = (VecDeque::new(), Vec::new(), BTreeMap::new());
        Stream { isn, scale, base: 1, bytes, unseen, arrived: 0, beyond, early: 0, edge: 0 }
    }

    /// The number behind the last byte that was sent.
    fn known(&self) -> u32 {
        self.base + self.bytes.len() as u32
    }

    /// Where its sender's number is in it, if it can be one of this incarnation.
    fn place(&self, seq: u32) -> Option<u32> {
        position(seq, self).filter(|at| *at <= self.known().max(self.edge) + REACH)
    }

    /// Whether so much of it was sent, a FIN included.
    fn was_sent(&self, ack: u32) -> bool {
        (1..=self.known() + 1).contains(&ack)
    }

    /// Compares with what was sent before, and keeps what is new.
    fn send(&mut self, seq: u32, payload: &[u8], segment: &Segment<'_>) -> Verdict {
        let skipped = self.base.saturating_sub(seq) as usize;
        let Some(payload) = payload.get(skipped..).filter(|payload| !payload.is_empty()) else {
            return Ok(());
        };
        let (first, known) = (seq.max(self.base), self.known());
        if first > known {
            self.unseen.push((known, first));
            self.bytes.resize((first - self.base) as usize, 0);
        }
        let at = (first - self.base) as usize;
        let (again, new) = payload.split_at(payload.len().min(self.bytes.len() - at));
        let is_seen = !self.unseen.iter().any(|(from, to)| *from < first + again.len() as u32 && first < *to);
        if is_seen && !again.is_empty() && !self.bytes.range(at..at + again.len()).eq(again) {
            let text = format!("{} to {}: other bytes at {seq}", segment.src, segment.dst);
            return Err(Violation::new(SAME, text));
        }
        self.bytes.extend(new);
        Ok(())
    }

    fn arrive(&mut self, start: u32, end: u32) {
        if start > self.arrived {
            let known = self.beyond.entry(start).or_insert(end);
            *known = end.max(*known);
            return;
        }
        self.arrived = self.arrived.max(end);
        while let Some(range) = self.beyond.first_entry().filter(|range| *range.key() <= self.arrived) {
            self.arrived = self.arrived.max(range.remove());
        }
    }

    /// The receiver has sent an acknowledgement, and a window that is to be shifted.
    fn acknowledge(&mut self, ack: u32, shift: u8, segment: &Segment<'_>) -> Verdict {
        let (from, to) = (segment.src, segment.dst);
        if ack > self.arrived {
            let text = format!("{from} acknowledged {ack} bytes of {to}, of which {} arrived", self.arrived);
            return Err(Violation::new(ARRIVED, text));
        }
        let gone = ack.saturating_sub(self.base).min(self.bytes.len() as u32);
        self.bytes.drain(..gone as usize);
        self.base += gone;
        self.unseen.retain(|(_, to)| *to > self.base);
        let edge = ack + (u32::from(segment.window) << shift);
        // A window in units of 2^shift bytes is rounded down: by so much it may go back (RFC 7323 §2.4).
        if edge + (1 << shift) <= self.edge {
            let text = format!("{from} offered {to} bytes up to {}, and now up to {edge}", self.edge);
            return Err(Violation::new(WINDOW, text));
        }
        self.edge = self.edge.max(edge);
        Ok(())
    }
}

/// One direction of a connection, through all its incarnations.
#[derive(Debug, Default)]
struct Direction {
    /// The incarnation that the peer acknowledges.
    current: Option<Stream>,
    /// One that the peer has not acknowledged.
    pending: Option<Stream>,
    last_effort_at: Instant,
}

impl Direction {
    /// A SYN was sent. Returns whether another incarnation begins with it.
    fn open(&mut self, isn: u32, scale: Option<u8>) -> bool {
        let is_known = |stream: &Option<Stream>| stream.as_ref().is_some_and(|stream| stream.isn == isn);
        let begins = !is_known(&self.current) && !is_known(&self.pending);
        if begins {
            self.pending = Some(Stream::new(isn, scale));
        }
        begins
    }

    /// The peer begins anew: it acknowledges nothing of what it did before, and has offered no window.
    fn peer_begins(&mut self) {
        if let Some(stream) = self.current.take()
            && self.pending.is_none()
        {
            self.pending = Some(Stream { edge: 0, ..stream });
        }
    }

    /// The peer acknowledged a SYN, with what went with it or early behind it: from now on that incarnation counts.
    fn settle(&mut self, ack: u32) {
        let place = |stream: &Stream| position(ack, stream).filter(|ack| stream.was_sent(*ack));
        if let Some(ack) = self.pending.as_ref().and_then(place)
            && let Some(mut stream) = self.pending.take()
        {
            stream.arrive(0, ack.min(stream.early));
            self.current = Some(stream);
        }
    }

    /// The peer has sent an ACK; `scale` is the shift that it offered.
    fn acknowledged(&mut self, segment: &Segment<'_>, scale: Option<u8>) -> Verdict {
        self.settle(segment.ack);
        let Some(stream) = &mut self.current else { return Ok(()) };
        let Some(ack) = position(segment.ack, stream) else { return Ok(()) };
        if segment.has(SYN) && !stream.was_sent(ack) {
            // It answers a SYN that nobody sent: an attacker's.
            return Ok(());
        }
        // A shift counts if both offered one, and not in a SYN (RFC 7323 §2.2).
        let shift = scale.filter(|_| stream.scale.is_some() && !segment.has(SYN)).unwrap_or(0);
        stream.acknowledge(ack, shift, segment)
    }

    /// Of which incarnation a segment is, and where its payload is in it.
    fn find(&mut self, segment: &Segment<'_>) -> Option<(&mut Stream, u32)> {
        let mut streams = [&mut self.pending, &mut self.current].into_iter().flatten();
        if segment.has(SYN) {
            return streams.find(|stream| stream.isn == segment.seq).map(|stream| (stream, 1));
        }
        streams.find_map(|stream| stream.place(segment.seq).map(|at| (stream, at)))
    }
}

/// All streams, by who sends to whom.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    directions: BTreeMap<(SocketAddr, SocketAddr), Direction>,
}

impl Streams {
    /// A host has sent a segment.
    pub(crate) fn sent(&mut self, now: Instant, segment: &Segment<'_>) -> Verdict {
        let own = self.directions.entry((segment.src, segment.dst)).or_default();
        if segment.has(RST) {
            return Ok(());
        }
        if segment.sequence_len() > 0 {
            own.last_effort_at = now;
        }
        let begins = segment.has(SYN) && own.open(segment.seq, segment.scale);
        // Of one whose SYN its own device dropped nothing is known.
        let Some((stream, at)) = own.find(segment) else { return Ok(()) };
        stream.send(at, segment.payload, segment)?;
        let scale = stream.scale;
        let Some(other) = self.directions.get_mut(&(segment.dst, segment.src)) else { return Ok(()) };
        if begins {
            other.peer_begins();
        }
        if segment.has(ACK) { other.acknowledged(segment, scale) } else { Ok(()) }
    }

    /// A host has received a segment.
    pub(crate) fn received(&mut self, segment: &Segment<'_>) {
        let Some(direction) = self.directions.get_mut(&(segment.src, segment.dst)) else { return };
        let Some((stream, start)) = direction.find(segment) else { return };
        if segment.has(SYN) {
            stream.arrive(0, 1);
            stream.early = stream.early.max(1 + segment.payload.len() as u32);
        } else {
            stream.arrive(start, start + segment.sequence_len());
        }
    }

    /// When `local` last did anything to get something to `remote`: an ACK alone, such as one that answers a keep-alive,
    /// is no such thing.
    pub(crate) fn last_effort_at(&self, local: SocketAddr, remote: SocketAddr) -> Option<Instant> {
        self.directions.get(&(local, remote)).map(|direction| direction.last_effort_at)
    }
}

/// A sequence number of this incarnation, counted from its SYN.
fn position(seq: u32, stream: &Stream) -> Option<u32> {
    Some(seq.wrapping_sub(stream.isn)).filter(|position| *position < SEQUENCE_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::FIN;

    /// Two hosts and a cable between them that the test describes by hand.
    struct Tape {
        streams: Streams,
    }

    const CLIENT: &str = "10.7.0.1:1000";
    const SERVER: &str = "10.7.0.2:80";

    fn segment<'a>(from: &str, seq: u32, ack: u32, flags: u8, window: u16, payload: &'a [u8]) -> Segment<'a> {
        let to = if from == CLIENT { SERVER } else { CLIENT };
        let (src, dst) = (from.parse().unwrap(), to.parse().unwrap());
        let scale = (flags & SYN != 0).then_some(4);
        Segment { src, dst, seq, ack, flags, window, scale, payload }
    }

    impl Tape {
        /// After a handshake: the client's numbers start at 1000, the server's at u32::MAX.
        fn new() -> Tape {
            let mut tape = Tape { streams: Streams::default() };
            tape.both(segment(CLIENT, 999, 0, SYN, 1000, b""));
            tape.both(segment(SERVER, u32::MAX - 1, 1000, SYN | ACK, 1000, b""));
            tape.both(segment(CLIENT, 1000, u32::MAX, ACK, 100, b""));
            tape
        }

        fn send(&mut self, segment: Segment<'_>) -> Verdict {
            self.streams.sent(Instant::ZERO, &segment)
        }

        fn both(&mut self, segment: Segment<'_>) {
            self.send(segment).unwrap();
            self.streams.received(&segment);
        }
    }

    fn rule(verdict: Verdict) -> &'static str {
        verdict.unwrap_err().rule
    }

    #[test]
    fn an_honest_exchange_breaks_no_rule() {
        let mut tape = Tape::new();
        tape.both(segment(CLIENT, 1005, u32::MAX, ACK, 100, b"world"));
        tape.both(segment(SERVER, u32::MAX, 1000, ACK, 63, b""));
        tape.both(segment(CLIENT, 1000, u32::MAX, ACK, 100, b"hello"));
        tape.both(segment(SERVER, u32::MAX, 1010, ACK, 63, b"numbers go round"));
        tape.both(segment(CLIENT, 1010, 15, ACK | FIN, 99, b""));
        tape.both(segment(SERVER, 15, 1011, ACK, 63, b""));
    }

    #[test]
    fn an_acknowledgement_of_what_was_lost_is_seen() {
        let mut tape = Tape::new();
        tape.send(segment(CLIENT, 1000, u32::MAX, ACK, 100, b"lost")).unwrap();
        assert_eq!(rule(tape.send(segment(SERVER, u32::MAX, 1004, ACK, 100, b""))), ARRIVED);
    }

    #[test]
    fn a_hole_that_is_skipped_is_seen() {
        let mut tape = Tape::new();
        tape.send(segment(CLIENT, 1000, u32::MAX, ACK, 100, b"lost")).unwrap();
        tape.both(segment(CLIENT, 1004, u32::MAX, ACK, 100, b"kept"));
        assert_eq!(rule(tape.send(segment(SERVER, u32::MAX, 1008, ACK, 100, b""))), ARRIVED);
    }

    #[test]
    fn other_bytes_at_the_same_place_are_seen() {
        let mut tape = Tape::new();
        tape.send(segment(CLIENT, 1000, u32::MAX, ACK, 100, b"abcd")).unwrap();
        tape.send(segment(CLIENT, 1002, u32::MAX, ACK, 100, b"cdef")).unwrap();
        assert_eq!(rule(tape.send(segment(CLIENT, 1003, u32::MAX, ACK, 100, b"d?"))), SAME);
    }

    #[test]
    fn what_the_device_dropped_is_not_compared() {
        let mut tape = Tape::new();
        tape.send(segment(CLIENT, 1004, u32::MAX, ACK, 100, b"later")).unwrap();
        tape.send(segment(CLIENT, 1000, u32::MAX, ACK, 100, b"lost")).unwrap();
        assert_eq!(rule(tape.send(segment(CLIENT, 1004, u32::MAX, ACK, 100, b"other"))), SAME);
    }

    #[test]
    fn a_window_that_shrinks_is_seen() {
        let mut tape = Tape::new();
        tape.both(segment(SERVER, u32::MAX, 1000, ACK, 63, b""));
        tape.both(segment(CLIENT, 1000, u32::MAX, ACK, 100, b"x"));
        tape.both(segment(SERVER, u32::MAX, 1001, ACK, 62, b""));
        assert_eq!(rule(tape.send(segment(SERVER, u32::MAX, 1001, ACK, 61, b""))), WINDOW);
        assert_eq!(rule(tape.send(segment(SERVER, u32::MAX, 1000, ACK, 62, b""))), WINDOW);
    }

    #[test]
    fn a_new_incarnation_starts_anew() {
        let mut tape = Tape::new();
        tape.both(segment(CLIENT, 1000, u32::MAX, ACK, 100, b"old"));
        tape.both(segment(SERVER, u32::MAX, 1003, ACK, 63, b""));
        tape.both(segment(CLIENT, 5_000, 0, SYN, 1000, b""));
        // The server still thinks of the old one, and says so.
        tape.both(segment(SERVER, u32::MAX, 1003, ACK, 63, b""));
        tape.both(segment(SERVER, 77, 5001, SYN | ACK, 10, b""));
        tape.both(segment(CLIENT, 5001, 78, ACK, 10, b"new"));
        tape.both(segment(SERVER, 78, 5004, ACK, 10, b""));
        assert_eq!(rule(tape.send(segment(SERVER, 78, 5005, ACK, 10, b""))), ARRIVED);
    }

    /// After a Fast Open: five bytes went with the client's SYN, four followed the server's SYN-ACK.
    fn fast_open(tape: &mut Tape, client: u32, server: u32) {
        tape.both(segment(CLIENT, client - 1, 0, SYN, 1000, b"early"));
        tape.both(segment(SERVER, server.wrapping_sub(1), client + 5, SYN | ACK, 1000, b""));
        tape.both(segment(SERVER, server, client + 5, ACK, 63, b"soon"));
        tape.both(segment(CLIENT, client + 5, server.wrapping_add(4), ACK, 100, b""));
    }

    /// Every rule is broken once, after a Fast Open with these first numbers.
    fn breaks_every_rule(tape: impl Fn() -> Tape, client: u32, server: u32) {
        let (ahead, answered) = (client + 5, server.wrapping_add(4));
        let mut lost = tape();
        lost.send(segment(CLIENT, ahead, answered, ACK, 100, b"lost")).unwrap();
        assert_eq!(rule(lost.send(segment(SERVER, answered, ahead + 4, ACK, 63, b""))), ARRIVED);
        let mut lost = tape();
        lost.send(segment(SERVER, answered, ahead, ACK, 63, b"lost")).unwrap();
        assert_eq!(rule(lost.send(segment(CLIENT, ahead, answered.wrapping_add(4), ACK, 100, b""))), ARRIVED);
        let mut changed = tape();
        changed.both(segment(CLIENT, ahead, answered, ACK, 100, b"data"));
        assert_eq!(rule(changed.send(segment(CLIENT, ahead + 1, answered, ACK, 100, b"?"))), SAME);
        let mut shrinking = tape();
        assert_eq!(rule(shrinking.send(segment(SERVER, answered, ahead, ACK, 61, b""))), WINDOW);
        assert_eq!(rule(shrinking.send(segment(CLIENT, ahead, answered, ACK, 98, b""))), WINDOW);
    }

    #[test]
    fn a_fast_open_is_watched() {
        let tape = || {
            let mut tape = Tape { streams: Streams::default() };
            fast_open(&mut tape, 1000, u32::MAX);
            tape
        };
        breaks_every_rule(tape, 1000, u32::MAX);
    }

    #[test]
    fn a_fast_open_where_there_was_a_connection_before_is_watched() {
        for client in [50_000, 1002, 1 << 30, u32::MAX - 100] {
            let tape = || {
                let mut tape = Tape::new();
                tape.both(segment(CLIENT, 1000, u32::MAX, ACK, 100, b"old"));
                tape.both(segment(SERVER, u32::MAX, 1003, ACK, 63, b""));
                fast_open(&mut tape, client, 77);
                tape
            };
            breaks_every_rule(tape, client, 77);
        }
    }

    #[test]
    fn what_went_with_a_syn_and_was_refused_is_to_arrive_again() {
        let mut tape = Tape { streams: Streams::default() };
        tape.both(segment(CLIENT, 999, 0, SYN, 1000, b"early"));
        tape.both(segment(SERVER, 76, 1000, SYN | ACK, 1000, b""));
        tape.send(segment(CLIENT, 1000, 77, ACK, 100, b"early")).unwrap();
        assert_eq!(rule(tape.send(segment(SERVER, 77, 1005, ACK, 63, b""))), ARRIVED);
        tape.both(segment(CLIENT, 1000, 77, ACK, 100, b"early"));
        tape.both(segment(SERVER, 77, 1005, ACK, 63, b""));
    }

    #[test]
    fn what_went_with_a_syn_goes_again_as_it_was() {
        let mut tape = Tape { streams: Streams::default() };
        tape.send(segment(CLIENT, 999, 0, SYN, 1000, b"early")).unwrap();
        tape.both(segment(CLIENT, 999, 0, SYN, 1000, b""));
        tape.both(segment(SERVER, 76, 1000, SYN | ACK, 1000, b""));
        assert_eq!(rule(tape.send(segment(CLIENT, 1000, 77, ACK, 100, b"earlx"))), SAME);
        tape.both(segment(CLIENT, 1000, 77, ACK, 100, b"early"));
    }

    #[test]
    fn nobody_is_accused_of_an_answer_to_a_forged_syn() {
        for forged in [2000, 1 << 30, u32::MAX] {
            let mut tape = Tape::new();
            tape.both(segment(CLIENT, 1000, u32::MAX, ACK, 100, b"old"));
            tape.both(segment(SERVER, u32::MAX, 1003, ACK, 63, b""));
            // The connection is over, and an attacker opens another one in the client's name.
            tape.both(segment(SERVER, 5000, forged, SYN | ACK, 1000, b""));
            // The client opens one of its own, and the server thinks of the other one still.
            tape.both(segment(CLIENT, 80_000, 0, SYN, 1000, b""));
            tape.both(segment(SERVER, 5001, forged, ACK, 63, b""));
            tape.both(segment(SERVER, 6000, 80_001, SYN | ACK, 1000, b""));
            tape.both(segment(CLIENT, 80_001, 6001, ACK, 63, b"new"));
            tape.both(segment(SERVER, 6001, 80_004, ACK, 63, b""));
            assert_eq!(rule(tape.send(segment(SERVER, 6001, 80_005, ACK, 63, b""))), ARRIVED);
        }
    }

    #[test]
    fn an_answer_to_a_keep_alive_is_no_effort() {
        let mut tape = Tape::new();
        let at = |tape: &mut Tape, seconds: u64, payload| {
            let now = Instant::from_millis(1000 * seconds);
            tape.streams.sent(now, &segment(CLIENT, 1000, u32::MAX, ACK, 100, payload)).unwrap();
            let ends = [CLIENT, SERVER].map(|end| end.parse().unwrap());
            tape.streams.last_effort_at(ends[0], ends[1])
        };
        assert_eq!(at(&mut tape, 5, b"data"), Some(Instant::from_millis(5000)));
        assert_eq!(at(&mut tape, 60, b""), Some(Instant::from_millis(5000)));
        assert_eq!(at(&mut tape, 70, b"data"), Some(Instant::from_millis(70_000)));
    }
}
