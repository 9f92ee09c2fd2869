//! The language of the TCP scripts: the script is the peer, segment by segment.
//!
//! Sequence numbers count from each side's ISN, as in `tcpdump`: the SYN is 0, the first byte 1. A segment that
//! leaves something unsaid gets what a well-behaved peer would say; an expectation that leaves something unsaid
//! does not care.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::task::Poll;
use std::time::Duration;

use hayase_stack::{Config, Error, Instant, ListenerId, State, TcpId};

use crate::codec::{ACK, Body, CE, FIN, Heard, IpOut, Options, PSH, Payload, RST, SYN, TCP, Tcp, URG};
use crate::host::{Host, PEER_V4, PEER_V6, STACK_V4, STACK_V6};
use crate::oracle::pattern;

/// A segment to send, or what one is expected to be.
#[derive(Debug, Clone, Default)]
pub(crate) struct Segment {
    flags: u8,
    seq: Option<u32>,
    ack: Option<u32>,
    len: u32,
    window: Option<u16>,
    urgent: u16,
    options: Options,
    raw_options: Option<Vec<u8>>,
    /// With the peer's own timestamp, whatever that is now.
    timed: bool,
    /// Without the timestamps that were negotiated.
    bare: bool,
    sack: Option<Vec<(u32, u32)>>,
    /// The ECN field of its packet.
    ecn: u8,
}

pub(crate) fn syn() -> Segment {
    Segment { flags: SYN, seq: Some(0), ..Segment::default() }
}

pub(crate) fn syn_ack() -> Segment {
    Segment { flags: SYN | ACK, ..syn() }.ack(1)
}

/// A bare acknowledgement of everything before `ack`.
pub(crate) fn ack(ack: u32) -> Segment {
    Segment { flags: ACK, ..Segment::default() }.ack(ack)
}

/// Bytes of the stream.
pub(crate) fn data(bytes: Range<u32>) -> Segment {
    let len = bytes.end - bytes.start;
    Segment { flags: ACK, seq: Some(bytes.start), len, ..Segment::default() }
}

/// A FIN whose place in the sequence is `seq`.
pub(crate) fn fin(seq: u32) -> Segment {
    Segment { flags: FIN | ACK, seq: Some(seq), ..Segment::default() }
}

pub(crate) fn rst(seq: u32) -> Segment {
    Segment { flags: RST, seq: Some(seq), ..Segment::default() }
}

impl Segment {
    pub(crate) fn seq(self, seq: u32) -> Segment {
        Segment { seq: Some(seq), ..self }
    }

    pub(crate) fn ack(self, ack: u32) -> Segment {
        Segment { ack: Some(ack), flags: self.flags | ACK, ..self }
    }

    /// As it stands in the header.
    pub(crate) fn window(self, window: u16) -> Segment {
        Segment { window: Some(window), ..self }
    }

    /// Exactly these control bits.
    pub(crate) fn flags(self, flags: u8) -> Segment {
        Segment { flags, ..self }
    }

    /// With these control bits as well.
    pub(crate) fn and(self, flags: u8) -> Segment {
        Segment { flags: self.flags | flags, ..self }
    }

    /// Marked by a router that is congested.
    pub(crate) fn marked(self) -> Segment {
        Segment { ecn: CE, ..self }
    }

    /// With a FIN behind the data.
    pub(crate) fn and_fin(self) -> Segment {
        Segment { flags: self.flags | FIN, ..self }
    }

    pub(crate) fn carrying(self, len: u32) -> Segment {
        Segment { len, ..self }
    }

    pub(crate) fn urgent(self, pointer: u16) -> Segment {
        Segment { flags: self.flags | URG, urgent: pointer, ..self }
    }

    pub(crate) fn mss(mut self, mss: u16) -> Segment {
        self.options.mss = Some(mss);
        self
    }

    pub(crate) fn window_scale(mut self, shift: u8) -> Segment {
        self.options.window_scale = Some(shift);
        self
    }

    pub(crate) fn sack_permitted(mut self) -> Segment {
        self.options.sack_permitted = true;
        self
    }

    /// With a cookie of Fast Open, or with the wish for one.
    pub(crate) fn fast_open(mut self, cookie: &[u8]) -> Segment {
        self.options.fast_open = Some(cookie.to_vec());
        self
    }

