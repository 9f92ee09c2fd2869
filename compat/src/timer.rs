//! hyper's timers.

use std::pin::Pin;
use std::sync::OnceLock;
use std::task::{Context, Poll};
use std::thread;
use std::time::Instant;

use hayase::time;
use hyper::rt::{Sleep, Timer};
use pin_project_lite::pin_project;

/// hyper's timers on Hayase's wheel, and its deadlines on Hayase's time: in a simulation, that is virtual.
#[derive(Debug, Clone, Copy, Default)]
pub struct HayaseTimer;

impl Timer for HayaseTimer {
    fn sleep(&self, duration: std::time::Duration) -> Pin<Box<dyn Sleep>> {
        Box::pin(HayaseSleep { sleep: time::sleep(duration) })
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        Box::pin(HayaseSleep { sleep: time::sleep_until(ours(deadline)) })
    }

    fn now(&self) -> Instant {
        theirs(time::now())
    }

    fn reset(&self, sleep: &mut Pin<Box<dyn Sleep>>, deadline: Instant) {
        match sleep.as_mut().downcast_mut_pin::<HayaseSleep>() {
            Some(sleep) => sleep.project().sleep.set(time::sleep_until(ours(deadline))),
            None => *sleep = self.sleep_until(deadline),
        }
    }
}

/// The same moment on both clocks. On real time they are one clock that is counted from two beginnings, so it does not matter
/// which moment.
fn moment() -> (Instant, time::Instant) {
    static MOMENT: OnceLock<(Instant, time::Instant)> = OnceLock::new();
    // The time of a thread without a runtime is the clock's: neither that of a turn nor a simulation's.
    let both = || (Instant::now(), time::now());
    *MOMENT.get_or_init(|| thread::spawn(both).join().expect("to look at clocks does not panic"))
}

fn ours(instant: Instant) -> time::Instant {
    let (theirs, ours) = moment();
    match instant.checked_duration_since(theirs) {
        Some(after) => ours + after,
        None => ours - (theirs - instant),
    }
}

fn theirs(instant: time::Instant) -> Instant {
    let (theirs, ours) = moment();
    match instant >= ours {
        true => theirs + (instant - ours),
        // What lies before the beginning of all their time is that.
        false => theirs.checked_sub(ours - instant).unwrap_or(theirs),
    }
}

pin_project! {
    /// The future of [`HayaseTimer`].
    #[derive(Debug)]
    pub struct HayaseSleep {
        #[pin]
        sleep: time::Sleep,
    }
}

impl Future for HayaseSleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.project().sleep.poll(cx)
    }
}

impl Sleep for HayaseSleep {}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn deadlines_are_on_the_time_of_the_turn() {
        let runtime = hayase::Runtime::builder().device("wire".parse().unwrap()).build().unwrap();
        runtime.block_on(async {
            let (begin, since) = (HayaseTimer.now(), time::now());
            assert!(begin.elapsed() < Duration::from_secs(1), "on real time it is the system's");
            // It passes for the system, and not within a turn.
            thread::sleep(Duration::from_millis(2));
            assert_eq!(HayaseTimer.now(), begin);
            let mut sleep = HayaseTimer.sleep_until(begin + Duration::from_millis(10));
            sleep.as_mut().await;
            assert!(HayaseTimer.now() >= begin + Duration::from_millis(10));
            HayaseTimer.reset(&mut sleep, begin + Duration::from_millis(20));
            sleep.await;
            assert!(time::now() >= since + Duration::from_millis(20));
            assert_eq!(HayaseTimer.now() - begin, time::now() - since);
        });
    }

    #[test]
    fn every_time_has_a_counterpart() {
        for at in [0, 1, 1_000_000, u64::MAX / 4].map(time::Instant::from_nanos) {
            assert_eq!(ours(theirs(at)), at);
        }
    }
}
