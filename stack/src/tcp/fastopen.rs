//! TCP Fast Open (RFC 7413): a client that was here before sends data with its SYN, and proves by a cookie that it is where
//! it says; the application has the data, and may answer, a round trip sooner. Off unless both applications ask for it,
//! since data in a SYN may arrive twice.
//!
//! The cookie is a keyed function of the client's address, so a server keeps nothing of it. A client keeps what it was
//! given, and for an hour that the path to a peer swallows such SYNs.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::net::IpAddr;
use core::task::Poll;
use core::time::Duration;

use hayase_device::{Device, Frame};
use hayase_time::Instant;

use super::connection::Connection;
use super::flow::Tuple;
use super::segment::Segment;
use super::state::State;
use super::syn_sent::mss_default;
use super::{Tcp, Turn};
use crate::config::Config;
use crate::counters::{Count, Counters};
use crate::error::Error;
use crate::random::{Random, keyed};
use crate::seq::Seq;
use crate::socket::{ListenerId, TcpId};
use crate::wire::tcp::{Cookie, Flags, TcpHeader};

const DOMAIN: u64 = 0x7f_00;

/// An epoch is 2^26 ms, 18 hours: a cookie is good in the one that it was made in and in the next (§5.1).
const EPOCH_SHIFT: u32 = 26;

/// How long a peer to which such a SYN got lost is spared another (§4.1.3.1, §7.1).
const BROKEN_TIME: Duration = Duration::from_secs(3600);

/// How long a connection that was reset before its handshake was over takes up one of the places of its listener (§5.1):
/// else forged resets would make room for any number of forged SYNs.
const RESET_TIME: Duration = Duration::from_secs(60);

/// What a connection has to do with it, until its handshake is over.
#[derive(Debug)]
pub(super) struct FastOpen {
    /// What our SYN or SYN-ACK carries: a cookie, or the wish for one.
    option: Option<Cookie>,
    role: Role,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    /// We open.
    Active {
        /// The peer's MSS, as it said it last.
        mss: u32,
        /// Bytes of data that went with our SYN.
        sent_len: u32,
        /// Our SYN with the option left, and another had to follow.
        is_broken: bool,
    },
    /// A peer opens whose cookie was good: its data is with the application, which may answer already.
    Early { listener: ListenerId, sent_to: Seq },
    /// A peer opens that gets a cookie for the next time.
    Late,
}

/// How many connections of a listener may be early.
#[derive(Debug, Default)]
pub(super) struct Places {
    /// 0: Fast Open is off.
    pub(super) max: usize,
    taken: usize,
    /// Until when those are taken whose connections were reset.
    reset: VecDeque<Instant>,
}

impl Places {
    fn has_room(&mut self, now: Instant) -> bool {
        while self.reset.pop_front_if(|until| *until <= now).is_some() {}
        self.taken + self.reset.len() < self.max
    }

    fn give_back(&mut self, was_reset: bool, now: Instant) {
        self.taken -= 1;
        if was_reset {
            self.reset.push_back(now + RESET_TIME);
        }
    }
}

/// What is known of a server.
#[derive(Debug)]
struct Peer {
    ip: IpAddr,
    cookie: Option<Cookie>,
    mss: u32,
    broken_until: Instant,
}

/// Servers of which something is known, the one asked for last at the end; and the key of our own cookies.
#[derive(Debug)]
pub(super) struct FastOpens {
    peers: Vec<Peer>,
    peers_max: usize,
    secret: [u8; 16],
}

impl FastOpens {
    pub(super) fn new(config: &Config, random: &Random) -> FastOpens {
        let secret = config.shared_secret.unwrap_or_else(|| random.secret(DOMAIN));
        FastOpens { peers: Vec::new(), peers_max: config.fastopen_peers_max, secret }
    }

    /// The cookie of the client at the other end, made in this epoch or `age` epochs ago.
    fn cookie(&self, tuple: &Tuple, now: Instant, age: u64) -> Cookie {
        let words = match tuple.remote_ip() {
            IpAddr::V4(ip) => [0, u64::from(ip.to_bits())],
            IpAddr::V6(ip) => [(ip.to_bits() >> 64) as u64, ip.to_bits() as u64],
        };
        let epoch = (now.as_millis() >> EPOCH_SHIFT).wrapping_sub(age);
        Cookie::from(keyed(self.secret, &[DOMAIN, words[0], words[1], epoch]).to_be_bytes())
    }

