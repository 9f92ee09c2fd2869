//! What a socket asks for before there is a connection: each that comes of it has these from its first segment on.

use alloc::boxed::Box;
use core::time::Duration;

use hayase_device::Frame;
use hayase_time::Instant;

use super::Tcp;
use super::connection::Connection;
use super::keepalive::{Keepalive, Probing};
use super::state::State;
use super::user_timeout::UserTimeout;
use crate::config::Config;
use crate::error::Error;
use crate::socket::{ListenerId, TcpId};
use crate::stack::ECN_BITS;

/// Options of connections to come, for [`Stack::tcp_set_options`](crate::Stack::tcp_set_options) and
/// [`Stack::listener_set_options`](crate::Stack::listener_set_options).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TcpOptions {
    /// Small segments go at once (`TCP_NODELAY`).
    pub nodelay: bool,
    /// What closing does (`SO_LINGER`).
    pub linger: Option<Duration>,
    /// Whether and how a silent peer is probed (`SO_KEEPALIVE`).
    pub keepalive: Option<Keepalive>,
    /// The type of service of IPv4 packets (`IP_TOS`): DSCP, in the upper six bits.
    pub tos: u8,
    /// The traffic class of IPv6 packets (`IPV6_TCLASS`): DSCP, in the upper six bits.
    pub tclass: u8,
    /// What a connection keeps for its peer, in bytes of payload, in the place of [`Config::send_buffer_len`]: it does not grow
    /// then (`SO_SNDBUF`). It is 4 KiB at least, and [`Config::send_buffer_len_max`] at most.
    pub send_buffer_len: Option<usize>,
    /// What it keeps for its application, and so the largest window that it offers, likewise (`SO_RCVBUF`).
    pub receive_buffer_len: Option<usize>,
}

/// The smallest buffers: a few segments, so that something is under way while a peer or an application is busy. Linux's are as
/// large (`SOCK_MIN_SNDBUF`), and half that.
const BUFFER_LEN_MIN: usize = 4096;

/// What the application asked for beyond what is usual.
#[derive(Debug, Default)]
pub(super) struct Wishes {
    /// What closing does (`SO_LINGER`).
    pub(super) linger: Option<Duration>,
    pub(super) user_timeout: Option<UserTimeout>,
    /// What is kept for the peer does not follow the path.
    pub(super) send_len: Option<u32>,
    /// Nor does what is kept for the application.
    is_receive_len_fixed: bool,
}

impl<F: Frame> Tcp<F> {
    /// Gives a connection these options, before its first segment has left.
    pub(crate) fn set_options(
        &mut self,
        now: Instant,
        id: TcpId,
        options: &TcpOptions,
        config: &Config,
    ) -> Result<(), Error> {
        Keepalive::check(options.keepalive)?;
        let connection = self.get_mut(id)?;
        connection.take_options(options, now, config);
        connection.watch_peer();
        self.settle(id.index, now, config);
        Ok(())
    }

    /// Gives these options to connections that come in from now on.
    pub(crate) fn set_listener_options(&mut self, id: ListenerId, options: &TcpOptions) -> Result<(), Error> {
        Keepalive::check(options.keepalive)?;
        self.listeners.get_mut(id).ok_or(Error::StaleHandle)?.options = Some(Box::new(*options));
        Ok(())
    }
}

impl<F: Frame> Connection<F> {
    /// What its socket or its listener asked for. Nobody is probed before [`watch_peer`](Self::watch_peer).
    pub(super) fn take_options(&mut self, options: &TcpOptions, now: Instant, config: &Config) {
        self.nodelay = options.nodelay;
        self.tos = options.tos(self.is_v4);
        // Without these, most connections have no box for what is rare.
        if options.linger.is_some() {
            self.rare_mut().wishes.get_or_insert_default().linger = options.linger;
        }
        if let Some(len) = options.send_len(config) {
            self.rare_mut().wishes.get_or_insert_default().send_len = Some(len);
        }
        if let Some(len) = options.receive_len(config) {
            self.space_len = len;
            self.rare_mut().wishes.get_or_insert_default().is_receive_len_fixed = true;
        }
        if let Some(settings) = options.keepalive {
            self.rare_mut().probing = Some(Box::new(Probing::new(settings, now)));
        }
    }

    pub(super) fn wishes(&self) -> Option<&Wishes> {
        self.rare().and_then(|rare| rare.wishes.as_deref())
    }

    pub(super) fn is_receive_len_fixed(&self) -> bool {
        self.wishes().is_some_and(|wishes| wishes.is_receive_len_fixed)
    }

    /// Whoever owns it wants to know of the peer's end. Not before there is an owner: a connection that nobody owns is given
    /// up when it has been idle for so long.
    pub(super) fn watch_peer(&mut self) {
        if let Some(due_at) = self.probing().map(Probing::due_at)
            && !matches!(self.state, State::Closed | State::TimeWait)
        {
            self.set_idle_at(Some(due_at));
        }
    }
}

impl TcpOptions {
    fn send_len(&self, config: &Config) -> Option<u32> {
        let len_max = config.send_buffer_len.max(config.send_buffer_len_max);
        self.send_buffer_len.map(|len| within(len, len_max))
    }

    pub(super) fn receive_len(&self, config: &Config) -> Option<u32> {
        // As far as the shift of our windows goes.
        let len_max = config.receive_buffer_len.max(config.receive_buffer_len_max);
        self.receive_buffer_len.map(|len| within(len, len_max))
    }

    /// The type of service, or the traffic class, of a connection's packets.
    pub(super) fn tos(&self, is_v4: bool) -> u8 {
        let tos = if is_v4 { self.tos } else { self.tclass };
        tos & !ECN_BITS
    }
}

fn within(len: usize, len_max: usize) -> u32 {
    len.max(BUFFER_LEN_MIN).min(len_max).min(u32::MAX as usize) as u32
}
