//! smoltcp on the in-memory wire, with as little around it as possible: a loop that polls one end, does its
//! application's work, sends, and goes on to the other.

use std::collections::VecDeque;
use std::io;
use std::time::{Duration, Instant};

use hayase_device::heap::HeapFrame;
use hayase_device::{Burst, Device as _, Frame, Offloads, TxMeta};
use hayase_wire::{EndConfig, Wire, WireConfig, WireDevice};
use smoltcp::iface::{Config, Interface, PollIngressSingleResult, SocketHandle, SocketSet};
use smoltcp::phy::{ChecksumCapabilities, Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::tcp;
use smoltcp::time::Instant as Time;
use smoltcp::wire::{EthernetAddress, IpAddress, IpCidr};

use crate::{CHUNK_LEN, Work, processor_time};

/// Of each socket, each way. Bulk was fastest with these, of 64 KiB to 1 MiB; a round trip needs less.
const BUFFER_LEN: usize = 256 * 1024;
const SMALL_BUFFER_LEN: usize = 2048;

/// Of an Ethernet header, which smoltcp counts as part of the MTU.
const ETHERNET_LEN: usize = 14;

const BURST_LEN: usize = 64;
const PORT: u16 = 7;
const FIRST_CLIENT_PORT: u16 = 40_000;

/// Turns of the loop between two looks at whether the time is over.
const TURNS: usize = 64;

/// Turns in which a connection must come about.
const CONNECT_TURNS_MAX: usize = 10_000;

pub(crate) fn run(work: Work, duration: Duration) -> io::Result<f64> {
    match work {
        Work::PingPong { connections, software_checksum } => {
            let mut pair = Pair::new(1500, software_checksum);
            pair.connect(connections, SMALL_BUFFER_LEN)?;
            pair.client.write_first();
            Ok(pair.count_for(duration, Pair::ping_pong))
        }
        Work::Bulk { mtu, software_checksum } => {
            let mut pair = Pair::new(mtu, software_checksum);
            pair.connect(1, BUFFER_LEN)?;
            let mut buf = vec![0x5a; CHUNK_LEN];
            Ok(pair.count_for(duration, |pair, now| pair.bulk(now, &mut buf)))
        }
    }
}

/// The wire, in smoltcp's terms.
struct Phy {
    wire: WireDevice,
    burst: Burst<HeapFrame>,
    arrived: VecDeque<HeapFrame>,
    capabilities: DeviceCapabilities,
}

struct Received(HeapFrame);

struct Sending<'a>(&'a mut WireDevice);

impl RxToken for Received {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, take: F) -> R {
        take(self.0.bytes())
    }
}

impl TxToken for Sending<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, fill: F) -> R {
        let Some(mut frame) = self.0.alloc(len) else { return fill(&mut vec![0; len]) };
        let result = fill(frame.extend(len).expect("a frame has the room that it was asked for"));
        self.0.transmit(frame, TxMeta::default());
        result
    }
}

impl Device for Phy {
    type RxToken<'a> = Received;
    type TxToken<'a> = Sending<'a>;

    fn receive(&mut self, _: Time) -> Option<(Received, Sending<'_>)> {
        if self.arrived.is_empty() && self.wire.receive(&mut self.burst) > 0 {
            self.arrived.extend(self.burst.drain().map(|(frame, _)| frame));
        }
        Some((Received(self.arrived.pop_front()?), Sending(&mut self.wire)))
    }

    fn transmit(&mut self, _: Time) -> Option<Sending<'_>> {
        (self.wire.room() > 0).then_some(Sending(&mut self.wire))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        self.capabilities.clone()
    }
}

struct Host {
    phy: Phy,
    interface: Interface,
    sockets: SocketSet<'static>,
    handles: Vec<SocketHandle>,
}

impl Host {
    fn new(wire: WireDevice, number: u8, mtu: usize, software_checksum: bool, now: Time) -> Host {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = mtu + ETHERNET_LEN;
        if !software_checksum {
            capabilities.checksum = ChecksumCapabilities::ignored();
        }
        let config = Config::new(EthernetAddress(wire.mac()).into());
        let mut phy = Phy { wire, burst: Burst::new(BURST_LEN), arrived: VecDeque::new(), capabilities };
        let mut interface = Interface::new(config, &mut phy, now);
        interface.update_ip_addrs(|addresses| {
            let address = IpCidr::new(IpAddress::v4(10, 7, 0, number), 24);
            addresses.push(address).expect("an interface has room for one address");
        });
        Host { phy, interface, sockets: SocketSet::new(Vec::new()), handles: Vec::new() }
    }

    fn add_socket(&mut self, buffer_len: usize) -> SocketHandle {
        let buffer = || tcp::SocketBuffer::new(vec![0; buffer_len]);
        let mut socket = tcp::Socket::new(buffer(), buffer());
        socket.set_nagle_enabled(false);
        let handle = self.sockets.add(socket);
        self.handles.push(handle);
        handle
    }

