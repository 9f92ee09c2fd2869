//! `hayase connect`: standard input and output at the ends of a TCP connection.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use futures_util::future::try_join;
use hayase::net::TcpStream;
use hayase::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use hayase::stack::Count;
use hayase::{Host, time};

use crate::channel::{Receiver, Sender, channel};
use crate::cli::ConnectArgs;
use crate::device::{self, Recording};
use crate::failure::{self, Attempt, Failure, Result};
use crate::say::note;
use crate::signal::Interrupt;

/// Bytes that are moved at a time.
const CHUNK_LEN: usize = 64 * 1024;

/// Connections whose SYN carried data that was taken, and data that was not.
const ACTIVE: &str = Count::FastOpenActive.name();
const ACTIVE_FAIL: &str = Count::FastOpenActiveFail.name();

/// How often it is looked whether the peer has got everything.
const FLUSH_INTERVAL: Duration = Duration::from_millis(1);

pub(crate) fn run(args: &ConnectArgs) -> Result {
    let recording = Recording::start(&args.capture)?;
    let runtime = device::runtime(&args.device, args.congestion, &recording)?;
    let interrupt = Interrupt::catch()?;
    let (printed, to_print) = channel();
    let printer = start("stdout", move || print(&to_print))?;
    let outcome = runtime.block_on(interrupt.unless_before(converse(args, printed))).flatten();
    // The peer is told before anybody waits for the reader of what is printed.
    drop(runtime);
    // What the peer said before an error is worth printing, too.
    join(printer, "cannot write standard output")?;
    outcome
}

async fn converse(args: &ConnectArgs, printed: Sender) -> Result {
    let (feeder, input) = channel();
    // It may wait in a read for as long as it likes: the end of the process is its end, too.
    let start_input = || start("stdin", move || feed(&feeder));
    let failed = |error: io::Error| {
        Failure::Error(format!("cannot connect to {}: {}", args.to, failure::unconnected(&error)))
    };
    let (stream, reading) = if args.fastopen {
        // Nobody is to type in vain.
        ask_for_cookie(args.to).await.map_err(failed)?;
        let reading = start_input()?;
        let first = input.receive().await.unwrap_or_default();
        let (stream, outcome) = open_with(args.to, &first).await.map_err(failed)?;
        outcome.into_iter().for_each(|outcome| note(format_args!("hayase: {outcome}")));
        (stream, reading)
    } else {
        let stream = TcpStream::connect(args.to).await.map_err(failed)?;
        (stream, start_input()?)
    };
    stream.set_nodelay(true)?;
    let (reader, writer) = stream.into_split();
    try_join(send(input, reading, writer), receive(reader, printed)).await?;
    Ok(())
}

/// Opens and closes a connection that carries nothing: by its SYN-ACK the server gives a cookie, if it gives any.
async fn ask_for_cookie(to: SocketAddr) -> io::Result<()> {
    TcpStream::connect_with(to, &[]).await.map(drop)
}

/// Opens a connection whose SYN carries the first bytes, as far as there is a cookie for it and they fit; and says what came
/// of it, unless there were none.
async fn open_with(to: SocketAddr, first: &[u8]) -> io::Result<(TcpStream, Option<&'static str>)> {
    let host = Host::current()?;
    let count = |name| Ok::<_, io::Error>(host.counters()?.get(name).unwrap_or_default());
    let before = (count(ACTIVE)?, count(ACTIVE_FAIL)?);
    let stream = TcpStream::connect_with(to, first).await?;
    let outcome = match (count(ACTIVE)? > before.0, count(ACTIVE_FAIL)? > before.1) {
        _ if first.is_empty() => return Ok((stream, None)),
        (true, _) => "the server took the first bytes with the SYN",
        (_, true) => "the server did not take what came with the SYN: it went again after the handshake",
        _ => "the server gave no cookie: the first bytes went after the handshake",
    };
    Ok((stream, Some(outcome)))
}

/// Sends the input, which a thread is reading, to its end, and waits until the peer has it.
async fn send(input: Receiver, reading: StreamThread, mut writer: OwnedWriteHalf) -> Result {
    while let Some(chunk) = input.receive().await {
        writer.write_owned(chunk).await.attempt(|| "cannot send".into())?;
    }
    // The thread is done, but for its last words. What could not be read must not look as if it had come to its end.
    join(reading, "cannot read standard input")?;
    writer.shutdown().await.attempt(|| "cannot shut down".into())?;
    while !writer.as_ref().is_flushed().attempt(|| "cannot deliver everything".into())? {
        time::sleep(FLUSH_INTERVAL).await;
    }
    Ok(())
}

