//! The handshake of which nothing is kept: the answer to a SYN that carries a [`cookie`], and the connection that is made
//! when it comes back.

use core::time::Duration;

use hayase_device::Frame;

use super::connection::{Connection, Opening, window_scale};
use super::cookie::{self, Cookie};
use super::ecn::{self, Ecn};
use super::flow::Tuple;
use super::listener::Listener;
use super::open::opening;
use super::rtt::Rtt;
use super::segment::{Reply, Segment};
use super::state::State;
use super::syn_sent::{initial_receive_window, mss_default};
use super::{Tcp, Turn, isn};
use crate::config::Config;
use crate::counters::{Count, Drop};
use crate::egress::mss;
use crate::socket::ListenerId;
use crate::wire::tcp::{Flags, Options, TcpHeader, Timestamps};

/// How long after a cookie was sent one may come back.
const COOKIE_LIFETIME: Duration = Duration::from_secs(132);

impl<F: Frame> Tcp<F> {
    /// Answers a SYN for which there is no room by a cookie.
    pub(super) fn answer_by_cookie(
        &mut self,
        tuple: Tuple,
        id: ListenerId,
        segment: &Segment<'_, F>,
        turn: &mut Turn<'_>,
    ) {
        let offer = &taken(&segment.header.options, turn.config);
        let (irs, now) = (segment.header.seq, turn.now);
        let default = mss_default(tuple.local_ip()) as u16;
        let cookie = Cookie { mss: offer.mss.unwrap_or(default), has_timestamps: offer.timestamps.is_some() };
        let mut options = Options { mss: Some(mss(turn.mtu, tuple.local_ip()) as u16), ..Options::default() };
        // Without timestamps nothing else would be remembered.
        let mut flags = Flags::SYN;
        if let Some(Timestamps { val: ecr, .. }) = offer.timestamps {
            let offset = isn::timestamp_offset(turn.random, &tuple);
            let is_setup = segment.flags.contains(ecn::SETUP) && turn.config.ecn != Ecn::Off;
            if is_setup {
                flags = flags | Flags::ECE;
            }
            let val = cookie::stamp(now.as_millis() as u32, offer, is_setup).wrapping_add(offset);
            options.timestamps = Some(Timestamps { val, ecr });
            options.sack_permitted = offer.sack_permitted;
            options.window_scale = offer.window_scale.map(|_| window_scale(turn.config));
        }
        let chosen = self.listeners.get(id).and_then(|listener| listener.options.as_deref());
        let chosen = chosen.copied().unwrap_or_default();
        let space_len =
            chosen.receive_len(turn.config).map_or(turn.config.receive_buffer_len, |len| len as usize);
        let is_queued = self.reply(Reply {
            tuple,
            seq: cookie.seal(turn.random, &tuple, irs, now),
            ack: Some(irs + 1),
            flags,
            window: initial_receive_window(space_len) as u16,
            tos: chosen.tos(tuple.is_v4()),
            options,
        });
        if !is_queued {
            return;
        }
        turn.counters.count(Count::SyncookiesSent);
        if let Some(listener) = self.listeners.get_mut(id) {
            listener.cookies_until = now + COOKIE_LIFETIME;
        }
    }

    /// The half-open connection that an acknowledgement brings back, if it is of a cookie. Only a listener that gave some
    /// away lately looks: at any other time nobody can guess himself into a connection.
    pub(super) fn recall(
        &self,
        tuple: Tuple,
        id: ListenerId,
        segment: &Segment<'_, F>,
        turn: &mut Turn<'_>,
    ) -> Option<Connection<F>> {
        let listener = self.listeners.get(id)?;
        if !segment.has(Flags::ACK) || segment.has(Flags::SYN) || turn.now >= listener.cookies_until {
            return None;
        }
        let Some((options, has_ecn)) = offered(tuple, segment, turn) else {
            turn.counters.count(Count::SyncookiesFailed);
            return None;
        };
        let mss_max = mss(turn.mtu, tuple.local_ip()) as u32;
        let opening = opening(tuple, State::SynReceived, mss_max, turn.random, turn.now);
        let iss = segment.header.ack - 1;
        let mut connection = Connection::new(Opening { iss, ..opening }, turn.config);
        connection.listener = Some(id);
        if let Some(options) = &listener.options {
            connection.take_options(options, turn.now, turn.config);
        }
        let flags = if has_ecn { Flags::SYN | ecn::SETUP } else { Flags::SYN };
        let syn = TcpHeader { seq: segment.seq - 1, flags, options, ..*segment.header };
        connection.take_syn(&syn, turn.now, turn.config);
        connection.snd_nxt = iss + 1;
        Some(connection)
    }

    /// Takes in a connection that came back, with the segment that brought it.
    pub(super) fn open_recalled(
        &mut self,
        connection: Connection<F>,
        segment: Segment<'_, F>,
        turn: &mut Turn<'_>,
    ) -> Result<(), Drop> {
        // With a full accept queue the peer tries again: its data is not acknowledged.
        let has_room = |id: &ListenerId| self.listeners.get(*id).is_some_and(Listener::has_room);
        let id = connection.listener.filter(has_room).ok_or(Drop::ListenOverflow)?;
        let index = self.insert(connection).ok_or(Drop::TooManySockets)?;
        self.listeners.begin_half_open(id);
        turn.counters.count(Count::SyncookiesRecv);
        let received = self.connection_receive(index, segment, turn);
        if let Some(connection) = self.connections.get_mut(index) {
            // Its echo is of a stamp, which was rounded.
            connection.rtt = Rtt::default();
        }
        received
    }
}

/// What an offer comes to: options that are switched off were not offered.
fn taken(offer: &Options, config: &Config) -> Options {
    let mut taken = *offer;
    taken.timestamps = offer.timestamps.filter(|_| config.timestamps);
    taken.sack_permitted &= config.sack;
    taken.window_scale = offer.window_scale.filter(|_| config.window_scaling);
    taken
}

/// What the peer offered in the SYN that a segment's cookie answered, as far as it is remembered, and whether it asked
/// for ECN.
fn offered<F: Frame>(tuple: Tuple, segment: &Segment<'_, F>, turn: &Turn<'_>) -> Option<(Options, bool)> {
    let (seq, irs) = (segment.header.ack - 1, segment.seq - 1);
    let cookie = Cookie::open(seq, turn.random, &tuple, irs, turn.now)?;
    let mss = Some(cookie.mss);
    if !cookie.has_timestamps {
        return Some((Options { mss, ..Options::default() }, false));
    }
    let timestamps = segment.header.options.timestamps?;
    let offset = isn::timestamp_offset(turn.random, &tuple);
    let (offer, has_ecn) = cookie::offer_of(timestamps.ecr.wrapping_sub(offset));
    Some((Options { mss, timestamps: Some(timestamps), ..offer }, has_ecn))
}
