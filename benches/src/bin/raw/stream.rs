//! The stream of one connection to the kernel's TCP, without a stack: a handshake, and then one frame again and again. Its
//! sequence number and the timestamp that it echoes change, and it goes as far as the kernel's window lets it.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

use hayase_device::checksum::{Sum, pseudo_header};
use hayase_device::{Burst, Device, Frame, Offloads, TxChecksum, TxMeta, TxSegmentation};
use hayase_stack::wire::ethernet::{self, EtherType, Mac};
use hayase_stack::wire::{Protocol, arp, ipv4};

use super::{ETHERNET_LEN, LOST_AFTER, Patience, Result, SUPER_LEN};

/// Where TCP starts, where its fields are, and where the data starts behind timestamps.
const TCP: usize = ETHERNET_LEN + ipv4::LEN;
const SEQ: usize = TCP + 4;
const CHECKSUM: usize = TCP + 16;
const ECHOED: usize = TCP + 28;
const DATA: usize = TCP + 32;

const OUR_PORT: u16 = 49_152;
/// Any number: the kernel has never heard of us.
const ISS: u32 = 0;

const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;

/// Options of a SYN: the largest segment, and our window's scale.
const SYN_OPTIONS_LEN: usize = 8;
const WINDOW_SCALE: u8 = 7;

/// Frames before a look at what came: as many as the stack has in a turn.
const FRAMES_A_LOOK: usize = 64;

/// A connection to a listener of the kernel's.
#[derive(Debug)]
pub(super) struct Stream {
    ends: Ends,
    kernel_mac: Mac,
    snd_una: u32,
    snd_nxt: u32,
    snd_wnd: u32,
    snd_wnd_shift: u8,
    rcv_nxt: u32,
    ts_recent: u32,
    is_reset: bool,
}

#[derive(Debug, Clone, Copy)]
struct Ends {
    us: Ipv4Addr,
    kernel: SocketAddrV4,
}

impl Ends {
    fn pseudo_header(&self, tcp_len: usize) -> Sum {
        pseudo_header(&self.us.octets(), &self.kernel.ip().octets(), Protocol::TCP.0, tcp_len as u32)
    }
}

impl Stream {
    /// Connects from `us`, which is on the device's link and nobody's address.
    pub(super) fn connect<D: Device>(device: &mut D, us: Ipv4Addr, kernel: SocketAddrV4) -> Result<Stream> {
        let ends = Ends { us, kernel };
        let mut stream = Stream {
            ends,
            kernel_mac: mac_of(device, ends)?,
            snd_una: ISS,
            snd_nxt: ISS.wrapping_add(1),
            snd_wnd: 0,
            snd_wnd_shift: 0,
            rcv_nxt: 0,
            ts_recent: 0,
            is_reset: false,
        };
        let syn = stream.segment(device.mac(), SYN, ISS, device.caps().mtu - ipv4::LEN - 20, 0);
        until_answered(|| {
            put(device, &syn, TxMeta::default());
            let answer = received(device, |frame| stream.syn_ack(frame))?;
            (stream.rcv_nxt, stream.snd_wnd_shift) = (answer.0.wrapping_add(1), answer.1);
            Some(())
        })?;
        let ack = stream.segment(device.mac(), ACK, stream.snd_nxt, 0, 0);
        put(device, &ack, TxMeta::default());
        device.flush();
        stream.snd_una = stream.snd_nxt;
        // Until it says otherwise, in a window that every kernel opens.
        stream.snd_wnd = 0xffff;
        Ok(stream)
    }

    /// Sends for so long. Returns the length of a frame, the bytes of those that the kernel acknowledged, and the time that
    /// it took.
    pub(super) fn send<D: Device>(
        mut self,
        device: &mut D,
        duration: Duration,
    ) -> Result<(usize, u64, Duration)> {
        let (mut frame, meta, base) = self.full(device);
        let data_len = (frame.len() - DATA) as u32;
        let (mut burst, mut patience, mut acked) = (Burst::new(64), Patience::new(0), 0_u64);
        let start = Instant::now();
        let mut heard_at = start;
        while start.elapsed() < duration {
            let (mut sent, una) = (0, self.snd_una);
            while sent < FRAMES_A_LOOK && self.in_flight() + data_len <= self.snd_wnd {
                self.turn(&mut frame, base);
                if !put(device, &frame, meta) {
                    break;
                }
                (self.snd_nxt, sent) = (self.snd_nxt.wrapping_add(data_len), sent + 1);
            }
            device.flush();
            device.receive(&mut burst);
            burst.drain().for_each(|(frame, _)| self.take(frame.bytes()));
            if self.is_reset {
                return Err("the kernel reset the connection".into());
            }
            acked += u64::from(self.snd_una.wrapping_sub(una));
            if self.snd_una != una {
                heard_at = Instant::now();
            } else if self.in_flight() > 0 && heard_at.elapsed() > LOST_AFTER {
                (self.snd_nxt, heard_at) = (self.snd_una, Instant::now());
            }
            if sent == 0 && self.snd_una == una {
                patience.wait();
            }
        }
        let took = start.elapsed();
        let end = self.segment(device.mac(), FIN | ACK, self.snd_nxt, 0, 0);
        put(device, &end, TxMeta::default());
        device.flush();
        Ok((frame.len(), acked * frame.len() as u64 / u64::from(data_len), took))
    }