async fn receive(mut reader: OwnedReadHalf, printed: Sender) -> Result {
    loop {
        let lease = reader.read_lease(CHUNK_LEN).await.attempt(|| "cannot receive".into())?;
        if lease.is_empty() {
            return Ok(());
        }
        if printed.send(lease.to_vec()).await.is_err() {
            return Err(Failure::Error("standard output was closed".into()));
        }
    }
}

/// Reads standard input to its end, on a thread of its own.
fn feed(feeder: &Sender) -> io::Result<()> {
    let mut stdin = io::stdin().lock();
    let mut buf = vec![0; CHUNK_LEN];
    loop {
        match stdin.read(&mut buf) {
            Ok(0) => return Ok(()),
            Ok(len) if feeder.send_blocking(buf[..len].to_vec()).is_err() => return Ok(()),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Writes standard output, on a thread of its own.
fn print(to_print: &Receiver) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    while let Some(chunk) = to_print.receive_blocking() {
        stdout.write_all(&chunk)?;
        // Whoever reads a conversation waits for the next line.
        stdout.flush()?;
    }
    Ok(())
}

/// A thread that reads or writes a standard stream.
type StreamThread = JoinHandle<io::Result<()>>;

fn start(name: &str, run: impl FnOnce() -> io::Result<()> + Send + 'static) -> Result<StreamThread> {
    Ok(thread::Builder::new().name(name.into()).spawn(run)?)
}

fn join(thread: StreamThread, failed: &str) -> Result {
    match thread.join() {
        Ok(result) => result.attempt(|| failed.into()),
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hayase::net::TcpListener;

    const TO: &str = "10.7.0.2:7";

    /// The outcome, and what the server's second connection brought.
    async fn open_twice(server: Host, pending_max: u32, first: &[u8]) -> (Option<&'static str>, Vec<u8>) {
        let listener = server.scope(TcpListener::bind(TO)).await.unwrap();
        listener.set_fastopen(pending_max).unwrap();
        let to = TO.parse().unwrap();
        ask_for_cookie(to).await.unwrap();
        assert_eq!(listener.accept().await.unwrap().0.read(&mut [0]).await.unwrap(), 0, "it carries nothing");
        let (mut stream, outcome) = open_with(to, first).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut received = Vec::new();
        listener.accept().await.unwrap().0.read_to_end(&mut received).await.unwrap();
        (outcome, received)
    }

    async fn refusal(to: &str) -> String {
        failure::unconnected(&TcpStream::connect(to).await.unwrap_err())
    }

    /// Of what a stack says of itself; that nobody answers at all takes minutes.
    #[hayase::test]
    async fn who_cannot_connect_is_told_why_and_what_to_do(_client: Host, _server: Host) {
        for (to, why, what) in [
            ("10.7.0.2:9", "refused", "start the server"),
            ("10.7.0.99:9", "does not answer", "look whether that host is up"),
            ("192.0.2.1:9", "unreachable", "give the device an address"),
        ] {
            let text = refusal(to).await;
            assert!(text.contains(why) && text.contains(what), "{to}: {text}");
        }
    }

    #[hayase::test]
    async fn the_first_bytes_go_with_the_syn(_client: Host, server: Host) {
        let (outcome, received) = open_twice(server, 16, b"first").await;
        assert_eq!(
            (outcome.unwrap(), &received[..]),
            ("the server took the first bytes with the SYN", &b"first"[..])
        );
        assert_eq!(server.counters().unwrap().get("TcpExtTCPFastOpenPassive"), Some(1));
    }

    #[hayase::test]
    async fn a_server_without_fast_open_gets_them_later(_client: Host, server: Host) {
        let (outcome, received) = open_twice(server, 0, b"first").await;
        assert!(outcome.unwrap().starts_with("the server gave no cookie"));
        assert_eq!(received, b"first");
    }

    #[hayase::test]
    async fn without_bytes_there_is_nothing_to_say(_client: Host, server: Host) {
        assert_eq!(open_twice(server, 16, b"").await, (None, Vec::new()));
    }
}
