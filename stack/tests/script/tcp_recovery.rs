//! Modern loss recovery: RACK-TLP (RFC 8985), PRR (RFC 9937), needless retransmissions undone (RFC 3522, 3708, 4015).
//! Rows D and N1.

use std::task::Poll;
use std::time::Duration;

use hayase_device::Offloads;
use hayase_stack::{CaState, Config, Count, Error, State};

use crate::dsl::{Got, Script, Segment, ack, modern_syn, syn, syn_ack};
use crate::host::{Host, PEER_V4, STACK_V4, ms};

const RTT: Duration = ms(60);

/// A path of 60 ms that the stack has measured.
fn on_a_known_path(syn: Segment, offloads: Offloads) -> Script {
    let mut config = Config::default();
    config.pacing = false;
    let host = Host::on(config, 1500, offloads);
    let mut t = Script::listening_on(host, STACK_V4, PEER_V4);
    t.peer(syn);
    t.expect(syn_ack());
    t.wait(RTT);
    t.peer(ack(1));
    t.accept();
    for _ in 0..20 {
        t.write(100);
        let sent = t.drain();
        t.wait(RTT);
        t.peer(ack(sent[0].range().end));
    }
    t
}

/// A peer 60 ms away; its segments are counted from here.
struct Path {
    t: Script,
    mss: u32,
    base: u32,
}

impl Path {
    fn new(syn: Segment, mss: u32) -> Path {
        Path::on(syn, mss, Offloads::NONE)
    }

    fn on(syn: Segment, mss: u32, offloads: Offloads) -> Path {
        let t = on_a_known_path(syn, offloads);
        Path { base: t.seen, mss, t }
    }

    fn sack() -> Path {
        Path::new(syn().mss(1460).sack_permitted(), 1460)
    }

    fn modern() -> Path {
        Path::new(modern_syn(), 1448)
    }

    fn write(&mut self, segments: u32) {
        self.t.write(segments * self.mss);
    }

    /// Acknowledges the segments before `una` and reports these.
    fn ack(&mut self, una: u32, sacked: &[(u32, u32)]) {
        let sack: Vec<(u32, u32)> = sacked.iter().map(|(l, r)| (self.at(*l), self.at(*r))).collect();
        self.t.peer(ack(self.at(una)).sack(&sack));
    }

    fn at(&self, n: u32) -> u32 {
        self.base + n * self.mss
    }

    /// The segments that the stack sent since.
    fn heard(&mut self) -> Vec<u32> {
        let (base, mss) = (self.base, self.mss);
        let number = |got: &Got| (got.seq - base) / mss;
        self.t.drain().iter().filter(|got| got.len > 0).map(number).collect()
    }

    fn count(&self, count: Count) -> u64 {
        self.t.host.stack.counters().get(count)
    }
}

#[test]
fn d9_a_segment_late_by_less_than_a_quarter_of_the_round_trip_is_not_lost() {
    let mut path = Path::sack();
    path.write(10);
    path.heard();
    path.t.wait(RTT);
    path.ack(0, &[(1, 2)]);
    path.ack(0, &[(1, 3)]);
    path.t.wait(ms(14));
    path.ack(10, &[]);
    path.t.wait(ms(1000));
    assert_eq!(path.heard(), [] as [u32; 0]);
}

#[test]
fn d9_a_segment_later_than_that_is_lost_without_a_third_duplicate() {
    let mut path = Path::sack();
    path.write(3);
    path.heard();
    path.t.wait(RTT);
    path.ack(0, &[(1, 3)]);
    path.t.wait(ms(14));
    assert_eq!(path.heard(), [] as [u32; 0]);
    path.t.wait(ms(2));
    assert_eq!(path.heard(), [0]);
}

#[test]
fn d9_a_path_that_reorders_is_given_time_even_with_three_duplicates() {
    let mut path = Path::sack();
    path.write(10);
    path.t.wait(RTT);
    path.ack(0, &[(1, 2)]);
    path.ack(10, &[]);
    path.write(10);
    path.heard();
    path.t.wait(RTT);
    path.ack(10, &[(11, 18)]);
    path.t.wait(ms(10));
    assert_eq!(path.heard(), [] as [u32; 0], "reordering was seen before");
    path.t.wait(ms(10));
    assert_eq!(path.heard(), [10]);
}

