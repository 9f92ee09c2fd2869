//! `hayase bench`: what the stack costs and how fast it is, through the async API.

mod bed;
mod bulk;
mod churn;
mod collection;
mod cores;
mod idle_cost;
mod in_flight;
mod latency;
mod machine;
mod memory;
mod models;
mod page;
mod peers;
mod pingpong;
mod plot;
mod progress;
mod rate;
mod report;
mod study;
mod sweep;

use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use hayase::task::JoinHandle;
use hayase::time;
use rustix::time::{ClockId, clock_gettime};

use crate::cli::{BenchArgs, BenchKind};
use crate::failure::Result;

pub(crate) fn run(args: &BenchArgs) -> Result {
    match &args.kind {
        BenchKind::Pingpong(args) => pingpong::run(args),
        BenchKind::Bulk(args) => bulk::run(args),
        BenchKind::Models(args) => models::run(args),
        BenchKind::IdleCost(args) => idle_cost::run(args),
        BenchKind::Memory(args) => memory::run(args),
        BenchKind::Churn(args) => churn::run(args),
        BenchKind::InFlight(args) => in_flight::run(args),
        BenchKind::Peers(args) => peers::run(args),
        BenchKind::Report(args) => collection::run(args),
    }
}

/// When to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Goal {
    /// After so much, in all.
    Amount(u64),
    /// After so long.
    Time(Duration),
}

impl Goal {
    fn new(amount: Option<u64>, time: Duration) -> Goal {
        amount.map_or(Goal::Time(time), Goal::Amount)
    }

    /// The part of one of `cores` that reach it together.
    fn part(self, core: usize, cores: usize) -> Goal {
        match self {
            Goal::Amount(amount) => Goal::Amount(split(amount, cores).nth(core).unwrap_or_default()),
            time @ Goal::Time(_) => time,
        }
    }

    /// What each of `count` connections is to do. Starts the clock, if there is one.
    fn shares(self, count: usize) -> Vec<Share> {
        match self {
            Goal::Amount(amount) => split(amount, count).map(Share::Amount).collect(),
            Goal::Time(time) => vec![Share::Until(alarm(time)); count],
        }
    }
}

/// One connection's part of the goal.
#[derive(Debug, Clone)]
enum Share {
    Amount(u64),
    /// Until the flag is set.
    Until(Rc<Cell<bool>>),
}

impl Share {
    /// How much is left for one that has done this much.
    #[inline]
    fn left(&self, done: u64) -> u64 {
        match self {
            Share::Amount(amount) => amount - done,
            Share::Until(is_over) if is_over.get() => 0,
            Share::Until(_) => u64::MAX,
        }
    }
}

/// Shares that differ by one at most.
fn split(amount: u64, count: usize) -> impl Iterator<Item = u64> {
    let count = count as u64;
    (0..count).map(move |index| amount / count + u64::from(index < amount % count))
}

/// A flag that is set after a while. So the loops that are measured need no look at a clock.
fn alarm(after: Duration) -> Rc<Cell<bool>> {
    let flag = Rc::new(Cell::new(false));
    let rung = Rc::clone(&flag);
    drop(hayase::spawn(async move {
        time::sleep(after).await;
        rung.set(true);
    }));
    flag
}

/// The results of all tasks, or the first error.
async fn join_all<T>(tasks: Vec<JoinHandle<io::Result<T>>>) -> io::Result<Vec<T>> {
    let mut results = Vec::with_capacity(tasks.len());
    for task in tasks {
        results.push(task.await.map_err(io::Error::other)??);
    }
    Ok(results)
}

/// What this thread has used of its processor so far. What others use does not count.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

fn not_an_echo() -> io::Error {
    io::Error::other("the server sent other bytes back: is it an echo server?")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_add_up_and_differ_by_one() {
        for (amount, count) in [(1000, 7), (3, 5), (0, 2), (u64::MAX, 3)] {
            let shares: Vec<_> = split(amount, count).collect();
            assert_eq!((shares.len(), shares.iter().sum()), (count, amount));
            assert!(shares.iter().max().unwrap() - shares.iter().min().unwrap() <= 1, "{shares:?}");
        }
    }

    #[test]
    fn cores_reach_a_goal_together() {
        let part = |core| Goal::new(Some(1001), Duration::ZERO).part(core, 2);
        assert_eq!([part(0), part(1)], [Goal::Amount(501), Goal::Amount(500)]);
        let time = Goal::Time(Duration::from_secs(1));
        assert_eq!(time.part(1, 2), time, "at the same time");
    }

    #[hayase::test]
    async fn an_alarm_ends_a_share() {
        let shares = Goal::new(None, Duration::from_millis(5)).shares(2);
        assert!(shares.iter().all(|share| share.left(1 << 40) > 0));
        let rings = async {
            while shares.iter().any(|share| share.left(0) > 0) {
                time::sleep(Duration::from_millis(1)).await;
            }
        };
        time::timeout(Duration::from_secs(10), rings).await.expect("it rings");
    }
}
