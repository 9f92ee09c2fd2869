//! What an attacker on the link can send to a server, and what must not come of it: forged segments, errors, fragments
//! and neighbours, broken packets, and floods, with honest clients of the kernel's beside them.

use std::io::{Read, Write};
use std::net::{IpAddr, TcpStream, UdpSocket};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use hayase_tests::forge::flags::{ACK, FIN, RST, SYN};
use hayase_tests::forge::{self, ETHERNET_LEN, Random, Segment, protocol};
use hayase_tests::lan::{ATTACKER_MAC, HAYASE_MAC, Lan, arp, is_from_hayase, is_segment, transport};
use hayase_tests::pattern::{hash_to_end, pattern, pattern_hash};
use hayase_tests::site::{CONTROL_PORT, PORT};
use hayase_tests::{Process, kernel, lan};

/// What a flood may add to a server's memory: the limits of half-open connections and fragments are far below, and the
/// pool has buffers for bursts.
const MEMORY_LEN_MAX: u64 = 160 << 20;

/// No honest client waits so long for an answer, whatever the flood.
const SLOW: Duration = Duration::from_secs(15);

fn ask(mut stream: &TcpStream, text: &[u8]) {
    stream.write_all(text).unwrap();
    let mut echoed = vec![0; text.len()];
    stream.read_exact(&mut echoed).unwrap();
    assert_eq!(echoed, text);
}

/// The ports of the kernel's connection, from its end.
fn ports(stream: &TcpStream) -> (u16, u16) {
    (stream.local_addr().unwrap().port(), stream.peer_addr().unwrap().port())
}

fn order(lan: &Lan, order: &str) -> TcpStream {
    let mut stream = kernel::connect(&lan.namespace, lan.port(CONTROL_PORT));
    stream.write_all(format!("{order}\n").as_bytes()).unwrap();
    stream
}

/// A datagram comes back, at the latest after some tries: each may be lost.
fn echoes(socket: &UdpSocket, len: usize) -> bool {
    let text = pattern(len);
    let mut buffer = vec![0; 65_536];
    socket.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    (0..20).any(|_| {
        socket.send(&text).unwrap();
        kernel::receive(socket, &mut buffer).is_ok_and(|count| buffer[..count] == text)
    })
}

/// Sends `flood`, and goes on with `more` until honest clients have been served so often, one after the other, on a
/// thread beside it.
fn beside(flood: impl FnOnce(), mut more: impl FnMut(), mut client: impl FnMut() + Send) {
    const SERVED_MIN: u32 = 5;
    let (served, over) = (AtomicU32::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        let clients = scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                let start = Instant::now();
                client();
                assert!(start.elapsed() < SLOW, "an honest client waited for {:?}", start.elapsed());
                served.fetch_add(1, Ordering::Relaxed);
            }
        });
        flood();
        while served.load(Ordering::Relaxed) < SERVED_MIN && !clients.is_finished() {
            more();
        }
        over.store(true, Ordering::Relaxed);
    });
}

/// Floods, and sees that the server's memory stays what it was.
fn bounded(server: &Process, flood: impl FnOnce()) {
    let before = server.resident_len();
    flood();
    let grown = server.resident_len().saturating_sub(before);
    assert!(grown < MEMORY_LEN_MAX, "the server's memory has grown by {grown} bytes");
}

