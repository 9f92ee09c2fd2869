//! ICMP for both IP versions: echo, errors received, errors sent.

use alloc::vec::Vec;
use core::net::IpAddr;

use hayase_device::checksum::Sum;
use hayase_device::{Device, Frame, TxMeta};
use hayase_time::Instant;

use crate::chain;
use crate::counters::{Count, Drop};
use crate::echo::EchoReply;
use crate::egress::{Envelope, Fit, network_len, to_v6};
use crate::error::Error;
use crate::hearsay::{Claim, Hearsay, Quoted, Rumour};
use crate::ingress::{Packet, from};
use crate::ip::address::ALL_NODES;
use crate::stack::Stack;
use crate::tcp::icmp::Trouble;
use crate::wire::icmpv4::{self, Echo};
use crate::wire::{Protocol, WireError, icmpv6, ipv4, ipv6, mld, pseudo_header, udp};

/// What we tell the sender of a packet that we could not use.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Complaint {
    Port,
    Protocol,
    ReassemblyTimeout,
    /// IPv6 only.
    Parameter(icmpv6::ParameterProblem, u32),
}

/// Bytes of a complaint about the quoted packet: as many as IPv6's minimum MTU has room for.
const QUOTE_LEN_MAX: usize = icmpv6::QUOTE_LEN_MAX;

impl<F: Frame> Stack<F> {
    pub(crate) fn receive_icmpv4<D: Device<Frame = F>>(
        &mut self,
        now: Instant,
        packet: Packet,
        frame: F,
        device: &mut D,
    ) -> Result<(), Drop> {
        self.counters.count(Count::IcmpIn);
        let mut sum = Sum::default();
        from(&frame, packet.offset).for_each(|bytes| sum.add(bytes));
        let bytes = frame.bytes().get(packet.offset..).ok_or(Drop::IcmpInvalid)?;
        let message = icmpv4::parse(bytes, sum).map_err(icmp_error)?;
        let quote = &bytes[icmpv4::LEN..];
        match message {
            icmpv4::Message::EchoRequest(echo) => {
                self.answer_echo(now, &packet, echo, icmpv4::LEN, &frame, device)
            }
            icmpv4::Message::EchoReply(echo) => self.take_echo_reply(&packet, echo, frame.total_len()),
            icmpv4::Message::Unreachable(why) => self.take_quote_v4(now, quote, trouble_v4(why)),
            icmpv4::Message::TimeExceeded(_) | icmpv4::Message::ParameterProblem { .. } => {
                self.take_quote_v4(now, quote, Trouble::Soft(Error::HostUnreachable))
            }
        }
    }

    pub(crate) fn receive_icmpv6<D: Device<Frame = F>>(
        &mut self,
        now: Instant,
        packet: Packet,
        header: &ipv6::Header,
        frame: F,
        device: &mut D,
    ) -> Result<(), Drop> {
        self.counters.count(Count::IcmpIn);
        let len = frame.total_len() - packet.offset.min(frame.total_len());
        let mut sum = pseudo_header(packet.src, packet.dst, Protocol::ICMPV6, len);
        from(&frame, packet.offset).for_each(|bytes| sum.add(bytes));
        let bytes = frame.bytes().get(packet.offset..).ok_or(Drop::IcmpInvalid)?;
        let message = icmpv6::parse(bytes, sum, header).map_err(|error| match error {
            WireError::HopLimit | WireError::OptionLength | WireError::Address => Drop::Ipv6NdiscBad,
            error => icmp_error(error),
        })?;
        if packet.was_fragment && matches!(message, icmpv6::Message::Ndp(_)) {
            // RFC 6980 §5: what guards a link against forgeries looks at whole packets.
            return Err(Drop::Ipv6NdiscBad);
        }
        // Neighbour discovery comes from nobody when an address is tried, and from our own address when another host
        // has it.
        let is_strange = header.src.is_unspecified() || self.link.is_martian(packet.src);
        if is_strange && !matches!(message, icmpv6::Message::Ndp(_)) {
            return Err(Drop::IpInvalidSource);
        }
        let quote = bytes.get(icmpv6::LEN..).unwrap_or(&[]);
        match message {
            icmpv6::Message::EchoRequest(echo) => {
                self.answer_echo(now, &packet, echo, icmpv6::LEN, &frame, device)
            }
            icmpv6::Message::EchoReply(echo) => self.take_echo_reply(&packet, echo, frame.total_len()),
            icmpv6::Message::Unreachable(why) => self.take_quote_v6(now, quote, trouble_v6(why)),
            icmpv6::Message::PacketTooBig { mtu } => {
                self.take_quote_v6(now, quote, Trouble::TooBig { mtu: mtu as usize })
            }
            icmpv6::Message::TimeExceeded(_) | icmpv6::Message::ParameterProblem { .. } => {
                self.take_quote_v6(now, quote, Trouble::Soft(Error::HostUnreachable))
            }
            icmpv6::Message::Query(_) if !mld::has_router_alert(frame.bytes()) => Err(Drop::Ipv6NdiscBad),
            icmpv6::Message::Query(query) => self.receive_query(now, query),
            icmpv6::Message::Ndp(message) => self.receive_ndp(now, header, &message, device),
        }
    }