    pub(crate) fn timestamps(mut self, val: u32, ecr: u32) -> Segment {
        self.options.timestamps = Some((val, ecr));
        self
    }

    /// With the peer's timestamp of now.
    pub(crate) fn timed(self) -> Segment {
        Segment { timed: true, ..self }
    }

    pub(crate) fn sack(self, blocks: &[(u32, u32)]) -> Segment {
        Segment { sack: Some(blocks.to_vec()), ..self }
    }

    pub(crate) fn without_timestamps(self) -> Segment {
        Segment { bare: true, ..self }
    }

    /// Options as bytes, instead of all others.
    pub(crate) fn raw_options(self, bytes: &[u8]) -> Segment {
        Segment { raw_options: Some(bytes.to_vec()), ..self }
    }
}

/// The SYN of a modern peer: MSS 1460, SACK, window scale 7, timestamps.
pub(crate) fn modern_syn() -> Segment {
    syn().mss(1460).sack_permitted().window_scale(7).timed()
}

/// A segment of the stack.
#[derive(Clone)]
pub(crate) struct Got {
    pub(crate) at: Instant,
    pub(crate) flags: u8,
    pub(crate) seq: u32,
    pub(crate) ack: u32,
    pub(crate) window: u16,
    pub(crate) len: u32,
    pub(crate) options: Options,
    /// Relative to the peer's ISN.
    pub(crate) sack: Vec<(u32, u32)>,
    /// The sequence number as it stood on the wire.
    pub(crate) wire_seq: u32,
    /// The ECN field of its packet.
    pub(crate) ecn: u8,
}

impl Got {
    pub(crate) fn is(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// PSH never matters; what `want` leaves unsaid does not either.
    #[track_caller]
    fn assert_is(&self, want: &Segment) {
        let fits = self.flags & !PSH == want.flags & !PSH
            && self.len == want.len
            && want.seq.is_none_or(|seq| seq == self.seq)
            && want.ack.is_none_or(|ack| ack == self.ack)
            && want.window.is_none_or(|window| window == self.window)
            && want.sack.as_ref().is_none_or(|sack| *sack == self.sack);
        assert!(fits, "{want:?} expected, not {self:?}");
    }

    /// The sequence numbers of its bytes.
    pub(crate) fn range(&self) -> Range<u32> {
        self.seq..self.seq + self.len
    }
}

impl fmt::Debug for Got {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = [(SYN, 'S'), (FIN, 'F'), (RST, 'R'), (PSH, 'P'), (ACK, '.')];
        let flags: String = names.iter().filter(|(flag, _)| self.is(*flag)).map(|(_, name)| *name).collect();
        let Got { at, seq, ack, window, len, options, sack, .. } = self;
        let millis = at.as_millis();
        write!(f, "{millis} ms [{flags}] {seq}+{len} ack {ack} win {window} sack {sack:?} {options:?}")
    }
}

/// A conversation between the script and the stack.
pub(crate) struct Script {
    pub(crate) host: Host,
    pub(crate) stack_addr: SocketAddr,
    pub(crate) peer_addr: SocketAddr,
    pub(crate) peer_isn: u32,
    stack_isn: Option<u32>,
    pub(crate) listener: Option<ListenerId>,
    id: Option<TcpId>,
    /// The window of segments that do not say theirs.
    pub(crate) window: u16,
    /// The next byte of the peer's stream, and what it has of the stack's.
    pub(crate) nxt: u32,
    pub(crate) seen: u32,
    /// The last TSval of the stack, once timestamps are in use.
    ts_echo: Option<u32>,
    ts_offset: u32,
    written: u32,
    read: u32,
    /// Turns that the script may still take: one that goes in circles fails instead of hanging.
    patience: u32,
    /// There are other connections, and what is said to them is passed over.
    pub(crate) is_one_of_many: bool,
}

/// How far one of several conversations has come.
#[derive(Default)]
pub(crate) struct Talk {
    port: u16,
    isns: (u32, Option<u32>),
    ts_echo: Option<u32>,
    id: Option<TcpId>,
    reached: (u32, u32, u32, u32),
}

impl Script {
    /// A listener on port 80; nothing happened yet.
    pub(crate) fn listening() -> Script {
        Script::listening_on(Host::new(), STACK_V4, PEER_V4)
    }

