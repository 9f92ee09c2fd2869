//! Beside a tokio runtime: the tasks are tokio's, on as many threads as it has, and the sockets ours.
//!
//! ```text
//! $ cargo run --release --example beside_tokio &
//! $ echo hello | nc -N 10.7.0.2 7
//! ```
//!
//! On TAP it serves; on the in-memory wire (`HAYASE_DEVICE=wire`), where nobody else can come, it asks itself.

use std::error::Error;
use std::io;

use hayase::net::{TcpListener, TcpStream};
use hayase::{Host, Model, Runtime};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn main() -> Result<(), Box<dyn Error>> {
    let tokio = tokio::runtime::Builder::new_multi_thread().build()?;
    // The stack has a thread to itself, and so every other one may use its sockets. Nobody calls `block_on` of this runtime; it
    // must only live. Unbound, for it would bind this thread to a CPU, and those that tokio starts from here would inherit that.
    let network = Runtime::builder().model(Model::Split).bound(false).build()?;
    tokio.block_on(run(network.peer()))?;
    Ok(())
}

async fn run(peer: Option<Host>) -> io::Result<()> {
    let listener = TcpListener::bind("[::]:7").await?;
    println!("listening on {}", listener.local_addr()?);
    let serving = tokio::spawn(serve(listener));
    match peer {
        None => serving.await?,
        // A host of ours that is not the current one is said for each task: tokio's inherit nothing.
        Some(peer) => tokio::spawn(peer.scope(ask("10.7.0.2:7"))).await?,
    }
}

async fn serve(listener: TcpListener) -> io::Result<()> {
    loop {
        let (stream, _peer) = listener.accept().await?;
        tokio::spawn(async move {
            let (mut read, mut write) = stream.into_split();
            tokio::io::copy(&mut read, &mut write).await?;
            write.shutdown().await
        });
    }
}

async fn ask(server: &str) -> io::Result<()> {
    let mut stream = TcpStream::connect(server).await?;
    AsyncWriteExt::write_all(&mut stream, b"hello").await?;
    AsyncWriteExt::shutdown(&mut stream).await?;
    let mut text = String::new();
    AsyncReadExt::read_to_string(&mut stream, &mut text).await?;
    println!("{server} says {text}");
    Ok(())
}
