//! Runtimes, hosts and reactors.

use std::cell::Cell;
use std::io::ErrorKind;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use rustix::time::{ClockId, clock_gettime};

use crate::device::wire::{Wire, WireConfig};
use crate::net::{TcpListener, TcpSocket, TcpStream};
use crate::time::Instant;
use crate::{DeviceSpec, Host, Model, Offloads, Parking, Reactor, Runtime, WireSpec};

fn on_a_wire() -> Runtime {
    Runtime::builder().device(DeviceSpec::Wire(WireSpec::default())).build().unwrap()
}

/// With both ends on one thread and connections between them. On other devices, the end-to-end tests measure it.
#[test]
fn an_idle_wire_uses_no_cpu() {
    let runtime = on_a_wire();
    let (server, client) = (runtime.host(), runtime.peer().unwrap());
    let look = || {
        let cpu_time = std::time::Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap();
        (runtime.metrics(), cpu_time)
    };
    let (before, after) = runtime.block_on(client.scope(async {
        let _connections = [super::connected(server).await, super::connected(server).await];
        crate::time::sleep(std::time::Duration::from_millis(500)).await;
        let before = look();
        crate::time::sleep(std::time::Duration::from_secs(2)).await;
        (before, look())
    }));
    let (parks, turns) = (after.0.parks - before.0.parks, after.0.turns - before.0.turns);
    let share = (after.1 - before.1).as_secs_f64() / 2.0;
    println!("the wire: woken {parks} times, {turns} turns, {:.3} % of a processor", share * 100.0);
    // What a wake-up costs is a matter of the machine. The turns are those of one spin; who spins on takes all of the time.
    assert!(parks < 20 && turns < 2_000 && share < 0.1, "{parks} times, {turns} turns, {share}");
}

#[test]
fn a_wire_has_two_hosts_with_addresses() {
    let runtime = on_a_wire();
    let [server, client] = runtime.hosts() else { panic!("two hosts") };
    assert_eq!((server.peer(), client.peer()), (Some(*client), Some(*server)));
    let addresses = |host: &Host| -> Vec<_> {
        host.addresses().unwrap().iter().map(|cidr| cidr.addr().to_string()).collect()
    };
    for address in ["10.7.0.2", "fd00:7::2"] {
        assert!(addresses(server).contains(&address.to_owned()));
    }
    for address in ["10.7.0.1", "fd00:7::1"] {
        assert!(addresses(client).contains(&address.to_owned()));
    }
    assert_ne!(server.mac().unwrap(), client.mac().unwrap());
    assert_eq!(server.mtu().unwrap(), 1500);
}

#[test]
fn tasks_inherit_their_host() {
    let runtime = on_a_wire();
    let (server, client) = (runtime.host(), runtime.peer().unwrap());
    runtime.block_on(async move {
        assert_eq!(Host::current().unwrap(), server);
        let inner = client.spawn(async {
            let own = Host::current().unwrap();
            let child = crate::spawn(async { Host::current().unwrap() }).await.unwrap();
            (own, child)
        });
        assert_eq!(inner.await.unwrap(), (client, client));
        assert_eq!(crate::spawn(async { Host::current().unwrap() }).await.unwrap(), server);
        let scoped = client.scope(async { server.scope(async { Host::current().unwrap() }).await }).await;
        assert_eq!(scoped, server);
    });
    let _client = client.enter();
    assert_eq!(runtime.block_on(async { Host::current().unwrap() }), client);
    assert_eq!(Host::current().unwrap(), client);
}

