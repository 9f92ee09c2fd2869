//! Echo requests over bad paths.

use hayase::net::EchoSocket;
use hayase::time::timeout;
use hayase_sim::{Link, Sim};

use crate::common::{SEEDS, millis, seconds};

/// Whatever comes before those that count.
const FIRST: u16 = 1000;

#[test]
fn echoes_come_back_or_do_not() {
    let link = Link { loss: 0.1, corrupt: 0.1, reorder: 0.2, duplicate: 0.1, ..Link::with_delay(millis(30)) };
    Sim::builder().link(link).seeds(SEEDS).run(|sim| async move {
        let socket = EchoSocket::open().unwrap();
        // On such a path nobody may answer to ARP for three seconds, which is another story.
        loop {
            socket.send(sim.address(1), FIRST, b"who are you").unwrap();
            if let Ok(Ok(_)) = timeout(seconds(4), socket.recv()).await {
                break;
            }
        }
        for sequence in 0..100 {
            socket.send(sim.address(1), sequence, &[sequence as u8; 56]).unwrap();
            hayase::time::sleep(millis(10)).await;
        }
        let mut replies = 0;
        while let Ok(reply) = timeout(seconds(2), socket.recv()).await {
            let reply = reply.unwrap();
            if reply.sequence == FIRST {
                continue;
            }
            assert!(reply.from == sim.address(1) && reply.len == 56 && reply.sequence < 100);
            replies += 1;
        }
        assert!((40..130).contains(&replies), "{replies} replies to 100 requests");
    });
}
