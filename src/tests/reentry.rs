//! Foreign code that comes back into the shard from where it is called: from wakers and from destructors.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use bytes::Bytes;

use super::connected;
use crate::Host;
use crate::net::TcpStream;
use crate::net::tcp::OwnedWriteHalf;
use crate::time::{sleep, timeout};

/// A waker that owns a socket. Dropping the waker, or waking it, uses and closes the socket.
struct Owner {
    stream: TcpStream,
    woken: Arc<AtomicUsize>,
}

impl Wake for Owner {
    fn wake(self: Arc<Self>) {
        self.stream.try_write(b"from a waker").unwrap();
        self.woken.fetch_add(1, Ordering::Relaxed);
    }
}

everywhere! {
    async fn a_waker_may_use_and_drop_sockets(_client: Host, server: Host) {
        let (mut stream, peer) = connected(server).await;
        let (owned, mut owned_peer) = connected(server).await;
        let woken = Arc::new(AtomicUsize::new(0));
        let waker = Waker::from(Arc::new(Owner { stream: owned, woken: Arc::clone(&woken) }));
        assert!(peer.poll_read(&mut Context::from_waker(&waker), &mut [0; 1]).is_pending());
        drop(waker);
        stream.write_all(b"x").await.unwrap();
        let mut said = Vec::new();
        owned_peer.read_to_end(&mut said).await.unwrap();
        assert_eq!((said.as_slice(), woken.load(Ordering::Relaxed)), (&b"from a waker"[..], 1));
    }

    async fn a_replaced_or_abandoned_waker_may_close_sockets(_client: Host, server: Host) {
        for replace in [true, false] {
            let (_stream, peer) = connected(server).await;
            let (owned, mut owned_peer) = connected(server).await;
            let waker = Waker::from(Arc::new(Owner { stream: owned, woken: Arc::default() }));
            assert!(peer.poll_read(&mut Context::from_waker(&waker), &mut [0; 1]).is_pending());
            drop(waker);
            if replace {
                assert!(peer.poll_read(&mut Context::from_waker(Waker::noop()), &mut [0; 1]).is_pending());
            } else {
                drop(peer);
            }
            let end = timeout(Duration::from_secs(5), owned_peer.read(&mut [0; 1])).await;
            assert_eq!(end.expect("the owned socket was closed").unwrap(), 0);
        }
    }
}

/// Bytes that own sockets: their destructor runs inside the stack, when they are acknowledged.
struct Bomb {
    bytes: Vec<u8>,
    stream: TcpStream,
    refused: Arc<AtomicUsize>,
}

impl AsRef<[u8]> for Bomb {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Bomb {
    fn drop(&mut self) {
        // Inside of the stack it is an error, outside it is fine; never a panic.
        if self.stream.try_write(b"from a destructor").is_err() {
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
    }
}

everywhere! {
    async fn sent_bytes_may_own_sockets(_client: Host, server: Host) {
        let (mut stream, mut peer) = connected(server).await;
        let (owned, mut owned_peer) = connected(server).await;
        let refused = Arc::new(AtomicUsize::new(0));
        let bomb = Bomb { bytes: vec![7; 100_000], stream: owned, refused: Arc::clone(&refused) };
        stream.write_owned(Bytes::from_owner(bomb)).await.unwrap();
        peer.read_exact(&mut vec![0; 100_000]).await.unwrap();
        let mut said = Vec::new();
        let end = timeout(Duration::from_secs(5), owned_peer.read_to_end(&mut said)).await;
        end.expect("the socket inside was closed").unwrap();
        let said_it = said == b"from a destructor";
        assert_eq!(refused.load(Ordering::Relaxed), usize::from(!said_it));
    }

    /// Also where the stack runs the destructor, and is busy.
    async fn sent_bytes_may_own_a_half_that_writes(_client: Host, server: Host) {
        struct Last(Vec<u8>, Option<OwnedWriteHalf>);
        impl AsRef<[u8]> for Last {
            fn as_ref(&self) -> &[u8] {
                &self.0
            }
        }
        impl Drop for Last {
            fn drop(&mut self) {
                drop(self.1.take());
            }
        }
        let (mut stream, mut peer) = connected(server).await;
        let (owned, mut owned_peer) = connected(server).await;
        let (_read, write) = owned.into_split();
        stream.write_owned(Bytes::from_owner(Last(vec![7; 100_000], Some(write)))).await.unwrap();
        peer.read_exact(&mut vec![0; 100_000]).await.unwrap();
        let end = timeout(Duration::from_secs(5), owned_peer.read(&mut [0; 1])).await;
        assert_eq!(end.expect("nothing more is written").unwrap(), 0);
    }

    async fn a_task_that_is_dropped_closes_its_sockets(client: Host, server: Host) {
        let (stream, mut peer) = connected(server).await;
        let before = client.tcp_count().unwrap();
        let task = crate::spawn(async move {
            let mut stream = stream;
            stream.read(&mut [0; 1]).await
        });
        sleep(Duration::from_millis(1)).await;
        task.abort();
        assert!(task.await.unwrap_err().is_cancelled());
        assert_eq!(peer.read(&mut [0; 1]).await.unwrap(), 0);
        drop(peer);
        sleep(Duration::from_millis(5)).await;
        assert!(client.tcp_count().unwrap() <= before);
    }
}
