//! The states of a connection (RFC 9293 §3.3.2).

/// State of a TCP connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum State {
    /// No connection.
    #[default]
    Closed,
    /// Our SYN is out.
    SynSent,
    /// A SYN came and was answered; its acknowledgement is missing.
    SynReceived,
    /// Open both ways.
    Established,
    /// We closed; neither acknowledgement nor the peer's FIN is here.
    FinWait1,
    /// We closed and that is acknowledged; the peer may still send.
    FinWait2,
    /// The peer closed; we may still send.
    CloseWait,
    /// Both closed at once; the acknowledgement of our FIN is missing.
    Closing,
    /// The peer closed first, then we; the acknowledgement of our FIN is missing.
    LastAck,
    /// Both closed; waiting so that old segments die out.
    TimeWait,
}

impl State {
    /// Whether both sides know each other's sequence numbers.
    #[inline]
    pub fn is_synchronized(self) -> bool {
        !matches!(self, State::Closed | State::SynSent | State::SynReceived)
    }

    /// Whether the peer may still send data.
    #[inline]
    pub fn can_receive(self) -> bool {
        matches!(self, State::Established | State::FinWait1 | State::FinWait2)
    }

    /// Whether the application may still send data (queued until the handshake is over).
    #[inline]
    pub fn can_send(self) -> bool {
        matches!(self, State::SynSent | State::SynReceived | State::Established | State::CloseWait)
    }
}
