//! The numbers of the cores of this process, by which wakers name them.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};

use crate::mailbox::Mailbox;
use crate::task::CoreNumber;

/// Seats that are made at a time.
const ROW_LEN: usize = 256;

/// Who has a number. A lock of its own for each: who wakes one core does not meet those who wake another.
type Seat = RwLock<Option<Arc<Mailbox>>>;

/// All numbers of 16 bits; rows are made when they are needed.
static SEATS: [OnceLock<Box<[Seat]>>; ROW_LEN] = [const { OnceLock::new() }; ROW_LEN];

static FREE: Mutex<Free> = Mutex::new(Free { vacant: VecDeque::new(), next: 1 });

struct Free {
    /// Numbers that were given back. The oldest is the next to be used, for wakers of its last core may still be about.
    vacant: VecDeque<u16>,
    /// The first that was never used. 0 is nobody's.
    next: u16,
}

/// Gives a core a number until [`release`].
///
/// # Errors
/// If there are 65,534 cores.
pub(crate) fn claim(mailbox: &Arc<Mailbox>) -> io::Result<CoreNumber> {
    let mut free = FREE.lock().unwrap_or_else(PoisonError::into_inner);
    let number = if free.next == u16::MAX {
        free.vacant.pop_front()
    } else {
        free.next += 1;
        Some(free.next - 1)
    };
    drop(free);
    let taken = number.and_then(|number| CoreNumber::new(number).zip(seat(number)));
    let (number, seat) = taken.ok_or_else(|| io::Error::other("a process has at most 65,534 executors"))?;
    set(seat, Some(mailbox.clone()));
    Ok(number)
}

/// The core takes no more wakes.
pub(crate) fn release(number: CoreNumber) {
    if let Some(seat) = seat(number.number()) {
        set(seat, None);
        FREE.lock().unwrap_or_else(PoisonError::into_inner).vacant.push_back(number.number());
    }
}

/// The core that has this number.
pub(crate) fn find(number: u16) -> Option<Arc<Mailbox>> {
    let seat = SEATS[usize::from(number) / ROW_LEN].get()?.get(usize::from(number) % ROW_LEN)?;
    seat.read().unwrap_or_else(PoisonError::into_inner).clone()
}

fn seat(number: u16) -> Option<&'static Seat> {
    let row =
        SEATS[usize::from(number) / ROW_LEN].get_or_init(|| (0..ROW_LEN).map(|_| Seat::default()).collect());
    row.get(usize::from(number) % ROW_LEN)
}

fn set(seat: &Seat, mailbox: Option<Arc<Mailbox>>) {
    let before = std::mem::replace(&mut *seat.write().unwrap_or_else(PoisonError::into_inner), mailbox);
    // A mailbox holds what others asked for, whose destructors may be anybody's code.
    drop(before);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_means_its_core_until_it_is_given_back() {
        let mailboxes = [0, 1].map(|index| Arc::new(Mailbox::new(index).unwrap()));
        let numbers = mailboxes.each_ref().map(|mailbox| claim(mailbox).unwrap());
        assert_ne!(numbers[0], numbers[1]);
        for (number, mailbox) in numbers.iter().zip(&mailboxes) {
            assert!(Arc::ptr_eq(&find(number.number()).unwrap(), mailbox));
            release(*number);
            assert!(find(number.number()).is_none());
        }
        assert!(find(0).is_none() && find(u16::MAX).is_none());
    }
}
