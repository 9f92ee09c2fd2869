//! What the kernel has counted, as `/proc` tells it.

use std::collections::HashMap;
use std::fs;
use std::io;

/// Pairs of lines: a protocol with the names of its counters, and with their values.
const TABLES: [&str; 2] = ["/proc/thread-self/net/snmp", "/proc/thread-self/net/netstat"];

/// The counters of this thread's network namespace, whoever caused them, under the names that nstat(8) gives them:
/// `TcpRetransSegs`.
///
/// # Errors
/// If there is no `/proc`.
pub fn counters() -> io::Result<HashMap<String, u64>> {
    let mut counters = HashMap::new();
    for path in TABLES {
        take_table(&fs::read_to_string(path)?, &mut counters);
    }
    Ok(counters)
}

fn take_table(text: &str, counters: &mut HashMap<String, u64>) {
    let mut lines = text.lines();
    while let (Some(names), Some(values)) = (lines.next(), lines.next()) {
        let (Some((protocol, names)), Some((_, values))) = (names.split_once(':'), values.split_once(':'))
        else {
            return;
        };
        for (name, value) in names.split_whitespace().zip(values.split_whitespace()) {
            // Some are settings, and may be -1.
            if let Ok(value) = value.parse() {
                counters.insert(format!("{protocol}{name}"), value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_meet_their_values() {
        let mut counters = HashMap::new();
        let text = "Tcp: MaxConn ActiveOpens\nTcp: -1 97\nTcpExt: TCPTimeouts\nTcpExt: 3\n";
        take_table(text, &mut counters);
        let wanted = [("TcpActiveOpens", 97), ("TcpExtTCPTimeouts", 3)];
        assert_eq!(counters, wanted.map(|(name, value)| (name.to_owned(), value)).into());
    }

    #[test]
    fn the_kernel_has_counted_something() {
        assert!(counters().unwrap().contains_key("TcpRetransSegs"));
    }
}
