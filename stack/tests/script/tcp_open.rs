//! Opening a connection (RFC 9293 §3.5, §3.10.7.1 to §3.10.7.3).

use std::collections::HashSet;
use std::task::Poll;
use std::time::Duration;

use hayase_stack::{Config, Count, Error, Instant, State};

use crate::codec::{ACK, FIN, RST, SYN, TCP, Tcp};
use crate::dsl::{Script, ack, data, fin, modern_syn, rst, syn, syn_ack};
use crate::host::{Host, PEER_V4, PEER_V6, STACK_V4, STACK_V6, ms};

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

#[test]
fn a_handshake_opens_and_bytes_flow_both_ways() {
    let mut t = Script::server();
    t.peer(data(1..101));
    assert_eq!(t.read(), 100);
    t.write(50);
    t.expect(data(1..51).ack(101));
    t.silence();
}

/// L8
#[test]
fn ipv6_opens_the_same_way() {
    let mut t = Script::listening_v6().established(syn().mss(1440));
    t.peer(data(1..101));
    assert_eq!(t.read(), 100);
    t.write(50);
    t.expect(data(1..51).ack(101));
    let mut t = Script::connecting_on(Host::new(), STACK_V6, PEER_V6);
    assert_eq!(t.expect(syn()).options.mss, Some(1440));
    t.peer(syn_ack());
    t.expect(ack(1));
    assert_eq!(t.poll_connect(), Poll::Ready(Ok(())));
}

/// SHLD-14: a SYN-ACK that goes again cannot say more than 65,535, so nothing before it may have.
#[test]
fn an_acknowledgement_during_the_handshake_promises_no_more_than_the_syn_ack() {
    let mut t = Script::listening();
    t.peer(modern_syn());
    assert_eq!(t.expect(syn_ack()).window, 65_535);
    t.peer(rst(100));
    let challenge = t.expect(ack(1));
    let again = t.wait_any(secs(3)).remove(0);
    assert_eq!((again.flags, again.window), (SYN | ACK, 65_535));
    let scale = again.options.window_scale.unwrap();
    assert!(u32::from(challenge.window) << scale <= 65_535, "{challenge:?}");
    t.peer(ack(1).seq(1));
    t.accept();
    t.write(1);
    assert!(u32::from(t.expect(data(1..2)).window) << scale > 65_535, "then the window opens");
}

// CLOSED (§3.10.7.1)

#[test]
fn a_closed_port_resets_whatever_comes_so_that_the_sender_accepts_it() {
    let mut t = Script::listening();
    t.stack_addr.set_port(81);
    let cases = [
        (syn(), rst(0).ack(1)),
        (syn().carrying(40), rst(0).ack(41)),
        (fin(5).flags(FIN), rst(0).ack(6)),
        (ack(77).seq(9), rst(77)),
        (syn_ack().ack(77), rst(77)),
        (fin(9).ack(77), rst(77)),
    ];
    for (segment, answer) in cases {
        t.peer(segment);
        t.expect(answer);
    }
    t.peer(rst(0));
    t.peer(rst(0).ack(5));
    t.silence();
}

// LISTEN (§3.10.7.2)

#[test]
fn a_listener_ignores_resets_resets_acks_and_answers_only_a_syn() {
    let mut t = Script::listening();
    for ignored in [rst(0), rst(0).ack(7), fin(0).flags(FIN), data(0..4).flags(0), syn().flags(SYN | RST)] {
        t.peer(ignored);
        t.silence();
    }
    for stray in [ack(9), data(0..4).ack(9), fin(3).ack(9), syn_ack().ack(9)] {
        t.peer(stray);
        t.expect(rst(9));
    }
    t.peer(syn());
    t.expect(syn_ack());
}

/// §3.4
#[test]
fn data_on_a_syn_is_left_for_the_peer_to_send_again() {
    let mut t = Script::listening();
    t.peer(syn().carrying(40));
    t.expect(syn_ack());
    t.peer(data(1..41));
    t.accept();
    assert_eq!(t.read(), 40);
}