#[test]
fn d10_the_last_segment_goes_again_after_two_round_trips() {
    let mut path = Path::sack();
    path.write(6);
    path.heard();
    path.t.wait(RTT);
    path.ack(4, &[]);
    path.t.wait(ms(110));
    assert_eq!(path.heard(), [] as [u32; 0]);
    path.t.wait(ms(20));
    assert_eq!(path.heard(), [5]);
    path.t.wait(RTT);
    path.ack(4, &[(5, 6)]);
    path.t.wait(ms(20));
    assert_eq!(path.heard(), [4]);
    assert_eq!((path.count(Count::LossProbes), path.count(Count::Timeouts)), (1, 0));
}

#[test]
fn d10_segments_that_the_device_cuts_are_several() {
    let mut path = Path::on(syn().mss(1460).sack_permitted(), 1460, Offloads::ALL);
    path.write(6);
    path.t.drain();
    path.t.wait(ms(110));
    assert_eq!(path.count(Count::LossProbes), 0);
    path.t.wait(ms(20));
    assert_eq!(path.heard(), [5]);
    assert_eq!((path.count(Count::LossProbes), path.count(Count::Timeouts)), (1, 0));
}

#[test]
fn d10_new_data_is_the_better_probe() {
    let mut path = Path::sack();
    path.write(6);
    path.t.wait(ms(100));
    path.t.window = 6 * 1460;
    path.ack(2, &[]);
    path.heard();
    path.t.write(100);
    path.heard();
    path.t.wait(ms(300));
    let count = path.count(Count::LossProbes);
    assert_eq!(count, 1);
}

#[test]
fn d10_there_is_one_probe_and_then_the_timeout() {
    let mut path = Path::sack();
    path.write(6);
    path.heard();
    path.t.wait(ms(250));
    assert_eq!(path.heard(), [5]);
    path.t.wait(ms(200));
    assert_eq!(path.heard(), [0], "the timeout");
    assert_eq!(path.count(Count::LossProbes), 1);
}

/// Who goes on writing puts the probe off, for it is for the end of what is outstanding, and not the timeout.
#[test]
fn d10_a_peer_that_is_gone_is_found_out_however_often_something_is_written() {
    let mut path = Path::sack();
    let id = path.t.id();
    path.t.host.stack.tcp_set_user_timeout(id, Some(ms(3000))).unwrap();
    path.t.set_nodelay(true);
    let mut timeouts_at = vec![];
    for n in 0..40 {
        if let Poll::Ready(Err(error)) = path.t.try_write(100) {
            assert_eq!(error, Error::TimedOut);
            assert!(n * 90 < 3500, "the user timeout, and not {n} times 90 ms");
            break;
        }
        path.t.drain();
        path.t.wait(ms(90));
        if path.count(Count::Timeouts) > timeouts_at.len() as u64 {
            timeouts_at.push(n * 90);
        }
    }
    // The round trip, and a fifth of a second.
    assert!(timeouts_at[0] < 400, "{timeouts_at:?}");
    assert_eq!(path.t.state(), State::Closed);
}

#[test]
fn d10_nothing_but_a_byte_probes_a_window_that_was_shut() {
    let mut path = Path::sack();
    path.write(6);
    path.heard();
    path.t.window = 0;
    path.ack(2, &[]);
    for _ in 0..100 {
        path.t.wait(ms(20));
        let sent = path.t.drain();
        assert!(sent.iter().all(|got| got.len <= 1), "{sent:?}");
    }
    assert_eq!(path.count(Count::LossProbes), 0);
}

