//! Deterministic simulation: the real executor, the real stack and the application itself, on virtual time, over bad
//! networks, from one seed.
//!
//! Nothing of the production path is replaced but the clock, the sleep and the links. A simulated hour of an idle
//! connection costs milliseconds, a transfer over a network that loses, doubles, reorders and damages frames not much
//! more, and the same seed brings the same bytes at the same nanosecond.
//!
//! ```
//! use hayase::net::{TcpListener, TcpStream};
//! use hayase_sim::Sim;
//!
//! Sim::builder().seeds(20).run(|sim| async move {
//!     let listener = sim.server().scope(TcpListener::bind("10.7.0.2:7")).await?;
//!     sim.server().spawn(async move {
//!         let (mut stream, _) = listener.accept().await.unwrap();
//!         let mut buf = [0; 64];
//!         while let Ok(len @ 1..) = stream.read(&mut buf).await {
//!             stream.write_all(&buf[..len]).await.unwrap();
//!         }
//!     });
//!     let mut stream = TcpStream::connect("10.7.0.2:7").await?;
//!     stream.write_all(b"through thick and thin").await?;
//!     let mut reply = [0; 22];
//!     stream.read_exact(&mut reply).await?;
//!     assert_eq!(&reply, b"through thick and thin");
//!     std::io::Result::Ok(())
//! }).unwrap();
//! ```
//!
//! or, as a test, `#[hayase::test(sim, seeds = 100)]`.
//!
//! A failure prints the seed: `HAYASE_SIM_SEED=17 cargo test name` replays it. What each host saw is written as pcap.
//!
//! - [`Sim`] and its [`Builder`]; [`Link`], [`Topology`] and [`Cable`]: the network, and its faults.
//! - [`Flow`]: bytes that are checked on arrival. [`TcpForge`]: packets of attackers. [`Random`]: chance.
//! - [`storm`]: random worlds with random faults.
//! - [`VirtualWire`]: two hosts on the in-memory wire with nobody watching, for measurements that repeat themselves.
//!
//! Rules that hold in every simulation are always watched: acknowledged is only what arrived, windows never shrink, no
//! connection forgets what it has outstanding, counters add up, memory stays within its budget, and at the end every
//! timer has run out and every frame is home.
//!
//! What is not simulated: several cores, hardware, the time that code takes. `std::time` and threads are real, so a
//! program that uses them does not repeat itself; neither does one that walks over a `HashMap`.
#![forbid(unsafe_code)]

mod builder;
mod capture;
mod failure;
mod flow;
mod forge;
mod link;
mod network;
mod oracle;
mod packet;
mod pipe;
mod random;
mod sim;
mod station;
pub mod storm;
mod topology;
mod trace;
mod wire;
mod world;

pub use builder::{Builder, Outcome};
pub use flow::Flow;
pub use forge::TcpForge;
pub use link::{BurstLoss, Link};
pub use pipe::PipeStats;
pub use random::Random;
pub use sim::{Cable, Sim};
pub use topology::{Node, Topology, Wiring};
pub use trace::Trace;
pub use wire::VirtualWire;
