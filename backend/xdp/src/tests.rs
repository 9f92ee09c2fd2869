//! Over a veth pair, each test in a network namespace of its own that ends with it.

use std::fs::File;
use std::io::{IoSlice, IoSliceMut, Read, Write};
use std::net::UdpSocket;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use hayase_device::conformance::packet::{Ip, Packet, raw};
use hayase_device::conformance::{Arrived, Harness, PEER_MAC, run, skip};
use hayase_device::{Burst, Device, Frame, Offloads, RxChecksum, RxMeta, TxChecksum, TxMeta, TxSegmentation};

use crate::interface::Interface;
use crate::sys::testing::{enter_new_network_namespace, limit_locked_memory, packet_socket};
use crate::{Keep, Mode, XdpConfig, XdpDevice, XdpError, XdpFrame, open};

/// Small enough to run dry.
const CHUNK_COUNT: usize = 4096;

/// Length of a `virtio_net_hdr`.
const VNET_LEN: usize = 10;

/// Runs a test on a thread of its own, in a network namespace of its own with a veth pair `x0`, `x1` of so many queues.
/// Skips it without the rights, unless that is forbidden.
fn in_a_namespace(queues: u32, test: impl FnOnce() + Send + 'static) {
    let run = thread::spawn(move || match enter_new_network_namespace().map_err(|error| error.to_string()) {
        Ok(()) => match make_pair(queues) {
            Ok(()) => test(),
            Err(error) => skip(&error),
        },
        Err(error) => skip(&format!("cannot make a network namespace: {error}")),
    });
    if let Err(panic) = run.join() {
        std::panic::resume_unwind(panic);
    }
}

fn make_pair(queues: u32) -> Result<(), String> {
    let words = format!(
        "link add x0 numrxqueues {queues} numtxqueues {queues} type veth peer name x1 numrxqueues {queues} \
         numtxqueues {queues}"
    );
    command("ip", &words)?;
    for end in ["x0", "x1"] {
        // The kernel's own talk would come from the same link-layer address as ours.
        command("ip", &format!("link set {end} addrgenmode none up"))?;
    }
    match open(&config()) {
        Err(error @ (XdpError::NotPermitted { .. } | XdpError::NoKernelSupport { .. })) => {
            Err(error.to_string())
        }
        _ => Ok(()),
    }
}

fn command(program: &str, words: &str) -> Result<(), String> {
    let output = Command::new(program).args(words.split(' ')).output();
    let output = output.map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{program} {words}: {}", String::from_utf8_lossy(&output.stderr).trim()))
}

fn system(program: &str, words: &str) {
    command(program, words).unwrap_or_else(|error| panic!("{error}"));
}

fn config() -> XdpConfig {
    XdpConfig { interface: "x0".into(), chunk_count: CHUNK_COUNT, ..XdpConfig::default() }
}

fn open_one(config: &XdpConfig) -> XdpDevice {
    let mut queues = open(config).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(queues.len(), 1);
    queues.remove(0).into_device().unwrap_or_else(|error| panic!("{error}"))
}

/// The other end of the link: a packet socket with offload headers.
struct Peer(File);

impl Peer {
    fn new() -> Peer {
        let index = Interface::look("x1").expect("the peer exists").index;
        Peer(File::from(packet_socket(index).expect("a packet socket opens")))
    }

    fn send(&mut self, frame: &[u8], meta: TxMeta) {
        let header = vnet_header(meta);
        let len = self.0.write_vectored(&[IoSlice::new(&header), IoSlice::new(frame)]).expect("it is sent");
        assert_eq!(len, VNET_LEN + frame.len());
    }

    fn receive(&mut self) -> Option<Arrived> {
        let (mut header, mut bytes) = ([0; VNET_LEN], vec![0; 70_000]);
        let slices = &mut [IoSliceMut::new(&mut header), IoSliceMut::new(&mut bytes)];
        let len = self.0.read_vectored(slices).ok()?;
        bytes.truncate(len - VNET_LEN);
        // VIRTIO_NET_HDR_F_NEEDS_CSUM and _DATA_VALID.
        let checksum = if header[0] & 3 == 0 { RxChecksum::Unverified } else { RxChecksum::Verified };
        Some(Arrived { bytes, meta: RxMeta { checksum, ..RxMeta::default() } })
    }
}

