//! A stack in every state of TCP, fed segments whose fields are about right and wrong, and frames of its own bent,
//! all with right checksums; with an application that writes, reads and closes at any time.

use std::task::Poll;
use std::time::Duration;

use hayase_device::Offloads;
use hayase_stack::{Config, Keepalive, ListenerId, State, TcpId};

use crate::host::Host;
use crate::input::Input;
use crate::packet::{ACK, ETHERNET_LEN, FIN, ICMP, ICMPV6, RST, SYN, Segment, ip, ours, peer, repair};

const LISTEN_PORT: u16 = 80;
const PEER_PORT: u16 = 4000;
/// Steps of one run.
const STEPS_MAX: usize = 200;
/// No two segments of a run have more payload.
const PAYLOAD_LEN_MAX: usize = 1400;

/// Byte of the peer's stream at a sequence number.
fn pattern(seq: u32) -> u8 {
    (seq ^ seq >> 8 ^ seq >> 16).wrapping_mul(31) as u8
}

/// A connection, from the peer's side.
struct Talk {
    host: Host,
    v6: bool,
    listener: ListenerId,
    id: Option<TcpId>,
    our_port: u16,
    /// The peer's first sequence number.
    isn: u32,
    /// What the stack acknowledged, and what it sent.
    seq: u32,
    ack: u32,
    timestamps: bool,
    /// The last frame that the stack sent.
    last: Vec<u8>,
    /// The sequence number of the next byte that the application reads, if every byte came from the pattern.
    read: Option<u32>,
}

/// Opens a connection, takes it to a state, and then lets anything happen.
pub fn states(data: &[u8]) {
    let mut input = Input::new(data);
    let mut talk = Talk::new(&mut input);
    let state = input.byte();
    talk.reach(state);
    for _ in 0..STEPS_MAX {
        if input.is_empty() {
            break;
        }
        talk.step(&mut input);
    }
    talk.finish();
}

impl Talk {
    fn new(input: &mut Input<'_>) -> Talk {
        let choice = input.byte();
        let v6 = choice & 1 != 0;
        let mut config = Config::default();
        config.syn_backlog_max = if choice & 2 != 0 { 1 } else { 16 };
        config.syn_cookies = choice & 4 != 0;
        let offloads = if choice & 8 != 0 { Offloads::ALL } else { Offloads::NONE };
        let mut host = Host::new(config, offloads);
        let listener = host.stack.tcp_listen((ours(v6), LISTEN_PORT).into(), 2).expect("a free port");
        let isn = if choice & 16 != 0 { 0xffff_fff0 } else { 1000 };
        Talk {
            host,
            v6,
            listener,
            id: None,
            our_port: LISTEN_PORT,
            isn,
            seq: isn,
            ack: 0,
            timestamps: choice & 32 != 0,
            last: Vec::new(),
            read: Some(isn.wrapping_add(1)),
        }
    }

    /// Takes the connection to a state as a well-behaved peer and application would.
    fn reach(&mut self, choice: u8) {
        match choice % 11 {
            0 => return,
            1 => return self.connect(),
            2 => return self.say(SYN, &[]),
            _ => self.establish(),
        }
        let Some(id) = self.id else { return };
        let now = self.host.now;
        let wanted = match choice % 11 {
            4 => self.shut_down(id, State::FinWait1),
            5 => {
                self.shut_down(id, State::FinWait1);
                self.say(ACK, &[]);
                State::FinWait2
            }
            6 => {
                self.say(FIN | ACK, &[]);
                State::CloseWait
            }
            7 => {
                let ack = self.ack;
                self.shut_down(id, State::FinWait1);
                self.ack = ack;
                self.say(FIN | ACK, &[]);
                State::Closing
            }
            8 => {
                self.say(FIN | ACK, &[]);
                self.shut_down(id, State::LastAck)
            }
            9 => {
                self.shut_down(id, State::FinWait1);
                self.say(FIN | ACK, &[]);
                State::TimeWait
            }
            10 => {
                // The application is gone, and the peer is not.
                self.host.stack.tcp_close(now, id);
                self.hear();
                return;
            }
            _ => State::Established,
        };
        assert_eq!(self.host.stack.tcp_state(id), wanted);
    }

    fn shut_down(&mut self, id: TcpId, state: State) -> State {
        let _ = self.host.stack.tcp_shutdown(self.host.now, id);
        self.hear();
        state
    }

    fn connect(&mut self) {
        let remote = (peer(self.v6), PEER_PORT).into();
        let Ok(id) = self.host.stack.tcp_connect(self.host.now, remote, None) else { return };
        self.our_port = self.host.stack.tcp_local_addr(id).expect("it was just made").port();
        self.id = Some(id);
        // Where its stream begins is the fuzzer's to say.
        self.read = None;
        self.hear();
    }

