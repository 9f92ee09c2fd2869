//! The turn: all that the thread does, in order.

use std::os::fd::AsFd;
use std::rc::Rc;
use std::time::Duration;

use hayase_time::Instant;

use crate::core::Core;
use crate::reactor::Reactor;
use crate::root::Root;

impl Core {
    /// One turn. Returns whether there was anything to do.
    #[inline]
    pub(crate) fn turn<R: Reactor + ?Sized>(self: &Rc<Self>, reactor: &R, root: &mut impl Root) -> bool {
        let now = self.read_clock();
        let received = reactor.receive(now);
        let expired = self.wake_sleepers(now);
        let ran = self.run_tasks(root);
        // A single task may have computed for long: what it wrote leaves now, and not at the beginning of the turn.
        let now = if ran == 0 { self.now() } else { self.read_clock() };
        let transmitted = reactor.transmit(now);

        let worked = received + expired + ran + transmitted > 0;
        self.counters.turns.add(1);
        self.counters.idle_turns.add(usize::from(!worked));
        worked
    }

    #[inline]
    fn wake_sleepers(&self, now: Instant) -> usize {
        let mut expired = 0;
        while let Some(waker) = self.pop_timer(now) {
            waker.wake();
            expired += 1;
        }
        self.counters.timers_expired.add(expired);
        expired
    }

    /// Runs what is awake, and what that wakes, until all sleep or the turn's polls are used up.
    ///
    /// A task that wakes itself goes to the end of the queue. The root runs between two passes of the queue.
    #[inline]
    fn run_tasks(self: &Rc<Self>, root: &mut impl Root) -> usize {
        self.read_mail();
        let mut polls = 0;
        loop {
            if root.is_woken() {
                polls += 1;
                if root.poll() {
                    break;
                }
            }
            // Also where the root had the only one: it may wait for a task, awake.
            polls += self.run_awake(self.config.polls_max.saturating_sub(polls).max(1));
            if polls >= self.config.polls_max || !root.is_woken() {
                break;
            }
        }
        self.counters.polls.add(polls);
        polls
    }

    /// After a turn without work: spins for a while, then sleeps.
    pub(crate) fn rest<R: Reactor + ?Sized>(&self, reactor: &R, root: &impl Root) {
        if self.spin.goes_on(self.now()) {
            return std::hint::spin_loop();
        }
        self.sleep(reactor, root);
    }

    /// Sleeps until a descriptor of the reactor, a deadline or another thread wakes the core, unless there is work.
    ///
    /// # Panics
    /// If the kernel refuses to let the thread sleep.
    pub(crate) fn sleep<R: Reactor + ?Sized>(&self, reactor: &R, root: &impl Root) {
        let Some(parked) = self.mailbox.park() else { return };
        if root.is_woken() || self.has_work() || reactor.pending() {
            return;
        }
        let Ok(timeout) = self.time_left(reactor.deadline()) else { return };
        let nap = reactor.arm();
        // What came before the interrupt was armed raises none.
        if !reactor.pending() {
            self.park(reactor, timeout.into_iter().chain(nap).min());
        }
        reactor.disarm();
        drop(parked);
        self.mailbox.silence();
    }

    fn park<R: Reactor + ?Sized>(&self, reactor: &R, timeout: Option<Duration>) {
        let mut interests = self.interests.borrow_mut();
        interests.clear();
        reactor.interests(&mut |interest| interests.push(interest));
        let asleep_at = self.now();
        self.counters.parks.add(1);
        if let Err(error) = self.park.borrow_mut().park(self.mailbox.as_fd(), &interests, timeout) {
            panic!("the executor cannot sleep: {error}");
        }
        self.spin.slept(self.read_clock() - asleep_at);
    }

    /// How long the core may sleep, `None` for as long as it likes, or an error if a deadline has passed.
    fn time_left(&self, reactor: Option<Instant>) -> Result<Option<Duration>, Overdue> {
        let timers = self.timers.borrow().next_deadline();
        let Some(deadline) = reactor.into_iter().chain(timers).min() else { return Ok(None) };
        let left = deadline - self.read_clock();
        if left.is_zero() { Err(Overdue) } else { Ok(Some(left)) }
    }
}

/// A deadline has passed.
struct Overdue;
