//! Peers that read slowly, write slowly, or vanish.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use hayase_tests::kernel::{self, connect_from};
use hayase_tests::pattern::{expect_pattern, hash_to_end, pattern, pattern_hash, write_pattern};
use hayase_tests::site::{CONTROL_PORT, INTERFACE, PORT};
use hayase_tests::{Device, Process, Site, binary, matrix, site};

/// More than the buffers of both ends hold together.
const LEN: usize = 64 << 20;

/// No stack may take more than this from a writer whose peer reads nothing.
const BUFFERED_MAX: usize = 32 << 20;

/// Writes all of these and shuts down, counting what the socket has taken.
fn write_counted(mut stream: &TcpStream, bytes: &[u8], taken: &AtomicUsize) {
    for piece in bytes.chunks(64 * 1024) {
        stream.write_all(piece).unwrap();
        taken.fetch_add(piece.len(), Ordering::Relaxed);
    }
    stream.shutdown(Shutdown::Write).unwrap();
}

/// What was taken when no more was for a second.
fn stalled(taken: &AtomicUsize) -> usize {
    let mut before = 0;
    kernel::eventually("the writer is stopped", || {
        thread::sleep(Duration::from_secs(1));
        let now = taken.load(Ordering::Relaxed);
        (core::mem::replace(&mut before, now) == now && now > 0).then_some(now)
    })
}

/// Writes to a server that reads nothing at first. Whether the look at it came while it did not.
fn sleeper_stops_us(site: &Site, bytes: &[u8]) -> bool {
    const SLEEP: Duration = Duration::from_secs(6);
    let start = Instant::now();
    let stream = site.order(&format!("NOREAD {}", SLEEP.as_millis()));
    thread::sleep(Duration::from_millis(50));
    let taken = AtomicUsize::new(0);
    let was_in_time = thread::scope(|scope| {
        scope.spawn(|| write_counted(&stream, bytes, &taken));
        let stalled_at = stalled(&taken);
        let was_in_time = start.elapsed() < SLEEP;
        if was_in_time {
            assert!(stalled_at < BUFFERED_MAX, "{stalled_at} bytes taken by a server that reads nothing");
        }
        site.check_echo();
        assert_eq!(hash_to_end(&stream).unwrap(), (LEN as u64, pattern_hash(LEN as u64)));
        was_in_time
    });
    assert!(start.elapsed() >= SLEEP);
    was_in_time
}