    /// What is known of a server, which is now the one asked for last.
    fn find(&mut self, ip: IpAddr) -> Option<&mut Peer> {
        let at = self.peers.iter().position(|peer| peer.ip == ip)?;
        self.peers[at..].rotate_left(1);
        self.peers.last_mut()
    }

    fn find_or_add(&mut self, ip: IpAddr) -> Option<&mut Peer> {
        if self.find(ip).is_none() {
            if self.peers.len() >= self.peers_max {
                self.peers.drain(..1.min(self.peers.len()));
            }
            if self.peers.len() < self.peers_max {
                let broken_until = Instant::ZERO;
                self.peers.push(Peer { ip, cookie: None, mss: mss_default(ip), broken_until });
            }
        }
        self.peers.last_mut().filter(|peer| peer.ip == ip)
    }
}

impl<F: Frame> Tcp<F> {
    /// A connection that is being opened, whose SYN has not left: `bytes` go with it as far as the peer's cookie is known
    /// and they fit, and after the handshake else. Returns how many were taken.
    pub(crate) fn open_with<D: Device<Frame = F>>(
        &mut self,
        now: Instant,
        id: TcpId,
        bytes: &[u8],
        device: &mut D,
        config: &Config,
    ) -> Result<usize, Error> {
        let connection = self.connections.get_generation_mut(id.index, id.generation);
        let connection = connection.ok_or(Error::StaleHandle)?;
        let ip = connection.tuple.remote_ip();
        let known = self.fast_opens.find(ip).map(|peer| (peer.cookie, peer.mss, peer.broken_until));
        let (cookie, mss, broken_until) = known.unwrap_or((None, mss_default(ip), Instant::ZERO));
        if now >= broken_until {
            let role = Role::Active { mss, sent_len: 0, is_broken: false };
            let option = Some(cookie.unwrap_or_default());
            connection.rare_mut().fast_open = Some(Box::new(FastOpen { option, role }));
        }
        match self.write(now, id, bytes, device, config) {
            Poll::Ready(taken) => taken,
            Poll::Pending => Ok(0),
        }
    }

    /// How many connections of a listener may have data before their handshake is over. 0: none.
    pub(crate) fn set_fastopen(
        &mut self,
        id: ListenerId,
        pending_max: usize,
        config: &Config,
    ) -> Result<(), Error> {
        let listener = self.listeners.get_mut(id).ok_or(Error::StaleHandle)?;
        listener.places.max = pending_max.min(config.backlog_max);
        Ok(())
    }

    /// What a SYN's option means at a listener (§4.2).
    pub(super) fn judge_fast_open(
        &mut self,
        id: ListenerId,
        tuple: &Tuple,
        header: &TcpHeader,
        turn: &mut Turn<'_>,
    ) -> Option<Box<FastOpen>> {
        let offer = header.options.fast_open?;
        let places = &mut self.listeners.get_mut(id).filter(|listener| listener.places.max > 0)?.places;
        let [fresh, old] = [0, 1].map(|age| self.fast_opens.cookie(tuple, turn.now, age));
        if offer != fresh && offer != old {
            let count =
                if offer.is_request() { Count::FastOpenCookieReqd } else { Count::FastOpenPassiveFail };
            turn.counters.count(count);
            return Some(Box::new(FastOpen { option: Some(fresh), role: Role::Late }));
        }
        if !places.has_room(turn.now) {
            turn.counters.count(Count::FastOpenListenOverflow);
            return None;
        }
        turn.counters.count(Count::FastOpenPassive);
        places.taken += 1;
        let role = Role::Early { listener: id, sent_to: Seq(0) };
        Some(Box::new(FastOpen { option: (offer == old).then_some(fresh), role }))
    }

    /// A connection whose cookie was good goes to the accept queue, with what its SYN brought.
    pub(super) fn accept_early(&mut self, index: u32, mut segment: Segment<'_, F>, turn: &mut Turn<'_>) {
        let generation = self.connections.generation(index);
        let is_over_budget = self.agenda.memory_len > turn.config.memory_len_max;
        let Some(connection) = self.connections.get_mut(index) else { return };
        let Some(id) = connection.listener else { return };
        connection.owned = true;
        connection.watch_peer();
        let payload = segment.payload.take();
        if let Some(payload) = payload.filter(|_| !is_over_budget && segment.len <= connection.rcv_wnd()) {
            connection.take_next(payload, segment.len);
        }
        let Some(listener) = self.listeners.get_mut(id) else { return };
        listener.accept_queue.push_back(TcpId { index, generation });
        turn.counters.count(Count::PassiveOpens);
        self.notify_listener(id);
        self.settle(index, turn.now, turn.config);
    }

