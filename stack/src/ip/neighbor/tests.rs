use alloc::vec;

use proptest::prelude::*;

use super::*;

const STATION: Mac = Mac([2, 0, 0, 0, 0, 1]);
const A: Mac = Mac([2, 0, 0, 0, 0, 0xa]);
const B: Mac = Mac([2, 0, 0, 0, 0, 0xb]);

fn host(i: u32) -> IpAddr {
    IpAddr::V4((0x0a00_0000 + i).into())
}

fn at(seconds: f64) -> Instant {
    Instant::ZERO + Duration::from_secs_f64(1000.0 + seconds)
}

fn table() -> Neighbors<u32> {
    Neighbors::new(STATION, 4, 1)
}

fn outputs(neighbors: &mut Neighbors<u32>, now: Instant) -> Vec<Output<u32>> {
    core::iter::from_fn(|| neighbors.poll(now)).collect()
}

fn ask(target: IpAddr, unicast: Option<Mac>) -> Vec<Output<u32>> {
    vec![Output::Solicit { target, unicast }]
}

/// A table in which `host(1)` has been resolved at `at(0)`.
fn resolved() -> (Neighbors<u32>, NeighborId) {
    let mut neighbors = table();
    let id = neighbors.entry(host(1), at(0.0)).unwrap();
    outputs(&mut neighbors, at(0.0));
    neighbors.learn(host(1), Some(A), Evidence::Reply, at(0.0));
    (neighbors, id)
}

#[test]
fn a_packet_waits_for_the_answer() {
    let mut neighbors = table();
    let id = neighbors.entry(host(1), at(0.0)).unwrap();
    assert_eq!(neighbors.mac(id, at(0.0)), None);
    assert_eq!(neighbors.enqueue(id, 7), None);
    assert!(neighbors.deadline().unwrap() <= at(0.0));
    assert_eq!(outputs(&mut neighbors, at(0.0)), ask(host(1), None));
    assert_eq!(neighbors.learn(host(1), Some(A), Evidence::Reply, at(0.1)), [7]);
    assert_eq!(neighbors.mac(id, at(0.2)), Some(A));
    assert_eq!((neighbors.deadline(), neighbors.waiting_count), (None, 0));
    assert_eq!(neighbors.enqueue(id, 8), Some(8), "nothing waits for a known neighbour");
}

#[test]
fn j3_a_silent_host_is_asked_once_a_second_and_given_up() {
    let mut neighbors = table();
    let id = neighbors.entry(host(1), at(0.0)).unwrap();
    let count = WAITING_COUNT_MAX as u32;
    for packet in 0..count {
        assert_eq!(neighbors.enqueue(id, packet), None);
    }
    assert_eq!(neighbors.enqueue(id, count), Some(0), "the oldest goes");
    let mut questions = 0;
    for step in 0..299 {
        questions += outputs(&mut neighbors, at(f64::from(step) * 0.01)).len();
        assert!(neighbors.entry(host(1), at(f64::from(step) * 0.01)) == Some(id));
    }
    assert_eq!(questions, 3);
    let unreachable = Output::Unreachable { addr: host(1), packets: (1..=count).collect() };
    assert_eq!(outputs(&mut neighbors, at(3.1)), [unreachable]);
    assert_eq!((neighbors.find(host(1)), neighbors.mac(id, at(3.1))), (None, None));
    assert_eq!((neighbors.enqueue(id, 9), neighbors.waiting_count), (Some(9), 0));
    assert!(neighbors.entry(host(1), at(3.1)).is_some_and(|new| new != id));
}

#[test]
fn j4_unsolicited_claims_make_no_entry_but_known_hosts_may_move() {
    let mut neighbors = table();
    for evidence in
        [Evidence::Reply, Evidence::Announcement, Evidence::Advert { solicited: true, override_known: true }]
    {
        neighbors.learn(host(9), Some(A), evidence, at(0.0));
        assert_eq!(neighbors.find(host(9)), None, "{evidence:?}");
    }
    let (mut neighbors, id) = resolved();
    neighbors.learn(host(1), Some(B), Evidence::Announcement, at(1.0));
    assert_eq!(neighbors.mac(id, at(1.0)), Some(B));
    assert_eq!(outputs(&mut neighbors, at(6.1)), ask(host(1), Some(B)), "it is not believed unasked");
    neighbors.learn(host(1), Some(B), Evidence::Reply, at(6.2));
    assert_eq!(outputs(&mut neighbors, at(10.0)), []);
}