#[test]
fn d10_a_probe_that_repaired_a_loss_is_told_to_congestion_control() {
    let mut path = Path::sack();
    path.write(6);
    path.t.wait(ms(250));
    path.heard();
    path.ack(6, &[]);
    path.write(6);
    path.t.wait(RTT);
    path.ack(12, &[]);
    assert_eq!(path.count(Count::LossProbeRecovery), 1);
    let info = path.t.host.stack.tcp_info(path.t.id()).unwrap();
    assert_eq!(info.snd_ssthresh, (10 + 6) * 1460 * 7 / 10, "as for any other loss");
}

#[test]
fn d10_a_probe_that_was_needless_costs_nothing() {
    let mut path = Path::sack();
    path.write(6);
    path.t.wait(ms(250));
    path.heard();
    path.ack(6, &[(5, 6)]);
    path.write(6);
    path.t.wait(RTT);
    path.ack(12, &[]);
    assert_eq!(path.count(Count::LossProbeRecovery), 0);
}

#[test]
fn d10_a_bare_duplicate_tells_that_a_probe_was_needless() {
    let mut path = Path::sack();
    path.write(6);
    path.t.wait(ms(250));
    path.heard();
    path.ack(6, &[]);
    path.ack(6, &[]);
    path.write(6);
    path.t.wait(RTT);
    path.ack(12, &[]);
    assert_eq!(path.count(Count::LossProbeRecovery), 0);
}

#[test]
fn d10_a_peer_without_sack_is_not_probed() {
    let mut path = Path::new(syn().mss(1460), 1460);
    path.write(6);
    path.heard();
    path.t.wait(ms(240));
    assert_eq!(path.heard(), [] as [u32; 0]);
}

#[test]
fn d7_a_lost_retransmission_is_found_without_a_timeout() {
    let mut path = Path::sack();
    path.write(30);
    path.heard();
    path.t.wait(RTT);
    path.ack(0, &[(1, 8)]);
    let again = path.heard();
    assert_eq!(again.iter().filter(|n| **n == 0).count(), 1);
    let newest = *again.iter().max().unwrap();
    assert!(newest >= 10, "new data follows: {again:?}");
    path.t.wait(ms(1));
    path.ack(0, &[(1, 10)]);
    let newest = path.heard().into_iter().max().unwrap_or(newest);
    path.t.wait(RTT);
    path.ack(0, &[(1, newest + 1)]);
    path.t.wait(ms(20));
    assert!(path.heard().contains(&0), "sent before what arrived: lost again");
    assert_eq!(path.count(Count::Timeouts), 0);
}

/// Segment 1 is lost, and what came behind it is reported 100 ms after segment 0 was acknowledged.
fn in_recovery(segments: u32) -> Path {
    let mut path = Path::modern();
    path.write(segments);
    path.heard();
    path.t.wait(RTT);
    path.ack(1, &[]);
    path.t.wait(ms(100));
    path.ack(1, &[(2, 10)]);
    assert!(path.heard().contains(&1));
    path
}

/// As in Linux: RFC 5681 §3.1 speaks of a loss that nothing was known of before.
#[test]
fn b4_a_timeout_in_recovery_leaves_the_threshold_where_it_was() {
    let mut path = in_recovery(40);
    let info = |path: &Path| path.t.host.stack.tcp_info(path.t.id()).unwrap();
    let reduced = info(&path).snd_ssthresh;
    assert!(info(&path).unacked > 12 * path.mss, "new data went out meanwhile");
    path.t.wait(ms(400));
    let lost = info(&path);
    assert_eq!((lost.ca_state, lost.snd_ssthresh, lost.snd_cwnd), (CaState::Loss, reduced, path.mss));
}

/// RFC 9937: what goes out is in proportion to what arrives.
#[test]
fn n1_the_window_shrinks_segment_by_segment() {
    let mut path = Path::modern();
    path.write(200);
    let mut acked = 0;
    for _ in 0..2 {
        let flight = path.heard();
        path.t.wait(RTT);
        acked += flight.len() as u32;
        path.ack(acked, &[]);
    }
    let count = path.heard().len() as u32;
    assert!(count >= 20);
    path.t.wait(RTT);
    let mut sent = vec![];
    for n in 2..=count {
        path.ack(acked, &[(acked + 1, acked + n)]);
        sent.push(path.heard().len() as u32);
    }
    let total: u32 = sent.iter().sum();
    assert!((count * 6 / 10..=count * 8 / 10 + 3).contains(&total), "{total} for {count}: {sent:?}");
    assert!(sent.iter().all(|n| *n <= 2), "no burst: {sent:?}");
    let gap = sent.iter().skip(4).collect::<Vec<_>>().split(|n| **n > 0).map(<[_]>::len).max();
    assert!(gap <= Some(4), "no pause: {sent:?}");
}