    /// An early connection's handshake is over, or it will never be.
    pub(super) fn leave_early(&mut self, index: u32, now: Instant) {
        let Some(connection) = self.connections.get_mut(index) else { return };
        let was_reset = connection.state == State::Closed;
        let Some(Role::Early { listener, .. }) = connection.take_fast_open().map(|fast| fast.role) else {
            return;
        };
        if let Some(listener) = self.listeners.get_mut(listener) {
            listener.places.give_back(was_reset, now);
        }
    }

    /// The answer to our SYN came: what it says of Fast Open is remembered (§4.1.3).
    pub(super) fn learn_fast_open(
        &mut self,
        index: u32,
        header: &TcpHeader,
        now: Instant,
        counters: &mut Counters,
    ) {
        let Some(connection) = self.connections.get_mut(index) else { return };
        if connection.state == State::SynSent {
            return;
        }
        let Some(fast) = connection.take_fast_open() else { return };
        let Role::Active { sent_len, is_broken, mss } = fast.role else { return };
        if !header.flags.contains(Flags(Flags::SYN.0 | Flags::ACK.0)) {
            // Both opened at once: data goes when the handshake is over. And a reset says nothing about it.
            return;
        }
        let is_taken = header.ack.after(connection.iss + 1);
        if sent_len > 0 {
            counters.count(if is_taken { Count::FastOpenActive } else { Count::FastOpenActiveFail });
        }
        let Some(peer) = self.fast_opens.find_or_add(connection.tuple.remote_ip()) else { return };
        peer.mss = header.options.mss.map_or(mss, u32::from);
        if let Some(cookie) = header.options.fast_open.filter(|cookie| !cookie.is_request()) {
            // It answers a SYN that had the option, however long that waited for the neighbour or the peer.
            peer.cookie = Some(cookie);
        } else if is_broken && !is_taken {
            counters.count(Count::FastOpenBlackhole);
            peer.broken_until = now + BROKEN_TIME;
        } else if sent_len > 0 && !is_taken {
            peer.cookie = None;
        }
    }
}

impl<F: Frame> Connection<F> {
    /// The application has this connection before its handshake is over.
    pub(super) fn is_early(&self) -> bool {
        self.fast_open().is_some_and(|fast| matches!(fast.role, Role::Early { .. }))
    }

    /// Nothing is out behind our SYN-ACK: Nagle's algorithm has nothing to wait for.
    pub(super) fn is_first_early(&self) -> bool {
        self.snd_nxt == self.iss + 1 && self.is_early()
    }

    /// What our SYN or SYN-ACK carries. One that goes again has none (§4.1.3.1): something on the way may drop those
    /// that do.
    pub(super) fn fast_open_option(&mut self) -> Option<Cookie> {
        let retries = self.retries;
        let fast = self.fast_open_mut()?;
        if let Role::Active { is_broken, .. } = &mut fast.role {
            *is_broken |= retries > 0;
            return fast.option.filter(|_| !*is_broken);
        }
        fast.option
    }

    /// Bytes of data that go with our SYN, behind a header of this length.
    pub(super) fn syn_data_len(&self, header_len: u32, mss_max: u32) -> u32 {
        let Some(fast) = self.fast_open() else { return 0 };
        let Role::Active { mss, is_broken: false, .. } = fast.role else { return 0 };
        if fast.option.is_none_or(|cookie| cookie.is_request()) {
            return 0;
        }
        let options_len = header_len - TcpHeader::LEN as u32;
        mss.min(mss_max).saturating_sub(options_len).min(self.send.end() - (self.iss + 1))
    }

    /// `len` bytes went with our SYN.
    pub(super) fn note_syn_data(&mut self, len: u32) {
        if let Some(Role::Active { sent_len, .. }) = self.fast_open_mut().map(|fast| &mut fast.role) {
            *sent_len = (*sent_len).max(len);
        }
    }

