//! A peer that reports what it holds in as many pieces as it can, and does so again and again: what each of its
//! acknowledgements costs the sender.

use std::cell::Cell;
use std::task::Poll;
use std::time::Duration;

use hayase_device::checksum::{Sum, pseudo_header};
use hayase_device::heap::HeapFrame;
use hayase_device::{Burst, Device, Frame, Offloads, RxMeta, TxMeta};
use hayase_stack::{Config, Instant, Stack};
use hayase_wire::{EndConfig, Wire, WireConfig, WireDevice};

const SYN: u8 = 0x02;
const ACK: u8 = 0x10;

const MSS: u32 = 1460;

/// Segments that are outstanding: 12 MB of them.
const SEGMENTS: u32 = 8192;

/// Whose window covers all that.
const WINDOW_SHIFT: u8 = 10;

/// A stack with a connection, and the wire by which its peer does as it likes.
struct Victim {
    stack: Stack<HeapFrame>,
    device: WireDevice,
    far: WireDevice,
    now: Instant,
    /// The first of the stack's sequence numbers.
    isn: u32,
}

impl Victim {
    fn new() -> Victim {
        let defaults = WireConfig::default();
        let (device, far) = Wire::pair(WireConfig {
            a: EndConfig { offloads: Offloads::ALL, ..defaults.a },
            b: EndConfig { offloads: Offloads::ALL, ..defaults.b },
            ..defaults
        });
        let mut config = Config::default();
        (config.send_buffer_len, config.send_buffer_len_max) = (16 << 20, 16 << 20);
        config.pacing = false;
        let now = Instant::from_millis(1);
        let mut stack = Stack::new(config, device.caps(), device.mac(), [1; 32], now);
        stack.add_address("10.0.0.1/24".parse().expect("an address")).expect("a fresh stack takes it");
        Victim { stack, device, far, now, isn: 0 }
    }

    /// The peer's Ethernet frame goes in; what comes out is looked at by `see`.
    fn send(&mut self, bytes: &[u8], see: &mut dyn FnMut(&[u8])) {
        let mut frame = self.far.alloc(bytes.len()).expect("the pool is not empty");
        frame.extend(bytes.len()).expect("there is room").copy_from_slice(bytes);
        self.far.transmit(frame, TxMeta::default());
        self.turn(see);
    }

    fn turn(&mut self, see: &mut dyn FnMut(&[u8])) {
        let mut burst = Burst::new(64);
        while self.device.receive(&mut burst) > 0 {
            self.stack.receive(self.now, &mut burst, &mut self.device);
        }
        while self.stack.transmit(self.now, &mut self.device) > 0 {
            let mut heard: Burst<HeapFrame> = Burst::new(64);
            while self.far.receive(&mut heard) > 0 {
                heard.drain().for_each(|(frame, _): (HeapFrame, RxMeta)| see(frame.bytes()));
            }
        }
    }

    /// A segment without data whose acknowledgement and SACK blocks count from the stack's first byte.
    fn segment(&self, flags: u8, seq: u32, ack: u32, options: &[u8]) -> Vec<u8> {
        let len = 20 + options.len();
        let mut tcp = [[0x0f, 0xa0], [0, 80]].concat();
        tcp.extend(seq.to_be_bytes());
        tcp.extend(if flags & ACK == 0 { 0 } else { self.isn.wrapping_add(ack) }.to_be_bytes());
        tcp.extend([(len as u8 / 4) << 4, flags, 0xff, 0xff, 0, 0, 0, 0]);
        tcp.extend(options);
        let (src, dst) = ([10, 0, 0, 2], [10, 0, 0, 1]);
        let mut sum = pseudo_header(&src, &dst, 6, len as u32);
        sum.add(&tcp);
        tcp[16..18].copy_from_slice(&sum.checksum().to_be_bytes());
        let mut ip = vec![0x45, 0, 0, (20 + len) as u8, 0, 0, 0x40, 0, 64, 6, 0, 0];
        ip.extend(src.into_iter().chain(dst));
        let mut sum = Sum::default();
        sum.add(&ip);
        ip[10..12].copy_from_slice(&sum.checksum().to_be_bytes());
        [&self.device.mac()[..], &self.far.mac(), &[8, 0], &ip, &tcp].concat()
    }

    /// Has all segments outstanding, and every other one of them reported.
    fn torn() -> Victim {
        let mut victim = Victim::new();
        let listener =
            victim.stack.tcp_listen("0.0.0.0:80".parse().expect("an address"), 4).expect("it is free");
        // The stack asks who has the peer's address: it is told with a question of the peer's own.
        let mut arp = vec![0xff; 6];
        arp.extend(victim.far.mac().into_iter().chain([8, 6, 0, 1, 8, 0, 6, 4, 0, 1]));
        arp.extend(victim.far.mac().into_iter().chain([10, 0, 0, 2, 0, 0, 0, 0, 0, 0, 10, 0, 0, 1]));
        victim.send(&arp, &mut |_| {});
        let syn = victim.segment(SYN, 0, 0, &[2, 4, 5, 0xb4, 1, 3, 3, WINDOW_SHIFT, 1, 1, 4, 2]);
        let mut isn = 0;
        victim
            .send(&syn, &mut |frame| isn = u32::from_be_bytes(frame[38..42].try_into().expect("four bytes")));
        victim.isn = isn.wrapping_add(1);
        victim.now += Duration::from_millis(20);
        victim.send(&victim.segment(ACK, 1, 0, &[]), &mut |_| {});
        let Poll::Ready(Ok((id, _))) = victim.stack.tcp_accept(listener) else { panic!("no connection") };
        // As much is outstanding as the window takes, once that has grown.
        let (mut acked, sent, data) = (0, Cell::new(0), vec![7; 1 << 20]);
        let first = victim.isn;
        let mut see = |frame: &[u8]| {
            let seq = u32::from_be_bytes(frame[38..42].try_into().expect("four bytes")).wrapping_sub(first);
            sent.set(sent.get().max(seq + frame.len() as u32 - 54));
        };
        loop {
            while let Poll::Ready(Ok(1..)) = victim.stack.tcp_write(victim.now, id, &data, &mut victim.device)
            {
            }
            victim.turn(&mut see);
            if sent.get() - acked >= SEGMENTS * MSS {
                break;
            }
            victim.now += Duration::from_millis(20);
            acked = sent.get();
            victim.send(&victim.segment(ACK, 1, acked, &[]), &mut see);
        }
        victim.isn = victim.isn.wrapping_add(acked);
        victim.now += Duration::from_millis(20);
        for at in (1..SEGMENTS).step_by(8) {
            let ack = victim.blocks(&[at, at + 2, at + 4, at + 6], MSS);
            victim.send(&ack, &mut |_| {});
        }
        victim
    }

    /// An acknowledgement of nothing new that reports `len` bytes of each of these segments.
    fn blocks(&self, segments: &[u32], len: u32) -> Vec<u8> {
        let mut options = vec![1, 1, 5, 2 + 8 * segments.len() as u8];
        for at in segments {
            options.extend(self.isn.wrapping_add(at * MSS).to_be_bytes());
            options.extend(self.isn.wrapping_add(at * MSS + len).to_be_bytes());
        }
        self.segment(ACK, 1, 0, &options)
    }
}

/// An acknowledgement that says what it said before.
pub(crate) fn repeated(count: u64) {
    let mut victim = Victim::torn();
    let ack = victim.blocks(&[1, 3, 5, 7], MSS);
    for _ in 0..count {
        victim.send(&ack, &mut |_| {});
    }
}
