//! hyper inside a simulation: on virtual time, over paths that lose, and the same run for the same seed.

mod common;

use std::cell::RefCell;
use std::io;
use std::time::Duration;

use hayase::Host;
use hayase::net::{TcpListener, TcpStream};
use hayase_compat::{HayaseExecutor, HayaseIo, HayaseTimer};
use hayase_sim::{Link, Sim, Trace};
use http_body_util::BodyExt;
use hyper::Version;
use hyper::service::service_fn;

use common::{SERVER, body, echo, listen, request};

fn lossy() -> Link {
    Link { loss: 0.03, ..Link::with_rate(10_000_000, Duration::from_millis(20)) }
}

/// All questions to a neighbour may be lost; then it tries again.
async fn connect() -> TcpStream {
    loop {
        match TcpStream::connect(SERVER).await {
            Ok(stream) => return stream,
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::HostUnreachable, "{error}"),
        }
    }
}

/// Serves one connection. The header `date` would be of the system's clock, and no two runs the same.
async fn serve(listener: TcpListener, version: Version) -> hyper::Result<()> {
    let (stream, _) = listener.accept().await.unwrap();
    let (io, service) = (HayaseIo::new(stream), service_fn(echo));
    if version == Version::HTTP_2 {
        let mut builder = hyper::server::conn::http2::Builder::new(HayaseExecutor);
        builder.timer(HayaseTimer).auto_date_header(false).serve_connection(io, service).await
    } else {
        let mut builder = hyper::server::conn::http1::Builder::new();
        builder.timer(HayaseTimer).auto_date_header(false).serve_connection(io, service).await
    }
}

/// Requests one after the other, until the client goes.
async fn ask_in_turn(server: Host) {
    let served = server.spawn(serve(listen(server).await, Version::HTTP_11));
    let io = HayaseIo::new(connect().await);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
    drop(hayase::spawn(connection));
    for len in [0, 1, 1460, 20_000, 200_000] {
        let sent = body(len);
        let response = sender.send_request(request(&sent)).await.unwrap();
        assert_eq!(response.version(), Version::HTTP_11);
        assert!(response.into_body().collect().await.unwrap().to_bytes() == sent, "{len} bytes");
    }
    drop(sender);
    served.await.unwrap().unwrap();
}

/// Requests all at once, over one connection.
async fn ask_at_once(server: Host) {
    let served = server.spawn(serve(listen(server).await, Version::HTTP_2));
    let io = HayaseIo::new(connect().await);
    let (sender, connection) = hyper::client::conn::http2::handshake(HayaseExecutor, io).await.unwrap();
    drop(hayase::spawn(connection));
    let ask = |number: usize| {
        let mut sender = sender.clone();
        hayase::spawn(async move {
            let sent = body(number * 3000);
            let response = sender.send_request(request(&sent)).await.unwrap();
            assert_eq!(response.version(), Version::HTTP_2);
            response.into_body().collect().await.unwrap().to_bytes() == sent
        })
    };
    let asked: Vec<_> = (0..10).map(ask).collect();
    for (number, task) in asked.into_iter().enumerate() {
        assert!(task.await.unwrap(), "request {number}");
    }
    drop(sender);
    served.await.unwrap().unwrap();
}

#[hayase::test(sim, seeds = 30, link = lossy())]
async fn http1_gets_through_a_path_that_loses(_client: Host, server: Host, sim: Sim) {
    ask_in_turn(server).await;
    assert!(sim.cable(0).stats().iter().any(|way| way.lost > 0), "nothing was lost");
}

#[hayase::test(sim, seeds = 30, link = lossy())]
async fn http2_gets_through_a_path_that_loses(_client: Host, server: Host, sim: Sim) {
    ask_at_once(server).await;
    assert!(sim.cable(0).stats().iter().any(|way| way.lost > 0), "nothing was lost");
}

fn recorded(seed: u64) -> (Trace, [Vec<u8>; 2]) {
    let record = RefCell::new(None);
    Sim::builder().link(lossy()).seed(seed).run(|sim| {
        let record = &record;
        async move {
            ask_in_turn(sim.server()).await;
            ask_at_once(sim.server()).await;
            record.replace(Some((sim.trace(), [sim.pcap(0), sim.pcap(1)])));
        }
    });
    record.into_inner().expect("the scenario ended")
}

#[test]
fn a_seed_is_one_run_and_another_is_another() {
    let runs: Vec<_> = (0..3).map(recorded).collect();
    for (seed, run) in (0..).zip(&runs) {
        assert!(run.0.events() > 500, "{:?}", run.0);
        assert!(*run == recorded(seed), "seed {seed} had two runs");
    }
    assert!(runs[0].0 != runs[1].0 && runs[1].0 != runs[2].0, "seeds decide nothing");
}

/// Who asks for half a thing is waited for as long as hyper's timer says: an hour of virtual time, and nothing of ours.
#[hayase::test(sim, seeds = 10, link = lossy())]
async fn a_silent_client_is_hung_up_on_after_an_hour(_client: Host, server: Host, sim: Sim) {
    let hour = Duration::from_secs(3600);
    let listener = listen(server).await;
    let served = server.spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut builder = hyper::server::conn::http1::Builder::new();
        builder.timer(HayaseTimer).header_read_timeout(hour);
        builder.serve_connection(HayaseIo::new(stream), service_fn(echo)).await
    });
    let mut stream = connect().await;
    stream.write_all(b"GET / HT").await.unwrap();
    let error = served.await.unwrap().unwrap_err();
    assert!(error.is_timeout(), "{error}");
    assert!(sim.elapsed() >= hour && sim.elapsed() < hour + Duration::from_secs(30), "{:?}", sim.elapsed());
    assert_eq!(stream.read_to_end(&mut Vec::new()).await.unwrap(), 0);
}