lan! {
    /// Who knows addresses and ports, and guesses sequence numbers (RFC 5961).
    fn blind_segments_end_no_connection_and_change_no_byte(lan) {
        let _server = lan.serve();
        let idle = kernel::connect(&lan.namespace, lan.port(PORT));
        ask(&idle, b"before");
        let busy = kernel::connect(&lan.namespace, lan.port(PORT));
        let (idle_ports, busy_ports) = (ports(&idle), ports(&busy));
        let (src, dst) = (lan.kernel(), lan.hayase());
        let forged = |(src_port, dst_port), seq, ack, flags, payload| {
            Segment { src_port, dst_port, seq, ack, flags, payload }.packet(src, dst)
        };
        let mut random = Random::new(1);
        let mut attack = || {
            // So near to each other that many are within any window, and hardly one is exact.
            lan.flood(8000, |number| forged(idle_ports, number.wrapping_mul(536_871), 0, RST, &[]));
            lan.flood(8000, |number| forged(busy_ports, number.wrapping_mul(536_871), 0, RST, &[]));
            lan.flood(2000, |_| forged(idle_ports, random.next_u32(), 0, SYN, &[]));
            lan.flood(2000, |_| forged(busy_ports, random.next_u32(), 0, SYN, &[]));
            lan.flood(2000, |_| {
                let flags = if random.chance(5000) { ACK } else { ACK | FIN };
                forged(idle_ports, random.next_u32(), random.next_u32(), flags, b"forged")
            });
        };
        thread::scope(|scope| {
            scope.spawn(|| kernel::echo_of_pattern(&busy, 4 << 20));
            attack();
        });
        ask(&idle, b"after");
    }

    /// What has a wrong sum, or says a wrong length, is not heard; the same without the fault is.
    fn broken_packets_are_not_heard(lan) {
        let _server = lan.serve();
        lan.introduce();
        let (src, dst) = (lan.attacker(), lan.hayase());
        let broken = broken_packets(lan);
        let count = broken.len() as u16;
        for packet in &broken {
            lan.send(packet);
        }
        let good = forge::udp(src, dst, (5000, PORT), b"good");
        lan.send(&forge::ip(src, dst, protocol::UDP, &good));
        let answered = |frame: &[u8]| {
            let is_ours = is_from_hayase(frame, protocol::UDP) || is_segment(frame);
            let port = is_ours.then(|| u16::from_be_bytes([transport(frame)[2], transport(frame)[3]]));
            assert!(!port.is_some_and(|port| (1000..1000 + count).contains(&port)), "answered: {port:?}");
            port == Some(5000)
        };
        assert!(lan.hear(Duration::from_secs(5), answered).is_some(), "the good one is answered");
        let syn = Segment { src_port: 5001, dst_port: PORT, seq: 1, ack: 0, flags: SYN, payload: &[] };
        lan.send(&syn.packet(src, dst));
        let is_answer = |frame: &[u8]| is_segment(frame) && transport(frame)[13] == SYN | ACK;
        assert!(lan.hear(Duration::from_secs(5), is_answer).is_some(), "and so is a good SYN");
        lan.check_echo();
    }

    /// RFC 5927: an error counts if it quotes what is outstanding.
    fn forged_errors_neither_end_connections_nor_shorten_segments(lan) {
        let _server = lan.serve();
        let idle = kernel::connect(&lan.namespace, lan.port(PORT));
        ask(&idle, b"before");
        let mut busy = order(lan, &format!("SEND {}", 8 << 20));
        let mut head = vec![0; 100_000];
        busy.read_exact(&mut head).unwrap();
        let mut random = Random::new(2);
        let streams = [&idle, &busy];
        lan.flood(4000, |number| {
            let (remote, local) = ports(streams[number as usize % 2]);
            let quoted =
                Segment { src_port: local, dst_port: remote, seq: random.next_u32(), ack: 0, flags: ACK, payload: &[] };
            let quote = quoted.packet(lan.hayase(), lan.kernel());
            let body = [&[0, 0], &number.to_be_bytes()[2..], &quote].concat();
            let router = lan.stranger(number);
            match (lan.family == hayase_tests::Family::V4, number / 2 % 8) {
                (true, code) if number % 3 == 0 => forge::icmp(router, lan.hayase(), 3, code as u8, &body),
                (true, _) => forge::icmp(router, lan.hayase(), 3, 4, &[&[0, 0, 2, 40], &quote[..]].concat()),
                (false, code) if number % 3 == 0 => forge::icmp(router, lan.hayase(), 1, code as u8, &body),
                (false, _) => forge::icmp(router, lan.hayase(), 2, 0, &[&[0, 0, 5, 0], &quote[..]].concat()),
            }
        });
        let rest = hash_to_len(&busy, (8 << 20) - head.len());
        assert_eq!([head, rest].concat(), pattern(8 << 20));
        let received = segment_len(lan, ports(&busy));
        assert!(received > 1300, "segments of {received} bytes");
        ask(&idle, b"after");
    }

    /// RFC 5722, RFC 1858: fragments that overlap are no packet.
    fn overlapping_fragments_are_no_datagram(lan) {
        let _server = lan.serve();
        lan.introduce();
        let (src, dst) = (lan.attacker(), lan.hayase());
        let whole = |port| forge::udp(src, dst, (port, PORT), &pattern(1600));
        let piece = |ident, start: usize, end: usize, bytes: &[u8]| {
            lan.send(&forge::fragment(src, dst, ident, start, end < bytes.len(), &bytes[start..end]));
        };
        // An overlap within, one that begins before the other, and one of nothing new but other bytes.
        let (one, two, three) = (whole(1001), whole(1002), whole(1003));
        for (start, end) in [(0, 800), (400, 1200), (1200, 1608)] {
            piece(1, start, end, &one);
        }
        for (start, end) in [(800, 1608), (0, 808)] {
            piece(2, start, end, &two);
        }
        let lie = vec![0xee; three.len()];
        piece(3, 0, 800, &three);
        piece(3, 0, 800, &lie);
        piece(3, 800, 1608, &three);
        let good = whole(5000);
        for (start, end) in [(800, 1608), (0, 800)] {
            piece(4, start, end, &good);
        }
        let heard = lan.hear(Duration::from_secs(5), |frame| {
            let port = first_fragment_port(frame);
            assert!(!matches!(port, Some(1001..=1003)), "a datagram of overlapping fragments: {port:?}");
            port == Some(5000)
        });
        assert!(heard.is_some(), "fragments that fit are a datagram");
        lan.check_echo();
    }

    /// Packets that never end are forgotten, oldest first; those of others come together in between.
    fn a_flood_of_fragments_takes_no_more_memory_than_it_may(lan) {
        let server = lan.serve();
        let socket = kernel::udp(&lan.namespace, lan.port(PORT));
        assert!(echoes(&socket, 8000));
        let bytes = [0x5a; 1400];
        let flood = |count| {
            lan.flood(count, |number| {
                let start = 8 * (number as usize % 3);
                forge::fragment(lan.stranger(number), lan.hayase(), number, start, true, &bytes)
            });
        };
        let mut echoed = false;
        bounded(&server, || beside(|| flood(30_000), || flood(1000), || echoed |= echoes(&socket, 4000)));
        assert!(echoed, "fragments of honest packets come together during the flood");
        assert!(echoes(&socket, 8000), "and after it");
        lan.check_echo();
    }

    /// Somebody says that he has our address; and then that he has the kernel's.
    fn forged_neighbours_are_survived(lan) {
        let _server = lan.serve();
        let stream = kernel::connect(&lan.namespace, lan.port(PORT));
        // Either end asks again some seconds after it was lied to, and by then TCP tries seldom.
        stream.set_read_timeout(Some(2 * kernel::PATIENCE)).unwrap();
        ask(&stream, b"before");
        lan.drain();
        for _ in 0..50 {
            claim(lan, lan.hayase(), HAYASE_MAC);
        }
        ask(&stream, b"our address is ours");
        claim(lan, lan.hayase(), [0xff; 6]);
        if lan.family == hayase_tests::Family::V4 {
            // RFC 5227 §2.4: we say that it is ours.
            let defends = |frame: &[u8]| frame[6..14] == [&HAYASE_MAC[..], &[8, 6]].concat() && frame[..6] == [0xff; 6];
            assert!(lan.hear(Duration::from_secs(5), defends).is_some(), "the address is defended");
        }
        ask(&stream, b"the kernel finds us again");
        claim(lan, lan.kernel(), HAYASE_MAC);
        ask(&stream, b"a wrong neighbour is found out");
        lan.check_echo();
    }

    fn a_flood_of_neighbours_displaces_nobody(lan) {
        let server = lan.serve();
        let stream = kernel::connect(&lan.namespace, lan.port(PORT));
        let flood = |count: u32| {
            for number in 0..count {
                let [.., a, b] = number.to_be_bytes();
                introduce_stranger(lan, [2, 0, 0, 1, a, b], b);
                if number % 100 == 99 {
                    thread::sleep(Duration::from_micros(500));
                }
            }
        };
        bounded(&server, || beside(|| flood(20_000), || flood(1000), || ask(&stream, b"still here")));
        lan.check_echo();
    }

    /// A hundred thousand SYNs from as many addresses.
    fn a_flood_of_syns_keeps_nobody_out(lan) {
        let server = lan.serve();
        let established = kernel::connect(&lan.namespace, lan.port(PORT));
        let flood = |count, seed| {
            let mut random = Random::new(seed);
            lan.flood(count, |number| {
                let (seq, src_port) = (random.next_u32(), random.next_u32() as u16 | 1024);
                let syn = Segment { src_port, dst_port: PORT, seq, ack: 0, flags: SYN, payload: &[] };
                syn.packet(lan.stranger(number), lan.hayase())
            });
        };
        let client = || {
            ask(&established, b"an old connection");
            ask(&kernel::connect(&lan.namespace, lan.port(PORT)), b"a new connection");
        };
        bounded(&server, || beside(|| flood(100_000, 3), || flood(1000, 4), client));
        lan.check_echo();
    }

    /// A hundred thousand resets and acknowledgements for a connection in the middle of a transfer. A small window leaves
    /// no room for a guess: one that hit would be believed.
    fn a_flood_of_resets_and_acknowledgements_disturbs_no_transfer(lan) {
        let server = lan.serve();
        const LEN: usize = 8 << 20;
        let mut stream = kernel::connect(&lan.namespace, lan.port(CONTROL_PORT));
        kernel::shrink_receive_buffer(&stream, 32 * 1024);
        stream.write_all(format!("SENDCLOSE {LEN}\n").as_bytes()).unwrap();
        let (src_port, dst_port) = ports(&stream);
        let mut random = Random::new(4);
        bounded(&server, || {
            thread::scope(|scope| {
                let received = scope.spawn(|| hash_to_end(&stream).unwrap());
                lan.flood(100_000, |number| {
                    let (seq, ack) = (random.next_u32(), random.next_u32());
                    let flags = if number % 2 == 0 { RST } else { ACK };
                    let segment = Segment { src_port, dst_port, seq, ack, flags, payload: &[] };
                    segment.packet(lan.kernel(), lan.hayase())
                });
                assert_eq!(received.join().unwrap(), (LEN as u64, pattern_hash(LEN as u64)));
            });
        });
        lan.check_echo();
    }
}

