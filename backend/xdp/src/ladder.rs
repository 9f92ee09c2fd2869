//! The ways to have an interface's packets, best first, until one works.

use crate::Mode;
use crate::error::XdpError;

/// Why a way is not open.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Driver or kernel do not do it in this way, and maybe do in another.
    Refused(XdpError),
    /// No other way would help.
    Final(XdpError),
}

/// How sockets are bound. Whether the driver or the kernel runs the program makes no difference to them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Binding {
    pub(crate) copy: bool,
    /// Whether packets may have several fragments.
    pub(crate) fragments: bool,
}

/// The modes to try, in this order, on an interface that has packets of its own, or those of the interfaces below it: a driver
/// runs the program on the packets of the latter, and the kernel redirects none of these to sockets of the former, and says so to
/// nobody.
pub(crate) fn modes(wanted: Option<Mode>, is_over_others: bool) -> Vec<Mode> {
    match wanted {
        Some(mode) => vec![mode],
        None if is_over_others => vec![Mode::Skb],
        None => vec![Mode::ZeroCopy, Mode::Copy, Mode::Skb],
    }
}

/// Binds the sockets and attaches the program in the first way in which both work: a driver may take the one and refuse
/// the other. What was bound in another way is dropped before, since a queue has one socket.
///
/// # Errors
/// One that no other way would help with, or else the last refusal; `refusal` if nothing was tried.
pub(crate) fn climb<B, L>(
    modes: &[Mode],
    mut refusal: XdpError,
    mut bind: impl FnMut(Binding) -> Result<B, Failure>,
    mut attach: impl FnMut(&B, Mode) -> Result<L, Failure>,
) -> Result<(B, L, Mode), XdpError> {
    let mut bound: Option<(B, Binding)> = None;
    for &mode in modes {
        let copy = mode != Mode::ZeroCopy;
        let mut usable = bound.take().filter(|(_, binding)| binding.copy == copy);
        for fragments in [true, false] {
            if usable.is_none() {
                let binding = Binding { copy, fragments };
                usable = unless_refused(bind(binding), &mut refusal)?.map(|sockets| (sockets, binding));
            }
        }
        let Some((sockets, binding)) = usable else { continue };
        match unless_refused(attach(&sockets, mode), &mut refusal)? {
            Some(link) => return Ok((sockets, link, mode)),
            None => bound = Some((sockets, binding)),
        }
    }
    Err(refusal)
}

/// `None`, and a note of why, if it was refused.
fn unless_refused<T>(result: Result<T, Failure>, refusal: &mut XdpError) -> Result<Option<T>, XdpError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(Failure::Refused(error)) => {
            *refusal = error;
            Ok(None)
        }
        Err(Failure::Final(error)) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::io;
    use std::rc::Rc;

    use super::*;

    fn error(text: &str) -> XdpError {
        XdpError::io(text, io::ErrorKind::Other.into())
    }

    /// Sockets that tell when they are dropped.
    struct Sockets(Binding, Rc<RefCell<Vec<String>>>);

    impl Drop for Sockets {
        fn drop(&mut self) {
            self.1.borrow_mut().push(format!("drop {}", name(self.0)));
        }
    }

    fn name(binding: Binding) -> String {
        format!(
            "{}{}",
            if binding.copy { "copy" } else { "zerocopy" },
            if binding.fragments { "+sg" } else { "" }
        )
    }

    /// What is done on a ladder on which these steps are refused, and where it ends.
    fn walk(wanted: Option<Mode>, refused: &[&str]) -> (Vec<String>, Result<Mode, String>) {
        let log = Rc::new(RefCell::new(Vec::new()));
        let step = |what: String| {
            let failure = refused.contains(&what.as_str()).then(|| Failure::Refused(error(&what)));
            log.borrow_mut().push(what);
            failure.map_or(Ok(()), Err)
        };
        let bind =
            |binding| step(format!("bind {}", name(binding))).map(|()| Sockets(binding, Rc::clone(&log)));
        let attach = |_: &Sockets, mode| step(format!("attach {mode}"));
        let found = climb(&modes(wanted, false), error("nothing"), bind, attach);
        let found = found.map(|(_, (), mode)| mode).map_err(|error| error.to_string());
        let log = log.borrow().clone();
        (log, found)
    }

    #[test]
    fn the_best_way_that_works_is_taken() {
        let (log, found) = walk(None, &[]);
        assert_eq!(
            (&log[..2], found),
            (&["bind zerocopy+sg", "attach zerocopy"].map(String::from)[..], Ok(Mode::ZeroCopy))
        );
        let (log, found) = walk(None, &["bind zerocopy+sg"]);
        assert_eq!((log[1].as_str(), found), ("bind zerocopy", Ok(Mode::ZeroCopy)));
        let (_, found) = walk(None, &["bind zerocopy+sg", "bind zerocopy"]);
        assert_eq!(found, Ok(Mode::Copy));
    }

    /// The sockets are bound anew for copies, once.
    #[test]
    fn a_driver_that_refuses_the_program_is_left_for_the_next_way() {
        let (log, found) = walk(None, &["attach zerocopy", "attach copy"]);
        assert_eq!(found, Ok(Mode::Skb));
        let wanted = [
            "bind zerocopy+sg",
            "attach zerocopy",
            "drop zerocopy+sg",
            "bind copy+sg",
            "attach copy",
            "attach skb",
            "drop copy+sg",
        ];
        assert_eq!(log, wanted);
    }

    #[test]
    fn where_nothing_works_the_last_refusal_is_told() {
        let all = ["attach zerocopy", "attach copy", "attach skb"];
        assert!(walk(None, &all).1.unwrap_err().contains("attach skb"));
        let (log, found) = walk(Some(Mode::ZeroCopy), &["bind zerocopy+sg", "bind zerocopy"]);
        assert!(found.unwrap_err().contains("bind zerocopy") && log.len() == 2, "{log:?}");
    }

    #[test]
    fn what_no_other_way_helps_with_ends_it() {
        let mut count = 0;
        let bind = |_| {
            count += 1;
            Err::<(), _>(Failure::Final(error("memory")))
        };
        let found = climb(&modes(None, false), error("nothing"), bind, |(), _| Ok(()));
        assert!(found.unwrap_err().to_string().contains("memory"));
        assert_eq!(count, 1);
    }
}
