//! Explicit congestion notification: RFC 3168, RFC 8311. Rows G1 to G4.

use std::time::Duration;

use hayase_stack::{Config, Count, Ecn, State, TcpInfo};

use crate::codec::{ACK, CWR, ECE, ECT_0, IpOut, SYN, TCP, UDP, udp};
use crate::dsl::{Script, Segment, ack, data, modern_syn, syn, syn_ack};
use crate::host::{Host, PEER_V4, PEER_V6, STACK_V4, STACK_V6, ms};

fn host(ecn: Ecn) -> Host {
    let mut config = Config::default();
    config.ecn = ecn;
    Host::with(config, 1500)
}

fn listening(ecn: Ecn) -> Script {
    Script::listening_on(host(ecn), STACK_V4, PEER_V4)
}

fn info(t: &Script) -> TcpInfo {
    t.host.stack.tcp_info(t.id()).unwrap()
}

fn reductions(t: &Script) -> u64 {
    t.host.stack.counters().get(Count::EcnReductions)
}

/// The answer to an ECN-setup SYN that agrees.
fn agreement() -> Segment {
    syn_ack().and(ECE)
}

/// Established by a peer that asked for ECN.
fn ecn_server(offer: Segment) -> Script {
    let mut t = listening(Ecn::Accept);
    t.peer(offer.and(ECE | CWR));
    t.expect(agreement());
    t.peer(ack(1));
    t.accept();
    assert!(info(&t).ecn);
    t
}

#[test]
fn g1_a_syn_that_asks_is_answered_by_ece_alone_rfc_3168_6_1_1() {
    for (ecn, agrees) in [(Ecn::Off, false), (Ecn::Accept, true), (Ecn::Request, true)] {
        let mut t = listening(ecn);
        t.peer(modern_syn().and(ECE | CWR));
        t.expect(if agrees { agreement() } else { syn_ack() });
        t.peer(ack(1));
        t.accept();
        assert_eq!(info(&t).ecn, agrees, "{ecn:?}");
    }
    for half in [ECE, CWR, 0] {
        let mut t = listening(Ecn::Request);
        t.peer(syn().and(half));
        t.expect(syn_ack());
        t.peer(ack(1));
        t.accept();
        assert!(!info(&t).ecn, "{half:#x}");
    }
}

#[test]
fn g1_we_ask_only_if_configured_and_need_a_good_answer() {
    let cases = [(ECE, true), (0, false), (ECE | CWR, false), (CWR, false)];
    for (answer, agrees) in cases {
        let mut t = Script::connecting_on(host(Ecn::Request), STACK_V4, PEER_V4);
        t.expect(syn().and(ECE | CWR));
        t.peer(syn_ack().mss(1460).and(answer));
        t.expect(ack(1));
        assert_eq!((info(&t).ecn, t.state()), (agrees, State::Established), "{answer:#x}");
    }
    for ecn in [Ecn::Off, Ecn::Accept] {
        let mut t = Script::connecting_on(host(ecn), STACK_V4, PEER_V4);
        t.expect(syn());
        t.peer(syn_ack().and(ECE));
        t.expect(ack(1));
        assert!(!info(&t).ecn, "{ecn:?}");
    }
}

#[test]
fn g1_a_syn_that_is_not_answered_asks_no_more_rfc_3168_6_1_1_1() {
    let mut t = Script::connecting_on(host(Ecn::Request), STACK_V4, PEER_V4);
    t.expect(syn().and(ECE | CWR));
    t.wait_for(Duration::from_secs(2), syn());
    t.peer(syn_ack().and(ECE));
    t.expect(ack(1));
    assert!(!info(&t).ecn);
}

#[test]
fn g1_a_peer_that_asks_no_more_gets_none() {
    let mut t = listening(Ecn::Accept);
    t.peer(syn().and(ECE | CWR));
    t.expect(agreement());
    t.peer(syn());
    t.expect(syn_ack());
    t.peer(ack(1));
    t.accept();
    assert!(!info(&t).ecn);
}

#[test]
fn g1_a_simultaneous_open_may_agree() {
    let mut t = Script::connecting_on(host(Ecn::Request), STACK_V4, PEER_V4);
    t.expect(syn().and(ECE | CWR));
    t.peer(syn().mss(1460).and(ECE | CWR));
    t.expect(agreement());
    t.peer(syn_ack().and(ECE));
    assert_eq!((t.state(), info(&t).ecn), (State::Established, true));
}

#[test]
fn g1_a_cookie_keeps_it() {
    let mut config = Config::default();
    config.syn_backlog_max = 0;
    for (offer, agrees) in [(modern_syn(), true), (syn().mss(1460), false)] {
        let mut t = Script::listening_with(config.clone());
        t.peer(offer.and(ECE | CWR));
        t.expect(if agrees { agreement() } else { syn_ack() });
        t.peer(ack(1));
        t.accept();
        assert_eq!(info(&t).ecn, agrees);
    }
}

