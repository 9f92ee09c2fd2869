//! A future that is dropped loses nothing.

use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

use futures_util::{FutureExt, future};

use super::{MORE_THAN_BUFFERS, address, connected, listen, pattern};
use crate::Host;
use crate::net::{TcpStream, UdpSocket};
use crate::time::{sleep, timeout};

/// Who does not care to be woken.
struct Nobody;

impl Wake for Nobody {
    fn wake(self: Arc<Nobody>) {}
}

everywhere! {
    async fn a_cancelled_read_leaves_the_bytes(_client: Host, server: Host) {
        let (mut stream, mut peer) = connected(server).await;
        let mut buf = [0; 64];
        for round in 0..50u8 {
            assert!(timeout(Duration::from_micros(200), peer.read(&mut buf)).await.is_err());
            stream.write_all(&[round; 3]).await.unwrap();
            sleep(Duration::from_micros(300)).await;
            let mut received = 0;
            while received < 3 {
                // Polled once and dropped before or after the bytes are there.
                drop(peer.read(&mut buf).now_or_never().inspect(|read| received += *read.as_ref().unwrap()));
                if received < 3 {
                    received += peer.read(&mut buf[received..]).await.unwrap();
                }
            }
            assert_eq!((received, &buf[..3]), (3, &[round; 3][..]));
        }
    }

    async fn a_cancelled_write_was_not_begun(_client: Host, server: Host) {
        let (mut stream, mut peer) = connected(server).await;
        let data = pattern(MORE_THAN_BUFFERS);
        let mut written = 0;
        let mut cancelled = 0;
        let mut received = Vec::new();
        while written < data.len() {
            let end = data.len().min(written + 500_000);
            match timeout(Duration::from_micros(100), stream.write(&data[written..end])).await {
                Ok(len) => written += len.unwrap(),
                Err(_) => {
                    cancelled += 1;
                    peer.read_buf(&mut received).await.unwrap();
                }
            }
        }
        stream.shutdown().await.unwrap();
        peer.read_to_end(&mut received).await.unwrap();
        assert!(cancelled > 0, "the writer never had to wait");
        assert!(received == data, "cancelled {cancelled} times, received {} bytes", received.len());
    }

    async fn a_cancelled_accept_leaves_the_connection(_client: Host, server: Host) {
        let (listener, addr) = listen(server).await;
        assert!(timeout(Duration::from_millis(1), listener.accept()).await.is_err());
        let mut waiting = Box::pin(listener.accept());
        assert!(waiting.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        let _stream = TcpStream::connect(addr).await.unwrap();
        // By then there is something for the first as well.
        sleep(Duration::from_millis(5)).await;
        drop(waiting);
        let accepted = timeout(Duration::from_secs(5), listener.accept()).await;
        assert!(accepted.expect("the connection is still there").is_ok());
    }

    async fn a_wait_that_is_dropped_on_another_thread_leaves_no_waker(_client: Host, server: Host) {
        let (listener, _) = listen(server).await;
        let nobody = Arc::new(Nobody);
        let mut waiting = Box::pin(listener.accept());
        let waker = Waker::from(Arc::clone(&nobody));
        assert!(waiting.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        drop(waker);
        assert_eq!(Arc::strong_count(&nobody), 2);
        thread::scope(|scope| drop(scope.spawn(move || drop(waiting)).join()));
        sleep(Duration::from_millis(1)).await;
        assert_eq!(Arc::strong_count(&nobody), 1);
    }
}

#[hayase::test]
async fn a_cancelled_connect_gives_the_attempt_up(client: Host, _server: Host) {
    let before = client.tcp_count().unwrap();
    let attempt = timeout(Duration::from_millis(5), TcpStream::connect("10.7.0.99:7")).await;
    assert!(attempt.is_err());
    sleep(Duration::from_millis(1)).await;
    assert_eq!(client.tcp_count().unwrap(), before);
}

everywhere! {
    async fn a_cancelled_receive_leaves_the_datagram(_client: Host, server: Host) {
        let socket = server.scope(UdpSocket::bind((address(server), 0))).await.unwrap();
        let mut buf = [0; 16];
        assert!(timeout(Duration::from_millis(1), socket.recv_from(&mut buf)).await.is_err());
        let mut other = [0; 16];
        let mut waiting = Box::pin(socket.recv_from(&mut other));
        assert!(waiting.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        let sender = UdpSocket::bind("0.0.0.0:0").await.unwrap();
        sender.send_to(b"x", socket.local_addr().unwrap()).await.unwrap();
        // By then there is something for the first as well.
        socket.readable().await.unwrap();
        drop(waiting);
        let received = timeout(Duration::from_secs(5), socket.recv_from(&mut buf)).await;
        assert_eq!(received.expect("the datagram is still there").unwrap().0, 1);
    }

    /// One of two waiting tasks is cancelled at the very moment when the event came for both.
    async fn a_wake_is_not_lost_with_its_future(_client: Host, server: Host) {
        let (mut stream, peer) = connected(server).await;
        for _ in 0..20 {
            let mut first = Box::pin(peer.readable());
            let mut second = Box::pin(peer.readable());
            let mut cx = Context::from_waker(Waker::noop());
            assert!(first.as_mut().poll(&mut cx).is_pending());
            let waiting = future::poll_fn(|cx| {
                let polled = second.as_mut().poll(cx);
                if polled.is_ready() { Poll::Ready(()) } else { Poll::Pending }
            });
            let write = async {
                stream.write_all(b"x").await.unwrap();
                drop(first);
            };
            timeout(Duration::from_secs(5), future::join(waiting, write)).await.expect("the other one was woken");
            drop(second);
            peer.try_read(&mut [0; 8]).unwrap();
        }
    }
}
