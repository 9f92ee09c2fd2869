//! What must add up: frames, counters, memory.

use hayase::counters::Counters;
use hayase::stack::{Config, Drop};

use super::{SegmentCount, Verdict, Violation};
use crate::pipe::PipeStats;

/// What a connection may keep however much there is of others: the stack's least amounts of what is in order, beyond a
/// hole, and to be sent, in buffers that are not full.
const CONNECTION_LEN: usize = 2 * (64 + 64 + 16) * 1024;

/// The rings of a device, each way, and what is under way in a turn.
const RINGS_LEN: usize = 4 * 1024 * 2048;

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

/// What the buffers of a host take is within what its configuration allows.
pub(crate) fn memory_is_bounded(name: &str, len: usize, connections: usize, config: &Config) -> Verdict {
    let shared = config.memory_len_max + config.reassembly_len_max + RINGS_LEN;
    let budget = shared + connections * CONNECTION_LEN;
    if len <= budget {
        return Ok(());
    }
    let text = format!("{name} holds {len} bytes for {connections} connections; its budget is {budget}");
    Err(Violation::new("memory stays within its budget", text))
}

#[cfg(test)]
mod tests {
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

    #[test]
    fn too_much_memory_is_seen() {
        let mut config = Config::default();
        config.memory_len_max = 1 << 20;
        let budget = (1 << 20) + config.reassembly_len_max + RINGS_LEN + 2 * CONNECTION_LEN;
        assert_eq!(memory_is_bounded("server", budget, 2, &config), Ok(()));
        assert!(memory_is_bounded("server", budget + 1, 2, &config).is_err());
    }
}