    /// RFC 1122 §3.2.2.6, RFC 4443 §4.2. Of what many get, only questions to all nodes of IPv6's link are answered, as often as
    /// errors are sent: who asks in another's name has all of them answer that.
    fn answer_echo<D: Device<Frame = F>>(
        &mut self,
        now: Instant,
        packet: &Packet,
        echo: Echo,
        header_len: usize,
        frame: &F,
        device: &mut D,
    ) -> Result<(), Drop> {
        let src = self.who_answers_echo(now, packet)?;
        let body_at = packet.offset + header_len;
        let body_len = frame.total_len() - body_at;
        let mut sum = match packet.src {
            IpAddr::V4(_) => Sum::default(),
            IpAddr::V6(_) => pseudo_header(src, packet.src, Protocol::ICMPV6, header_len + body_len),
        };
        from(frame, body_at).for_each(|bytes| sum.add(bytes));
        let head = match packet.src {
            IpAddr::V4(_) => icmpv4::Message::EchoReply(echo).to_bytes(sum),
            IpAddr::V6(_) => icmpv6::Message::EchoReply(echo).to_bytes(sum),
        };
        let envelope =
            Envelope { src, dst: packet.src, protocol: packet.protocol, ttl: self.config.ttl, tos: 0 };
        let mut egress = self.egress(now, device);
        let sent = egress.datagram(
            envelope,
            &head,
            from(frame, body_at),
            body_len,
            (TxMeta::default(), Fit::AsEver),
        );
        sent.map_err(|_| Drop::FullRing)?;
        egress.counters.count(Count::IcmpOut);
        egress.link.note_echo(packet.src, network_len(src) + header_len + body_len, now);
        Ok(())
    }

    /// The address of ours that an echo request is answered from.
    fn who_answers_echo(&mut self, now: Instant, packet: &Packet) -> Result<IpAddr, Drop> {
        if !packet.is_group {
            return Ok(packet.dst);
        }
        if packet.dst != IpAddr::V6(ALL_NODES) {
            return Err(Drop::IcmpUnhandled);
        }
        let src = self.link.source_for(packet.src).map_err(|_| Drop::NoRoute)?;
        if self.icmp_limit.allow(packet.src, now) { Ok(src) } else { Err(Drop::IcmpRateLimit) }
    }

    fn take_echo_reply(&mut self, packet: &Packet, echo: Echo, total_len: usize) -> Result<(), Drop> {
        let reply = EchoReply {
            from: packet.src,
            sequence: echo.sequence,
            len: total_len - packet.offset - icmpv4::LEN,
            ttl: packet.ttl,
        };
        if self.echoes.receive(echo.ident, Ok(reply)) { Ok(()) } else { Err(Drop::IcmpUnrelated) }
    }

    fn take_quote_v4(&mut self, now: Instant, quote: &[u8], trouble: Trouble) -> Result<(), Drop> {
        let (header, header_len) = ipv4::parse_quote(quote).map_err(|_| Drop::IcmpInvalid)?;
        // RFC 1191 §5: routers before it say 0; RFC 1122's smallest common size is the safe guess.
        let trouble = match trouble {
            Trouble::TooBig { mtu: 0 } => Trouble::TooBig { mtu: 576 },
            other => other,
        };
        if header.fragment_offset > 0 {
            // It says nothing of whose it is; the first fragment draws an error as well.
            return Err(Drop::IcmpUnrelated);
        }
        let ends = (IpAddr::V4(header.src), IpAddr::V4(header.dst));
        self.take_quote(now, ends, header.protocol, &quote[header_len..], trouble)
    }