/// Reads so many bytes.
fn hash_to_len(mut stream: &TcpStream, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    stream.read_exact(&mut bytes).unwrap();
    bytes
}

/// The longest segment that the kernel has lately received on a connection.
fn segment_len(lan: &Lan, (local, remote): (u16, u16)) -> usize {
    let filter = format!("sport = :{local} and dport = :{remote}");
    let mut command = Command::new("ss");
    let process = Process::spawn_in(&lan.namespace, command.args(["-tinH", &filter]));
    let text = process.wait(kernel::PATIENCE).success().text();
    let value = text.split_whitespace().find_map(|word| word.strip_prefix("rcvmss:"));
    value.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("ss says {text}"))
}

/// The destination port in the first fragment of a datagram from the stack under test.
fn first_fragment_port(frame: &[u8]) -> Option<u16> {
    let packet = frame.get(ETHERNET_LEN..)?;
    let at = match packet.first()? >> 4 {
        4 if packet.get(9) == Some(&protocol::UDP) && packet[7] == 0 && packet[6] & 0x1f == 0 => 20,
        6 if packet.get(6) == Some(&protocol::FRAGMENT) && packet[42] == 0 && packet[43] & !7 == 0 => 48,
        6 if packet.get(6) == Some(&protocol::UDP) => 40,
        _ => return None,
    };
    let is_ours = frame[6..12] == HAYASE_MAC && packet.len() >= at + 4;
    is_ours.then(|| u16::from_be_bytes([packet[at + 2], packet[at + 3]]))
}

