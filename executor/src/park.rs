//! Sleeping.

use std::fmt;
use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use crate::clock::VirtualClock;
use crate::config::Parking;
use crate::reactor::Interest;
use crate::sys::{ppoll, ring::Ring};

/// A way for the thread to sleep.
pub trait Park: fmt::Debug {
    /// Sleeps until `bell` can be read, a descriptor of `interests` is ready, or `timeout` has passed. It may
    /// return early for no reason.
    ///
    /// # Errors
    /// If the thread cannot sleep. The executor panics with it.
    fn park(
        &mut self,
        bell: BorrowedFd<'_>,
        interests: &[Interest],
        timeout: Option<Duration>,
    ) -> io::Result<()>;

    /// What to call it in a report.
    fn name(&self) -> &'static str;
}

/// The kernel's ways.
pub(crate) fn system(parking: Parking) -> io::Result<Box<dyn Park>> {
    if parking == Parking::Ppoll {
        return Ok(Box::new(SystemPark::Ppoll));
    }
    match Ring::new() {
        Ok(ring) => Ok(Box::new(SystemPark::IoUring(Box::new(ring)))),
        Err(_) if parking == Parking::Auto => Ok(Box::new(SystemPark::Ppoll)),
        Err(error) => Err(io::Error::new(
            error.kind(),
            format!("io_uring is not to be had here ({error}): use Parking::Auto or Parking::Ppoll"),
        )),
    }
}

#[derive(Debug)]
enum SystemPark {
    IoUring(Box<Ring>),
    Ppoll,
}

impl Park for SystemPark {
    fn park(
        &mut self,
        bell: BorrowedFd<'_>,
        interests: &[Interest],
        timeout: Option<Duration>,
    ) -> io::Result<()> {
        if let SystemPark::IoUring(ring) = self {
            match ring.park(bell, interests, timeout) {
                Ok(()) => return Ok(()),
                // A policy that came into force after the start, or a kernel out of memory: ppoll needs less.
                Err(_) => *self = SystemPark::Ppoll,
            }
        }
        ppoll::park(bell, interests, timeout)
    }

    fn name(&self) -> &'static str {
        match self {
            SystemPark::IoUring(_) => "io_uring",
            SystemPark::Ppoll => "ppoll",
        }
    }
}

/// Sleep in a simulation: the time jumps to the deadline.
///
/// A core that would sleep without a deadline would sleep for ever, since in a simulation nothing outside can wake it.
/// That is an error, which names the stall at once.
#[derive(Debug)]
pub struct VirtualPark(VirtualClock);

impl VirtualPark {
    /// Sleeps on `clock`, which should also be the executor's.
    #[must_use]
    pub fn new(clock: VirtualClock) -> VirtualPark {
        VirtualPark(clock)
    }
}

impl Park for VirtualPark {
    fn park(&mut self, _: BorrowedFd<'_>, _: &[Interest], timeout: Option<Duration>) -> io::Result<()> {
        let Some(timeout) = timeout else {
            return Err(io::Error::new(
                io::ErrorKind::Deadlock,
                "every task waits, no timer runs, and in virtual time nothing else can happen",
            ));
        };
        self.0.advance(timeout);
        Ok(())
    }