#[test]
fn must_41_one_connection_does_not_disturb_the_listener_or_another() {
    let mut t = Script::server();
    t.peer(data(1..11));
    assert_eq!(t.read(), 10);
    for port in 4001..4010 {
        t.reborn(port, 1000 * u32::from(port));
        t = t.established(syn());
        t.peer(data(1..11));
        assert_eq!(t.read(), 10);
        t.abort();
        t.expect(rst(1).ack(11));
    }
}

#[test]
fn must_42_listeners_share_a_port_on_different_addresses() {
    let mut host = Host::new();
    let other = "10.0.0.9".parse().unwrap();
    host.stack.add_address("10.0.0.9/24".parse().unwrap()).unwrap();
    let second = host.stack.tcp_listen((other, 80).into(), 4).unwrap();
    let mut t = Script::listening_on(host, STACK_V4, PEER_V4).established(syn());
    t.reborn(4001, 5);
    t.stack_addr.set_ip(other);
    t.listener = Some(second);
    t.established(syn());
}

#[test]
fn must_11_a_reset_in_syn_received_leaves_the_listener_alone() {
    let mut t = Script::listening();
    t.peer(syn());
    t.expect(syn_ack());
    t.peer(rst(1));
    t.silence_for(secs(10));
    assert!(!t.has_connection());
    assert_eq!(t.host.stack.tcp_count(), 0);
    t.reborn(4001, 77);
    t.established(syn());
}

// SYN-RECEIVED (§3.10.7.4)

#[test]
fn a_repeated_syn_draws_the_syn_ack_again() {
    let mut t = Script::listening();
    t.peer(syn());
    let first = t.expect(syn_ack());
    t.peer(syn());
    assert_eq!(t.expect(syn_ack()).wire_seq, first.wire_seq);
    t.peer(ack(1));
    t.accept();
}

#[test]
fn a_repeated_syn_and_the_last_ack_of_the_handshake_may_come_in_one_burst() {
    let mut t = Script::listening();
    t.peer(syn());
    t.expect(syn_ack());
    t.peer_all([syn(), ack(1).seq(1)]);
    t.accept();
    assert!(t.drain().iter().all(|got| !got.is(RST)));
    assert_eq!(t.state(), State::Established);
}

#[test]
fn a_bad_ack_in_syn_received_draws_a_reset() {
    for bad in [0, 2, 1 << 30] {
        let mut t = Script::listening();
        t.peer(syn());
        t.expect(syn_ack());
        t.peer(ack(bad).seq(1));
        t.expect(rst(bad));
        assert!(!t.has_connection());
    }
}

/// A peer that tries again from the same port with another ISN learns where we stand, and can reset us.
#[test]
fn a_foreign_syn_in_syn_received_draws_an_ack() {
    let mut t = Script::listening();
    t.peer(syn());
    t.expect(syn_ack());
    t.peer(syn().seq(1 << 20));
    t.expect(ack(1).seq(1));
    t.peer(rst(1));
    t.peer(syn().seq(1 << 20));
    assert_eq!(t.expect(syn_ack().ack((1 << 20) + 1)).seq, 0);
}

/// C1, C2
#[test]
fn an_unanswered_syn_ack_is_repeated_after_one_second_then_two_and_given_up() {
    let mut t = Script::listening();
    t.peer(syn());
    let start = t.expect(syn_ack()).at;
    t.wait(secs(200));
    let times: Vec<u64> = t.drain().iter().map(|got| (got.at - start).as_secs()).collect();
    assert_eq!(times, [1, 3, 7, 15, 31]);
    assert_eq!(t.host.stack.tcp_count(), 0);
    t.host.assert_frames_home();
}

/// Karn's algorithm: the last acknowledgement may be of either.
#[test]
fn must_18_a_syn_that_went_twice_is_not_timed() {
    let mut passive = Script::listening();
    passive.peer(syn());
    passive.expect(syn_ack());
    let mut active = Script::connecting();
    active.expect(syn());
    for t in [&mut passive, &mut active] {
        t.wait(ms(100));
        t.peer(syn());
        t.expect(syn_ack());
        t.wait(ms(1));
        t.peer(ack(1));
    }
    passive.accept();
    for t in [&passive, &active] {
        assert_eq!(t.state(), State::Established);
        assert_eq!(t.host.stack.tcp_info(t.id()).unwrap().rtt_us, 0);
    }
}

