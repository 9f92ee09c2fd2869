//! What ICMP errors mean to a connection (RFC 1122 §4.2.3.9, RFC 5461, RFC 5927).

use core::net::IpAddr;

use hayase_device::Frame;
use hayase_time::Instant;

use super::Tcp;
use super::flow::{Flow, Tuple};
use super::state::State;
use crate::config::Config;
use crate::counters::Counters;
use crate::error::Error;
use crate::seq::Seq;

/// An ICMP error about a segment of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// The destination does not want us: a hard error, which ends an attempt to connect and nothing else.
    Hard(Error),
    /// The way there has a problem that may pass: reported when the connection fails (MUST-47, MUST-56).
    Soft(Error),
    /// The packet was too long for a link on the way.
    TooBig {
        /// MTU of that link.
        mtu: usize,
    },
}

impl<F: Frame> Tcp<F> {
    /// Takes an error that quotes `quote`, the start of a segment that we sent. Returns false if there is no
    /// such segment outstanding: then somebody guessed.
    pub(crate) fn icmp_error(
        &mut self,
        now: Instant,
        (local, remote): (IpAddr, IpAddr),
        quote: &[u8],
        trouble: Trouble,
        (counters, config): (&mut Counters, &Config),
    ) -> bool {
        let Some([p0, p1, p2, p3, s0, s1, s2, s3]) = quote.first_chunk::<8>().copied() else { return false };
        let seq = Seq(u32::from_be_bytes([s0, s1, s2, s3]));
        let local = (local, u16::from_be_bytes([p0, p1])).into();
        let tuple = Tuple::new(local, (remote, u16::from_be_bytes([p2, p3])).into());
        let Some(Flow::Connection(index)) = self.find(&tuple) else { return false };
        let Some(connection) = self.connections.get_mut(index) else { return false };
        // RFC 5927 §4.1: the quoted segment must be one that is outstanding. A SYN that is about to be sent again
        // still is.
        let is_open = connection.state.is_synchronized();
        let end = if is_open { connection.snd_nxt } else { connection.iss + 1 };
        if !(seq.at_or_after(connection.snd_una) && seq.before(end)) {
            return false;
        }
        match trouble {
            // RFC 5927 §5.2: with a connection established, hard errors are soft.
            Trouble::Hard(error) if connection.state == State::SynSent => {
                connection.enter_closed(Some(error));
            }
            Trouble::Hard(error) | Trouble::Soft(error) => {
                connection.set_soft_error(error);
            }
            Trouble::TooBig { mtu } => connection.packet_too_big(now, seq, mtu, counters),
        }
        self.settle(index, now, config);
        true
    }
}
