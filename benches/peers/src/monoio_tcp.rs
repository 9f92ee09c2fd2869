//! monoio, both ends on the loopback interface. It owns the buffers of what is under way.

use std::cell::Cell;
use std::io;
use std::net::Ipv4Addr;
use std::rc::Rc;
use std::time::Duration;

use monoio::io::{AsyncReadRent, AsyncReadRentExt, AsyncWriteRentExt};
use monoio::net::{TcpListener, TcpStream};
use monoio::time::sleep;
use monoio::{FusionDriver, RuntimeBuilder, spawn};

use crate::{CHUNK_LEN, Work, processor_time};

pub(crate) fn run(work: Work, duration: Duration) -> io::Result<f64> {
    let mut runtime = RuntimeBuilder::<FusionDriver>::new().enable_timer().build()?;
    runtime.block_on(async {
        match work {
            Work::PingPong { connections, .. } => ping_pong(connections, duration).await,
            Work::Bulk { .. } => bulk(duration).await,
        }
    })
}

/// A pair of connected streams.
async fn pair(listener: &TcpListener) -> io::Result<(TcpStream, TcpStream)> {
    let addr = listener.local_addr()?;
    let connecting = spawn(TcpStream::connect(addr));
    let (server, _) = listener.accept().await?;
    let client = connecting.await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    Ok((client, server))
}

async fn ping_pong(connections: usize, duration: Duration) -> io::Result<f64> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let over = Rc::new(Cell::new(false));
    let mut pairs = Vec::new();
    for _ in 0..connections {
        pairs.push(pair(&listener).await?);
    }
    let start = processor_time();
    let mut clients = Vec::new();
    for (client, server) in pairs {
        drop(spawn(echo(server)));
        clients.push(spawn(play(client, Rc::clone(&over))));
    }
    sleep(duration).await;
    over.set(true);
    let mut count = 0;
    for client in clients {
        count += client.await?;
    }
    Ok(count as f64 / (processor_time() - start).as_secs_f64())
}

async fn echo(mut stream: TcpStream) -> io::Result<()> {
    let mut byte = vec![0];
    loop {
        let (len, buf) = stream.read(byte).await;
        if len? == 0 {
            return Ok(());
        }
        let (written, buf) = stream.write_all(buf).await;
        written?;
        byte = buf;
    }
}

async fn play(mut stream: TcpStream, over: Rc<Cell<bool>>) -> io::Result<u64> {
    let (mut byte, mut count) = (vec![1], 0);
    while !over.get() {
        let (written, buf) = stream.write_all(byte).await;
        written?;
        let (read, buf) = stream.read_exact(buf).await;
        read?;
        byte = buf;
        count += 1;
    }
    Ok(count)
}

async fn bulk(duration: Duration) -> io::Result<f64> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let (mut client, mut server) = pair(&listener).await?;
    let start = processor_time();
    let reader = spawn(async move {
        let (mut buf, mut sum) = (vec![0; CHUNK_LEN], 0);
        loop {
            let (len, back) = server.read(buf).await;
            buf = back;
            match len? {
                0 => return io::Result::Ok(sum),
                len => sum += len as u64,
            }
        }
    });
    let over = Rc::new(Cell::new(false));
    let rung = Rc::clone(&over);
    drop(spawn(async move {
        sleep(duration).await;
        rung.set(true);
    }));
    let mut chunk = vec![0x5a; CHUNK_LEN];
    while !over.get() {
        let (written, back) = client.write_all(chunk).await;
        written?;
        chunk = back;
    }
    drop(client);
    let sum = reader.await?;
    Ok(sum as f64 / (processor_time() - start).as_secs_f64())
}
