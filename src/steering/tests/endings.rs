//! The end of a host of several cores, whose queues carry frames of each other's connections.

use super::*;

const PORT: u16 = 80;

/// More than the first window of a connection, so that it takes acknowledgements to send it.
const LEN: usize = 150_000;

/// Runs the server's part to the end of its runtime, while the client's runs on a thread of its own.
fn play_to_the_end<C: Future<Output = ()> + 'static>(
    site: Site,
    client: impl FnOnce() -> C + Send + 'static,
    server: impl AsyncFnOnce(),
) {
    let Site { server: runtime, client: nic } = site;
    let parts = send(nic);
    let thread = thread::spawn(move || {
        let build = |builder: &Builder, reactor: &mut Reactor, handle: &_| {
            let attach =
                move |reactor: &mut Reactor, config: &_| attach(reactor, parts.build(), CLIENT, config);
            builder.attach_devices(reactor, handle, vec![vec![Box::new(attach) as Queue]])
        };
        let runtime = Runtime::builder().build_with(build).unwrap();
        runtime.block_on(async {
            timeout(Duration::from_secs(30), client()).await.expect("the client is stuck");
        });
    });
    runtime.block_on(async {
        timeout(Duration::from_secs(30), server()).await.expect("the server is stuck");
    });
    drop(runtime);
    thread.join().unwrap();
}

async fn read_to_the_end() {
    let mut received = Vec::new();
    connect(PORT).await.read_to_end(&mut received).await.unwrap();
    assert_eq!(received.len(), LEN);
}

async fn accept_and_write() {
    let listener = TcpListener::bind((SERVER, PORT)).await.unwrap();
    let (mut stream, _) = listener.accept().await.unwrap();
    stream.write_all(&vec![7; LEN]).await.unwrap();
}

/// The acknowledgements come in at the queue of a core that has nothing of its own to wait for.
#[test]
fn what_core_0_had_written_arrives_by_the_queue_of_another() {
    for model in Model::ALL {
        let builder = Runtime::builder().cores(2).model(model);
        let site = site_with(builder, 2, 2, Spreading::Last);
        play_to_the_end(site, read_to_the_end, accept_and_write);
    }
}

/// The last core sends by the queue of another, which is neither core 0 nor has anything to say.
#[test]
fn what_a_core_without_a_queue_had_written_arrives() {
    for model in Model::ALL {
        let builder = Runtime::builder().cores(4).model(model);
        let site = site_with(builder, 4, 2, Spreading::RoundRobin);
        play_to_the_end(site, read_to_the_end, async || {
            spawn_on(3, accept_and_write).unwrap().await.unwrap();
        });
    }
}
