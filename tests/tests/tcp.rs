//! TCP connections of the kernel to an echo server: their beginning, their two ends and their violent ends.

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::time::{Duration, Instant};

use hayase_tests::kernel::{self, TcpState};
use hayase_tests::matrix_in_full;
use hayase_tests::pattern::{expect_pattern, write_pattern};
use hayase_tests::site::{PORT, listens_at};

matrix_in_full! {
    fn the_server_says_where_it_listens(site) {
        let server = site.serve("echo", &[]);
        let line = server.line(Duration::ZERO, |line| listens_at(line).is_some());
        let address = listens_at(&line).unwrap();
        assert_eq!(address.port(), PORT);
        site.check_echo();
    }

    fn one_byte_comes_back_again_and_again(site) {
        let _server = site.serve("echo", &[]);
        let mut stream = site.connect();
        for byte in 0..=255 {
            stream.write_all(&[byte]).unwrap();
            let mut echoed = [0];
            stream.read_exact(&mut echoed).unwrap();
            assert_eq!(echoed, [byte]);
        }
    }

    fn a_closed_port_refuses_at_once(site) {
        let _server = site.serve("echo", &[]);
        // Neighbours know each other from here on: what is timed is the refusal.
        site.check_echo();
        let refused = || {
            let start = Instant::now();
            let error = kernel::try_connect(&site.namespace, site.hayase(PORT + 99)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
            start.elapsed()
        };
        // A SYN that is sent again makes each of them late, a machine that is busy some.
        let times = [refused(), refused(), refused()];
        assert!(times.iter().any(|time| *time < Duration::from_secs(1)), "{times:?}");
    }

    fn a_half_closed_stream_still_receives(site) {
        let _server = site.serve_control();
        let stream = site.order("NOREAD 300");
        write_pattern(&stream, 20_000).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        // The server has read nothing yet: all that follows comes after our FIN.
        expect_pattern(&stream, 20_000).unwrap();
        assert_eq!(kernel::read(&stream, &mut [0]).unwrap(), 0);
    }

    fn a_client_that_closes_first_waits_in_time_wait(site) {
        let _server = site.serve("echo", &[]);
        let stream = site.connect();
        let local = stream.local_addr().unwrap().port();
        assert_eq!(kernel::tcp_state(&site.namespace, local, PORT), Some(TcpState::Established));
        stream.shutdown(Shutdown::Write).unwrap();
        assert_eq!(kernel::read(&stream, &mut [0]).unwrap(), 0);
        drop(stream);
        kernel::eventually("TIME-WAIT at the kernel's end", || {
            (kernel::tcp_state(&site.namespace, local, PORT) == Some(TcpState::TimeWait)).then_some(())
        });
    }

    fn a_server_that_closes_first_waits_in_time_wait(site) {
        let _server = site.serve_control();
        let stream = site.order("SENDCLOSE 10");
        let (local, remote) = (stream.local_addr().unwrap().port(), stream.peer_addr().unwrap().port());
        expect_pattern(&stream, 10).unwrap();
        assert_eq!(kernel::read(&stream, &mut [0]).unwrap(), 0);
        drop(stream);
        kernel::eventually("the kernel's end is gone", || {
            kernel::tcp_state(&site.namespace, local, remote).is_none().then_some(())
        });
    }

    /// RFC 9293 §3.6.1 and RFC 6191: a SYN that is newer than the old connection may take its place.
    fn a_connection_in_time_wait_gives_way_to_a_newer_one(site) {
        let _server = site.serve_control();
        let first = site.order("SENDCLOSE 10");
        let (local, remote) = (first.local_addr().unwrap(), first.peer_addr().unwrap());
        expect_pattern(&first, 10).unwrap();
        assert_eq!(kernel::read(&first, &mut [0]).unwrap(), 0);
        drop(first);
        kernel::eventually("the kernel's end is gone", || {
            kernel::tcp_state(&site.namespace, local.port(), remote.port()).is_none().then_some(())
        });

        let start = Instant::now();
        let mut second = kernel::connect_from(&site.namespace, local, remote).unwrap();
        second.write_all(b"SENDCLOSE 20\n").unwrap();
        expect_pattern(&second, 20).unwrap();
        assert!(start.elapsed() < Duration::from_secs(5), "after {:?}", start.elapsed());
    }

    fn resets_of_clients_leave_the_server_alive(site) {
        let _server = site.serve("echo", &[]);
        for sent_len in [0, 1, 100_000] {
            let stream = site.connect();
            kernel::reset_on_close(&stream);
            write_pattern(&stream, sent_len).unwrap();
            drop(stream);
            site.check_echo();
        }
    }
}
