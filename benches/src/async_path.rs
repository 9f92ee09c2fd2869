//! The same work through executor and public API as a program does it, on virtual time: it repeats itself to the
//! instruction, but for what depends on where memory lies.

use std::future::Future;
use std::io;
use std::time::Duration;

use hayase::device::Offloads;
use hayase::io::Payload;
use hayase::net::{TcpListener, TcpStream, UdpSocket};
use hayase::stack::Config;
use hayase::{Host, spawn, time};
use hayase_sim::VirtualWire;

const SERVER: &str = "10.7.0.2:7";

/// Time that one connection's half of a round trip takes.
const HALF_ROUND_TRIP: Duration = Duration::from_nanos(150);

/// Bytes of one write in bulk, and of a buffer to read into.
pub(crate) const WRITE_LEN: usize = 64 * 1024;

/// Bytes of the longest segment that the device cuts: an IP packet of 64 KiB at most, and of whole pieces.
pub(crate) const SEGMENT_LEN: usize = 45 * 1448;

/// How long a frame is on its way where much is in flight.
const FAR: Duration = Duration::from_millis(5);

type Result<T = ()> = io::Result<T>;

/// Runs a stage; nothing in it may fail.
fn run<F: Future<Output = Result>>(wire: &VirtualWire, stage: impl FnOnce(Host) -> F) {
    let outcome = wire.run(|_, server| stage(server)).expect("a thread can have two shards");
    outcome.expect("on a wire nothing is lost");
}

/// `count` round trips of a byte, shared by `active` connections, with `idle` more held open.
pub(crate) fn round_trips(count: u64, active: usize, idle: usize, offloads: Offloads) {
    let turn_time = HALF_ROUND_TRIP * active as u32;
    run(&VirtualWire::default().offloads(offloads).turn_time(turn_time), |server| async move {
        let mut streams = connect(server, active + idle, echo).await?;
        let idle = streams.split_off(active);
        let shares = (0..active as u64).map(|index| (count + index) / active as u64);
        let players: Vec<_> =
            streams.into_iter().zip(shares).map(|(stream, share)| spawn(play(stream, share))).collect();
        for player in players {
            player.await.map_err(io::Error::other)??;
        }
        drop(idle);
        Ok(())
    });
}

async fn play(mut stream: TcpStream, count: u64) -> Result<TcpStream> {
    let mut reply = [0];
    for _ in 0..count {
        stream.write_all(b"x").await?;
        stream.read_exact(&mut reply).await?;
    }
    Ok(stream)
}

async fn echo(mut stream: TcpStream) -> Result {
    let mut byte = [0];
    while stream.read(&mut byte).await? > 0 {
        stream.write_all(&byte).await?;
    }
    Ok(())
}

/// `count` writes of 64 KiB on one connection, until all of it is read.
pub(crate) fn bulk(count: u64, offloads: Offloads) {
    run(&VirtualWire::default().offloads(offloads), |server| transfer(server, count));
}

/// The same where the ends are far apart and hold `in_flight` bytes for each other, so that those are on their way.
pub(crate) fn bulk_in_flight(count: u64, in_flight: usize) {
    let mut config = Config::default();
    (config.send_buffer_len, config.send_buffer_len_max) = (in_flight, in_flight);
    (config.receive_buffer_len, config.receive_buffer_len_max) = (in_flight, in_flight);
    run(&VirtualWire::default().delay(FAR).stack(config), |server| transfer(server, count));
}

async fn transfer(server: Host, count: u64) -> Result {
    let mut stream = connect(server, 1, discard).await?.pop().expect("one was asked for");
    let chunk = vec![0x5a; WRITE_LEN];
    for _ in 0..count {
        stream.write_all(&chunk).await?;
    }
    stream.shutdown().await?;
    stream.read(&mut [0]).await.map(drop)
}

async fn discard(mut stream: TcpStream) -> Result {
    let mut buf = vec![0; WRITE_LEN];
    while stream.read(&mut buf).await? > 0 {}
    Ok(())
}

/// The same without a copy on the way out: the chunk is the application's and held until acknowledged.
pub(crate) fn bulk_owned(count: u64, len: usize) {
    run(&VirtualWire::default(), |server| async move {
        let mut stream = connect(server, 1, discard_leases).await?.pop().expect("one was asked for");
        let chunk = Payload::from(vec![0x5a; len]);
        for _ in 0..count {
            stream.write_owned(chunk.clone()).await?;
        }
        stream.shutdown().await?;
        stream.read(&mut [0]).await.map(drop)
    });
}

/// And without one on the way in: the received frames are handed out as they are.
async fn discard_leases(mut stream: TcpStream) -> Result {
    while !stream.read_lease(usize::MAX).await?.is_empty() {}
    Ok(())
}

/// `count` datagrams of `len` bytes there and back; those that are longer than the MTU go in fragments.
pub(crate) fn datagrams(count: u64, len: usize) {
    run(&VirtualWire::default(), |server| async move {
        let echo = server.scope(UdpSocket::bind(SERVER)).await?;
        drop(server.spawn(async move {
            let mut buf = vec![0; len];
            while let Ok((len, from)) = echo.recv_from(&mut buf).await {
                echo.send_to(&buf[..len], from).await.expect("the client is there");
            }
        }));
        let socket = UdpSocket::bind("10.7.0.1:0").await?;
        socket.connect(SERVER).await?;
        let (datagram, mut buf) = (vec![0x5a; len], vec![0; len]);
        for _ in 0..count {
            socket.send(&datagram).await?;
            socket.recv(&mut buf).await?;
        }
        Ok(())
    });
}

/// A task that sleeps a millisecond at a time: a timer set, the thread's sleep, a timer expired.
pub(crate) fn sleeps(count: u64) {
    run(&VirtualWire::default(), |_| async move {
        for _ in 0..count {
            time::sleep(Duration::from_millis(1)).await;
        }
        Ok(())
    });
}

/// `count` connections, one after the other: opened, accepted, closed by the client and then by the server.
pub(crate) fn connect_close(count: u64) {
    run(&VirtualWire::default(), |server| async move {
        start(server, discard_briefly).await?;
        for _ in 0..count {
            let mut stream = TcpStream::connect(SERVER).await?;
            stream.shutdown().await?;
            stream.read(&mut [0]).await?;
        }
        Ok(())
    });
}

async fn discard_briefly(mut stream: TcpStream) -> Result {
    while stream.read(&mut [0]).await? > 0 {}
    Ok(())
}

/// Starts a server whose connections `serve` is for.
async fn start<F>(server: Host, serve: impl Fn(TcpStream) -> F + 'static) -> Result
where
    F: Future<Output = Result> + 'static,
{
    let listener = server.scope(TcpListener::bind(SERVER)).await?;
    drop(server.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            stream.set_nodelay(true).expect("it is open");
            drop(spawn(serve(stream)));
        }
    }));
    Ok(())
}

async fn connect<F>(
    server: Host,
    count: usize,
    serve: impl Fn(TcpStream) -> F + 'static,
) -> Result<Vec<TcpStream>>
where
    F: Future<Output = Result> + 'static,
{
    start(server, serve).await?;
    let mut streams = Vec::with_capacity(count);
    for _ in 0..count {
        let stream = TcpStream::connect(SERVER).await?;
        stream.set_nodelay(true)?;
        streams.push(stream);
    }
    Ok(streams)
}
