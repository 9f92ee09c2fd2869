//! The stack under test, the wire that the script holds the other end of, and the clock.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::task::Poll;
use std::time::Duration;

use hayase_device::heap::{HeapFrame, PoolConfig};
use hayase_device::{Burst, Device, Frame, Offloads, TxMeta};
use hayase_stack::wire::VlanId;
use hayase_stack::{Config, Drop, Instant, Stack, UdpId};
use hayase_wire::{EndConfig, Wire, WireConfig, WireDevice};

use crate::codec::{self, Arp, BROADCAST, Body, CE, Heard, ICMPV6, Ip, IpOut, Mac, Payload};
use crate::oracle::Oracle;

pub(crate) const STACK_MAC: Mac = [2, 0, 0, 0, 0, 0x0a];
pub(crate) const PEER_MAC: Mac = [2, 0, 0, 0, 0, 0x0b];
pub(crate) const STACK_V4: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
pub(crate) const PEER_V4: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2));
pub(crate) const STACK_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1));
pub(crate) const PEER_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2));

pub(crate) const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// The stack, and every frame that it sent since the script last looked.
pub(crate) struct Host {
    pub(crate) stack: Stack<HeapFrame>,
    pub(crate) device: WireDevice,
    pub(crate) now: Instant,
    pub(crate) oracle: Oracle,
    /// Whether the script's side answers ARP and neighbor solicitations by itself, unseen.
    pub(crate) answers_neighbors: bool,
    /// The hop limit that everything but neighbor discovery has.
    pub(crate) ttl: u8,
    /// The hop limit of what goes to groups.
    pub(crate) group_ttl: u8,
    /// The VLAN that both ends are in: the script's frames get its tag, and the stack's must have it.
    pub(crate) vlan: Option<u16>,
    /// The type of service that TCP's packets have.
    pub(crate) tos: u8,
    wire: WireDevice,
    heard: VecDeque<(Instant, Heard)>,
}

/// What a script may write at once, unless it says otherwise.
pub(crate) const SEND_BUFFER_LEN: usize = 512 * 1024;

impl Host {
    pub(crate) fn new() -> Host {
        Host::with(Config::default(), 1500)
    }

    pub(crate) fn with(config: Config, mtu: usize) -> Host {
        Host::on(config, mtu, Offloads::NONE)
    }

    /// On a device that has these offloads. What the script sees is the same.
    pub(crate) fn on(config: Config, mtu: usize, offloads: Offloads) -> Host {
        Host::in_memory(config, mtu, offloads, PoolConfig::default())
    }

    /// On a device with so much memory, and on a link whose other end has as much.
    pub(crate) fn in_memory(mut config: Config, mtu: usize, offloads: Offloads, pool: PoolConfig) -> Host {
        if config.send_buffer_len == Config::default().send_buffer_len {
            // The application of a script writes all that it has to say at once.
            config.send_buffer_len = SEND_BUFFER_LEN;
        }
        let a = EndConfig { offloads, mac: STACK_MAC };
        let b = EndConfig { offloads: Offloads::NONE, mac: PEER_MAC };
        let (device, wire) = Wire::pair(WireConfig { mtu, a, b, pool, ..WireConfig::default() });
        let now = Instant::from_millis(10_000);
        let (ttl, vlan) = (config.ttl, config.vlan.map(VlanId::get));
        let mut stack = Stack::new(config, device.caps(), device.mac(), [7; 32], now);
        stack.add_address("10.0.0.1/24".parse().unwrap()).unwrap();
        stack.add_address("fd00::1/64".parse().unwrap()).unwrap();
        let (oracle, heard) = (Oracle::default(), VecDeque::new());
        Host {
            vlan,
            stack,
            device,
            now,
            oracle,
            answers_neighbors: true,
            ttl,
            group_ttl: 1,
            tos: 0,
            wire,
            heard,
        }
    }

    /// Puts a frame on the wire. The stack sees it with its next turn.
    pub(crate) fn inject(&mut self, bytes: &[u8]) {
        match self.vlan {
            Some(vlan) => self.inject_raw(&codec::tagged(bytes, vlan)),
            None => self.inject_raw(bytes),
        }
    }

    /// The same for a frame that is whole already.
    pub(crate) fn inject_raw(&mut self, bytes: &[u8]) {
        assert!(bytes.len() <= 14 + self.device.caps().mtu, "{} bytes do not fit the link", bytes.len());
        let mut frame = self.wire.pool().alloc(bytes.len()).expect("the pool has a buffer");
        frame.extend(bytes.len()).expect("the buffer has room").copy_from_slice(bytes);
        self.wire.transmit(frame, TxMeta::default());
    }

    /// Puts an IP packet on the wire and gives the stack a turn.
    pub(crate) fn packet(&mut self, packet: &[u8]) {
        self.inject(&codec::frame(STACK_MAC, PEER_MAC, packet));
        self.turn();
    }

