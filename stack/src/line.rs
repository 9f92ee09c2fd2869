//! Senders of datagrams that wait for the device, in the order in which they came.
//!
//! A datagram in fragments goes whole or waits, and would wait for ever beside somebody whose datagrams take what little room
//! there is. So they are called in their order, and for who is called as many frames are kept until the turn is over as he
//! wants. While the first wants more than there are, nobody behind him is called. That does not last: what he wants may never
//! be there, where the device has no such room or connections fill it as well. Then he may try what there is, else he is the
//! last in line, and for a while everybody is called who finds room.

use alloc::collections::BTreeMap;
use core::ops::Bound;

use hayase_time::Instant;

/// How long those behind the first wait for him without the device having more room than before: longer than a slow one takes
/// for a frame (1.2 ms at 10 Mbit/s), short for who waits.
const PATIENCE_US: u64 = 10_000;

/// How long nobody waits for anybody then: four fifths of the time, those behind get on whatever the first wants.
const REST_US: u64 = 4 * PATIENCE_US;

/// A place in line: the lower one came earlier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ticket(u64);

/// What a sender waits for; the lesser one is sooner there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Wish {
    /// That the device takes so many frames.
    Room(usize),
    /// Buffers, which come home and tell nobody.
    Buffers,
}

/// Where a sender is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Nowhere,
    InLine(Ticket, Wish),
    /// It was called in that turn, with so many frames kept for it. It has its place back if they are not enough.
    Called {
        ticket: Ticket,
        turn: u32,
        kept: usize,
    },
    /// It was called because it has waited in vain, and is the last if it does not get on now.
    GivenUp(Ticket),
}

/// The first in line has the room to himself.
#[derive(Debug, Clone, Copy)]
struct Hold {
    ticket: Ticket,
    /// The most room that there was meanwhile.
    best: usize,
    until: Instant,
}

/// Whether those behind the first in line wait for him.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Patience {
    Wait,
    /// Not now, after it was in vain.
    Rest,
    /// Not any longer.
    Over,
}

/// What is not for everybody in this turn.
#[derive(Debug, Clone, Copy)]
struct Kept {
    turn: u32,
    frames: usize,
    /// The last of those for whom it is kept: who came later, or is not in line, has the rest.
    last: Ticket,
}

#[derive(Debug)]
pub(crate) struct Line {
    /// Who waits for how much room.
    for_room: BTreeMap<Ticket, (u32, usize)>,
    for_buffers: BTreeMap<Ticket, u32>,
    last: Ticket,
    hold: Option<Hold>,
    rest_until: Instant,
    kept: Option<Kept>,
}

