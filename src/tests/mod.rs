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
mod capture;
mod cpus;
mod drained;
#[cfg(feature = "tokio")]
mod entered;
mod gone;
pub(crate) mod interfaces;
#[cfg(feature = "kernel")]
mod kernel;
#[cfg(feature = "kernel")]
mod mixed;
mod models;
mod offloads;
mod options;
mod reentry;
mod runtime;
mod tcp;
mod threads;
mod traits;
mod udp;
mod zero_copy;

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use futures_util::future;

use crate::Host;
use crate::net::{TcpListener, TcpStream};
use crate::time::timeout;

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

/// A port that nobody has. The kernel's are shared with the other tests: it gives none from here to who asks for any
/// (`net.ipv4.ip_local_port_range` begins above), and none is given twice.
fn free_port() -> u16 {
    static COUNT: AtomicU16 = AtomicU16::new(0);
    let of_this_process = (std::process::id() % 100) as u16 * 100;
    20_000 + of_this_process + COUNT.fetch_add(1, Ordering::Relaxed) % 100
}

/// Where nobody listens.
fn closed_port(server: Host) -> SocketAddr {
    (address(server), free_port()).into()
}

/// A connection to `server`: the caller's end and the server's.
async fn connected(server: Host) -> (TcpStream, TcpStream) {
    let (listener, addr) = listen(server).await;
    let (stream, accepted) = future::join(TcpStream::connect(addr), listener.accept()).await;
    (stream.unwrap(), accepted.unwrap().0)
}

/// Writes until nobody takes any more: neither the stack nor what lies before it. Returns how many bytes that were.
///
/// Time that passes says nothing on a busy machine. A stack on a thread of its own answers in a turn, so that the turns are
/// counted in which it made no room.
async fn fill(stream: &mut TcpStream) -> usize {
    let (data, mut sent, mut refusals) = (pattern(1 << 16), 0, 0);
    while refusals < 5 {
        match timeout(Duration::from_millis(20), stream.write(&data)).await {
            Ok(len) => (sent, refusals) = (sent + len.unwrap(), 0),
            Err(_) => {
                refusals += 1;
                stream.is_flushed().unwrap();
            }
        }
    }
    sent
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

/// How often a future has to wait until it has ended.
async fn waits(future: impl Future) -> usize {
    let (mut future, mut waits) = (std::pin::pin!(future), 0);
    std::future::poll_fn(|cx| {
        let polled = future.as_mut().poll(cx);
        waits += usize::from(polled.is_pending());
        polled.map(|_| waits)
    })
    .await
}

/// The server's address on a wire.
const SERVER: &str = "10.7.0.2";

/// More than all buffers between a writer and a reader hold, the kernel's too.
const MORE_THAN_BUFFERS: usize = 24 << 20;
