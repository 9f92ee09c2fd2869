//! Options: their parsing (RFC 9293 §3.1), window scale and timestamps (RFC 7323).

use hayase_stack::{Config, Error, State};

use crate::codec::ACK;
use crate::dsl::{Got, Script, ack, data, fin, modern_syn, rst, syn, syn_ack};
use crate::host::{Host, PEER_V4, STACK_V4, ms};

/// What the stack makes of a SYN with these options: the MSS that it then uses.
fn mss_after(options: &[u8]) -> u32 {
    let mut padded = options.to_vec();
    padded.resize(options.len().next_multiple_of(4), 0);
    let mut t = Script::listening().established(syn().mss(1000).raw_options(&padded));
    t.write(20_000);
    t.drain().iter().map(|got| got.len).max().unwrap()
}

// Parsing

#[test]
fn must_4_eol_nop_and_mss_are_understood_in_any_mixture() {
    assert_eq!(mss_after(&[2, 4, 0x03, 0xe8]), 1000);
    assert_eq!(mss_after(&[1, 1, 2, 4, 0x03, 0xe8, 0]), 1000);
    assert_eq!(mss_after(&[2, 4, 0x03, 0xe8, 0, 0xff, 0xff, 0xff]), 1000);
    assert_eq!(mss_after(&[0, 2, 4, 0x03, 0xe8]), 536, "behind the end there is nothing");
    assert_eq!(mss_after(&[1, 1, 1, 1]), 536);
}

#[test]
fn must_6_unknown_options_are_skipped_by_their_length() {
    for kind in [253, 254, 30, 6, 255] {
        assert_eq!(mss_after(&[kind, 2, kind, 5, 1, 2, 3, 2, 4, 0x03, 0xe8]), 1000, "kind {kind}");
    }
}

#[test]
fn must_64_options_may_stand_at_odd_offsets() {
    let odd = [1, 1, 1, 3, 3, 2, 1, 2, 4, 0x03, 0xe8, 1];
    let mut t = Script::listening().established(syn().mss(1000).window_scale(2).raw_options(&odd));
    t.write(20_000);
    assert_eq!(t.next().unwrap().len, 1000);
}

#[test]
fn must_7_impossible_lengths_do_no_harm() {
    for options in
        [&[30, 0][..], &[30, 1], &[2, 0, 5, 5], &[2, 40, 5, 5], &[2, 3, 5], &[3, 4, 1, 1], &[30], &[8, 3, 1]]
    {
        assert_eq!(mss_after(options), 536, "{options:?}");
    }
    assert_eq!(mss_after(&[2, 4, 0x03, 0xe8, 30, 0]), 1000, "what came before counts");
}

#[test]
fn must_5_options_may_come_in_any_segment() {
    let mut t = Script::server();
    for options in
        [&[1, 1, 1, 1][..], &[253, 4, 9, 9], &[8, 10, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0], &[30, 0, 0, 0]]
    {
        let at = t.nxt;
        t.peer(data(at..at + 10).raw_options(options));
        assert_eq!(t.read(), 10, "{options:?}");
    }
}

#[test]
fn an_mss_in_the_middle_of_a_connection_means_nothing() {
    let mut t = Script::server();
    t.peer(data(1..11).mss(100));
    t.write(14_600);
    assert!(t.drain().iter().any(|got| got.len == 1460));
}

#[test]
fn a_header_longer_than_the_packet_is_dropped() {
    let mut t = Script::server();
    for offset in [0x00, 0x40, 0xf0] {
        let mut packet = t.packet(data(1..11).seq(1).carrying(10));
        packet[32] = offset;
        t.host.packet(&packet);
    }
    t.silence_for(ms(100));
    assert_eq!(t.read(), 0);
}

// Window scale

#[test]
fn e1_window_scale_is_answered_only_if_it_was_offered() {
    let mut t = Script::listening();
    t.peer(syn().mss(1460));
    assert_eq!(t.expect(syn_ack()).options.window_scale, None);
    let mut t = Script::listening();
    t.peer(syn().mss(1460).window_scale(3));
    assert!(t.expect(syn_ack()).options.window_scale.is_some());
    let mut t = Script::connecting();
    assert!(t.expect(syn()).options.window_scale.is_some());
}