#[test]
fn g2_new_data_is_ect_and_nothing_else_is() {
    for offer in [modern_syn(), syn().mss(1460)] {
        let mut t = ecn_server(offer);
        t.set_nodelay(true);
        // One segment, the short way; several, the long way.
        for len in [100, 10_000] {
            t.write(len);
            let sent = t.drain();
            assert!(sent.iter().all(|got| got.ecn == ECT_0 && got.len > 0), "{sent:?}");
            t.peer(ack(t.seen));
        }
        t.peer_all([data(1..1401), data(1401..2801), data(2801..4201)]);
        assert_eq!(t.expect(ack(4201)).ecn, 0, "a pure ACK");
        t.read();
        t.drain();
        t.write(1000);
        t.drain();
        let again = t.wait_any(Duration::from_secs(3));
        assert!(again[0].len == 1000 && again[0].ecn == 0, "a retransmission: {again:?}");
        t.peer(ack(t.seen).window(0));
        t.write(10);
        let probe = t.wait_any(Duration::from_secs(3));
        assert_eq!((probe[0].len, probe[0].ecn), (1, 0), "a window probe");
    }
}

#[test]
fn g2_without_agreement_marks_and_echoes_mean_nothing() {
    let mut t = Script::modern_server();
    t.write(10_000);
    assert!(t.drain().iter().all(|got| got.ecn == 0));
    let cwnd = info(&t).snd_cwnd;
    t.peer(data(1..101).ack(t.seen).and(ECE).marked());
    t.wait(ms(100));
    assert!(t.drain().iter().all(|got| got.flags & (ECE | CWR) == 0));
    assert!(info(&t).snd_cwnd >= cwnd && reductions(&t) == 0);
}

#[test]
fn g3_a_mark_is_echoed_until_the_sender_says_cwr_rfc_3168_6_1_3() {
    let mut t = ecn_server(modern_syn());
    t.peer(data(1..101).marked());
    t.expect(ack(1).ack(101).and(ECE));
    assert_eq!(t.host.stack.counters().get(Count::InCePkts), 1);
    // Every ACK says so, alone or with data.
    t.peer_all([data(101..1501), data(1501..2901), data(2901..4301)]);
    t.expect(ack(4301).and(ECE));
    t.read();
    t.drain();
    t.write(100);
    t.expect(data(1..101).and(ECE));
    t.peer(data(4301..4401).and(CWR));
    t.expect(ack(4401));
    // One packet may say CWR and be marked itself.
    t.peer(data(4401..4501).and(CWR).marked());
    t.expect(ack(4501).and(ECE));
    t.peer(data(4501..4601).and(CWR));
    t.expect(ack(4601));
    t.read();
}

#[test]
fn g3_marks_on_what_is_not_data_in_the_window_are_ignored_rfc_3168_6_1_5() {
    let mut t = ecn_server(modern_syn());
    t.peer(data(1..101));
    t.read();
    t.wait(ms(100));
    t.drain();
    t.peer(ack(1).marked());
    t.peer(data(1..101).marked());
    t.peer(data(900_000..900_100).marked());
    t.wait(ms(100));
    assert!(t.drain().iter().all(|got| got.flags & ECE == 0));
}

#[test]
fn g4_an_echo_reduces_the_window_once_a_round_trip_and_the_next_data_says_cwr() {
    let mut t = ecn_server(modern_syn());
    t.write(40_000);
    t.drain();
    let cwnd = info(&t).snd_cwnd;
    let (una, end) = (1, t.seen);
    t.peer(ack(una + 1448).and(ECE));
    assert_eq!((info(&t).snd_cwnd, reductions(&t)), (cwnd * 7 / 10, 1));
    // More of the same flight says the same.
    t.peer(ack(una + 2 * 1448).and(ECE));
    t.peer(ack(end).and(ECE));
    assert_eq!(reductions(&t), 1);
    assert!(info(&t).snd_cwnd <= cwnd * 7 / 10);
    let sent = t.drain();
    assert!(sent.len() > 1 && sent[0].is(CWR), "{sent:?}");
    assert!(sent[1..].iter().all(|got| !got.is(CWR)), "once");
    // What was sent afterwards is another matter.
    t.peer(ack(t.seen).and(ECE));
    assert_eq!(reductions(&t), 2);
}

#[test]
fn n2_what_arrived_with_an_echo_is_told() {
    let mut t = ecn_server(modern_syn());
    let len = info(&t).snd_mss;
    let (mss, at) = (u64::from(len), |n: u32| 1 + n * len);
    t.write(4 * len);
    t.drain();
    t.peer(ack(at(1)));
    assert_eq!(info(&t).delivered_ce, 0);
    t.peer(ack(at(3)).and(ECE));
    assert_eq!((info(&t).delivered_ce, info(&t).delivered), (2 * mss, 1 + 3 * mss));
    t.peer(ack(at(3)).and(ECE));
    t.peer(ack(at(4)));
    assert_eq!((info(&t).delivered_ce, info(&t).delivered), (2 * mss, 1 + 4 * mss));
}

