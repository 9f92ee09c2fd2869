//! `hayase bench bulk`: as much as the server takes.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use hayase::io::Payload;
use hayase::net::TcpStream;
use hayase::time;

use super::bed::{self, Bed, warn_of_missing};
use super::progress::Progress;
use super::report::{Bulk, Conditions, Sample, thousands};
use super::{Goal, Share, cores, join_all, sweep};
use crate::cli::{BulkArgs, BulkSweep};
use crate::failure::{Attempt, Failure, Result};

/// The server's buffer, in bytes.
const READ_LEN: usize = 64 * 1024;

pub(super) fn run(args: &BulkArgs) -> Result {
    if args.sweep.is_some() && args.cores > 1 {
        return Err(Failure::Usage("a sweep of message sizes is made on one core: leave --cores out".into()));
    }
    match args.sweep {
        Some(BulkSweep::MessageSize) => {
            sweep::message_size(args)?.publish(args.points.svg.as_deref(), args.common.json)
        }
        None => measure_visibly(args)?.publish(args.points.svg.as_deref(), args.common.json),
    }
}

/// Measures once, and shows meanwhile what it does.
fn measure_visibly(args: &BulkArgs) -> Result<Bulk> {
    let mut progress = Progress::new("bulk", 1);
    let much = match args.bytes {
        Some(bytes) => format!("{} bytes", thousands(bytes)),
        None => format!("{} s", args.common.duration.as_secs_f64()),
    };
    progress.step(format_args!("{} connections, {much}", args.common.connections()));
    match args.cores {
        2.. => cores::bulk(args),
        _ => measure(args, &Bed::new(&args.common)?, true),
    }
}

/// Measures on one core without saying what was found; if `warns`, it says which offloads are not to be had.
pub(super) fn measure(args: &BulkArgs, bed: &Bed, warns: bool) -> Result<Bulk> {
    let common = &args.common;
    if warns {
        warn_of_missing(common.offloads, bed.runtime.host().offloads()?);
    }
    let streams = bed.block_on(bed.connect(common.connections(), read_to_end))??;
    let goal = Goal::new(args.bytes, common.duration);
    let congestion = bed::congestion_of(&streams);
    let before = bed.counts()?;
    let sent = measured_bytes(bed, streams, args.write(), goal, args.is_sampled())?;
    let counts = bed.counts()?.since(&before);

    let conditions = Conditions { congestion, ..bed.conditions("bulk", common.connections())? };
    Ok(Bulk::new(conditions, args.write, args.owned, sent, counts))
}

/// Bytes per second of processor time on one core and connection.
#[cfg(feature = "peers")]
pub(super) fn processor_rate(common: &crate::cli::BenchCommon, write_len: usize) -> Result<f64> {
    let bed = Bed::new(common)?;
    let streams = bed.block_on(bed.connect(1, read_to_end))??;
    let start = super::processor_time();
    let write = Write { len: write_len, owned: false };
    let sent = measured_bytes(&bed, streams, write, Goal::new(None, common.duration), false)?;
    Ok(sent.bytes as f64 / (super::processor_time() - start).as_secs_f64())
}

/// What our server does: it reads as programs do, with a copy, and closes.
pub(super) async fn read_to_end(mut stream: TcpStream) -> io::Result<()> {
    let mut buf = vec![0; READ_LEN];
    while stream.read(&mut buf).await? > 0 {}
    Ok(())
}

/// How to write.
#[derive(Debug, Clone, Copy)]
pub(super) struct Write {
    len: usize,
    owned: bool,
}

impl BulkArgs {
    pub(super) fn write(&self) -> Write {
        Write { len: self.write, owned: self.owned }
    }

    /// Whether it is to be looked what was written when. Only who draws needs that.
    pub(super) fn is_sampled(&self) -> bool {
        self.points.svg.is_some() && self.sweep.is_none()
    }
}

/// The result.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) bytes: u64,
    pub(super) elapsed: Duration,
    pub(super) samples: Vec<Sample>,
}

impl Sent {
    /// That of several cores that began together.
    pub(super) fn together(scores: impl Iterator<Item = Sent>) -> Sent {
        let scores: Vec<_> = scores.collect();
        let bytes = scores.iter().map(|sent| sent.bytes).sum();
        let elapsed = scores.iter().map(|sent| sent.elapsed).max().unwrap_or_default();
        let cores: Vec<_> = scores.into_iter().map(|sent| sent.samples).collect();
        Sent { bytes, elapsed, samples: merged(&cores) }
    }
}

/// What all cores had written, at the times of the one that was the last to look. Each looks at times of its own, some
/// of them less often: their counts are of no use side by side, and one after the other they would be peaks.
fn merged(cores: &[Vec<Sample>]) -> Vec<Sample> {
    let end = |samples: &&Vec<Sample>| samples.last().map_or(0.0, |(time, _)| *time);
    let longest = cores.iter().max_by(|a, b| end(a).total_cmp(&end(b)));
    let times = longest.into_iter().flatten().map(|(time, _)| *time);
    times.map(|time| (time, cores.iter().map(|samples| written_by(samples, time)).sum())).collect()
}

/// What had been written at a time: between two samples, as if it had been written evenly.
fn written_by(samples: &[Sample], time: f64) -> u64 {
    let after = samples.partition_point(|(at, _)| *at <= time);
    let (since, before) = after.checked_sub(1).map_or((0.0, 0), |index| samples[index]);
    samples.get(after).map_or(before, |(until, bytes)| {
        before + ((bytes - before) as f64 * (time - since) / (until - since)) as u64
    })
}