#[test]
fn what_a_cancelled_future_drops_has_its_host() {
    struct Last(Rc<Cell<Option<Host>>>);
    impl Drop for Last {
        fn drop(&mut self) {
            self.0.set(Host::current().ok());
        }
    }
    async fn wait(last: Last) {
        let _last = last;
        std::future::pending::<()>().await;
    }
    let runtime = on_a_wire();
    let client = runtime.peer().unwrap();
    let seen = Rc::new(Cell::new(None));
    let last = || Last(Rc::clone(&seen));
    runtime.block_on(async {
        let task = client.spawn(wait(last()));
        crate::task::yield_now().await;
        task.abort();
        assert!(task.await.unwrap_err().is_cancelled());
        assert_eq!(seen.take(), Some(client));
        let scoped = client.scope(wait(last()));
        assert!(crate::time::timeout(std::time::Duration::from_millis(1), scoped).await.is_err());
        assert_eq!(seen.take(), Some(client));
        drop(client.scope(wait(last())));
        assert_eq!(seen.take(), Some(client), "never polled");
        drop(client.spawn(wait(last())));
    });
    drop(runtime);
    assert_eq!(seen.take(), Some(client));
}

#[test]
fn each_of_two_runtimes_of_a_thread_opens_sockets_on_its_own_host() {
    let (first, second) = (on_a_wire(), on_a_wire());
    for runtime in [&first, &second, &first] {
        assert_eq!(runtime.block_on(async { Host::current().unwrap() }), runtime.host());
        let _entered = runtime.enter();
        assert_eq!(Host::current().unwrap(), runtime.host());
    }
    drop(first);
    assert_eq!(second.block_on(async { Host::current().unwrap() }), second.host());
}

/// As in an async main of tokio's: nobody would turn it, and whoever waits for a socket of it would wait for ever.
#[test]
fn a_runtime_that_is_only_built_opens_no_sockets() {
    let runtime = on_a_wire();
    // Other tests have runtimes that every thread may use.
    let is_default = || Host::current().is_ok_and(|host| runtime.hosts().contains(&host));
    assert!(!is_default());
    let entered = runtime.enter();
    assert!(is_default());
    let inner = on_a_wire();
    inner.block_on(async { assert_eq!(Host::current().unwrap(), inner.host()) });
    assert_eq!(Host::current().unwrap(), runtime.host());
    drop(entered);
    assert!(!is_default());
    runtime.block_on(async { assert_eq!(Host::current().unwrap(), runtime.host()) });
    assert!(!is_default());
}

/// Where somebody who awaits it in a task of another runtime's looks: in the text, and at the line.
#[test]
fn whoever_is_outside_of_a_runtime_is_told_what_to_call_and_where() {
    thread_local! {
        static IS_HERE: Cell<bool> = const { Cell::new(false) };
    }
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        IS_HERE.set(info.location().is_some_and(|location| location.file() == file!()));
        before(info);
    }));
    let second = crate::time::Duration::from_secs(1);
    let calls: [&dyn Fn(); 5] = [
        &|| drop(crate::spawn(async {})),
        &|| drop(crate::spawn_on(0, || async {})),
        &|| drop(crate::task::JoinSet::from_iter([async {}])),
        &|| super::futures_executor(async { crate::time::sleep(second).await }),
        &|| {
            let ended = super::futures_executor(async {
                crate::time::timeout(second, std::future::pending::<()>()).await
            });
            assert!(ended.is_err());
        },
    ];
    for call in calls {
        let payload = std::panic::catch_unwind(std::panic::AssertUnwindSafe(call)).unwrap_err();
        let text = payload.downcast::<&str>().unwrap();
        for part in ["Runtime::block_on", "Runtime::enter", "tokio::spawn", "tokio::time"] {
            assert!(text.contains(part), "{text}");
        }
        assert!(IS_HERE.get(), "it points to whoever has called");
    }
}

/// Its sockets get on by themselves.
#[test]
fn a_runtime_whose_stack_has_a_thread_is_the_default_where_it_is_built() {
    for model in [Model::Split, Model::Merge] {
        let wire = DeviceSpec::Wire(WireSpec::default());
        let runtime = Runtime::builder().device(wire).model(model).build().unwrap();
        assert_eq!(Host::current().unwrap(), runtime.host(), "{model}");
        runtime.block_on(async { assert_eq!(Host::current().unwrap(), runtime.host()) });
        assert_eq!(Host::current().unwrap(), runtime.host(), "{model}");
    }
}