#[test]
fn a_peer_that_repeats_its_syn_for_ever_is_given_up_as_well() {
    let mut t = Script::listening();
    for _ in 0..70 {
        t.peer(syn());
        t.wait(secs(1));
    }
    assert_eq!(t.host.stack.counters().get(Count::AttemptFails), 1);
}

#[test]
fn a_connection_may_close_right_with_the_handshake() {
    let mut t = Script::listening();
    t.peer(syn());
    t.expect(syn_ack());
    t.peer(data(1..6).and_fin());
    t.expect(ack(7));
    t.accept();
    assert_eq!((t.state(), t.read()), (State::CloseWait, 5));
    t.expect_end();
}

#[test]
fn a_full_accept_queue_makes_newcomers_wait_and_loses_none() {
    let mut t = Script::listening();
    for port in 5000..5016 {
        t.reborn(port, 1);
        t.peer(syn());
        t.expect(syn_ack());
        t.peer(ack(1));
    }
    t.reborn(6000, 1);
    t.peer(syn());
    t.silence();
    for port in 5000..5016 {
        t.peer_addr.set_port(port);
        t.accept();
    }
    t.reborn(6000, 1);
    t.established(syn());
}

// SYN-SENT (§3.10.7.3)

#[test]
fn an_ack_of_nothing_draws_a_reset_and_the_attempt_goes_on() {
    let mut t = Script::connecting();
    t.expect(syn());
    for bad in [0, 2, 1 << 30] {
        t.peer(syn_ack().ack(bad));
        t.expect(rst(bad));
        t.peer(rst(0).ack(bad));
        t.silence();
    }
    assert_eq!(t.state(), State::SynSent);
    t.peer(syn_ack());
    t.expect(ack(1));
    assert_eq!(t.poll_connect(), Poll::Ready(Ok(())));
}

#[test]
fn only_a_syn_establishes() {
    let mut t = Script::connecting();
    t.expect(syn());
    for segment in [ack(1).seq(0), fin(0).ack(1), data(0..10).ack(1), fin(0).flags(FIN), rst(0)] {
        t.peer(segment);
        t.silence();
        assert_eq!(t.state(), State::SynSent);
    }
}

#[test]
fn a_reset_with_a_good_ack_refuses() {
    let mut t = Script::connecting();
    t.expect(syn());
    t.peer(rst(0).ack(1));
    t.silence();
    assert_eq!(t.poll_connect(), Poll::Ready(Err(Error::ConnectionRefused)));
}

#[test]
fn data_on_a_syn_ack_is_not_acknowledged() {
    let mut t = Script::connecting();
    t.expect(syn());
    t.peer(syn_ack().carrying(30));
    t.expect(ack(1));
    t.peer(data(1..31));
    assert_eq!(t.read(), 30);
}

/// RFC 9293 §3.5, figure 8.
#[test]
fn must_10_both_sides_may_open_at_once() {
    let mut t = Script::connecting();
    t.expect(syn());
    t.peer(syn().mss(1000));
    t.expect(syn_ack());
    assert_eq!(t.state(), State::SynReceived);
    t.peer(syn_ack().mss(1000));
    assert_eq!(t.state(), State::Established);
    assert!(t.drain().iter().all(|got| !got.is(SYN)), "a SYN that was acknowledged is not repeated");
    t.peer(data(1..11));
    assert_eq!(t.read(), 10);
    t.write(10);
    t.expect(data(1..11).ack(11));
}

#[test]
fn must_10_a_bare_ack_completes_a_simultaneous_open_too() {
    let mut t = Script::connecting();
    t.expect(syn());
    t.peer(syn());
    t.expect(syn_ack());
    t.peer(ack(1));
    assert_eq!(t.poll_connect(), Poll::Ready(Ok(())));
}

/// RFC 7323 §2.2
#[test]
fn must_10_the_window_of_a_syn_is_not_scaled_in_a_simultaneous_open_either() {
    let mut t = Script::connecting();
    t.expect(syn());
    t.peer(syn().window_scale(7));
    t.expect(syn_ack());
    t.peer(syn_ack().window_scale(7).window(1000));
    assert_eq!(t.poll_connect(), Poll::Ready(Ok(())));
    assert_eq!(t.host.stack.tcp_info(t.id()).unwrap().snd_wnd, 1000);
}