/// From one look at what was written to the next.
const SAMPLE_PERIOD: Duration = Duration::from_millis(20);

/// What has been written, on all connections, and when.
#[derive(Debug, Default)]
struct Tally {
    bytes: Cell<u64>,
    samples: RefCell<Vec<Sample>>,
}

impl Tally {
    /// Looks at the bytes now and then, for as long as somebody else has it.
    async fn sample(self: Rc<Tally>, start: Instant) {
        while Rc::strong_count(&self) > 1 {
            time::sleep(SAMPLE_PERIOD).await;
            self.samples.borrow_mut().push((start.elapsed().as_secs_f64(), self.bytes.get()));
        }
    }
}

/// All that is measured happens in here, the ends of the connections included, by which the servers say that they have
/// everything. Profilers find it by its name, which the help names.
#[inline(never)]
fn measured_bytes(
    bed: &Bed,
    streams: Vec<TcpStream>,
    write: Write,
    goal: Goal,
    is_sampled: bool,
) -> Result<Sent> {
    bed.block_on(send_all(streams, write, goal, is_sampled))?.attempt(|| FAILED.into())
}

/// What the error of a connection is told with.
pub(super) const FAILED: &str = "a transfer failed";

pub(super) async fn send_all(
    streams: Vec<TcpStream>,
    write: Write,
    goal: Goal,
    is_sampled: bool,
) -> io::Result<Sent> {
    let start = Instant::now();
    let tally = is_sampled.then(Rc::<Tally>::default);
    if let Some(tally) = &tally {
        drop(hayase::spawn(Rc::clone(tally).sample(start)));
    }
    let shares = goal.shares(streams.len());
    let senders = streams.into_iter().zip(shares);
    let send = |(stream, share)| hayase::spawn(send(stream, write, share, tally.clone()));
    let bytes = join_all(senders.map(send).collect()).await?.into_iter().sum();
    let elapsed = start.elapsed();
    let mut samples = tally.map(|tally| tally.samples.take()).unwrap_or_default();
    if is_sampled {
        samples.push((elapsed.as_secs_f64(), bytes));
    }
    Ok(Sent { bytes, elapsed, samples })
}

/// Writes until the share is done, and waits until the server has read all of it.
async fn send(
    mut stream: TcpStream,
    write: Write,
    share: Share,
    tally: Option<Rc<Tally>>,
) -> io::Result<u64> {
    let tell = |len: u64| {
        if let Some(tally) = &tally {
            tally.bytes.set(tally.bytes.get() + len);
        }
    };
    let sent = if write.owned {
        send_owned(&mut stream, write.len, &share, tell).await?
    } else {
        send_copies(&mut stream, write.len, &share, tell).await?
    };
    stream.shutdown().await?;
    match stream.read(&mut [0]).await? {
        0 => Ok(sent),
        _ => Err(io::Error::other("the server answered: it should discard what it reads")),
    }
}

async fn send_copies(
    stream: &mut TcpStream,
    write_len: usize,
    share: &Share,
    tell: impl Fn(u64),
) -> io::Result<u64> {
    let chunk = vec![0x5a; write_len];
    let mut sent = 0;
    loop {
        let len = share.left(sent).min(chunk.len() as u64);
        if len == 0 {
            return Ok(sent);
        }
        stream.write_all(&chunk[..len as usize]).await?;
        sent += len;
        tell(len);
    }
}

/// The same memory every time: what is sent is held, not changed.
async fn send_owned(
    stream: &mut TcpStream,
    write_len: usize,
    share: &Share,
    tell: impl Fn(u64),
) -> io::Result<u64> {
    let chunk = Payload::from(vec![0x5a; write_len]);
    let mut sent = 0;
    loop {
        let len = share.left(sent).min(write_len as u64);
        match len {
            0 => return Ok(sent),
            len if len < write_len as u64 => stream.write_owned(vec![0x5a; len as usize]).await?,
            _ => stream.write_owned(chunk.clone()).await?,
        }
        sent += len;
        tell(len);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_samples_of_cores_are_summed_by_their_times() {
        let sent = |bytes, seconds, samples: &[Sample]| Sent {
            bytes,
            elapsed: Duration::from_secs_f64(seconds),
            samples: samples.to_vec(),
        };
        let long = sent(700, 3.5, &[(1.0, 200), (2.0, 400), (3.0, 600), (3.5, 700)]);
        let short = sent(500, 2.5, &[(1.5, 300), (2.5, 500)]);
        for scores in [[&long, &short], [&short, &long]] {
            let scores = scores.map(|score| sent(score.bytes, score.elapsed.as_secs_f64(), &score.samples));
            let all = Sent::together(scores.into_iter());
            assert_eq!((all.bytes, all.elapsed), (1200, long.elapsed));
            assert_eq!(all.samples, [(1.0, 400), (2.0, 800), (3.0, 1100), (3.5, 1200)]);
            assert!(all.samples.is_sorted_by_key(|(_, bytes)| *bytes), "rates are differences");
        }
        assert_eq!(Sent::together([sent(5, 1.0, &[]), sent(6, 1.0, &[])].into_iter()).samples, []);
    }
}