    fn name(&self) -> &'static str {
        "virtual"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mailbox::Mailbox;
    use rustix::io::Errno;
    use rustix::pipe::pipe;
    use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};
    use std::os::fd::{AsFd, AsRawFd, OwnedFd};
    use std::time::Instant;

    const LONG: Option<Duration> = Some(Duration::from_secs(20));

    /// Each way that works here; ppoll always does.
    fn ways() -> Vec<Box<dyn Park>> {
        let ring = system(Parking::IoUring);
        if let Err(error) = &ring {
            skip(&format!("io_uring is not to be had: {error}"));
        }
        ring.into_iter().chain(system(Parking::Ppoll)).collect()
    }

    /// Says on the terminal, whatever the test harness captures, that a test does nothing.
    fn skip(reason: &str) {
        assert!(
            std::env::var_os("HAYASE_NO_SKIP").is_none(),
            "HAYASE_NO_SKIP is set, and this test cannot run: {reason}"
        );
        let name = std::thread::current().name().unwrap_or("a test").to_owned();
        // A closed standard error is no reason to fail.
        let _ =
            std::io::Write::write_fmt(&mut std::io::stderr(), format_args!("skipped: {name}: {reason}\n"));
    }

    fn readable(fd: &OwnedFd) -> Interest {
        Interest { fd: fd.as_raw_fd(), readable: true, writable: false }
    }

    fn is_quick(park: &mut dyn Park, bell: &Mailbox, interests: &[Interest]) -> bool {
        let start = Instant::now();
        park.park(bell.as_fd(), interests, LONG).unwrap();
        start.elapsed() < Duration::from_secs(10)
    }

    /// Sleeps, and goes back to sleep when woken early for no reason.
    fn sleep(park: &mut dyn Park, bell: &Mailbox, interests: &[Interest], time: Duration) -> Duration {
        let start = Instant::now();
        while let Some(left) = time.checked_sub(start.elapsed()).filter(|left| !left.is_zero()) {
            park.park(bell.as_fd(), interests, Some(left)).unwrap();
        }
        start.elapsed()
    }

    #[test]
    fn the_timeout_is_kept_to_the_fraction_of_a_millisecond() {
        let bell = Mailbox::new(0).unwrap();
        let (read, _write) = pipe().unwrap();
        for mut park in ways() {
            let time = Duration::from_micros(1_300);
            // As many as it takes on a busy machine.
            let is_exact = (0..500).any(|_| {
                let slept = sleep(&mut *park, &bell, &[readable(&read)], time);
                assert!(slept >= time, "{}: {slept:?}", park.name());
                slept < time * 3 / 2
            });
            assert!(is_exact, "{}", park.name());
        }
    }

    #[test]
    fn bell_and_descriptors_wake() {
        for mut park in ways() {
            let bell = Mailbox::new(0).unwrap();
            let (read, write) = pipe().unwrap();
            rustix::io::write(&write, b"x").unwrap();
            assert!(is_quick(&mut *park, &bell, &[readable(&read)]), "{}: readable", park.name());
            rustix::io::read(&read, &mut [0; 8]).unwrap();

            let writable = Interest { fd: write.as_raw_fd(), readable: false, writable: true };
            assert!(is_quick(&mut *park, &bell, &[readable(&read), writable]), "{}: writable", park.name());

            let parked = bell.park().unwrap();
            bell.notify();
            assert!(is_quick(&mut *park, &bell, &[readable(&read)]), "{}: bell", park.name());
            drop(parked);
            bell.silence();
            let asleep = sleep(&mut *park, &bell, &[readable(&read)], Duration::from_millis(5));
            assert!(asleep >= Duration::from_millis(5), "{}", park.name());
        }
    }

    #[test]
    fn what_is_no_descriptor_keeps_nobody_awake() {
        let bell = Mailbox::new(0).unwrap();
        let none = Interest { fd: -1, readable: true, writable: false };
        for mut park in ways() {
            let (start, time) = (Instant::now(), Duration::from_millis(5));
            park.park(bell.as_fd(), &[none], Some(time)).unwrap();
            assert!(start.elapsed() >= time, "{}: {:?}", park.name(), start.elapsed());
        }
    }

    /// The number of a closed descriptor goes to the next that is opened: the sleeper must watch the new file, and
    /// must not keep the old one open.
    #[test]
    fn nothing_stays_registered() {
        for mut park in ways() {
            let bell = Mailbox::new(0).unwrap();
            for _ in 0..100 {
                let (read, write) = pipe().unwrap();
                park.park(bell.as_fd(), &[readable(&read)], Some(Duration::from_micros(10))).unwrap();
                drop(read);
                let gone = rustix::io::write(&write, b"x");
                assert_eq!(gone, Err(rustix::io::Errno::PIPE), "{}: the reader is still open", park.name());
            }
            let (read, write) = pipe().unwrap();
            rustix::io::write(&write, b"x").unwrap();
            assert!(is_quick(&mut *park, &bell, &[readable(&read)]), "{}", park.name());
        }
    }

    #[test]
    fn many_descriptors_fit() {
        for mut park in ways() {
            let bell = Mailbox::new(0).unwrap();
            let pipes: Vec<_> = (0..100).map(|_| pipe().unwrap()).collect();
            let interests: Vec<_> = pipes.iter().map(|(read, _)| readable(read)).collect();
            for (_, write) in pipes.iter().step_by(33) {
                rustix::io::write(write, b"x").unwrap();
                assert!(is_quick(&mut *park, &bell, &interests), "{}", park.name());
            }
        }
    }

    /// Forbids io_uring to this thread, as containers do: `io_uring_setup`, `io_uring_enter` and `io_uring_register`.
    fn forbid_io_uring() {
        let rules = [425, 426, 427].into_iter().map(|call| (call, Vec::new())).collect();
        let (allow, forbid) = (SeccompAction::Allow, SeccompAction::Errno(Errno::PERM.raw_os_error() as u32));
        let arch = std::env::consts::ARCH.try_into().unwrap();
        let filter = SeccompFilter::new(rules, allow, forbid, arch).unwrap();
        seccompiler::apply_filter(&BpfProgram::try_from(filter).unwrap()).unwrap();
    }

    #[test]
    fn where_io_uring_is_forbidden_ppoll_serves() {
        let sandboxed = || {
            // A policy may come into force before the start or after it.
            let late = system(Parking::Auto).unwrap();
            forbid_io_uring();
            let early = system(Parking::Auto).unwrap();
            let error = system(Parking::IoUring).unwrap_err().to_string();
            assert_eq!((early.name(), error.contains("Parking::Ppoll")), ("ppoll", true), "{error}");
            for mut park in [late, early] {
                let (bell, (read, write)) = (Mailbox::new(0).unwrap(), pipe().unwrap());
                let time = Duration::from_millis(5);
                assert!(sleep(&mut *park, &bell, &[readable(&read)], time) >= time);
                rustix::io::write(&write, b"x").unwrap();
                assert!(is_quick(&mut *park, &bell, &[readable(&read)]));
                assert_eq!(park.name(), "ppoll");
            }
        };
        std::thread::spawn(sandboxed).join().unwrap();
    }
}
