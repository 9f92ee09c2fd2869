//! The wheel against an ordered map that does the same slowly.

use std::collections::{BTreeMap, HashMap};

use hayase_time::{Instant, TimerKey, Wheel};
use proptest::prelude::*;

const TICK: u64 = 1 << 16;

#[derive(Debug, Clone)]
enum Step {
    Insert { after: u64 },
    InsertPast { before: u64 },
    Remove { which: usize },
    Reset { which: usize, after: u64 },
    Advance { by: u64 },
    Jump,
}

/// Lengths of every magnitude, from nanoseconds to centuries, with the edges of ticks and levels among them.
fn length() -> impl Strategy<Value = u64> {
    prop_oneof![
        (0u32..63, any::<u64>()).prop_map(|(bits, noise)| noise & ((1 << bits) - 1)),
        (0u32..47, 0u64..3).prop_map(|(bits, offset)| ((TICK << bits) + offset).saturating_sub(1)),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => length().prop_map(|after| Step::Insert { after }),
        1 => length().prop_map(|before| Step::InsertPast { before }),
        2 => any::<usize>().prop_map(|which| Step::Remove { which }),
        1 => (any::<usize>(), length()).prop_map(|(which, after)| Step::Reset { which, after }),
        4 => (0u32..45, any::<u64>()).prop_map(|(bits, noise)| Step::Advance { by: noise & ((1 << bits) - 1) }),
        2 => Just(Step::Jump),
    ]
}

/// The wheel, and what it ought to hold.
struct Model {
    wheel: Wheel<u64>,
    now: u64,
    /// Deadline and id, in order.
    deadlines: BTreeMap<(u64, u64), TimerKey>,
    at: HashMap<u64, u64>,
    /// The tick that each entry fires in: that of its deadline, or of its insertion if that came later.
    tick: HashMap<u64, u64>,
    gone: Vec<TimerKey>,
    ids: u64,
}

impl Model {
    fn new(now: u64) -> Model {
        Model {
            wheel: Wheel::new(Instant::from_nanos(now)),
            now,
            deadlines: BTreeMap::new(),
            at: HashMap::new(),
            tick: HashMap::new(),
            gone: Vec::new(),
            ids: 0,
        }
    }

    fn insert(&mut self, at: u64) {
        self.ids += 1;
        let key = self.wheel.insert(Instant::from_nanos(at), self.ids);
        self.deadlines.insert((at, self.ids), key);
        self.at.insert(self.ids, at);
        self.tick.insert(self.ids, at.div_ceil(TICK).max(self.now / TICK));
    }

    fn pick(&self, which: usize) -> Option<((u64, u64), TimerKey)> {
        let index = which.checked_rem(self.deadlines.len())?;
        self.deadlines.iter().nth(index).map(|(entry, key)| (*entry, *key))
    }

    fn remove(&mut self, which: usize) {
        if let Some(((at, id), key)) = self.pick(which) {
            assert_eq!(self.wheel.remove(key), Some(id));
            self.deadlines.remove(&(at, id));
            self.gone.push(key);
        }
    }

    fn reset(&mut self, which: usize, after: u64) {
        if let Some(((old, id), key)) = self.pick(which) {
            let at = self.now.saturating_add(after);
            assert!(self.wheel.reset(key, Instant::from_nanos(at)));
            self.deadlines.remove(&(old, id));
            self.deadlines.insert((at, id), key);
            self.at.insert(id, at);
            self.tick.insert(id, at.div_ceil(TICK).max(self.now / TICK));
        }
    }

    /// Moves the time on and checks what comes out.
    fn advance(&mut self, to: u64) {
        self.now = self.now.max(to);
        let mut last_tick = 0;
        while let Some(id) = self.wheel.expire(Instant::from_nanos(self.now)) {
            let at = self.at[&id];
            assert!(at <= self.now, "{} ns early", at - self.now);
            let key = self.deadlines.remove(&(at, id)).expect("fired twice or after its removal");
            self.gone.push(key);
            assert!(self.tick[&id] >= last_tick, "out of order");
            last_tick = self.tick[&id];
        }
        if let Some(((at, _), _)) = self.deadlines.first_key_value() {
            assert!(at.div_ceil(TICK) > self.now / TICK, "an entry of {at} is more than a tick late");
        }
    }

    fn check(&self) {
        assert_eq!(self.wheel.len(), self.deadlines.len());
        assert_eq!(self.wheel.is_empty(), self.deadlines.is_empty());
        let next = self.wheel.next_deadline().map(Instant::as_nanos);
        let first = self.deadlines.first_key_value().map(|((at, _), _)| *at);
        assert_eq!(next.is_some(), first.is_some());
        if let (Some(next), Some(first)) = (next, first) {
            let fires = first.div_ceil(TICK) * TICK;
            assert!(next <= fires.max(self.now), "{next} is later than {fires}");
        }
        for key in &self.gone {
            assert_eq!(self.wheel.get(*key), None, "a stale key found an entry");
        }
    }

    /// Everything that is left fires, each at its time, with no more calls than the levels allow.
    fn drain(&mut self) {
        let calls_max = self.deadlines.len() * 9 + 9;
        for _ in 0..calls_max {
            let Some(next) = self.wheel.next_deadline() else { break };
            self.advance(next.as_nanos());
        }
        assert!(self.wheel.is_empty() && self.deadlines.is_empty());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn behaves_as_an_ordered_map(
        start in 0u64..1 << 50,
        steps in proptest::collection::vec(step(), 0..120),
    ) {
        let mut model = Model::new(start);
        for step in steps {
            match step {
                Step::Insert { after } => model.insert(model.now.saturating_add(after)),
                Step::InsertPast { before } => model.insert(model.now.saturating_sub(before)),
                Step::Remove { which } => model.remove(which),
                Step::Reset { which, after } => model.reset(which, after),
                Step::Advance { by } => model.advance(model.now.saturating_add(by)),
                Step::Jump => {
                    if let Some(next) = model.wheel.next_deadline() {
                        model.advance(next.as_nanos());
                    }
                }
            }
            model.check();
        }
        model.drain();
    }
}