/// A host that came back with another link-layer address, before its peer knows: the peer's announcement must not end
/// the question, which is what tells the peer.
#[test]
fn an_announcement_is_no_answer() {
    let mut neighbors = table();
    let id = neighbors.entry(host(1), at(0.0)).unwrap();
    assert_eq!(neighbors.enqueue(id, 7), None);
    assert_eq!(outputs(&mut neighbors, at(0.0)), ask(host(1), None), "this one is lost");
    assert!(neighbors.learn(host(1), Some(A), Evidence::Announcement, at(0.5)).is_empty());
    assert_eq!(neighbors.mac(id, at(0.5)), None);
    assert_eq!(
        outputs(&mut neighbors, at(0.5)),
        ask(host(1), None),
        "it is there: it is asked again at once"
    );
    neighbors.learn(host(1), Some(A), Evidence::Announcement, at(0.6));
    assert_eq!(outputs(&mut neighbors, at(0.6)), [], "but not whenever it likes");
    assert_eq!(neighbors.learn(host(1), Some(A), Evidence::Reply, at(0.7)), [7]);
}

#[test]
fn who_announces_itself_is_not_given_up() {
    let mut neighbors = table();
    let id = neighbors.entry(host(1), at(0.0)).unwrap();
    let questions = (0..30).map(|step| outputs(&mut neighbors, at(f64::from(step) * 0.1)).len());
    assert_eq!(questions.sum::<usize>(), 3);
    neighbors.learn(host(1), Some(A), Evidence::Announcement, at(2.95));
    assert_eq!(outputs(&mut neighbors, at(2.95)), ask(host(1), None));
    neighbors.learn(host(1), Some(A), Evidence::Reply, at(3.0));
    assert_eq!(neighbors.mac(id, at(3.0)), Some(A));
}

#[test]
fn a_host_that_asks_for_us_is_known_but_not_proven() {
    let mut neighbors = table();
    assert!(neighbors.learn(host(1), Some(A), Evidence::Request, at(0.0)).is_empty());
    assert_eq!(neighbors.deadline(), None, "nobody is asked before there is need");
    let id = neighbors.entry(host(1), at(0.0)).unwrap();
    assert_eq!(neighbors.mac(id, at(0.0)), Some(A));
    assert_eq!(outputs(&mut neighbors, at(5.1)), ask(host(1), Some(A)));
}

#[test]
fn a_stale_entry_works_while_it_is_asked_for_and_goes_when_nobody_answers() {
    let (mut neighbors, id) = resolved();
    assert_eq!((neighbors.mac(id, at(29.9)), neighbors.deadline()), (Some(A), None));
    assert_eq!(neighbors.mac(id, at(31.0)), Some(A));
    assert_eq!(outputs(&mut neighbors, at(35.9)), []);
    for second in 0..3 {
        let now = at(36.1 + 1.001 * f64::from(second));
        assert_eq!(outputs(&mut neighbors, now), ask(host(1), Some(A)));
        assert_eq!(neighbors.mac(id, now), Some(A));
    }
    assert_eq!(outputs(&mut neighbors, at(40.0)), [Output::Unreachable { addr: host(1), packets: vec![] }]);
    assert_eq!(neighbors.mac(id, at(40.0)), None);
}

/// As it is while the device is full.
#[test]
fn j3_a_question_that_could_not_be_sent_does_not_count() {
    let mut neighbors = table();
    let id = neighbors.entry(host(1), at(0.0)).unwrap();
    assert_eq!(neighbors.enqueue(id, 7), None);
    for step in 0..100 {
        let now = at(f64::from(step) * 0.1);
        assert_eq!(outputs(&mut neighbors, now), ask(host(1), None));
        neighbors.unasked(host(1), now + Duration::from_millis(99));
    }
    for second in 0..3 {
        assert_eq!(outputs(&mut neighbors, at(10.1 + 1.001 * f64::from(second))), ask(host(1), None));
    }
    let unreachable = Output::Unreachable { addr: host(1), packets: vec![7] };
    assert_eq!(outputs(&mut neighbors, at(13.2)), [unreachable]);
    neighbors.unasked(host(1), at(13.3));
    assert_eq!(neighbors.deadline(), None, "who is gone is not asked");
}

