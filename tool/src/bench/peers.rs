//! `hayase bench peers`: the same work by other stacks and runtimes, in turns.

use crate::cli::PeersArgs;
use crate::failure::Result;

pub(super) fn run(args: &PeersArgs) -> Result {
    measure(args)?.publish(args.study.svg.as_deref(), args.study.json)
}

/// Why this program has no peers to compare with.
pub(super) fn missing() -> Option<String> {
    const REASON: &str = "this program was built without the other stacks; build it with \
                          `cargo build --release -p hayase-tool --features peers`";
    cfg!(not(feature = "peers")).then(|| REASON.to_owned())
}

#[cfg(not(feature = "peers"))]
pub(super) fn measure(_args: &PeersArgs) -> Result<super::study::Study> {
    use crate::failure::Failure;
    Err(missing().map_or(Failure::Silent, Failure::Error))
}

#[cfg(feature = "peers")]
pub(super) use with_peers::measure;

#[cfg(feature = "peers")]
mod with_peers {
    use std::time::Duration;

    use hayase::{DeviceSpec, Offloads, WireSpec};
    use hayase_peers::{Peer, SMOLTCP_VERSION, Work};

    use crate::bench::plot::{Axis, Bar, Content, Plot, Scale};
    use crate::bench::progress::Progress;
    use crate::bench::study::{Cell, Column, Settings, Study, Table, median};
    use crate::bench::{bulk, pingpong};
    use crate::cli::{BenchCommon, PeersArgs};
    use crate::failure::{Attempt, Result};

    /// What is done, in the order of the table.
    const WORKS: [(&str, Work); 6] = [
        ("ping-pong, 1 connection", Work::PingPong { connections: 1, software_checksum: false }),
        ("ping-pong, 32 connections", Work::PingPong { connections: 32, software_checksum: false }),
        ("ping-pong, 32, software checksum", Work::PingPong { connections: 32, software_checksum: true }),
        ("bulk, MTU 1500", Work::Bulk { mtu: 1500, software_checksum: false }),
        ("bulk, MTU 1500, software checksum", Work::Bulk { mtu: 1500, software_checksum: true }),
        ("bulk, 64 KiB segments", Work::Bulk { mtu: LONG_MTU, software_checksum: false }),
    ];

    /// Bytes of one write in bulk.
    const WRITE_LEN: usize = 64 << 10;

    /// What smoltcp has in place of TSO; Hayase has TSO.
    const LONG_MTU: usize = 65_535;

    /// A work and a peer, and what the rounds brought: Hayase's rate and the peer's.
    struct Match {
        work: usize,
        peer: Peer,
        rates: Vec<(f64, f64)>,
    }

    impl Match {
        /// The least, the median and the greatest of the ratios.
        fn ratios(&self) -> [f64; 3] {
            let ratios: Vec<_> = self.rates.iter().map(|(ours, theirs)| ours / theirs).collect();
            let least = ratios.iter().copied().fold(f64::INFINITY, f64::min);
            let greatest = ratios.iter().copied().fold(0.0, f64::max);
            [least, median(ratios, |ratio| *ratio), greatest]
        }
    }

    pub(in crate::bench) fn measure(args: &PeersArgs) -> Result<Study> {
        let (rounds, duration) = (args.study.rounds, args.study.duration);
        let mut matches = Vec::new();
        for (work, (_, what)) in WORKS.iter().enumerate() {
            let able = Peer::ALL.into_iter().filter(|peer| peer.can(*what));
            matches.extend(able.map(|peer| Match { work, peer, rates: Vec::new() }));
        }
        let steps = (WORKS.len() + matches.len()) * usize::from(rounds);
        let mut progress = Progress::new("peers", steps);
        for _ in 0..rounds {
            for (work, (name, what)) in WORKS.iter().enumerate() {
                progress.step(format_args!("hayase, {name}"));
                let ours = run(*what, duration)?;
                for game in matches.iter_mut().filter(|game| game.work == work) {
                    progress.step(format_args!("{}, {name}", game.peer.name()));
                    let theirs = game.peer.run(*what, duration);
                    let theirs = theirs.attempt(|| format!("{} failed at {name}", game.peer.name()))?;
                    game.rates.push((ours, theirs));
                }
            }
        }
        drop(progress);
        let settings = Settings::default()
            .with("hayase", "wire, executor and async API")
            .with("smoltcp", format_args!("{SMOLTCP_VERSION} on the same wire, without executor"))
            .with("tokio, monoio", "kernel TCP, loopback interface")
            .with("a second", "of the thread's processor time")
            .with("rounds", rounds)
            .with("duration", format_args!("{} s", duration.as_secs_f64()));
        Ok(Study::new("peers", settings, table(&matches), vec![plot(&matches)]))
    }

