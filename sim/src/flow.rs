//! A stream of known bytes through a connection, and the ledger of who sent and who received how much of it.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;

use hayase::net::TcpStream;

use crate::oracle::{Verdict, Violation};
use crate::random::mix;

const RULE: &str = "every byte arrives once and in order, or both sides get an error";

/// Bytes of one write and of one read at most.
const CHUNK_LEN: usize = 16 * 1024;

/// How one side of a flow ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// It has not, or its task was dropped.
    Open,
    Done(u64),
    Failed,
}

#[derive(Debug)]
struct Entry {
    /// What the sender had written when it shut down.
    written: Option<u64>,
    sent: End,
    received: End,
}

/// All flows of a simulation.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    entries: RefCell<Vec<Entry>>,
}

impl Ledger {
    pub(crate) fn open(self: &Rc<Self>, seed: u64) -> Flow {
        let mut entries = self.entries.borrow_mut();
        entries.push(Entry { written: None, sent: End::Open, received: End::Open });
        let index = entries.len() - 1;
        Flow { ledger: Rc::clone(self), index, seed: mix(seed ^ index as u64) }
    }

    /// What a sender believes to have arrived has, and the end of a stream is where it was put.
    pub(crate) fn settle(&self) -> Verdict {
        for (index, entry) in self.entries.borrow().iter().enumerate() {
            let wrong = |text: String| Err(Violation::new(RULE, format!("flow {index}: {text}: {entry:?}")));
            if let End::Done(_) = entry.sent
                && entry.sent != entry.received
            {
                return wrong("the sender was told that all had arrived".to_owned());
            }
            if let (Some(written), End::Done(received)) = (entry.written, entry.received)
                && written != received
            {
                return wrong(format!("the stream ended after {received} of {written} bytes"));
            }
        }
        Ok(())
    }
}

/// Bytes that tell their place, sent over one connection in one direction.
///
/// Whatever arrives is compared with what was sent. At the end of the simulation its oracle asks more: who was told that
/// everything arrived was told the truth, and who saw the end of the stream saw all of it.
///
/// ```
/// use hayase::net::{TcpListener, TcpStream};
/// use hayase_sim::Sim;
///
/// Sim::builder().seeds(3).run(|sim| async move {
///     let flow = sim.flow();
///     let listener = sim.server().scope(TcpListener::bind("10.7.0.2:80")).await?;
///     let receiver = flow.clone();
///     let server = sim.server().spawn(async move {
///         let (mut stream, _) = listener.accept().await?;
///         receiver.receive(&mut stream).await
///     });
///     flow.send(&mut TcpStream::connect("10.7.0.2:80").await?, 50_000).await?;
///     assert_eq!(server.await.unwrap()?, 50_000);
///     std::io::Result::Ok(())
/// }).unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct Flow {
    ledger: Rc<Ledger>,
    index: usize,
    seed: u64,
}

impl Flow {
    /// Writes `len` bytes, shuts down, and waits until the peer has done so as well.
    ///
    /// # Errors
    /// The connection's.
    ///
    /// # Panics
    /// If the peer sends anything.
    pub async fn send(&self, stream: &mut TcpStream, len: u64) -> io::Result<()> {
        self.send_from(0, stream, len).await
    }

    /// As [`send`](Self::send), where the first `at` of the `len` bytes were written before: they are those that
    /// [`first`](Self::first) says.
    ///
    /// # Errors
    /// The connection's.
    ///
    /// # Panics
    /// If the peer sends anything.
    pub async fn send_from(&self, at: u64, stream: &mut TcpStream, len: u64) -> io::Result<()> {
        let result = self.try_send(at, stream, len).await;
        self.entry(|entry| entry.sent = if result.is_ok() { End::Done(len) } else { End::Failed });
        result
    }

    /// The first `len` bytes, for who writes them by other means, such as [`TcpStream::connect_with`].
    #[must_use]
    pub fn first(&self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.fill(0, &mut bytes);
        bytes
    }

