//! No silent stall: who has something outstanding goes on trying, until it is acknowledged or given up.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use hayase::stack::{Config, TcpInfo};
use hayase::time::Instant;

use super::{Verdict, Violation};

/// What comes to the longest retransmission timeout: its round trip, and the time between two sweeps.
const MARGIN: Duration = Duration::from_secs(30);

/// How long a connection may do nothing about what it has outstanding.
pub(crate) fn stall_max(config: &Config) -> Duration {
    Duration::from_micros(config.rto_max_us.into()) + MARGIN
}

/// A connection as its host lists it.
pub(crate) type Connection = (SocketAddr, SocketAddr, TcpInfo);

/// What changes when anything is done about a connection's data.
#[derive(Debug, PartialEq, Eq)]
struct Effort {
    bytes_acked: u64,
    total_retrans: u32,
    retransmits: u8,
    backoff: u8,
    last_effort_at: Option<Instant>,
}

/// Connections that have something outstanding, and since when nothing was done about it.
#[derive(Debug, Default)]
pub(crate) struct Stalls {
    seen: BTreeMap<(usize, SocketAddr, SocketAddr), (Effort, Instant)>,
}

impl Stalls {
    pub(crate) fn sweep(
        &mut self,
        now: Instant,
        host: usize,
        connections: &[Connection],
        stall_max: Duration,
        last_effort_at: impl Fn(SocketAddr, SocketAddr) -> Option<Instant>,
    ) -> Verdict {
        let mut seen = BTreeMap::new();
        for (local, remote, info) in connections.iter().filter(|(_, _, info)| is_outstanding(info)) {
            let key = (host, *local, *remote);
            let effort = Effort {
                bytes_acked: info.bytes_acked,
                total_retrans: info.total_retrans,
                retransmits: info.retransmits,
                backoff: info.backoff,
                last_effort_at: last_effort_at(*local, *remote),
            };
            let before = self.seen.remove(&key).filter(|(before, _)| *before == effort);
            let since = before.map_or(now, |(_, since)| since);
            if now - since > stall_max {
                let idle = now - since;
                let text = format!("{local} to {remote} has done nothing for {idle:?}: {info:?}");
                return Err(Violation::new("no silent stall", text));
            }
            seen.insert(key, (effort, since));
        }
        self.seen.retain(|(other, ..), _| *other != host);
        self.seen.append(&mut seen);
        Ok(())
    }
}

fn is_outstanding(info: &TcpInfo) -> bool {
    info.unacked > 0 || info.notsent_bytes > 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Link, Sim};

    /// The state of a real connection that has something outstanding.
    fn stuck() -> Connection {
        let found = std::cell::RefCell::new(None);
        Sim::builder().link(Link::default()).run(|sim| {
            let found = &found;
            async move {
                let listener =
                    sim.server().scope(hayase::net::TcpListener::bind("10.7.0.2:80")).await.unwrap();
                let mut stream = hayase::net::TcpStream::connect("10.7.0.2:80").await.unwrap();
                let _peer = listener.accept().await.unwrap();
                stream.write_all(b"data").await.unwrap();
                found.replace(sim.client().tcp_connections().unwrap().pop());
            }
        });
        found.into_inner().expect("the connection is listed")
    }

    #[test]
    fn a_connection_that_does_nothing_is_seen_and_one_that_tries_is_not() {
        let connection = stuck();
        assert!(is_outstanding(&connection.2), "{:?}", connection.2);
        let at = |seconds| Instant::ZERO + Duration::from_secs(seconds);
        let mut stalls = Stalls::default();
        for seconds in (0..1000).step_by(10) {
            let effort = |_, _| Some(at(seconds / 100));
            stalls.sweep(at(seconds), 0, &[connection], stall_max(&Config::default()), effort).unwrap();
        }
        let mut patient = Config::default();
        patient.rto_max_us = 300_000_000;
        for (config, first_at) in [(Config::default(), 160), (patient, 340)] {
            let mut stalls = Stalls::default();
            let stall_max = stall_max(&config);
            let is_seen =
                |seconds: &u64| stalls.sweep(at(*seconds), 0, &[connection], stall_max, |_, _| None).is_err();
            assert_eq!((0..1000).step_by(10).find(is_seen), Some(first_at));
        }
    }

    #[test]
    fn what_is_over_is_forgotten() {
        let connection = stuck();
        let mut stalls = Stalls::default();
        stalls.sweep(Instant::ZERO, 0, &[connection], MARGIN, |_, _| None).unwrap();
        stalls.sweep(Instant::from_millis(1), 0, &[], MARGIN, |_, _| None).unwrap();
        assert!(stalls.seen.is_empty());
    }
}
