//! Against the kernel, each test in a network namespace of its own that ends with it.

use std::fs::File;
use std::io::{IoSlice, IoSliceMut, Read, Write};
use std::net::{IpAddr, Ipv6Addr, UdpSocket};
use std::os::fd::OwnedFd;
use std::thread;
use std::time::{Duration, Instant};

use hayase_device::conformance::packet::{Ip, Packet, raw};
use hayase_device::conformance::{Arrived, Harness, PEER_MAC, POOL, run, skip};
use hayase_device::{Burst, Device, Frame, Offloads, RxChecksum, RxMeta, TxMeta};

use crate::sys::testing::{enter_new_network_namespace, packet_socket};
use crate::transmitter::unit::Kernel;
use crate::vnet::{VNET_LEN, VnetHeader};
use crate::{TapConfig, TapDevice, TapError, host, sys};

/// Runs a test on a thread of its own, in a network namespace of its own. Skips it without the rights, unless that is
/// forbidden.
fn in_a_namespace(test: impl FnOnce() + Send + 'static) {
    let run = thread::spawn(move || {
        if let Err(error) = enter_new_network_namespace() {
            return skip(&format!("cannot make a network namespace: {error}"));
        }
        let rights = TapDevice::open(&TapConfig::default()).map(drop);
        if let Err(error @ (TapError::NoTunDriver(_) | TapError::NotPermitted { .. })) = rights {
            return skip(&error.to_string());
        }
        test();
    });
    if let Err(panic) = run.join() {
        std::panic::resume_unwind(panic);
    }
}

fn open(offloads: Offloads) -> TapDevice {
    let config = TapConfig { offloads, pool: POOL, ..TapConfig::default() };
    let device = TapDevice::open(&config).expect("the device opens");
    assert_eq!(device.caps().offloads, offloads.consistent());
    device
}

/// Deletes an interface, as `ip link del` does: an `RTM_DELLINK` with an empty `struct ifinfomsg`.
fn delete_interface(index: i32) {
    let mut message = Vec::new();
    message.extend(32u32.to_ne_bytes());
    message.extend(libc::RTM_DELLINK.to_ne_bytes());
    message.extend(((libc::NLM_F_REQUEST | libc::NLM_F_ACK) as u16).to_ne_bytes());
    message.extend([0; 12]);
    message.extend(index.to_ne_bytes());
    message.extend([0; 8]);
    let socket =
        sys::socket(libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_ROUTE).expect("a netlink socket");
    let mut socket = File::from(socket);
    socket.write_all(&message).expect("it is sent");
    socket.read_exact(&mut [0; 20]).expect("it is answered");
}

/// A device, and a packet socket on the kernel's side of it.
struct Link {
    device: TapDevice,
    socket: File,
}

impl Link {
    fn new(offloads: Offloads) -> Link {
        let device = open(offloads);
        host::configure(device.name(), 1500, &[]).expect("the kernel's side comes up");
        let index = host::index(device.name()).expect("it exists");
        let socket: OwnedFd = packet_socket(index).expect("a packet socket opens");
        Link { device, socket: File::from(socket) }
    }
}

impl Harness for Link {
    type Device = TapDevice;

    fn device(&mut self) -> &mut TapDevice {
        &mut self.device
    }

    fn peer_send(&mut self, frame: &[u8], meta: TxMeta) {
        let header = VnetHeader::from_tx(meta).to_bytes();
        let len =
            self.socket.write_vectored(&[IoSlice::new(&header), IoSlice::new(frame)]).expect("it is sent");
        assert_eq!(len, VNET_LEN + frame.len());
    }

    fn peer_offloads(&self) -> Offloads {
        Offloads::TX_CHECKSUM | Offloads::TSO
    }

    fn peer_receive(&mut self) -> Option<Arrived> {
        let (mut header, mut bytes) = ([0; VNET_LEN], vec![0; 70_000]);
        let slices = &mut [IoSliceMut::new(&mut header), IoSliceMut::new(&mut bytes)];
        let len = self.socket.read_vectored(slices).ok()?;
        bytes.truncate(len - VNET_LEN);
        let meta = VnetHeader::from_bytes(header).to_rx(true).expect("a kind that we know");
        Some(Arrived { bytes, meta })
    }

    fn in_use(&self) -> usize {
        self.device.pool().in_use() - self.device.ready_count()
    }
}

/// How long a frame may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// Looks until the frame has come.
fn wait_for<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        // Before the look: the last one is after the time is over.
        let is_last = Instant::now() >= deadline;
        if let Some(found) = look() {
            return found;
        }
        assert!(!is_last, "the frame never came");
    }
}

