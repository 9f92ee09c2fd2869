//! Listeners of a core that the other cores do not all know of yet.

use std::collections::HashMap;
use std::fmt;
use std::mem;
use std::task::{Poll, Waker};
use std::time::Duration;

use hayase_time::Instant;

use super::table::Service;

/// After so long without an answer, a core is looked at. They answer within a turn: one that has not by then does not turn.
const LOOK_PERIOD: Duration = Duration::from_millis(100);

/// How long somebody waits for a core that has connections, and so may have to pin some first.
const WAIT_MAX: Duration = Duration::from_secs(1);

/// The services that wait for the answers of other cores, and who waits for those.
#[derive(Default)]
pub(super) struct Joining {
    services: HashMap<Service, Answers>,
    /// Whoever waits no more and was not woken yet.
    woken: Vec<Waker>,
}

struct Answers {
    /// Whose is missing, a bit each.
    missing: u64,
    /// From the first turn on.
    since: Option<Instant>,
    look_at: Instant,
    /// Nobody is made to wait any longer.
    is_late: bool,
    waiting: Vec<Waker>,
}

impl Joining {
    pub(super) fn is_empty(&self) -> bool {
        self.services.is_empty()
    }

    /// These cores were asked, a bit each.
    pub(super) fn ask(&mut self, service: Service, missing: u64) {
        let answers =
            Answers { missing, since: None, look_at: Instant::ZERO, is_late: false, waiting: Vec::new() };
        self.services.insert(service, answers);
    }

    /// A core has answered. Returns whether it was the last.
    pub(super) fn answered(&mut self, service: Service, core: usize) -> bool {
        let Some(answers) = self.services.get_mut(&service) else { return false };
        answers.missing &= !(1 << core);
        let is_last = answers.missing == 0;
        if is_last {
            self.forget(service);
        }
        is_last
    }

    /// It waits no more.
    pub(super) fn forget(&mut self, service: Service) {
        let answers = self.services.remove(&service);
        self.woken.extend(answers.into_iter().flat_map(|answers| answers.waiting));
    }

    /// Whether all have answered, or are waited for no more. Else the waker is taken, unless it waits already: what is left of
    /// it is to be dropped while nothing is borrowed.
    pub(super) fn poll(&mut self, service: Service, waker: &mut Option<Waker>) -> Poll<()> {
        let Some(answers) = self.services.get_mut(&service).filter(|answers| !answers.is_late) else {
            return Poll::Ready(());
        };
        let new = waker.take_if(|waker| !answers.waiting.iter().any(|known| known.will_wake(waker)));
        answers.waiting.extend(new);
        Poll::Pending
    }

    /// Looks after those that wait for long: a core that `is_absent` has nothing to pin, and learns everything when it comes.
    /// Returns the services that wait for none but such.
    pub(super) fn look(&mut self, now: Instant, is_absent: impl Fn(usize) -> bool) -> Vec<Service> {
        for answers in self.services.values_mut().filter(|answers| answers.look_at <= now) {
            answers.look_at = now + LOOK_PERIOD;
            let Some(since) = answers.since else {
                answers.since = Some(now);
                continue;
            };
            let absent =
                (0..u64::BITS).filter(|core| answers.missing & 1 << core != 0 && is_absent(*core as usize));
            answers.missing &= !absent.fold(0, |set, core| set | 1 << core);
            if now - since >= WAIT_MAX {
                answers.is_late = true;
                self.woken.append(&mut answers.waiting);
            }
        }
        let complete = self.services.iter().filter(|(_, answers)| answers.missing == 0);
        let complete: Vec<Service> = complete.map(|(service, _)| *service).collect();
        complete.iter().for_each(|service| self.forget(*service));
        complete
    }

    /// When to look next.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.services.values().map(|answers| answers.look_at).min()
    }

    /// Those who are to be woken, now that nothing is borrowed.
    pub(super) fn woken(&mut self) -> Vec<Waker> {
        mem::take(&mut self.woken)
    }
}

impl fmt::Debug for Joining {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.services.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::steering::table::Kind;

    const SERVICE: Service = Service { kind: Kind::Tcp, number: 80 };

    fn poll(joining: &mut Joining) -> Poll<()> {
        joining.poll(SERVICE, &mut Some(Waker::noop().clone()))
    }

    #[test]
    fn the_last_answer_wakes_who_waits() {
        let mut joining = Joining::default();
        joining.ask(SERVICE, 0b101);
        assert_eq!((poll(&mut joining), poll(&mut joining)), (Poll::Pending, Poll::Pending));
        assert!(!joining.answered(SERVICE, 2) && joining.woken().is_empty());
        assert!(joining.answered(SERVICE, 0));
        assert_eq!(
            (joining.woken().len(), joining.is_empty(), poll(&mut joining)),
            (1, true, Poll::Ready(()))
        );
        assert!(!joining.answered(SERVICE, 0), "too late");
    }

    #[test]
    fn one_that_is_absent_is_not_waited_for() {
        let mut joining = Joining::default();
        joining.ask(SERVICE, 0b11);
        let (start, is_absent) = (Instant::from_millis(5000), |core| core == 1);
        assert!(poll(&mut joining).is_pending() && joining.look(start, is_absent).is_empty());
        assert_eq!(joining.deadline(), Some(start + LOOK_PERIOD));
        assert!(joining.look(start + LOOK_PERIOD, is_absent).is_empty() && poll(&mut joining).is_pending());
        assert!(joining.answered(SERVICE, 0));
    }

    #[test]
    fn one_that_is_busy_is_waited_for_by_nobody_for_ever() {
        let mut joining = Joining::default();
        joining.ask(SERVICE, 0b1);
        let start = Instant::from_millis(5000);
        assert!(poll(&mut joining).is_pending() && joining.look(start, |_| false).is_empty());
        assert!(joining.look(start + WAIT_MAX, |_| false).is_empty());
        assert_eq!((joining.woken().len(), poll(&mut joining)), (1, Poll::Ready(())));
        assert!(joining.answered(SERVICE, 0), "it is still asked");
    }

    #[test]
    fn the_wait_for_a_listener_ends_with_it() {
        let mut joining = Joining::default();
        joining.ask(SERVICE, 0b1);
        assert!(poll(&mut joining).is_pending());
        joining.forget(SERVICE);
        assert_eq!((joining.woken().len(), poll(&mut joining)), (1, Poll::Ready(())));
    }
}
