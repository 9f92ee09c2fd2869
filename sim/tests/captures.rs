//! Captures, read by the public description of the format (draft-ietf-opsawg-pcap) and of the protocols, and by nothing
//! that the simulator or the stack is made of.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use hayase::net::{TcpListener, TcpStream, UdpSocket};
use hayase_sim::{Link, Sim};

/// A frame of a capture.
#[derive(Debug, PartialEq, Eq)]
struct Record {
    /// Since 1970.
    at: Duration,
    bytes: Vec<u8>,
}

/// Reads a file as libpcap does, but stricter: what readers let pass is refused too.
fn read(file: &[u8]) -> Result<Vec<Record>, String> {
    let (header, mut rest) = file.split_first_chunk::<24>().ok_or("no room for the file's header")?;
    // The magic number says that times are in nanoseconds, and in which order bytes are.
    if header[..4] != 0xa1b2_3c4d_u32.to_le_bytes() {
        return Err(format!("magic number {:02x?}", &header[..4]));
    }
    let words = |bytes: &[u8]| -> Vec<u32> {
        bytes.as_chunks().0.iter().map(|chunk| u32::from_le_bytes(*chunk)).collect()
    };
    let head = words(header);
    let (major, minor) = (head[1] & 0xffff, head[1] >> 16);
    if (major, minor) != (2, 4) || head[2] != 0 || head[3] != 0 {
        return Err(format!("version {major}.{minor}, reserved {} and {}", head[2], head[3]));
    }
    let (snap_len, link_type) = (head[4], head[5]);
    // The upper bits would tell of a frame check sequence.
    if link_type != 1 || snap_len == 0 {
        return Err(format!("link type {link_type:#x}, snap length {snap_len}"));
    }
    let mut records: Vec<Record> = Vec::new();
    while !rest.is_empty() {
        let (head, after) = rest.split_first_chunk::<16>().ok_or("bytes behind the last record")?;
        let head = words(head);
        let (seconds, nanos, kept, len) = (head[0], head[1], head[2], head[3]);
        if nanos >= 1_000_000_000 || kept > snap_len || kept != len {
            return Err(format!("record {}: {nanos} ns, {kept} of {len} bytes", records.len()));
        }
        let (bytes, after) = after.split_at_checked(kept as usize).ok_or("a record without its end")?;
        let at = Duration::new(seconds.into(), nanos);
        if records.last().is_some_and(|last| last.at > at) {
            return Err(format!("record {}: before the one before it", records.len()));
        }
        records.push(Record { at, bytes: bytes.to_vec() });
        rest = after;
    }
    Ok(records)
}

/// The sum of RFC 1071 over pieces of even length, and a last one: 0 if what holds it is right.
fn sum(pieces: &[&[u8]]) -> u16 {
    let pairs = pieces.iter().flat_map(|piece| piece.chunks(2));
    let total: u64 = pairs.map(|pair| u64::from(pair[0]) << 8 | u64::from(*pair.get(1).unwrap_or(&0))).sum();
    let folded = (total & 0xffff) + (total >> 16 & 0xffff) + (total >> 32);
    !((folded & 0xffff) + (folded >> 16)) as u16
}