fn receive_until(device: &mut TapDevice, wanted: impl Fn(&[u8]) -> bool) -> (Vec<u8>, RxMeta) {
    let mut burst = Burst::new(8);
    wait_for(|| {
        device.receive(&mut burst);
        let mut frames =
            burst.drain().map(|(frame, meta)| (frame.fragments().flatten().copied().collect(), meta));
        frames.find(|(bytes, _): &(Vec<u8>, _)| wanted(bytes))
    })
}

fn drops(device: &TapDevice, name: &str) -> u64 {
    let mut found = None;
    device.drops(&mut |reason, count| found = found.or((reason == name).then_some(count)));
    found.expect("a known reason")
}

#[test]
fn conforms_with_all_offloads() {
    in_a_namespace(|| run(|| Link::new(Offloads::ALL)));
}

#[test]
fn conforms_with_other_mixtures_of_offloads() {
    in_a_namespace(|| {
        for list in ["none", "tx-checksum", "rx-checksum", "tx-checksum+tso", "rx-checksum+lro", "sg"] {
            println!("offloads {list}");
            let offloads = list.parse().expect("a list");
            run(|| Link::new(offloads));
        }
    });
}

#[test]
fn the_kernel_talks_udp_to_us_and_we_to_it() {
    in_a_namespace(|| {
        for offloads in [Offloads::ALL, Offloads::NONE] {
            let mut device = open(offloads);
            let addresses = [("192.0.2.2".parse().unwrap(), 24)];
            host::configure(device.name(), 1500, &addresses).unwrap();
            let socket = UdpSocket::bind("192.0.2.2:53").unwrap();
            socket.set_broadcast(true).unwrap();
            socket.send_to(b"to whom it may concern", "192.0.2.255:4000").unwrap();
            let (bytes, meta) = receive_until(&mut device, |bytes| bytes.ends_with(b"concern"));
            assert_eq!((&bytes[..6], bytes.len()), (&[0xff; 6][..], 42 + 22));
            let left_to_us = offloads.contains(Offloads::RX_CHECKSUM);
            assert_eq!(meta.checksum == RxChecksum::Verified, left_to_us);

            let packet = Packet::udp(Ip::V4, 700).between(device.mac(), host::mac(device.name()).unwrap());
            let (bytes, meta) = if offloads.contains(Offloads::TX_CHECKSUM) {
                (packet.build_partial(), packet.checksum_meta())
            } else {
                (packet.build(), TxMeta::default())
            };
            let mut frame = device.alloc(bytes.len()).unwrap();
            frame.extend(bytes.len()).unwrap().copy_from_slice(&bytes);
            device.transmit(frame, meta);
            device.flush();
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
            let mut payload = [0; 1500];
            let (len, from) = socket.recv_from(&mut payload).unwrap();
            assert_eq!((&payload[..len], from.to_string()), (&packet.payload[..], "192.0.2.1:9000".into()));
        }
    });
}

#[test]
fn the_kernels_side_is_configured_once_and_again() {
    in_a_namespace(|| {
        let device = open(Offloads::ALL);
        let addresses: [(IpAddr, u8); 3] = [
            ("10.7.0.1".parse().unwrap(), 24),
            ("10.8.0.1".parse().unwrap(), 30),
            ("fd00::1".parse().unwrap(), 64),
        ];
        for mtu in [1500, 1400, 1400] {
            host::configure(device.name(), mtu, &addresses).unwrap();
        }
        for (address, _) in addresses {
            UdpSocket::bind((address, 0)).unwrap_or_else(|error| panic!("{address} is not usable: {error}"));
        }
        UdpSocket::bind((Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2), 0))
            .expect_err("nobody has this address");
        let error = host::configure("hayase-nowhere", 1500, &[]).unwrap_err();
        assert!(error.to_string().contains("hayase-nowhere"), "{error}");
        let error = host::configure(device.name(), 1500, &[("10.9.0.1".parse().unwrap(), 33)]).unwrap_err();
        assert!(error.to_string().contains("10.9.0.1/33"), "{error}");
    });
}

#[test]
fn an_interface_is_made_taken_and_gone() {
    in_a_namespace(|| {
        assert!(!host::exists("hy0"));
        let device = open(Offloads::ALL);
        assert!(host::exists("hy0") && device.is_attached());
        assert_ne!(device.mac(), host::mac("hy0").unwrap());
        let busy = TapDevice::open(&TapConfig::default()).unwrap_err();
        assert!(matches!(busy, TapError::Busy(_)), "{busy}");
        let other = TapConfig { name: "lo".into(), ..TapConfig::default() };
        let error = TapDevice::open(&other).unwrap_err();
        assert!(matches!(error, TapError::NotTap(_)), "{error}");
        drop(device);
        assert!(!host::exists("hy0"));
    });
}