    /// The same for a packet with a plain header.
    pub(crate) fn ip(&mut self, src: IpAddr, dst: IpAddr, protocol: u8, payload: &[u8]) {
        self.packet(&IpOut::new(src, dst, protocol).packet(payload));
    }

    /// One turn of the stack's owner: receive, expire, transmit. Answers to its questions for neighbours get
    /// a turn too.
    pub(crate) fn turn(&mut self) {
        let mut burst = Burst::new(64);
        loop {
            // What the stack sends to itself comes without the device.
            while self.device.receive(&mut burst) > 0 || self.stack.has_work() {
                self.stack.receive(self.now, &mut burst, &mut self.device);
                self.stack.transmit(self.now, &mut self.device);
            }
            if self.stack.deadline().is_some_and(|at| at <= self.now) {
                self.stack.expire(self.now, &mut self.device);
            }
            self.stack.transmit(self.now, &mut self.device);
            if !self.hear() && !self.stack.has_work() {
                return;
            }
        }
    }

    /// Fills the device's ring with frames that nobody looks at, until it takes so many more.
    pub(crate) fn fill_to(&mut self, room: usize) {
        while self.device.room() > room {
            let mut frame = self.device.alloc(64).expect("the pool has a buffer");
            frame.extend(64).expect("the buffer has room").fill(0);
            self.device.transmit(frame, TxMeta::default());
        }
    }

    /// Lets time pass while the device takes nothing: its ring is full of frames that nobody looks at.
    pub(crate) fn wait_full(&mut self, time: Duration) {
        self.fill_to(0);
        for _ in 0..time.as_millis() {
            self.stack.expire(self.now, &mut self.device);
            self.stack.transmit(self.now, &mut self.device);
            self.now += ms(1);
        }
        let mut burst = Burst::new(64);
        while self.wire.receive(&mut burst) > 0 {
            burst.drain().for_each(drop);
        }
    }

    /// Takes so many frames from the wire, which nobody looks at: the device has room for as many more.
    pub(crate) fn pass_unseen(&mut self, count: usize) {
        self.wire.receive(&mut Burst::new(count));
    }

    /// Lets time pass, from deadline to deadline.
    pub(crate) fn wait(&mut self, time: Duration) {
        let end = self.now + time;
        self.turn();
        while self.now < end {
            let deadline = self.stack.deadline().unwrap_or(end);
            self.now = deadline.max(self.now + Duration::from_micros(1)).min(end);
            self.turn();
        }
    }

    /// Takes what the stack sent. True if the stack has an answer to read at once.
    fn hear(&mut self) -> bool {
        let mut burst = Burst::new(64);
        let mut answered = false;
        while self.wire.receive(&mut burst) > 0 {
            let frames: Vec<Vec<u8>> = burst.drain().map(|(frame, _)| bytes_of(&frame)).collect();
            for bytes in frames {
                let bytes = self.vlan.map_or(bytes.clone(), |vlan| codec::untagged(&bytes, vlan));
                let heard = Heard::parse(&bytes);
                self.check(&heard);
                match self.neighbor_answer(&heard) {
                    Some(answer) if self.answers_neighbors => {
                        self.inject(&answer);
                        answered = true;
                    }
                    _ => self.heard.push_back((self.now, heard)),
                }
            }
        }
        answered
    }

    /// What holds of every frame.
    fn check(&mut self, heard: &Heard) {
        assert_eq!(heard.src_mac, STACK_MAC);
        assert_ne!(heard.dst_mac, [0; 6], "sent to nobody");
        let Body::Ip(ip) = &heard.body else { return };
        // The unspecified address speaks for one that is not ours yet.
        let is_nobody = ip.src == IpAddr::V6(Ipv6Addr::UNSPECIFIED);
        let is_ours = is_nobody || self.stack.addresses().any(|cidr| cidr.addr() == ip.src);
        assert!(is_ours, "MUST-44: a source address {} that is not ours", ip.src);
        let is_ndp = matches!(ip.payload, Payload::Icmp { kind: 133..=137, .. }) && ip.src.is_ipv6();
        let is_mld = matches!(ip.payload, Payload::Icmp { kind: 131 | 132 | 143, .. }) && ip.src.is_ipv6();
        let ttl = match (is_ndp, is_mld) {
            (true, _) => 255,
            (_, true) => 1,
            _ if ip.dst.is_multicast() => self.group_ttl,
            _ => self.ttl,
        };
        assert_eq!(ip.ttl, ttl, "MUST-49: hop limit");
        if let Payload::Tcp(tcp) = &ip.payload {
            assert_eq!(ip.tos & !CE, self.tos, "MUST-48: type of service");
            assert!(ip.dont_fragment, "RFC 1191: TCP discovers the path's MTU");
            self.oracle.check((ip.src, tcp.src_port, ip.dst, tcp.dst_port), tcp, ip.tos & CE);
        }
    }