#[test]
fn must_11_a_reset_after_a_simultaneous_open_refuses() {
    let mut t = Script::connecting();
    t.expect(syn());
    t.peer(syn());
    t.expect(syn_ack());
    t.peer(rst(1));
    assert_eq!(t.poll_connect(), Poll::Ready(Err(Error::ConnectionRefused)));
}

/// C1, C2
#[test]
fn must_23_a_syn_is_repeated_with_doubling_gaps_for_at_least_three_minutes() {
    let mut t = Script::connecting();
    let start = t.expect(syn()).at;
    t.wait(secs(400));
    let times: Vec<u64> = t.drain().iter().map(|got| (got.at - start).as_secs()).collect();
    assert_eq!(times, [1, 3, 7, 15, 31, 63, 127]);
    assert_eq!(t.poll_connect(), Poll::Ready(Err(Error::TimedOut)));
}

#[test]
fn must_23_the_attempt_still_lives_after_three_minutes() {
    let mut t = Script::connecting();
    t.wait(secs(185));
    assert_eq!(t.poll_connect(), Poll::Pending);
}

/// Whoever opens has that patience, also with a peer that opened at the same time and then fell silent, be it late.
#[test]
fn must_23_so_does_one_at_which_both_opened() {
    for asked_after in [0, 40] {
        let mut t = Script::connecting();
        t.wait(secs(asked_after));
        t.drain();
        t.peer(syn());
        t.expect(syn_ack());
        assert_eq!(t.state(), State::SynReceived);
        t.wait(secs(185 - asked_after));
        assert_eq!(t.poll_connect(), Poll::Pending, "asked after {asked_after} s");
        t.wait(secs(200));
        assert_eq!(t.poll_connect(), Poll::Ready(Err(Error::TimedOut)));
    }
}

/// RFC 6298 §5.7
#[test]
fn c1_a_lost_handshake_segment_makes_the_first_data_timeout_three_seconds() {
    let mut t = Script::connecting();
    t.expect(syn());
    t.wait_for(secs(2), syn());
    t.peer(syn_ack());
    t.expect(ack(1));
    t.write(10);
    t.expect(data(1..11));
    let gap = t.wait_for(secs(10), data(1..11));
    assert!(gap >= secs(3), "{gap:?}");

    let mut t = Script::listening();
    t.peer(syn());
    t.expect(syn_ack());
    t.wait_for(secs(2), syn_ack());
    t.peer(ack(1));
    t.accept();
    t.write(10);
    t.expect(data(1..11));
    let gap = t.wait_for(secs(10), data(1..11));
    assert!(gap >= secs(3), "{gap:?}");
}

// Numbers and names

/// RFC 6528
#[test]
fn must_8_the_same_connection_later_has_another_isn() {
    let mut t = Script::listening();
    let mut isns = HashSet::new();
    for _ in 0..20 {
        t.peer(syn());
        isns.insert(t.expect(syn_ack()).wire_seq);
        t.peer(rst(1));
        t.reborn(4000, 7);
        t.wait(Duration::from_millis(1));
    }
    assert_eq!(isns.len(), 20);
}

#[test]
fn must_9_isns_of_different_peers_tell_nothing_of_each_other() {
    let mut t = Script::listening_with({
        let mut config = Config::default();
        config.syn_backlog_max = 10;
        config
    });
    let mut isns = Vec::new();
    for port in 5000..5100 {
        t.reborn(port, 7);
        t.peer(syn());
        isns.push(t.expect(syn_ack()).wire_seq);
    }
    let steps: HashSet<u32> = isns.windows(2).map(|pair| pair[1].wrapping_sub(pair[0])).collect();
    assert_eq!(steps.len(), 99, "every step is another");
    assert!(
        steps.iter().filter(|step| step.wrapping_add(1 << 24) < 1 << 25).count() < 10,
        "and most are big"
    );
}

