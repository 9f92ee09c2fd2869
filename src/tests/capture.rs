//! Records of what goes by, read by nothing but the format of pcapng.

use std::io::{self, ErrorKind, Write};
use std::sync::{Arc, Mutex};

use super::connected;
use crate::{Capture, DeviceSpec, Model, Runtime, WireSpec};

const SECTION: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
const PACKET: u32 = 6;

/// A file in memory.
#[derive(Debug, Clone, Default)]
struct Record(Arc<Mutex<Vec<u8>>>);

impl Write for Record {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A disk that is full after so many bytes.
#[derive(Debug)]
struct Full(usize);

impl Write for Full {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 = self.0.checked_sub(bytes.len()).ok_or(ErrorKind::StorageFull)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[derive(Debug, PartialEq)]
struct Packet {
    interface: u32,
    nanos: u64,
    is_inbound: bool,
    len: usize,
    bytes: Vec<u8>,
}

/// What a record says: the link-layer addresses of its interfaces, and its packets.
fn read(record: &Record) -> (Vec<[u8; 6]>, Vec<Packet>) {
    let bytes = record.0.lock().unwrap().clone();
    let (mut rest, mut interfaces, mut packets) = (&bytes[..], Vec::new(), Vec::new());
    while !rest.is_empty() {
        let len = word(rest, 4) as usize;
        let (block, after) = rest.split_at(len);
        assert_eq!(word(block, len - 4) as usize, len, "the length stands at both ends");
        let body = &block[8..len - 4];
        match word(block, 0) {
            SECTION => {
                assert_eq!((word(body, 0), after.len() + len), (0x1a2b_3c4d, bytes.len()), "it comes first");
            }
            INTERFACE => {
                assert_eq!((word(body, 0), word(body, 4)), (1, 262_144), "Ethernet");
                let options = options(&body[8..]);
                assert!(options.contains(&(9, vec![9])), "nanoseconds");
                assert!(options.contains(&(2, format!("hayase{}", interfaces.len()).into_bytes())));
                let mac = options.into_iter().find(|option| option.0 == 6).unwrap().1;
                interfaces.push(mac.try_into().unwrap());
            }
            PACKET => {
                let kept = word(body, 12) as usize;
                let flags = options(&body[20 + kept.next_multiple_of(4)..]);
                packets.push(Packet {
                    interface: word(body, 0),
                    nanos: u64::from(word(body, 4)) << 32 | u64::from(word(body, 8)),
                    is_inbound: flags == [(2, vec![1, 0, 0, 0])],
                    len: word(body, 16) as usize,
                    bytes: body[20..20 + kept].to_vec(),
                });
            }
            kind => panic!("a block of kind {kind}"),
        }
        rest = after;
    }
    (interfaces, packets)
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn options(mut rest: &[u8]) -> Vec<(u16, Vec<u8>)> {
    let mut options = Vec::new();
    loop {
        let (code, len) = ((word(rest, 0) & 0xffff) as u16, (word(rest, 0) >> 16) as usize);
        if code == 0 {
            assert_eq!((len, rest.len()), (0, 4), "the end of options is the end");
            return options;
        }
        options.push((code, rest[4..4 + len].to_vec()));
        rest = &rest[4 + len.next_multiple_of(4)..];
    }
}

fn on_a_wire(capture: &Capture, model: Model) -> Runtime {
    let wire = DeviceSpec::Wire(WireSpec::default());
    Runtime::builder().device(wire).model(model).capture(capture).build().unwrap()
}

/// A byte string from one host to the other.
fn say(runtime: &Runtime, text: &'static [u8]) {
    let (server, client) = (runtime.host(), runtime.peer().unwrap());
    runtime.block_on(client.scope(async move {
        let (mut stream, mut peer) = connected(server).await;
        stream.write_all(text).await.unwrap();
        let mut heard = vec![0; text.len()];
        peer.read_exact(&mut heard).await.unwrap();
        assert_eq!(heard, text);
    }));
}

#[test]
fn a_record_has_every_frame_at_both_ends() {
    for model in Model::ALL {
        let (capture, record) = (Capture::new(), Record::default());
        capture.start(record.clone()).unwrap();
        let runtime = on_a_wire(&capture, model);
        let macs = [runtime.host().mac().unwrap(), runtime.peer().unwrap().mac().unwrap()];
        say(&runtime, b"seen by everybody");
        capture.stop().unwrap();
        let (interfaces, packets) = read(&record);
        assert_eq!(interfaces, macs, "{model}");
        assert!(packets.is_sorted_by_key(|packet| packet.nanos));
        assert!(packets.iter().all(|packet| packet.len == packet.bytes.len()));
        let with_text = packets.iter().filter(|packet| packet.bytes.ends_with(b"seen by everybody"));
        // From the client, which is the wire's other end, to the server.
        assert!(with_text.map(|packet| (packet.interface, packet.is_inbound)).eq([(1, false), (0, true)]));
        let sent = |interface, is_inbound| {
            let frames =
                packets.iter().filter(move |p| (p.interface, p.is_inbound) == (interface, is_inbound));
            frames.map(|packet| &packet.bytes).collect::<Vec<_>>()
        };
        assert!(sent(0, false).starts_with(&sent(1, true)) && sent(1, true).len() > 1);
    }
}

#[test]
fn a_record_starts_and_stops_while_the_program_runs() {
    let capture = Capture::new();
    let runtime = on_a_wire(&capture, Model::Unified);
    say(&runtime, b"before");
    assert!(!capture.is_on());
    let records = [Record::default(), Record::default()];
    for (record, text) in records.iter().zip([&b"in the first"[..], b"in the second"]) {
        capture.set_snap_len(100);
        capture.start(record.clone()).unwrap();
        assert!(capture.is_on());
        say(&runtime, text);
    }
    capture.stop().unwrap();
    capture.stop().unwrap();
    say(&runtime, b"after");
    for (record, text) in records.iter().zip([&b"in the first"[..], b"in the second"]) {
        let bytes = record.0.lock().unwrap().clone();
        let has = |text: &[u8]| bytes.windows(text.len()).any(|window| window == text);
        assert!(has(text));
        assert_eq!([b"before", b"after".as_slice()].map(has), [false; 2]);
        assert_eq!(has(b"in the first"), text == b"in the first");
    }
}

#[test]
fn of_long_frames_the_beginning_may_be_kept() {
    let (capture, record) = (Capture::new(), Record::default());
    let runtime = on_a_wire(&capture, Model::Unified);
    capture.start(record.clone()).unwrap();
    capture.set_snap_len(62);
    say(&runtime, &[b'x'; 1001]);
    capture.stop().unwrap();
    let (_, packets) = read(&record);
    assert!(packets.iter().all(|packet| packet.bytes.len() == packet.len.min(62)));
    assert!(packets.iter().any(|packet| packet.len > 1001));
}

#[test]
fn a_record_that_cannot_be_written_ends_and_says_so() {
    let capture = Capture::new();
    assert_eq!(capture.start(Full(0)).unwrap_err().kind(), ErrorKind::StorageFull);
    assert!(!capture.is_on());
    let runtime = on_a_wire(&capture, Model::Unified);
    capture.start(Full(10_000)).unwrap();
    let text = &[7; 30_000];
    say(&runtime, text);
    assert!(!capture.is_on(), "and the program has gone on");
    assert_eq!(capture.stop().unwrap_err().kind(), ErrorKind::StorageFull);
    capture.start(Full(100_000)).unwrap();
    say(&runtime, text);
    capture.stop().unwrap();
}

/// What a record is written to is anybody's code: it may call back, and it may panic.
#[test]
fn a_writer_may_do_what_it_likes() {
    struct Meddler(Capture, Vec<ErrorKind>, Arc<Mutex<Vec<ErrorKind>>>);
    impl Write for Meddler {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let Meddler(capture, seen, _) = self;
            seen.extend(
                [capture.stop(), capture.start(Record::default())].map(|said| said.unwrap_err().kind()),
            );
            capture.set_snap_len(9);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            self.2.lock().unwrap().append(&mut self.1);
            Ok(())
        }
    }
    struct Panicker(bool);
    impl Write for Panicker {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            assert!(std::mem::replace(&mut self.0, false), "the second time it panics");
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let (capture, seen) = (Capture::new(), Arc::default());
    let runtime = on_a_wire(&capture, Model::Unified);
    capture.start(Meddler(capture.clone(), Vec::new(), Arc::clone(&seen))).unwrap();
    say(&runtime, b"heard all the same");
    capture.stop().unwrap();
    let seen = seen.lock().unwrap().clone();
    assert!(seen.len() >= 4 && seen.iter().all(|kind| *kind == ErrorKind::ResourceBusy), "{seen:?}");

    capture.set_snap_len(u32::MAX);
    capture.start(Panicker(true)).unwrap();
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| say(&runtime, &[7; 30_000])));
    assert!(panicked.is_err());
    drop(runtime);
    assert!(capture.stop().unwrap_err().to_string().contains("panicked") && !capture.is_on());
    capture.start(Record::default()).unwrap();
    capture.stop().unwrap();
}

#[test]
#[cfg(feature = "kernel")]
fn the_systems_own_sockets_are_for_its_own_tools() {
    let error = Runtime::builder().device(DeviceSpec::Kernel).capture(&Capture::new()).build().unwrap_err();
    assert!(error.kind() == ErrorKind::InvalidInput && error.to_string().contains("tcpdump"), "{error}");
}