impl Line {
    pub(crate) fn new() -> Line {
        Line {
            for_room: BTreeMap::new(),
            for_buffers: BTreeMap::new(),
            last: Ticket(0),
            hold: None,
            rest_until: Instant::ZERO,
            kept: None,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.for_room.is_empty() && self.for_buffers.is_empty()
    }

    fn next_ticket(&mut self) -> Ticket {
        self.last.0 += 1;
        self.last
    }

    /// Whether a sender may try a datagram: nothing is kept for those before it, or `has_room` says that there is room beside so
    /// many frames.
    #[inline]
    pub(crate) fn may_try(&self, place: Place, turn: u32, has_room: impl FnOnce(usize) -> bool) -> bool {
        match self.kept {
            Some(kept) if kept.turn == turn => {
                place.ticket().is_some_and(|ticket| ticket <= kept.last) || has_room(kept.frames)
            }
            _ => true,
        }
    }

    /// A sender did not get on. Returns its place: the one that it had, or the last.
    pub(crate) fn join(&mut self, index: u32, place: Place, wish: Wish) -> Place {
        let ticket = place.ticket().unwrap_or_else(|| self.next_ticket());
        let wish = match place {
            // Several wait by one socket: the first who can get on is called.
            Place::InLine(_, before) => before.min(wish),
            _ => wish,
        };
        self.leave(place);
        match wish {
            Wish::Room(frames) => _ = self.for_room.insert(ticket, (index, frames)),
            Wish::Buffers => _ = self.for_buffers.insert(ticket, index),
        }
        Place::InLine(ticket, wish)
    }

    /// A sender got on. If it was not called somebody waits by the same socket, who is the last in line from here on.
    #[cold]
    pub(crate) fn got_on(&mut self, index: u32, place: Place) -> Place {
        match place {
            Place::Nowhere | Place::GivenUp(_) => Place::Nowhere,
            Place::Called { ticket, turn, kept } => {
                if let Some(all) = self.kept.filter(|all| all.turn == turn) {
                    let frames = all.frames.saturating_sub(kept);
                    self.kept = (frames > 0).then_some(Kept { frames, ..all });
                }
                self.hold = self.hold.filter(|hold| hold.ticket != ticket);
                Place::Nowhere
            }
            Place::InLine(_, wish) => {
                self.leave(place);
                self.join(index, Place::Nowhere, wish)
            }
        }
    }

    pub(crate) fn leave(&mut self, place: Place) {
        match place {
            Place::InLine(ticket, Wish::Room(_)) => _ = self.for_room.remove(&ticket),
            Place::InLine(ticket, Wish::Buffers) => _ = self.for_buffers.remove(&ticket),
            Place::Nowhere | Place::Called { .. } | Place::GivenUp(_) => {}
        }
    }

    /// Calls whom the device has room for, by their places from then on. `is_due`: it is time to look whether there are buffers
    /// again.
    pub(crate) fn call(
        &mut self,
        room: usize,
        is_due: bool,
        (now, turn): (Instant, u32),
        mut called: impl FnMut(u32, Place),
    ) {
        if is_due && room > 0 {
            for (ticket, index) in core::mem::take(&mut self.for_buffers) {
                called(index, Place::Called { ticket, turn, kept: 0 });
            }
        }
        let (mut left, mut is_first, mut at) = (room, true, Ticket(0));
        let mut kept = Kept { turn, frames: 0, last: at };
        while let Some((ticket, (index, wanted))) = self.behind(at) {
            at = ticket;
            let fits = wanted <= left;
            let patience = if is_first {
                self.patience(ticket, left.min(wanted), now)
            } else if now < self.rest_until {
                Patience::Rest
            } else {
                Patience::Wait
            };
            is_first = false;
            match patience {
                Patience::Over => {
                    self.for_room.remove(&ticket);
                    called(index, Place::GivenUp(self.next_ticket()));
                }
                Patience::Wait => {
                    (kept.frames, kept.last) = (kept.frames + wanted, ticket);
                    if !fits {
                        break;
                    }
                    left -= wanted;
                    self.for_room.remove(&ticket);
                    called(index, Place::Called { ticket, turn, kept: wanted });
                }
                Patience::Rest if fits => {
                    self.for_room.remove(&ticket);
                    called(index, Place::Called { ticket, turn, kept: 0 });
                }
                Patience::Rest if room == 0 => break,
                Patience::Rest => {}
            }
        }
        self.kept = (kept.frames > 0).then_some(kept);
    }

    /// Who is the first behind this place, and what he wants.
    fn behind(&self, at: Ticket) -> Option<(Ticket, (u32, usize))> {
        let mut behind = self.for_room.range((Bound::Excluded(at), Bound::Unbounded));
        behind.next().map(|(ticket, waiting)| (*ticket, *waiting))
    }

    /// Whether those behind the first in line wait for him, for whom there is so much room.
    fn patience(&mut self, ticket: Ticket, room: usize, now: Instant) -> Patience {
        if now < self.rest_until {
            return Patience::Rest;
        }
        let hold = match self.hold {
            Some(hold) if hold.ticket == ticket && room <= hold.best => hold,
            _ => Hold { ticket, best: room, until: now.after_micros(PATIENCE_US) },
        };
        self.hold = Some(hold);
        // Where there is no room at all nobody would get on.
        if now < hold.until || room == 0 {
            return Patience::Wait;
        }
        self.hold = None;
        self.rest_until = now.after_micros(REST_US);
        Patience::Over
    }
}

impl Place {
    pub(crate) fn is_in_line(self) -> bool {
        matches!(self, Place::InLine(..))
    }

    pub(crate) fn has_waited_in_vain(self) -> bool {
        matches!(self, Place::GivenUp(_))
    }

