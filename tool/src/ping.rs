//! `hayase ping`: ICMP echo requests, and what became of them.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::pin::pin;
use std::time::{Duration, Instant};

use futures_util::future::{Either, select};
use hayase::net::{EchoReply, EchoSocket};
use hayase::task::yield_now;
use hayase::time;
use serde::Serialize;

use crate::cli::PingArgs;
use crate::device::{self, Recording};
use crate::failure::{Attempt, Failure, Result};
use crate::pattern;
use crate::say::say;
use crate::signal::Interrupt;

/// The header of an echo message, which ping(8) counts in.
const HEADER_LEN: usize = 8;

pub(crate) fn run(args: &PingArgs) -> Result {
    let recording = Recording::start(&args.capture)?;
    let runtime = device::runtime(&args.device, None, &recording)?;
    let interrupt = Interrupt::catch()?;
    let mut record = Record::new(args.to);
    runtime.block_on(async {
        let pinging = pin!(ping(args, &mut record));
        match select(pinging, pin!(interrupt.wait())).await {
            Either::Left((result, _)) => result,
            Either::Right(_) => Ok(()),
        }
    })?;
    let summary = record.summary();
    if args.json {
        say(serde_json::to_string(&summary)?)?;
    } else {
        say(&summary)?;
    }
    if summary.received == 0 { Err(Failure::Silent) } else { Ok(()) }
}

async fn ping(args: &PingArgs, record: &mut Record) -> Result {
    let socket = EchoSocket::open().attempt(|| format!("cannot ping {}", args.to))?;
    let payload = pattern::stretch(0, args.size.into());
    args.say(format_args!("PING {}: {} bytes of data", args.to, payload.len()))?;
    let mut next_at = Instant::now();
    for number in 1..=args.count.unwrap_or(u64::MAX) {
        let sequence = record.send();
        match socket.send(args.to, sequence, payload) {
            Ok(()) => {}
            // No address, no route, a packet too long: the next one would fare no better.
            Err(error) if number == 1 => return Err(error).attempt(|| format!("cannot ping {}", args.to)),
            Err(error) => args.say(format_args!("seq={sequence}: {error}"))?,
        }
        let is_last = Some(number) == args.count;
        if is_last {
            // However late the schedule is, the last reply has its time.
            next_at = Instant::now() + args.timeout;
        } else {
            next_at += args.interval;
        }
        // However short the interval, what arrives meanwhile, a signal too, gets its turn.
        yield_now().await;
        collect(args, &socket, record, next_at, is_last).await?;
    }
    Ok(())
}

/// Takes replies until `end_at`, or, after the last request, until none is missing.
async fn collect(
    args: &PingArgs,
    socket: &EchoSocket,
    record: &mut Record,
    end_at: Instant,
    is_last: bool,
) -> Result {
    while !(is_last && record.awaited.is_empty()) {
        let left = end_at.saturating_duration_since(Instant::now());
        match time::timeout(left, socket.recv()).await {
            Ok(Ok(reply)) => args.say(record.receive(&reply))?,
            Ok(Err(error)) => args.say(record.refuse(&error))?,
            Err(_) => break,
        }
    }
    Ok(())
}

impl PingArgs {
    fn say(&self, line: impl fmt::Display) -> Result {
        if self.json { Ok(()) } else { say(line) }
    }
}

/// Requests and replies so far.
#[derive(Debug)]
struct Record {
    to: IpAddr,
    /// When the requests left that were not answered yet. Sequence numbers come again after 65,536.
    awaited: HashMap<u16, Instant>,
    sent: u64,
    received: u64,
    duplicates: u64,
    errors: u64,
    round_trips: Spread,
}

impl Record {
    fn new(to: IpAddr) -> Record {
        let round_trips = Spread::default();
        Record { to, awaited: HashMap::new(), sent: 0, received: 0, duplicates: 0, errors: 0, round_trips }
    }

    /// Notes a request, and gives it its sequence number.
    fn send(&mut self) -> u16 {
        self.sent += 1;
        let sequence = self.sent as u16;
        self.awaited.insert(sequence, Instant::now());
        sequence
    }

