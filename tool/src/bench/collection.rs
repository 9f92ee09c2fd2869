//! `hayase bench report`: every study, and one page of them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::Parser;
use hayase::DeviceSpec;
use serde::Serialize;

use super::page::{Page, Section};
use super::plot;
use super::progress::Progress;
use super::report::{VERSION, print};
use super::study::Study;
use super::{bed, churn, idle_cost, in_flight, memory, models, peers, sweep};
use crate::cli::{BenchKind, Cli, Command, ReportArgs};
use crate::failure::{Attempt, Failure, Result};

/// A study of the page: what it is called, how it is run, briefly too, and what to say about it.
struct Entry {
    name: &'static str,
    title: &'static str,
    command: &'static str,
    quick: &'static str,
    server: Server,
    shows: &'static str,
    reading: &'static str,
}

/// Who a study talks to, where that is not the other end of a wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Server {
    Echo,
    Discard,
    Close,
    /// Nobody elsewhere: it has both ends in this process, for this reason.
    Here(&'static str),
}

const ENTRIES: [Entry; 10] = [
    Entry {
        name: "pingpong-connections",
        title: "Round trips and their times, by connections",
        command: "bench pingpong --sweep connections --duration 0.5 --rounds 3",
        quick: "bench pingpong --sweep connections --values 1,8,64 --duration 0.1",
        server: Server::Echo,
        shows: "Each connection sends one byte, waits for its echo and sends the next. Executor and async API are included, \
                and on the wire the server's stack as well.",
        reading: "The rate rises until frames of several connections share a turn, and then stays: what is gained by more \
                  connections is only waiting, so their times grow in proportion. In the last picture a point further \
                  right is more work done, a point further down a shorter wait.",
    },
    Entry {
        name: "pingpong-cores",
        title: "Round trips, by cores",
        command: "bench pingpong --sweep cores --duration 1 --rounds 3",
        quick: "bench pingpong --sweep cores --duration 0.1",
        server: Server::Echo,
        shows: "The same with 32 connections on each of several cores. Each core has a stack, an executor and a wire of its \
                own; nothing is shared on the path of a packet.",
        reading: "The thin line is what perfect scaling from one core would be. Processors that share a core's units, or \
                  that others use as well, stay below it.",
    },
    Entry {
        name: "pingpong-rate",
        title: "Times of requests, by how many are due each second",
        command: "bench pingpong --sweep rate --duration 0.5 --rounds 3",
        quick: "bench pingpong --sweep rate --values 1000,20000 --duration 0.1",
        server: Server::Echo,
        shows: "Requests of one byte on 32 connections are due at instants that are fixed beforehand (an open loop), and the \
                time of each counts from then on, also where it was sent later: what stops for a while is seen by all that \
                were due in that while.",
        reading: "A server that keeps up has times that hardly depend on the rate. Where they rise, requests wait for those \
                  before them; a rate that cannot be kept has requests that were not sent in time, and times without meaning.",
    },
    Entry {
        name: "models",
        title: "CPU models",
        command: "bench models --duration 0.5 --rounds 3",
        quick: "bench models --connections 1,16 --duration 0.1 --rounds 1",
        server: Server::Echo,
        shows: "The same program with the stack on the thread of its tasks (unified), on a processor of its own (split), or \
                on a thread of its own on the same processor (merge).",
        reading: "Each curve goes from one connection to many. Right is more work, down is less waiting. Unified has no \
                  wake-ups between threads; split has two processors at work but has to talk between them; merge pays for \
                  a switch of threads.",
    },
    Entry {
        name: "bulk-message-size",
        title: "Bulk, by size of a message and without each offload",
        command: "bench bulk --sweep message-size --duration 0.3 --rounds 3",
        quick: "bench bulk --sweep message-size --values 63488,1048576 --duration 0.1",
        server: Server::Discard,
        shows: "One connection sends messages of 62 KiB to 40 MiB as fast as the other end takes them: with all that the \
                wire can do, and with one thing left out at a time.",
        reading: "The distance from a curve to the one of all offloads is what that offload is worth. Without TSO the stack \
                  cuts segments of the MTU itself; without checksum offload it reads every byte once more; without \
                  zero-copy it copies what the application writes. Copies of messages that no cache holds are slower.",
    },
    Entry {
        name: "idle-cost",
        title: "One that works among idle connections",
        command: "bench idle-cost",
        quick: "bench idle-cost --idle 0,1000 --duration 0.1 --rounds 1",
        server: Server::Echo,
        shows: "One connection makes round trips, while up to 100,000 others are established and silent.",
        reading: "The line should be flat: nothing in the stack walks over all connections. What is left is memory that \
                  the caches no longer hold.",
    },
    Entry {
        name: "in-flight",
        title: "Bytes in flight",
        command: "bench in-flight",
        quick: "bench in-flight --in-flight 64K,1M --bytes 16777216 --rounds 1",
        server: Server::Here(
            "as many bytes as it wants are on their way in virtual time only, which only the wire goes along with",
        ),
        shows: "One connection over a wire that holds every frame for 5 ms of virtual time, so that as many bytes are on \
                their way as both ends' buffers allow. Nobody waits for real; the figure is processor time.",
        reading: "The line should be flat. A stack that walks over its queue of unacknowledged segments rises here. Beyond \
                  some megabytes the bytes themselves no longer fit the caches.",
    },
    Entry {
        name: "memory",
        title: "Memory of an idle connection",
        command: "bench memory",
        quick: "bench memory --connections 1000,10000",
        server: Server::Echo,
        shows: "Connections are opened and left alone; then each end that is in this process gets a task that waits to \
                read: on the wire both are, elsewhere the client's.",
        reading: "Bytes of a connection, the ends in this process together: on the wire half of it is one end's. \
                  Allocated is what the program asked for; resident is what the process has in pages, which tables that \
                  have just doubled, and the allocator's own needs, make more.",
    },
    Entry {
        name: "churn",
        title: "Connections opened and closed",
        command: "bench churn",
        quick: "bench churn --connections 1,32 --duration 0.1 --rounds 1",
        server: Server::Close,
        shows: "Tasks open a connection, wait until the server has closed it, close their end, and open the next.",
        reading: "The rate is that of whole lives of connections: handshake, accept, both FINs, TIME_WAIT.",
    },
    Entry {
        name: "peers",
        title: "Beside other stacks and runtimes",
        command: "bench peers",
        quick: "bench peers --duration 0.05 --rounds 1",
        server: Server::Here("it is a comparison with both ends on one thread, which only the wire has"),
        shows: "The same work by Hayase with executor and async API, by smoltcp on the same wire without either, and by \
                tokio and monoio on the kernel's loopback interface; all of them with both ends on one thread, in turns.",
        reading: "A bar is the median of Hayase's rate divided by the peer's in the same round, the line through it goes \
                  from the least to the greatest. Above 1, Hayase is faster. The loopback interface has segments of 64 KiB \
                  and no checksums, so it is compared where Hayase's wire has the same.",
    },
];

