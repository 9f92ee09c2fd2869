//! F-RTO (RFC 5682): whether a timeout was needless, where no timestamps tell. Row N1.

use std::time::Duration;

use hayase_stack::Count;

use crate::dsl::{Got, Script, ack, syn, syn_ack};
use crate::host::ms;
use crate::tcp_attack::icmp_error;

const MSS: u32 = 1460;

/// Ten segments are out, `more` bytes wait, and the timer has run out: the first segment went again.
fn timed_out(more: u32) -> Script {
    let mut t = Script::server();
    t.write(10 * MSS + more);
    assert_eq!(t.drain().len(), 10);
    let again = t.wait_any(Duration::from_secs(2));
    assert_eq!((again.len(), again[0].range()), (1, 1..1 + MSS));
    t
}

fn spurious(t: &Script) -> u64 {
    t.host.stack.counters().get(Count::SpuriousRtos)
}

fn seqs(sent: &[Got]) -> Vec<u32> {
    sent.iter().map(|got| (got.seq - 1) / MSS).collect()
}

#[test]
fn n1_two_acknowledgements_of_what_was_late_undo_a_timeout() {
    let mut t = timed_out(20 * MSS);
    t.peer(ack(1 + MSS));
    assert_eq!(seqs(&t.drain()), [10, 11], "two new segments instead of repetitions (step 2b)");
    t.peer(ack(1 + 2 * MSS));
    assert_eq!(spurious(&t), 1);
    let cwnd = t.host.stack.tcp_info(t.id()).unwrap().snd_cwnd;
    assert!(cwnd >= 10 * MSS, "{cwnd}: as before");
    t.peer(ack(1 + 4 * MSS));
    let sent = t.drain();
    assert!(!sent.is_empty() && seqs(&sent).iter().all(|n| *n >= 12), "nothing goes again: {sent:?}");
}

#[test]
fn n1_a_duplicate_after_new_data_says_that_it_was_a_loss() {
    let mut t = timed_out(20 * MSS);
    t.peer(ack(1 + MSS));
    assert_eq!(seqs(&t.drain()), [10, 11]);
    t.peer(ack(1 + MSS));
    let again = t.drain();
    assert_eq!(seqs(&again), [1], "the next hole, within three segments of window (step 3a)");
    assert_eq!(spurious(&t), 0);
    assert!(t.host.stack.tcp_info(t.id()).unwrap().snd_cwnd <= 3 * MSS);
    t.peer(ack(1 + 10 * MSS));
    assert_eq!(spurious(&t), 0);
}

/// The peer shrinks its window over what is to tell: the byte that asks whether it opens goes all the same (MUST-35).
#[test]
fn n1_a_window_that_shuts_over_the_question_is_probed() {
    let mut t = timed_out(20 * MSS);
    t.peer(ack(1 + MSS));
    assert_eq!(seqs(&t.drain()), [10, 11]);
    t.peer(ack(1 + MSS).window(0));
    t.drain();
    for _ in 0..3 {
        let probes = t.wait_any(Duration::from_secs(10));
        assert!(probes.iter().any(|got| got.len == 1), "{probes:?}");
        t.peer(ack(1 + MSS).window(0));
    }
}

#[test]
fn n1_a_duplicate_at_once_asks_no_more() {
    let mut t = timed_out(20 * MSS);
    t.peer(ack(1));
    t.peer(ack(1 + MSS));
    assert_eq!(seqs(&t.drain()), [1, 2], "what counts as lost goes again (step 2a)");
    assert_eq!(spurious(&t), 0);
}

#[test]
fn n1_what_acknowledges_everything_answers_nothing() {
    let mut t = timed_out(20 * MSS);
    t.peer(ack(1 + 10 * MSS));
    assert!(seqs(&t.drain()).iter().all(|n| *n >= 10));
    t.peer(ack(1 + 11 * MSS));
    assert_eq!(spurious(&t), 0);
}

#[test]
fn n1_without_new_data_the_usual_recovery_goes_on() {
    let mut t = timed_out(0);
    t.peer(ack(1 + MSS));
    assert_eq!(seqs(&t.drain()), [1, 2]);
    t.peer(ack(1 + 3 * MSS));
    assert_eq!(spurious(&t), 0);
}

#[test]
fn n1_a_window_that_is_full_lets_no_new_data_ask() {
    let mut t = Script::server();
    t.write(20 * MSS);
    t.drain();
    // The peer takes no more than is out.
    t.peer(ack(1).window((10 * MSS) as u16));
    t.drain();
    t.wait_any(Duration::from_secs(2));
    t.peer(ack(1 + MSS).window((9 * MSS) as u16));
    assert_eq!(seqs(&t.drain()), [1, 2], "nothing stands still");
}

