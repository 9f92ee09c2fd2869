//! `hayase bench pingpong --rate`: requests that are due at times of their own, whether the last was answered or not.
//!
//! A client that waits for each reply asks a server that stops for a while less often in that while, and so sees only one
//! long time where many requests would have waited (coordinated omission). Here each request is due at an instant that is
//! fixed beforehand, and its time counts from there, also if it could not be sent until later.

use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use hayase::net::TcpStream;
use hayase::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use hayase::task::yield_now;
use hayase::time;

use super::latency::Latency;
use super::{Goal, join_all};

/// A wait that is longer sleeps for most of it; a shorter one looks at the clock in every turn, since timers are not exact.
const SLEEP_MIN: Duration = Duration::from_millis(1);

/// Requests that are late and sent in one go before replies are read again.
const LATE_BATCH: u64 = 64;

/// A run sends for this many times its duration at most, if requests cannot be sent when they are due, and waits for so many
/// durations more for replies, or for [`PATIENCE`].
const OVERTIME: u32 = 2;

/// Where the duration is short, replies have this long at least: a machine that stops for a while loses none.
const PATIENCE: Duration = Duration::from_secs(5);

const UNANSWERED: &str = "the server has not answered all requests long after the last";

/// When each request is due.
#[derive(Debug, Clone, Copy)]
struct Schedule {
    start: Instant,
    interval_ns: f64,
    connections: u64,
}

impl Schedule {
    /// The request of this number. Connections take turns.
    fn due(&self, number: u64) -> Instant {
        self.start + Duration::from_nanos((number as f64 * self.interval_ns) as u64)
    }
}

/// What was done.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) round_trips: u64,
    /// Those that were due and could not be sent before the run was over.
    pub(super) not_sent: u64,
    pub(super) elapsed: Duration,
}

/// Lets `rate` requests a second be due, and takes the time of each reply.
pub(super) async fn keep(
    streams: Vec<TcpStream>,
    payload: Rc<[u8]>,
    rate: f64,
    goal: Goal,
    latency: &Latency,
) -> io::Result<Kept> {
    let total = match goal {
        Goal::Amount(amount) => amount,
        Goal::Time(time) => (rate * time.as_secs_f64()).ceil() as u64,
    };
    let connections = streams.len() as u64;
    let schedule = Schedule { start: Instant::now(), interval_ns: 1e9 / rate, connections };
    let over_at = match goal {
        Goal::Amount(_) => None,
        Goal::Time(time) => Some(schedule.start + OVERTIME * time),
    };
    let (readers, mut writers): (Vec<_>, Vec<_>) = streams.into_iter().map(TcpStream::into_split).unzip();
    let readers = (0..).zip(readers).map(|(first, reader)| {
        hayase::spawn(read_replies(reader, Rc::clone(&payload), schedule, first, latency.clone()))
    });
    let readers = readers.collect();
    let sent = Cell::new(0);
    let sending = send(&mut writers, &payload, schedule, total, over_at, &sent);
    // A server that stops reading keeps a request, and its sender, for ever.
    until(over_at, sending).await.unwrap_or(Ok(()))?;
    let sent = sent.get();
    let ending = async {
        for writer in &mut writers {
            writer.shutdown().await?;
        }
        join_all(readers).await
    };
    let patience_ends_at = over_at.map(|over_at| over_at + (over_at - schedule.start).max(PATIENCE));
    let round_trips = match until(patience_ends_at, ending).await {
        Some(counts) => counts?.into_iter().sum(),
        None => return Err(io::Error::new(io::ErrorKind::TimedOut, UNANSWERED)),
    };
    if round_trips != sent {
        return Err(io::Error::other(format!("of {sent} requests, {round_trips} were answered")));
    }
    Ok(Kept { round_trips, not_sent: total - sent, elapsed: schedule.start.elapsed() })
}

/// Waits for a future, until then at most.
async fn until<F: Future>(end: Option<Instant>, future: F) -> Option<F::Output> {
    match end {
        Some(end) => time::timeout(end.saturating_duration_since(Instant::now()), future).await.ok(),
        None => Some(future.await),
    }
}

