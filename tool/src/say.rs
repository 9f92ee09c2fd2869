//! What the command prints. Whoever reads it may stop reading: `println!` panics then, and `hayase ping ... | head` is no fault.

use std::fmt::Display;
use std::io::{self, ErrorKind, Write};

use crate::failure::{Failure, Result};

/// Prints a line on standard output.
///
/// # Errors
/// If it cannot be written. Where nobody reads any more, there is nothing to be said about it.
pub(crate) fn say(line: impl Display) -> Result {
    let mut stdout = io::stdout().lock();
    // In one piece: whoever reads the first line may then be gone.
    let line = format!("{line}\n");
    stdout.write_all(line.as_bytes()).and_then(|()| stdout.flush()).map_err(|error| unsaid(&error))
}

/// Prints a line on standard error. Where nobody reads that, nothing is lost.
pub(crate) fn note(line: impl Display) {
    let _ = writeln!(io::stderr(), "{line}");
}

fn unsaid(error: &io::Error) -> Failure {
    match error.kind() {
        ErrorKind::BrokenPipe => Failure::Silent,
        _ => Failure::Error(format!("cannot write standard output: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_reader_who_has_left_is_no_error() {
        let gone = unsaid(&ErrorKind::BrokenPipe.into());
        let full = unsaid(&ErrorKind::StorageFull.into());
        assert!(matches!((gone, full), (Failure::Silent, Failure::Error(_))));
    }
}
