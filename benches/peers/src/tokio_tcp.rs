//! tokio's current-thread runtime, both ends on the loopback interface.

use std::cell::Cell;
use std::io;
use std::net::Ipv4Addr;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;
use tokio::task::{LocalSet, spawn_local};
use tokio::time::sleep;

use crate::{CHUNK_LEN, Work, processor_time};

pub(crate) fn run(work: Work, duration: Duration) -> io::Result<f64> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, async {
        match work {
            Work::PingPong { connections, .. } => ping_pong(connections, duration).await,
            Work::Bulk { .. } => bulk(duration).await,
        }
    })
}

/// A pair of connected streams.
async fn pair(listener: &TcpListener) -> io::Result<(TcpStream, TcpStream)> {
    let client = TcpStream::connect(listener.local_addr()?).await?;
    let (server, _) = listener.accept().await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    Ok((client, server))
}

async fn ping_pong(connections: usize, duration: Duration) -> io::Result<f64> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let over = Rc::new(Cell::new(false));
    let mut pairs = Vec::new();
    for _ in 0..connections {
        pairs.push(pair(&listener).await?);
    }
    let start = processor_time();
    let mut clients = Vec::new();
    for (client, server) in pairs {
        drop(spawn_local(echo(server)));
        clients.push(spawn_local(play(client, Rc::clone(&over))));
    }
    sleep(duration).await;
    over.set(true);
    let mut count = 0;
    for client in clients {
        count += client.await??;
    }
    Ok(count as f64 / (processor_time() - start).as_secs_f64())
}

async fn echo(mut stream: TcpStream) -> io::Result<()> {
    let mut byte = [0];
    while stream.read(&mut byte).await? > 0 {
        stream.write_all(&byte).await?;
    }
    Ok(())
}

async fn play(mut stream: TcpStream, over: Rc<Cell<bool>>) -> io::Result<u64> {
    let (mut byte, mut count) = ([1], 0);
    while !over.get() {
        stream.write_all(&byte).await?;
        stream.read_exact(&mut byte).await?;
        count += 1;
    }
    Ok(count)
}

async fn bulk(duration: Duration) -> io::Result<f64> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let (mut client, mut server) = pair(&listener).await?;
    let over = Rc::new(Cell::new(false));
    let start = processor_time();
    let reader = spawn_local(async move {
        let (mut buf, mut sum) = (vec![0; CHUNK_LEN], 0);
        loop {
            match server.read(&mut buf).await? {
                0 => return io::Result::Ok(sum),
                len => sum += len as u64,
            }
        }
    });
    let rung = Rc::clone(&over);
    drop(spawn_local(async move {
        sleep(duration).await;
        rung.set(true);
    }));
    let chunk = vec![0x5a; CHUNK_LEN];
    while !over.get() {
        client.write_all(&chunk).await?;
    }
    drop(client);
    let sum = reader.await??;
    Ok(sum as f64 / (processor_time() - start).as_secs_f64())
}