/// The attacker says that an address is its own.
fn claim(lan: &Lan, address: IpAddr, to: [u8; 6]) {
    if address.is_ipv4() {
        let packet = arp(2, (ATTACKER_MAC, address), (to, address));
        return lan.send_frame(&forge::ethernet(to, ATTACKER_MAC, 0x0806, &packet));
    }
    let dst = if to == [0xff; 6] { "ff02::1".parse().unwrap() } else { lan.hayase() };
    let body = [&[0x20, 0, 0, 0], &forge::octets(address)[..], &[2, 1], &ATTACKER_MAC].concat();
    let packet = forge::icmp(address, dst, 136, 0, &body);
    let mac = if to == [0xff; 6] { [0x33, 0x33, 0, 0, 0, 1] } else { to };
    lan.send_frame(&forge::ethernet(mac, ATTACKER_MAC, 0x86dd, &packet));
}

/// A host that nobody has seen asks for the stack's address.
fn introduce_stranger(lan: &Lan, mac: [u8; 6], number: u8) {
    if lan.hayase().is_ipv4() {
        let address = [10, 7, 0, number.max(3)].into();
        let packet = arp(1, (mac, address), ([0; 6], lan.hayase()));
        return lan.send_frame(&forge::ethernet(HAYASE_MAC, mac, 0x0806, &packet));
    }
    let [.., a, b] = mac;
    let address = [0xfd00, 7, 0, 0, 0, 0, 1, u16::from_be_bytes([a, b])].into();
    let body = [&[0; 4], &forge::octets(lan.hayase())[..], &[1, 1], &mac].concat();
    let packet = forge::icmp(address, lan.hayase(), 135, 0, &body);
    lan.send_frame(&forge::ethernet(HAYASE_MAC, mac, 0x86dd, &packet));
}

