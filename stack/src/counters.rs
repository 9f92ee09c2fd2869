//! What happened, counted: events under Linux's MIB names, drops under the names of its drop reasons.

macro_rules! counters {
    ($(#[$doc:meta])* $name:ident { $($(#[$item_doc:meta])* $item:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum $name {
            $($(#[$item_doc])* $item,)*
        }

        impl $name {
            /// All of them, in the order in which they are shown.
            pub const ALL: &[$name] = &[$($name::$item),*];

            /// The name under which it is shown.
            pub const fn name(self) -> &'static str {
                match self {
                    $($name::$item => $text,)*
                }
            }
        }
    };
}

counters! {
    /// An event.
    Count {
        /// Frames handed to the stack.
        InReceives = "IpInReceives",
        /// Segments that met congestion on their way (RFC 3168).
        InCePkts = "IpExtInCEPkts",
        /// Connections opened by us.
        ActiveOpens = "TcpActiveOpens",
        /// Connections accepted by a listener.
        PassiveOpens = "TcpPassiveOpens",
        /// Connection attempts that failed.
        AttemptFails = "TcpAttemptFails",
        /// Established connections that were reset.
        EstabResets = "TcpEstabResets",
        /// Segments received.
        InSegs = "TcpInSegs",
        /// Segments sent, pure ACKs included.
        OutSegs = "TcpOutSegs",
        /// Segments retransmitted.
        RetransSegs = "TcpRetransSegs",
        /// Resets sent.
        OutRsts = "TcpOutRsts",
        /// Retransmission timeouts.
        Timeouts = "TcpExtTCPTimeouts",
        /// Fast recoveries begun by SACK or duplicate ACKs.
        FastRetrans = "TcpExtTCPFastRetrans",
        /// Times that the window became smaller because the peer echoed a mark (RFC 3168).
        EcnReductions = "TcpExtTCPEcnReductions",
        /// Longer segments that were sent to see whether they pass, and did (RFC 4821).
        MtupSuccess = "TcpExtTCPMTUPSuccess",
        /// Longer segments that did not pass.
        MtupFail = "TcpExtTCPMTUPFail",
        /// Connections opened by us whose data was acknowledged with the SYN (RFC 7413).
        FastOpenActive = "TcpExtTCPFastOpenActive",
        /// The same where it was not.
        FastOpenActiveFail = "TcpExtTCPFastOpenActiveFail",
        /// SYNs that showed a good cookie.
        FastOpenPassive = "TcpExtTCPFastOpenPassive",
        /// SYNs that showed a bad one.
        FastOpenPassiveFail = "TcpExtTCPFastOpenPassiveFail",
        /// SYNs with a good cookie that had to wait for the handshake, since too many others had not.
        FastOpenListenOverflow = "TcpExtTCPFastOpenListenOverflow",
        /// SYNs that asked for a cookie.
        FastOpenCookieReqd = "TcpExtTCPFastOpenCookieReqd",
        /// SYNs with the option that got lost, where those without it arrived.
        FastOpenBlackhole = "TcpExtTCPFastOpenBlackhole",
        /// Tail loss probes sent (RFC 8985 §7).
        LossProbes = "TcpExtTCPLossProbes",
        /// Losses that a tail loss probe repaired.
        LossProbeRecovery = "TcpExtTCPLossProbeRecovery",
        /// Duplicates that peers reported (RFC 2883).
        DsackRecv = "TcpExtTCPDSACKRecv",
        /// Recoveries undone because all that was sent again had arrived twice.
        DsackUndo = "TcpExtTCPDSACKUndo",
        /// Fast recoveries undone because the first transmission had arrived.
        FullUndo = "TcpExtTCPFullUndo",
        /// Retransmission timeouts undone because the first transmission had arrived (RFC 3522).
        SpuriousRtos = "TcpExtTCPSpuriousRTOs",
        /// Zero-window probes sent.
        WinProbe = "TcpExtTCPWinProbe",
        /// Keep-alive probes sent.
        KeepAlive = "TcpExtTCPKeepAlive",
        /// ACKs that were delayed until their timer ran out.
        DelayedAcks = "TcpExtDelayedACKs",
        /// Challenge ACKs (RFC 5961).
        ChallengeAck = "TcpExtTCPChallengeACK",
        /// SYNs answered by a cookie (RFC 4987).
        SyncookiesSent = "TcpExtSyncookiesSent",
        /// Connections opened by a cookie that came back.
        SyncookiesRecv = "TcpExtSyncookiesRecv",
        /// Acknowledgements that were no cookie, while cookies were expected.
        SyncookiesFailed = "TcpExtSyncookiesFailed",
        /// Segments kept out of order.
        OfoQueue = "TcpExtTCPOFOQueue",
        /// Pieces of segments that were kept out of order and went again, since too much was held.
        OfoPruned = "TcpExtOfoPruned",
        /// Segments out of order that were not kept, since too much was held.
        OfoDrop = "TcpExtTCPOFODrop",
        /// Segments in order that were not kept for the same reason.
        RcvQDrop = "TcpExtTCPRcvQDrop",
        /// Connections aborted because too much was held, by them and others, and their peers took none of it.
        AbortOnMemory = "TcpExtTCPAbortOnMemory",
        /// TIME_WAIT connections taken over by a newer SYN.
        TwRecycled = "TcpExtTWRecycled",
        /// UDP datagrams received.
        UdpIn = "UdpInDatagrams",
        /// UDP datagrams sent.
        UdpOut = "UdpOutDatagrams",
        /// ICMP messages received.
        IcmpIn = "IcmpInMsgs",
        /// ICMP messages sent.
        IcmpOut = "IcmpOutMsgs",
        /// Packets put together again.
        ReasmOks = "IpReasmOKs",
        /// Packets sent in fragments.
        FragOks = "IpFragOKs",
    }
}

counters! {
    /// Why a frame, packet, segment or datagram was thrown away.
    Drop {
        /// Shorter than its headers say.
        PktTooSmall = "PKT_TOO_SMALL",
        /// The Ethernet destination is another host.
        OtherHost = "OTHERHOST",
        /// It is of another VLAN, or of none where there should be one.
        OtherVlan = "OTHERVLAN",
        /// An EtherType nobody here speaks.
        UnhandledProto = "UNHANDLED_PROTO",
        /// Somebody else claims an address of ours, by ARP or neighbour discovery.
        AddrConflict = "ADDR_CONFLICT",
        /// A malformed ARP packet.
        ArpInvalid = "ARP_INVALID",
        /// A malformed IP header.
        IpInHdr = "IP_INHDR",
        /// A wrong IPv4 header checksum.
        IpCsum = "IP_CSUM",
        /// A source address that no packet may carry.
        IpInvalidSource = "IP_INVALID_SOURCE",
        /// The IP destination is not ours.
        IpInAddr = "IP_INADDRERRORS",
        /// A transport protocol nobody here speaks.
        IpNoProto = "IP_NOPROTO",
        /// An IPv6 option or extension header that asks to be refused.
        Ipv6BadExthdr = "IPV6_BAD_EXTHDR",
        /// A fragment that does not fit the others.
        FragInvalid = "FRAG_INVALID",
        /// Fragments over the budget, or evicted by newer ones.
        FragBudget = "FRAG_TOO_FAR",
        /// Fragments whose packet was never completed.
        FragTimeout = "FRAG_REASM_TIMEOUT",
        /// A malformed ICMP message.
        IcmpInvalid = "ICMP_INVALID",
        /// A wrong ICMP checksum.
        IcmpCsum = "ICMP_CSUM",
        /// An ICMP message that asks nothing of us.
        IcmpUnhandled = "ICMP_UNHANDLED",
        /// An ICMP error that quotes nothing of ours.
        IcmpUnrelated = "ICMP_UNRELATED",
        /// An ICMP message that the rate limit held back.
        IcmpRateLimit = "ICMP_RATELIMIT",
        /// A message of neighbour discovery or multicast listener discovery that breaks the rules of RFC 4861 or RFC 3810.
        Ipv6NdiscBad = "IPV6_NDISC_BAD",
        /// A router that tells of more routers, prefixes or addresses than are kept.
        RouterBudget = "IPV6_ROUTER_BUDGET",
        /// A malformed UDP header.
        UdpInvalid = "UDP_INVALID",
        /// A wrong UDP checksum.
        UdpCsum = "UDP_CSUM",
        /// No socket for this datagram or segment.
        NoSocket = "NO_SOCKET",
        /// The socket's receive buffer is full.
        SocketRcvbuff = "SOCKET_RCVBUFF",
        /// More is held for sockets than the device can spare.
        ProtoMem = "PROTO_MEM",
        /// It waited behind a hole, and what is held for sockets became too much.
        TcpOfoQueuePrune = "TCP_OFO_QUEUE_PRUNE",
        /// A malformed TCP header.
        TcpInvalid = "TCP_INVALID",
        /// A wrong TCP checksum.
        TcpCsum = "TCP_CSUM",
        /// Flags that make no sense in the connection's state.
        TcpFlags = "TCP_FLAGS",
        /// Outside the receive window.
        TcpInvalidSequence = "TCP_INVALID_SEQUENCE",
        /// Data that was here before.
        TcpOldData = "TCP_OLD_DATA",
        /// Data beyond what the window or the out-of-order budget holds.
        TcpOverwindow = "TCP_OVERWINDOW",
        /// The timestamp is older than one already seen (PAWS, RFC 7323 §5).
        TcpPaws = "TCP_RFC7323_PAWS",
        /// A reset that does not fit the window (RFC 5961 §3).
        TcpInvalidRst = "TCP_RESET",
        /// A SYN on a synchronized connection (RFC 5961 §4).
        TcpInvalidSyn = "TCP_INVALID_SYN",
        /// An ACK of what was never sent, or of long ago (RFC 5961 §5).
        TcpInvalidAck = "TCP_INVALID_ACK_SEQUENCE",
        /// The connection is closed and wants no data.
        TcpClose = "TCP_CLOSE",
        /// The listener's accept queue is full.
        ListenOverflow = "TCP_LISTEN_OVERFLOW",
        /// An old half-open connection made room for a newer one.
        SynQueueOverflow = "TCP_REQQ_OVERFLOW",
        /// The limit on connections is reached.
        TooManySockets = "TOO_MANY_SOCKETS",
        /// No buffer left in the pool.
        NoMem = "NOMEM",
        /// The device's transmit queue is full.
        FullRing = "FULL_RING",
        /// No route to the destination.
        NoRoute = "IP_OUTNOROUTES",
        /// The next hop does not answer, or too many packets wait for it.
        NeighUnresolved = "NEIGH_FAILED",
    }
}

/// All counters of a stack.
#[derive(Debug, Clone)]
pub struct Counters {
    counts: [u64; Count::ALL.len()],
    drops: [u64; Drop::ALL.len()],
}

impl Default for Counters {
    fn default() -> Counters {
        Counters { counts: [0; Count::ALL.len()], drops: [0; Drop::ALL.len()] }
    }
}

impl Counters {
    /// Counts an event.
    #[inline]
    pub(crate) fn count(&mut self, count: Count) {
        self.counts[count as usize] += 1;
    }

    /// Counts so many at once.
    #[inline]
    pub(crate) fn add(&mut self, count: Count, number: u64) {
        self.counts[count as usize] += number;
    }

    /// Counts a drop.
    #[inline]
    pub(crate) fn drop(&mut self, reason: Drop) {
        self.drops[reason as usize] += 1;
    }

    /// Counts so many drops at once.
    pub(crate) fn add_drops(&mut self, reason: Drop, number: u64) {
        self.drops[reason as usize] += number;
    }

    /// How often the event happened.
    pub fn get(&self, count: Count) -> u64 {
        self.counts[count as usize]
    }

    /// How often something was dropped for this reason.
    pub fn dropped(&self, reason: Drop) -> u64 {
        self.drops[reason as usize]
    }

    /// Every counter and its name: events first, then drops.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        let counts = Count::ALL.iter().map(|count| (count.name(), self.get(*count)));
        counts.chain(Drop::ALL.iter().map(|reason| (reason.name(), self.dropped(*reason))))
    }
}