    fn table(matches: &[Match]) -> Table {
        let mut table = Table::new(&[
            Column("work", "work", 0),
            Column("peer", "peer", 0),
            Column("unit", "unit", 0),
            Column("hayase", "hayase", 1),
            Column("theirs", "peer's", 1),
            Column("ratio_min", "min", 2),
            Column("ratio_median", "median", 2),
            Column("ratio_max", "max", 2),
        ]);
        for game in matches {
            let (name, work) = WORKS[game.work];
            let (unit, scale) = match work {
                Work::PingPong { .. } => ("k round trips/s", 1e-3),
                Work::Bulk { .. } => ("Gbit/s", 8e-9),
            };
            let middle = |side: fn(&(f64, f64)) -> f64| {
                Cell::from(median(game.rates.iter().map(side).collect(), |rate| *rate) * scale)
            };
            let (ours, theirs) = (middle(|rates| rates.0), middle(|rates| rates.1));
            let mut row = vec![name.into(), game.peer.name().into(), unit.into(), ours, theirs];
            row.extend(game.ratios().map(Cell::from));
            table.push(row);
        }
        table
    }

    fn plot(matches: &[Match]) -> Plot {
        let bar = |game: &Match| {
            let group = Peer::ALL.iter().position(|peer| *peer == game.peer).unwrap_or_default();
            let name = format!("{}: {}", WORKS[game.work].0, game.peer.name());
            Bar { name, group, values: game.ratios() }
        };
        Plot {
            title: "Hayase's rate by the peer's".into(),
            x: Axis::new("", Scale::Linear),
            y: Axis::new("ratio", Scale::Linear),
            content: Content::Bars(matches.iter().map(bar).collect()),
        }
    }

    /// Hayase at this work: round trips or bytes per second of processor time.
    fn run(work: Work, duration: Duration) -> Result<f64> {
        let checksums = Offloads::TX_CHECKSUM | Offloads::RX_CHECKSUM;
        let (mtu, offloads, connections) = match work {
            Work::PingPong { connections, software_checksum: false } => (1500, Offloads::ALL, connections),
            Work::PingPong { connections, software_checksum: true } => (1500, Offloads::NONE, connections),
            Work::Bulk { mtu: LONG_MTU, software_checksum: false } => (1500, Offloads::ALL, 1),
            Work::Bulk { mtu, software_checksum: false } => (mtu, checksums, 1),
            Work::Bulk { mtu, software_checksum: true } => (mtu, Offloads::NONE, 1),
        };
        let common = BenchCommon {
            device: Some(DeviceSpec::Wire(WireSpec { mtu, ..WireSpec::default() })),
            connections: Some(connections),
            duration,
            offloads: Some(offloads),
            ..BenchCommon::default()
        };
        match work {
            Work::PingPong { .. } => pingpong::untimed_rate(&common),
            Work::Bulk { .. } => bulk::processor_rate(&common, WRITE_LEN),
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn ratios_are_those_of_the_rounds() {
            let rates = vec![(4.0, 2.0), (9.0, 3.0), (1.0, 1.0)];
            assert_eq!(Match { work: 0, peer: Peer::Smoltcp, rates }.ratios(), [1.0, 2.0, 3.0]);
        }
    }
}