    /// Our SYN-ACK goes again, and what followed it early waits.
    pub(super) fn resend_syn(&mut self) {
        let (nxt, iss) = (self.snd_nxt, self.iss);
        if let Some(Role::Early { sent_to, .. }) = self.fast_open_mut().map(|fast| &mut fast.role)
            && nxt != iss
        {
            *sent_to = nxt;
        }
        self.snd_nxt = self.iss;
    }

    /// Whether an acknowledgement is of our SYN, and of no more than went with it or early behind it.
    pub(super) fn acknowledges_syn(&self, ack: Seq) -> bool {
        let first = self.iss + 1;
        let last = match self.fast_open().map(|fast| fast.role) {
            Some(Role::Active { sent_len, .. }) => first + sent_len,
            Some(Role::Early { sent_to, .. }) => {
                let sent_to = if sent_to == Seq(0) { first } else { sent_to };
                first.max(self.snd_nxt).max(sent_to)
            }
            _ => first,
        };
        ack - first <= last - first
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fast_opens(peers_max: usize) -> FastOpens {
        let config = Config { fastopen_peers_max: peers_max, ..Config::default() };
        FastOpens::new(&config, &Random::new([7; 32]))
    }

    fn tuple(host: u8, port: u16) -> Tuple {
        Tuple::new(([10, 0, 0, 1], 80).into(), ([10, 0, 0, host], port).into())
    }

    #[test]
    fn a_cookie_is_of_an_address_and_an_epoch() {
        let (opens, now) = (fast_opens(1), Instant::from_millis(5 << EPOCH_SHIFT));
        let cookie = opens.cookie(&tuple(2, 1000), now, 0);
        assert_eq!(cookie, opens.cookie(&tuple(2, 1001), now, 0), "from any port");
        assert_ne!(cookie, opens.cookie(&tuple(3, 1000), now, 0));
        let later = Instant::from_millis(6 << EPOCH_SHIFT);
        assert_ne!(cookie, opens.cookie(&tuple(2, 1000), later, 0));
        assert_eq!(cookie, opens.cookie(&tuple(2, 1000), later, 1), "the one before");
    }

    /// Who knows the number of the machine that addresses are made of makes no cookies.
    #[test]
    fn the_key_is_what_the_stacks_of_a_host_share_and_nothing_that_is_known() {
        let cookie = |seed: u8, stable_secret, shared_secret| {
            let config = Config { stable_secret, shared_secret, ..Config::default() };
            let opens = FastOpens::new(&config, &Random::new([seed; 32]));
            opens.cookie(&tuple(2, 1000), Instant::ZERO, 0)
        };
        let (machine, shared) = (Some([5; 16]), Some([9; 16]));
        assert_ne!(cookie(1, machine, None), cookie(2, machine, None), "each its own");
        assert_eq!(
            cookie(1, machine, None),
            cookie(1, None, None),
            "which the machine's number does not tell"
        );
        assert_eq!(cookie(1, machine, shared), cookie(2, None, shared), "good with another core");
        assert_ne!(cookie(1, None, shared), cookie(1, None, Some([8; 16])));
    }

    #[test]
    fn no_more_peers_are_remembered_than_may_be() {
        let mut opens = fast_opens(2);
        let ip = |n: u8| IpAddr::from([10, 0, 0, n]);
        for n in [1, 2] {
            opens.find_or_add(ip(n)).unwrap().mss = n.into();
        }
        assert_eq!(opens.find(ip(1)).map(|peer| peer.mss), Some(1));
        opens.find_or_add(ip(3)).unwrap();
        assert!(opens.find(ip(2)).is_none(), "the one asked for least lately");
        assert!(opens.find(ip(1)).is_some() && opens.peers.len() == 2);
        assert!(fast_opens(0).find_or_add(ip(1)).is_none());
    }

    #[test]
    fn a_reset_keeps_its_place_for_a_minute() {
        let mut places = Places { max: 2, taken: 2, reset: VecDeque::new() };
        let at = Instant::from_millis;
        assert!(!places.has_room(at(0)));
        places.give_back(false, at(0));
        assert!(places.has_room(at(0)));
        places.give_back(true, at(0));
        assert!(places.has_room(at(0)));
        places.taken += 1;
        assert!(!places.has_room(at(59_999)));
        assert!(places.has_room(at(60_000)));
    }
}
