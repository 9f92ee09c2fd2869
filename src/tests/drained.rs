//! A read that leaves nothing behind registers its task, and the next read of that task waits without asking: who is woken
//! must be the same as if it had asked.

use std::cell::{Cell, RefCell};
use std::fmt::Debug;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use super::connected;
use crate::Host;
use crate::net::TcpStream;
use crate::time::sleep;

/// Waits until `left` is `right`, for as long as a busy machine may take.
async fn eventually<T: PartialEq + Debug>(mut left: impl FnMut() -> T, right: T) {
    for _ in 0..5000 {
        if left() == right {
            return;
        }
        sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(left(), right);
}

/// Lets everything happen that is on its way. Each sleep takes a turn of the thread at least, however late that comes.
async fn settle() {
    for _ in 0..5 {
        sleep(Duration::from_millis(1)).await;
    }
}

#[derive(Default)]
struct Count(AtomicUsize);

impl Count {
    fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Has a task call `each` with every poll, and counts the polls.
fn watch(mut each: impl FnMut(usize, &mut Context<'_>) + 'static) -> Rc<Cell<usize>> {
    let polls = Rc::new(Cell::new(0));
    let count = Rc::clone(&polls);
    drop(crate::spawn(poll_fn(move |cx| {
        count.set(count.get() + 1);
        each(count.get(), cx);
        Poll::<()>::Pending
    })));
    polls
}

fn read(stream: &TcpStream, cx: &mut Context<'_>) -> Poll<usize> {
    stream.poll_read(cx, &mut [0; 16]).map(Result::unwrap)
}

everywhere! {
    async fn the_next_datum_wakes_who_drained_the_socket_once(_client: Host, server: Host) {
        let (stream, mut peer) = connected(server).await;
        // Nagle would hold the later ones back until the acknowledgement, which waits for company.
        peer.set_nodelay(true).unwrap();
        peer.write_all(b"one").await.unwrap();
        assert_eq!(stream.peek(&mut [0]).await.unwrap(), 1);
        let lens = Rc::new(RefCell::new(Vec::new()));
        let seen = Rc::clone(&lens);
        let polls = watch(move |poll, cx| {
            // Only the first three polls ask.
            while poll <= 3 && let Poll::Ready(len) = read(&stream, cx) {
                seen.borrow_mut().push(len);
            }
        });
        eventually(|| polls.get(), 1).await;
        for (expected, polled) in [(2, 2), (3, 3), (3, 4)] {
            peer.write_all(b"more").await.unwrap();
            eventually(|| (lens.borrow().len(), polls.get()), (expected, polled)).await;
        }
        // The fourth poll did not ask, so nobody waits any more.
        peer.write_all(b"more").await.unwrap();
        settle().await;
        assert_eq!(polls.get(), 4);
        assert_eq!(*lens.borrow(), [3, 4, 4]);
    }

    async fn of_two_who_wait_the_last_that_asked_is_woken(_client: Host, server: Host) {
        let (stream, mut peer) = connected(server).await;
        // Nagle would hold the later ones back until the acknowledgement, which waits for company.
        peer.set_nodelay(true).unwrap();
        peer.write_all(b"one").await.unwrap();
        assert_eq!(stream.peek(&mut [0]).await.unwrap(), 1);
        let other = Arc::new(Count::default());
        let waker = Waker::from(Arc::clone(&other));
        let polls = watch(move |poll, cx| {
            let other = &mut Context::from_waker(&waker);
            match poll {
                // This task, the other, and this one again.
                1 => {
                    assert_eq!(read(&stream, cx), Poll::Ready(3));
                    assert!(read(&stream, other).is_pending() && read(&stream, cx).is_pending());
                }
                // This task, and the other.
                2 => {
                    assert_eq!(read(&stream, cx), Poll::Ready(3));
                    assert!(read(&stream, cx).is_pending() && read(&stream, other).is_pending());
                }
                _ => unreachable!("this task waits no more"),
            }
        });
        eventually(|| (polls.get(), other.get()), (1, 0)).await;
        for woken in [(2, 0), (2, 1)] {
            peer.write_all(b"two").await.unwrap();
            eventually(|| (polls.get(), other.get()), woken).await;
        }
    }

    async fn a_foreign_waker_takes_the_place_of_a_task(_client: Host, server: Host) {
        let (stream, mut peer) = connected(server).await;
        peer.set_nodelay(true).unwrap();
        peer.write_all(b"one").await.unwrap();
        assert_eq!(stream.peek(&mut [0]).await.unwrap(), 1);
        let other = Arc::new(Count::default());
        let waker = Waker::from(Arc::clone(&other));
        let polls = watch(move |_, cx| {
            assert_eq!(read(&stream, cx), Poll::Ready(3));
            assert!(read(&stream, cx).is_pending());
            assert!(read(&stream, &mut Context::from_waker(&waker)).is_pending());
        });
        eventually(|| polls.get(), 1).await;
        peer.write_all(b"two").await.unwrap();
        eventually(|| other.0.load(Ordering::Relaxed), 1).await;
        settle().await;
        assert_eq!(polls.get(), 1);
    }

    async fn a_reader_and_those_who_wait_for_readiness_are_all_woken(_client: Host, server: Host) {
        let (stream, mut peer) = connected(server).await;
        peer.set_nodelay(true).unwrap();
        let stream = Rc::new(stream);
        let (bytes, looks) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
        let (total, reader) = (Rc::clone(&bytes), Rc::clone(&stream));
        let _ = watch(move |_, cx| {
            while let Poll::Ready(len) = read(&reader, cx) {
                total.set(total.get() + len);
            }
        });
        for round in 1..4 {
            // The first time the reader waits alone when the others come, later they come and go.
            let waiters = [(); 2].map(|()| {
                let (stream, looks) = (Rc::clone(&stream), Rc::clone(&looks));
                crate::spawn(async move {
                    let mut ready = pin!(stream.readable());
                    poll_fn(|cx| {
                        looks.set(looks.get() + 1);
                        ready.as_mut().poll(cx).map(drop)
                    })
                    .await;
                })
            });
            settle().await;
            peer.write_all(b"more").await.unwrap();
            // Each of them looks twice; who does so after the reader has read finds nothing, and waits on.
            eventually(|| (bytes.get(), looks.get()), (4 * round, 4 * round)).await;
            waiters.iter().for_each(hayase_executor::JoinHandle::abort);
            settle().await;
        }
    }

    async fn an_end_that_has_come_already_is_seen_at_once(_client: Host, server: Host) {
        let (mut stream, mut peer) = connected(server).await;
        peer.write_all(b"last").await.unwrap();
        peer.shutdown().await.unwrap();
        settle().await;
        let mut buf = [0; 16];
        assert_eq!(stream.read(&mut buf).await.unwrap(), 4);
        assert_eq!(stream.read(&mut buf).await.unwrap(), 0);
        let (mut stream, peer) = connected(server).await;
        let mut reading = Box::pin(async move { stream.read(&mut buf).await });
        let first = poll_fn(|cx| Poll::Ready(reading.as_mut().poll(cx).is_pending())).await;
        assert!(first);
        drop(peer);
        assert_eq!(reading.await.unwrap(), 0, "an end wakes like a datum");
    }
}