/// As after a kill in io_uring, when a thread of the kernel closes what the process had open.
#[test]
fn an_interface_that_is_just_being_closed_is_waited_for() {
    in_a_namespace(|| {
        for _ in 0..10 {
            let former = open(Offloads::ALL).tun.try_clone().unwrap();
            let closing = thread::spawn(move || {
                thread::sleep(Duration::from_millis(100));
                drop(former);
                Instant::now()
            });
            let start = Instant::now();
            let opened = TapDevice::open(&TapConfig::default());
            let closed_after = closing.join().unwrap() - start;
            match opened {
                Ok(device) => {
                    assert!(device.is_attached());
                    return assert!(host::exists("hy0"), "it is another interface of the same name");
                }
                // Not closed in time, as it may be where others have the processor.
                Err(TapError::Busy(_)) if closed_after > Duration::from_secs(1) => {}
                Err(error) => panic!("{error}, closed after {closed_after:?}"),
            }
        }
        panic!("it was closed late each time");
    });
}

#[test]
fn super_frames_without_a_buffer_are_counted_and_small_ones_go_on() {
    in_a_namespace(|| {
        let mut link = Link::new(Offloads::ALL);
        let mac = link.device.mac();
        let hoard: Vec<_> = std::iter::from_fn(|| link.device.pool().alloc_large()).collect();
        let packet = Packet::tcp(Ip::V4, 20_000).between(PEER_MAC, mac);
        let small = raw(PEER_MAC, mac, 60);
        for _ in 0..3 {
            link.peer_send(&packet.build_partial(), packet.segmentation_meta(1400));
        }
        link.peer_send(&small, TxMeta::default());
        receive_until(&mut link.device, |bytes| bytes == small);
        assert_eq!(drops(&link.device, "rx_no_buffer"), 2, "one buffer was ready before");
        drop(hoard);
        link.peer_send(&packet.build_partial(), packet.segmentation_meta(1400));
        let (bytes, meta) = receive_until(&mut link.device, |bytes| bytes.len() > 20_000);
        assert_eq!((bytes, meta.segment_len), (packet.build_partial(), 1400));
    });
}

#[test]
fn an_interface_that_is_deleted_under_us_leaves_us_quiet() {
    in_a_namespace(|| {
        let mut device = open(Offloads::ALL);
        delete_interface(host::index("hy0").unwrap());
        assert_eq!(device.receive(&mut Burst::new(8)), 0);
        assert!(!host::exists("hy0") && !device.is_attached() && !device.pending());
        device.interests(&mut |interest| panic!("nothing to sleep on: {interest:?}"));
        assert_eq!(device.receive(&mut Burst::new(8)), 0);
        assert_eq!(drops(&device, "rx_errors"), 1, "told once");
        let mut frame = device.alloc(60).unwrap();
        frame.extend(60).unwrap().fill(0);
        device.transmit(frame, TxMeta::default());
        assert_eq!(drops(&device, "tx_errors"), 1);
    });
}

#[test]
fn a_side_that_is_down_costs_frames_and_nothing_else() {
    in_a_namespace(|| {
        let mut device = open(Offloads::ALL);
        let mut frame = device.alloc(60).unwrap();
        frame.extend(60).unwrap().fill(0);
        device.transmit(frame, TxMeta::default());
        assert_eq!(drops(&device, "tx_errors"), 1);
        assert!(device.room() > 0);
        let mut interests = Vec::new();
        device.interests(&mut |interest| interests.push((interest.readable, interest.writable)));
        assert_eq!(interests, [(true, false)]);
    });
}

/// A kernel short of memory calls its descriptor writable all the same: who believed it would not sleep.
#[test]
fn a_thread_naps_while_the_kernel_has_no_memory() {
    in_a_namespace(|| {
        let mut link = Link::new(Offloads::NONE);
        let bytes = raw(PEER_MAC, link.device.mac(), 60);
        for errno in [libc::ENOBUFS, libc::EAGAIN] {
            let mut frame = link.device.alloc(bytes.len()).expect("the pool has a buffer");
            frame.extend(bytes.len()).expect("the buffer has room").copy_from_slice(&bytes);
            let mut kernel = Kernel { takes: 0, then: errno, taken: vec![] };
            link.device.transmitter.send(&mut kernel, frame, [0; VNET_LEN]);
            while link.device.receive(&mut Burst::new(8)) > 0 {}
            let asks_kernel = errno == libc::EAGAIN;
            assert_eq!(link.device.pending(), asks_kernel, "{errno}");
            link.device.interests(&mut |interest| assert_eq!(interest.writable, asks_kernel, "{errno}"));
            let naps = [link.device.arm(), link.device.arm()];
            let expected = if asks_kernel { [None; 2] } else { [Some(20_000), Some(40_000)] };
            assert_eq!(naps, expected, "{errno}");
            link.device.flush();
            assert_eq!(
                (link.device.arm(), link.device.room() > 0),
                (None, true),
                "it has memory again: {errno}"
            );
            wait_for(|| link.peer_receive().filter(|arrived| arrived.bytes == bytes));
        }
    });
}