    fn in_flight(&self) -> u32 {
        self.snd_nxt.wrapping_sub(self.snd_una)
    }

    /// What every data frame is: as large as the device takes it, and as much of it left to the device as that does. Where
    /// that does not sum, the sum of what never changes.
    fn full<D: Device>(&self, device: &D) -> (Vec<u8>, TxMeta, Option<Sum>) {
        let caps = device.caps();
        let is_cut = caps.offloads.contains(Offloads::TSO4);
        let packet_len = if is_cut { caps.tso_len_max.min(SUPER_LEN) } else { caps.mtu };
        let mut frame = self.segment(device.mac(), ACK, 0, 0, packet_len + ETHERNET_LEN - DATA);
        frame[ECHOED..ECHOED + 4].fill(0);
        frame[CHECKSUM..CHECKSUM + 2].fill(0);
        let mut sum = self.ends.pseudo_header(frame.len() - TCP);
        let is_summed = is_cut || caps.offloads.contains(Offloads::TX_CHECKSUM_TCP);
        if is_summed {
            frame[CHECKSUM..CHECKSUM + 2].copy_from_slice(&sum.value().to_be_bytes());
        } else {
            sum.add(&frame[TCP..]);
        }
        let checksum = is_summed.then_some(TxChecksum { start: TCP as u16, offset: 16 });
        let segment_len = (caps.mtu + ETHERNET_LEN - DATA) as u16;
        let segmentation =
            is_cut.then_some(TxSegmentation { segment_len, header_len: DATA as u16, ipv6: false });
        (frame, TxMeta { checksum, segmentation }, (!is_summed).then_some(sum))
    }

    /// Makes the frame the next one.
    fn turn(&self, frame: &mut [u8], base: Option<Sum>) {
        frame[SEQ..SEQ + 4].copy_from_slice(&self.snd_nxt.to_be_bytes());
        frame[ECHOED..ECHOED + 4].copy_from_slice(&self.ts_recent.to_be_bytes());
        if let Some(mut sum) = base {
            sum.add_u32(self.snd_nxt);
            sum.add_u32(self.ts_recent);
            frame[CHECKSUM..CHECKSUM + 2].copy_from_slice(&sum.checksum().to_be_bytes());
        }
    }

    /// A segment of `len` bytes, complete; with a largest segment it is a SYN's.
    fn segment(&self, mac: [u8; 6], flags: u8, seq: u32, mss: usize, len: usize) -> Vec<u8> {
        let options_len = if mss > 0 { SYN_OPTIONS_LEN } else { 0 };
        let tcp_len = DATA - TCP + options_len + len;
        let Ends { us, kernel } = self.ends;
        let mut tcp = Vec::with_capacity(tcp_len);
        tcp.extend(OUR_PORT.to_be_bytes());
        tcp.extend(kernel.port().to_be_bytes());
        tcp.extend(seq.to_be_bytes());
        tcp.extend(self.rcv_nxt.to_be_bytes());
        tcp.extend([((DATA - TCP + options_len) << 2) as u8, flags, 0xff, 0xff, 0, 0, 0, 0]);
        tcp.extend([1, 1, 8, 10, 0, 0, 0, 1]);
        tcp.extend(self.ts_recent.to_be_bytes());
        if mss > 0 {
            tcp.extend([2, 4]);
            tcp.extend((mss as u16).to_be_bytes());
            tcp.extend([1, 3, 3, WINDOW_SCALE]);
        }
        tcp.resize(tcp_len, 0x5a);
        let mut sum = self.ends.pseudo_header(tcp_len);
        sum.add(&tcp);
        tcp[16..18].copy_from_slice(&sum.checksum().to_be_bytes());
        let header = ipv4::Header {
            src: us,
            dst: *kernel.ip(),
            protocol: Protocol::TCP,
            ttl: 64,
            tos: 0,
            ident: 0,
            dont_fragment: true,
            more_fragments: false,
            fragment_offset: 0,
            payload_len: tcp_len as u16,
        };
        let link = ethernet::Header { dst: self.kernel_mac, src: Mac(mac), ethertype: EtherType::IPV4 };
        [&link.to_bytes()[..], &header.to_bytes(), &tcp].concat()
    }

