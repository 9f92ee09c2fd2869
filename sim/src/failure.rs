//! What is said of a simulation that failed: how to replay it, and where its captures are.

use std::env;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::builder::test_name;
use crate::world::World;

/// Where captures go.
const FOLDER_VARIABLE: &str = "HAYASE_SIM_PCAP";

#[derive(Debug)]
pub(crate) struct Failure {
    seed: u64,
    elapsed: Duration,
    replay: String,
    cables: Vec<String>,
    captures: io::Result<Vec<(PathBuf, u64)>>,
}

impl Failure {
    /// Takes down what is to be known, and writes the captures.
    pub(crate) fn of(world: &World, folder: Option<&Path>, replay: Option<String>) -> Failure {
        let test = test_name();
        let captures = write_captures(world, &test, folder);
        let pipes = &world.network.borrow().pipes;
        let links = pipes.chunks(2).map(|ways| match ways {
            [forth, back] if forth.link != back.link => format!("{}; back: {}", forth.link, back.link),
            ways => ways[0].link.to_string(),
        });
        let (seed, elapsed) = (world.seed, world.elapsed());
        let replay = replay.unwrap_or_else(|| format!("HAYASE_SIM_SEED={seed} cargo test {test}"));
        Failure { seed, elapsed, replay, cables: links.collect(), captures }
    }
}

/// More cables than this are not listed.
const CABLES_MAX: usize = 4;

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Failure { seed, elapsed, replay, cables, .. } = self;
        writeln!(f, "hayase-sim: seed {seed} failed after {elapsed:?} of virtual time")?;
        for (index, cable) in cables.iter().enumerate().take(CABLES_MAX) {
            writeln!(f, "  cable {index}: {cable}")?;
        }
        match &self.captures {
            Err(error) => writeln!(f, "  capture: none: {error}")?,
            Ok(captures) => captures.iter().try_for_each(|(path, forgotten)| {
                let note = if *forgotten > 0 { " (its beginning is missing)" } else { "" };
                writeln!(f, "  capture: {}{note}", path.display())
            })?,
        }
        write!(f, "  replay:  {replay}")
    }
}

fn write_captures(world: &World, test: &str, folder: Option<&Path>) -> io::Result<Vec<(PathBuf, u64)>> {
    let variable = env::var_os(FOLDER_VARIABLE).map(PathBuf::from);
    let folder = folder.map(Path::to_path_buf).or(variable);
    let folder = folder.unwrap_or_else(|| env::temp_dir().join("hayase-sim"));
    fs::create_dir_all(&folder)?;
    let test = test.replace(|character: char| !character.is_alphanumeric(), "-");
    let network = world.network.borrow();
    let write = |station: &crate::station::Station| {
        let path = folder.join(format!("{test}-{}-{}.pcap", world.seed, station.name));
        fs::write(&path, station.capture.to_pcap())?;
        Ok((path, station.capture.forgotten()))
    };
    network.stations.iter().take(STATIONS_MAX).map(write).collect()
}

/// More hosts than this get no capture.
const STATIONS_MAX: usize = 8;