    fn establish(&mut self) {
        let mut options = vec![2, 4, 5, 180, 1, 1, 4, 2, 1, 3, 3, 7];
        if self.timestamps {
            options.extend(self.timestamp());
        }
        self.say_with(SYN, &options, &[]);
        self.say(ACK, &[]);
        if let Poll::Ready(Ok((id, _))) = self.host.stack.tcp_accept(self.listener) {
            self.id = Some(id);
        }
        assert!(self.id.is_some(), "an open connection");
    }

    fn timestamp(&self) -> Vec<u8> {
        let mut option = vec![1, 1, 8, 10];
        option.extend((self.host.now.as_millis() as u32).to_be_bytes());
        option.extend([0; 4]);
        option
    }

    fn segment(&self, flags: u8) -> Segment {
        Segment {
            src_port: PEER_PORT,
            dst_port: self.our_port,
            seq: self.seq,
            ack: self.ack,
            flags,
            window: 60_000,
            ..Segment::default()
        }
    }

    /// The peer says what is expected of it.
    fn say(&mut self, flags: u8, payload: &[u8]) {
        let options = if self.timestamps && flags & SYN == 0 { self.timestamp() } else { Vec::new() };
        self.say_with(flags, &options, payload);
    }

    fn say_with(&mut self, flags: u8, options: &[u8], payload: &[u8]) {
        let (options, payload) = (options.to_vec(), payload.to_vec());
        let segment = Segment { options, payload, ..self.segment(flags) };
        self.host.inject(&segment.frame(self.v6));
        self.hear();
    }

    fn hear(&mut self) {
        let said = self.host.settle();
        self.learn(said);
    }

    /// What the stack said is what the peer goes on from.
    fn learn(&mut self, said: Vec<Vec<u8>>) {
        for frame in said {
            if let Some(segment) = Segment::parse(&frame).filter(|segment| segment.flags & RST == 0) {
                let mut repaired = frame.clone();
                repair(&mut repaired);
                assert_eq!(frame, repaired, "the stack's own checksums");
                self.seq = if segment.flags & ACK != 0 { segment.ack } else { self.seq };
                self.ack = segment.seq.wrapping_add(segment.len());
                self.last = frame;
            }
        }
    }

    fn step(&mut self, input: &mut Input<'_>) {
        match input.byte() % 12 {
            0..=4 => self.stray(input),
            5 => self.bend(input),
            6 => self.quote(input),
            7 => {
                let millis = input.pick(&[1, 40, 200, 1000, 15_000, 61_000, 7_300_000]);
                let said = self.host.pass(Duration::from_millis(millis));
                self.learn(said);
            }
            8 => self.adjust(input),
            9 => self.write(input),
            10 => self.read(),
            _ => self.close(input),
        }
    }

    /// A segment whose every field is right, nearly right, or anything.
    fn stray(&mut self, input: &mut Input<'_>) {
        let flags = input.pick(&[ACK, ACK, ACK | FIN, SYN, SYN | ACK, RST, RST | ACK, 0, 0xff]);
        let mut segment = self.segment(flags);
        segment.seq = near(segment.seq, input);
        segment.ack = near(segment.ack, input);
        segment.window = input.pick(&[60_000, 0, 1, 100, 65_535]);
        segment.urgent = if flags == 0xff { input.u16() } else { 0 };
        segment.options = match input.byte() % 4 {
            0 => input.some_bytes(40).to_vec(),
            1 => sack(segment.ack, input),
            _ if self.timestamps => self.timestamp(),
            _ => Vec::new(),
        };
        let len = usize::from(input.byte()) * input.pick(&[0, 1, 5]);
        let first = segment.seq.wrapping_add(u32::from(flags & SYN != 0));
        let byte = |at: usize| pattern(first.wrapping_add(at as u32));
        segment.payload = (0..len.min(PAYLOAD_LEN_MAX)).map(byte).collect();
        self.host.inject(&segment.frame(self.v6));
        if input.flag() {
            self.hear();
        }
    }

    /// The last thing that the stack sent comes back to it, or what it answers, with some bytes changed.
    fn bend(&mut self, input: &mut Input<'_>) {
        let segment = self.segment(ACK);
        let mut frame = if input.flag() { segment.frame(self.v6) } else { self.last.clone() };
        for _ in 0..input.byte() % 8 {
            let at = usize::from(input.u16()) % frame.len().max(1);
            if let Some(byte) = frame.get_mut(at) {
                *byte ^= input.byte();
            }
        }
        let keep = usize::from(input.u16());
        frame.truncate(if keep > ETHERNET_LEN { keep } else { frame.len() });
        repair(&mut frame);
        self.read = None;
        self.host.inject(&frame);
        self.hear();
    }