/// The page, and what is beside it.
#[derive(Debug, Serialize)]
struct Written {
    version: &'static str,
    command: &'static str,
    page: PathBuf,
    studies: Vec<&'static str>,
    /// With the reason why.
    left_out: Vec<(&'static str, String)>,
}

pub(super) fn run(args: &ReportArgs) -> Result {
    let device = args.device.clone().unwrap_or_else(|| bed::default_device(args.connect.is_some()));
    bed::check(&device, args.connect.is_some())?;
    let out = &args.out;
    fs::create_dir_all(out).attempt(|| format!("cannot make the folder {}", out.display()))?;
    let mut written = Written {
        version: VERSION,
        command: "report",
        page: out.join("index.html"),
        studies: Vec::new(),
        left_out: Vec::new(),
    };
    let mut page = Page::new(&device);
    let mut progress = Progress::new("report", ENTRIES.len());
    for entry in &ENTRIES {
        progress.step(entry.title);
        let found = words(entry, args, &device).map_err(Failure::Error).and_then(|words| {
            let study = measure(&words)?;
            Ok((line(&words), study))
        });
        let (line, study) = match found {
            Ok(found) => found,
            Err(Failure::Interrupted) => return Err(Failure::Interrupted),
            // Ten minutes of the others' figures are not lost for one that cannot be had.
            Err(failure) => {
                written.left_out.push((entry.name, failure.to_string()));
                forget(out, entry.name)?;
                continue;
            }
        };
        let svg = plot::draw(&study.plots)?;
        write(out, &format!("{}.json", entry.name), &serde_json::to_string_pretty(&study)?)?;
        write(out, &format!("{}.svg", entry.name), &svg)?;
        let Entry { name, title, shows, reading, .. } = *entry;
        page.add(Section { name, title, shows, reading, command: format!("hayase {line}"), svg }, study);
        written.studies.push(entry.name);
    }
    drop(progress);
    if let ([], [(_, reason), ..]) = (&written.studies[..], &written.left_out[..]) {
        return Err(Failure::Error(format!("no study could be made: {reason}")));
    }
    write(out, "index.html", &page.html(args.quick, &written.left_out))?;
    print(&written, args.json)
}

/// The command of a study on a device, in words, or why there is none.
fn words(entry: &Entry, args: &ReportArgs, device: &DeviceSpec) -> std::result::Result<Vec<String>, String> {
    if let Some(reason) = missing(entry, device) {
        return Err(reason);
    }
    let line = if args.quick { entry.quick } else { entry.command };
    let mut words: Vec<_> = line.split_whitespace().map(str::to_owned).collect();
    let is_wire = matches!(device, DeviceSpec::Wire(_));
    let (server, flag, service) = match entry.server {
        Server::Here(reason) if !is_wire => return Err(reason.to_owned()),
        Server::Here(_) => return Ok(words),
        Server::Echo => (args.connect, "--connect", "echo"),
        Server::Discard => (args.discard, "--discard", "discard"),
        Server::Close => (args.close, "--close", "close"),
    };
    words.extend(["--device".to_owned(), device.to_string()]);
    match server {
        _ if is_wire => {}
        Some(server) => words.extend(["--connect".to_owned(), server.to_string()]),
        None => return Err(format!("name a server with {flag} ADDR:PORT, such as `hayase serve {service}`")),
    }
    Ok(words)
}

fn write(folder: &Path, name: &str, text: &str) -> Result {
    let file = folder.join(name);
    fs::write(&file, text).attempt(|| format!("cannot write {}", file.display()))
}

/// Removes what a run before has left of a study: beside this one's page it would seem to be this one's.
fn forget(folder: &Path, name: &str) -> Result {
    for file in ["json", "svg"].map(|kind| folder.join(format!("{name}.{kind}"))) {
        match fs::remove_file(&file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(error).attempt(|| format!("cannot remove {}", file.display()));
            }
            _ => {}
        }
    }
    Ok(())
}

