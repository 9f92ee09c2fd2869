//! A client for servers on a wire, which nobody outside of the process can reach.

use std::io;
use std::net::SocketAddr;

use hayase::Host;
use hayase::net::TcpStream;

use super::addresses;
use crate::cli::Service;
use crate::failure::{Attempt, Result};
use crate::pattern;
use crate::say::note;

/// What the client sends to be echoed or discarded, and receives of the source: many segments.
const LEN: u64 = 1 << 20;

/// Uses the service once at each of the server's addresses, and says what came of it.
pub(super) async fn run(service: Service, client: Host, server: Host, port: u16) -> Result {
    note("hayase: on the wire, the only other host is in this process; it is the client:");
    for addr in addresses(server)? {
        let to = SocketAddr::new(addr, port);
        let stream =
            client.scope(TcpStream::connect(to)).await.attempt(|| format!("cannot connect to {to}"))?;
        let outcome = talk(service, stream, to).await.attempt(|| format!("{to}"))?;
        note(format_args!("hayase: {to}: {outcome}"));
    }
    Ok(())
}

async fn talk(service: Service, stream: TcpStream, to: SocketAddr) -> io::Result<String> {
    match service {
        Service::Echo => echo(stream).await,
        Service::Discard => discard(stream).await,
        Service::Source => source(stream).await,
        Service::Http => http(stream, to).await,
        Service::Close => closed(stream).await,
    }
}

async fn echo(stream: TcpStream) -> io::Result<String> {
    let (mut reader, mut writer) = stream.into_split();
    let sender = hayase::spawn(async move {
        let mut offset = 0;
        while offset < LEN {
            let bytes = pattern::stretch(offset, LEN - offset);
            writer.write_all(bytes).await?;
            offset += bytes.len() as u64;
        }
        writer.shutdown().await
    });
    let mut echoed = Vec::new();
    reader.read_to_end(&mut echoed).await?;
    sender.await.map_err(io::Error::other)??;
    check(&echoed, LEN)?;
    Ok(format!("{LEN} bytes came back"))
}

async fn discard(mut stream: TcpStream) -> io::Result<String> {
    pattern::send(&mut stream, 0, LEN).await?;
    stream.shutdown().await?;
    match stream.read(&mut [0]).await? {
        0 => Ok(format!("took {LEN} bytes and closed")),
        _ => Err(io::Error::other("the server answered, which it should not")),
    }
}

async fn closed(mut stream: TcpStream) -> io::Result<String> {
    match stream.read(&mut [0]).await? {
        0 => Ok("closed at once".into()),
        _ => Err(io::Error::other("the server sent something, which it should not")),
    }
}

async fn source(mut stream: TcpStream) -> io::Result<String> {
    let mut received = vec![0; LEN as usize];
    stream.read_exact(&mut received).await?;
    check(&received, LEN)?;
    Ok(format!("{LEN} bytes of the pattern came in"))
}

async fn http(mut stream: TcpStream, to: SocketAddr) -> io::Result<String> {
    let request = format!("GET / HTTP/1.1\r\nHost: {to}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut response = Vec::new();
    stream.read_to_end(&mut response).await?;
    let response = String::from_utf8_lossy(&response);
    let status = response.lines().next().unwrap_or_default();
    let body = response.split_once("\r\n\r\n").map(|(_, body)| body).unwrap_or_default();
    if status.ends_with("200 OK") {
        Ok(format!("{status}, {body:?}"))
    } else {
        Err(io::Error::other(format!("GET / brought {status:?}")))
    }
}

fn check(bytes: &[u8], len: u64) -> io::Result<()> {
    let mut offset = 0;
    while offset < len {
        let wanted = pattern::stretch(offset, len - offset);
        let start = offset as usize;
        if bytes.get(start..start + wanted.len()) != Some(wanted) {
            return Err(io::Error::other(format!("wrong bytes behind byte {offset}")));
        }
        offset += wanted.len() as u64;
    }
    Ok(())
}
