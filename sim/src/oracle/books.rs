//! What must add up: frames, counters, memory.

use hayase::counters::Counters;
use hayase::device::Frame;
use hayase::device::headers::ETHERNET_LEN;
use hayase::device::heap::{HeapFrame, PoolConfig};
use hayase::stack::{Config, Drop};

use super::stall::Connection;
use super::{SegmentCount, Verdict, Violation};
use crate::pipe::PipeStats;
use crate::station::DeviceConfig;

/// Frames that no socket keeps: the rings of a device, each way, what waits for neighbours, and what is under way in a
/// turn.
const PASSING_COUNT: usize = 4 * 1024;

/// What a host says of itself, and what was seen of it.
#[derive(Debug)]
pub(crate) struct Books<'a> {
    pub(crate) name: &'a str,
    pub(crate) counters: &'a Counters,
    /// Frames that it was given.
    pub(crate) delivered: u64,
    /// Segments on its cable.
    pub(crate) segments: SegmentCount,
}

/// The counters of a host add up with what was seen on its cable.
pub(crate) fn counters_add_up(books: &Books<'_>) -> Verdict {
    let get = |name| books.counters.get(name).unwrap_or(0);
    let wrong = |text: String| Err(Violation::new("counters add up", format!("{}: {text}", books.name)));
    let (received, in_segments) = (get("IpInReceives"), get("TcpInSegs"));
    if received != books.delivered {
        return wrong(format!("{} frames were delivered, and {received} received", books.delivered));
    }
    let drops: u64 = Drop::ALL.iter().map(|reason| get(reason.name())).sum();
    if books.segments.received > in_segments + drops {
        let seen = books.segments.received;
        return wrong(format!(
            "{seen} good segments came, {in_segments} were counted, {drops} frames dropped"
        ));
    }
    let (out, again) = (get("TcpOutSegs"), get("TcpRetransSegs"));
    let lost_inside = drops + get("tx_dropped");
    if out > books.segments.sent + lost_inside {
        return wrong(format!("{out} segments were counted out, {} were seen", books.segments.sent));
    }
    if again > out {
        return wrong(format!("{again} of {out} segments were sent again"));
    }
    if get("tx_errors") > 0 {
        return wrong(format!("the device refused {} malformed frames", get("tx_errors")));
    }
    Ok(())
}

/// A pipe knows of every frame that it took.
pub(crate) fn pipe_adds_up(pipe: usize, stats: &PipeStats) -> Verdict {
    if stats.in_flight() == 0 {
        return Ok(());
    }
    let way = if pipe.is_multiple_of(2) { "forth" } else { "back" };
    let text = format!("cable {} {way}: {} frames are missing: {stats:?}", pipe / 2, stats.in_flight());
    Err(Violation::new("frames all come home", text))
}

/// Nobody keeps a frame once all is over.
pub(crate) fn frames_are_home(name: &str, out: usize) -> Verdict {
    match out {
        0 => Ok(()),
        out => Err(Violation::new("frames all come home", format!("{name}: {out} are still out"))),
    }
}

/// The buffers of a host, and what it keeps them for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Memory<'a> {
    pub(crate) name: &'a str,
    /// Bytes of buffers that are not in their pools.
    pub(crate) len: usize,
    pub(crate) connections: &'a [Connection],
    pub(crate) config: &'a Config,
    pub(crate) device: &'a DeviceConfig,
}

impl Memory<'_> {
    /// The most that it may be, by what the stack promises (ARCHITECTURE, "Limits"): three steps, beyond each of which
    /// a connection adds no more than the step leaves it, and the last call before a step may have gone beyond it by all
    /// that one connection has to send.
    fn len_max(&self) -> usize {
        let (pool, count) = (&self.device.pool, self.connections.len());
        let held_len_max = pool.small_len.saturating_mul(pool.small_count_max);
        let budget = self.config.memory_len_max.min(held_len_max / 2);
        let segment = buffer_len(pool, self.device.mtu + ETHERNET_LEN);
        // Limits are of bytes to be sent, and twice as many of their buffers; and who is below one adds a buffer more.
        let send = |len: usize| 2 * len + buffer_len(pool, len);
        let steps = [
            (budget, 64 * 1024 + segment + 16 * 1024 + segment + send(16 * 1024)),
            (budget / 2 * 3, segment + send(1500)),
            (budget / 8 * 15, 0),
        ];
        let kept = steps.map(|(held, each)| held + count * each).into_iter().min().unwrap_or(0);
        let written =
            self.connections.iter().map(|(.., info)| (info.unacked + info.notsent_bytes) as usize).max();
        let reassembly = self.config.reassembly_len_max.min(held_len_max / 16);
        kept + send(written.unwrap_or(0)) + reassembly + PASSING_COUNT * segment
    }
}

/// What a frame of this length takes.
fn buffer_len(pool: &PoolConfig, len: usize) -> usize {
    if HeapFrame::HEADROOM + len <= pool.small_len { pool.small_len } else { pool.large_len }
}

