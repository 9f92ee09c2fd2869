//! What is left of a program whose runtime is gone.

use std::future::poll_fn;
use std::io::ErrorKind;
use std::task::{Context, Poll, Waker};

use crate::net::TcpListener;
use crate::{DeviceSpec, Model, Runtime, WireSpec};

fn on_a_wire(model: Model) -> Runtime {
    let wire = DeviceSpec::Wire(WireSpec::default());
    Runtime::builder().device(wire).model(model).bound(false).build().unwrap()
}

/// A listener whose runtime is gone.
fn left(model: Model) -> TcpListener {
    let runtime = on_a_wire(model);
    runtime.block_on(async { TcpListener::bind("0.0.0.0:7").await.unwrap() })
}

#[test]
fn accept_lets_others_run_before_it_tells_an_error_that_stays() {
    for model in Model::ALL {
        let listener = left(model);
        let mut cx = Context::from_waker(Waker::noop());
        for _ in 0..3 {
            let mut accept = Box::pin(listener.accept());
            assert!(accept.as_mut().poll(&mut cx).is_pending(), "{model}");
            let Poll::Ready(Err(error)) = accept.as_mut().poll(&mut cx) else {
                panic!("{model}: it waits on")
            };
            assert_eq!(error.kind(), ErrorKind::NotConnected, "{model}: {error}");
        }
    }
}

#[test]
fn poll_accept_has_a_loop_over_errors_wait() {
    for model in Model::ALL {
        let listener = left(model);
        let mut cx = Context::from_waker(Waker::noop());
        // The first is told at once.
        let seen: Vec<_> = (0..4).map(|_| listener.poll_accept(&mut cx).is_ready()).collect();
        assert_eq!(seen, [true, false, true, false], "{model}");
        // Whoever waits is woken.
        let next = super::futures_executor(poll_fn(|cx| listener.poll_accept(cx)));
        assert_eq!(next.unwrap_err().kind(), ErrorKind::NotConnected, "{model}");
        let next = super::futures_executor(poll_fn(|cx| listener.poll_accept(cx)));
        assert_eq!(next.unwrap_err().kind(), ErrorKind::NotConnected, "{model}");
    }
}

/// In the order in which locals are dropped: the network that was built last goes first.
#[cfg(feature = "tokio")]
#[test]
fn tokio_ends_tasks_that_accept_from_a_network_that_is_gone() {
    use std::sync::mpsc::{Sender, channel};
    use std::time::Duration;

    struct Told(Sender<()>);
    impl Drop for Told {
        fn drop(&mut self) {
            let _ = self.0.send(());
        }
    }

    for model in [Model::Split, Model::Merge] {
        let tokio = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
        let network = on_a_wire(model);
        let host = network.host();
        let (ended, is_ended) = channel();
        let (failed, has_failed) = channel();
        let told = Told(ended);
        tokio.block_on(async move {
            let listener = host.scope(TcpListener::bind("0.0.0.0:7")).await.unwrap();
            tokio::spawn(async move {
                let _told = told;
                loop {
                    // As servers do: of connections, one that is broken is no reason to stop.
                    if let Err(error) = listener.accept().await {
                        let _ = failed.send(error.kind());
                    }
                }
            });
        });
        drop(network);
        assert_eq!(has_failed.recv_timeout(Duration::from_secs(10)), Ok(ErrorKind::NotConnected));
        tokio.shutdown_background();
        assert_eq!(is_ended.recv_timeout(Duration::from_secs(10)), Ok(()), "{model}: the task runs on");
    }
}
