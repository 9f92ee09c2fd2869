//! What must hold of every segment that the stack sends, whatever the script is about.

use std::collections::HashMap;
use std::net::IpAddr;

use crate::codec::{ACK, CWR, ECE, ECT_0, FIN, Options, RST, SYN, Tcp};

/// Byte of a test stream at a sequence number relative to the ISN: both applications write this.
pub(crate) fn pattern(seq: u32) -> u8 {
    (seq ^ seq >> 8 ^ seq >> 16).wrapping_mul(31) as u8
}

/// Address and port of the stack, then of the peer.
pub(crate) type FlowKey = (IpAddr, u16, IpAddr, u16);

/// Remembers of each flow what later segments are measured by.
#[derive(Debug, Default)]
pub(crate) struct Oracle {
    /// The peer's latest SYN: it counts once the stack answers it.
    syns: HashMap<FlowKey, (Options, u8)>,
    flows: HashMap<FlowKey, Flow>,
}

#[derive(Debug)]
struct Flow {
    isn: u32,
    /// MUST-15: what a peer takes that does not say its MSS.
    mss_default: u16,
    /// What the stack's SYN offered.
    offer: Options,
    /// What the peer's SYN offered, once it is known.
    peer: Option<Options>,
    /// The flags of the stack's last SYN, and of the peer's.
    offer_flags: u8,
    peer_flags: u8,
    /// The furthest that the peer ever let the stack send.
    send_edge: Option<u32>,
    ack: Option<u32>,
    /// The right edge of the window that the stack advertised.
    receive_edge: Option<u32>,
    ts_val: Option<u32>,
    /// Behind everything that the stack sent: what the peer may acknowledge.
    end: u32,
    peer_fin: Option<u32>,
}

fn is_before(a: u32, b: u32) -> bool {
    (a.wrapping_sub(b) as i32) < 0
}

fn later(a: Option<u32>, b: u32) -> u32 {
    a.filter(|a| is_before(b, *a)).unwrap_or(b)
}

impl Oracle {
    /// The peer says something that the stack may rely on.
    pub(crate) fn peer_sent(&mut self, key: FlowKey, tcp: &Tcp, options: &Options) {
        if tcp.flags & SYN != 0 {
            self.syns.insert(key, (options.clone(), tcp.flags));
        }
        let Some(flow) = self.flows.get_mut(&key) else { return };
        if tcp.flags & SYN != 0 && flow.peer.is_none() {
            flow.peer = Some(options.clone());
            flow.peer_flags = tcp.flags;
        }
        if tcp.flags & FIN != 0 {
            flow.peer_fin = Some(tcp.seq.wrapping_add(tcp.payload.len() as u32 + 1));
        }
        // A forged acknowledgement opens no window.
        let is_plausible = tcp.ack.wrapping_sub(flow.isn) <= flow.end.wrapping_sub(flow.isn);
        if tcp.flags & ACK != 0 && is_plausible {
            let shift = if tcp.flags & SYN != 0 { 0 } else { flow.send_shift() };
            let edge = tcp.ack.wrapping_add(u32::from(tcp.window) << shift);
            flow.send_edge = Some(later(flow.send_edge, edge));
        }
    }

    /// The stack sent this: panics if it must not.
    pub(crate) fn check(&mut self, key: FlowKey, tcp: &Tcp, ecn: u8) {
        let options = Options::parse(&tcp.options);
        if tcp.flags & (RST | SYN) != 0 {
            assert_eq!(ecn, 0, "G1: only data is ECT");
        }
        if tcp.flags & RST != 0 {
            assert_eq!(tcp.flags & (ECE | CWR), 0, "a reset says nothing of congestion");
            assert!(tcp.payload.is_empty() && tcp.flags & (SYN | FIN) == 0, "a reset is nothing else");
            return;
        }
        if tcp.flags & SYN != 0 {
            return self.check_syn(key, tcp, options);
        }
        assert!(tcp.flags & ACK != 0, "only the first SYN and resets go without ACK");
        assert!(options.mss.is_none(), "MUST-65: MSS only on SYN");
        assert!(options.window_scale.is_none(), "E1: window scale only on SYN");
        assert!(!options.sack_permitted, "D1: SACK-permitted only on SYN");
        let flow = self.flows.get_mut(&key).expect("a segment of no connection");
        flow.check_ecn(tcp, ecn);
        flow.check_options(tcp, &options);
        flow.check_data(tcp, &options);
        flow.check_window(tcp);
    }