    fn receive(&mut self, now: Time) {
        while self.interface.poll_ingress_single(now, &mut self.phy, &mut self.sockets)
            != PollIngressSingleResult::None
        {}
    }

    fn transmit(&mut self, now: Time) {
        self.interface.poll_egress(now, &mut self.phy, &mut self.sockets);
    }

    /// Sends a byte on each connection.
    fn write_first(&mut self) {
        for handle in &self.handles {
            let socket = self.sockets.get_mut::<tcp::Socket<'_>>(*handle);
            socket.send_slice(b"x").expect("it is connected");
        }
    }

    /// Answers a byte by a byte on each connection; returns how often.
    fn echo(&mut self) -> u64 {
        let mut count = 0;
        let mut byte = [0];
        for handle in &self.handles {
            let socket = self.sockets.get_mut::<tcp::Socket<'_>>(*handle);
            if socket.can_recv() {
                socket.recv_slice(&mut byte).expect("there is something");
                socket.send_slice(&byte).expect("it is connected");
                count += 1;
            }
        }
        count
    }
}

struct Pair {
    client: Host,
    server: Host,
    start: Instant,
}

impl Pair {
    fn new(mtu: usize, software_checksum: bool) -> Pair {
        // The wire does nothing that it is not asked for.
        let mut config = WireConfig { mtu, ..WireConfig::default() };
        config.a = EndConfig { offloads: Offloads::NONE, ..config.a };
        config.b = EndConfig { offloads: Offloads::NONE, ..config.b };
        let (a, b) = Wire::pair(config);
        let start = Instant::now();
        let now = Time::from_micros(1);
        let client = Host::new(a, 1, mtu, software_checksum, now);
        Pair { client, server: Host::new(b, 2, mtu, software_checksum, now), start }
    }

    fn now(&self) -> Time {
        Time::from_micros(1 + self.start.elapsed().as_micros() as i64)
    }

    fn connect(&mut self, count: usize, buffer_len: usize) -> io::Result<()> {
        for index in 0..count {
            let server = self.server.add_socket(buffer_len);
            let socket = self.server.sockets.get_mut::<tcp::Socket<'_>>(server);
            socket.listen(PORT).map_err(|error| io::Error::other(format!("smoltcp: {error}")))?;
            let client = self.client.add_socket(buffer_len);
            let socket = self.client.sockets.get_mut::<tcp::Socket<'_>>(client);
            let from = FIRST_CLIENT_PORT + index as u16;
            let to = (IpAddress::v4(10, 7, 0, 2), PORT);
            socket
                .connect(self.client.interface.context(), to, from)
                .map_err(|error| io::Error::other(format!("smoltcp: {error}")))?;
            let connected = (0..CONNECT_TURNS_MAX).any(|_| {
                self.turn();
                let may_send = |host: &Host, handle| host.sockets.get::<tcp::Socket<'_>>(handle).may_send();
                may_send(&self.client, client) && may_send(&self.server, server)
            });
            if !connected {
                return Err(io::Error::other("smoltcp: two ends of a wire do not come together"));
            }
        }
        Ok(())
    }

    fn turn(&mut self) {
        let now = self.now();
        for host in [&mut self.client, &mut self.server] {
            host.receive(now);
            host.transmit(now);
        }
    }

    /// Both ends once; returns how many round trips were completed.
    fn ping_pong(&mut self, now: Time) -> u64 {
        self.client.receive(now);
        let count = self.client.echo();
        self.client.transmit(now);
        self.server.receive(now);
        self.server.echo();
        self.server.transmit(now);
        count
    }

    /// Both ends once; returns how many bytes were read.
    fn bulk(&mut self, now: Time, buf: &mut [u8]) -> u64 {
        self.client.receive(now);
        let socket = self.client.sockets.get_mut::<tcp::Socket<'_>>(self.client.handles[0]);
        while socket.can_send() && socket.send_slice(buf).expect("it is connected") > 0 {}
        self.client.transmit(now);
        self.server.receive(now);
        let socket = self.server.sockets.get_mut::<tcp::Socket<'_>>(self.server.handles[0]);
        let mut count = 0;
        while socket.can_recv() {
            count += socket.recv_slice(buf).expect("there is something") as u64;
        }
        self.server.transmit(now);
        count
    }

    /// Lets the loop run for so long; returns what it counted, per second of processor time.
    fn count_for(&mut self, duration: Duration, mut turn: impl FnMut(&mut Pair, Time) -> u64) -> f64 {
        let (start, used) = (Instant::now(), processor_time());
        let mut count = 0;
        loop {
            for _ in 0..TURNS {
                let now = self.now();
                count += turn(self, now);
            }
            if start.elapsed() >= duration {
                return count as f64 / (processor_time() - used).as_secs_f64();
            }
        }
    }
}
