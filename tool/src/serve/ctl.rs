//! The control port: one order a connection, by which test programs steer the stack.

use std::fmt::{self, Display};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::str::{FromStr, SplitAsciiWhitespace};
use std::time::Duration;

use hayase::Host;
use hayase::net::TcpStream;
use hayase::time::sleep;

use super::discard::discard_from;
use super::echo;
use crate::cli::congestion_name;
use crate::pattern;

/// The longest line, in bytes, its end included.
const LINE_LEN_MAX: usize = 256;

/// What a test program can ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Order {
    Close,
    CloseUnread { after: Duration },
    ShutWr,
    Send { len: u64 },
    SendClose { len: u64 },
    SendSlow { len: u64, times: u64, pause: Duration },
    NoRead { time: Duration },
    Discard,
    Abort,
    Connect { to: SocketAddr },
    Core,
    Congestion,
    Connections,
    Count { name: String },
}

/// A line that is no order.
#[derive(Debug, PartialEq, Eq)]
struct Usage;

impl Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "usage: CLOSE | CLOSEUNREAD ms | SHUTWR | SEND n | SENDCLOSE n | SENDSLOW n k ms | NOREAD ms | DISCARD | \
             ABORT | CONNECT ip port | CORE | CONGESTION | CONNECTIONS | COUNT name",
        )
    }
}

impl FromStr for Order {
    type Err = Usage;

    fn from_str(line: &str) -> Result<Order, Usage> {
        let mut words = line.split_ascii_whitespace();
        let order = match words.next().ok_or(Usage)? {
            "CLOSE" => Order::Close,
            "CLOSEUNREAD" => Order::CloseUnread { after: milliseconds(&mut words)? },
            "SHUTWR" => Order::ShutWr,
            "SEND" => Order::Send { len: word(&mut words)? },
            "SENDCLOSE" => Order::SendClose { len: word(&mut words)? },
            "SENDSLOW" => Order::SendSlow {
                len: word(&mut words)?,
                times: word(&mut words)?,
                pause: milliseconds(&mut words)?,
            },
            "NOREAD" => Order::NoRead { time: milliseconds(&mut words)? },
            "DISCARD" => Order::Discard,
            "ABORT" => Order::Abort,
            "CONNECT" => Order::Connect { to: (word::<IpAddr>(&mut words)?, word(&mut words)?).into() },
            "CORE" => Order::Core,
            "CONGESTION" => Order::Congestion,
            "CONNECTIONS" => Order::Connections,
            "COUNT" => Order::Count { name: word(&mut words)? },
            _ => return Err(Usage),
        };
        if words.next().is_some() { Err(Usage) } else { Ok(order) }
    }
}

fn word<T: FromStr>(words: &mut SplitAsciiWhitespace<'_>) -> Result<T, Usage> {
    words.next().and_then(|word| word.parse().ok()).ok_or(Usage)
}

fn milliseconds(words: &mut SplitAsciiWhitespace<'_>) -> Result<Duration, Usage> {
    word::<u32>(words).map(|ms| Duration::from_millis(ms.into()))
}

/// Reads an order and obeys it, on this core.
pub(super) async fn obey(mut stream: TcpStream, core: usize) -> io::Result<()> {
    let Some(line) = read_line(&mut stream).await? else { return Ok(()) };
    match line.parse() {
        Ok(order) => execute(order, stream, core).await,
        Err(usage) => answer(&mut stream, &format!("ERR {usage}")).await,
    }
}

/// Reads a line and not one byte more: what follows is the stream's. `None` if the stream ends before.
async fn read_line(stream: &mut TcpStream) -> io::Result<Option<String>> {
    let mut line = Vec::new();
    let mut seen = [0; LINE_LEN_MAX];
    while line.len() < LINE_LEN_MAX {
        let len = stream.peek(&mut seen[..LINE_LEN_MAX - line.len()]).await?;
        let end = seen[..len].iter().position(|byte| *byte == b'\n');
        let taken = stream.read_exact(&mut seen[..end.map_or(len, |end| end + 1)]).await?;
        if taken == 0 {
            return Ok(None);
        }
        line.extend_from_slice(&seen[..taken]);
        if end.is_some() {
            break;
        }
    }
    // A line that is too long, or no text, is no order either.
    Ok(Some(String::from_utf8(line).unwrap_or_default()))
}

