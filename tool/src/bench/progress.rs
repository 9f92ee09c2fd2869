//! How far a long measurement is, on stderr: one line that is written over on a terminal, a line each elsewhere.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

/// On anything but a terminal, lines come no faster than this.
const LINE_PERIOD: Duration = Duration::from_secs(2);

/// The steps of a measurement.
#[derive(Debug)]
pub(super) struct Progress {
    name: &'static str,
    total: usize,
    done: usize,
    is_terminal: bool,
    start: Instant,
    /// When the last line was written.
    said_at: Option<Instant>,
}

impl Progress {
    /// A measurement of so many steps begins.
    pub(super) fn new(name: &'static str, total: usize) -> Progress {
        let is_terminal = io::stderr().is_terminal();
        Progress { name, total, done: 0, is_terminal, start: Instant::now(), said_at: None }
    }

    /// The next step begins.
    pub(super) fn step(&mut self, what: impl Display) {
        let now = Instant::now();
        let is_due = self.said_at.is_none_or(|at| now - at >= LINE_PERIOD);
        if self.is_terminal || is_due {
            self.said_at = Some(now);
            let (clear, end) = if self.is_terminal { ("\r\x1b[K", "") } else { ("hayase: ", "\n") };
            // Where nobody listens, nothing is lost.
            let _ = write!(io::stderr(), "{clear}{}{end}", self.line(&what));
        }
        self.done += 1;
    }

    fn line(&self, what: &dyn Display) -> String {
        let Progress { name, done, total, .. } = self;
        let mut line = format!("{name} {}/{total}: {what}", done + 1);
        if *done > 0 {
            let left = self.start.elapsed().mul_f64((total - done) as f64 / *done as f64);
            line.push_str(&format!(", {} s left", left.as_secs() + 1));
        }
        line
    }
}

impl Drop for Progress {
    /// Leaves the terminal as it was.
    fn drop(&mut self) {
        if self.is_terminal {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_how_far_it_is() {
        let mut progress = Progress::new("idle-cost", 4);
        assert_eq!(progress.line(&"100 idle"), "idle-cost 1/4: 100 idle");
        progress.step("100 idle");
        assert!(progress.line(&"1,000 idle").starts_with("idle-cost 2/4: 1,000 idle, "));
    }
}