    fn take_quote_v6(&mut self, now: Instant, quote: &[u8], trouble: Trouble) -> Result<(), Drop> {
        let (header, extensions) = ipv6::parse_quote(quote).map_err(|_| Drop::IcmpInvalid)?;
        if extensions.fragment.is_some_and(|fragment| fragment.offset > 0) {
            return Err(Drop::IcmpUnrelated);
        }
        // What fits was not refused: whoever says so guesses.
        let len = ipv6::LEN + usize::from(header.payload_len);
        if matches!(trouble, Trouble::TooBig { mtu } if len <= mtu) {
            return Err(Drop::IcmpUnrelated);
        }
        let ends = (IpAddr::V6(header.src), IpAddr::V6(header.dst));
        let rest = quote.get(extensions.offset..).ok_or(Drop::IcmpInvalid)?;
        self.take_quote(now, ends, extensions.protocol, rest, trouble)
    }

    /// An error about a packet of ours goes to the socket that sent it (MUST-54).
    fn take_quote(
        &mut self,
        now: Instant,
        (local, remote): (IpAddr, IpAddr),
        protocol: Protocol,
        quote: &[u8],
        trouble: Trouble,
    ) -> Result<(), Drop> {
        if !self.link.is_for_us(local) {
            return Err(Drop::IcmpUnrelated);
        }
        if remote.is_ipv4() && protocol != Protocol::TCP && matches!(trouble, Trouble::TooBig { .. }) {
            // Routers cut what is too long of these.
            return Err(Drop::IcmpUnrelated);
        }
        let is_ours = match protocol {
            Protocol::TCP => {
                let books = (&mut self.counters, &self.config);
                self.tcp.icmp_error(now, (local, remote), quote, trouble, books)
            }
            Protocol::UDP => self.take_udp_quote(now, (local, remote), quote, trouble),
            Protocol::ICMPV4 | Protocol::ICMPV6 => self.take_echo_quote(now, remote, quote, trouble),
            _ => false,
        };
        if is_ours { Ok(()) } else { Err(Drop::IcmpUnrelated) }
    }

    fn take_udp_quote(
        &mut self,
        now: Instant,
        (local, remote): (IpAddr, IpAddr),
        quote: &[u8],
        trouble: Trouble,
    ) -> bool {
        let Some([a, b, c, d, ..]) = quote.first_chunk::<{ udp::LEN }>() else { return false };
        let local = (local, u16::from_be_bytes([*a, *b])).into();
        let remote = (remote, u16::from_be_bytes([*c, *d])).into();
        match trouble {
            Trouble::Hard(error) | Trouble::Soft(error) => self.udp.icmp_error(local, remote, error),
            Trouble::TooBig { mtu } => {
                self.udp.may_have_sent(local, remote)
                    && self.take_too_big(now, Claim { quoted: Quoted::Datagram { local, remote }, mtu })
            }
        }
    }

    fn take_echo_quote(&mut self, now: Instant, remote: IpAddr, quote: &[u8], trouble: Trouble) -> bool {
        let Some([kind, _, _, _, a, b, _, _]) = quote.first_chunk::<8>() else { return false };
        let ident = u16::from_be_bytes([*a, *b]);
        let is_request = *kind == if remote.is_ipv4() { icmpv4::ECHO_REQUEST } else { icmpv6::ECHO_REQUEST };
        let is_reply = remote.is_ipv6() && *kind == icmpv6::ECHO_REPLY;
        match trouble {
            Trouble::Hard(error) | Trouble::Soft(error) => {
                is_request && self.echoes.receive(ident, Err(error))
            }
            // Of what we answer, only the path is remembered.
            Trouble::TooBig { mtu } => {
                (is_reply || is_request && self.echoes.has_asked(ident))
                    && self.take_too_big(now, Claim { quoted: Quoted::Echo { remote: to_v6(remote) }, mtu })
            }
        }
    }