async fn answer(stream: &mut TcpStream, line: &str) -> io::Result<()> {
    stream.write_all(format!("{line}\n").as_bytes()).await
}

/// Obeys. Wherever it returns, the stream is dropped, and so closed.
async fn execute(order: Order, mut stream: TcpStream, core: usize) -> io::Result<()> {
    match order {
        Order::Close => Ok(()),
        Order::CloseUnread { after } => {
            sleep(after).await;
            Ok(())
        }
        Order::ShutWr => {
            stream.shutdown().await?;
            discard_from(&mut stream).await
        }
        Order::Send { len } => {
            pattern::send(&mut stream, 0, len).await?;
            discard_from(&mut stream).await
        }
        Order::SendClose { len } => pattern::send(&mut stream, 0, len).await,
        Order::SendSlow { len, times, pause } => {
            send_slowly(&mut stream, len, times, pause).await?;
            discard_from(&mut stream).await
        }
        Order::NoRead { time } => {
            sleep(time).await;
            echo(stream).await
        }
        Order::Discard => discard_from(&mut stream).await,
        Order::Abort => {
            stream.abort();
            Ok(())
        }
        Order::Connect { to } => connect(stream, to).await,
        Order::Core => {
            answer(&mut stream, &core.to_string()).await?;
            echo(stream).await
        }
        Order::Congestion => {
            let name = congestion_name(stream.congestion()?);
            answer(&mut stream, name).await?;
            echo(stream).await
        }
        Order::Connections => answer(&mut stream, &connections()?.to_string()).await,
        Order::Count { name } => match Host::current()?.counters()?.get(&name) {
            Some(count) => answer(&mut stream, &count.to_string()).await,
            None => answer(&mut stream, "ERR there is no such counter").await,
        },
    }
}

/// How many connections there are, this one included. The stack's in TIME_WAIT are over; the operating system's sockets, of
/// which there is no list, are never in it.
fn connections() -> io::Result<usize> {
    let host = Host::current()?;
    match host.tcp_connections() {
        Err(error) if error.kind() == io::ErrorKind::Unsupported => host.tcp_count(),
        listed => listed.map(|listed| listed.len()),
    }
}

/// The pattern goes on from one piece to the next.
async fn send_slowly(stream: &mut TcpStream, len: u64, times: u64, pause: Duration) -> io::Result<()> {
    for number in 0..times {
        if number > 0 {
            sleep(pause).await;
        }
        let offset = len.wrapping_mul(number);
        pattern::send(stream, offset, offset.wrapping_add(len)).await?;
    }
    Ok(())
}

