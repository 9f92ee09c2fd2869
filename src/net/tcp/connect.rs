//! How connections are opened.

use std::io;
use std::net::SocketAddr;

use super::TcpStream;
use super::options::Options;
use crate::host::Host;

impl TcpStream {
    pub(super) async fn connect_from(
        remote: SocketAddr,
        local: Option<SocketAddr>,
        options: &Options,
    ) -> io::Result<TcpStream> {
        let (host, remote, local) = Host::current()?.towards(remote, local)?;
        let handle = host.open(|door| door.tcp_connect(remote, local, options))?;
        // From here on, dropping the future drops the handle, and so gives the attempt up.
        let stream = TcpStream::of(handle);
        stream.connected().await?;
        Ok(stream)
    }

    pub(super) async fn connect_from_with(
        remote: SocketAddr,
        local: Option<SocketAddr>,
        options: &Options,
        data: &[u8],
    ) -> io::Result<TcpStream> {
        let mut taken = 0;
        let (host, remote, local) = Host::current()?.towards(remote, local)?;
        let handle = host.open(|door| {
            let (id, len) = door.tcp_connect_with(remote, local, options, data)?;
            taken = len;
            Ok(id)
        })?;
        let mut stream = TcpStream::of(handle);
        stream.connected().await?;
        stream.write_all(&data[taken..]).await?;
        Ok(stream)
    }
}
