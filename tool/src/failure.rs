//! Why a command could not do its work, and what to do about it.

use std::error::Error;
use std::fmt::{self, Display};
use std::io;
use std::process::ExitCode;

use clap::CommandFactory;
use clap::error::ErrorKind;

use crate::cli::Cli;
use crate::say::note;
use crate::signal::INTERRUPTED;

pub(crate) type Result<T = ()> = std::result::Result<T, Failure>;

/// The end of a command that did not succeed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Arguments that make no sense together: exit code 2, as for those that clap refuses.
    Usage(String),
    /// Everything else: exit code 1.
    Error(String),
    /// Everything has been said already: exit code 1.
    Silent,
    /// A signal ended it, and there is nothing to say about that: exit code 130.
    Interrupted,
}

impl Failure {
    /// Says it on stderr and returns the exit code.
    pub(crate) fn report(self) -> ExitCode {
        match self {
            Failure::Usage(text) => Cli::command().error(ErrorKind::ArgumentConflict, text).exit(),
            Failure::Error(text) => note(format_args!("hayase: {text}")),
            Failure::Silent => {}
            Failure::Interrupted => return ExitCode::from(INTERRUPTED),
        }
        ExitCode::FAILURE
    }
}

impl Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Usage(text) | Failure::Error(text) => f.write_str(text),
            Failure::Silent => Ok(()),
            Failure::Interrupted => f.write_str("interrupted"),
        }
    }
}

impl<E: Error> From<E> for Failure {
    fn from(error: E) -> Failure {
        Failure::Error(error.to_string())
    }
}

/// Puts what was attempted before an error's own words.
pub(crate) trait Attempt<T> {
    fn attempt(self, what: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: Error> Attempt<T> for std::result::Result<T, E> {
    fn attempt(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|error| Failure::Error(format!("{}: {error}", what())))
    }
}

/// Why there is no connection, and what to do about it. The stack's words and the operating system's say the first.
pub(crate) fn unconnected(error: &io::Error) -> String {
    let advice = match error.kind() {
        io::ErrorKind::ConnectionRefused => "start the server there, or correct the port",
        io::ErrorKind::TimedOut => {
            "look whether that host is up (`hayase ping`), and whether a firewall drops what comes to that port"
        }
        io::ErrorKind::HostUnreachable => {
            "look whether that host is up and on this link, or the gateway is (`gateway=` of the device)"
        }
        io::ErrorKind::NetworkUnreachable => {
            "give the device an address of that network or a gateway (`addr=`, `gateway=`), the operating system a route (`ip route`)"
        }
        _ => return error.to_string(),
    };
    format!("{error}; {advice}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_cannot_connect_is_told_what_to_do() {
        for (kind, advice) in [
            (io::ErrorKind::ConnectionRefused, "start the server"),
            (io::ErrorKind::TimedOut, "hayase ping"),
            (io::ErrorKind::HostUnreachable, "gateway="),
            (io::ErrorKind::NetworkUnreachable, "addr="),
        ] {
            let text = unconnected(&io::Error::new(kind, "what happened"));
            assert!(text.starts_with("what happened; ") && text.contains(advice), "{text}");
        }
        assert_eq!(unconnected(&io::Error::other("something else")), "something else");
    }

    #[test]
    fn errors_keep_their_words_behind_the_attempt() {
        let refused = std::io::Error::other("nobody is there");
        let failure = Err::<(), _>(refused).attempt(|| "cannot connect".into()).unwrap_err();
        assert_eq!(failure.to_string(), "cannot connect: nobody is there");
    }
}