/// What a frame is.
#[derive(Debug, PartialEq, Eq)]
enum Frame<'a> {
    Arp,
    Icmp,
    Udp(&'a [u8]),
    Tcp { to: SocketAddr, seq: u32, is_syn: bool, payload: &'a [u8] },
}

fn be16(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

/// Reads a frame that nothing has damaged: every length and every sum is right.
fn dissect(frame: &[u8]) -> Frame<'_> {
    assert!(frame.len() >= 14 + 20, "{} bytes", frame.len());
    let (ethernet, packet) = frame.split_at(14);
    let (target, protocol, payload): (IpAddr, u8, &[u8]) = match be16(ethernet, 12) {
        0x0806 => return Frame::Arp,
        0x0800 => {
            assert_eq!((packet[0], usize::from(be16(packet, 2))), (0x45, packet.len()));
            assert_eq!(sum(&[&packet[..20]]), 0, "of the header");
            (Ipv4Addr::from(*packet[16..].first_chunk::<4>().unwrap()).into(), packet[9], &packet[20..])
        }
        0x86dd => {
            assert_eq!((packet[0] >> 4, usize::from(be16(packet, 4))), (6, packet.len() - 40));
            (Ipv6Addr::from(*packet[24..].first_chunk::<16>().unwrap()).into(), packet[6], &packet[40..])
        }
        other => panic!("EtherType {other:#06x}"),
    };
    let addresses = if target.is_ipv4() { &packet[12..20] } else { &packet[8..40] };
    let len = (payload.len() as u32).to_be_bytes();
    let pseudo_header = [addresses, &len, &[0, protocol]].concat();
    // ICMP has none with IPv4.
    let covered: &[u8] = if protocol == 1 { &[] } else { &pseudo_header[..] };
    assert_eq!(sum(&[covered, payload]), 0, "of protocol {protocol}");
    let to = SocketAddr::new(target, be16(payload, 2));
    match protocol {
        6 => {
            let seq = u32::from_be_bytes(*payload[4..].first_chunk().unwrap());
            let (header_len, is_syn) = (usize::from(payload[12] >> 4) * 4, payload[13] & 2 != 0);
            Frame::Tcp { to, seq, is_syn, payload: &payload[header_len..] }
        }
        17 => {
            assert_eq!(usize::from(be16(payload, 4)), payload.len());
            Frame::Udp(&payload[8..])
        }
        1 | 58 => Frame::Icmp,
        other => panic!("protocol {other}"),
    }
}

/// The bytes that went to this address, put together by their sequence numbers.
fn stream_to(records: &[Record], server: SocketAddr) -> Vec<u8> {
    let mut first = None;
    let mut pieces = BTreeMap::new();
    for record in records {
        if let Frame::Tcp { to, seq, is_syn, payload, .. } = dissect(&record.bytes)
            && to == server
        {
            let isn = *first.get_or_insert(seq);
            let at = seq.wrapping_sub(isn).wrapping_sub(u32::from(!is_syn));
            if !payload.is_empty() {
                let piece = pieces.entry(at).or_insert(payload);
                *piece = if piece.len() < payload.len() { payload } else { piece };
            }
        }
    }
    let mut stream = Vec::new();
    for (at, piece) in pieces {
        let known = stream.len().checked_sub(at as usize).expect("there is no hole");
        stream.extend_from_slice(piece.get(known..).unwrap_or_default());
    }
    stream
}

fn text(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 13 + at / 250) as u8).collect()
}

async fn send(sim: &Sim, server: SocketAddr, bytes: &[u8]) {
    let listener = sim.server().scope(TcpListener::bind(server)).await.unwrap();
    let reader = sim.server().spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).await.unwrap();
        bytes
    });
    let mut stream = TcpStream::connect(server).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    stream.shutdown().await.unwrap();
    assert!(reader.await.unwrap() == bytes);
}