/// A `virtio_net_hdr`, in this machine's order of bytes.
fn vnet_header(meta: TxMeta) -> [u8; VNET_LEN] {
    let TxChecksum { start, offset } = meta.checksum.unwrap_or(TxChecksum { start: 0, offset: 0 });
    let cut = meta.segmentation.unwrap_or(TxSegmentation { segment_len: 0, header_len: 0, ipv6: false });
    let kind = match meta.segmentation {
        None => 0,
        Some(TxSegmentation { ipv6: false, .. }) => 1,
        Some(TxSegmentation { ipv6: true, .. }) => 4,
    };
    let mut header = [0; VNET_LEN];
    header[0] = u8::from(meta.checksum.is_some());
    header[1] = kind;
    for (at, value) in [(2, cut.header_len), (4, cut.segment_len), (6, start), (8, offset)] {
        header[at..at + 2].copy_from_slice(&value.to_ne_bytes());
    }
    header
}

/// A device, and a packet socket at the other end.
struct Link {
    device: XdpDevice,
    peer: Peer,
}

impl Link {
    fn new(config: &XdpConfig) -> Link {
        Link { device: open_one(config), peer: Peer::new() }
    }
}

impl Harness for Link {
    type Device = XdpDevice;

    fn device(&mut self) -> &mut XdpDevice {
        &mut self.device
    }

    fn peer_send(&mut self, frame: &[u8], meta: TxMeta) {
        self.peer.send(frame, meta);
    }

    fn peer_offloads(&self) -> Offloads {
        Offloads::TX_CHECKSUM | Offloads::TSO
    }

    fn peer_receive(&mut self) -> Option<Arrived> {
        self.peer.receive()
    }

    fn in_use(&self) -> usize {
        self.device.pool().in_use() - self.device.ready_count()
    }
}

/// What does not come without hardware that tells of it.
fn peer_fills_in_checksums() {
    system("ethtool", "-K x1 tx off");
}

fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        // Before the look: the last one is after the time is over.
        let is_last = Instant::now() >= deadline;
        if let Some(found) = look() {
            return found;
        }
        assert!(!is_last, "waited for {what}");
        thread::yield_now();
    }
}

fn receive_until(device: &mut XdpDevice, wanted: impl Fn(&[u8]) -> bool) -> Vec<u8> {
    let mut burst = Burst::new(8);
    wait_for("a frame", || {
        device.receive(&mut burst);
        let mut frames = burst.drain().map(|(frame, _)| bytes_of(&frame));
        frames.find(|bytes| wanted(bytes))
    })
}

fn bytes_of(frame: &XdpFrame) -> Vec<u8> {
    frame.fragments().flatten().copied().collect()
}

fn frame_of(device: &mut XdpDevice, bytes: &[u8]) -> XdpFrame {
    let mut frame = device.alloc(bytes.len()).expect("a chunk is free");
    frame.extend(bytes.len()).expect("it has room").copy_from_slice(bytes);
    frame
}

fn drops(device: &XdpDevice, name: &str) -> u64 {
    let mut found = None;
    device.drops(&mut |reason, count| found = found.or((reason == name).then_some(count)));
    found.expect("a known reason")
}

#[test]
fn conforms_on_a_link_that_is_trusted() {
    in_a_namespace(1, || {
        let config = XdpConfig { trust: true, ..config() };
        let device = open_one(&config);
        assert_eq!(device.mode(), Mode::Copy, "a veth knows no zero copy");
        println!("offloads {}", device.caps().offloads);
        drop(device);
        run(|| Link::new(&config));
    });
}

#[test]
fn conforms_on_a_link_that_is_not() {
    in_a_namespace(1, || {
        peer_fills_in_checksums();
        run(|| Link::new(&config()));
    });
}

