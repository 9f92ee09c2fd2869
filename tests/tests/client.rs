//! Our stack as the client of the kernel: `hayase connect` and `hayase bench --connect`.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener};
use std::thread;
use std::time::Duration;

use hayase_tests::kernel::{self, PATIENCE};
use hayase_tests::pattern::{expect_pattern, pattern, write_pattern};
use hayase_tests::process::feed;
use hayase_tests::{Device, Family, Offloads, Process, Site, matrix, site};

fn start_connect(site: &Site, port: u16) -> Process {
    site.start(&["connect", &site.kernel(port).to_string()])
}

/// Runs a bench against a kernel server with `count` connections; returns the figures of the bench and how
/// many bytes each connection carried.
fn bench(
    site: &Site,
    arguments: &[&str],
    count: usize,
    server: fn(std::net::TcpStream) -> std::io::Result<u64>,
) -> (serde_json::Value, Vec<u64>) {
    let listener: TcpListener = kernel::listen(&site.namespace, site.family);
    let address = site.kernel(kernel::port(&listener)).to_string();
    thread::scope(|scope| {
        let served = scope.spawn(|| kernel::serve(&listener, count, server));
        let process = site.start(&[&["bench"], arguments, &["--connect", &address, "--json"]].concat());
        let exit = process.wait(2 * PATIENCE).success();
        let figures = serde_json::from_slice(&exit.stdout)
            .unwrap_or_else(|error| panic!("not one JSON value: {error}\n{}", exit.text()));
        (figures, served.join().unwrap())
    })
}

/// Where the kernel can be asked, since the client's socket is the kernel's.
#[test]
fn connect_has_the_chosen_congestion_control() {
    Site::run(Device::Kernel, Family::V4, Offloads::All, |site| {
        let listener = kernel::listen(&site.namespace, site.family);
        let to = site.kernel(kernel::port(&listener));
        for (name, linux) in [("newreno", " reno "), ("cubic", " cubic ")] {
            let client = site.start(&["connect", &to.to_string(), "--congestion", name]);
            let _stream = kernel::accept(&listener);
            let sockets = site.system("ss", &["-tinH", "dport", "=", &format!(":{}", to.port())]);
            assert!(sockets.contains(linux), "{name}: {sockets}");
            drop(client);
        }
    });
}