    /// Somebody says that a packet of ours was too long for a link on its way. If this stack has sent none, another of the
    /// host's may have: who hears of it is chosen by what was sent, or, of echo replies, by who complains.
    fn take_too_big(&mut self, now: Instant, claim: Claim) -> bool {
        let is_true = self.judge_too_big(now, claim);
        if !is_true {
            self.heard.note(Hearsay(Rumour::TooBig(claim)));
        }
        is_true
    }

    /// Whether this stack has sent such a packet lately. Then later ones go in shorter fragments (RFC 8201 §4). Who wrote it learns
    /// nothing, as if it had got lost.
    pub(crate) fn judge_too_big(&mut self, now: Instant, claim: Claim) -> bool {
        let mtu = claim.mtu;
        let (protocol, remote, was_sent) = match claim.quoted {
            Quoted::Datagram { local, remote } => {
                (Protocol::UDP, to_v6(remote.ip()), self.udp.has_sent_longer((local, remote), mtu, now))
            }
            Quoted::Echo { remote } => {
                (Protocol::ICMPV6, remote, self.link.has_echoed_longer(remote, mtu, now))
            }
        };
        if was_sent && self.link.path_mtus(protocol).lower(remote, mtu, now) {
            self.heard.note(Hearsay(Rumour::PathMtu { protocol, remote, mtu }));
        }
        was_sent
    }

    /// A packet of ours that could not even leave the link: its next hop does not answer.
    pub(crate) fn unreachable(&mut self, now: Instant, packet: &[u8]) {
        let trouble = Trouble::Hard(Error::HostUnreachable);
        let result = match packet.first().map(|first| first >> 4) {
            Some(4) => self.take_quote_v4(now, packet, trouble),
            _ => self.take_quote_v6(now, packet, trouble),
        };
        // Nobody waits for what was sent by nobody, a reset for example.
        result.unwrap_or_default();
    }

    /// Sends an ICMP error about a packet, whose IP header `frame` starts with, where the rules allow it
    /// (RFC 1122 §3.2.2, RFC 4443 §2.4(e)).
    pub(crate) fn complain<D: Device<Frame = F>>(
        &mut self,
        now: Instant,
        complaint: Complaint,
        frame: &F,
        device: &mut D,
    ) {
        let ends = match frame.next() {
            None => self.may_complain(complaint, frame.bytes()),
            Some(_) => self.may_complain(complaint, &quote_of(frame)),
        };
        let Some((src, dst)) = ends else { return };
        if !self.icmp_limit.allow(src, now) {
            return self.counters.drop(Drop::IcmpRateLimit);
        }
        let mut quote = quote_of(frame);
        let (head, protocol) = match (src, dst) {
            (IpAddr::V4(_), _) => {
                quote.truncate(icmpv4::QUOTE_LEN_MAX);
                let mut sum = Sum::default();
                sum.add(&quote);
                (complaint.message_v4().to_bytes(sum), Protocol::ICMPV4)
            }
            (IpAddr::V6(_), _) => {
                let mut sum = pseudo_header(dst, src, Protocol::ICMPV6, icmpv6::LEN + quote.len());
                sum.add(&quote);
                (complaint.message_v6().to_bytes(sum), Protocol::ICMPV6)
            }
        };
        let envelope = Envelope { src: dst, dst: src, protocol, ttl: self.config.ttl, tos: 0 };
        let mut egress = self.egress(now, device);
        let body = core::iter::once(&quote[..]);
        match egress.datagram(envelope, &head, body, quote.len(), (TxMeta::default(), Fit::AsEver)) {
            Ok(()) => egress.counters.count(Count::IcmpOut),
            Err(_) => egress.counters.drop(Drop::FullRing),
        }
    }