/// Datagrams and SYNs from ports 1000, 1001 and so on, each with another fault.
fn broken_packets(lan: &Lan) -> Vec<Vec<u8>> {
    let (src, dst) = (lan.attacker(), lan.hayase());
    let udp = |port: u16| forge::ip(src, dst, protocol::UDP, &forge::udp(src, dst, (port, PORT), b"broken"));
    let syn = |port: u16| {
        Segment { src_port: port, dst_port: PORT, seq: 9, ack: 0, flags: SYN, payload: &[] }.packet(src, dst)
    };
    let header_len = if src.is_ipv4() { 20 } else { 40 };
    // Where a byte is wrong, and what it is instead.
    let mut faults: Vec<(bool, usize, u8)> = vec![
        (true, header_len + 6, 0x12), // the checksum
        (true, header_len + 4, 0xff), // longer than the packet
        (true, header_len + 5, 7),    // shorter than its header
        (false, header_len + 16, 0x12),
        (false, header_len + 12, 4 << 4),  // a header of 16 bytes
        (false, header_len + 12, 15 << 4), // a header longer than the segment
    ];
    if src.is_ipv4() {
        faults.extend([(true, 10, 0x12), (true, 0, 0x44), (true, 0, 0x4f), (true, 0, 0x55), (true, 2, 9)]);
        faults.extend([(true, 3, 19), (true, 12, 127), (true, 12, 224), (true, 6, 0x20)]);
    } else {
        faults.extend([
            (true, 0, 0x50),
            (true, 4, 9),
            (true, 5, 3),
            (true, 6, 0),
            (true, 6, 43),
            (true, 8, 0xff),
        ]);
    }
    let mut packets = Vec::new();
    for (is_udp, at, byte) in faults {
        let port = 1000 + packets.len() as u16;
        let mut packet = if is_udp { udp(port) } else { syn(port) };
        packet[at] = byte;
        // Only the fault itself is to be wrong.
        if src.is_ipv4() && at < 20 && at != 10 {
            forge::fill_header_checksum(&mut packet);
        }
        packets.push(packet);
    }
    let mut cut = udp(1000 + packets.len() as u16);
    cut.truncate(header_len + 5);
    packets.push(cut);
    packets
}
