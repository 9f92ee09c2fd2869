//! `hayase connect`: standard input and output at the ends of a TCP connection.

use std::io::{self, Read, Write};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use futures_util::future::try_join;
use hayase::net::TcpStream;
use hayase::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use hayase::time;

use crate::channel::{Receiver, Sender, channel};
use crate::cli::ConnectArgs;
use crate::device;
use crate::failure::{Attempt, Failure, Result};

/// Bytes that are moved at a time.
const CHUNK_LEN: usize = 64 * 1024;

/// How often it is looked whether the peer has got everything.
const FLUSH_INTERVAL: Duration = Duration::from_millis(1);

pub(crate) fn run(args: &ConnectArgs) -> Result {
    let runtime = device::runtime(&args.device)?;
    let (printed, to_print) = channel();
    let printer = start("stdout", move || print(&to_print))?;
    let outcome = runtime.block_on(converse(args, printed));
    // What the peer said before an error is worth printing, too.
    join(printer)?;
    outcome
}

async fn converse(args: &ConnectArgs, printed: Sender) -> Result {
    let stream = TcpStream::connect(args.to).await.attempt(|| format!("cannot connect to {}", args.to))?;
    stream.set_nodelay(true)?;
    let (feeder, input) = channel();
    // It may wait in a read for as long as it likes: the end of the process is its end, too.
    drop(start("stdin", move || feed(&feeder))?);
    let (reader, writer) = stream.into_split();
    try_join(send(input, writer), receive(reader, printed)).await?;
    Ok(())
}

async fn send(input: Receiver, mut writer: OwnedWriteHalf) -> Result {
    while let Some(chunk) = input.receive().await {
        writer.write_owned(chunk).await.attempt(|| "cannot send".into())?;
    }
    writer.shutdown().await.attempt(|| "cannot shut down".into())?;
    while !writer.as_ref().is_flushed()? {
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
            Err(error) => {
                eprintln!("hayase: cannot read standard input: {error}");
                return Err(error);
            }
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

fn start(
    name: &str,
    run: impl FnOnce() -> io::Result<()> + Send + 'static,
) -> Result<JoinHandle<io::Result<()>>> {
    Ok(thread::Builder::new().name(name.into()).spawn(run)?)
}

fn join(thread: JoinHandle<io::Result<()>>) -> Result {
    match thread.join() {
        Ok(result) => result.attempt(|| "cannot write standard output".into()),
        Err(panic) => std::panic::resume_unwind(panic),
    }
}
