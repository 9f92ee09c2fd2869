//! TCP Fast Open (RFC 7413) between Hayase and the kernel, as server and as client, with good cookies and with wrong ones.

use std::io::{Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use hayase_tests::kernel::{self, PATIENCE};
use hayase_tests::site::{CONTROL_PORT, PORT, kernel_address};
use hayase_tests::{Device, Family, Offloads, Process, Site};

const REQUEST: &[u8] = b"a request that fits into a SYN";

/// Clients ask for cookies (1), servers give them (2), and every listener is such a server, as one that has set
/// `TCP_FASTOPEN` is (0x400).
const EVERYBODY: &str = "1027";

/// How often a case is run in which the kernel lost patience, and sent something again: what is counted is not exact then, and
/// that is no fault of who was not given a processor.
const RUNS: usize = 3;

/// Runs a case, and again at a new site if it failed and that may be why.
fn run(device: Device, family: Family, offloads: Offloads, case: fn(&Site)) {
    for number in 1..=RUNS {
        let mut is_disturbed = false;
        Site::run(device, family, offloads, |site| {
            site.namespace.sysctl("ipv4/tcp_fastopen", EVERYBODY);
            let Err(panic) = catch_unwind(AssertUnwindSafe(|| case(site))) else { return };
            let timeouts = kernel::counter(&site.namespace, "TcpExtTCPTimeouts");
            is_disturbed = number < RUNS && timeouts + kernel_counts(site, "ActiveFail") > 0;
            if !is_disturbed {
                resume_unwind(panic);
            }
        });
        if !is_disturbed {
            return;
        }
    }
}

/// Sites of both families, with every offload and with none, over TAP, AF_XDP and DPDK; the kernel's end has Fast Open.
macro_rules! sites {
    ($($(#[$attribute:meta])* fn $name:ident($site:ident) $body:block)*) => {$(
        $(#[$attribute])*
        mod $name {
            use super::*;

            fn case($site: &Site) $body

            #[test]
            fn v4_offloads_all() {
                run(Device::Tap, Family::V4, Offloads::All, case);
            }

            #[test]
            fn v6_offloads_none() {
                run(Device::Tap, Family::V6, Offloads::None, case);
            }

            #[test]
            fn v6_xdp() {
                run(Device::Xdp, Family::V6, Offloads::All, case);
            }

            #[test]
            fn v4_dpdk() {
                run(Device::Dpdk, Family::V4, Offloads::All, case);
            }
        }
    )*};
}

fn serve(site: &Site) -> Process {
    site.serve("echo", &["--fastopen", "--ctl", &CONTROL_PORT.to_string()])
}

fn kernel_counts(site: &Site, name: &str) -> u64 {
    kernel::counter(&site.namespace, &format!("TcpExtTCPFastOpen{name}"))
}

fn our_count(site: &Site, name: &str) -> u64 {
    site.count(&format!("TcpExtTCPFastOpen{name}"))
}

/// The kernel's request, whose echo is to come back.
fn request(site: &Site, from: IpAddr) {
    let stream = kernel::connect_with(&site.namespace, from, site.hayase(PORT), REQUEST).unwrap();
    expect_echo(stream);
}

fn expect_echo(mut stream: TcpStream) {
    stream.shutdown(Shutdown::Write).unwrap();
    let mut echo = Vec::new();
    stream.read_to_end(&mut echo).unwrap();
    assert_eq!(echo, REQUEST, "nothing lost, nothing twice");
}

/// The next connection to the kernel's listener: all that came on it, which is sent back.
fn echo(listener: &TcpListener) -> Vec<u8> {
    let mut stream = kernel::accept(listener);
    let mut received = Vec::new();
    stream.read_to_end(&mut received).unwrap();
    stream.write_all(&received).unwrap();
    received
}

/// Our client, which has just got a cookie, or was refused one, by a connection that carried nothing.
fn client(site: &Site, listener: &TcpListener, arguments: &[&str]) -> Process {
    let to = site.kernel(kernel::port(listener)).to_string();
    let client = site.start(&[&["connect", &to, "--fastopen"], arguments].concat());
    assert_eq!(echo(listener), b"");
    client
}

/// Gives the client its input. What it says of it, once the echo of that is there.
fn give(mut client: Process, listener: &TcpListener) -> String {
    client.stdin().write_all(REQUEST).unwrap();
    assert_eq!(echo(listener), REQUEST, "nothing lost, nothing twice");
    let exit = client.wait(PATIENCE).success();
    assert_eq!(exit.stdout, REQUEST);
    exit.stderr
}

sites! {
    fn the_kernel_sends_with_its_syn_what_we_take(site) {
        let _server = serve(site);
        let from = kernel_address(site.family);
        request(site, from);
        assert_eq!((our_count(site, "CookieReqd"), our_count(site, "Passive")), (1, 0), "first it gets a cookie");
        assert_eq!(kernel_counts(site, "Active"), 0);
        for times in 1..=3 {
            request(site, from);
            assert_eq!((kernel_counts(site, "Active"), our_count(site, "Passive")), (times, times));
        }
        assert_eq!((kernel_counts(site, "ActiveFail"), our_count(site, "PassiveFail")), (0, 0));
    }

    fn a_server_that_was_not_asked_to_takes_nothing_early(site) {
        let _server = site.serve_control();
        let from = kernel_address(site.family);
        (0..2).for_each(|_| request(site, from));
        assert_eq!((kernel_counts(site, "Active"), our_count(site, "Passive")), (0, 0));
        assert_eq!(our_count(site, "CookieReqd"), 0);
    }

    /// Another server had our address before, whose cookie the kernel still has.
    fn a_wrong_cookie_costs_the_kernel_a_round_trip_and_nothing_else(site) {
        let from = kernel_address(site.family);
        another_server_gives_a_cookie(site, from);
        let _server = serve(site);
        let active = kernel_counts(site, "Active");
        request(site, from);
        assert_eq!((our_count(site, "PassiveFail"), our_count(site, "Passive")), (1, 0));
        assert_eq!(kernel_counts(site, "Active"), active, "what went with the SYN was not acknowledged");
        request(site, from);
        assert_eq!((kernel_counts(site, "Active"), our_count(site, "Passive")), (active + 1, 1), "ours is good");
    }

    fn we_send_with_our_syn_what_the_kernel_takes(site) {
        let listener = kernel::listen(&site.namespace, site.family);
        let client = client(site, &listener, &[]);
        assert_eq!((kernel_counts(site, "CookieReqd"), kernel_counts(site, "Passive")), (1, 0));
        let said = give(client, &listener);
        assert!(said.contains("the server took the first bytes with the SYN"), "{said}");
        assert_eq!((kernel_counts(site, "Passive"), kernel_counts(site, "PassiveFail")), (1, 0));
    }

    fn a_kernel_without_it_gets_what_we_have_after_the_handshake(site) {
        site.namespace.sysctl("ipv4/tcp_fastopen", "0");
        let listener = kernel::listen(&site.namespace, site.family);
        let said = give(client(site, &listener, &[]), &listener);
        assert!(said.contains("gave no cookie"), "{said}");
        assert_eq!(kernel_counts(site, "Passive"), 0);
    }

    /// The kernel's key changes after it gave a cookie.
    fn a_wrong_cookie_costs_us_a_round_trip_and_nothing_else(site) {
        let listener = kernel::listen(&site.namespace, site.family);
        let client = client(site, &listener, &[]);
        site.namespace.sysctl("ipv4/tcp_fastopen_key", "01234567-89abcdef-01234567-89abcdef");
        let said = give(client, &listener);
        assert!(said.contains("did not take what came with the SYN"), "{said}");
        assert_eq!((kernel_counts(site, "Passive"), kernel_counts(site, "PassiveFail")), (0, 1));
    }

    fn congestion_control_can_be_chosen_beside_it(site) {
        let listener = kernel::listen(&site.namespace, site.family);
        let said = give(client(site, &listener, &["--congestion", "bbr"]), &listener);
        assert!(said.contains("the server took the first bytes with the SYN"), "{said}");
    }
}

/// The kernel at our address, for long enough to give itself a cookie.
fn another_server_gives_a_cookie(site: &Site, from: IpAddr) {
    let ours = site.hayase(PORT).ip().to_string();
    // Before there is an interface for it.
    for address in [&ours, &from.to_string()] {
        site.namespace.ip(&["address", "add", address, "dev", "lo"]);
    }
    // Of IPv6, each some time after it was added.
    let bind = |address: SocketAddr| {
        site.namespace
            .enter(|| kernel::eventually("the address can be used", || TcpListener::bind(address).ok()))
    };
    let listener = bind(site.hayase(PORT));
    drop(bind((from, 0).into()));
    let stream = kernel::connect_with(&site.namespace, from, site.hayase(PORT), REQUEST).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(echo(&listener), REQUEST);
    for address in [&ours, &from.to_string()] {
        let prefix = if from.is_ipv4() { 32 } else { 128 };
        site.namespace.ip(&["address", "del", &format!("{address}/{prefix}"), "dev", "lo"]);
    }
}