    /// Who sent the packet and which address of ours answers; `None` where no error may be sent.
    fn may_complain(&self, complaint: Complaint, packet: &[u8]) -> Option<(IpAddr, IpAddr)> {
        let (src, dst, is_exempt) = match packet.first()? >> 4 {
            4 => {
                let (header, _) = ipv4::parse_quote(packet).ok()?;
                let is_error = header.protocol == Protocol::ICMPV4 && icmpv4::is_error(packet);
                let has_group = self.link.is_broadcast(header.src) || self.link.is_broadcast(header.dst);
                let is_exempt = is_error || has_group || header.fragment_offset > 0;
                (IpAddr::V4(header.src), IpAddr::V4(header.dst), is_exempt)
            }
            _ => {
                let (header, _) = ipv6::parse_quote(packet).ok()?;
                (IpAddr::V6(header.src), IpAddr::V6(header.dst), icmpv6::is_error(packet))
            }
        };
        if is_exempt || !self.link.is_host_source(src) || self.link.is_martian(src) {
            return None;
        }
        // Of parameters in what went to a group only the exceptions of RFC 4443 §2.4(e.3) come here.
        if dst.is_multicast() && !matches!(complaint, Complaint::Parameter(..)) {
            return None;
        }
        let answer = if self.link.is_for_us(dst) { dst } else { self.link.source_for(src).ok()? };
        Some((src, answer))
    }
}

impl Complaint {
    fn message_v4(self) -> icmpv4::Message {
        match self {
            Complaint::Port => icmpv4::Message::Unreachable(icmpv4::Unreachable::Port),
            Complaint::Protocol | Complaint::Parameter(..) => {
                icmpv4::Message::Unreachable(icmpv4::Unreachable::Protocol)
            }
            Complaint::ReassemblyTimeout => icmpv4::Message::TimeExceeded(icmpv4::TimeExceeded::Reassembly),
        }
    }

    fn message_v6(self) -> icmpv6::Message {
        match self {
            Complaint::Port | Complaint::Protocol => icmpv6::Message::Unreachable(icmpv6::Unreachable::Port),
            Complaint::ReassemblyTimeout => icmpv6::Message::TimeExceeded(icmpv4::TimeExceeded::Reassembly),
            Complaint::Parameter(code, pointer) => icmpv6::Message::ParameterProblem { code, pointer },
        }
    }
}

/// As much of a packet as an error quotes.
fn quote_of<F: Frame>(frame: &F) -> Vec<u8> {
    let mut quote = alloc::vec![0; frame.total_len().min(QUOTE_LEN_MAX)];
    chain::copy(frame, 0, &mut quote);
    quote
}

/// The header of an echo request.
pub(crate) fn echo_request(
    src: IpAddr,
    dst: IpAddr,
    ident: u16,
    sequence: u16,
    payload: &[u8],
) -> [u8; icmpv4::LEN] {
    let echo = Echo { ident, sequence };
    let mut sum = match dst {
        IpAddr::V4(_) => Sum::default(),
        IpAddr::V6(_) => pseudo_header(src, dst, Protocol::ICMPV6, icmpv6::LEN + payload.len()),
    };
    sum.add(payload);
    match dst {
        IpAddr::V4(_) => icmpv4::Message::EchoRequest(echo).to_bytes(sum),
        IpAddr::V6(_) => icmpv6::Message::EchoRequest(echo).to_bytes(sum),
    }
}

fn trouble_v4(why: icmpv4::Unreachable) -> Trouble {
    match why {
        icmpv4::Unreachable::Port | icmpv4::Unreachable::Protocol => Trouble::Hard(Error::ConnectionRefused),
        icmpv4::Unreachable::Net => Trouble::Soft(Error::NetworkUnreachable),
        icmpv4::Unreachable::FragmentationNeeded { mtu } => Trouble::TooBig { mtu: usize::from(mtu) },
        icmpv4::Unreachable::Host | icmpv4::Unreachable::Other(_) => Trouble::Soft(Error::HostUnreachable),
    }
}

fn trouble_v6(why: icmpv6::Unreachable) -> Trouble {
    match why {
        icmpv6::Unreachable::Port => Trouble::Hard(Error::ConnectionRefused),
        icmpv6::Unreachable::NoRoute => Trouble::Soft(Error::NetworkUnreachable),
        _ => Trouble::Soft(Error::HostUnreachable),
    }
}

fn icmp_error(error: WireError) -> Drop {
    match error {
        WireError::Checksum => Drop::IcmpCsum,
        WireError::MessageType => Drop::IcmpUnhandled,
        _ => Drop::IcmpInvalid,
    }
}
