//! What remains of closed connections.

use hayase::net::TcpSocket;
use hayase::time::sleep;
use hayase_sim::{Link, Sim};

use crate::common::{SEEDS, SERVER, connect, count, listen, millis, seconds};

/// Each closed connection stays for a minute on the side that closed first, and then is gone.
#[test]
fn passes() {
    Sim::builder().link(Link { loss: 0.02, ..Link::with_delay(millis(2)) }).seeds(SEEDS).run(
        |sim| async move {
            let listener = listen(&sim).await;
            for _ in 0..50 {
                let mut stream = connect().await;
                let (mut peer, _) = listener.accept().await.unwrap();
                stream.shutdown().await.unwrap();
                assert_eq!(peer.read(&mut [0]).await.unwrap(), 0);
                drop(peer);
                assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
            }
            assert!(sim.client().tcp_count().unwrap() > 40);
            // A FIN that comes again starts the minute again.
            sleep(seconds(130)).await;
            assert_eq!((sim.client().tcp_count().unwrap(), sim.server().tcp_count().unwrap()), (0, 0));
        },
    );
}

/// The same addresses and ports, over and over: a SYN that can only be new ends TIME_WAIT (RFC 6191).
#[test]
fn makes_room_for_a_new_connection() {
    Sim::builder().link(Link::with_delay(millis(2))).seeds(SEEDS).run(|sim| async move {
        let listener = listen(&sim).await;
        for _ in 0..20 {
            let socket = TcpSocket::new_v4().unwrap();
            socket.bind("10.7.0.1:5000".parse().unwrap()).unwrap();
            let mut stream = socket.connect(SERVER.parse().unwrap()).await.unwrap();
            let (peer, _) = listener.accept().await.unwrap();
            // The server closes first, and so it is the one that waits.
            drop(peer);
            assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
            drop(stream);
            sleep(millis(20)).await;
        }
        assert_eq!(count(sim.server(), "TcpExtTWRecycled"), 19);
    });
}
