//! Two processes with a link of netmap's between them, wherever its module is loaded.

use hayase_tests::links;
use hayase_tests::pair::{Driver, ECHO, Link};

links! {
    pipe: Pipe;
    vale: Vale;
}

/// More than goes around a ring, slot by slot, in either direction.
const TURNS_LEN: u64 = 5_000_000;

/// What a process had of the module's memory is lost for a while, and the other end goes on.
#[test]
fn either_end_that_is_killed_is_followed_by_another() {
    for driver in [Driver::Pipe, Driver::Vale] {
        Link::run(driver, 1, |link| {
            for _ in 0..3 {
                let server = link.serve(&[ECHO]);
                link.check_echo(TURNS_LEN);
                drop(server);
            }
            let _server = link.serve(&[ECHO]);
            for _ in 0..3 {
                link.kill_client();
                link.check_echo(TURNS_LEN);
            }
        });
    }
}

/// A pipe has a ring for each core.
#[test]
fn two_rings_serve_two_cores() {
    Link::run(Driver::Pipe, 2, |link| {
        let _server = link.serve(&[ECHO]);
        let figures =
            link.bench(ECHO, &["pingpong", "--cores", "2", "--connections", "8", "--round-trips", "10000"]);
        assert_eq!(
            (&figures["connections"], &figures["round_trips"]),
            (&16.into(), &10_000.into()),
            "{figures}"
        );
    });
}
