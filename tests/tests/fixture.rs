//! The fixture proves itself before anything is judged with it: the kernel plays both ends.

use std::io::{ErrorKind, Write};
use std::net::Shutdown;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use hayase_tests::kernel::{self, TcpState};
use hayase_tests::{Family, Namespace, Process, rights};

const LIMIT: Duration = Duration::from_secs(10);

#[test]
fn a_namespace_is_empty_and_goes_away() {
    if !rights::can_use_tap() {
        return;
    }
    let namespace = Namespace::new().unwrap();
    let path = Path::new("/run/netns").join(namespace.name());
    let addresses = namespace.enter(|| Command::new("ip").args(["-br", "link"]).output().unwrap());
    let addresses = String::from_utf8(addresses.stdout).unwrap();
    assert_eq!(addresses.lines().count(), 1, "only a loopback:\n{addresses}");
    assert!(path.exists());
    drop(namespace);
    assert!(!path.exists());
}

#[test]
fn what_a_killed_test_left_behind_is_removed() {
    if !rights::can_use_tap() {
        return;
    }
    // The probe of the rights has swept this process; another one sweeps again.
    let mut child = Command::new("true").spawn().unwrap();
    child.wait().unwrap();
    let stale = format!("hayase-test-{}-0", child.id());
    assert!(Command::new("ip").args(["netns", "add", &stale]).status().unwrap().success());
    let again = ["--exact", "a_namespace_is_empty_and_goes_away"];
    assert!(Command::new(std::env::current_exe().unwrap()).args(again).output().unwrap().status.success());
    assert!(!Path::new("/run/netns").join(stale).exists());
}

#[test]
fn the_kernel_serves_itself() {
    if !rights::can_use_tap() {
        return;
    }
    let namespace = Namespace::new().unwrap();
    for (family, host) in [(Family::V4, "127.0.0.1"), (Family::V6, "::1")] {
        let listener = kernel::listen(&namespace, family);
        let address = (host.parse::<std::net::IpAddr>().unwrap(), kernel::port(&listener)).into();
        let echoed = std::thread::scope(|scope| {
            let server = scope.spawn(|| kernel::serve(&listener, 20, kernel::echo_to_end));
            let streams: Vec<_> = (0..20).map(|_| kernel::connect(&namespace, address)).collect();
            streams.into_iter().for_each(|stream| kernel::echo_of_pattern(&stream, 100_000));
            server.join().unwrap()
        });
        assert_eq!(echoed, [100_000; 20]);
    }
}

#[test]
fn the_states_of_connections_are_seen() {
    if !rights::can_use_tap() {
        return;
    }
    let namespace = Namespace::new().unwrap();
    let listener = kernel::listen(&namespace, Family::V4);
    let remote = kernel::port(&listener);
    let client = kernel::connect(&namespace, ([127, 0, 0, 1], remote).into());
    let local = client.local_addr().unwrap().port();
    let server = kernel::accept(&listener);
    assert_eq!(kernel::tcp_state(&namespace, local, remote), Some(TcpState::Established));

    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(kernel::read(&server, &mut [0]).unwrap(), 0);
    drop(server);
    assert_eq!(kernel::read(&client, &mut [0]).unwrap(), 0);
    drop(client);
    kernel::eventually("TIME-WAIT at the end that closed first", || {
        (kernel::tcp_state(&namespace, local, remote) == Some(TcpState::TimeWait)).then_some(())
    });
    assert_eq!(kernel::tcp_state(&namespace, remote, local), None);
}

#[test]
fn a_reset_reaches_the_peer() {
    if !rights::can_use_tap() {
        return;
    }
    let namespace = Namespace::new().unwrap();
    let listener = kernel::listen(&namespace, Family::V4);
    let client = kernel::connect(&namespace, ([127, 0, 0, 1], kernel::port(&listener)).into());
    kernel::reset_on_close(&kernel::accept(&listener));
    assert_eq!(kernel::read(&client, &mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
}

#[test]
fn a_process_is_fed_read_and_reaped() {
    let mut cat = Process::spawn(&mut Command::new("cat"));
    let mut stdin = cat.stdin();
    stdin.write_all(b"first\nsecond\nrest").unwrap();
    assert_eq!(cat.line(LIMIT, |line| line.starts_with('s')), "second");
    assert!(cat.is_running());
    drop(stdin);
    assert_eq!(cat.wait(LIMIT).success().stdout, b"first\nsecond\nrest");
}

#[test]
#[should_panic(expected = "its output ended before the awaited line")]
fn a_process_that_ends_without_its_line_fails_at_once() {
    Process::spawn(&mut Command::new("true")).line(Duration::from_secs(3600), |_| true);
}

#[test]
fn a_dropped_process_is_dead() {
    let mut command = Command::new("sleep");
    let mut sleep = Process::spawn(command.arg("3600"));
    assert!(sleep.is_running());
    assert!(sleep.cpu_time() < Duration::from_secs(1));
    let pid = format!("{sleep:?}");
    let pid = pid.split("pid ").nth(1).unwrap().split(')').next().unwrap().to_owned();
    drop(sleep);
    assert!(!Path::new("/proc").join(pid).exists());
}