/// RFC 6056
#[test]
fn f8_source_ports_vary() {
    let mut host = Host::new();
    let ports: HashSet<u16> = (0..8)
        .map(|_| {
            let id = host.stack.tcp_connect(host.now, (PEER_V4, 4000).into(), None).unwrap();
            host.stack.tcp_local_addr(id).unwrap().port()
        })
        .collect();
    assert_eq!(ports.len(), 8);
    let lowest = *ports.iter().min().unwrap();
    assert!(*ports.iter().max().unwrap() - lowest > 8, "not one behind the other: {ports:?}");
}

#[test]
fn must_43_the_local_address_can_be_chosen_and_must_45_stays() {
    let mut host = Host::new();
    host.stack.add_address("10.0.0.9/24".parse().unwrap()).unwrap();
    let local = "10.0.0.9:7000".parse().unwrap();
    let id = host.stack.tcp_connect(host.now, (PEER_V4, 4000).into(), Some(local)).unwrap();
    host.turn();
    assert_eq!(host.next_ip().src, local.ip());
    host.wait(secs(2));
    assert_eq!(host.next_ip().src, local.ip());
    assert_eq!(host.stack.tcp_local_addr(id), Ok(local));
    let foreign = Some("10.0.0.77:0".parse().unwrap());
    let refused = host.stack.tcp_connect(host.now, (PEER_V4, 4000).into(), foreign);
    assert_eq!(refused, Err(Error::AddrNotAvailable));
}

#[test]
fn must_46_nobody_connects_to_a_group() {
    let mut host = Host::new();
    for to in
        ["10.0.0.255:80", "255.255.255.255:80", "224.0.0.1:80", "0.0.0.0:80", "[ff02::1]:80", "10.0.0.2:0"]
    {
        let result = host.stack.tcp_connect(host.now, to.parse().unwrap(), None);
        assert!(result.is_err(), "{to}");
    }
    host.silence();
}

// MUST-48
#[test]
fn must_48_dscp_can_be_set_and_the_ecn_bits_are_not_the_applications() {
    for (stack, peer) in [(STACK_V4, PEER_V4), (STACK_V6, PEER_V6)] {
        let mut t = Script::listening_on(Host::new(), stack, peer).established(modern_syn());
        let id = t.id();
        t.host.stack.tcp_set_tos(id, 0xb8 | 0b11).unwrap();
        assert_eq!(t.host.stack.tcp_tos(id), Ok(0xb8));
        t.host.tos = 0xb8;
        t.write(10);
        t.expect(data(1..11));
        t.peer(data(1..11).ack(11));
        t.host.wait(Duration::from_millis(200));
        t.expect(ack(11));
    }
}

/// All code points, one after the other on one connection; what is sent again goes as what is sent then. Of itself the
/// stack changes none (SHLD-23).
#[test]
fn shld_21_dscp_can_be_changed_and_shld_22_goes_out_unchanged() {
    for (stack, peer) in [(STACK_V4, PEER_V4), (STACK_V6, PEER_V6)] {
        let mut t = Script::listening_on(Host::new(), stack, peer).established(modern_syn());
        let id = t.id();
        for dscp in (0..64).rev() {
            // Each packet that the host hears is asked for it.
            t.host.tos = dscp << 2;
            t.host.stack.tcp_set_tos(id, t.host.tos).unwrap();
            let at = t.seen;
            t.write(10);
            t.expect(data(at..at + 10));
            if dscp % 16 == 1 {
                t.wait_for(Duration::from_secs(1), data(at..at + 10));
            }
            let next = t.nxt;
            t.peer(data(next..next + 10));
            t.wait_for(Duration::from_millis(100), ack(next + 10));
        }
        let end = t.seen;
        t.host.tos = 0xb8;
        t.host.stack.tcp_set_tos(id, t.host.tos).unwrap();
        t.shutdown();
        t.expect(fin(end));
    }
}

// MUST-49
#[test]
fn must_49_the_hop_limit_can_be_set() {
    let mut t = Script::server();
    let id = t.id();
    t.host.stack.tcp_set_ttl(id, 9).unwrap();
    t.host.ttl = 9;
    t.write(10);
    t.expect(data(1..11));
}

// Attacks

