//! UDP over bad paths: datagrams may vanish, come twice or overtake each other, but what comes was sent.

use std::collections::BTreeMap;

use hayase::net::UdpSocket;
use hayase::time::timeout;
use hayase_sim::{Link, Sim};

use crate::common::{SEEDS, addr, millis, seconds};

const COUNT: u32 = 300;

fn datagram(number: u32, lens: [usize; 3]) -> Vec<u8> {
    let mut bytes = vec![number as u8; lens[number as usize % 3]];
    bytes[..4].copy_from_slice(&number.to_be_bytes());
    bytes
}

fn arrive_whole(link: Link, lens: [usize; 3]) {
    Sim::builder().link(link).seeds(SEEDS).run(move |sim| async move {
        let server = sim.server().scope(UdpSocket::bind("10.7.0.2:53")).await.unwrap();
        let receiver = sim.server().spawn(async move {
            let mut seen = BTreeMap::<u32, u32>::new();
            let mut buf = vec![0; 65_536];
            while let Ok(received) = timeout(seconds(5), server.recv_from(&mut buf)).await {
                let (len, from) = received.unwrap();
                let number = u32::from_be_bytes(*buf.first_chunk().unwrap());
                assert_eq!(from, addr("10.7.0.1:4000"));
                assert!(buf[..len] == datagram(number, lens), "{len} bytes of datagram {number}");
                *seen.entry(number).or_default() += 1;
            }
            seen
        });
        let client = UdpSocket::bind("10.7.0.1:4000").await.unwrap();
        for number in 0..COUNT {
            client.send_to(&datagram(number, lens), "10.7.0.2:53").await.unwrap();
            hayase::time::sleep(millis(30)).await;
        }
        let seen = receiver.await.unwrap();
        assert!(seen.len() > COUNT as usize / 3, "only {} of {COUNT} arrived", seen.len());
        assert!(seen.values().all(|count| *count <= 2));
    });
}

fn bad() -> Link {
    let link = Link { loss: 0.05, duplicate: 0.05, reorder: 0.1, ..Link::with_delay(millis(10)) };
    Link { reorder_frames_max: 20, ..link }
}

#[test]
fn that_arrive_are_whole() {
    arrive_whole(Link { corrupt: 0.05, truncate: 0.05, ..bad() }, [20, 1000, 1400]);
}

/// Fragments (RFC 791 §3.2): a datagram is lost as a whole if one of them is. They are not damaged here, since two
/// changes in two fragments can cancel each other in the sum.
#[test]
fn that_were_in_fragments_are_whole() {
    arrive_whole(bad(), [2000, 4000, 8000]);
}