    fn ticket(self) -> Option<Ticket> {
        match self {
            Place::Nowhere => None,
            Place::InLine(ticket, _) | Place::Called { ticket, .. } | Place::GivenUp(ticket) => Some(ticket),
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    const START: Instant = Instant::from_millis(1000);

    /// A line, and where its senders are.
    struct World {
        line: Line,
        places: Vec<Place>,
        turn: u32,
        now: Instant,
    }

    impl World {
        fn new(count: usize) -> World {
            World { line: Line::new(), places: alloc::vec![Place::Nowhere; count], turn: 0, now: START }
        }

        fn wait(&mut self, index: usize, frames: usize) {
            self.places[index] = self.line.join(index as u32, self.places[index], Wish::Room(frames));
        }

        fn got_on(&mut self, index: usize) {
            self.places[index] = self.line.got_on(index as u32, self.places[index]);
        }

        fn may_try(&self, index: usize, frames: usize, room: usize) -> bool {
            self.line.may_try(self.places[index], self.turn, |kept| room >= kept + frames)
        }

        /// A turn ends with so much room a millisecond after the last one: who is called.
        fn call(&mut self, room: usize, is_due: bool) -> Vec<u32> {
            (self.turn, self.now) = (self.turn + 1, self.now.after_micros(1000));
            let (mut called, places) = (Vec::new(), &mut self.places);
            self.line.call(room, is_due, (self.now, self.turn), |index, place| {
                places[index as usize] = place;
                called.push(index);
            });
            called
        }
    }

    #[test]
    fn as_many_are_called_as_there_is_room_for_in_their_order() {
        let mut world = World::new(4);
        for (index, frames) in [(2, 3), (0, 2), (1, 1), (3, 1)] {
            world.wait(index, frames);
        }
        assert_eq!(world.call(5, false), [2, 0]);
        assert!(!world.may_try(3, 1, 6) && world.may_try(3, 1, 7), "six are kept, one for who is next");
        assert!(world.may_try(2, 3, 5) && world.may_try(0, 2, 5));
        world.got_on(2);
        assert!(!world.may_try(3, 1, 3) && world.may_try(3, 1, 4), "three of them still");
        world.wait(0, 2);
        world.wait(2, 1);
        assert_eq!(world.call(3, false), [0, 1], "who was called in vain has its place again");
        assert_eq!(world.call(1, false), [3], "and is not called twice");
        assert_eq!(world.call(1, false), [2]);
        assert!(world.line.is_empty());
        world.turn += 1;
        assert!(world.may_try(3, 1, 0), "nothing is kept when the turn is over");
    }

    #[test]
    fn a_long_wish_delays_those_behind_for_a_while_only() {
        let mut world = World::new(2);
        world.wait(0, 41);
        world.wait(1, 1);
        let mut turn = || {
            let called = world.call(4, false);
            if called.contains(&0) {
                assert!(world.places[0].has_waited_in_vain());
                world.wait(0, 41);
            }
            if called.contains(&1) {
                world.got_on(1);
                world.wait(1, 1);
            }
            called.contains(&1)
        };
        let calls: Vec<bool> = (0..200).map(|_| turn()).collect();
        let most_in_vain = calls.split(|is_called| *is_called).map(<[bool]>::len).max();
        assert_eq!(most_in_vain, Some(10), "milliseconds without a call");
        assert!(calls.iter().filter(|is_called| **is_called).count() >= 150);
        world.call(41, false);
        assert!(matches!(world.places[0], Place::Called { .. }), "there is room at last");
    }

    #[test]
    fn as_long_as_room_grows_the_others_wait() {
        let mut world = World::new(2);
        world.wait(0, 41);
        world.wait(1, 1);
        for room in 1..41 {
            assert!((0..9).all(|_| world.call(room, false).is_empty()), "{room}");
        }
        assert_eq!(world.call(41, false), [0]);
    }

    /// So it is if others who are not in line take the room each time before who was called comes.
    #[test]
    fn who_is_called_in_vain_again_and_again_does_not_keep_the_others_for_ever() {
        let mut world = World::new(2);
        world.wait(0, 41);
        world.wait(1, 1);
        let is_called = |world: &mut World| {
            let called = world.call(41, false);
            if called.contains(&0) {
                world.wait(0, 41);
            }
            called.contains(&1)
        };
        assert!((0..20).any(|_| is_called(&mut world)));
    }

    #[test]
    fn who_waits_for_buffers_is_called_when_it_is_time_and_keeps_nobody() {
        let mut world = World::new(3);
        world.places[0] = world.line.join(0, Place::Nowhere, Wish::Buffers);
        world.wait(1, 1);
        assert_eq!(world.call(9, false), [1]);
        assert!(world.call(0, true).is_empty(), "without room buffers are of no use");
        assert_eq!(world.call(9, true), [0]);
        // Of one socket, the first who can get on.
        world.places[2] = world.line.join(2, Place::Nowhere, Wish::Buffers);
        world.wait(2, 5);
        world.wait(2, 2);
        world.wait(2, 7);
        assert_eq!(world.call(2, false), [2]);
        world.wait(2, 1);
        world.wait(0, 1);
        world.got_on(2);
        assert_eq!(world.call(1, false), [0], "who got on without a call is the last");
        world.line.leave(world.places[2]);
        assert!(world.line.is_empty());
    }
}
