//! What lets hyper, and what is built on it, run on Hayase.
//!
//! - [`HayaseIo`] makes a `hayase::net::TcpStream` (or a half, or a `hayase::io::BufReader`) a
//!   `hyper::rt::Read` and `Write`;
//!   [`FuturesIo`] does so for anything with the traits of `futures::io`, a TLS stream for example.
//! - [`HayaseExecutor`] runs hyper's tasks, [`HayaseTimer`] its timers.
//! - With the feature `client`, `HayaseConnector` opens connections for hyper-util's pooled client and for tonic's channels.
//!
//! ```no_run
//! use hayase_compat::{HayaseIo, HayaseTimer};
//! use hyper::server::conn::http1;
//! # use hyper::{Request, Response, body::Incoming};
//! # async fn hello(_: Request<Incoming>) -> Result<Response<String>, std::convert::Infallible> {
//! #     Ok(Response::new(String::from("hello")))
//! # }
//!
//! # async fn serve() -> std::io::Result<()> {
//! let listener = hayase::net::TcpListener::bind("[::]:8080").await?;
//! loop {
//!     let (stream, _peer) = listener.accept().await?;
//!     let service = hyper::service::service_fn(hello);
//!     hayase::spawn(async move {
//!         let connection = http1::Builder::new().timer(HayaseTimer).serve_connection(HayaseIo::new(stream), service);
//!         if let Err(error) = connection.await {
//!             eprintln!("connection: {error}");
//!         }
//!     });
//! }
//! # }
//! ```
#![forbid(unsafe_code)]

#[cfg(feature = "client")]
mod client;
mod executor;
mod io;
mod timer;

#[cfg(feature = "client")]
pub use client::HayaseConnector;
pub use executor::HayaseExecutor;
pub use io::{FuturesIo, HayaseIo};
pub use timer::{HayaseSleep, HayaseTimer};
