//! What reading and writing is about, beside sockets: readiness, bytes without a copy, buffered reading.

mod buf_reader;
mod lease;
mod ready;

pub use buf_reader::BufReader;
pub use lease::{Lease, Payload, ReadLease};
pub use ready::{Interest, Ready};