    pub(crate) fn listening_v6() -> Script {
        Script::listening_on(Host::new(), STACK_V6, PEER_V6)
    }

    pub(crate) fn listening_with(config: Config) -> Script {
        Script::listening_on(Host::with(config, 1500), STACK_V4, PEER_V4)
    }

    pub(crate) fn listening_on(mut host: Host, stack: IpAddr, peer: IpAddr) -> Script {
        let listener = host.stack.tcp_listen(SocketAddr::new(stack, 80), 16).unwrap();
        let mut script = Script::on(host, SocketAddr::new(stack, 80), SocketAddr::new(peer, 4000));
        script.listener = Some(listener);
        script
    }

    fn on(host: Host, stack_addr: SocketAddr, peer_addr: SocketAddr) -> Script {
        Script {
            host,
            stack_addr,
            peer_addr,
            // A wrap is never far away (RFC 9293 §3.4).
            peer_isn: u32::MAX - 500,
            stack_isn: None,
            listener: None,
            id: None,
            window: u16::MAX,
            nxt: 0,
            seen: 0,
            ts_echo: None,
            ts_offset: u32::MAX - 10_500,
            written: 1,
            read: 1,
            patience: 20_000,
            is_one_of_many: false,
        }
    }

    /// Established by the peer, which says no more than its MSS.
    pub(crate) fn server() -> Script {
        Script::listening().established(syn().mss(1460))
    }

    /// Established by a peer that speaks SACK, window scale and timestamps.
    pub(crate) fn modern_server() -> Script {
        Script::listening().established(modern_syn())
    }

    pub(crate) fn sack_server() -> Script {
        Script::listening().established(syn().mss(1460).sack_permitted())
    }

    /// Does the handshake with this SYN and accepts the connection.
    pub(crate) fn established(mut self, syn: Segment) -> Script {
        self.peer(syn);
        self.expect(syn_ack());
        self.peer(ack(1));
        self.accept();
        self
    }

    /// The stack opens; its SYN waits to be expected.
    pub(crate) fn connecting() -> Script {
        Script::connecting_on(Host::new(), STACK_V4, PEER_V4)
    }

    /// Nothing happened yet, and nobody listens.
    pub(crate) fn idle() -> Script {
        Script::idle_on(Host::new())
    }

    pub(crate) fn idle_on(host: Host) -> Script {
        Script::on(host, SocketAddr::new(STACK_V4, 0), SocketAddr::new(PEER_V4, 4000))
    }

    /// The stack opens, with so much of its stream.
    #[track_caller]
    pub(crate) fn connect_with(&mut self, len: u32) {
        let bytes: Vec<u8> = (self.written..self.written + len).map(pattern).collect();
        let host = &mut self.host;
        let ends = (self.peer_addr, None);
        let connected = host.stack.tcp_connect_with(host.now, ends, &|_| true, &bytes, &mut host.device);
        let (id, taken) = connected.unwrap();
        assert_eq!(taken, bytes.len());
        self.written += len;
        self.stack_addr.set_port(host.stack.tcp_local_addr(id).unwrap().port());
        self.id = Some(id);
        self.host.turn();
    }

    /// The stack has opened a connection of its own accord, and says so.
    pub(crate) fn opened(&mut self, id: TcpId) {
        self.stack_addr = self.host.stack.tcp_local_addr(id).unwrap();
        self.id = Some(id);
        self.host.turn();
    }

    pub(crate) fn connecting_on(mut host: Host, stack: IpAddr, peer: IpAddr) -> Script {
        let peer_addr = SocketAddr::new(peer, 4000);
        let id = host.stack.tcp_connect(host.now, peer_addr, None).unwrap();
        let port = host.stack.tcp_local_addr(id).unwrap().port();
        let mut script = Script::on(host, SocketAddr::new(stack, port), peer_addr);
        script.id = Some(id);
        script.host.turn();
        script
    }

    /// Established by the stack, the peer saying no more than its MSS.
    pub(crate) fn client() -> Script {
        let mut script = Script::connecting();
        script.expect(syn());
        script.peer(syn_ack().mss(1460));
        script.expect(ack(1));
        assert_eq!(script.state(), State::Established);
        script
    }