/// A command as a shell reads it.
fn line(words: &[String]) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_=+,.:/@%".contains(c);
    let quoted = |word: &String| match word.chars().all(is_plain) && !word.is_empty() {
        true => word.clone(),
        false => format!("'{}'", word.replace('\'', "'\\''")),
    };
    words.iter().map(quoted).collect::<Vec<_>>().join(" ")
}

/// Why a study cannot be made by this program, or on this device.
fn missing(entry: &Entry, device: &DeviceSpec) -> Option<String> {
    match entry.name {
        "peers" => peers::missing(),
        "memory" => memory::missing(Some(device)).map(str::to_owned),
        _ => None,
    }
}

/// Runs the study of a command, which is also what the page shows to run it again.
fn measure(words: &[String]) -> Result<Study> {
    match parse(words)? {
        BenchKind::Pingpong(args) => {
            let sweep =
                args.sweep.ok_or_else(|| Failure::Error(format!("`{}` is no study", words.join(" "))))?;
            sweep::pingpong(&args, sweep)
        }
        BenchKind::Bulk(args) => sweep::message_size(&args),
        BenchKind::Models(args) => models::measure(&args),
        BenchKind::IdleCost(args) => idle_cost::measure(&args),
        BenchKind::InFlight(args) => in_flight::measure(&args),
        BenchKind::Memory(args) => memory::measure(&args),
        BenchKind::Churn(args) => churn::measure(&args),
        BenchKind::Peers(args) => peers::measure(&args),
        BenchKind::Report(_) => Err(Failure::Error("a report is no study".into())),
    }
}