    fn receive(&mut self, reply: &EchoReply) -> String {
        let EchoReply { from, sequence, len, ttl } = *reply;
        let what = format!("{} bytes from {from}: icmp_seq={sequence} ttl={ttl}", len + HEADER_LEN);
        let Some(sent_at) = self.awaited.remove(&sequence) else {
            self.duplicates += 1;
            return format!("{what} (DUP!)");
        };
        let elapsed = sent_at.elapsed();
        self.received += 1;
        self.round_trips.add(elapsed);
        format!("{what} time={:.3} ms", milliseconds(elapsed))
    }

    fn refuse(&mut self, error: &io::Error) -> String {
        self.errors += 1;
        format!("from the network: {error}")
    }

    fn summary(&self) -> Summary {
        let answered = self.received > 0;
        Summary {
            command: "ping",
            to: self.to,
            sent: self.sent,
            received: self.received,
            duplicates: self.duplicates,
            errors: self.errors,
            round_trip_ms: answered.then(|| self.round_trips.milliseconds()),
        }
    }
}

/// The extremes and the mean of durations.
#[derive(Debug, Default)]
struct Spread {
    min: Option<Duration>,
    max: Duration,
    sum: Duration,
    count: u32,
}

impl Spread {
    fn add(&mut self, value: Duration) {
        self.min = Some(self.min.map_or(value, |min| min.min(value)));
        self.max = self.max.max(value);
        self.sum += value;
        self.count = self.count.saturating_add(1);
    }

    fn milliseconds(&self) -> Milliseconds {
        Milliseconds {
            min: milliseconds(self.min.unwrap_or_default()),
            avg: milliseconds(self.sum) / f64::from(self.count.max(1)),
            max: milliseconds(self.max),
        }
    }
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

#[derive(Debug, Serialize)]
struct Summary {
    command: &'static str,
    to: IpAddr,
    sent: u64,
    received: u64,
    duplicates: u64,
    errors: u64,
    round_trip_ms: Option<Milliseconds>,
}

#[derive(Debug, Serialize)]
struct Milliseconds {
    min: f64,
    avg: f64,
    max: f64,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lost = self.sent.saturating_sub(self.received);
        let loss = 100.0 * lost as f64 / self.sent.max(1) as f64;
        writeln!(f, "--- {} ping statistics ---", self.to)?;
        write!(f, "{} packets transmitted, {} received", self.sent, self.received)?;
        for (count, name) in [(self.duplicates, "duplicates"), (self.errors, "errors")] {
            if count > 0 {
                write!(f, ", {count} {name}")?;
            }
        }
        write!(f, ", {loss:.0}% packet loss")?;
        if let Some(Milliseconds { min, avg, max }) = self.round_trip_ms {
            write!(f, "\nrtt min/avg/max = {min:.3}/{avg:.3}/{max:.3} ms")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_are_counted_once() {
        let mut record = Record::new("10.7.0.1".parse().unwrap());
        assert_eq!((record.send(), record.send(), record.send()), (1, 2, 3));
        let reply = EchoReply { from: record.to, sequence: 2, len: 56, ttl: 64 };
        let line = record.receive(&reply);
        assert!(line.starts_with("64 bytes from 10.7.0.1: icmp_seq=2 ttl=64 time="), "{line}");
        assert!(record.receive(&reply).ends_with("(DUP!)"));
        let text = record.summary().to_string();
        assert!(text.contains("3 packets transmitted, 1 received, 1 duplicates, 67% packet loss"), "{text}");
        assert!(text.contains("rtt min/avg/max"), "{text}");
    }

    #[test]
    fn silence_has_no_round_trips() {
        let mut record = Record::new("fd00::1".parse().unwrap());
        record.send();
        assert!(record.summary().to_string().ends_with("100% packet loss"));
        let json = serde_json::to_value(record.summary()).unwrap();
        assert_eq!((&json["round_trip_ms"], &json["to"]), (&serde_json::Value::Null, &"fd00::1".into()));
    }

    #[test]
    fn a_spread_has_extremes_and_a_mean() {
        let mut spread = Spread::default();
        [3, 1, 2].into_iter().for_each(|ms| spread.add(Duration::from_millis(ms)));
        let Milliseconds { min, avg, max } = spread.milliseconds();
        assert_eq!((min, avg, max), (1.0, 2.0, 3.0));
    }
}
