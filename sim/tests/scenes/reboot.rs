//! A host loses its power in the middle of a transfer, and comes back knowing nothing.

use hayase::net::TcpListener;
use hayase::time::sleep;
use hayase_sim::{Link, Sim};

use crate::common::{SEEDS, SERVER, connect, listen, millis, receive, seconds, within};

/// The sender is told by the first answer of the new host, and can begin again.
#[test]
fn of_the_server_resets_the_sender() {
    Sim::builder().link(Link { loss: 0.01, ..Link::with_rate(2_000_000, millis(10)) }).seeds(SEEDS).run(
        |sim| async move {
            let flow = sim.flow();
            let server = receive(&sim, listen(&sim).await, &flow);
            let client = sim.client().spawn(async move { flow.send(&mut connect().await, 1_000_000).await });
            let mut random = sim.random();
            sleep(seconds(2) + random.time(seconds(1))).await;
            let reborn = sim.reboot(1).await;
            assert!(server.await.unwrap().is_err(), "who waited on the old host is told");
            let error = within(seconds(5), client).await.unwrap().unwrap_err();
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);

            let listener = reborn.scope(TcpListener::bind(SERVER)).await.unwrap();
            let flow = sim.flow();
            let server = receive(&sim, listener, &flow);
            flow.send(&mut connect().await, 50_000).await.unwrap();
            assert_eq!(server.await.unwrap().unwrap(), 50_000);
        },
    );
}

/// The client comes back with the same address and the same port: the server still has the old connection, says so
/// (RFC 5961 §4), is reset for it, and takes the next SYN.
#[test]
fn of_the_client_with_the_same_port_gets_through() {
    Sim::builder().link(Link { loss: 0.02, ..Link::with_delay(millis(10)) }).seeds(SEEDS).run(
        |sim| async move {
            let listener = listen(&sim).await;
            let connect_again = || async {
                let socket = hayase::net::TcpSocket::new_v4().unwrap();
                socket.bind("10.7.0.1:5000".parse().unwrap()).unwrap();
                socket.connect(SERVER.parse().unwrap()).await.unwrap()
            };
            let _old = connect_again().await;
            let (mut old_peer, _) = listener.accept().await.unwrap();
            let client = sim.reboot(0).await;
            let mut stream = client.scope(within(seconds(30), connect_again())).await;
            let (mut peer, from) = within(seconds(30), listener.accept()).await.unwrap();
            assert_eq!(from.port(), 5000);
            assert!(old_peer.read(&mut [0]).await.is_err(), "the old connection is over");
            stream.write_all(b"again").await.unwrap();
            let mut buf = [0; 5];
            peer.read_exact(&mut buf).await.unwrap();
            assert_eq!(&buf, b"again");
        },
    );
}