    /// The peer's answer to an ARP request or neighbor solicitation for any address but the stack's.
    fn neighbor_answer(&self, heard: &Heard) -> Option<Vec<u8>> {
        match &heard.body {
            Body::Arp(arp) if arp.operation == 1 => {
                let answer = Arp { operation: 2, sender: (PEER_MAC, arp.target.1), target: arp.sender };
                Some(answer.frame(STACK_MAC))
            }
            Body::Ip(Ip { src, payload: Payload::Icmp { kind: 135, rest, .. }, .. })
                if !src.is_unspecified() && src.is_ipv6() =>
            {
                let target = IpAddr::from(<[u8; 16]>::try_from(&rest[..16]).unwrap());
                // As a router would, which means nothing of who has not advertised that it is one.
                Some(codec::frame(STACK_MAC, PEER_MAC, &neighbor_advert(target, *src, 0xe000_0000)))
            }
            _ => None,
        }
    }

    /// The next frame that the stack sent.
    pub(crate) fn next(&mut self) -> Option<(Instant, Heard)> {
        self.heard.pop_front()
    }

    pub(crate) fn has_heard(&self) -> bool {
        !self.heard.is_empty()
    }

    /// The next frame, which is an IP packet.
    pub(crate) fn next_ip(&mut self) -> Ip {
        match self.next() {
            Some((_, Heard { body: Body::Ip(ip), .. })) => ip,
            other => panic!("an IP packet expected, not {other:?}"),
        }
    }

    /// The next frame, which is an ICMP message: type, code, its word, and the rest.
    pub(crate) fn next_icmp(&mut self) -> (u8, u8, u32, Vec<u8>) {
        match self.next_ip().payload {
            Payload::Icmp { kind, code, word, rest } => (kind, code, word, rest),
            other => panic!("an ICMP message expected, not {other:?}"),
        }
    }

    /// The next frame, which is an ARP packet, and whom it goes to.
    pub(crate) fn next_arp(&mut self) -> (Mac, Arp) {
        match self.next() {
            Some((_, Heard { dst_mac, body: Body::Arp(arp), .. })) => (dst_mac, arp),
            other => panic!("an ARP packet expected, not {other:?}"),
        }
    }

    /// Everything that the stack sent.
    pub(crate) fn drain(&mut self) -> Vec<(Instant, Heard)> {
        self.heard.drain(..).collect()
    }

    /// The stack says nothing.
    #[track_caller]
    pub(crate) fn silence(&mut self) {
        self.turn();
        assert!(self.heard.is_empty(), "silence expected, not {:?}", self.heard);
    }

    pub(crate) fn dropped(&self, reason: Drop) -> u64 {
        self.stack.counters().dropped(reason)
    }

    /// A datagram that waits for the application.
    pub(crate) fn udp_recv(&mut self, id: UdpId) -> Option<Vec<u8>> {
        let mut buf = vec![0; 70_000];
        match self.stack.udp_recv(id, &mut buf) {
            Poll::Ready(Ok((len, _))) => {
                buf.truncate(len);
                Some(buf)
            }
            Poll::Ready(Err(error)) => panic!("{error}"),
            Poll::Pending => None,
        }
    }

    pub(crate) fn udp_send(&mut self, id: UdpId, payload: &[u8], to: (IpAddr, u16)) {
        let sent = self.stack.udp_send(self.now, id, payload, Some(to.into()), &mut self.device);
        assert_eq!(sent, Poll::Ready(Ok(payload.len())));
        self.turn();
    }

    /// Buffers that hold what the stack received.
    pub(crate) fn received_in_use(&self) -> usize {
        self.wire.pool().in_use()
    }

    /// No buffer is held by anybody.
    #[track_caller]
    pub(crate) fn assert_frames_home(&self) {
        assert_eq!((self.device.pool().in_use(), self.wire.pool().in_use()), (0, 0), "frames in use");
    }
}

fn bytes_of(frame: &HeapFrame) -> Vec<u8> {
    frame.fragments().flatten().copied().collect()
}

/// An advertisement of `target` to `dst`, with these flags (R, S, O in the top bits).
pub(crate) fn neighbor_advert(target: IpAddr, dst: IpAddr, flags: u32) -> Vec<u8> {
    let IpAddr::V6(address) = target else { panic!("{target} is no IPv6 address") };
    let body = [&address.octets()[..], &[2, 1], &PEER_MAC].concat();
    let message = codec::icmp(target, dst, 136, 0, flags, &body);
    IpOut { ttl: 255, ..IpOut::new(target, dst, ICMPV6) }.packet(&message)
}

/// A broadcast question of the peer for `target`.
pub(crate) fn arp_request(target: Ipv4Addr) -> Vec<u8> {
    let IpAddr::V4(peer) = PEER_V4 else { panic!("the peer has an IPv4 address") };
    Arp { operation: 1, sender: (PEER_MAC, peer), target: ([0; 6], target) }.frame(BROADCAST)
}