#[test]
fn e1_the_window_of_a_syn_is_not_scaled() {
    let mut t = Script::connecting();
    t.expect(syn());
    t.peer(syn_ack().mss(1460).window_scale(8).window(3000));
    t.expect(ack(1));
    t.write(20_000);
    let end = t.drain().last().unwrap().range().end;
    assert!(end <= 3001, "{end}");
}

#[test]
fn e2_the_scaled_window_is_used_for_sending() {
    let mut t = Script::listening();
    t.window = 8;
    let mut t = t.established(syn().mss(500).window_scale(8).window(2000));
    t.write(10_000);
    let end = t.drain().last().unwrap().range().end;
    assert!((1537..=2049).contains(&end), "8 << 8 is 2048, not {end}");
}

#[test]
fn e3_a_shift_above_14_counts_as_14() {
    let mut t = Script::listening();
    t.window = 1;
    let mut t = t.established(syn().mss(1460).window_scale(15));
    t.write(100_000);
    t.drain();
    t.peer(ack(14_601));
    let end = t.drain().last().unwrap().range().end;
    assert!(end > 14_601 && end <= 14_601 + (1 << 14), "{end}");
}

#[test]
fn e1_without_the_offer_of_the_peer_our_window_fits_16_bits() {
    let mut t = Script::server();
    t.peer(data(1..11));
    t.read();
    let got = t.wait_any(ms(500)).remove(0);
    assert!(u32::from(got.window) + got.ack <= 65_535 + 11);
    let mut at = 11;
    for _ in 0..60 {
        t.peer(data(at..at + 1000));
        at += 1000;
    }
    assert_eq!(t.read(), 60_000);
}

#[test]
fn a_large_buffer_is_advertised_through_the_scale() {
    let mut t = Script::listening();
    t.peer(modern_syn());
    let shift = t.expect(syn_ack()).options.window_scale.unwrap();
    t.peer(ack(1));
    t.accept();
    t.peer(data(1..1449));
    t.peer(data(1449..2897));
    let got = t.drain().pop().unwrap();
    let window = usize::from(got.window) << shift;
    let buffer = hayase_stack::Config::default().receive_buffer_len;
    assert!(window > buffer - 10_000 && window <= buffer, "{window}");
}

// Timestamps

/// That they are on every segment or on none, and never go back, is watched by the oracle in every script.
#[test]
fn e4_timestamps_are_used_only_if_both_sides_offer_them() {
    let mut t = Script::listening();
    t.peer(syn().mss(1460));
    assert_eq!(t.expect(syn_ack()).options.timestamps, None);
    let mut t = Script::connecting();
    assert!(t.expect(syn()).options.timestamps.is_some());
    t.peer(syn_ack().mss(1460));
    assert_eq!(t.expect(ack(1)).options.timestamps, None);
    let mut t = Script::modern_server();
    t.write(10);
    assert!(t.expect(data(1..11)).options.timestamps.is_some());
    t.close();
    assert!(t.drain().pop().unwrap().options.timestamps.is_some());
}

#[test]
fn e4_the_clock_ticks_in_milliseconds_and_its_zero_is_anybodys_guess() {
    let mut t = Script::modern_server();
    t.write(10);
    let (first, _) = t.drain().remove(0).options.timestamps.unwrap();
    t.peer(ack(11));
    t.wait(ms(250));
    t.write(10);
    let (second, _) = t.drain().remove(0).options.timestamps.unwrap();
    assert_eq!(second.wrapping_sub(first), 250);
    t.reborn(4001, 9);
    t.peer(modern_syn());
    let (other, _) = t.expect(syn_ack()).options.timestamps.unwrap();
    assert!(other.wrapping_sub(second) > 1000, "connections do not share a clock (RFC 7323 §5.4)");
}

/// RFC 7323 §4.3
#[test]
fn e5_the_echo_is_of_the_segment_that_moved_the_left_edge() {
    let mut t = Script::modern_server();
    let base = t.ts_now();
    let echo = |t: &mut Script| t.drain().pop().unwrap().options.timestamps.unwrap().1.wrapping_sub(base);
    t.peer(data(1..101).timestamps(base + 1, 0));
    t.peer(data(201..301).timestamps(base + 3, 0));
    assert_eq!(echo(&mut t), 1, "a segment behind a gap does not count");
    t.peer(data(101..201).timestamps(base + 2, 0));
    assert_eq!(echo(&mut t), 2, "what fills the gap does");
}

