//! What the peer of a connection marked as urgent, and what the client knows of it.

/// Where it ends, counted from the beginning of the stream.
///
/// A peer may move its urgent pointer with every segment. The client is told of one place at a time: until it has taken that
/// note of, all later ones are one, the last.
#[derive(Debug, Default)]
pub(super) struct Urgent {
    end: u64,
    told: u64,
    /// The client was told of `told`, and has not said that it knows.
    is_under_way: bool,
}

impl Urgent {
    /// The peer has marked what is before `end`. Returns what the client is to be told.
    pub(super) fn mark(&mut self, end: u64) -> Option<u64> {
        self.end = self.end.max(end);
        self.next()
    }

    /// The client knows what it was told. Returns what it is to be told next.
    pub(super) fn heard(&mut self) -> Option<u64> {
        self.is_under_way = false;
        self.next()
    }

    fn next(&mut self) -> Option<u64> {
        if self.is_under_way { None } else { self.last() }
    }

    /// What the client was not told yet, for there is no later.
    pub(super) fn last(&mut self) -> Option<u64> {
        let is_news = self.end > self.told;
        if is_news {
            (self.told, self.is_under_way) = (self.end, true);
        }
        is_news.then_some(self.end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_is_told_once() {
        let mut urgent = Urgent::default();
        assert_eq!([10, 10, 9].map(|end| urgent.mark(end)), [Some(10), None, None]);
        assert_eq!((urgent.heard(), urgent.mark(10), urgent.last()), (None, None, None));
    }

    #[test]
    fn one_message_is_under_way_however_often_the_pointer_moves() {
        let mut urgent = Urgent::default();
        let told = (1..=1000).filter_map(|end| urgent.mark(end)).collect::<Vec<_>>();
        assert_eq!(told, [1]);
        assert_eq!(urgent.heard(), Some(1000), "all that came meanwhile");
        assert_eq!((urgent.mark(1001), urgent.heard(), urgent.heard()), (None, Some(1001), None));
    }

    #[test]
    fn nothing_is_kept_back_from_one_that_leaves() {
        let mut urgent = Urgent::default();
        assert_eq!(
            (urgent.mark(5), urgent.mark(7), urgent.last(), urgent.last()),
            (Some(5), None, Some(7), None)
        );
    }
}