/// RFC 3522 and 4015: the round trip grew from 60 to 600 ms at once.
#[test]
fn n1_a_needless_timeout_is_undone_by_the_timestamp() {
    let mut path = Path::modern();
    path.write(40);
    let first = path.t.drain();
    let echo = first[0].options.timestamps.unwrap().0;
    path.t.wait(ms(600));
    assert!(path.count(Count::Timeouts) > 0);
    path.t.drain();
    let ts = path.t.ts_now();
    path.t.peer(ack(path.at(5)).timestamps(ts, echo));
    assert_eq!(path.count(Count::SpuriousRtos), 1);
    let after = path.heard();
    assert_eq!(after, [11, 12, 13, 14], "new data, as before: 10 was a probe");
}

#[test]
fn n1_a_timeout_that_was_needed_is_not_undone() {
    let mut path = Path::modern();
    path.write(40);
    path.t.wait(ms(600));
    path.heard();
    path.ack(1, &[]);
    assert_eq!(path.count(Count::SpuriousRtos), 0);
    assert_eq!(path.heard().first(), Some(&1), "the rest goes again");
}

#[test]
fn n1_a_timeout_keeps_what_the_peer_reported() {
    let mut path = Path::sack();
    path.write(10);
    path.heard();
    path.t.wait(RTT);
    path.ack(0, &[(1, 2), (5, 9)]);
    path.t.wait(ms(4000));
    path.heard();
    path.ack(2, &[(5, 9)]);
    path.ack(3, &[(5, 9)]);
    path.ack(5, &[(5, 9)]);
    assert!(path.heard().iter().all(|n| !(5..9).contains(n)));
}

/// RFC 3708: every segment that went again had arrived twice.
#[test]
fn n1_a_needless_fast_retransmit_is_undone_by_duplicates() {
    let mut path = Path::sack();
    path.write(40);
    path.heard();
    path.t.wait(RTT);
    path.ack(0, &[(1, 5)]);
    assert_eq!(path.heard().first(), Some(&0));
    path.t.wait(ms(5));
    path.ack(10, &[]);
    path.t.wait(ms(55));
    let before = path.count(Count::DsackUndo);
    path.ack(10, &[(0, 1)]);
    assert_eq!((before, path.count(Count::DsackUndo)), (0, 1));
}

#[test]
fn n1_a_modern_peer_sees_a_long_lossy_transfer_without_a_timeout() {
    let mut t = Script::listening().established(modern_syn());
    let mss = 1448;
    let mut have = std::collections::BTreeSet::new();
    let (mut una, mut rng, mut written) = (0, 7u64, 0);
    while una < 400 {
        if written < 600 && t.try_write(20 * mss).is_ready() {
            written += 20;
        }
        t.wait(ms(20));
        let flight = t.drain();
        for got in flight.iter().filter(|got| got.len > 0) {
            rng = rng.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            if (rng >> 33) % 100 >= 3 {
                have.insert((got.seq - 1) / mss);
            }
        }
        while have.contains(&una) {
            una += 1;
        }
        let seg = |n: u32| 1 + n * mss;
        let above: Vec<u32> = have.iter().copied().filter(|n| *n > una).collect();
        let mut held: Vec<(u32, u32)> = vec![];
        for n in above {
            match held.last_mut() {
                Some((_, r)) if *r == seg(n) => *r = seg(n + 1),
                _ => held.push((seg(n), seg(n + 1))),
            }
        }
        held.truncate(3);
        t.peer(ack(seg(una)).sack(&held));
    }
    assert_eq!(t.host.stack.counters().get(Count::Timeouts), 0);
}