/// Sends what is due, and counts it.
async fn send(
    writers: &mut [OwnedWriteHalf],
    payload: &[u8],
    schedule: Schedule,
    total: u64,
    over_at: Option<Instant>,
    sent: &Cell<u64>,
) -> io::Result<()> {
    for number in 0..total {
        let now = wait_until(schedule.due(number)).await;
        if over_at.is_some_and(|over_at| now >= over_at) {
            return Ok(());
        }
        writers[(number % schedule.connections) as usize].write_all(payload).await?;
        sent.set(number + 1);
        if number % LATE_BATCH == 0 {
            yield_now().await;
        }
    }
    Ok(())
}

/// Returns the time that it has become.
async fn wait_until(due: Instant) -> Instant {
    loop {
        let now = Instant::now();
        let left = due.saturating_duration_since(now);
        if left.is_zero() {
            return now;
        }
        match left.checked_sub(SLEEP_MIN) {
            Some(long) => time::sleep(long).await,
            None => yield_now().await,
        }
    }
}

/// Reads one connection's replies until the server has no more, and says how many there were.
async fn read_replies(
    mut reader: OwnedReadHalf,
    payload: Rc<[u8]>,
    schedule: Schedule,
    first: u64,
    latency: Latency,
) -> io::Result<u64> {
    let mut reply = vec![0; payload.len()];
    let mut count = 0;
    loop {
        match reader.read_exact(&mut reply).await {
            Ok(_) if reply[..] == payload[..] => {}
            Ok(_) => return Err(super::not_an_echo()),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(count),
            Err(error) => return Err(error),
        }
        let due = schedule.due(first + count * schedule.connections);
        latency.record(due.elapsed());
        count += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve;
    use hayase::Host;
    use hayase::net::TcpListener;

    async fn connect(server: Host, stall: Option<Duration>) -> TcpStream {
        let listener = server.scope(TcpListener::bind("0.0.0.0:7")).await.unwrap();
        drop(server.spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            if let Some(stall) = stall {
                time::sleep(stall).await;
            }
            serve::echo(stream).await
        }));
        let stream = TcpStream::connect("10.7.0.2:7").await.unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    }

    /// A server that stops for 100 ms makes every request late that was due meanwhile, not one.
    #[hayase::test]
    async fn a_pause_is_seen_by_all_that_were_due_in_it(_client: Host, server: Host) {
        let stream = connect(server, Some(Duration::from_millis(100))).await;
        let latency = Latency::new();
        let goal = Goal::Time(Duration::from_millis(200));
        let kept = keep(vec![stream], [7].into(), 1000.0, goal, &latency).await.unwrap();
        assert_eq!((kept.round_trips, kept.not_sent), (200, 0));
        let times = latency.times();
        let late = times.iter_recorded().filter(|time| time.value_iterated_to() > 20_000_000);
        let late: u64 = late.map(|time| time.count_at_value()).sum();
        assert!(late >= 70, "only {late} of 200 requests were late");
        assert!(kept.elapsed >= Duration::from_millis(199), "{kept:?}");
    }

    /// A server that stops reading ends the run, and not the patience of who waits for it.
    #[hayase::test]
    async fn who_is_never_answered_is_told(_client: Host, server: Host) {
        let stream = connect(server, Some(Duration::from_secs(3600))).await;
        let goal = Goal::Time(Duration::from_millis(50));
        let start = Instant::now();
        // More than the buffers of both ends.
        let payload = vec![7; 1 << 20].into();
        let result = keep(vec![stream], payload, 1e4, goal, &Latency::new()).await;
        assert_eq!(result.unwrap_err().to_string(), UNANSWERED);
        assert!(start.elapsed() < Duration::from_secs(30));
    }

    #[hayase::test]
    async fn what_cannot_be_sent_is_counted(_client: Host, server: Host) {
        let stream = connect(server, None).await;
        let goal = Goal::Time(Duration::from_millis(20));
        let kept = keep(vec![stream], [7].into(), 1e9, goal, &Latency::new()).await.unwrap();
        assert!(kept.not_sent > 0 && kept.round_trips > 0, "{kept:?}");
        assert_eq!(kept.round_trips + kept.not_sent, 20_000_000);
    }
}