    /// Forgets the sequence numbers: the next segments are of another connection from this port.
    pub(crate) fn reborn(&mut self, port: u16, isn: u32) {
        self.peer_addr.set_port(port);
        (self.peer_isn, self.stack_isn, self.ts_echo, self.id) = (isn, None, None, None);
        (self.nxt, self.seen, self.written, self.read) = (0, 0, 1, 1);
    }

    /// Takes up again a connection whose SYN-ACK had this sequence number.
    pub(crate) fn resume(&mut self, stack_isn: u32) {
        self.stack_isn = Some(stack_isn);
    }

    /// Goes on with another conversation, and keeps this one in its place.
    pub(crate) fn switch(&mut self, other: &mut Talk) {
        let mut own = Talk {
            port: self.peer_addr.port(),
            isns: (self.peer_isn, self.stack_isn),
            ts_echo: self.ts_echo,
            id: self.id,
            reached: (self.nxt, self.seen, self.written, self.read),
        };
        std::mem::swap(&mut own, other);
        self.peer_addr.set_port(own.port);
        ((self.peer_isn, self.stack_isn), self.ts_echo, self.id) = (own.isns, own.ts_echo, own.id);
        (self.nxt, self.seen, self.written, self.read) = own.reached;
    }

    // The peer

    /// Sends a segment and gives the stack a turn.
    pub(crate) fn peer(&mut self, segment: Segment) {
        self.peer_all([segment]);
    }

    /// Sends segments that the stack finds in one burst.
    pub(crate) fn peer_all(&mut self, segments: impl IntoIterator<Item = Segment>) {
        for segment in segments {
            self.put(segment);
        }
        self.patience = self.patience.checked_sub(1).expect("the script goes in circles");
        self.host.turn();
    }

    /// Puts a segment on the wire.
    fn put(&mut self, segment: Segment) {
        let packet = self.packet(segment);
        self.host.inject(&crate::codec::frame(crate::host::STACK_MAC, crate::host::PEER_MAC, &packet));
    }

    /// A segment as an IP packet, completed by what a well-behaved peer would say.
    pub(crate) fn packet(&mut self, segment: Segment) -> Vec<u8> {
        let tos = segment.ecn;
        let (tcp, options) = self.complete(segment);
        let (stack, peer) = (self.stack_addr, self.peer_addr);
        let key = (stack.ip(), stack.port(), peer.ip(), peer.port());
        self.host.oracle.peer_sent(key, &tcp, &options);
        let bytes = tcp.encode(peer.ip(), stack.ip());
        IpOut { tos, ..IpOut::new(peer.ip(), stack.ip(), TCP) }.packet(&bytes)
    }

    fn complete(&mut self, segment: Segment) -> (Tcp, Options) {
        let seq = segment.seq.unwrap_or(self.nxt);
        let fresh =
            seq + segment.len + u32::from(segment.flags & SYN != 0) + u32::from(segment.flags & FIN != 0);
        if segment.flags & RST == 0 && seq <= self.nxt {
            self.nxt = self.nxt.max(fresh);
        }
        let mut options = segment.options.clone();
        if segment.timed {
            options.timestamps = Some((self.ts_now(), 0));
        }
        if segment.flags & SYN != 0 && self.ts_echo.is_none() {
            self.ts_echo = options.timestamps.map(|_| 0);
        }
        if options.timestamps.is_none() && !segment.bare && segment.flags & RST == 0 {
            options.timestamps = self.ts_echo.map(|ecr| (self.ts_now(), ecr));
        }
        let absolute = |seq: u32| self.peer_isn.wrapping_add(seq);
        let stack_isn = self.stack_isn.unwrap_or(0);
        let acked = |seq: &u32| stack_isn.wrapping_add(*seq);
        options.sack = segment.sack.iter().flatten().map(|(l, r)| (acked(l), acked(r))).collect();
        let has_ack = segment.flags & ACK != 0;
        // The SYN takes the first place in the sequence.
        let first = seq + u32::from(segment.flags & SYN != 0);
        let ack = if has_ack { acked(&segment.ack.unwrap_or(self.seen)) } else { 0 };
        let tcp = Tcp {
            src_port: self.peer_addr.port(),
            dst_port: self.stack_addr.port(),
            seq: absolute(seq),
            ack,
            flags: segment.flags,
            window: segment.window.unwrap_or(self.window),
            urgent: segment.urgent,
            options: segment.raw_options.unwrap_or_else(|| options.encode()),
            payload: (first..first + segment.len).map(pattern).collect(),
        };
        (tcp, options)
    }

