//! Every order of the control port, as a test program outside would give it.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use hayase_tests::kernel::{self, tcp_state};
use hayase_tests::pattern::{expect_pattern, pattern, write_pattern};
use hayase_tests::site::{CONTROL_PORT, kernel_address};
use hayase_tests::{Site, matrix_in_full};

/// How late something may be that is said to happen at once.
const SOON: Duration = Duration::from_secs(1);

fn expect_end(stream: &TcpStream) {
    assert_eq!(kernel::read(stream, &mut [0]).unwrap(), 0, "more bytes, not the end of the stream");
}

fn expect_silence(stream: &TcpStream) {
    stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let error = kernel::read(stream, &mut [0]).expect_err("neither bytes nor an end");
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
    stream.set_read_timeout(Some(kernel::PATIENCE)).unwrap();
}

/// Closes our direction; the server must then let go of the connection without a reset.
fn expect_orderly_end(site: &Site, stream: TcpStream) {
    let (local, remote) = (stream.local_addr().unwrap().port(), stream.peer_addr().unwrap().port());
    stream.shutdown(Shutdown::Write).unwrap();
    expect_end(&stream);
    assert!(stream.take_error().unwrap().is_none());
    drop(stream);
    kernel::eventually("the connection ends", || {
        let state = tcp_state(&site.namespace, local, remote);
        (state.is_none() || state == Some(kernel::TcpState::TimeWait)).then_some(())
    });
}

matrix_in_full! {
    fn close_ends_the_stream_at_once(site) {
        let _server = site.serve_control();
        let closed = || {
            let stream = site.order("CLOSE");
            let start = Instant::now();
            expect_end(&stream);
            (stream, start.elapsed())
        };
        let mut tries = [closed(), closed(), closed()];
        // A timer makes each of them late, a machine that is busy some.
        assert!(tries.iter().any(|(_, time)| *time < SOON), "{tries:?}");
        let stream = &mut tries[0].0;
        // Nobody is there to read any more, and the server must say so (RFC 1122 §4.2.2.13).
        let error = kernel::eventually("a write fails", || stream.write_all(b"x").err());
        assert!(matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset), "{error}");
    }

    /// RFC 1122 §4.2.2.13: closing with received data unread resets, so that the peer knows of the loss.
    fn closing_with_unread_data_resets(site) {
        let _server = site.serve_control();
        // Long enough for bytes to come before, however late this thread is.
        let mut stream = site.order("CLOSEUNREAD 2000");
        // Not in the segment of the order: that is read.
        thread::sleep(Duration::from_millis(200));
        stream.write_all(&pattern(1000)).unwrap();
        assert_eq!(kernel::read(&stream, &mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    }

    fn shutwr_ends_one_direction(site) {
        let _server = site.serve_control();
        let stream = site.order("SHUTWR");
        expect_end(&stream);
        write_pattern(&stream, 4 << 20).unwrap();
        expect_orderly_end(site, stream);
    }

    fn send_sends_and_stays(site) {
        let _server = site.serve_control();
        for len in [0, 1, 1448, 100_000, 3_000_000] {
            let stream = site.order(&format!("SEND {len}"));
            expect_pattern(&stream, len).unwrap();
            expect_silence(&stream);
            write_pattern(&stream, 100_000).unwrap();
            expect_orderly_end(site, stream);
        }
    }

    fn sendclose_sends_and_closes(site) {
        let _server = site.serve_control();
        for len in [0, 1, 1448, 100_000, 3_000_000] {
            let stream = site.order(&format!("SENDCLOSE {len}"));
            expect_pattern(&stream, len).unwrap();
            expect_end(&stream);
        }
    }

    fn sendslow_takes_its_time(site) {
        let _server = site.serve_control();
        let start = Instant::now();
        let mut stream = site.order("SENDSLOW 100 5 100");
        let mut received = [0; 500];
        stream.read_exact(&mut received[..100]).unwrap();
        let first = start.elapsed();
        stream.read_exact(&mut received[100..]).unwrap();
        let last = start.elapsed();
        assert!(first < last && last >= Duration::from_millis(390), "{first:?}, {last:?}");
        // The pattern may go on from one piece to the next, or begin again.
        assert!(received[..] == pattern(500) || received[..] == pattern(100).repeat(5));
        expect_silence(&stream);
        expect_orderly_end(site, stream);
    }

    fn noread_reads_later_and_loses_nothing(site) {
        let _server = site.serve_control();
        let start = Instant::now();
        let stream = site.order("NOREAD 1000");
        thread::sleep(Duration::from_millis(50));
        kernel::echo_of_pattern(&stream, 8 << 20);
        assert!(start.elapsed() >= Duration::from_secs(1));
    }

    fn discard_takes_everything(site) {
        let _server = site.serve_control();
        let stream = site.order("DISCARD");
        write_pattern(&stream, 16 << 20).unwrap();
        expect_orderly_end(site, stream);
    }

    fn abort_resets(site) {
        let _server = site.serve_control();
        let stream = site.order("ABORT");
        assert_eq!(kernel::read(&stream, &mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
        site.check_echo();
    }

    fn a_connection_tells_its_congestion_control(site) {
        let _server = site.serve("echo", &["--ctl", &CONTROL_PORT.to_string(), "--congestion", "newreno"]);
        let mut stream = site.order("CONGESTION");
        let mut answer = [0; 8];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"newreno\n");
        kernel::echo_of_pattern(&stream, 10_000);
    }

    fn connections_are_counted(site) {
        let _server = site.serve_control();
        let expect = |count| kernel::eventually("so many are there", || (site.connections() == count).then_some(()));
        expect(0);
        let streams = [site.connect(), site.order("DISCARD")];
        expect(2);
        drop(streams);
        expect(0);
    }

    fn a_count_is_told(site) {
        let _server = site.serve_control();
        let before = site.count("TcpPassiveOpens");
        assert!(site.count("TcpPassiveOpens") > before, "asking takes a connection");
        let mut answer = String::new();
        site.order("COUNT Nonesuch").read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("ERR "), "{answer:?}");
    }

    fn connect_opens_and_echoes(site) {
        let _server = site.serve_control();
        kernel::echo_of_pattern(&site.dialled(), 1 << 20);
    }

    fn connect_reports_a_refusal(site) {
        let _server = site.serve_control();
        let closed = kernel::port(&kernel::listen(&site.namespace, site.family));
        let mut control = site.order(&format!("CONNECT {} {closed}", kernel_address(site.family)));
        let mut answer = String::new();
        control.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "ERR ConnectionRefused\n");
        site.check_echo();
    }
}