/// What the buffers of a host take is within what the stack promises.
pub(crate) fn memory_is_bounded(memory: &Memory<'_>) -> Verdict {
    let (len_max, Memory { name, len, .. }) = (memory.len_max(), memory);
    if *len <= len_max {
        return Ok(());
    }
    let count = memory.connections.len();
    let text = format!("{name} holds {len} bytes for {count} connections; the most is {len_max}");
    Err(Violation::new("memory stays within its budget", text))
}

#[cfg(test)]
mod tests {
    use hayase::device::Offloads;

    use super::*;
    use crate::{Link, Sim};

    /// The counters of a real host after a little traffic.
    fn counters() -> Counters {
        let found = std::cell::RefCell::new(None);
        Sim::builder().link(Link::default()).run(|sim| {
            let found = &found;
            async move {
                let refused = hayase::net::TcpStream::connect("10.7.0.2:80").await;
                assert!(refused.is_err());
                found.replace(Some(sim.client().counters().unwrap()));
            }
        });
        found.into_inner().expect("there are counters")
    }

    #[test]
    fn counters_that_do_not_add_up_are_seen() {
        let counters = counters();
        let get = |name| counters.get(name).unwrap();
        let segments = SegmentCount { sent: get("TcpOutSegs"), received: get("TcpInSegs") };
        let right = Books { name: "host", counters: &counters, delivered: get("IpInReceives"), segments };
        assert!(get("TcpOutSegs") > 0 && get("TcpInSegs") > 0);
        assert_eq!(counters_add_up(&right), Ok(()));
        let unseen = SegmentCount { sent: 0, ..segments };
        let uncounted = SegmentCount { received: 1000, ..segments };
        for wrong in [
            Books { delivered: right.delivered + 1, ..right },
            Books { segments: unseen, ..right },
            Books { segments: uncounted, ..right },
        ] {
            assert!(counters_add_up(&wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn missing_frames_are_seen() {
        let stats = PipeStats { entered: 10, duplicated: 1, arrived: 8, lost: 2, ..PipeStats::default() };
        assert!(pipe_adds_up(3, &stats).unwrap_err().to_string().contains("cable 1 back: 1 frames"));
        assert_eq!(pipe_adds_up(3, &PipeStats { cut: 1, ..stats }), Ok(()));
        assert!(frames_are_home("client", 1).is_err() && frames_are_home("client", 0).is_ok());
    }

    /// Connections that have so much to send, after a little traffic.
    fn connections(count: usize, written: u32) -> Vec<Connection> {
        let found = std::cell::RefCell::new(Vec::new());
        Sim::builder().link(Link::default()).run(|sim| {
            let found = &found;
            async move {
                let listener =
                    sim.server().scope(hayase::net::TcpListener::bind("10.7.0.2:80")).await.unwrap();
                let stream = hayase::net::TcpStream::connect("10.7.0.2:80").await.unwrap();
                found.replace(sim.client().tcp_connections().unwrap());
                drop((stream, listener));
            }
        });
        let mut one = found.into_inner().remove(0);
        (one.2.unacked, one.2.notsent_bytes) = (written / 2, written / 2);
        vec![one; count]
    }

    #[test]
    fn too_much_memory_is_seen() {
        const KIB: usize = 1024;
        let mut config = Config::default();
        (config.memory_len_max, config.reassembly_len_max) = (1 << 20, 64 * KIB);
        let device = DeviceConfig { mtu: 1500, offloads: Offloads::NONE, pool: PoolConfig::DEFAULT };
        let passing = (8 << 20) + 64 * KIB + 2 * KIB;
        // One may keep 80 KiB to be read and 16 to be sent; of many none more than a few segments.
        let large_len = PoolConfig::DEFAULT.large_len;
        for (count, kept) in [
            (0, 1 << 20),
            (1, (1 << 20) + (80 + 4 + 32) * KIB + large_len),
            (20, (1536 + 40) * KIB + 20 * (3000 + 2 * KIB)),
            (1000, 1920 * KIB),
        ] {
            let connections = connections(count, 0);
            let right = Memory {
                name: "server",
                len: kept + passing,
                connections: &connections,
                config: &config,
                device: &device,
            };
            assert_eq!(memory_is_bounded(&right), Ok(()), "{count}");
            assert!(memory_is_bounded(&Memory { len: right.len + 1, ..right }).is_err(), "{count}");
        }
        // What was written while there was room is kept.
        let written = connections(1, 1 << 20);
        let kept = (1 << 20) + (80 + 4 + 32) * KIB + 2 * large_len + (2 << 20);
        let right = Memory {
            name: "client",
            len: kept + passing - 2 * KIB,
            connections: &written,
            config: &config,
            device: &device,
        };
        assert_eq!(memory_is_bounded(&right), Ok(()));
        assert!(memory_is_bounded(&Memory { len: right.len + 1, ..right }).is_err());
        // A device with little memory, of which it may hold half.
        let pool = PoolConfig { small_count_max: 64, ..PoolConfig::DEFAULT };
        let device = DeviceConfig { pool, ..device };
        let len = 64 * KIB + 8 * KIB + (8 << 20) + 2 * KIB;
        let right = Memory { name: "server", len, connections: &[], config: &config, device: &device };
        assert_eq!(memory_is_bounded(&right), Ok(()));
        assert!(memory_is_bounded(&Memory { len: right.len + 1, ..right }).is_err());
    }
}