#[test]
fn conforms_in_skb_mode() {
    in_a_namespace(1, || {
        system("ethtool", "-K x1 tso off");
        let config = XdpConfig { mode: Some(Mode::Skb), trust: true, ..config() };
        run(|| Link::new(&config));
    });
}

#[test]
fn conforms_with_other_mixtures_of_offloads() {
    in_a_namespace(1, || {
        let runs = |list: &str| {
            println!("offloads {list}");
            let offloads = list.parse().expect("a list");
            run(|| Link::new(&XdpConfig { offloads, trust: true, ..config() }));
        };
        runs("rx-checksum");
        peer_fills_in_checksums();
        ["none", "tx-checksum", "sg"].into_iter().for_each(runs);
    });
}

#[test]
fn conforms_with_several_queues_in_one_device() {
    in_a_namespace(3, || {
        let config = XdpConfig { trust: true, ..config() };
        run(|| Link::new(&config));
    });
}

#[test]
fn conforms_with_an_address_of_our_own() {
    in_a_namespace(1, || {
        let mac = [0x02, 0, 0, 0, 0, 0x2a];
        let config = XdpConfig { mac: Some(mac), trust: true, ..config() };
        assert_eq!(open_one(&config).mac(), mac);
        run(|| Link::new(&config));
    });
}

/// Devices for each of so many cores, all on this thread.
fn open_several(config: &XdpConfig, devices_max: usize) -> Vec<XdpDevice> {
    let queues = open(&XdpConfig { devices_max, ..config.clone() }).unwrap_or_else(|error| panic!("{error}"));
    queues.into_iter().map(|queue| queue.into_device().unwrap_or_else(|error| panic!("{error}"))).collect()
}

/// Sends so many UDP datagrams from the kernel, each of a flow of its own, to an address that only has a
/// link-layer address.
fn send_flows(device: &XdpDevice, count: u16) {
    system("ip", "address replace 192.0.2.1/24 dev x1");
    let mac = device.mac().map(|byte| format!("{byte:02x}")).join(":");
    system("ip", &format!("neighbour replace 192.0.2.2 lladdr {mac} dev x1"));
    for port in 1..=count {
        let socket = UdpSocket::bind(("192.0.2.1", 0)).expect("a port is free");
        socket.send_to(&port.to_be_bytes(), ("192.0.2.2", 4000 + port)).expect("it is sent");
    }
}

/// The payload of a frame that `send_flows` has made: the number of its flow.
fn flow_of(bytes: &[u8]) -> Option<u16> {
    let is_udp = bytes.len() >= 44 && bytes[12..14] == [8, 0] && bytes[23] == 17;
    is_udp.then(|| u16::from_be_bytes([bytes[42], bytes[43]]))
}

/// The flows that arrive at each device, until there are `count`.
fn flows_at(devices: &mut [XdpDevice], count: usize) -> Vec<Vec<u16>> {
    let mut flows = vec![Vec::new(); devices.len()];
    let mut burst = Burst::new(64);
    wait_for("all flows", || {
        for (device, flows) in devices.iter_mut().zip(&mut flows) {
            device.receive(&mut burst);
            flows.extend(burst.drain().filter_map(|(frame, _)| flow_of(frame.bytes())));
        }
        (flows.iter().map(Vec::len).sum::<usize>() == count).then_some(())
    });
    flows
}

#[test]
fn every_queue_is_heard_by_one_device() {
    in_a_namespace(4, || {
        for (devices_max, expected) in [(1, 1), (2, 2), (3, 3), (4, 4), (9, 4)] {
            let mut devices = open_several(&config(), devices_max);
            assert_eq!(devices.len(), expected);
            let places: Vec<_> =
                devices.iter().map(|device| (device.caps().queue, device.caps().queues)).collect();
            let wanted: Vec<_> = (0..expected as u16).map(|queue| (queue, expected as u16)).collect();
            assert_eq!(places, wanted);
            send_flows(&devices[0], 100);
            let flows = flows_at(&mut devices, 100);
            assert!(flows.iter().all(|flows| !flows.is_empty()), "{flows:?}");
            let mut all = flows.concat();
            all.sort_unstable();
            assert!(all.into_iter().eq(1..=100), "each flow once");
        }
    });
}