    /// The peer's timestamp clock.
    pub(crate) fn ts_now(&self) -> u32 {
        (self.host.now.as_millis() as u32).wrapping_add(self.ts_offset)
    }

    // Expectations

    /// The next segment of the stack, if there is one. Other packets are not expected.
    pub(crate) fn next(&mut self) -> Option<Got> {
        let (at, heard) = self.host.next()?;
        let Heard { body: Body::Ip(ip), .. } = heard else { panic!("a segment expected, not {heard:?}") };
        let Payload::Tcp(tcp) = ip.payload else { panic!("a segment expected, not {:?}", ip.payload) };
        let ends = ((ip.src, tcp.src_port).into(), (ip.dst, tcp.dst_port).into());
        if self.is_one_of_many && ends.1 != self.peer_addr {
            return self.next();
        }
        assert_eq!(ends, (self.stack_addr, self.peer_addr), "a segment of somebody else");
        Some(self.take(at, tcp, ip.tos & CE))
    }

    fn take(&mut self, at: Instant, tcp: Tcp, ecn: u8) -> Got {
        if tcp.flags & SYN != 0 {
            self.stack_isn = Some(tcp.seq);
        }
        let mut options = Options::parse(&tcp.options);
        if let (Some((val, _)), Some(_)) = (options.timestamps, self.ts_echo) {
            self.ts_echo = Some(val);
        }
        let from_peer = |seq: u32| seq.wrapping_sub(self.peer_isn);
        let sack = std::mem::take(&mut options.sack).into_iter();
        let seq = tcp.seq.wrapping_sub(self.stack_isn.unwrap_or(0));
        let len = tcp.payload.len() as u32;
        if tcp.flags & RST == 0 && seq <= self.seen {
            let end = seq + len + u32::from(tcp.flags & (SYN | FIN) != 0);
            self.seen = self.seen.max(end);
        }
        Got {
            at,
            flags: tcp.flags,
            seq,
            ack: if tcp.flags & ACK != 0 { from_peer(tcp.ack) } else { 0 },
            window: tcp.window,
            len,
            sack: sack.map(|(l, r)| (from_peer(l), from_peer(r))).collect(),
            options,
            wire_seq: tcp.seq,
            ecn,
        }
    }

    /// Everything that the stack sent.
    pub(crate) fn drain(&mut self) -> Vec<Got> {
        std::iter::from_fn(|| self.next()).collect()
    }

    /// The next segment is this one.
    #[track_caller]
    pub(crate) fn expect(&mut self, want: Segment) -> Got {
        let Some(got) = self.next() else { panic!("{want:?} expected, nothing came") };
        got.assert_is(&want);
        got
    }

    /// The next segments are these bytes, in segments of `mss`.
    #[track_caller]
    pub(crate) fn expect_flight(&mut self, bytes: Range<u32>, mss: u32) {
        let mut at = bytes.start;
        while at < bytes.end {
            let end = (at + mss).min(bytes.end);
            self.expect(data(at..end));
            at = end;
        }
    }

    /// The stack has said all that the script asked for.
    #[track_caller]
    pub(crate) fn silence(&mut self) {
        self.host.turn();
        if let Some(got) = self.next() {
            panic!("silence expected, not {got:?}");
        }
    }

    /// Nothing comes for so long.
    #[track_caller]
    pub(crate) fn silence_for(&mut self, time: Duration) {
        self.host.wait(time);
        self.silence();
    }

    /// Waits until the stack speaks, and for how long it did not. Panics after `limit`.
    #[track_caller]
    pub(crate) fn wait_for(&mut self, limit: Duration, want: Segment) -> Duration {
        let start = self.host.now;
        let mut got = self.wait_any(limit);
        assert_eq!(got.len(), 1, "{want:?} expected, not {got:?}");
        let got = got.remove(0);
        got.assert_is(&want);
        got.at - start
    }

    /// Waits until the stack speaks; what it said.
    #[track_caller]
    pub(crate) fn wait_any(&mut self, limit: Duration) -> Vec<Got> {
        let end = self.host.now + limit;
        while self.host.now < end && !self.host.has_heard() {
            let deadline = self.host.stack.deadline().unwrap_or(end);
            let step = deadline.max(self.host.now + Duration::from_micros(1)).min(end) - self.host.now;
            self.host.wait(step);
        }
        assert!(self.host.has_heard(), "nothing came within {limit:?}");
        self.drain()
    }

