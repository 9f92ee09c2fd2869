//! The simulator itself: same seed, same run; time that costs nothing; failures that can be replayed.

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use hayase::device::Offloads;
use hayase::net::{TcpListener, TcpStream};
use hayase::time::{sleep, timeout};
use hayase_sim::{Link, Sim, Topology, Trace};

const SERVER: &str = "10.7.0.2:80";

/// Sends `len` bytes from the client to the server.
async fn transfer(sim: &Sim, len: u64) -> std::io::Result<()> {
    let flow = sim.flow();
    let listener = sim.server().scope(TcpListener::bind(SERVER)).await?;
    let receiver = flow.clone();
    let server = sim.server().spawn(async move {
        let (mut stream, _) = listener.accept().await?;
        receiver.receive(&mut stream).await
    });
    flow.send(&mut TcpStream::connect(SERVER).await?, len).await?;
    assert_eq!(server.await.expect("the server ends by itself")?, len);
    Ok(())
}

fn recorded(seed: u64) -> (Trace, Vec<u8>, Vec<u8>) {
    let record = RefCell::new(None);
    Sim::builder().seed(seed).run(|sim| {
        let record = &record;
        async move {
            transfer(&sim, 200_000).await.unwrap();
            record.replace(Some((sim.trace(), sim.pcap(0), sim.pcap(1))));
        }
    });
    record.into_inner().expect("the scenario ended")
}

#[test]
fn the_same_seed_is_the_same_run_byte_for_byte() {
    for seed in 0..10 {
        let (trace, client, server) = recorded(seed);
        assert!(trace.events() > 100 && client.len() > 200_000, "{trace:?}");
        assert!((trace, client, server) == recorded(seed), "seed {seed} had two runs");
    }
}

#[test]
fn other_seeds_are_other_runs() {
    let mut hashes: Vec<_> = (0..20).map(|seed| recorded(seed).0.hash()).collect();
    hashes.sort_unstable();
    hashes.dedup();
    assert_eq!(hashes.len(), 20);
}

#[test]
fn an_idle_hour_costs_less_than_a_second() {
    let start = Instant::now();
    Sim::builder().link(Link::default()).run(|sim| async move {
        let listener = sim.server().scope(TcpListener::bind(SERVER)).await.unwrap();
        let mut stream = TcpStream::connect(SERVER).await.unwrap();
        let (mut peer, _) = listener.accept().await.unwrap();
        sleep(Duration::from_secs(3600)).await;
        stream.write_all(b"still there?").await.unwrap();
        let mut buf = [0; 12];
        peer.read_exact(&mut buf).await.unwrap();
        assert!(sim.elapsed() > Duration::from_secs(3600));
    });
    let took = start.elapsed();
    assert!(took < Duration::from_secs(1), "{took:?}");
}

#[test]
fn time_is_exact() {
    Sim::builder().link(Link::with_delay(Duration::from_millis(50))).run(|sim| async move {
        let listener = sim.server().scope(TcpListener::bind(SERVER)).await.unwrap();
        let before = sim.elapsed();
        let stream = TcpStream::connect(SERVER).await.unwrap();
        // ARP takes a round trip, the handshake another one; both know when they began.
        assert_eq!(sim.elapsed() - before, Duration::from_millis(200));
        drop((stream, listener));
    });
}

