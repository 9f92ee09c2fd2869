//! The addresses of a server: none, and those that come when it runs.

use std::io;
use std::net::{Ipv6Addr, SocketAddr, UdpSocket};
use std::process::Command;
use std::time::Duration;

use hayase_tests::site::{OUR_INTERFACE, PORT, listens_at};
use hayase_tests::{Namespace, Process, binary, kernel, rights};

/// How long a server may take to say that there is nobody whom it could serve: it asks for a router for 12 s.
const LIMIT: Duration = Duration::from_secs(60);

const LATER: &str = "fd00:7::5";

/// `None`, and why, if the rights are missing.
fn namespace() -> Option<Namespace> {
    rights::can_use_tap().then(|| Namespace::new().expect("root makes namespaces"))
}

fn serve(namespace: &Namespace, device: &str) -> Process {
    let port = PORT.to_string();
    let mut command: Command = binary::hayase();
    command.args(["serve", "echo", "--udp", "--port", &port, "--device", device]);
    Process::spawn_in(namespace, &mut command)
}

#[test]
fn a_server_without_an_address_says_what_to_do() {
    let Some(namespace) = namespace() else { return };
    namespace.ip(&["address", "flush", "dev", "lo"]);
    for (device, remedy) in [
        // No router answers.
        ("tap:name=hy0,autoconf=on", "advertises a network"),
        ("kernel", "`ip link set lo up`"),
    ] {
        let exit = serve(&namespace, device).wait(LIMIT);
        assert_eq!((exit.status.code(), exit.text().as_str()), (Some(1), ""), "{device}: {exit:?}");
        assert!(exit.stderr.contains(remedy), "{device}: {exit:?}");
    }
}

/// An address that the kernel does not use yet keeps no server from starting. Once it is in use, it echoes datagrams.
#[test]
fn an_address_that_waits_for_its_link_is_served_when_it_is_there() {
    let Some(namespace) = namespace() else { return };
    namespace.ip(&["link", "add", OUR_INTERFACE, "type", "veth", "peer", "name", "hy0"]);
    namespace.sysctl(&format!("ipv6/conf/{OUR_INTERFACE}/accept_dad"), "1");
    namespace.ip(&["link", "set", OUR_INTERFACE, "up"]);
    namespace.ip(&["address", "add", &format!("{LATER}/64"), "dev", OUR_INTERFACE]);
    let later: SocketAddr = (LATER.parse::<Ipv6Addr>().unwrap(), PORT).into();

    let server = serve(&namespace, "kernel");
    server.line(LIMIT, |line| listens_at(line).is_some_and(|addr| addr.ip().is_loopback()));
    namespace.ip(&["link", "set", "hy0", "up"]);
    // Until it is there, there is no way to it, or the kernel answers that nobody listens.
    kernel::eventually("the address echoes", || ask(&namespace, later).ok());
}

/// One datagram, and its echo from where it went.
fn ask(namespace: &Namespace, addr: SocketAddr) -> io::Result<()> {
    let socket = namespace.enter(|| UdpSocket::bind("[::]:0"))?;
    socket.set_read_timeout(Some(Duration::from_millis(100)))?;
    socket.connect(addr)?;
    socket.send(b"datagram")?;
    let mut buffer = [0; 16];
    let len = kernel::receive(&socket, &mut buffer)?;
    assert_eq!(&buffer[..len], b"datagram");
    Ok(())
}