/// An active open. The control connection gets the answer, and ends.
async fn connect(mut control: TcpStream, to: SocketAddr) -> io::Result<()> {
    match TcpStream::connect(to).await {
        Ok(stream) => {
            stream.set_nodelay(true)?;
            answer(&mut control, "OK").await?;
            drop(control);
            echo(stream).await
        }
        Err(error) => answer(&mut control, &format!("ERR {:?}", error.kind())).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hayase::net::TcpListener;

    const SOON: Duration = Duration::from_millis(20);

    #[test]
    fn every_order_is_understood() {
        let ms = Duration::from_millis;
        for (line, order) in [
            ("CLOSE\n", Order::Close),
            ("CLOSEUNREAD 250\r\n", Order::CloseUnread { after: ms(250) }),
            ("SHUTWR\n", Order::ShutWr),
            ("SEND 0\n", Order::Send { len: 0 }),
            ("SENDCLOSE 1073741824\n", Order::SendClose { len: 1 << 30 }),
            ("SENDSLOW 100 5 20\n", Order::SendSlow { len: 100, times: 5, pause: ms(20) }),
            ("NOREAD 1000\n", Order::NoRead { time: ms(1000) }),
            ("DISCARD\n", Order::Discard),
            ("ABORT\n", Order::Abort),
            ("CONNECT 10.7.0.1 80\n", Order::Connect { to: "10.7.0.1:80".parse().unwrap() }),
            ("CORE\n", Order::Core),
            ("CONGESTION\n", Order::Congestion),
            ("CONNECTIONS\n", Order::Connections),
            ("COUNT TcpInSegs\n", Order::Count { name: "TcpInSegs".into() }),
            ("CONNECT fd00::1 80", Order::Connect { to: "[fd00::1]:80".parse().unwrap() }),
        ] {
            assert_eq!(line.parse(), Ok(order), "{line}");
        }
    }

    #[test]
    fn everything_else_is_not() {
        for line in [
            "",
            "\n",
            "close",
            "CLOSE now",
            "SEND",
            "SEND x",
            "SEND -1",
            "SENDSLOW 1 2",
            "CONNECT 10.7.0.1",
            "CORE 1",
            "COUNT",
            "GET /",
        ] {
            assert_eq!(line.parse::<Order>(), Err(Usage), "{line}");
        }
    }

    /// A pair of connected streams: the client's and the server's.
    async fn pair(client: Host, server: Host) -> (TcpStream, TcpStream) {
        let listener = server.scope(TcpListener::bind("[::]:7")).await.unwrap();
        let stream = client.scope(TcpStream::connect("10.7.0.2:7")).await.unwrap();
        (stream, listener.accept().await.unwrap().0)
    }

    #[hayase::test]
    async fn a_line_may_come_in_pieces_and_with_what_follows(client: Host, server: Host) {
        let (mut stream, mut accepted) = pair(client, server).await;
        drop(hayase::spawn(async move {
            for piece in ["SEN", "D 1", "0\nrest"] {
                stream.write_all(piece.as_bytes()).await.unwrap();
                sleep(SOON).await;
            }
        }));
        assert_eq!(read_line(&mut accepted).await.unwrap().as_deref(), Some("SEND 10\n"));
        let mut rest = Vec::new();
        accepted.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest, b"rest");
    }

    #[hayase::test]
    async fn a_line_without_end_is_bounded_and_answered(client: Host, server: Host) {
        let (mut stream, accepted) = pair(client, server).await;
        stream.write_all(&[b'A'; LINE_LEN_MAX]).await.unwrap();
        obey(accepted, 0).await.unwrap();
        let mut answer = String::new();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).await.unwrap();
        answer.push_str(std::str::from_utf8(&bytes).unwrap());
        assert!(answer.starts_with("ERR usage: CLOSE"), "{answer}");
    }

    #[hayase::test]
    async fn no_line_is_no_order(client: Host, server: Host) {
        let (mut stream, mut accepted) = pair(client, server).await;
        stream.write_all(b"CLOS").await.unwrap();
        stream.shutdown().await.unwrap();
        assert_eq!(read_line(&mut accepted).await.unwrap(), None);
    }

    #[hayase::test]
    async fn slow_pieces_continue_the_pattern(client: Host, server: Host) {
        let (mut stream, accepted) = pair(client, server).await;
        stream.write_all(b"SENDSLOW 1000 3 1\n").await.unwrap();
        stream.shutdown().await.unwrap();
        obey(accepted, 0).await.unwrap();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).await.unwrap();
        assert_eq!(bytes, pattern::stretch(0, 3000));
    }

    #[hayase::test]
    async fn the_core_says_its_number_and_echoes(client: Host, server: Host) {
        let (mut stream, accepted) = pair(client, server).await;
        stream.write_all(b"CORE\nrest").await.unwrap();
        stream.shutdown().await.unwrap();
        obey(accepted, 3).await.unwrap();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).await.unwrap();
        assert_eq!(bytes, b"3\nrest");
    }

    #[hayase::test]
    async fn the_connection_says_who_rules_its_window_and_echoes(client: Host, server: Host) {
        let (mut stream, accepted) = pair(client, server).await;
        accepted.set_congestion(hayase::net::Congestion::NewReno).unwrap();
        stream.write_all(b"CONGESTION\nrest").await.unwrap();
        stream.shutdown().await.unwrap();
        obey(accepted, 0).await.unwrap();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).await.unwrap();
        assert_eq!(bytes, b"newreno\nrest");
    }

    #[hayase::test]
    async fn data_behind_closeunread_stays_unread(client: Host, server: Host) {
        let (mut stream, accepted) = pair(client, server).await;
        stream.write_all(b"CLOSEUNREAD 10\nunread").await.unwrap();
        obey(accepted, 0).await.unwrap();
        let error = stream.read(&mut [0]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }
}