    /// The TCP header of a frame, if the kernel sent it to us.
    fn tcp_of<'a>(&self, frame: &'a [u8]) -> Option<&'a [u8]> {
        let link = ethernet::parse(frame).ok()?;
        let packet = frame.get(ETHERNET_LEN..)?;
        let (header, at) =
            (link.ethertype == EtherType::IPV4).then(|| ipv4::parse(packet, packet.len()).ok())??;
        let tcp = packet.get(at..).filter(|tcp| tcp.len() >= 20)?;
        let is_ours = header.protocol == Protocol::TCP && header.dst == self.ends.us;
        (is_ours && be16(tcp, 2) == OUR_PORT).then_some(tcp)
    }

    /// The sequence number and the window's scale of a SYN-ACK.
    fn syn_ack(&mut self, frame: &[u8]) -> Option<(u32, u8)> {
        let tcp = self.tcp_of(frame).filter(|tcp| tcp[13] == SYN | ACK)?;
        let mut options = tcp.get(20..usize::from(tcp[12] >> 4) * 4)?;
        let mut shift = 0;
        while let [kind, rest @ ..] = options {
            options = match (kind, rest) {
                (1, rest) => rest,
                (0, _) | (_, [] | [0 | 1, ..]) => break,
                (3, [_, scale, ..]) => {
                    shift = *scale;
                    &rest[2..]
                }
                (8, [_, value @ ..]) if value.len() >= 8 => {
                    self.ts_recent = be32(value, 0);
                    &rest[9..]
                }
                (_, [len, ..]) => rest.get(usize::from(*len) - 1..).unwrap_or_default(),
            };
        }
        Some((be32(tcp, 4), shift))
    }

    /// An acknowledgement, or what else the kernel has to say.
    fn take(&mut self, frame: &[u8]) {
        let Some(tcp) = self.tcp_of(frame) else { return };
        self.is_reset |= tcp[13] & RST != 0;
        let ack = be32(tcp, 8);
        if tcp[13] & ACK == 0 || ack.wrapping_sub(self.snd_una) > self.in_flight() {
            return;
        }
        self.snd_una = ack;
        self.snd_wnd = u32::from(be16(tcp, 14)) << self.snd_wnd_shift;
        if tcp.len() >= 32 && tcp[20..24] == [1, 1, 8, 10] {
            self.ts_recent = be32(tcp, 24);
        }
    }
}

/// Asks who has the kernel's address, by which the kernel learns ours.
fn mac_of<D: Device>(device: &mut D, ends: Ends) -> Result<Mac> {
    let us = Mac(device.mac());
    let mut question =
        ethernet::Header { dst: Mac::BROADCAST, src: us, ethertype: EtherType::ARP }.to_bytes().to_vec();
    question.resize(ETHERNET_LEN + arp::LEN, 0);
    arp::Packet::request(us, ends.us, *ends.kernel.ip()).emit(&mut question[ETHERNET_LEN..]);
    until_answered(|| {
        put(device, &question, TxMeta::default());
        received(device, |frame| {
            let answer = arp::parse(frame.get(ETHERNET_LEN..)?).ok()?;
            let is_arp = ethernet::parse(frame).is_ok_and(|link| link.ethertype == EtherType::ARP);
            (is_arp && answer.sender_ip == *ends.kernel.ip()).then_some(answer.sender_mac)
        })
    })
}

/// Asks until there is an answer: the link may take a moment to come up.
fn until_answered<T>(mut ask: impl FnMut() -> Option<T>) -> Result<T> {
    (0..100).find_map(|_| ask()).ok_or_else(|| "the kernel does not answer at that address and port".into())
}

/// Waits a moment, and looks for something in what has come.
fn received<D: Device, T>(device: &mut D, mut find: impl FnMut(&[u8]) -> Option<T>) -> Option<T> {
    device.flush();
    std::thread::sleep(LOST_AFTER);
    let mut burst = Burst::new(64);
    device.receive(&mut burst);
    burst.drain().find_map(|(frame, _)| find(frame.bytes()))
}

/// Queues a copy. Whether there was room and memory for it.
fn put<D: Device>(device: &mut D, bytes: &[u8], meta: TxMeta) -> bool {
    if device.room() == 0 {
        return false;
    }
    let Some(mut frame) = device.alloc(bytes.len()) else { return false };
    let Some(out) = frame.extend(bytes.len()) else { return false };
    out.copy_from_slice(bytes);
    device.transmit(frame, meta);
    true
}

fn be16(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

fn be32(bytes: &[u8], at: usize) -> u32 {
    u32::from(be16(bytes, at)) << 16 | u32::from(be16(bytes, at + 2))
}
