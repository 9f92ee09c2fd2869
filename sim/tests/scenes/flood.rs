//! Attacks from beside, while a transfer goes on.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use hayase::net::TcpStream;
use hayase_sim::{Link, Random, Sim, TcpForge};

use crate::common::{SEEDS, SERVER, addr, listen, millis, receive, seconds};

const ATTACKER_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0x66];

/// Frames that reach a host at the pace of a flood, for as long as the transfer goes on.
fn flood(sim: &Sim, host: usize, count: u64, make: impl Fn(&mut Random) -> TcpForge) {
    let (mut random, start) = (sim.random(), hayase::time::now());
    let mac = sim.host(host).mac().unwrap();
    for number in 0..count {
        let frame = make(&mut random).frame(ATTACKER_MAC, mac, &[]);
        sim.inject_at(start + Duration::from_micros(50 * number), host, &frame);
    }
}

async fn transfer_during(sim: &Sim, attack: impl FnOnce(SocketAddr)) -> Duration {
    let flow = sim.flow();
    let server = receive(sim, listen(sim).await, &flow);
    let mut stream = TcpStream::connect(SERVER).await.unwrap();
    attack(stream.local_addr().unwrap());
    let start = sim.elapsed();
    flow.send(&mut stream, 1_000_000).await.unwrap();
    assert_eq!(server.await.unwrap().unwrap(), 1_000_000);
    sim.elapsed() - start
}

/// Frames of a flood, and seeds.
const SIZES: [(u64, u64); 2] = [(20_000, 8), (5000, SEEDS)];

fn link() -> Link {
    Link::with_rate(20_000_000, millis(5))
}

/// SYNs from all over the Internet and from addresses of the segment that nobody has.
#[test]
fn of_syns_delays_nobody() {
    for (count, seeds) in SIZES {
        Sim::builder().link(link()).seeds(seeds).run(move |sim| async move {
            let took = transfer_during(&sim, |_| {
                flood(&sim, 1, count, |random| {
                    let [a, b, c, d] = (random.next_u64() as u32).to_be_bytes();
                    let near = Ipv4Addr::new(10, 7, c, d);
                    let far = Ipv4Addr::new(11 + a % 100, b, c, d);
                    let ip = if random.chance(0.3) { near } else { far };
                    let src = SocketAddr::new(ip.into(), random.between(1..=65_535) as u16);
                    TcpForge {
                        seq: random.next_u64() as u32,
                        flags: TcpForge::SYN,
                        ..TcpForge::new(src, addr(SERVER))
                    }
                });
            })
            .await;
            assert!(took < seconds(2), "{took:?}");
        });
    }
}

/// A legitimate client still gets in while the flood goes on.
#[test]
fn of_syns_locks_nobody_out() {
    for (count, seeds) in SIZES {
        Sim::builder().link(link()).seeds(seeds).run(move |sim| async move {
            let flow = sim.flow();
            let server = receive(&sim, listen(&sim).await, &flow);
            flood(&sim, 1, count, |random| {
                let ip = Ipv4Addr::new(198, 18, random.below(256) as u8, random.below(256) as u8);
                let src = SocketAddr::new(ip.into(), random.between(1..=65_535) as u16);
                TcpForge {
                    seq: random.next_u64() as u32,
                    flags: TcpForge::SYN,
                    ..TcpForge::new(src, addr(SERVER))
                }
            });
            hayase::time::sleep(millis(200)).await;
            let mut stream = crate::common::within(millis(200), TcpStream::connect(SERVER)).await.unwrap();
            flow.send(&mut stream, 100_000).await.unwrap();
            assert_eq!(server.await.unwrap().unwrap(), 100_000);
        });
    }
}

/// Resets with everything right but the sequence number (RFC 5961 §3), at both ends.
#[test]
fn of_resets_ends_nothing() {
    for (count, seeds) in SIZES {
        Sim::builder().link(link()).seeds(seeds).run(move |sim| async move {
            transfer_during(&sim, |client| {
                let blind = |src, dst| {
                    move |random: &mut Random| TcpForge {
                        seq: random.next_u64() as u32,
                        flags: TcpForge::RST,
                        ..TcpForge::new(src, dst)
                    }
                };
                flood(&sim, 1, count / 2, blind(client, addr(SERVER)));
                flood(&sim, 0, count / 2, blind(addr(SERVER), client));
            })
            .await;
        });
    }
}

/// Acknowledgements and SYNs of the same connection with invented numbers: answers are limited (RFC 5961 §7).
#[test]
fn of_acknowledgements_is_answered_with_restraint() {
    for (count, seeds) in SIZES {
        Sim::builder().link(link()).seeds(seeds).run(move |sim| async move {
            let took = transfer_during(&sim, |client| {
                flood(&sim, 1, count / 2, |random| TcpForge {
                    seq: random.next_u64() as u32,
                    // Far from anything that was sent: within the window, a guess in 4,000 would be believed.
                    ack: random.next_u64() as u32,
                    flags: *random.pick(&[TcpForge::ACK, TcpForge::SYN, TcpForge::ACK | TcpForge::FIN]),
                    ..TcpForge::new(client, addr(SERVER))
                });
            })
            .await;
            assert!(took < seconds(3), "{took:?}");
            assert!(crate::common::count(sim.server(), "TcpExtTCPChallengeACK") <= 1000);
        });
    }
}