#[test]
fn a_device_sends_from_its_own_thread_through_its_own_queue() {
    in_a_namespace(2, || {
        let mut peer = Peer::new();
        let config = XdpConfig { devices_max: 2, ..config() };
        let mac = Interface::look("x0").expect("it exists").mac;
        thread::scope(|scope| {
            for queue in open(&config).unwrap_or_else(|error| panic!("{error}")) {
                scope.spawn(move || {
                    let mut device = queue.into_device().unwrap_or_else(|error| panic!("{error}"));
                    let len = 100 + usize::from(device.caps().queue);
                    for _ in 0..50 {
                        let frame = frame_of(&mut device, &raw(mac, PEER_MAC, len));
                        device.transmit(frame, TxMeta::default());
                        device.flush();
                    }
                    wait_for("all chunks to come home", || {
                        device.flush();
                        (device.pool().in_use() == device.ready_count()).then_some(())
                    });
                });
            }
        });
        let lens = std::iter::from_fn(|| peer.receive()).map(|arrived| arrived.bytes.len());
        let lens: Vec<_> = lens.collect();
        for len in [100, 101] {
            assert_eq!(lens.iter().filter(|found| **found == len).count(), 50);
        }
    });
}

/// The kernel would take nothing from the others, without a word.
#[test]
fn there_are_no_more_devices_than_queues_that_send() {
    in_a_namespace(4, || {
        // The kernel lets go of the sockets that looked for rights some time after they were closed.
        wait_for("the number of queues to change", || command("ethtool", "-L x0 tx 2").ok());
        let mut peer = Peer::new();
        let mac = Interface::look("x0").expect("it exists").mac;
        let mut devices = open_several(&config(), 4);
        assert_eq!(devices.len(), 2);
        send_flows(&devices[0], 100);
        let flows = flows_at(&mut devices, 100);
        assert!(flows.iter().all(|flows| !flows.is_empty()), "{flows:?}");
        for (len, device) in (200..).zip(&mut devices) {
            let frame = frame_of(device, &raw(mac, PEER_MAC, len));
            device.transmit(frame, TxMeta::default());
            wait_for("the frame", || {
                device.flush();
                let mut arrived = std::iter::from_fn(|| peer.receive());
                arrived.any(|arrived| arrived.bytes.len() == len).then_some(())
            });
        }
        drop(devices);
        let error = open(&XdpConfig { queues: Some(2..=3), ..config() }).map(drop).unwrap_err();
        assert!(matches!(error, XdpError::NoSendQueue { wanted: 2, count: 2, .. }), "{error}");
    });
}

#[test]
fn a_device_of_too_few_chunks_gets_as_many_as_it_needs() {
    in_a_namespace(3, || {
        let mut devices = open_several(&XdpConfig { chunk_count: 1, ..config() }, 2);
        assert!(devices.iter().all(|device| device.ready_count() >= 64));
        send_flows(&devices[0], 50);
        flows_at(&mut devices, 50);
        let error = open(&XdpConfig { chunk_count: usize::MAX, ..config() }).map(drop).unwrap_err();
        assert!(matches!(error, XdpError::MemoryLimit { .. }), "{error}");
    });
}

#[test]
fn queues_that_are_not_taken_stay_with_the_kernel() {
    in_a_namespace(2, || {
        let mut device = open_one(&XdpConfig { queues: Some(1..=1), ..config() });
        send_flows(&device, 64);
        let mut burst = Burst::new(64);
        device.receive(&mut burst);
        let ours = burst.drain().filter(|(frame, _)| flow_of(frame.bytes()).is_some()).count();
        assert!((1..64).contains(&ours), "{ours} of 64 flows");
        let error = open(&XdpConfig { queues: Some(1..=2), ..config() }).map(drop).unwrap_err();
        assert!(error.to_string().contains("no receive queue 2, only 0 to 1"), "{error}");
    });
}

