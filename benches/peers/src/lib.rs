//! Other stacks and runtimes at the work that Hayase is measured by: `hayase bench peers`.
//!
//! Both ends are on one thread, as those of `hayase bench` on the wire are. smoltcp stands on the same in-memory wire, with
//! the loop around it that suits it best and no executor; tokio and monoio use the kernel's TCP on the loopback interface.
#![forbid(unsafe_code)]

mod monoio_tcp;
mod smoltcp_wire;
mod tokio_tcp;

use std::io;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Bytes of one write in bulk, and of the buffer to read into.
const CHUNK_LEN: usize = 64 * 1024;

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// One byte there and one back, on so many connections at once.
    PingPong {
        /// Their number.
        connections: usize,
        /// Whether checksums are computed, and not left to a device that does nothing.
        software_checksum: bool,
    },
    /// As much as the other end takes, on one connection.
    Bulk {
        /// The largest IP packet, in bytes.
        mtu: usize,
        /// As above.
        software_checksum: bool,
    },
}

/// The version of smoltcp, as the workspace asks for it.
pub const SMOLTCP_VERSION: &str = "0.14";

/// Who does it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// smoltcp on the in-memory wire.
    Smoltcp,
    /// tokio's current-thread runtime on the kernel's loopback interface.
    Tokio,
    /// monoio on the kernel's loopback interface, by io_uring where that is to be had.
    Monoio,
}

impl Peer {
    /// All of them.
    pub const ALL: [Peer; 3] = [Peer::Smoltcp, Peer::Tokio, Peer::Monoio];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Peer::Smoltcp => "smoltcp",
            Peer::Tokio => "tokio",
            Peer::Monoio => "monoio",
        }
    }

    /// Whether this work means for it what it means for Hayase. The loopback interface has an MTU of 65,536 and computes no
    /// checksums.
    #[must_use]
    pub fn can(self, work: Work) -> bool {
        match (self, work) {
            (Peer::Smoltcp, _) => true,
            (_, Work::PingPong { software_checksum, .. }) => !software_checksum,
            (_, Work::Bulk { mtu, software_checksum }) => mtu > 9000 && !software_checksum,
        }
    }

    /// Does the work for so long, and returns round trips or bytes per second of this thread's processor time.
    ///
    /// # Errors
    /// If a socket cannot be had or fails, or smoltcp gives up.
    pub fn run(self, work: Work, duration: Duration) -> io::Result<f64> {
        match self {
            Peer::Smoltcp => smoltcp_wire::run(work, duration),
            Peer::Tokio => tokio_tcp::run(work, duration),
            Peer::Monoio => monoio_tcp::run(work, duration),
        }
    }
}

/// What this thread has used of its processor so far, the kernel's work for it included.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_peer_does_what_it_can() {
        let work = [
            Work::PingPong { connections: 1, software_checksum: false },
            Work::PingPong { connections: 4, software_checksum: true },
            Work::Bulk { mtu: 1500, software_checksum: true },
            Work::Bulk { mtu: 1500, software_checksum: false },
            Work::Bulk { mtu: 65_535, software_checksum: false },
        ];
        for peer in Peer::ALL {
            for work in work.into_iter().filter(|work| peer.can(*work)) {
                let rate = peer.run(work, Duration::from_millis(30));
                let rate = rate.unwrap_or_else(|error| panic!("{}, {work:?}: {error}", peer.name()));
                assert!(rate > 100.0, "{}, {work:?}: {rate} a second", peer.name());
            }
        }
        assert_eq!(work.iter().filter(|work| Peer::Tokio.can(**work)).count(), 2);
    }
}