matrix! {
    fn connect_carries_both_directions(site) {
        let listener = kernel::listen(&site.namespace, site.family);
        let mut client = start_connect(site, kernel::port(&listener));
        let mut stdin = client.stdin();
        let mut stream = kernel::accept(&listener);

        stdin.write_all(b"a line for the kernel\n").unwrap();
        let mut line = [0; 22];
        stream.read_exact(&mut line).unwrap();
        assert_eq!(&line, b"a line for the kernel\n");
        stream.write_all(b"and one back\n").unwrap();
        assert_eq!(client.printed(PATIENCE, 13), b"and one back\n");
    }

    /// As nc does it: the end of the input half-closes, and what the peer still says is printed.
    fn the_end_of_the_input_half_closes(site) {
        let listener = kernel::listen(&site.namespace, site.family);
        let mut client = start_connect(site, kernel::port(&listener));
        let stdin = client.stdin();
        let sending = thread::spawn(move || feed(stdin, &pattern(300_000)));
        let stream = kernel::accept(&listener);
        expect_pattern(&stream, 300_000).unwrap();
        assert_eq!(kernel::read(&stream, &mut [0]).unwrap(), 0);
        sending.join().unwrap();

        write_pattern(&stream, 2_000_000).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let exit = client.wait(PATIENCE).success();
        assert!(exit.stdout == pattern(2_000_000), "{} bytes printed", exit.stdout.len());
    }

    fn a_refused_connect_says_so(site) {
        let closed = kernel::port(&kernel::listen(&site.namespace, site.family));
        let exit = start_connect(site, closed).wait(Duration::from_secs(20));
        assert!(!exit.status.success(), "{exit:?}");
        assert!(exit.stderr.to_lowercase().contains("refused"), "{exit:?}");
        assert!(exit.stderr.contains("start the server"), "it does not say what to do: {exit:?}");
        assert!(exit.stdout.is_empty(), "{exit:?}");
    }

    fn a_reset_by_the_server_is_told(site) {
        let listener = kernel::listen(&site.namespace, site.family);
        let mut client = start_connect(site, kernel::port(&listener));
        // The end of the input is an end of its own.
        let stdin = client.stdin();
        let stream = kernel::accept(&listener);
        kernel::reset_on_close(&stream);
        drop(stream);
        let exit = client.wait(PATIENCE);
        drop(stdin);
        assert!(!exit.status.success() && exit.stderr.to_lowercase().contains("reset"), "{exit:?}");
    }

    /// The peer has said all before, so nothing but what becomes of our bytes can tell.
    fn bytes_that_the_server_did_not_get_are_told(site) {
        let listener = kernel::listen(&site.namespace, site.family);
        let mut client = start_connect(site, kernel::port(&listener));
        let stdin = client.stdin();
        let stream = kernel::accept(&listener);
        stream.shutdown(Shutdown::Write).unwrap();
        // More than its receive buffer takes, which nobody empties.
        feed(stdin, &pattern(300_000));
        thread::sleep(Duration::from_millis(200));
        drop(stream);
        let exit = client.wait(Duration::from_secs(5));
        assert_eq!(exit.status.code(), Some(1), "{exit:?}");
        // Of a write, Linux says that after the peer's FIN the pipe is broken.
        let why = ["reset", "Broken pipe"];
        assert!(why.iter().any(|why| exit.stderr.contains(why)), "{exit:?}");
    }

    /// Ctrl-C
    fn an_interrupt_closes_the_connections(site) {
        let listener = kernel::listen(&site.namespace, site.family);
        let to = site.kernel(kernel::port(&listener)).to_string();
        let idle = ["bench", "pingpong", "--connect", &to, "--idle", "3", "--duration", "60"];
        for (arguments, count) in [(&["connect", &to][..], 1), (&idle[..], 4)] {
            let mut client = site.start(arguments);
            let stdin = client.stdin();
            let streams: Vec<_> = (0..count).map(|_| kernel::accept(&listener)).collect();
            client.interrupt();
            for stream in streams {
                let end = kernel::read(&stream, &mut [0; 16]);
                let is_over = |error: &std::io::Error| error.kind() == ErrorKind::ConnectionReset;
                // A ball may still be in the air.
                let end = if matches!(end, Ok(1..)) { kernel::read(&stream, &mut [0; 16]) } else { end };
                assert!(matches!(end, Ok(0)) || end.as_ref().is_err_and(is_over), "{arguments:?}: {end:?}");
            }
            let exit = client.wait(PATIENCE);
            drop(stdin);
            assert_eq!(exit.status.code(), Some(130), "{exit:?}");
        }
    }

    fn pingpong_makes_exactly_its_round_trips(site) {
        let arguments = ["pingpong", "--connections", "4", "--round-trips", "1000", "--payload", "100"];
        let (figures, carried) = bench(site, &arguments, 4, kernel::echo_to_end);
        assert_eq!(figures["round_trips"], 1000, "{figures}");
        assert_eq!(carried.iter().sum::<u64>(), 100_000, "{carried:?}");
        assert!(carried.iter().all(|&len| len > 0), "a connection did nothing: {carried:?}");
    }

    fn pingpong_holds_idle_connections(site) {
        let arguments = ["pingpong", "--connections", "2", "--idle", "50", "--round-trips", "200"];
        let (figures, mut carried) = bench(site, &arguments, 52, kernel::echo_to_end);
        assert_eq!(figures["round_trips"], 200, "{figures}");
        carried.sort_unstable();
        assert_eq!(carried[..50], [0; 50], "an idle connection spoke");
        assert_eq!(carried[50..].iter().sum::<u64>(), 200);
    }

    /// Each core makes its part of them, on connections of its own.
    fn pingpong_on_two_cores_makes_exactly_its_round_trips(site) {
        let counts = ["--cores", "2", "--connections", "50", "--round-trips", "4000", "--payload", "100"];
        let (figures, carried) = bench(site, &[&["pingpong"], &counts[..]].concat(), 100, kernel::echo_to_end);
        assert_eq!(figures["round_trips"], 4000, "{figures}");
        assert_eq!((&figures["cores"], &figures["connections"]), (&2.into(), &100.into()), "{figures}");
        assert_eq!(carried, [4000; 100], "40 round trips of 100 bytes on each connection");
    }

    /// All at once, and each gets its own bytes: the bench compares what it is sent back.
    fn a_thousand_connections_are_served_by_the_kernel(site) {
        let _alone = site::heavy();
        kernel::raise_file_limit();
        let counts = ["--connections", "1000", "--round-trips", "3000", "--payload", "1500"];
        let (figures, carried) = bench(site, &[&["pingpong"], &counts[..]].concat(), 1000, kernel::echo_to_end);
        assert_eq!(figures["round_trips"], 3000, "{figures}");
        assert_eq!(carried, [4500; 1000], "three round trips of 1,500 bytes on each connection");
    }

    fn bulk_sends_exactly_its_bytes(site) {
        let arguments = ["bulk", "--connections", "2", "--bytes", "20000000", "--write", "65536"];
        let (figures, carried) = bench(site, &arguments, 2, kernel::discard_to_end);
        assert_eq!(figures["bytes"], 20_000_000, "{figures}");
        assert_eq!(carried.iter().sum::<u64>(), 20_000_000, "{carried:?}");
    }

    /// Each core sends its part of them, on connections of its own.
    fn bulk_on_two_cores_sends_exactly_its_bytes(site) {
        let counts = ["--cores", "2", "--connections", "2", "--bytes", "10000000"];
        let (figures, carried) = bench(site, &[&["bulk"], &counts[..]].concat(), 4, kernel::discard_to_end);
        assert_eq!(figures["bytes"], 10_000_000, "{figures}");
        assert_eq!((&figures["cores"], &figures["connections"]), (&2.into(), &4.into()), "{figures}");
        assert_eq!(carried, [2_500_000; 4]);
    }
}
