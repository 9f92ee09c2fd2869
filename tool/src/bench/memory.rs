//! `hayase bench memory`: what a connection on which nothing happens holds.

use std::cell::RefCell;
use std::env;
use std::fs;
use std::future::ready;
use std::process::{Command, Output};

use hayase::DeviceSpec;
use hayase::net::TcpStream;
use hayase::task::yield_now;
use hayase::time;
use serde::{Deserialize, Serialize};

use super::bed::{self, Bed, SETTLING_TIME};
use super::machine::kibibytes;
use super::plot::{Axis, Line, Plot, Scale};
use super::progress::Progress;
use super::report::thousands;
use super::study::{Cell, Column, Settings, Study, Table, in_turns};
use crate::allocator;
use crate::cli::{BenchCommon, MemoryArgs};
use crate::failure::{Attempt, Failure, Result};
use crate::say::say;
use crate::signal::INTERRUPTED;

thread_local! {
    /// The server's ends: nobody waits for them.
    static ACCEPTED: RefCell<Vec<TcpStream>> = const { RefCell::new(Vec::new()) };
}

/// Before the measurement, so many connections are opened, so that what the first ones bring counts for none.
const BEFORE: usize = 64;

pub(super) fn run(args: &MemoryArgs) -> Result {
    if args.here {
        let [count] = args.connections[..] else {
            return Err(Failure::Usage("one process measures one number of connections".into()));
        };
        return say(serde_json::to_string(&measure_here(args, count)?)?);
    }
    measure(args)?.publish(args.svg.as_deref(), args.json)
}

/// What a process holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Held {
    /// Asked of the allocator and not given back.
    allocated: u64,
    /// Pages.
    resident: u64,
}

impl Held {
    fn now() -> Held {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        Held {
            allocated: allocator::in_use(),
            resident: 1024 * kibibytes(&status, "VmRSS:").unwrap_or_default(),
        }
    }

    /// What each of `count` has added to `before`.
    fn each(self, before: Held, count: usize) -> [f64; 2] {
        let each = |now: u64, before: u64| (now as f64 - before as f64) / count as f64;
        [each(self.allocated, before.allocated), each(self.resident, before.resident)]
    }
}

/// At three moments: before there are connections, with them, and with a task at each end.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Found {
    device: String,
    /// Of each connection, so many are in the process.
    ends: usize,
    before: Held,
    established: Held,
    with_tasks: Held,
}

/// Measures each number of connections in a process of its own.
pub(super) fn measure(args: &MemoryArgs) -> Result<Study> {
    if let Some(reason) = missing(args.device.as_ref()) {
        return Err(Failure::Error(reason.into()));
    }
    let is_remote = args.connect.is_some();
    bed::check(&args.device.clone().unwrap_or_else(|| bed::default_device(is_remote)), is_remote)?;
    let mut progress = Progress::new("memory", args.connections.len());
    let mut table = Table::new(&[
        Column("connections", "connections", 0),
        Column("allocated_bytes", "allocated", 0),
        Column("allocated_bytes_with_tasks", "with tasks", 0),
        Column("resident_bytes", "resident", 0),
        Column("resident_bytes_with_tasks", "with tasks", 0),
        Column("process_resident_bytes", "resident in all", 0),
    ]);
    let mut lines = ["allocated", "allocated, with tasks", "resident", "resident, with tasks"]
        .iter()
        .enumerate()
        .map(|(index, name)| Line::new(*name, index, Vec::new()))
        .collect::<Vec<_>>();
    let name = |count: &usize| format!("{} connections", thousands(*count as u64));
    let measured = in_turns(&args.connections, 1, name, |count| {
        progress.step(name(count));
        measure_elsewhere(args, *count)
    })?;
    let (counts, found, failed) = measured.medians(|found| found.with_tasks.resident as f64);
    for (count, found) in counts.iter().zip(&found) {
        let Found { before, established, with_tasks, .. } = *found;
        let ([allocated, resident], [allocated_all, resident_all]) =
            (established.each(before, *count), with_tasks.each(before, *count));
        let figures = [allocated, allocated_all, resident, resident_all];
        for (line, figure) in lines.iter_mut().zip(figures) {
            line.points.push((*count as f64, figure));
        }
        let mut row = vec![Cell::from(*count)];
        row.extend(figures.map(Cell::from));
        row.push(with_tasks.resident.into());
        table.push(row);
    }
    drop(progress);
    let x = Axis::new("connections", Scale::Tens);
    let (label, title, bytes) = match found[0].ends {
        1 => (
            "bytes a connection, our end",
            "Memory of an idle connection, our end",
            "of a connection, our end",
        ),
        _ => (
            "bytes a connection, both ends",
            "Memory of an idle connection, both its ends",
            "of a connection, both its ends",
        ),
    };
    let plot = Plot::lines(title, x, Axis::new(label, Scale::Linear), lines);
    let settings = Settings::default().with("device", &found[0].device).with("bytes", bytes);
    Ok(Study::new("memory", settings, table, vec![plot]).without(failed))
}

