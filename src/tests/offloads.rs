//! Offloads that come and go while bytes are on their way.

use hayase_device::Offloads;

use super::{connected, pattern};
use crate::net::TcpStream;
use crate::{Host, task};

/// Every mixture that a switch can be thrown to, each next to a very different one.
const SETTINGS: [Offloads; 6] = [
    Offloads::NONE,
    Offloads::ALL,
    Offloads::TX_CHECKSUM,
    Offloads::RX_CHECKSUM,
    Offloads::SG,
    Offloads::ALL,
];

async fn send(mut stream: TcpStream, data: Vec<u8>) -> TcpStream {
    for piece in data.chunks(50_000) {
        stream.write_all(piece).await.unwrap();
    }
    stream
}

#[hayase::test]
async fn a_transfer_does_not_notice_that_offloads_are_switched(client: Host, server: Host) {
    let (stream, mut peer) = connected(server).await;
    let data = pattern(8_000_000);
    let writer = crate::spawn(send(stream, data.clone()));
    let mut received = vec![0; data.len()];
    let mut switched = 0;
    for (i, piece) in received.chunks_mut(100_000).enumerate() {
        // The two ends out of step with each other.
        let (ours, theirs) = (SETTINGS[i % SETTINGS.len()], SETTINGS[(i * 5 + 2) % SETTINGS.len()]);
        switched += usize::from(client.set_offloads(ours).unwrap() == ours);
        server.set_offloads(theirs).unwrap();
        peer.read_exact(piece).await.unwrap();
        task::yield_now().await;
    }
    assert_eq!(switched, 80, "every setting was taken");
    assert!(received == data, "and every byte is the one that was sent");
    let counters = [client.counters().unwrap(), server.counters().unwrap()];
    for name in ["TCP_CSUM", "tx_errors", "tx_dropped"] {
        assert!(counters.iter().all(|counters| counters.get(name) == Some(0)), "{name}: {counters:?}");
    }
    drop(writer.await.unwrap());
}