#[test]
fn a_reader_finds_in_them_what_went_over_the_cable() {
    const LEN: usize = 50_000;
    let link = Link { loss: 0.05, ..Link::with_rate(10_000_000, Duration::from_millis(20)) };
    let servers: [SocketAddr; 2] = ["10.7.0.2:80".parse().unwrap(), "[fd00:7::2]:80".parse().unwrap()];
    let record = RefCell::new(None);
    Sim::builder().link(link).seed(2).run(|sim| {
        let record = &record;
        async move {
            for server in servers {
                send(&sim, server, &text(LEN)).await;
            }
            let socket = UdpSocket::bind("10.7.0.1:0").await.unwrap();
            socket.send_to(b"a datagram", "10.7.0.2:9").await.unwrap();
            hayase::time::sleep(Duration::from_secs(1)).await;
            record.replace(Some((sim.elapsed(), sim.pcap(0), sim.pcap(1))));
        }
    });
    let (elapsed, client, server) = record.into_inner().unwrap();
    let [client, server] = [client, server].map(|file| read(&file).unwrap());
    // Times are those of the virtual clock.
    let start = Duration::from_secs(1000);
    for records in [&client, &server] {
        assert!(records.len() > 100, "{}", records.len());
        assert!(records[0].at >= start && records.last().unwrap().at <= start + elapsed);
        assert!(records.iter().any(|record| dissect(&record.bytes) == Frame::Arp));
        assert!(records.iter().any(|record| dissect(&record.bytes) == Frame::Icmp));
    }
    for to in servers {
        assert!(stream_to(&server, to) == text(LEN), "what {to} saw");
        assert!(stream_to(&client, to) == text(LEN), "what was sent to {to}");
    }
    assert!(client.iter().any(|record| dissect(&record.bytes) == Frame::Udp(b"a datagram")));
    // What one sent, the other saw later, or never.
    let (mut lost, mut arrived) = (0, 0);
    let is_data = |frame: Frame<'_>| matches!(frame, Frame::Tcp { to, payload, .. } if servers.contains(&to) && !payload.is_empty());
    for sent in client.iter().filter(|sent| is_data(dissect(&sent.bytes))) {
        match server.iter().find(|seen| seen.bytes == sent.bytes) {
            Some(seen) if seen.at >= sent.at + Duration::from_millis(20) => arrived += 1,
            Some(seen) => panic!("seen at {:?} and sent at {:?}", seen.at, sent.at),
            None => lost += 1,
        }
    }
    assert!(arrived > 60 && lost > 0, "{arrived} arrived, {lost} were lost");
}

#[test]
fn those_of_a_failure_are_whole_files() {
    let folder = std::env::temp_dir().join(format!("hayase-sim-captures-{}", std::process::id()));
    let builder = Sim::builder().link(Link::default()).captures(&folder);
    let failing = AssertUnwindSafe(|| {
        builder.run(|sim| async move {
            send(&sim, "10.7.0.2:80".parse().unwrap(), &text(3000)).await;
            assert!(sim.elapsed().is_zero(), "on purpose");
        });
    });
    catch_unwind(failing).unwrap_err();
    let files: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|file| file.unwrap().path()).collect();
    assert_eq!(files.len(), 2, "{files:?}");
    for file in files {
        let records = read(&std::fs::read(&file).unwrap()).unwrap();
        assert!(stream_to(&records, "10.7.0.2:80".parse().unwrap()) == text(3000), "{file:?}");
    }
    std::fs::remove_dir_all(&folder).unwrap();
}

/// The reader is no better than what it refuses.
#[test]
fn the_reader_refuses_what_is_no_capture() {
    let record = RefCell::new(Vec::new());
    Sim::builder().link(Link::default()).run(|sim| {
        let record = &record;
        async move {
            send(&sim, "10.7.0.2:80".parse().unwrap(), &text(5000)).await;
            record.replace(sim.pcap(0));
        }
    });
    let file = record.into_inner();
    let count = read(&file).unwrap().len();
    assert!(count > 5, "{count}");
    // A file may end behind each record, and nowhere else.
    let whole = (0..file.len()).filter(|len| read(&file[..*len]).is_ok()).count();
    assert_eq!(whole, count);
    // Magic number, version, reserved words, link type; nanoseconds, length kept, length.
    for at in [0, 3, 4, 6, 8, 12, 20, 23, 31, 32, 36] {
        let mut damaged = file.clone();
        damaged[at] ^= 0xff;
        assert!(read(&damaged).is_err(), "byte {at}");
    }
    let mut damaged = file.clone();
    damaged[16..20].fill(0);
    assert!(read(&damaged).is_err(), "a snap length of nothing");
    damaged = file;
    let last = damaged.len() - 1;
    damaged[last] ^= 1;
    let records = read(&damaged).unwrap();
    let wrong = AssertUnwindSafe(|| dissect(&records.last().unwrap().bytes) == Frame::Arp);
    assert!(catch_unwind(wrong).is_err(), "a sum that is wrong");
}