/// Why it is not to be had on a device.
pub(super) fn missing(device: Option<&DeviceSpec>) -> Option<&'static str> {
    const REASON: &str = "what the kernel's sockets hold is in the kernel's memory, which no process sees of its own: \
                          measure on another device";
    matches!(device, Some(DeviceSpec::Kernel)).then_some(REASON)
}

/// In a process that has done nothing else.
fn measure_elsewhere(args: &MemoryArgs, count: usize) -> Result<Found> {
    let program = env::current_exe().attempt(|| "cannot find this program to start it".into())?;
    let mut command = Command::new(program);
    command.args(["bench", "memory", "--here", "--connections", &count.to_string()]);
    for (flag, value) in [
        ("--device", args.device.as_ref().map(ToString::to_string)),
        ("--connect", args.connect.as_ref().map(ToString::to_string)),
    ] {
        command.args(value.iter().flat_map(|value| [flag, value]));
    }
    let output = command.output().attempt(|| "cannot start this program once more".into())?;
    // A signal to all processes of a terminal is for this one as well.
    if output.status.code() == Some(INTERRUPTED.into()) {
        return Err(Failure::Interrupted);
    }
    if !output.status.success() {
        return Err(Failure::Error(reason_of(&output)));
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// What a process said before it ended, or how it ended: one that a signal ends, as where memory is short, says nothing.
fn reason_of(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    match text.trim() {
        "" => format!("the process that measures ended without a word: {}", output.status),
        text => text.strip_prefix("hayase: ").unwrap_or(text).to_owned(),
    }
}

fn measure_here(args: &MemoryArgs, count: usize) -> Result<Found> {
    let common = BenchCommon { device: args.device.clone(), connect: args.connect, ..BenchCommon::default() };
    let bed = Bed::new(&common)?;
    // A server in this process keeps its ends here; one elsewhere has its own.
    let ends = if args.connect.is_some() { 1 } else { 2 };
    let measuring = async {
        let first = bed.connect(BEFORE, keep).await?;
        let first_accepted = ACCEPTED.take();
        let before = Held::now();
        // The handles count, and not what a growing list of them would keep in reserve.
        ACCEPTED.with_borrow_mut(|accepted| accepted.reserve_exact(count * (ends - 1)));
        let streams = bed.connect_at(1, count, keep).await?;
        let accepted = ACCEPTED.take();
        if accepted.len() != count * (ends - 1) {
            return Err(Failure::Error(format!("{} of {count} connections came", accepted.len())));
        }
        let established = Held::now();

        for stream in streams.into_iter().chain(accepted) {
            drop(hayase::spawn(wait(stream)));
        }
        yield_now().await;
        time::sleep(SETTLING_TIME).await;
        let with_tasks = Held::now();
        drop((first, first_accepted));
        let device = bed.conditions("memory", count)?.device;
        Ok(Found { device, ends, before, established, with_tasks })
    };
    bed.block_on(measuring)?
}

/// Keeps a connection without a task.
fn keep(stream: TcpStream) -> std::future::Ready<std::io::Result<()>> {
    ACCEPTED.with_borrow_mut(|accepted| accepted.push(stream));
    ready(Ok(()))
}

/// What a server's task does most of the time.
async fn wait(mut stream: TcpStream) -> std::io::Result<usize> {
    stream.read(&mut [0]).await
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::ExitStatus;

    use super::*;

    #[test]
    fn a_process_that_a_signal_ended_has_a_reason() {
        let output = |stderr: &str| Output {
            status: ExitStatus::from_raw(9),
            stdout: Vec::new(),
            stderr: stderr.as_bytes().to_vec(),
        };
        assert_eq!(reason_of(&output("hayase: too many open files\n")), "too many open files");
        assert!(reason_of(&output(" \n")).ends_with("ended without a word: signal: 9 (SIGKILL)"));
    }
}