#[test]
fn n1_a_second_timeout_asks_again_unless_more_went_again_than_one_segment() {
    let mut t = timed_out(20 * MSS);
    assert_eq!(seqs(&t.wait_any(Duration::from_secs(4))), [0]);
    t.peer(ack(1 + MSS));
    assert_eq!(seqs(&t.drain()), [10, 11]);
    // The answer to that does not come.
    assert_eq!(seqs(&t.wait_any(Duration::from_secs(8))), [1]);
    t.peer(ack(1 + 2 * MSS));
    assert_eq!(seqs(&t.drain()), [2, 3]);
    assert_eq!(spurious(&t), 0);
}

/// A router makes segments shorter while the question is open, and what went again goes again as two. What is acknowledged
/// may be either's, and proves nothing.
#[test]
fn n1_what_went_again_twice_answers_nothing() {
    let mut t = Script::listening();
    t.peer(syn().mss(MSS as u16));
    let isn = t.expect(syn_ack()).wire_seq;
    t.wait(ms(20));
    t.peer(ack(1));
    t.accept();
    t.write(30 * MSS);
    assert_eq!(t.drain().len(), 10);
    assert_eq!(seqs(&t.wait_any(Duration::from_secs(2))), [0]);
    icmp_error(&mut t, 3, 4, 1000, isn, 1);
    let again = t.drain();
    assert_eq!((again[0].seq, again[0].len), (1, 960), "what was too long: {again:?}");
    t.peer(ack(1 + MSS));
    let next = t.drain();
    assert!(
        !next.is_empty() && seqs(&next).iter().all(|n| *n < 10),
        "the next of what counts as lost: {next:?}"
    );
    t.peer(ack(1 + 2 * MSS));
    assert_eq!(spurious(&t), 0);
}

/// The same with SACK, where a tail loss probe goes before the timeout: it carries new data.
fn timed_out_with_sack() -> Script {
    let mut t = Script::sack_server();
    t.write(30 * MSS);
    assert_eq!(t.drain().len(), 10);
    assert_eq!(seqs(&repeated_first(&mut t)), [0]);
    t
}

/// Goes on until the timer has run out, past the probe.
fn repeated_first(t: &mut Script) -> Vec<Got> {
    let mut again = vec![];
    while t.host.stack.counters().get(Count::Timeouts) == 0 {
        again = t.wait_any(Duration::from_secs(2));
    }
    again
}

#[test]
fn n1_with_sack_two_acknowledgements_undo_a_timeout_before_more_goes_again() {
    let mut t = timed_out_with_sack();
    t.peer(ack(1 + MSS));
    let new = seqs(&t.drain());
    assert!(new.len() == 2 && new.iter().all(|n| *n >= 10), "{new:?}: new segments instead of repetitions");
    t.peer(ack(1 + 2 * MSS));
    assert_eq!(spurious(&t), 1);
    let cwnd = t.host.stack.tcp_info(t.id()).unwrap().snd_cwnd;
    assert!(cwnd >= 10 * MSS, "{cwnd}: as before");
    t.peer(ack(1 + 4 * MSS));
    assert!(seqs(&t.drain()).iter().all(|n| *n >= 10), "nothing goes again");
}

#[test]
fn n1_with_sack_what_arrives_behind_a_hole_says_that_it_was_a_loss() {
    let mut t = timed_out_with_sack();
    t.peer(ack(1 + MSS));
    let new = t.drain();
    t.peer(ack(1 + MSS).sack(&[(new[0].seq, new[0].range().end)]));
    assert_eq!(seqs(&t.drain())[0], 1, "the hole");
    assert_eq!(spurious(&t), 0);
    assert!(t.host.stack.tcp_info(t.id()).unwrap().snd_cwnd <= 3 * MSS);
}

#[test]
fn n1_with_sack_a_report_of_what_came_twice_is_no_sign_of_a_loss() {
    let mut t = timed_out_with_sack();
    t.peer(ack(1 + 2 * MSS));
    t.drain();
    // The original has overtaken what was sent again, which comes now.
    t.peer(ack(1 + 2 * MSS).sack(&[(1, 1 + MSS)]));
    assert_eq!(t.host.stack.counters().get(Count::DsackUndo), 1, "all that went again came twice");
    assert!(t.host.stack.tcp_info(t.id()).unwrap().snd_cwnd >= 10 * MSS);
}

/// Their echo tells with the first acknowledgement.
#[test]
fn n1_a_peer_with_timestamps_is_not_asked_this_way() {
    let mut t = Script::modern_server();
    t.write(30 * MSS);
    t.drain();
    let again = repeated_first(&mut t);
    assert_eq!(again[0].seq, 1);
    t.peer(ack(1 + again[0].len));
    assert!(t.drain().iter().any(|got| got.seq == 1 + again[0].len), "what counts as lost goes again");
    assert_eq!(spurious(&t), 0);
}
