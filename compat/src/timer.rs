//! hyper's timers.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use hayase::time;
use hyper::rt::{Sleep, Timer};
use pin_project_lite::pin_project;

/// hyper's timers on Hayase's wheel.
#[derive(Debug, Clone, Copy, Default)]
pub struct HayaseTimer;

impl Timer for HayaseTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        Box::pin(HayaseSleep { sleep: time::sleep(duration) })
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        self.sleep(deadline.saturating_duration_since(Instant::now()))
    }

    fn reset(&self, sleep: &mut Pin<Box<dyn Sleep>>, deadline: Instant) {
        match sleep.as_mut().downcast_mut_pin::<HayaseSleep>() {
            Some(ours) => ours.reset(deadline.saturating_duration_since(Instant::now())),
            None => *sleep = self.sleep_until(deadline),
        }
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

impl HayaseSleep {
    fn reset(self: Pin<&mut Self>, duration: Duration) {
        let mut sleep = self.project().sleep;
        sleep.set(time::sleep(duration));
    }
}

impl Future for HayaseSleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.project().sleep.poll(cx)
    }
}

impl Sleep for HayaseSleep {}
