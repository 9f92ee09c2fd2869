//! Sockets for ICMP echo: what `ping` uses.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::net::IpAddr;
use core::task::Poll;

use crate::config::Config;
use crate::error::Error;
use crate::random::Random;
use crate::slab::Slab;
use crate::socket::{EchoId, Ready, Socket};

/// An answer to an echo request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EchoReply {
    /// Who answered.
    pub from: IpAddr,
    /// Which request this answers.
    pub sequence: u16,
    /// Bytes of data that came back.
    pub len: usize,
    /// Hops that the answer had left.
    pub ttl: u8,
}

/// Answers that one socket keeps: more than anybody waits for at once.
const REPLIES_MAX: usize = 256;

#[derive(Debug)]
struct EchoSocket {
    ident: u16,
    replies: VecDeque<Result<EchoReply, Error>>,
    is_ready: bool,
}

#[derive(Debug)]
pub(crate) struct Echoes {
    sockets: Slab<EchoSocket>,
    ready: Vec<u32>,
}

impl Echoes {
    pub(crate) fn new(config: &Config) -> Echoes {
        Echoes { sockets: Slab::new(config.echo_sockets_max), ready: Vec::new() }
    }

    pub(crate) fn open(&mut self, random: &mut Random) -> Result<EchoId, Error> {
        let ident = core::iter::repeat_with(|| random.next() as u16)
            .find(|ident| self.find(*ident).is_none())
            .ok_or(Error::TooManySockets)?;
        let socket = EchoSocket { ident, replies: VecDeque::new(), is_ready: false };
        let (index, generation) = self.sockets.insert(socket).map_err(|_| Error::TooManySockets)?;
        Ok(EchoId { index, generation })
    }

    pub(crate) fn close(&mut self, id: EchoId) {
        if self.sockets.get_generation(id.index, id.generation).is_some() {
            self.sockets.remove(id.index);
        }
    }

    pub(crate) fn ident(&self, id: EchoId) -> Result<u16, Error> {
        self.sockets.get_generation(id.index, id.generation).map(|s| s.ident).ok_or(Error::StaleHandle)
    }

    pub(crate) fn recv(&mut self, id: EchoId) -> Poll<Result<EchoReply, Error>> {
        match self.sockets.get_generation_mut(id.index, id.generation) {
            None => Poll::Ready(Err(Error::StaleHandle)),
            Some(socket) => socket.replies.pop_front().map_or(Poll::Pending, Poll::Ready),
        }
    }

    /// An answer, or an error about a request. False if nobody asked.
    pub(crate) fn receive(&mut self, ident: u16, reply: Result<EchoReply, Error>) -> bool {
        let Some(index) = self.find(ident) else { return false };
        let Some(socket) = self.sockets.get_mut(index) else { return false };
        if socket.replies.len() >= REPLIES_MAX {
            return false;
        }
        socket.replies.push_back(reply);
        if !core::mem::replace(&mut socket.is_ready, true) {
            self.ready.push(index);
        }
        true
    }

    /// Whether a request with this identifier may have been ours.
    pub(crate) fn has_asked(&self, ident: u16) -> bool {
        self.find(ident).is_some()
    }

    fn find(&self, ident: u16) -> Option<u32> {
        // At most `echo_sockets_max` of them, and only for an answer that claims to be for one.
        self.sockets.iter().find(|(_, socket)| socket.ident == ident).map(|(index, _)| index)
    }

    #[inline]
    pub(crate) fn has_news(&self) -> bool {
        !self.ready.is_empty()
    }

    pub(crate) fn drain_ready(&mut self, f: &mut dyn FnMut(Socket, Ready)) {
        for index in self.ready.drain(..) {
            let generation = self.sockets.generation(index);
            if let Some(socket) = self.sockets.get_mut(index) {
                socket.is_ready = false;
                f(Socket::Echo(EchoId { index, generation }), Ready::READABLE);
            }
        }
    }
}
