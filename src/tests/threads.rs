//! Sockets on foreign threads.

use std::io::{self, ErrorKind};
use std::time::Duration;

use super::connected;
use crate::io::BufReader;
use crate::net::tcp::{OwnedReadHalf, OwnedWriteHalf, ReadHalf, WriteHalf};
use crate::net::{EchoSocket, TcpListener, TcpSocket, TcpStream, UdpSocket};
use crate::time::timeout;
use crate::{DeviceSpec, Host, Runtime, WireSpec};

fn send_and_sync<T: Send + Sync>() {}
fn send<T: Send>(_: &T) {}

#[test]
fn sockets_are_send_and_sync() {
    send_and_sync::<(TcpStream, TcpListener, TcpSocket, UdpSocket, EchoSocket)>();
    send_and_sync::<(ReadHalf<'_>, WriteHalf<'_>, OwnedReadHalf, OwnedWriteHalf, Host)>();
    assert!(size_of::<TcpStream>() <= 16);
}

/// What frameworks with `Send` bounds spawn.
#[hayase::test]
async fn futures_on_sockets_are_send(_client: Host, server: Host) {
    let (mut stream, peer) = connected(server).await;
    let mut buf = [0; 1];
    send(&stream.read(&mut buf));
    send(&peer.readable());
    send(&TcpStream::connect("10.7.0.2:7"));
    send(&TcpListener::bind("0.0.0.0:7"));
}

#[hayase::test]
async fn use_on_a_foreign_thread_is_an_error_that_explains(_client: Host, server: Host) {
    let (stream, mut peer) = connected(server).await;
    let foreign = std::thread::Builder::new().name("stranger".into());
    let error = foreign.spawn(move || stream.try_read(&mut [0; 1]).unwrap_err()).unwrap().join().unwrap();
    let text = error.to_string();
    assert!(text.contains("stranger") && text.contains("spawn_on"), "{text}");
    // The thread has dropped it: the close was sent home.
    let end = timeout(Duration::from_secs(5), peer.read(&mut [0; 1])).await;
    assert_eq!(end.expect("the connection was closed").unwrap(), 0);
}

#[test]
fn without_a_runtime_there_is_no_network() {
    let error = Host::current().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotConnected);
    assert!(error.to_string().contains("Runtime::block_on"), "{error}");
}

#[test]
fn other_cores_run_tasks_without_network() {
    let wire = DeviceSpec::Wire(WireSpec::default());
    let runtime = Runtime::builder().device(wire).cores(2).build().unwrap();
    assert_eq!(runtime.cores(), 2);
    let (value, error, foreign) = runtime.block_on(async {
        let listener = TcpListener::bind("0.0.0.0:7").await.unwrap();
        let task = crate::spawn_on(1, move || async move {
            let foreign = listener.accept().await.map(drop);
            let error = TcpListener::bind("0.0.0.0:8").await.map(drop);
            (6 * 7, error, foreign)
        });
        task.unwrap().await.unwrap()
    });
    assert_eq!(value, 42);
    assert!(error.unwrap_err().to_string().contains("core 0"));
    assert!(foreign.unwrap_err().to_string().contains("hayase-1"));
    assert!(runtime.block_on(async { crate::spawn_on(2, || async {}).is_err() }));
}

#[test]
fn a_socket_that_outlives_its_runtime_says_so() {
    let wire = DeviceSpec::Wire(WireSpec::default());
    let runtime = Runtime::builder().device(wire).build().unwrap();
    let listener = runtime.block_on(TcpListener::bind("0.0.0.0:7")).unwrap();
    drop(runtime);
    let error = listener.local_addr().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotConnected);
    assert!(error.to_string().contains("shut down"), "{error}");
}

#[hayase::test]
async fn an_error_ends_a_test() -> io::Result<()> {
    Host::current()?.addresses().map(drop)
}

#[hayase::test]
async fn buffered_streams_stay_on_their_core(_client: Host, server: Host) {
    let (stream, mut peer) = connected(server).await;
    let mut reader = BufReader::new(stream);
    peer.write_all(b"x").await.unwrap();
    assert_eq!(reader.fill_buf().await.unwrap(), b"x");
    let (stream, rest) = reader.into_parts();
    assert_eq!(
        (&*rest, stream.try_read(&mut [0; 1]).unwrap_err().kind()),
        (&b"x"[..], ErrorKind::WouldBlock)
    );
}