#[test]
fn g4_an_ece_that_brings_nothing_and_finds_nothing_outstanding_is_ignored() {
    let mut t = ecn_server(modern_syn());
    let cwnd = info(&t).snd_cwnd;
    t.peer(ack(1).and(ECE));
    assert_eq!((info(&t).snd_cwnd, reductions(&t)), (cwnd, 0));
}

#[test]
fn g4_a_loss_makes_the_next_new_data_say_cwr_rfc_3168_6_1_2() {
    let mut t = ecn_server(modern_syn());
    t.write(40_000);
    let flight = t.drain();
    let end = flight.last().unwrap().range().end;
    t.peer(ack(1).sack(&[(1449, end)]));
    t.wait(ms(10));
    let again = t.drain();
    assert!(again[0].seq == 1 && again[0].ecn == 0 && !again[0].is(CWR), "{again:?}");
    t.peer(ack(end));
    let cwrs = again.iter().chain(&t.drain()).filter(|got| got.is(CWR)).count();
    assert_eq!(cwrs, 1);
}

#[test]
fn g2_and_g3_hold_over_ipv6() {
    let mut t = Script::listening_on(host(Ecn::Accept), STACK_V6, PEER_V6);
    t.peer(modern_syn().and(ECE | CWR));
    t.expect(agreement());
    t.peer(ack(1));
    t.accept();
    t.write(100);
    assert_eq!(t.expect(data(1..101)).ecn, ECT_0);
    t.peer(data(1..101).marked());
    t.expect(ack(101).and(ECE));
}

/// A datagram in fragments with these ECN fields: how many arrive.
fn fragments(ecn: [u8; 3]) -> (Host, Option<Vec<u8>>) {
    let mut host = Host::new();
    let id = host.stack.udp_bind((STACK_V4, 7).into()).unwrap();
    let datagram = udp((PEER_V4, 9), (STACK_V4, 7), &[5; 40]);
    for (n, (tos, piece)) in (0..).zip(ecn.into_iter().zip(datagram.chunks(16))) {
        let header = IpOut { tos, fragment: (n * 16, n < 2), ..IpOut::new(PEER_V4, STACK_V4, UDP) };
        host.packet(&header.packet(piece));
    }
    let got = host.udp_recv(id);
    (host, got)
}

#[test]
fn g3_reassembly_of_what_cannot_say_that_it_was_marked_is_refused_rfc_3168_5_3() {
    for good in [[0; 3], [2; 3], [3; 3], [2, 3, 2], [3, 1, 2], [0, 2, 0]] {
        assert_eq!(fragments(good).1, Some(vec![5; 40]), "{good:?}");
    }
    for bad in [[0, 3, 0], [3, 0, 2], [2, 3, 0]] {
        let (host, got) = fragments(bad);
        assert_eq!((got, host.dropped(hayase_stack::Drop::FragInvalid)), (None, 3), "{bad:?}");
    }
}

#[test]
fn g3_a_marked_fragment_marks_the_segment() {
    for (v6, stack, peer) in [(false, STACK_V4, PEER_V4), (true, STACK_V6, PEER_V6)] {
        let mut t = Script::listening_on(host(Ecn::Accept), stack, peer);
        t.peer(syn().mss(1460).and(ECE | CWR));
        t.expect(agreement());
        t.peer(ack(1));
        t.accept();
        let packet = t.packet(data(1..101));
        let segment = &packet[if v6 { 40 } else { 20 }..];
        for (tos, at, more) in [(2, 0, true), (3, 64, false)] {
            let piece = if more { &segment[..64] } else { &segment[64..] };
            let header = IpOut { tos, ident: 9, ..IpOut::new(peer, stack, TCP) };
            let bytes = if v6 {
                let offset = (at as u16 | u16::from(more)).to_be_bytes();
                let fragment = [&[TCP, 0][..], &offset, &[0, 0, 0, 9], piece].concat();
                IpOut { protocol: crate::codec::FRAGMENT, ..header }.packet(&fragment)
            } else {
                IpOut { fragment: (at as u16, more), ..header }.packet(piece)
            };
            t.host.packet(&bytes);
        }
        t.expect(ack(101).and(ECE));
        assert_eq!(t.read(), 100);
    }
}

#[test]
fn g1_the_bits_of_a_syn_are_not_those_of_a_reset() {
    let mut t = listening(Ecn::Accept);
    t.peer_addr.set_port(4001);
    t.stack_addr.set_port(81);
    t.peer(syn().flags(SYN | ECE | CWR));
    let got = t.next().expect("a reset");
    assert_eq!(got.flags & (ECE | CWR | ACK), ACK);
}
