//! Hayase without its executor: the program's own loop turns the network and uses sockets that never wait.
//!
//! No async function is awaited here. Two hosts on a wire, a server that answers what it is asked, and a
//! client that asks a thousand times; a game, a simulation or another runtime would do its own work between
//! the turns, and sleep on [`Reactor::interests`] until [`Reactor::deadline`], between [`Reactor::arm`] and
//! [`Reactor::disarm`].

use std::io::{self, ErrorKind};
use std::task::{Context, Poll, Waker};

use hayase::Reactor;
use hayase::device::wire::{Wire, WireConfig};
use hayase::net::{TcpListener, TcpSocket, TcpStream};
use hayase::time;

const QUESTIONS: u32 = 1000;

fn main() -> io::Result<()> {
    let (one_end, other_end) = Wire::pair(WireConfig::default());
    let mut reactor = Reactor::new();
    let server = reactor.attach(one_end, Default::default(), time::now())?;
    let client = reactor.attach(other_end, Default::default(), time::now())?;
    server.add_address("10.7.0.2/24".parse().map_err(io::Error::other)?)?;
    client.add_address("10.7.0.1/24".parse().map_err(io::Error::other)?)?;

    let listener = listen(server)?;
    let mut connecting = Box::pin(client.scope(TcpStream::connect("10.7.0.2:7")));
    let mut nobody = Context::from_waker(Waker::noop());
    let stream = loop {
        reactor.turn(time::now());
        if let Poll::Ready(stream) = connecting.as_mut().poll(&mut nobody) {
            break stream?;
        }
    };

    let mut service = Service { listener, streams: Vec::new() };
    let (mut asked, mut answered, mut turns) = (0, 0, 0);
    while answered < QUESTIONS {
        reactor.receive(time::now());
        service.run()?;
        if asked == answered {
            stream.try_write(&asked.to_be_bytes())?;
            asked += 1;
        }
        answered += answer(&stream)?;
        reactor.transmit(time::now());
        turns += 1;
    }
    println!("{answered} questions were answered in {turns} turns of our own loop");
    Ok(())
}

fn listen(server: hayase::Host) -> io::Result<TcpListener> {
    let _server = server.enter();
    let socket = TcpSocket::new_v4()?;
    socket.bind("10.7.0.2:7".parse().map_err(io::Error::other)?)?;
    socket.listen(16)
}

/// Takes an answer, if one is there. Returns how many that were.
fn answer(stream: &TcpStream) -> io::Result<u32> {
    let mut buf = [0; 4];
    Ok(available(stream.try_read(&mut buf))?.map_or(0, |_| 1))
}

/// The server.
struct Service {
    listener: TcpListener,
    streams: Vec<TcpStream>,
}

impl Service {
    /// Serves whoever is there.
    fn run(&mut self) -> io::Result<()> {
        while let Some((stream, _)) = available(self.listener.try_accept())? {
            self.streams.push(stream);
        }
        let mut buf = [0; 64];
        for stream in &self.streams {
            if let Some(len) = available(stream.try_read(&mut buf))? {
                stream.try_write(&buf[..len])?;
            }
        }
        Ok(())
    }
}

/// `None` where one would have to wait.
fn available<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
        result => result.map(Some),
    }
}
