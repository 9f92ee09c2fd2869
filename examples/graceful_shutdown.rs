//! A server that ends in good order. At Ctrl-C or SIGTERM it stops accepting, answers what it has been asked, and cuts off what has
//! no answer after a while. A second signal ends it on the spot.
//!
//! ```text
//! $ cargo run --release --example graceful_shutdown &
//! $ echo 2000 | nc 10.7.0.2 9 & kill -INT %1
//! slept 2000 ms
//! ```
//!
//! A question is a number of milliseconds in a line, and its answer takes so long.

use std::io;
use std::pin::pin;
use std::thread;
use std::time::Duration;

use futures_util::future::{Either, select};
use hayase::io::BufReader;
use hayase::net::{TcpListener, TcpStream};
use hayase::task::JoinSet;
use hayase::time::{sleep, timeout};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tokio::sync::watch;

/// What questions have, once a signal has come, to be answered.
const GRACE: Duration = Duration::from_secs(3);

/// What shells report for a program that a SIGINT ended.
const INTERRUPTED: i32 = 130;

#[hayase::main]
async fn main() -> io::Result<()> {
    let stopping = signals()?;
    let listener = TcpListener::bind("[::]:9").await?;
    println!("listening on {}", listener.local_addr()?);
    let mut connections = accept_until(stopping, listener).await?;
    println!("no more connections, {} are open", connections.len());
    let all = async { while connections.join_next().await.is_some() {} };
    if timeout(GRACE, all).await.is_err() {
        println!("{} are cut off", connections.len());
        connections.shutdown().await;
    }
    // The end of the runtime sends what was written.
    println!("good bye");
    Ok(())
}

/// The end of the program, for whoever wants to know. A thread waits for signals; `tokio::sync` wakes tasks from any thread.
fn signals() -> io::Result<watch::Receiver<bool>> {
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    let (stop, stopping) = watch::channel(false);
    thread::Builder::new().name("signals".into()).spawn(move || {
        for _ in signals.forever() {
            if stop.send_replace(true) {
                std::process::exit(INTERRUPTED);
            }
        }
    })?;
    Ok(stopping)
}

/// Serves whoever comes. With the listener goes what nobody has accepted; the connections go on.
async fn accept_until(stopping: watch::Receiver<bool>, listener: TcpListener) -> io::Result<JoinSet<()>> {
    let (mut stop, mut connections) = (stopping.clone(), JoinSet::new());
    let mut stop = pin!(stop.wait_for(|is_stopping| *is_stopping));
    loop {
        let (stream, peer) = match select(pin!(listener.accept()), stop.as_mut()).await {
            Either::Left((accepted, _)) => accepted?,
            Either::Right(_) => return Ok(connections),
        };
        let stopping = stopping.clone();
        connections.spawn(async move {
            if let Err(error) = serve(stream, stopping).await {
                eprintln!("{peer}: {error}");
            }
        });
        // Those that have ended need not be kept.
        while connections.try_join_next().is_some() {}
    }
}

async fn serve(stream: TcpStream, mut stopping: watch::Receiver<bool>) -> io::Result<()> {
    let (read, mut write) = stream.into_split();
    let (mut read, mut question) = (BufReader::new(read), Vec::new());
    loop {
        // A question that has not come is not waited for any more; one that has is answered.
        question.clear();
        let stop = pin!(stopping.wait_for(|is_stopping| *is_stopping));
        match select(pin!(read.read_until(b'\n', &mut question)), stop).await {
            Either::Left((Ok(1..), _)) => {}
            Either::Left((end, _)) => return end.map(drop),
            Either::Right(_) => return write.shutdown().await,
        }
        let text = String::from_utf8_lossy(&question);
        let millis = text.trim().parse().map_err(io::Error::other)?;
        sleep(Duration::from_millis(millis)).await;
        write.write_all(format!("slept {millis} ms\n").as_bytes()).await?;
    }
}
