//! From the stack's errors to `std::io`'s.

use std::io;

use hayase_stack::Error;

/// The stack's error as an [`io::Error`]: the kind for programs to match on, the stack's own words as the text.
#[cold]
pub(crate) fn io_error(error: Error) -> io::Error {
    io::Error::new(kind(error), error)
}

fn kind(error: Error) -> io::ErrorKind {
    use io::ErrorKind as Kind;
    match error {
        Error::AddrInUse => Kind::AddrInUse,
        // Linux says EADDRNOTAVAIL for all.
        Error::AddrNotAvailable | Error::AddrDuplicate | Error::AddrTentative | Error::PortsExhausted => {
            Kind::AddrNotAvailable
        }
        Error::ConnectionRefused => Kind::ConnectionRefused,
        Error::ConnectionReset => Kind::ConnectionReset,
        Error::ConnectionAborted => Kind::ConnectionAborted,
        Error::TimedOut => Kind::TimedOut,
        Error::HostUnreachable => Kind::HostUnreachable,
        Error::NetworkUnreachable => Kind::NetworkUnreachable,
        Error::NotConnected | Error::StaleHandle => Kind::NotConnected,
        Error::BrokenPipe => Kind::BrokenPipe,
        Error::MessageTooLong | Error::InvalidInput(_) => Kind::InvalidInput,
        Error::TooManySockets => Kind::QuotaExceeded,
        _ => Kind::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_those_of_linux_and_texts_those_of_the_stack() {
        let error = io_error(Error::ConnectionRefused);
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        assert_eq!(error.to_string(), Error::ConnectionRefused.to_string());
        assert_eq!(io_error(Error::PortsExhausted).kind(), io::ErrorKind::AddrNotAvailable);
        assert_eq!(io_error(Error::StaleHandle).kind(), io::ErrorKind::NotConnected);
    }
}