/// Runs what must fail, with the captures in a folder of its own.
fn failing<F: Future<Output = ()>>(name: &str, scenario: impl Fn(Sim) -> F) -> (String, Vec<String>) {
    let folder = std::env::temp_dir().join(format!("hayase-sim-test-{name}-{}", std::process::id()));
    let builder = Sim::builder().link(Link::default()).seeds(10).captures(&folder);
    let panic = catch_unwind(AssertUnwindSafe(|| builder.run(scenario))).expect_err("it was to fail");
    let text = panic.downcast_ref::<String>().cloned();
    let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
    let files = std::fs::read_dir(&folder).expect("there are captures");
    let mut names: Vec<_> =
        files.map(|file| file.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    std::fs::remove_dir_all(&folder).unwrap();
    (text.expect("panics have a text"), names)
}

#[test]
fn the_first_seed_that_fails_ends_the_run_and_leaves_captures() {
    let runs = Cell::new(0);
    let (text, captures) = failing("seed", |sim| {
        runs.set(runs.get() + 1);
        async move {
            transfer(&sim, 1000).await.unwrap();
            assert!(sim.seed() != 3, "seed three");
        }
    });
    assert_eq!((text.as_str(), runs.get()), ("seed three", 4));
    assert_eq!(captures.len(), 2);
    assert!(
        captures[0].ends_with("-3-client.pcap") && captures[1].ends_with("-3-server.pcap"),
        "{captures:?}"
    );
}

#[test]
fn a_panic_in_any_task_fails() {
    let (text, _) = failing("task", |sim| async move {
        sim.server().spawn(async { panic!("on the server") });
        sleep(Duration::from_secs(1)).await;
    });
    assert!(text.contains("1 tasks panicked"), "{text}");
}

#[test]
fn a_deadlock_is_named() {
    let (text, _) = failing("deadlock", |sim| async move {
        let listener = sim.server().scope(TcpListener::bind(SERVER)).await.unwrap();
        listener.accept().await.unwrap();
    });
    assert!(text.contains("every task waits"), "{text}");
}

#[test]
fn a_task_that_spins_is_named() {
    let (text, _) = failing("spin", |_| async {
        loop {
            hayase::task::yield_now().await;
        }
    });
    assert!(text.contains("time stands still"), "{text}");
}

#[test]
fn a_connection_that_nothing_ends_is_named() {
    let (text, _) = failing("drain", |sim| async move {
        let _listener = sim.server().scope(TcpListener::bind(SERVER)).await.unwrap();
        std::mem::forget(TcpStream::connect(SERVER).await.unwrap());
    });
    assert!(text.starts_with("oracle: TIME_WAIT and timers drain"), "{text}");
    assert!(text.contains("has 1 connections"), "{text}");
}

#[test]
fn who_takes_longer_than_the_longest_time_has_failed() {
    let builder = Sim::builder().time_max(Duration::from_secs(10)).link(Link::default());
    let builder = builder.captures(std::env::temp_dir().join("hayase-sim"));
    let late = AssertUnwindSafe(|| {
        builder.run(|_| async {
            for _ in 0..12 {
                sleep(Duration::from_secs(1)).await;
            }
        });
    });
    let panic = catch_unwind(late).unwrap_err();
    let text = panic.downcast_ref::<String>().unwrap();
    assert!(text.contains("not over after 10s"), "{text}");
}

#[test]
fn an_error_is_returned_by_the_seed_that_has_it() {
    let builder =
        Sim::builder().link(Link::default()).seeds(5).captures(std::env::temp_dir().join("hayase-sim"));
    let result = builder.run(|sim| async move { if sim.seed() == 2 { Err(sim.seed()) } else { Ok(()) } });
    assert_eq!(result, Err(2));
}

#[test]
fn a_rebooted_host_has_forgotten_its_connections() {
    Sim::builder().link(Link::default()).seeds(5).run(|sim| async move {
        let listener = sim.server().scope(TcpListener::bind(SERVER)).await.unwrap();
        let mut stream = TcpStream::connect(SERVER).await.unwrap();
        let (mut peer, _) = listener.accept().await.unwrap();
        let waiting = sim.server().spawn(async move { peer.read(&mut [0]).await });
        let server = sim.reboot(1).await;
        // Who waited on it is told.
        let error = waiting.await.unwrap().unwrap_err();
        assert!(
            error.to_string().contains("gone") || error.kind() == std::io::ErrorKind::NotConnected,
            "{error:?}"
        );
        stream.write_all(b"hello?").await.unwrap();
        let reset = stream.read(&mut [0; 8]).await.unwrap_err();
        assert_eq!(reset.kind(), std::io::ErrorKind::ConnectionReset);
        // And it can be spoken to again.
        let listener = server.scope(TcpListener::bind(SERVER)).await.unwrap();
        TcpStream::connect(SERVER).await.unwrap();
        listener.accept().await.unwrap();
    });
}

#[test]
fn cables_can_be_changed_and_counted() {
    Sim::builder().link(Link::default()).run(|sim| async move {
        let listener = sim.server().scope(TcpListener::bind(SERVER)).await.unwrap();
        let cable = sim.cable(0);
        cable.cut();
        assert!(timeout(Duration::from_secs(2), TcpStream::connect(SERVER)).await.is_err());
        cable.mend();
        cable.change_forth(|link| link.delay = Duration::from_millis(10));
        let mut stream = TcpStream::connect(SERVER).await.unwrap();
        let (peer, _) = listener.accept().await.unwrap();
        let [forth, back] = cable.stats();
        assert!(forth.cut > 0 && back.cut == 0 && back.arrived >= 2, "{forth:?} {back:?}");
        assert_eq!(cable.links()[0].delay, Duration::from_millis(10));
        drop(peer);
        assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
    });
}

/// The router's errors do not fit either, and of errors there are none: so the path is silent, and what goes over it is found out.
#[test]
fn a_path_too_narrow_for_its_errors_has_none_and_is_got_through() {
    Sim::builder().link(Link { mtu: Some(500), ..Link::default() }).seeds(3).run(|sim| async move {
        let listener = sim.server().scope(TcpListener::bind(SERVER)).await.unwrap();
        let mut stream = TcpStream::connect(SERVER).await.unwrap();
        let (mut peer, _) = listener.accept().await.unwrap();
        stream.write_all(&[1; 2000]).await.unwrap();
        let mut received = [0; 2000];
        timeout(Duration::from_secs(120), peer.read_exact(&mut received)).await.unwrap().unwrap();
        assert_eq!(received, [1; 2000]);
        let [forth, back] = sim.cable(0).stats();
        assert!(forth.too_long > 1 && back.too_long == 0, "{forth:?} {back:?}");
        stream.abort();
    });
}

#[test]
fn runts_and_giants_are_refused_by_the_device() {
    Sim::builder().link(Link::default()).run(|sim| async move {
        for (len, count) in [(0, 0), (10, 0), (13, 0), (14, 1), (1514, 2), (1515, 2), (9000, 2)] {
            sim.inject(1, &vec![0; len]);
            sleep(Duration::from_millis(1)).await;
            let counters = sim.server().counters().unwrap();
            assert_eq!(counters.get("IpInReceives"), Some(count), "{len} bytes");
        }
        assert_eq!(
            sim.pcap(1).len(),
            24 + 16 + 14 + 16 + 1514,
            "what the host has not seen is not in its capture"
        );
    });
}

#[test]
fn devices_are_as_they_were_chosen() {
    let builder = Sim::builder().link(Link::default()).mtu(9000).offloads(Offloads::NONE);
    builder.run(|sim| async move {
        assert_eq!(sim.client().offloads().unwrap(), Offloads::NONE);
        for (len, count) in [(9014, 1), (9015, 1)] {
            sim.inject(1, &vec![0; len]);
            sleep(Duration::from_millis(1)).await;
            assert_eq!(sim.server().counters().unwrap().get("IpInReceives"), Some(count), "{len} bytes");
        }
    });
}

#[test]
fn a_forged_frame_may_come_long_after_the_end() {
    let arrived = Cell::new(0);
    Sim::builder().link(Link::default()).run(|sim| {
        let arrived = &arrived;
        async move {
            let at = hayase::time::now() + Duration::from_secs(10 * 3600);
            sim.inject_at(at, 1, &[0; 60]);
            let unknown = AssertUnwindSafe(|| sim.inject_at(at, 2, &[0; 60]));
            let panic = catch_unwind(unknown).unwrap_err();
            assert_eq!(panic.downcast_ref::<String>().unwrap(), "there are 2 hosts, and no number 2");
            arrived.set(1);
        }
    });
    assert_eq!(arrived.get(), 1);
}

#[test]
fn many_hosts_share_a_bottleneck() {
    let fast = Link::default();
    let slow = Link::with_rate(10_000_000, Duration::from_millis(5));
    Sim::builder().topology(Topology::dumbbell(3, 1, &fast, &slow)).seeds(3).run(|sim| async move {
        let listener = sim.server().scope(TcpListener::bind("10.7.0.4:80")).await.unwrap();
        let flows: Vec<_> = (0..3).map(|_| sim.flow()).collect();
        let mut senders = Vec::new();
        for (client, flow) in flows.iter().cloned().enumerate() {
            let sender =
                async move { flow.send(&mut TcpStream::connect("10.7.0.4:80").await?, 100_000).await };
            senders.push(sim.host(client).spawn(sender));
        }
        let mut receivers = Vec::new();
        for _ in 0..3 {
            let (mut stream, from) = listener.accept().await.unwrap();
            let client = (0..3).find(|client| sim.address(*client) == from.ip()).unwrap();
            let flow = flows[client].clone();
            receivers.push(sim.server().spawn(async move { flow.receive(&mut stream).await }));
        }
        for task in senders {
            task.await.unwrap().unwrap();
        }
        for task in receivers {
            assert_eq!(task.await.unwrap().unwrap(), 100_000);
        }
        assert!(sim.cable(0).stats()[0].arrived_len > 300_000);
    });
}
