//! The facade as its users see it: on a wire between two hosts, and on the kernel's sockets, where one host is both.

/// Declares tests that run on both.
macro_rules! everywhere {
    ($($(#[$attribute:meta])* async fn $name:ident($client:ident: Host, $server:ident: Host) $body:block)*) => {$(
        $(#[$attribute])*
        mod $name {
            use super::*;

            async fn case($client: Host, $server: Host) $body

            #[test]
            fn wire() {
                $crate::__private::run_test(case);
            }

            #[cfg(feature = "kernel")]
            #[test]
            fn kernel() {
                $crate::tests::kernel::run(case);
            }
        }
    )*};
}

mod cancel;
mod cpus;
mod drained;
pub(crate) mod interfaces;
#[cfg(feature = "kernel")]
mod kernel;
#[cfg(feature = "kernel")]
mod mixed;
mod models;
mod offloads;
mod reentry;
mod runtime;
mod tcp;
mod threads;
mod traits;
mod udp;
mod zero_copy;

use std::net::{IpAddr, SocketAddr};

use futures_util::future;

use crate::Host;
use crate::net::{TcpListener, TcpStream};

/// The addresses by which this process reaches a host: on the kernel's sockets, those of the loopback interface.
fn addresses(host: Host) -> Vec<IpAddr> {
    let all = host.addresses().unwrap().into_iter().map(|cidr| cidr.addr());
    let (loopback, others): (Vec<_>, Vec<_>) = all.partition(IpAddr::is_loopback);
    let is_link_local = |addr: &IpAddr| matches!(addr, IpAddr::V6(addr) if addr.is_unicast_link_local());
    let reachable = if loopback.is_empty() { others } else { loopback };
    reachable.into_iter().filter(|addr| !is_link_local(addr)).collect()
}

/// The IPv4 address of a host.
fn address(host: Host) -> IpAddr {
    addresses(host).into_iter().find(IpAddr::is_ipv4).unwrap()
}

/// Listens at a free port of a host, and says where that is.
async fn listen(server: Host) -> (TcpListener, SocketAddr) {
    let listener = server.scope(TcpListener::bind("0.0.0.0:0")).await.unwrap();
    let addr = (address(server), listener.local_addr().unwrap().port()).into();
    (listener, addr)
}

/// Where nobody listens. The kernel's ports are shared with the other tests: there, one that was free just now.
async fn closed_port(server: Host) -> SocketAddr {
    let address = address(server);
    if address.is_loopback() { listen(server).await.1 } else { (address, 5000).into() }
}

/// A connection to `server`: the caller's end and the server's.
async fn connected(server: Host) -> (TcpStream, TcpStream) {
    let (listener, addr) = listen(server).await;
    let (stream, accepted) = future::join(TcpStream::connect(addr), listener.accept()).await;
    (stream.unwrap(), accepted.unwrap().0)
}

/// Bytes that tell where they belong.
fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 7 + i / 251) as u8).collect()
}

/// The smallest executor that parks its thread: somebody else's.
pub(crate) fn futures_executor<F: Future>(future: F) -> F::Output {
    use std::sync::Arc;
    use std::task::{Context, Poll, Wake};
    use std::thread::{Thread, current, park};
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Arc::new(Unpark(current())).into();
    let mut future = std::pin::pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => park(),
        }
    }
}

/// The server's address on a wire.
const SERVER: &str = "10.7.0.2";

/// More than all buffers between a writer and a reader hold, the kernel's too.
const MORE_THAN_BUFFERS: usize = 24 << 20;