#[test]
fn what_is_kept_reaches_the_kernel() {
    in_a_namespace(1, || {
        let keep = vec![
            Keep::Tcp(22..=22),
            Keep::Udp(60..=70),
            Keep::Address("192.0.2.9".parse().expect("an address")),
            Keep::Address("2001:db8::9".parse().expect("an address")),
        ];
        let mut link = Link::new(&XdpConfig { keep, ..config() });
        let mut kernel =
            File::from(packet_socket(Interface::look("x0").expect("it exists").index).expect("a socket"));
        let cases = cases_of_keep(link.device.mac());
        for (what, bytes, is_kept) in cases {
            link.peer.send(&bytes, TxMeta::default());
            let found = wait_for(what, || who_has(&mut link.device, &mut kernel, &bytes));
            assert_eq!(found, is_kept, "{what}");
        }
    });
}

/// Whether the kernel has a frame, as against us.
fn who_has(device: &mut XdpDevice, kernel: &mut File, wanted: &[u8]) -> Option<bool> {
    let mut burst = Burst::new(8);
    device.receive(&mut burst);
    if burst.drain().any(|(frame, _)| bytes_of(&frame) == wanted) {
        return Some(false);
    }
    let mut bytes = vec![0; 2000];
    let len = kernel.read(&mut bytes).ok()?;
    (bytes[VNET_LEN..len] == *wanted).then_some(true)
}

/// Frames, and whether they are the kernel's, with the keep list of the test above.
fn cases_of_keep(mac: [u8; 6]) -> Vec<(&'static str, Vec<u8>, bool)> {
    let mut cases = Vec::new();
    for ip in [Ip::V4, Ip::V6] {
        let with_port = |packet: Packet, port: u16| {
            let packet = packet.between(PEER_MAC, mac);
            let mut bytes = packet.build();
            let field = usize::from(packet.tx_checksum().start) + 2;
            bytes[field..field + 2].copy_from_slice(&port.to_be_bytes());
            bytes
        };
        cases.extend([
            ("ssh", with_port(Packet::tcp(ip, 10), 22), true),
            ("another port", with_port(Packet::tcp(ip, 10), 23), false),
            ("UDP to the port of ssh", with_port(Packet::udp(ip, 10), 22), false),
            ("below a range", with_port(Packet::udp(ip, 10), 59), false),
            ("the first of a range", with_port(Packet::udp(ip, 10), 60), true),
            ("the last of a range", with_port(Packet::udp(ip, 10), 70), true),
            ("above a range", with_port(Packet::udp(ip, 10), 71), false),
            ("an address that is kept", to_address_nine(&Packet::tcp(ip, 10).between(PEER_MAC, mac)), true),
        ]);
    }
    let mut fragment = Packet::tcp(Ip::V4, 10).between(PEER_MAC, mac).build();
    fragment[20..22].copy_from_slice(&[0, 1]);
    fragment[36..38].copy_from_slice(&22_u16.to_be_bytes());
    cases.push(("a fragment without a port", fragment, false));
    cases.push(("an unknown protocol of the link", raw(PEER_MAC, mac, 60), true));
    cases
}

/// The packet, to the address that ends in 9.
fn to_address_nine(packet: &Packet) -> Vec<u8> {
    let mut bytes = packet.build();
    let last = if packet.ip == Ip::V4 { 33 } else { 53 };
    bytes[last] = 9;
    bytes
}

