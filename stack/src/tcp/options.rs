//! What a socket asks for before there is a connection: each that comes of it has these from its first segment on.

use alloc::boxed::Box;
use core::time::Duration;

use hayase_device::Frame;
use hayase_time::Instant;

use super::Tcp;
use super::connection::Connection;
use super::keepalive::{Keepalive, Probing};
use super::state::State;
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
        connection.take_options(options, now);
        connection.watch_peer();
        self.settle(id.index, now, config);
        Ok(())
    }

    /// Gives these options to connections that come in from now on.
    pub(crate) fn set_listener_options(&mut self, id: ListenerId, options: &TcpOptions) -> Result<(), Error> {
        Keepalive::check(options.keepalive)?;
        self.listeners.get_mut(id).ok_or(Error::StaleHandle)?.options = *options;
        Ok(())
    }
}

impl<F: Frame> Connection<F> {
    /// What its socket or its listener asked for. Nobody is probed before [`watch_peer`](Self::watch_peer).
    pub(super) fn take_options(&mut self, options: &TcpOptions, now: Instant) {
        self.nodelay = options.nodelay;
        self.tos = options.tos(self.is_v4);
        // Without these, most connections have no box for what is rare.
        if options.linger.is_some() {
            self.rare_mut().patience.get_or_insert_default().linger = options.linger;
        }
        if let Some(settings) = options.keepalive {
            self.rare_mut().probing = Some(Box::new(Probing::new(settings, now)));
        }
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
    /// The type of service, or the traffic class, of a connection's packets.
    pub(super) fn tos(&self, is_v4: bool) -> u8 {
        let tos = if is_v4 { self.tos } else { self.tclass };
        tos & !ECN_BITS
    }
}
