//! What happened on a host, counted.

use std::fmt;

/// The counters of one host at one moment: the stack's events and drops by reason, then the frames that the
/// device itself threw away. Names are Linux's.
///
/// ```no_run
/// # fn show(host: hayase::Host) -> std::io::Result<()> {
/// let counters = host.counters()?;
/// println!("{} segments retransmitted", counters.get("TcpRetransSegs").unwrap_or(0));
/// for (name, count) in counters.iter().filter(|(_, count)| *count > 0) {
///     println!("{name} {count}");
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Counters {
    counts: Vec<(&'static str, u64)>,
}

impl Counters {
    pub(crate) fn new(counts: Vec<(&'static str, u64)>) -> Counters {
        Counters { counts }
    }

    /// Those of several interfaces together. Where only some devices have a counter, it is theirs.
    pub(crate) fn sum(of: Vec<Counters>) -> Counters {
        let mut of = of.into_iter();
        let mut sum = of.next().unwrap_or_default();
        for (name, count) in of.flat_map(|counters| counters.counts) {
            match sum.counts.iter_mut().find(|(known, _)| *known == name) {
                Some((_, total)) => *total += count,
                None => sum.counts.push((name, count)),
            }
        }
        sum
    }

    /// Every counter and its name, in a fixed order.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        self.counts.iter().copied()
    }

    /// The counter of this name.
    pub fn get(&self, name: &str) -> Option<u64> {
        self.iter().find(|(known, _)| *known == name).map(|(_, count)| count)
    }
}

/// One line for each counter that is not zero.
impl fmt::Display for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.iter()
            .filter(|(_, count)| *count > 0)
            .try_for_each(|(name, count)| writeln!(f, "{name} {count}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_are_there_but_not_shown() {
        let counters = Counters::new(vec![("TcpInSegs", 3), ("TcpOutRsts", 0)]);
        assert_eq!(counters.to_string(), "TcpInSegs 3\n");
        assert_eq!((counters.get("TcpOutRsts"), counters.get("Nothing")), (Some(0), None));
    }

    #[test]
    fn a_sum_has_every_name_once() {
        let [a, b] = [vec![("TcpInSegs", 3), ("tx_dropped", 1)], vec![("TcpInSegs", 4), ("rx_errors", 2)]];
        let sum = Counters::sum(vec![Counters::new(a), Counters::new(b)]);
        assert_eq!(sum.to_string(), "TcpInSegs 7\ntx_dropped 1\nrx_errors 2\n");
    }
}