    fn check_syn(&mut self, key: FlowKey, tcp: &Tcp, options: Options) {
        let cookie_len = options.fast_open.as_ref().map_or(0, Vec::len);
        let may_carry = cookie_len > 0 && tcp.flags & ACK == 0;
        assert!(tcp.payload.is_empty() || may_carry, "N4: data with a SYN that shows no cookie");
        assert!(tcp.flags & FIN == 0, "a SYN is nothing else");
        for (byte, at) in tcp.payload.iter().zip(1..) {
            assert_eq!(*byte, pattern(at), "wrong byte at {at} of the stream");
        }
        assert!(options.mss.is_some() && options.sack.is_empty(), "MUST-14: a SYN says its MSS");
        let is_answer = tcp.flags & ACK != 0;
        let known = self.flows.get(&key).filter(|flow| flow.isn == tcp.seq);
        let peer = if is_answer { self.syns.get(&key).cloned() } else { None };
        let (peer, peer_flags) = peer.map_or((None, 0), |(options, flags)| (Some(options), flags));
        let setup = tcp.flags & (ECE | CWR);
        let may_agree = setup == ECE && peer_flags & (ECE | CWR) == ECE | CWR;
        assert!(
            setup == 0 || if is_answer { may_agree } else { setup == ECE | CWR },
            "G1: the bits of a SYN"
        );
        if let Some(peer) = &peer {
            assert!(options.window_scale.is_none() || peer.window_scale.is_some(), "E1: only if both offer");
            assert!(options.timestamps.is_none() || peer.timestamps.is_some(), "E4: only if both offer");
            assert!(!options.sack_permitted || peer.sack_permitted, "D1: only if both offer");
            assert!(options.fast_open.is_none() || peer.fast_open.is_some(), "N4: only if the peer does");
        }
        if known.is_some() && !is_answer {
            if let Some(flow) = self.flows.get_mut(&key) {
                flow.offer_flags = tcp.flags;
            }
            return;
        }
        let edge = is_answer.then(|| tcp.ack.wrapping_add(u32::from(tcp.window)));
        let flow = Flow {
            isn: tcp.seq,
            mss_default: if key.0.is_ipv4() { 536 } else { 1220 },
            ts_val: options.timestamps.map(|(val, _)| val),
            offer: options,
            peer,
            offer_flags: tcp.flags,
            peer_flags,
            send_edge: known.and_then(|flow| flow.send_edge),
            ack: is_answer.then_some(tcp.ack),
            receive_edge: edge,
            end: tcp.seq.wrapping_add(1 + tcp.payload.len() as u32),
            peer_fin: None,
        };
        self.flows.insert(key, flow);
    }
}

impl Flow {
    fn both(&self, offers: impl Fn(&Options) -> bool) -> bool {
        offers(&self.offer) && self.peer.as_ref().is_some_and(offers)
    }

    /// By how much the peer's windows are shifted (E3: at most 14).
    fn send_shift(&self) -> u32 {
        let scales = self.both(|options| options.window_scale.is_some());
        let shift = self.peer.as_ref().and_then(|peer| peer.window_scale).unwrap_or(0);
        if scales { u32::from(shift.min(14)) } else { 0 }
    }

    fn receive_shift(&self) -> u32 {
        let scales = self.both(|options| options.window_scale.is_some());
        if scales { u32::from(self.offer.window_scale.unwrap_or(0)) } else { 0 }
    }

    fn check_options(&mut self, tcp: &Tcp, options: &Options) {
        let has_timestamps = self.both(|options| options.timestamps.is_some());
        assert_eq!(options.timestamps.is_some(), has_timestamps, "E4: on every segment or on none");
        if let Some((val, _)) = options.timestamps {
            assert!(!self.ts_val.is_some_and(|last| is_before(val, last)), "E4: TSval went back");
            self.ts_val = Some(val);
        }
        let may_sack = self.both(|options| options.sack_permitted);
        assert!(options.sack.is_empty() || may_sack, "D1: SACK was not negotiated");
        for (i, (left, right)) in options.sack.iter().enumerate() {
            assert!(is_before(*left, *right), "D2: an empty block");
            let is_duplicate = i == 0;
            assert!(is_duplicate || is_before(tcp.ack, *left), "D2: what is acknowledged is not reported");
        }
    }

    /// ECN only where both agreed, ECT on new data alone, and CWR with such (RFC 3168 §6.1).
    fn check_ecn(&self, tcp: &Tcp, ecn: u8) {
        let agreed = |flags: u8| flags & (SYN | ECE) == SYN | ECE;
        if !(agreed(self.offer_flags) && agreed(self.peer_flags)) {
            assert_eq!((ecn, tcp.flags & (ECE | CWR)), (0, 0), "G2: ECN was not negotiated");
        }
        let is_new = !tcp.payload.is_empty() && !is_before(tcp.seq, self.end);
        assert!(ecn == 0 || (ecn == ECT_0 && is_new), "G2: ECT on what is not new data");
        assert!(tcp.flags & CWR == 0 || is_new, "G4: CWR on what is not new data");
    }

    fn check_data(&mut self, tcp: &Tcp, options: &Options) {
        let len = tcp.payload.len() as u32;
        let start = tcp.seq.wrapping_sub(self.isn);
        for (byte, at) in tcp.payload.iter().zip(start..) {
            assert_eq!(*byte, pattern(at), "wrong byte at {at} of the stream");
        }
        let mss = self.peer.as_ref().and_then(|peer| peer.mss).map_or(self.mss_default, |mss| mss.max(64));
        let used = len as usize + tcp.options.len();
        assert!(len == 0 || used <= usize::from(mss), "MUST-16: {used} bytes with options, MSS {mss}");
        assert!(len > 0 || options.sack.len() <= 4);
        // One byte, or a lone FIN, may probe a window that is shut (MUST-36).
        let end = tcp.seq.wrapping_add(len);
        let fits = self.send_edge.is_none_or(|edge| !is_before(edge, end));
        assert!(fits || len <= 1, "beyond the peer's window: {start}+{len}");
        self.end = later(Some(self.end), end.wrapping_add(u32::from(tcp.flags & FIN != 0)));
    }

    fn check_window(&mut self, tcp: &Tcp) {
        if let Some(ack) = self.ack {
            assert!(!is_before(tcp.ack, ack), "an acknowledgement was taken back");
        }
        self.ack = Some(tcp.ack);
        // Once the peer said all, the window means nothing.
        if self.peer_fin.is_some_and(|fin| !is_before(tcp.ack, fin)) {
            return;
        }
        // A scaled window cannot say its edge to the byte (RFC 7323 §2.4).
        let shift = self.receive_shift();
        let edge = tcp.ack.wrapping_add(u32::from(tcp.window) << shift);
        let slack = (1 << shift) - 1;
        if let Some(before) = self.receive_edge {
            assert!(!is_before(edge.wrapping_add(slack), before), "SHLD-14: the window shrank");
        }
        self.receive_edge = Some(later(self.receive_edge, edge));
    }
}