#[test]
fn e5_of_two_segments_in_one_ack_the_first_is_echoed() {
    let mut t = Script::modern_server();
    let base = t.ts_now();
    t.peer_all([data(1..1449).timestamps(base + 1, 0), data(1449..2897).timestamps(base + 9, 0)]);
    let (_, echo) = t.drain().pop().unwrap().options.timestamps.unwrap();
    assert_eq!(echo, base + 1, "so that the peer's timer covers the delay");
}

/// RFC 7323 §3.2 would have it dropped; Linux takes it, for there are middleboxes that strip options.
#[test]
fn e5_a_segment_that_has_lost_its_timestamps_is_taken() {
    let mut t = Script::modern_server();
    t.peer(data(1..11).without_timestamps());
    assert_eq!(t.read(), 10);
}

#[test]
fn e6_paws_drops_an_older_timestamp_and_acknowledges() {
    let mut t = Script::modern_server();
    let base = t.ts_now();
    t.peer(data(1..11).timestamps(base + 100, 0));
    t.wait(ms(100));
    t.drain();
    for old in [99, 0] {
        t.peer(data(11..21).timestamps(base + old, 0));
        t.expect(ack(11));
    }
    t.peer(data(11..21).timestamps(base.wrapping_sub(1 << 30), 0));
    t.expect(ack(11));
    assert_eq!(t.read(), 10);
    t.peer(data(11..21).timestamps(base + 100, 0));
    assert_eq!(t.read(), 10, "an equal one is good");
}

/// RFC 7323 §5.5
#[test]
fn e6_after_24_days_of_silence_an_old_timestamp_proves_nothing() {
    let mut t = Script::modern_server();
    let base = t.ts_now();
    t.peer(data(1..11).timestamps(base, 0));
    t.host.now += std::time::Duration::from_secs((24 * 24 + 1) * 3600);
    t.host.turn();
    t.drain();
    t.peer(data(11..21).timestamps(base.wrapping_sub(5), 0));
    assert_eq!(t.read(), 20);
    // It is the measure of what comes after it.
    t.drain();
    t.peer(data(21..31).timestamps(base.wrapping_sub(6), 0));
    assert_eq!(t.read(), 0);
    t.peer(data(21..31).timestamps(base.wrapping_sub(4), 0));
    assert_eq!(t.read(), 10);
}

#[test]
fn e7_a_reset_is_not_subject_to_paws() {
    for reset in [rst(11), rst(11).timestamps(5, 0)] {
        let mut t = Script::modern_server();
        t.peer(data(1..11));
        t.read();
        t.peer(reset);
        t.expect_error(Error::ConnectionReset);
    }
}

#[test]
fn e8_the_timestamps_of_the_peer_may_wrap() {
    let mut t = Script::modern_server();
    let mut val = 0xffff_fff8u32;
    // The peer's clock starts below the wrap and is there by now.
    t.peer(data(1..2).timestamps(val, 0));
    assert_eq!(t.read(), 1);
    for at in 2..13 {
        val = val.wrapping_add(1);
        t.peer(data(at..at + 1).timestamps(val, 0));
        assert_eq!(t.read(), 1, "{val:#x}");
    }
    assert_eq!(val, 3);
}

#[test]
fn timestamps_that_nobody_asked_for_are_ignored() {
    let mut t = Script::server();
    t.peer(data(1..11).timestamps(1000, 0));
    t.peer(data(11..21).timestamps(1, 0));
    assert_eq!(t.read(), 20);
}

#[test]
fn a_bare_fin_and_a_bare_ack_carry_them_too() {
    let mut t = Script::modern_server();
    t.peer(fin(1));
    let got = t.expect(ack(2));
    assert!(got.options.timestamps.is_some() && got.is(ACK));
    assert_eq!(t.state(), State::CloseWait);
}

// Options that are switched off: `Config::sack`, `timestamps` and `window_scaling` (Linux's sysctls tcp_sack and so on).

type Switch = fn(&mut Config);

const SWITCHES: [Switch; 3] = [
    |config| config.sack = false,
    |config| config.timestamps = false,
    |config| config.window_scaling = false,
];

