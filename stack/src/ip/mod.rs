//! The pieces of the IP layer that stand alone: addresses, routes, neighbours, fragments both ways, rate limits.
//!
//! None of them knows frames' contents beyond its own header, sends anything or reads a clock: what is to be
//! done comes out as data.

pub mod address;
pub(crate) mod addresses;
pub(crate) mod discovered;
pub mod fragment;
pub(crate) mod idents;
pub mod limiter;
pub(crate) mod long_ones;
pub mod neighbor;
pub(crate) mod path_mtus;
pub mod reassembly;
pub mod route;
mod way;

pub use address::{Cidr, ParseCidrError, Source};
pub use addresses::AddressState;
pub(crate) use limiter::HostLimiter;
pub use limiter::Limiter;
pub use neighbor::{Evidence, NeighborId, Neighbors};
pub use reassembly::Reassembly;
pub use route::{NextHop, Route, RouteError, Routes};
pub use way::{Reach, Way};