#[test]
fn progress_makes_questions_needless() {
    let (mut neighbors, id) = resolved();
    for second in 0..100 {
        neighbors.confirm(id, at(f64::from(second)));
        assert_eq!(neighbors.mac(id, at(f64::from(second) + 0.5)), Some(A));
        assert_eq!(outputs(&mut neighbors, at(f64::from(second) + 0.5)), []);
    }
    assert_eq!(neighbors.mac(id, at(135.0)), Some(A));
    neighbors.confirm(id, at(136.0));
    assert_eq!(outputs(&mut neighbors, at(145.0)), [], "confirmed before the probe was due");
    let unresolved = neighbors.entry(host(2), at(145.0)).unwrap();
    neighbors.confirm(unresolved, at(145.0));
    assert_eq!(neighbors.mac(unresolved, at(145.0)), None);
}

/// An acknowledgement that comes after a claim may be for what was sent before it.
#[test]
fn progress_does_not_prove_an_address_that_somebody_claimed() {
    for evidence in [Evidence::Reply, Evidence::Announcement, Evidence::Request] {
        let (mut neighbors, id) = resolved();
        neighbors.learn(host(1), Some(B), evidence, at(10.0));
        let mut said = Vec::new();
        for tenth in 100..300 {
            let now = at(f64::from(tenth) / 10.0);
            neighbors.confirm(id, now);
            said.extend(outputs(&mut neighbors, now));
            assert_eq!(said.is_empty(), tenth <= 150, "asked 5 s after it was said");
        }
        let gone = vec![Output::Unreachable { addr: host(1), packets: Vec::new() }];
        let asked = || ask(host(1), Some(B));
        assert_eq!(said, [asked(), asked(), asked(), gone].into_iter().flatten().collect::<Vec<_>>());
        assert_eq!(neighbors.mac(id, at(30.0)), None, "a liar is forgotten");
    }
}

#[test]
fn advertisements_do_as_their_flags_say() {
    let advert = |solicited, override_known| Evidence::Advert { solicited, override_known };
    let (mut neighbors, id) = resolved();
    neighbors.learn(host(1), Some(B), advert(false, false), at(1.0));
    assert_eq!(neighbors.mac(id, at(1.0)), Some(A), "not overridden");
    assert_eq!(outputs(&mut neighbors, at(6.1)), ask(host(1), Some(A)), "but in doubt");
    neighbors.learn(host(1), None, advert(true, false), at(6.2));
    assert_eq!(
        (neighbors.mac(id, at(36.0)), neighbors.deadline()),
        (Some(A), None),
        "proven without address"
    );
    neighbors.learn(host(1), Some(B), advert(true, true), at(37.0));
    assert_eq!((neighbors.mac(id, at(66.0)), neighbors.deadline()), (Some(B), None));
    let new = neighbors.entry(host(2), at(66.0)).unwrap();
    neighbors.learn(host(2), None, advert(true, true), at(66.0));
    assert_eq!(neighbors.mac(new, at(66.0)), None, "no address, no entry");
}

#[test]
fn a_full_table_gives_up_what_is_not_proven() {
    let mut neighbors = table();
    let first = neighbors.entry(host(0), at(0.0)).unwrap();
    neighbors.enqueue(first, 7);
    for i in 1..4 {
        neighbors.entry(host(i), at(0.0)).unwrap();
    }
    neighbors.learn(host(8), Some(A), Evidence::Request, at(0.0));
    assert_eq!(neighbors.find(host(8)), None, "a stranger does not push out what we need");
    assert_eq!(neighbors.entry_to_answer(host(8), at(0.0)), None);
    let fifth = neighbors.entry(host(4), at(0.0)).unwrap();
    assert_eq!((neighbors.find(host(0)), neighbors.mac(first, at(0.0))), (None, None));
    let unreachable = Output::Unreachable { addr: host(0), packets: vec![7] };
    assert_eq!(neighbors.poll(at(0.0)), Some(unreachable));
    assert_eq!(outputs(&mut neighbors, at(0.0)).len(), 4);
    for i in 1..5 {
        neighbors.learn(host(i), Some(A), Evidence::Reply, at(0.0));
    }
    assert_eq!(neighbors.entry(host(5), at(1.0)), None, "all are reachable");
    assert_eq!(neighbors.mac(fifth, at(1.0)), Some(A));
    assert!(neighbors.entry(host(5), at(31.0)).is_some());
}