#[test]
fn neighbours_and_errors_reach_both() {
    in_a_namespace(1, || {
        let mut link = Link::new(&XdpConfig { keep: vec![Keep::Arp], ..config() });
        let mac = link.device.mac();
        let arp = arp_request();
        let mut unreachable = Packet::udp(Ip::V4, 40).between(PEER_MAC, mac).build();
        (unreachable[23], unreachable[34], unreachable[35]) = (1, 3, 4);
        let mut solicitation = Packet::udp(Ip::V6, 40).between(PEER_MAC, mac).build();
        (solicitation[20], solicitation[54]) = (58, 135);
        let mut kernel =
            File::from(packet_socket(Interface::look("x0").expect("it exists").index).expect("a socket"));
        let mut listeners = Packet::udp(Ip::V6, 40).between(PEER_MAC, mac).build();
        (listeners[20], listeners[54], listeners[55], listeners[62]) = (0, 58, 0, 130);
        for bytes in [arp, unreachable, solicitation, listeners.clone()] {
            link.peer.send(&bytes, TxMeta::default());
            assert_eq!(receive_until(&mut link.device, |found| found == bytes), bytes);
            let mut seen = vec![0; 2000];
            let len = wait_for("the kernel's copy", || kernel.read(&mut seen).ok());
            assert_eq!(seen[VNET_LEN..len], bytes);
        }
        listeners[62] = 143;
        let mut groups = Packet::udp(Ip::V4, 40).between(PEER_MAC, mac).build();
        (groups[23], groups[34]) = (2, 0x11);
        for bytes in [listeners, groups] {
            link.peer.send(&bytes, TxMeta::default());
            assert_eq!(
                who_has_now(&mut link.device, &mut kernel, &bytes),
                Some(true),
                "of groups: {bytes:?}"
            );
        }
        let mut echo = Packet::udp(Ip::V4, 40).between(PEER_MAC, mac).build();
        (echo[23], echo[34]) = (1, 8);
        link.peer.send(&echo, TxMeta::default());
        assert_eq!(
            who_has_now(&mut link.device, &mut kernel, &echo),
            Some(false),
            "echo is ours unless it is kept"
        );
    });
}

fn arp_request() -> Vec<u8> {
    [
        &[0xff; 6][..],
        &PEER_MAC,
        &[8, 6, 0, 1, 8, 0, 6, 4, 0, 1],
        &PEER_MAC,
        &[192, 0, 2, 1],
        &[0; 6],
        &[192, 0, 2, 2],
    ]
    .concat()
}

/// The kernel takes the tag off before its packet sockets see the frame.
#[test]
fn neighbours_of_other_networks_are_not_ours() {
    in_a_namespace(1, || {
        let mut link = Link::new(&XdpConfig { keep: vec![Keep::Arp], ..config() });
        let arp = arp_request();
        let tagged = [&arp[..12], &[0x81, 0, 0, 5], &arp[12..]].concat();
        link.peer.send(&tagged, TxMeta::default());
        let mut marker = arp;
        marker[31] = 77;
        link.peer.send(&marker, TxMeta::default());
        assert_eq!(receive_until(&mut link.device, |found| found.get(6..12) == Some(&PEER_MAC[..])), marker);
    });
}

fn who_has_now(device: &mut XdpDevice, kernel: &mut File, wanted: &[u8]) -> Option<bool> {
    Some(wait_for("a frame", || who_has(device, kernel, wanted)))
}

#[test]
fn large_packets_come_and_go_in_fragments() {
    in_a_namespace(1, || {
        system("ip", "link set x0 mtu 9000");
        system("ip", "link set x1 mtu 9000");
        let mut link = Link::new(&XdpConfig { trust: true, ..config() });
        let mac = link.device.mac();
        assert_eq!(link.device.caps().mtu, 9000);
        for payload_len in [3000, 3700, 3800, 5000, 8900] {
            let packet = Packet::tcp(Ip::V4, payload_len);
            let incoming = packet.clone().between(PEER_MAC, mac);
            link.peer.send(&incoming.build_partial(), incoming.checksum_meta());
            let bytes = receive_until(&mut link.device, |bytes| bytes.get(6..12) == Some(&PEER_MAC[..]));
            assert_eq!(bytes, incoming.build_partial());

            let outgoing = packet.between(mac, PEER_MAC);
            let bytes = outgoing.build_partial();
            let mut pieces = bytes.chunks(1500).map(<[u8]>::to_vec).collect::<Vec<_>>().into_iter();
            let mut frame = frame_of(&mut link.device, &pieces.next().expect("there is one"));
            for piece in pieces {
                let fragment = frame_of(&mut link.device, &piece);
                frame.chain(fragment);
            }
            link.device.transmit(frame, outgoing.checksum_meta());
            link.device.flush();
            let arrived = wait_for("the packet", || {
                link.peer.receive().filter(|arrived| arrived.bytes.get(6..12) == Some(&mac[..]))
            });
            assert_eq!((arrived.bytes, arrived.meta.checksum), (bytes, RxChecksum::Verified));
        }
        wait_for("all chunks to come home", || {
            link.device.flush();
            (link.in_use() == 0).then_some(())
        });
    });
}