#[test]
fn must_57_a_syn_to_or_from_a_group_is_dropped() {
    let mut host = Host::new();
    host.stack.tcp_listen("0.0.0.0:80".parse().unwrap(), 8).unwrap();
    let syn = |src: &str, dst: &str, dst_mac| {
        let (src, dst): (std::net::IpAddr, std::net::IpAddr) = (src.parse().unwrap(), dst.parse().unwrap());
        let tcp = Tcp { src_port: 9, dst_port: 80, flags: SYN, window: 9, ..Tcp::default() };
        let packet = crate::codec::IpOut::new(src, dst, TCP).packet(&tcp.encode(src, dst));
        crate::codec::frame(dst_mac, crate::host::PEER_MAC, &packet)
    };
    let us = crate::host::STACK_MAC;
    for (src, dst) in [
        ("10.0.0.2", "10.0.0.255"),
        ("10.0.0.2", "255.255.255.255"),
        ("10.0.0.2", "224.0.0.1"),
        ("10.0.0.255", "10.0.0.1"),
        ("255.255.255.255", "10.0.0.1"),
        ("224.0.0.1", "10.0.0.1"),
        ("127.0.0.1", "10.0.0.1"),
        ("0.0.0.0", "10.0.0.1"),
        ("ff02::1", "fd00::1"),
        ("::1", "fd00::1"),
        ("fd00::2", "ff02::1"),
    ] {
        host.inject(&syn(src, dst, us));
        host.silence();
    }
    host.inject(&syn("10.0.0.2", "10.0.0.1", crate::codec::BROADCAST));
    host.silence();
    host.inject(&syn("10.0.0.2", "10.0.0.1", us));
    host.turn();
    assert!(host.has_heard(), "the same SYN sent properly is answered");
}

#[test]
fn f10_a_land_attack_and_port_zero_are_ignored() {
    let mut t = Script::listening();
    t.peer_addr = t.stack_addr;
    t.peer(syn());
    t.silence_for(secs(5));
    t.peer_addr = (PEER_V4, 0).into();
    t.peer(syn());
    t.silence();
    assert_eq!(t.host.stack.tcp_count(), 0);
    // Our own address with another port: no loop, no crash.
    t.peer_addr = (STACK_V4, 4000).into();
    t.peer(syn());
    t.silence_for(secs(5));
}

#[test]
fn f6_half_open_connections_go_away_by_themselves() {
    let mut t = Script::listening();
    for port in 5000..5500 {
        t.reborn(port, 1);
        t.peer(syn());
    }
    t.wait(secs(120));
    assert_eq!(t.host.stack.tcp_count(), 0);
    t.host.drain();
    t.host.assert_frames_home();
}

/// MUST-3
#[test]
fn must_3_a_bad_checksum_is_answered_by_silence() {
    let mut t = Script::listening();
    let damages: [fn(u16) -> u16; 4] = [|_| 0, |_| 0xffff, |sum| sum ^ 0x0100, |sum| sum.wrapping_add(1)];
    for damage in damages {
        let mut packet = t.packet(syn());
        let sum = u16::from_be_bytes([packet[36], packet[37]]);
        packet[36..38].copy_from_slice(&damage(sum).to_be_bytes());
        t.host.packet(&packet);
        t.silence();
    }
    let mut t = Script::server();
    let mut packet = t.packet(data(1..101));
    packet[90] ^= 1;
    t.host.packet(&packet);
    t.silence_for(secs(1));
    assert_eq!(t.read(), 0);
}

/// MUST-2 is the parser's: it verifies every checksum. This one has to be carried across the wrap.
#[test]
fn sequence_numbers_wrap_in_both_directions() {
    let mut t = Script::server();
    assert!(t.peer_isn > u32::MAX - 1000);
    for at in (1..20_001).step_by(1000) {
        t.peer(data(at..at + 1000));
        assert_eq!(t.read(), 1000);
    }
    t.drain();
    t.write(8760);
    t.expect_flight(1..8761, 1460);
}

#[test]
fn the_clock_of_a_stack_may_start_anywhere() {
    let mut t = Script::listening();
    t.host.now = Instant::from_millis(u64::from(u32::MAX) * 3 - 50);
    let mut t = t.established(modern_syn());
    for at in (1..20_001).step_by(1000) {
        t.peer(data(at..at + 1000));
        assert_eq!(t.read(), 1000);
        t.wait(Duration::from_millis(10));
    }
    assert!(t.drain().iter().all(|got| got.is(ACK)));
}
