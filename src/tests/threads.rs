//! Sockets on foreign threads.

use std::io::{self, ErrorKind};
use std::time::Duration;

use super::connected;
use crate::io::BufReader;
use crate::net::tcp::{OwnedReadHalf, OwnedWriteHalf, ReadHalf, WriteHalf};
use crate::net::{EchoSocket, TcpListener, TcpSocket, TcpStream, UdpSocket};
use crate::time::timeout;
use crate::{DeviceSpec, Handle, Host, Model, Runtime, WireSpec};

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

/// On the thread that the stack is on, that is: `models.rs` has the others.
#[test]
fn use_on_a_foreign_thread_is_an_error_that_explains() {
    let wire = DeviceSpec::Wire(WireSpec::default());
    let runtime = Runtime::builder().device(wire).build().unwrap();
    let client = runtime.peer().unwrap();
    runtime.block_on(client.scope(use_on_a_foreign_thread(runtime.host())));
}

#[cfg(feature = "kernel")]
#[test]
fn use_of_a_kernel_socket_on_a_foreign_thread_is_one_as_well() {
    let runtime = Runtime::builder().device(DeviceSpec::Kernel).build().unwrap();
    runtime.block_on(use_on_a_foreign_thread(runtime.host()));
}

async fn use_on_a_foreign_thread(server: Host) {
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
fn each_core_has_a_network_of_its_own() {
    let wire = DeviceSpec::Wire(WireSpec::default());
    let runtime = Runtime::builder().device(wire).cores(2).build().unwrap();
    assert_eq!(runtime.cores(), 2);
    let (answer, foreign, hosts) = runtime.block_on(async {
        let listener = TcpListener::bind("0.0.0.0:7").await.unwrap();
        let here = Host::current().unwrap();
        let task = crate::spawn_on(1, move || async move {
            let foreign = listener.accept().await.map(drop);
            let client = Host::current().unwrap().peer().unwrap();
            let (mut stream, mut peer) = client.scope(connected(Host::current().unwrap())).await;
            stream.write_all(b"x").await.unwrap();
            let mut answer = [0; 1];
            peer.read_exact(&mut answer).await.unwrap();
            (answer, foreign, (here, Host::current().unwrap()))
        });
        task.unwrap().await.unwrap()
    });
    assert_eq!(&answer, b"x");
    assert!(foreign.unwrap_err().to_string().contains("hayase-1"));
    assert_ne!(hosts.0, hosts.1);
    assert!(runtime.block_on(async { crate::spawn_on(2, || async {}).is_err() }));
}

/// A thread that is none of the runtime's, as that of a signal handler, has it do something.
#[test]
fn a_handle_starts_tasks_from_any_thread() {
    for model in Model::ALL {
        let wire = DeviceSpec::Wire(WireSpec::default());
        let runtime = Runtime::builder().device(wire).model(model).cores(2).build().unwrap();
        let (handle, host) = (runtime.handle(), runtime.host());
        assert_eq!((handle.core(), handle.cores(), Handle::try_current().is_some()), (0, 2, false));
        let (done, wait) = tokio::sync::oneshot::channel();
        let thread = std::thread::spawn(move || {
            let where_it_is = || async { (Host::current().unwrap(), Handle::current().core()) };
            let here = super::futures_executor(handle.spawn(where_it_is)).unwrap();
            let other = super::futures_executor(handle.spawn_on(1, where_it_is).unwrap()).unwrap();
            assert!(handle.spawn_on(2, where_it_is).is_err());
            done.send((here, other)).unwrap();
            handle
        });
        // Whatever host is chosen where the runtime runs: that of the spawner is none of its own.
        let ((here, zero), (other, one)) = runtime.block_on(runtime.peer().unwrap().scope(wait)).unwrap();
        assert_eq!((here, zero, one), (host, 0, 1));
        assert_ne!(other, host);
        let handle = thread.join().unwrap();
        let task = runtime.spawn(async { Host::current().unwrap() });
        assert_eq!(runtime.block_on(task).unwrap(), host);
        let never = handle.spawn(std::future::pending::<()>);
        drop(runtime);
        for task in [never, handle.spawn(|| async {})] {
            assert!(super::futures_executor(task).unwrap_err().is_cancelled());
        }
    }
}

/// Channels of other crates carry anything `Send` between cores, and wake the core that waits.
#[test]
fn channels_connect_cores() {
    let runtime = Runtime::builder().device("wire".parse().unwrap()).cores(2).build().unwrap();
    let sum = runtime.block_on(async {
        let (to, mut from) = tokio::sync::mpsc::channel(4);
        let (answer, sum) = tokio::sync::oneshot::channel();
        let other = crate::spawn_on(1, move || async move {
            let mut sum = 0;
            while let Some(number) = from.recv().await {
                sum += number;
            }
            answer.send(sum).unwrap();
        });
        for number in 1..=1000u64 {
            to.send(number).await.unwrap();
        }
        drop(to);
        other.unwrap().await.unwrap();
        sum.await.unwrap()
    });
    assert_eq!(sum, 500_500);
}

#[test]
fn a_core_that_cannot_start_says_why() {
    let attach = |reactor: &mut crate::Reactor, _: &_| {
        let (end, _) = crate::device::wire::Wire::pair(Default::default());
        Ok(vec![reactor.attach(end, Default::default(), crate::time::now())?])
    };
    let fail = |_: &mut crate::Reactor, _: &_| Err(io::Error::other("queue 1 is in use"));
    let error = Runtime::builder().cores(2).build_with(|builder, reactor, handle| {
        builder.attach_devices(reactor, handle, vec![vec![Box::new(attach), Box::new(fail)]])
    });
    assert_eq!(error.unwrap_err().to_string(), "queue 1 is in use");
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

everywhere! {
    /// The other half keeps the connection open meanwhile.
    async fn a_half_that_is_dropped_on_a_foreign_thread_shuts_its_direction_down(_client: Host, server: Host) {
        let (stream, mut peer) = connected(server).await;
        let (mut read, write) = stream.into_split();
        std::thread::spawn(move || drop(write)).join().unwrap();
        let end = timeout(Duration::from_secs(5), peer.read(&mut [0; 1])).await;
        assert_eq!(end.expect("nothing more is written").unwrap(), 0);
        peer.write_all(b"x").await.unwrap();
        assert_eq!(read.read(&mut [0; 1]).await.unwrap(), 1);
    }

    async fn a_reset_on_a_foreign_thread_is_one(_client: Host, server: Host) {
        let (stream, mut peer) = connected(server).await;
        std::thread::spawn(move || stream.abort()).join().unwrap();
        let end = timeout(Duration::from_secs(5), peer.read(&mut [0; 1])).await;
        assert_eq!(end.expect("the connection is over").unwrap_err().kind(), ErrorKind::ConnectionReset);
    }

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
}