#[test]
fn a_queue_can_be_had_again_at_once_and_by_one_only() {
    in_a_namespace(2, || {
        for _ in 0..5 {
            drop(open_several(&config(), 2));
        }
        let device = open_one(&config());
        let error = open(&config()).map(drop).unwrap_err();
        assert!(matches!(error, XdpError::Busy { queue: 0, .. }), "{error}");
        drop(device);
        open_one(&config());
    });
}

/// A veth refuses zero copy, and the memory that was locked for that is given back somewhat later, as is that of a device
/// that is gone.
#[test]
fn as_much_locked_memory_as_the_error_names_is_enough() {
    in_a_namespace(1, || {
        let len = 1024 * 2048;
        limit_locked_memory(len).expect("a thread may give up a right");
        for _ in 0..3 {
            open_one(&XdpConfig { chunk_count: 1024, ..config() });
        }
        let error = open(&XdpConfig { chunk_count: 1026, ..config() }).map(drop).unwrap_err();
        assert!(matches!(error, XdpError::MemoryLimit { .. }), "{error}");
        assert!(error.to_string().contains("`ulimit -l 2052`"), "{error}");
    });
}

#[test]
fn what_cannot_be_says_why() {
    in_a_namespace(2, || {
        let error = |config: XdpConfig| open(&config).map(drop).unwrap_err();
        let zerocopy = error(XdpConfig { mode: Some(Mode::ZeroCopy), ..config() });
        assert!(matches!(zerocopy, XdpError::NoMode { mode: Some(Mode::ZeroCopy), .. }), "{zerocopy}");
        assert!(zerocopy.to_string().contains("leave `mode` out"));
        let taken = {
            let _other = open_one(&XdpConfig { queues: Some(0..=0), ..config() });
            // Another queue is free, the program's place is not.
            error(XdpConfig { queues: Some(1..=1), ..config() })
        };
        assert!(matches!(taken, XdpError::ProgramTaken(_)), "{taken}");
        let mtu = error(XdpConfig { mtu: Some(9000), ..config() });
        assert!(mtu.to_string().contains("ip link set dev x0 mtu 9000"), "{mtu}");
        system("ip", "link set x0 down");
        let down = error(config());
        assert!(matches!(down, XdpError::Down(_)) && down.to_string().contains("ip link set dev x0 up"));
        let nowhere = error(XdpConfig { interface: "x9".into(), ..config() });
        assert!(matches!(nowhere, XdpError::NoInterface(_)), "{nowhere}");
    });
}

#[test]
fn a_link_that_is_down_costs_nothing_but_time() {
    in_a_namespace(1, || {
        let mut link = Link::new(&config());
        let bytes = raw(link.device.mac(), PEER_MAC, 60);
        system("ip", "link set x0 down");
        for _ in 0..3 {
            let frame = frame_of(&mut link.device, &bytes);
            link.device.transmit(frame, TxMeta::default());
            link.device.flush();
        }
        assert!(!link.device.pending(), "nothing to do until the link is back");
        assert!(link.device.arm().is_some(), "but to look whether it is");
        assert_eq!(link.in_use(), 3, "they wait");
        system("ip", "link set x0 up");
        wait_for("the frames to go", || {
            link.device.flush();
            (link.in_use() == 0).then_some(())
        });
        assert!(link.device.arm().is_none());
        let back = raw(PEER_MAC, link.device.mac(), 61);
        wait_for("the link to work again", || {
            link.peer.send(&back, TxMeta::default());
            let mut burst = Burst::new(64);
            link.device.receive(&mut burst);
            burst.drain().any(|(frame, _)| frame.bytes() == back).then_some(())
        });
    });
}