fn config_without(switch: Switch) -> Config {
    let mut config = Config::default();
    switch(&mut config);
    config
}

/// Whether SACK, timestamps and window scaling are in a segment.
fn offered(got: &Got) -> [bool; 3] {
    [got.options.sack_permitted, got.options.timestamps.is_some(), got.options.window_scale.is_some()]
}

/// The same as the connection has it.
fn in_use(t: &Script) -> [bool; 3] {
    let info = t.host.stack.tcp_info(t.id()).unwrap();
    [info.sack, info.timestamps, info.snd_wscale == 7 && info.rcv_wscale > 0]
}

fn all_but(off: usize) -> [bool; 3] {
    [0, 1, 2].map(|n| n != off)
}

#[test]
fn an_option_that_is_off_is_not_answered() {
    for (off, switch) in SWITCHES.into_iter().enumerate() {
        let mut t = Script::listening_with(config_without(switch));
        t.peer(modern_syn());
        assert_eq!(offered(&t.expect(syn_ack())), all_but(off));
        t.peer(ack(1));
        t.accept();
        assert_eq!(in_use(&t), all_but(off));
    }
}

#[test]
fn an_option_that_is_off_is_not_offered_and_an_answer_that_has_it_changes_nothing() {
    for (off, switch) in SWITCHES.into_iter().enumerate() {
        let mut t = Script::connecting_on(Host::with(config_without(switch), 1500), STACK_V4, PEER_V4);
        assert_eq!(offered(&t.expect(syn())), all_but(off));
        t.peer(syn_ack().mss(1460).sack_permitted().window_scale(7).timed());
        t.expect(ack(1));
        assert_eq!(in_use(&t), all_but(off));
    }
}

#[test]
fn nor_is_it_by_a_syn_cookie() {
    for (off, switch) in SWITCHES.into_iter().enumerate() {
        let mut config = config_without(switch);
        config.syn_backlog_max = 0;
        let mut t = Script::listening_with(config);
        t.peer(modern_syn());
        // Without timestamps a cookie remembers nothing but the MSS.
        let expected = if off == 1 { [false; 3] } else { all_but(off) };
        assert_eq!(offered(&t.expect(syn_ack())), expected);
        t.peer(ack(1));
        t.accept();
        assert_eq!(in_use(&t), expected);
        t.write(1000);
        assert_eq!(t.next().unwrap().options.timestamps.is_some(), off != 1);
    }
}

#[test]
fn without_sack_holes_are_not_reported_and_reports_are_not_read() {
    let mut t = Script::listening_with(config_without(|config| config.sack = false));
    t.peer(modern_syn());
    t.expect(syn_ack());
    t.peer(ack(1));
    t.accept();
    t.peer(data(101..201));
    t.expect(ack(1).sack(&[]));
    t.write(20_000);
    let sent = t.drain();
    let (first, second) = (sent[0].range(), sent[1].range());
    t.peer(ack(1).sack(&[(second.start, second.end)]));
    assert_eq!(t.host.stack.tcp_info(t.id()).unwrap().sacked, 0);
    assert_eq!(first.start, 1);
}

#[test]
fn without_timestamps_a_segment_holds_twelve_bytes_more_and_has_none() {
    let mut t = Script::listening_with(config_without(|config| config.timestamps = false));
    t.peer(modern_syn());
    t.expect(syn_ack());
    t.peer(ack(1));
    t.accept();
    t.write(14_600);
    let sent = t.drain();
    assert!(sent.iter().all(|got| got.len == 1460 && got.options.timestamps.is_none()), "{sent:?}");
    // One that a peer sends all the same is read over.
    t.peer(data(1..11).timestamps(7, 0));
    assert_eq!(t.read(), 10);
}

#[test]
fn without_window_scaling_windows_fit_16_bits() {
    let mut t = Script::listening_with(config_without(|config| config.window_scaling = false));
    t.window = 1000;
    t.peer(modern_syn());
    t.expect(syn_ack());
    t.peer(ack(1));
    t.accept();
    t.write(20_000);
    let end = t.drain().last().unwrap().range().end;
    assert!(end <= 1001, "{end}: the peer's window is not scaled either");
    assert!(t.host.stack.tcp_info(t.id()).unwrap().rcv_wnd <= 65_535);
}