    async fn try_send(&self, mut at: u64, stream: &mut TcpStream, len: u64) -> io::Result<()> {
        let mut chunk = vec![0; CHUNK_LEN];
        while at < len {
            let count = (len - at).min(CHUNK_LEN as u64) as usize;
            self.fill(at, &mut chunk[..count]);
            stream.write_all(&chunk[..count]).await?;
            at += count as u64;
        }
        self.entry(|entry| entry.written = Some(len));
        stream.shutdown().await?;
        let answer = stream.read(&mut chunk).await?;
        assert_eq!(answer, 0, "oracle: {RULE}: the receiver of a flow sends nothing");
        Ok(())
    }

    /// Reads to the end of the stream, and shuts down. Returns how many bytes came.
    ///
    /// # Errors
    /// The connection's.
    ///
    /// # Panics
    /// If a byte is not the one that was sent.
    pub async fn receive(&self, stream: &mut TcpStream) -> io::Result<u64> {
        let result = self.try_receive(stream).await;
        self.entry(|entry| entry.received = result.as_ref().map_or(End::Failed, |len| End::Done(*len)));
        if result.is_ok() {
            // All is here: that the connection is over by now would change nothing.
            let _ = stream.shutdown().await;
        }
        result
    }

    async fn try_receive(&self, stream: &mut TcpStream) -> io::Result<u64> {
        let (mut chunk, mut expected) = (vec![0; CHUNK_LEN], vec![0; CHUNK_LEN]);
        let mut at = 0;
        loop {
            let count = stream.read(&mut chunk).await?;
            if count == 0 {
                return Ok(at);
            }
            self.fill(at, &mut expected[..count]);
            if chunk[..count] != expected[..count] {
                let wrong = chunk.iter().zip(&expected).position(|(a, b)| a != b).unwrap_or(0);
                panic!("oracle: {RULE}: flow {}: byte {} is another one", self.index, at + wrong as u64);
            }
            at += count as u64;
        }
    }

    fn entry(&self, change: impl FnOnce(&mut Entry)) {
        change(&mut self.ledger.entries.borrow_mut()[self.index]);
    }

    /// The bytes from `at` on.
    fn fill(&self, mut at: u64, mut buf: &mut [u8]) {
        while !buf.is_empty() {
            let word = mix(self.seed.wrapping_add(at / 8)).to_le_bytes();
            let bytes = &word[(at % 8) as usize..];
            let count = bytes.len().min(buf.len());
            let (filled, rest) = buf.split_at_mut(count);
            filled.copy_from_slice(&bytes[..count]);
            buf = rest;
            at += count as u64;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_depend_on_their_place_alone() {
        let ledger = Rc::new(Ledger::default());
        let (flow, other) = (ledger.open(1), ledger.open(1));
        let (mut whole, mut part, mut foreign) = ([0; 100], [0; 50], [0; 100]);
        flow.fill(7, &mut whole);
        flow.fill(33, &mut part);
        other.fill(7, &mut foreign);
        assert_eq!(whole[26..76], part);
        assert_ne!(whole, foreign);
    }

    #[test]
    fn the_ledger_sees_who_was_told_a_lie() {
        let settle = |written, sent, received| {
            let ledger = Ledger::default();
            ledger.entries.borrow_mut().push(Entry { written, sent, received });
            ledger.settle()
        };
        for (written, sent, received) in [
            (Some(5), End::Done(5), End::Failed),
            (Some(5), End::Done(5), End::Open),
            (Some(5), End::Failed, End::Done(4)),
            (Some(5), End::Open, End::Done(6)),
        ] {
            assert!(settle(written, sent, received).is_err(), "{written:?} {sent:?} {received:?}");
        }
        for (written, sent, received) in [
            (Some(5), End::Done(5), End::Done(5)),
            // The receiver's last word was lost: it has all, and the sender cannot know.
            (Some(5), End::Failed, End::Done(5)),
            (Some(5), End::Failed, End::Failed),
            (None, End::Open, End::Done(3)),
        ] {
            assert!(settle(written, sent, received).is_ok(), "{written:?} {sent:?} {received:?}");
        }
    }
}