fn parse(words: &[String]) -> Result<BenchKind> {
    let cli = Cli::try_parse_from(["hayase"].into_iter().chain(words.iter().map(String::as_str)))?;
    match cli.command {
        Command::Bench(args) => Ok(args.kind),
        _ => Err(Failure::Error(format!("`{}` measures nothing", words.join(" ")))),
    }
}

impl std::fmt::Display for Written {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} studies in {}", self.studies.len(), self.page.display())?;
        self.left_out.iter().try_for_each(|(name, reason)| write!(f, "\nwithout {name}: {reason}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hayase::WireSpec;

    fn args(line: &str) -> ReportArgs {
        let words: Vec<_> = line.split_whitespace().map(str::to_owned).collect();
        match parse(&words).unwrap() {
            BenchKind::Report(args) => args,
            _ => panic!("`{line}` is no report"),
        }
    }

    #[test]
    fn every_line_of_the_page_is_a_command() {
        let wire = DeviceSpec::Wire(WireSpec::default());
        let dpdk = "dpdk:vdev=net_memif0,eal=-m 64 --no-huge,addr=10.7.0.2/24".parse().unwrap();
        let servers = "--connect 10.7.0.1:7-8 --discard 10.7.0.1:9 --close 10.7.0.1:10";
        for quick in ["", " --quick"] {
            for (device, servers) in [(&wire, ""), (&dpdk, servers)] {
                let args = args(&format!("bench report --out x{quick} {servers}"));
                for entry in ENTRIES.iter().filter(|entry| entry.name != "peers") {
                    match (words(entry, &args, device), entry.server) {
                        (Err(reason), Server::Here(why)) => {
                            assert_eq!((reason.as_str(), device), (why, &dpdk));
                        }
                        (words, _) => {
                            drop(
                                parse(&words.unwrap()).unwrap_or_else(|why| panic!("{}: {why}", entry.name)),
                            );
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn a_line_can_be_given_to_a_shell() {
        let words = ["--device", "dpdk:vdev=m0,eal=-m 64 --no-huge", "netmap:port=pipe{1", "it's", ""];
        let line = line(&words.map(str::to_owned));
        assert_eq!(line, r"--device 'dpdk:vdev=m0,eal=-m 64 --no-huge' 'netmap:port=pipe{1' 'it'\''s' ''");
    }

    #[test]
    fn what_a_run_before_left_is_removed() {
        let folder = std::env::temp_dir().join(format!("hayase-report-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        write(&folder, "memory.json", "{}").unwrap();
        write(&folder, "churn.svg", "").unwrap();
        forget(&folder, "memory").unwrap();
        let left: Vec<_> = fs::read_dir(&folder).unwrap().map(|file| file.unwrap().file_name()).collect();
        fs::remove_dir_all(&folder).unwrap();
        assert_eq!(left, ["churn.svg"]);
    }

    #[test]
    fn what_cannot_be_measured_says_why() {
        let args = args("bench report --out x --connect 10.7.0.1:7");
        let tap: DeviceSpec = "tap:name=hy0,addr=10.7.0.2/24".parse().unwrap();
        let reason = |name: &str, device: &DeviceSpec| {
            words(ENTRIES.iter().find(|entry| entry.name == name).unwrap(), &args, device).unwrap_err()
        };
        assert!(reason("in-flight", &tap).contains("virtual time"));
        assert!(reason("churn", &tap).contains("`hayase serve close`"));
        assert!(reason("bulk-message-size", &tap).contains("--discard ADDR:PORT"));
        assert!(reason("memory", &DeviceSpec::Kernel).contains("the kernel's memory"));
    }
}