    /// Lets time pass.
    pub(crate) fn wait(&mut self, time: Duration) {
        self.host.wait(time);
    }

    // The application

    pub(crate) fn accept(&mut self) -> TcpId {
        let listener = self.listener.expect("the script listens");
        match self.host.stack.tcp_accept(listener) {
            Poll::Ready(Ok((id, peer))) => {
                assert_eq!(peer, self.peer_addr);
                self.id = Some(id);
                id
            }
            other => panic!("a connection expected, not {other:?}"),
        }
    }

    /// Whether somebody waits to be accepted.
    pub(crate) fn has_connection(&mut self) -> bool {
        let listener = self.listener.expect("the script listens");
        self.host.stack.tcp_accept(listener).is_ready()
    }

    pub(crate) fn id(&self) -> TcpId {
        self.id.expect("a connection")
    }

    /// The connection leaves its stack, and comes back as it would come to another.
    #[track_caller]
    pub(crate) fn migrate(&mut self) {
        let id = self.id();
        let Host { stack, device, now, .. } = &mut self.host;
        let migrant = stack.tcp_export(id).expect("it may move");
        self.id = Some(stack.tcp_import(*now, migrant, device).expect("there is room"));
    }

    /// The application writes as much of its stream.
    #[track_caller]
    pub(crate) fn write(&mut self, len: u32) {
        assert_eq!(self.try_write(len), Poll::Ready(Ok(len as usize)));
    }

    pub(crate) fn try_write(&mut self, len: u32) -> Poll<Result<usize, Error>> {
        let bytes: Vec<u8> = (self.written..self.written + len).map(pattern).collect();
        let id = self.id();
        let result = self.host.stack.tcp_write(self.host.now, id, &bytes, &mut self.host.device);
        if let Poll::Ready(Ok(taken)) = result {
            self.written += taken as u32;
        }
        self.host.turn();
        result
    }

    /// Reads at most so much; how many bytes came, all of them right.
    #[track_caller]
    pub(crate) fn read_some(&mut self, max: usize) -> Poll<Result<usize, Error>> {
        let mut buf = vec![0; max];
        let id = self.id();
        let result = self.host.stack.tcp_read(self.host.now, id, &mut buf);
        if let Poll::Ready(Ok(len)) = result {
            for byte in &buf[..len] {
                assert_eq!(*byte, pattern(self.read), "wrong byte at {} of the stream", self.read);
                self.read += 1;
            }
        }
        self.host.turn();
        result
    }

    /// Reads everything that is there; how many bytes.
    #[track_caller]
    pub(crate) fn read(&mut self) -> usize {
        let mut all = 0;
        while let Poll::Ready(Ok(len @ 1..)) = self.read_some(1 << 20) {
            all += len;
        }
        all
    }

    /// The stream has ended.
    #[track_caller]
    pub(crate) fn expect_end(&mut self) {
        assert_eq!(self.read_some(64), Poll::Ready(Ok(0)));
    }

    /// The connection failed, and the application is told so.
    #[track_caller]
    pub(crate) fn expect_error(&mut self, error: Error) {
        assert_eq!(self.read_some(64), Poll::Ready(Err(error)));
    }

    pub(crate) fn shutdown(&mut self) {
        let id = self.id();
        self.host.stack.tcp_shutdown(self.host.now, id).unwrap();
        self.host.turn();
    }

    pub(crate) fn close(&mut self) {
        let id = self.id();
        self.host.stack.tcp_close(self.host.now, id);
        self.host.turn();
    }

    pub(crate) fn abort(&mut self) {
        let id = self.id();
        self.host.stack.tcp_abort(self.host.now, id);
        self.host.turn();
    }

    pub(crate) fn set_nodelay(&mut self, on: bool) {
        let id = self.id();
        self.host.stack.tcp_set_nodelay(self.host.now, id, on).unwrap();
        self.host.turn();
    }

    pub(crate) fn state(&self) -> State {
        self.host.stack.tcp_state(self.id())
    }

    pub(crate) fn poll_connect(&mut self) -> Poll<Result<(), Error>> {
        let id = self.id();
        self.host.stack.tcp_poll_connect(id)
    }
}
