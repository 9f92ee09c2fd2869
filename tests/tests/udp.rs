//! UDP: datagrams of every size, whole or in fragments, and ports that nobody listens on.

use std::io::ErrorKind;

use hayase_tests::pattern::pattern;
use hayase_tests::site::PORT;
use hayase_tests::{kernel, matrix_in_full};

/// Both sides of what fits into one frame, over IPv4 (1,472) and IPv6 (1,452), and several fragments.
const SIZES: [usize; 9] = [0, 1, 1452, 1453, 1472, 1473, 4000, 9000, 20_000];

matrix_in_full! {
    fn datagrams_come_back_whole(site) {
        let _server = site.serve("echo", &["--udp"]);
        let socket = kernel::udp(&site.namespace, site.hayase(PORT));
        let mut buffer = vec![0; 65_536];
        for size in SIZES.into_iter().filter(|size| site.carries(*size)) {
            let datagram = pattern(size);
            assert_eq!(socket.send(&datagram).unwrap(), size);
            let count = kernel::receive(&socket, &mut buffer).unwrap_or_else(|error| panic!("size {size}: {error}"));
            assert!(buffer[..count] == datagram, "size {size} came back as {count} other bytes");
        }
    }

    fn tcp_and_udp_share_a_port_number(site) {
        let _server = site.serve("echo", &["--udp"]);
        let socket = kernel::udp(&site.namespace, site.hayase(PORT));
        socket.send(b"datagram").unwrap();
        site.check_echo();
        let mut buffer = [0; 16];
        let count = kernel::receive(&socket, &mut buffer).unwrap();
        assert_eq!(&buffer[..count], b"datagram");
    }

    /// RFC 1122 §4.1.3.1: a port without a listener answers with an ICMP port unreachable.
    fn a_closed_port_is_reported(site) {
        let _server = site.serve("echo", &[]);
        let cases = [(PORT, 1), (PORT + 99, 0), (PORT + 99, 4000)];
        for (port, size) in cases.into_iter().filter(|(_, size)| site.carries(*size)) {
            let socket = kernel::udp(&site.namespace, site.hayase(port));
            socket.send(&pattern(size)).unwrap();
            let error = kernel::receive(&socket, &mut [0; 16]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "port {port}: {error}");
        }
    }
}