    /// An ICMP error that quotes the last thing that the stack sent.
    fn quote(&mut self, input: &mut Input<'_>) {
        let (kind, code, word) = (input.byte(), input.byte(), input.u32());
        let kinds: &[u8] = if self.v6 { &[1, 2, 3, 4] } else { &[3, 11, 12, 5] };
        let mut message = vec![kinds[usize::from(kind) % kinds.len()], code % 8, 0, 0];
        message.extend(word.to_be_bytes());
        let len = usize::from(input.u16()) % 600;
        message.extend(self.last.iter().skip(ETHERNET_LEN).take(len));
        let protocol = if self.v6 { ICMPV6 } else { ICMP };
        self.host.inject(&ip(peer(self.v6), ours(self.v6), protocol, 64, &message));
        self.hear();
    }

    fn adjust(&mut self, input: &mut Input<'_>) {
        let Some(id) = self.id else { return };
        let (stack, now) = (&mut self.host.stack, self.host.now);
        let some = Duration::from_millis(u64::from(input.u16()) + 1);
        let keepalive = Keepalive { idle: some, interval: some, count: 3 };
        let _ = match input.byte() % 6 {
            0 => stack.tcp_set_nodelay(now, id, input.flag()),
            1 => stack.tcp_set_keepalive(now, id, Some(keepalive)),
            2 => stack.tcp_set_linger(id, Some(some)),
            3 => stack.tcp_set_user_timeout(id, Some(some)),
            4 => stack.tcp_await_room(id),
            _ => stack.tcp_info(id).map(|_| ()),
        };
    }

    fn write(&mut self, input: &mut Input<'_>) {
        let Some(id) = self.id else { return };
        let len = usize::from(input.byte()) * input.pick(&[1, 10, 200]);
        let _ = self.host.stack.tcp_write(self.host.now, id, &vec![3; len], &mut self.host.device);
        self.hear();
    }

    /// What the application reads is what the peer sent.
    fn read(&mut self) {
        let Some(id) = self.id else { return };
        let mut bytes = [0; 3000];
        while let Poll::Ready(Ok(len @ 1..)) = self.host.stack.tcp_read(self.host.now, id, &mut bytes) {
            let Some(seq) = &mut self.read else { continue };
            for byte in &bytes[..len] {
                assert_eq!(*byte, pattern(*seq), "byte {} of the stream", seq.wrapping_sub(self.isn));
                *seq = seq.wrapping_add(1);
            }
        }
        self.hear();
    }

    fn close(&mut self, input: &mut Input<'_>) {
        let Some(id) = self.id else {
            if let Poll::Ready(Ok((id, _))) = self.host.stack.tcp_accept(self.listener) {
                self.id = Some(id);
                self.read = None;
            }
            return;
        };
        let (stack, now) = (&mut self.host.stack, self.host.now);
        match input.byte() % 4 {
            0 => stack.tcp_abort(now, id),
            1 => stack.tcp_close(now, id),
            _ => drop(stack.tcp_shutdown(now, id)),
        }
        self.hear();
    }

    fn finish(mut self) {
        let mut ids: Vec<_> = self.id.into_iter().collect();
        while let Poll::Ready(Ok((id, _))) = self.host.stack.tcp_accept(self.listener) {
            ids.push(id);
        }
        self.host.stack.close_listener(self.host.now, self.listener);
        self.host.finish(&ids);
    }
}

/// A number as it is, beside it, behind it, before it, or far from it.
fn near(value: u32, input: &mut Input<'_>) -> u32 {
    match input.byte() % 8 {
        0..=3 => value,
        4 => value.wrapping_add(u32::from(input.byte())),
        5 => value.wrapping_sub(u32::from(input.byte())),
        6 => value.wrapping_add(u32::from(input.u16()) * 32),
        _ => input.u32(),
    }
}

/// Up to four blocks around a number.
fn sack(ack: u32, input: &mut Input<'_>) -> Vec<u8> {
    let count = input.byte() % 5;
    let mut option = vec![1, 1, 5, 2 + 8 * count];
    for _ in 0..count {
        let left = near(ack, input);
        option.extend(left.to_be_bytes());
        option.extend(near(left.wrapping_add(100), input).to_be_bytes());
    }
    option
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The target is about every state, so it must get there.
    #[test]
    fn every_state_is_reached() {
        for choice in 0..=u8::MAX {
            for state in 0..11 {
                states(&[choice, state]);
            }
        }
    }
}
