//! Which core serves a new connection.

/// Which core's listener gets a new connection: see [`Builder::accept`](crate::Builder::accept).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AcceptPolicy {
    /// The one to which the NIC, or the steering in its place, brings the connection's frames. Costs nothing.
    #[default]
    Local,
    /// The next one, in turn, of those that listen at the port.
    RoundRobin,
    /// Of those that listen at the port, the one with the fewest connections.
    LeastLoaded,
}