#[test]
fn every_choice_of_the_builder_takes_effect() {
    let runtime = Runtime::builder()
        .device("wire:mtu=9000".parse().unwrap())
        .offloads(Offloads::TX_CHECKSUM)
        .parking(Parking::Ppoll)
        .spin(std::time::Duration::from_micros(10))
        .budget(16)
        .build()
        .unwrap();
    assert_eq!((runtime.host().mtu().unwrap(), runtime.parking()), (9000, "ppoll"));
    assert_eq!(runtime.host().offloads().unwrap(), Offloads::TX_CHECKSUM);
    assert_eq!(runtime.host().set_offloads(Offloads::NONE).unwrap(), Offloads::NONE);
    let no_cores = Runtime::builder().device("wire".parse().unwrap()).cores(0).build();
    assert_eq!(no_cores.unwrap_err().kind(), ErrorKind::InvalidInput);
    let no_budget = Runtime::builder().device("wire".parse().unwrap()).budget(0).build();
    assert_eq!(no_budget.unwrap_err().kind(), ErrorKind::InvalidInput);
}

#[test]
fn a_runtime_waits_for_no_one_but_the_future() {
    let runtime = on_a_wire();
    runtime.block_on(async {
        let _listener = TcpListener::bind("0.0.0.0:7").await.unwrap();
        crate::spawn(std::future::pending::<()>());
    });
    let turns = runtime.metrics();
    assert_eq!(runtime.block_on(async { 1 }), 1, "{turns:?}");
}

#[hayase::test]
async fn counters_count(client: Host, server: Host) {
    let before = client.counters().unwrap().get("TcpActiveOpens").unwrap();
    let (_stream, _peer) = super::connected(server).await;
    let counters = client.counters().unwrap();
    assert_eq!(counters.get("TcpActiveOpens").unwrap(), before + 1);
    assert!(counters.to_string().contains("TcpOutSegs"), "{counters}");
    assert!(counters.get("tx_dropped").is_some(), "the device's are among them");
}

/// A loop of one's own: no executor, no waker that does anything.
#[test]
fn a_reactor_turns_in_a_foreign_loop() {
    let (a, b) = Wire::pair(WireConfig::default());
    let mut reactor = Reactor::new();
    let server = reactor.attach(a, Default::default(), Instant::ZERO).unwrap();
    let client = reactor.attach(b, Default::default(), Instant::ZERO).unwrap();
    server.add_address("192.0.2.1/24".parse().unwrap()).unwrap();
    client.add_address("192.0.2.2/24".parse().unwrap()).unwrap();

    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("192.0.2.1:80".parse().unwrap()).unwrap();
    let listener = socket.listen(8).unwrap();
    let mut connect = Box::pin(client.scope(TcpStream::connect("192.0.2.1:80")));
    let mut cx = Context::from_waker(Waker::noop());
    let (mut stream, mut accepted) = (None, None);
    for millis in 1..100 {
        reactor.turn(Instant::from_millis(millis));
        if stream.is_none()
            && let Poll::Ready(connected) = connect.as_mut().poll(&mut cx)
        {
            stream = Some(connected.unwrap());
        }
        if let Ok((connection, _)) = listener.try_accept() {
            accepted = Some(connection);
        }
    }
    let (stream, accepted) = (stream.expect("connected"), accepted.expect("accepted"));
    assert_eq!(stream.try_write(b"hello").unwrap(), 5);
    for millis in 100..110 {
        reactor.turn(Instant::from_millis(millis));
    }
    let mut buf = [0; 8];
    assert_eq!(accepted.try_read(&mut buf).unwrap(), 5);
    assert!(!reactor.pending() && reactor.deadline().is_some_and(|at| at > Instant::from_millis(110)));
}
