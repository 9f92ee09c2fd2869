//! What is to be done at a certain time, where there are a few dozen such things at most and they are rare.

use alloc::vec::Vec;

use hayase_time::Instant;

/// Things to do, each with its time.
///
/// A list that is walked: its next time is what every turn asks for, and that is kept.
#[derive(Debug)]
pub(crate) struct Timetable<T> {
    entries: Vec<(Instant, T)>,
    next_at: Instant,
}

impl<T> Timetable<T> {
    pub(crate) fn new() -> Timetable<T> {
        Timetable { entries: Vec::new(), next_at: Instant::MAX }
    }

    pub(crate) fn push(&mut self, at: Instant, thing: T) {
        self.entries.push((at, thing));
        self.next_at = self.next_at.min(at);
    }

    /// Takes out the first thing that is due.
    pub(crate) fn pop(&mut self, now: Instant) -> Option<T> {
        if now < self.next_at {
            return None;
        }
        let first = self.entries.iter().enumerate().min_by_key(|(_, (at, _))| *at);
        let index = first.filter(|(_, (at, _))| *at <= now).map(|(index, _)| index)?;
        // In order, so that of two things due at once the first is done first.
        let (_, thing) = self.entries.remove(index);
        self.find_next();
        Some(thing)
    }

    /// Forgets what need not be done any more.
    pub(crate) fn retain(&mut self, mut is_wanted: impl FnMut(&T) -> bool) {
        self.entries.retain(|(_, thing)| is_wanted(thing));
        self.find_next();
    }

    /// When the next thing is due; [`Instant::MAX`] if there is none.
    #[inline]
    pub(crate) fn deadline(&self) -> Instant {
        self.next_at
    }

    fn find_next(&mut self) {
        self.next_at = self.entries.iter().map(|(at, _)| *at).min().unwrap_or(Instant::MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn things_come_in_the_order_of_their_times() {
        let at = Instant::from_millis;
        let mut timetable = Timetable::new();
        for (millis, name) in [(30, 'c'), (10, 'a'), (20, 'b'), (40, 'd')] {
            timetable.push(at(millis), name);
        }
        assert_eq!((timetable.deadline(), timetable.pop(at(9))), (at(10), None));
        assert_eq!(
            (timetable.pop(at(25)), timetable.pop(at(25)), timetable.pop(at(25))),
            (Some('a'), Some('b'), None)
        );
        for name in ['1', '2', '3'] {
            timetable.push(at(25), name);
        }
        assert_eq!(
            [timetable.pop(at(25)), timetable.pop(at(25)), timetable.pop(at(25))],
            [Some('1'), Some('2'), Some('3')]
        );
        timetable.retain(|name| *name != 'c');
        assert_eq!(timetable.deadline(), at(40));
        assert_eq!((timetable.pop(at(100)), timetable.deadline()), (Some('d'), Instant::MAX));
    }
}