matrix! {
    /// The server's window closes and opens again.
    fn a_server_that_does_not_read_stops_the_kernel(site) {
        let _server = site.serve_control();
        // It takes a while to make, and the server is to be met asleep.
        let bytes = pattern(LEN);
        assert!((0..3).any(|_| sleeper_stops_us(site, &bytes)), "nobody looked before the server read, thrice");
    }

    /// The kernel's window closes, stays so over several of our probes, and opens again.
    fn a_kernel_that_does_not_read_stops_the_server(site) {
        let _server = site.serve_control();
        let stream = site.order(&format!("SEND {LEN}"));
        // The loopback's segments are of 64 KiB. Into a window of less the kernel probes itself, five times a second.
        let buffer_len = if site.device == Device::Kernel { 1024 * 1024 } else { 16 * 1024 };
        kernel::shrink_receive_buffer(&stream, buffer_len);
        thread::sleep(Duration::from_secs(2));
        site.check_echo();
        expect_pattern(&stream, LEN as u64).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        assert_eq!(kernel::read(&stream, &mut [0]).unwrap(), 0);
    }

    /// A server of the kernel's that reads nothing stops our client's echo, and that stops the server's writer.
    fn a_server_of_the_kernel_that_does_not_read_stops_us(site) {
        let _alone = site::heavy();
        let _server = site.serve_control();
        let (stream, bytes) = (site.dialled(), pattern(LEN));
        let taken = AtomicUsize::new(0);
        thread::scope(|scope| {
            scope.spawn(|| write_counted(&stream, &bytes, &taken));
            let stalled_at = stalled(&taken);
            assert!(stalled_at < LEN, "everything was taken, and nothing read");
            site.check_echo();
            assert_eq!(hash_to_end(&stream).unwrap(), (LEN as u64, pattern_hash(LEN as u64)));
        });
    }

    /// A server of the kernel's that resets our connections hurts no other.
    fn a_server_of_the_kernel_that_resets_is_survived(site) {
        let _server = site.serve_control();
        for _ in 0..50 {
            let mut stream = site.dialled();
            stream.write_all(&pattern(10_000)).unwrap();
            kernel::reset_on_close(&stream);
        }
        site.check_echo();
        kernel::eventually("no connection is left", || (site.connections() == 0).then_some(()));
    }

    /// A client of the kernel's and a server.
    fn a_slow_writer_is_answered_byte_by_byte(site) {
        let _server = site.serve_control();
        let mut streams = [site.connect(), site.dialled()];
        for byte in pattern(200) {
            for stream in &mut streams {
                stream.write_all(&[byte]).unwrap();
                let mut echoed = [0];
                stream.read_exact(&mut echoed).unwrap();
                assert_eq!(echoed, [byte]);
            }
            thread::sleep(Duration::from_millis(10));
        }
    }

    fn a_slow_reader_gets_every_byte(site) {
        let _server = site.serve_control();
        let stream = site.order("SENDCLOSE 300000");
        kernel::shrink_receive_buffer(&stream, 4 * 1024);
        let (mut received, mut buffer) = (Vec::new(), [0; 1500]);
        loop {
            let count = kernel::read(&stream, &mut buffer).unwrap();
            received.extend_from_slice(&buffer[..count]);
            if count == 0 {
                break;
            }
            thread::sleep(Duration::from_millis(2));
        }
        assert!(received == pattern(300_000));
    }

    /// A cable pulled in the middle of a transfer, and put back.
    fn a_transfer_survives_a_link_that_goes_down(site) {
        let _server = site.serve_control();
        let mut stream = site.order(&format!("SENDCLOSE {LEN}"));
        let mut start = vec![0; LEN / 4];
        stream.read_exact(&mut start).unwrap();
        site.namespace.ip(&["link", "set", site.link(), "down"]);
        thread::sleep(Duration::from_secs(1));
        site.namespace.ip(&["link", "set", site.link(), "up"]);

        stream.read_to_end(&mut start).unwrap();
        assert!(start == pattern(LEN), "the bytes after the interruption differ");
        site.check_echo();
    }

    /// Peers that are there one moment and answer nothing the next, a client and a server, each in the middle of a transfer
    /// to it.
    fn a_peer_that_vanishes_disturbs_nobody(site) {
        let _server = site.serve_control();
        let guest = site.add_kernel_address(3);
        let mut client = connect_from(&site.namespace, (guest, 0).into(), site.hayase(CONTROL_PORT)).unwrap();
        client.write_all(format!("SEND {LEN}\n").as_bytes()).unwrap();
        let server = site.dialled_at(guest);
        thread::scope(|scope| {
            // Our echo of this is read no further than below, so that there is always more.
            scope.spawn(|| write_pattern(&server, u64::MAX));
            for mut stream in [&client, &server] {
                stream.read_exact(&mut [0; 100_000]).unwrap();
            }
            let prefixed = format!("{guest}/{}", if guest.is_ipv4() { 24 } else { 64 });
            site.namespace.ip(&["address", "del", &prefixed, "dev", INTERFACE]);
            for _ in 0..5 {
                site.check_echo();
                thread::sleep(Duration::from_millis(300));
            }
            // Whoever writes here hears of nothing else.
            server.shutdown(Shutdown::Both).unwrap();
        });
    }

    /// The kernel speaks for processes that are gone: it resets what they had.
    fn a_peer_that_is_killed_disturbs_nobody(site) {
        let server = site.serve("echo", &[]);
        for _ in 0..3 {
            let mut command = binary::hayase();
            command.args(["connect", &site.hayase(PORT).to_string(), "--device", "kernel"]);
            let mut peer = Process::spawn_in(&site.namespace, &mut command);
            let stdin = peer.stdin();
            let sender = thread::spawn(move || write_pattern(stdin, u64::MAX));
            peer.printed(kernel::PATIENCE, 1_000_000);
            drop(peer);
            assert!(sender.join().unwrap().is_err(), "its input ended with it");
            site.check_echo();
        }
        server.interrupt();
        server.wait(kernel::PATIENCE).success();
    }

    /// What it had of the system goes with it, however it ends.
    fn a_server_that_is_killed_is_followed_by_another(site) {
        for _ in 0..3 {
            let server = site.serve("echo", &[]);
            site.check_echo();
            let mut half_way = site.connect();
            half_way.write_all(&pattern(100_000)).unwrap();
            drop(server);
        }
        let _server = site.serve("echo", &[]);
        site.check_echo();
    }
}