#[test]
fn an_interface_that_is_deleted_under_us_leaves_us_quiet() {
    in_a_namespace(1, || {
        let mut device = open_one(&config());
        system("ip", "link del x0");
        device.disarm();
        assert_eq!(device.receive(&mut Burst::new(8)), 0);
        assert!(!device.is_attached() && !device.pending());
        device.interests(&mut |interest| panic!("nothing to sleep on: {interest:?}"));
        let frame = frame_of(&mut device, &[0; 60]);
        device.transmit(frame, TxMeta::default());
        device.flush();
        assert_eq!(drops(&device, "tx_errors"), 1);
        assert_eq!(device.pool().in_use(), device.ready_count(), "no chunk is lost");
    });
}

#[test]
fn a_flood_beyond_the_ring_is_counted_and_over() {
    in_a_namespace(1, || {
        let mut link = Link::new(&config());
        let bytes = raw(PEER_MAC, link.device.mac(), 60);
        let before = drops(&link.device, "rx_no_buffer") + drops(&link.device, "rx_dropped");
        for _ in 0..5000 {
            link.peer.send(&bytes, TxMeta::default());
        }
        let (mut received, mut burst) = (0, Burst::new(64));
        wait_for("each frame to be received or counted", || {
            received += link.device.receive(&mut burst) as u64;
            burst.drain().for_each(drop);
            let dropped = drops(&link.device, "rx_no_buffer") + drops(&link.device, "rx_dropped") - before;
            (received + dropped == 5000 && dropped > 0).then_some(())
        });
        link.peer.send(&bytes, TxMeta::default());
        receive_until(&mut link.device, |found| found == bytes);
    });
}

#[test]
fn frames_and_leases_outlive_their_device() {
    in_a_namespace(1, || {
        let mut device = open_one(&config());
        let mut frame = frame_of(&mut device, b"still here");
        let lease = frame.share().into_shared();
        let pool = device.pool().clone();
        drop(device);
        assert!(pool.alloc().is_none(), "the kernel may still write into what it had");
        assert_eq!((frame.bytes(), &*lease), (&b"still here"[..], &b"still here"[..]));
        drop(lease);
        frame.bytes_mut().expect("the only handle").fill(0);
    });
}

#[test]
fn a_frame_of_another_device_is_refused() {
    in_a_namespace(2, || {
        let mut devices = open_several(&config(), 2);
        let frame = frame_of(&mut devices[1], &[7; 60]);
        devices[0].transmit(frame, TxMeta::default());
        devices[0].flush();
        assert_eq!(drops(&devices[0], "tx_errors"), 1);
        assert_eq!(devices[1].pool().in_use(), devices[1].ready_count());
    });
}

#[test]
fn a_queue_that_is_taken_is_named() {
    in_a_namespace(2, || {
        let _taker = open(&XdpConfig { queues: Some(1..=1), mode: Some(Mode::Copy), ..config() }).unwrap();
        let error = open(&XdpConfig { queues: Some(0..=1), mode: Some(Mode::Copy), ..config() }).unwrap_err();
        assert!(matches!(error, XdpError::Busy { queue: 1, .. }), "{error}");
    });
}

#[test]
fn a_device_that_does_not_start_leaves_nothing() {
    in_a_namespace(2, || {
        let mut queue = open(&config()).unwrap().remove(0);
        // The map has a place for two.
        queue.endpoints[1].0 = 2;
        let region = queue.part.region();
        let error = queue.into_device().unwrap_err();
        assert!(error.to_string().contains("redirect queue 2 of x0"), "{error}");
        assert!(region.upgrade().is_none(), "its memory is gone");
    });
}