#[test]
fn silent_hosts_do_not_take_the_place_of_others() {
    let mut neighbors = Neighbors::new(STATION, 1024, 1);
    let mut kept = 0;
    for i in 0..1000 {
        let id = neighbors.entry(host(i), at(0.0)).unwrap();
        kept += (0..WAITING_COUNT_MAX).filter(|_| neighbors.enqueue(id, i).is_none()).count();
    }
    assert!(kept <= 1000 + WAITING_TOTAL_MAX, "{kept} packets wait");
    let last = neighbors.entry(host(5000), at(0.0)).unwrap();
    assert_eq!(neighbors.enqueue(last, 1), None, "one may always wait");
    outputs(&mut neighbors, at(0.0));
    assert_eq!(neighbors.learn(host(5000), Some(A), Evidence::Reply, at(0.1)), [1]);
}

proptest! {
    #[test]
    fn packets_are_accounted_for_and_memory_is_bounded(
        steps in prop::collection::vec((0u8..6, 0u32..8, 0u64..8_000), 0..400),
    ) {
        let mut neighbors = table();
        let (mut now, mut given, mut returned) = (at(0.0), 0u32, 0usize);
        for (action, i, millis) in steps {
            now += Duration::from_millis(millis * millis / 8_000);
            match action {
                0 | 1 => if let Some(id) = neighbors.entry(host(i), now) && neighbors.mac(id, now).is_none() {
                    given += 1;
                    returned += usize::from(neighbors.enqueue(id, given).is_some());
                },
                2 => returned += neighbors.learn(host(i), Some(A), Evidence::Reply, now).len(),
                3 => returned += neighbors.learn(host(i), Some(B), Evidence::Request, now).len(),
                4 => if let Some(id) = neighbors.find(host(i)) { neighbors.confirm(id, now); },
                _ => for output in outputs(&mut neighbors, now) {
                    if let Output::Unreachable { packets, .. } = output { returned += packets.len(); }
                },
            }
            prop_assert!(neighbors.by_addr.len() <= 4 && neighbors.slots.len() <= 4);
            prop_assert!(neighbors.timers.len() <= 4);
            prop_assert_eq!(neighbors.waiting_count, given as usize - returned);
            for (addr, index) in &neighbors.by_addr {
                prop_assert_eq!(neighbors.slots[*index as usize].addr, Some(*addr));
                let neighbor = &neighbors.slots[*index as usize];
                prop_assert!(neighbor.mac.is_some() || neighbor.timer.is_some(), "no entry waits for ever");
            }
        }
    }
}

#[test]
fn a_router_keeps_its_place_and_finds_one() {
    let mut neighbors = table();
    neighbors.set_routers([host(1), host(9)]);
    let router = neighbors.entry(host(1), at(0.0)).unwrap();
    outputs(&mut neighbors, at(0.0));
    neighbors.learn(host(1), Some(A), Evidence::Reply, at(0.0));
    // The rest of the table is proven a minute later, when nothing is known of the router.
    let proof = Evidence::Advert { solicited: true, override_known: true };
    for other in 2..5 {
        neighbors.entry(host(other), at(60.0)).unwrap();
        neighbors.learn(host(other), Some(B), proof, at(60.0));
    }
    for stranger in 20..200 {
        assert_eq!(neighbors.entry(host(stranger), at(61.0)), None, "nobody may go");
    }
    assert_eq!(neighbors.mac(router, at(61.0)), Some(A));
    // Another router needs no luck.
    assert!(neighbors.entry(host(9), at(61.0)).is_some());
    assert_eq!((neighbors.find(host(1)), neighbors.find(host(2))), (Some(router), None));
    // Who is a router no more is as others are.
    neighbors.set_routers([]);
    assert!(neighbors.entry(host(20), at(61.0)).is_some());
    assert_eq!(neighbors.mac(router, at(61.0)), None);
}
