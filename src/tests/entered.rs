//! What of tokio's works in a task of ours: all that needs no runtime, and with one that is entered, the rest.

use std::time::Duration;

use crate::{DeviceSpec, Host, Runtime, WireSpec};

fn on_a_wire(cores: usize) -> Runtime {
    Runtime::builder().device(DeviceSpec::Wire(WireSpec::default())).cores(cores).build().unwrap()
}

fn tokio() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_time().build().unwrap()
}

#[test]
fn an_entered_tokio_runtime_has_timers_and_threads_and_we_the_sockets() {
    let tokio = tokio();
    let _entered = tokio.enter();
    on_a_wire(1).block_on(async {
        let here = std::thread::current().id();
        let elsewhere = || std::thread::current().id();
        assert_ne!(tokio::task::spawn_blocking(elsewhere).await.unwrap(), here);
        assert_ne!(tokio::spawn(async move { elsewhere() }).await.unwrap(), here);
        let (mut stream, mut peer) = super::connected(Host::current().unwrap()).await;
        tokio::time::sleep(Duration::from_millis(1)).await;
        stream.write_all(b"hello").await.unwrap();
        let mut buf = [0; 5];
        let read = tokio::time::timeout(Duration::from_secs(5), peer.read_exact(&mut buf)).await;
        assert_eq!(read.unwrap().unwrap(), 5);
        let late = tokio::time::timeout(Duration::from_millis(5), peer.read(&mut buf)).await;
        assert!(late.is_err(), "nobody writes");
    });
}

/// Entering is of a thread.
#[test]
fn other_cores_are_not_entered() {
    let tokio = tokio();
    let _entered = tokio.enter();
    let is_entered = || async { tokio::runtime::Handle::try_current().is_ok() };
    on_a_wire(2).block_on(async {
        assert!(is_entered().await);
        assert!(!crate::spawn_on(1, is_entered).unwrap().await.unwrap());
    });
}

#[test]
fn a_local_set_of_tokios_needs_no_runtime() {
    on_a_wire(1).block_on(async {
        let inner = async {
            let (mut stream, mut peer) = super::connected(Host::current().unwrap()).await;
            let write = tokio::task::spawn_local(async move { stream.write_all(b"hello").await });
            let mut buf = [0; 5];
            peer.read_exact(&mut buf).await.unwrap();
            write.await.unwrap().unwrap();
            buf
        };
        assert_eq!(&tokio::task::LocalSet::new().run_until(inner).await, b"hello");
    });
}
