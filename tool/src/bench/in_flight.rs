//! `hayase bench in-flight`: what a byte costs when many are on their way and none of them is acknowledged yet.

use std::io;
use std::time::Duration;

use hayase::net::TcpStream;
use hayase::stack::Config;
use hayase_sim::VirtualWire;

use super::bulk::{FAILED, read_to_end};
use super::plot::{Axis, Line, Plot, Scale, bytes};
use super::progress::Progress;
use super::study::{Cell, Column, Settings, Study, Table, in_turns};
use super::{bed, processor_time};
use crate::cli::InFlightArgs;
use crate::failure::{Attempt, Result};

/// How long a frame is on its way, in virtual time: long enough for all that is allowed to be sent before the first
/// acknowledgement comes back.
const DELAY: Duration = Duration::from_millis(5);

/// Bytes of one write.
const WRITE_LEN: usize = 64 << 10;

/// Before the measurement, so many times what is to be in flight is sent, that the congestion window has grown.
const WARM_UP: u64 = 8;

/// It looks how much is in flight with every so many writes.
const LOOK_PERIOD: u64 = 16;

pub(super) fn run(args: &InFlightArgs) -> Result {
    measure(args)?.publish(args.svg.as_deref(), args.json)
}

/// What one round found.
struct Found {
    nanoseconds_per_byte: f64,
    /// The most that was seen.
    in_flight: u32,
}

/// Measures without saying what was found.
pub(super) fn measure(args: &InFlightArgs) -> Result<Study> {
    let mut progress = Progress::new("in-flight", args.in_flight.len() * usize::from(args.rounds));
    let name = |len: &usize| format!("{} in flight", bytes(*len as f64));
    let found = in_turns(&args.in_flight, args.rounds, name, |len| {
        progress.step(name(len));
        transfer(args, *len)
    })?;
    drop(progress);
    let (lens, found, failed) = found.medians(|found| found.nanoseconds_per_byte);

    let mut table = Table::new(&[
        Column("in_flight", "wanted in flight", 0),
        Column("in_flight_seen", "seen in flight", 0),
        Column("nanoseconds_per_byte", "ns a byte", 4),
        Column("gigabits_per_second", "Gbit/s of one CPU", 1),
        Column("of_first", "of first", 3),
    ]);
    let first = found[0].nanoseconds_per_byte;
    for (len, found) in lens.iter().zip(&found) {
        let each = found.nanoseconds_per_byte;
        let seen = u64::from(found.in_flight).into();
        table.push(vec![Cell::from(*len), seen, each.into(), (8.0 / each).into(), (each / first).into()]);
    }
    let times = lens.iter().zip(&found).map(|(x, y)| (*x as f64, y.nanoseconds_per_byte)).collect();
    let plot = Plot::lines(
        "Processor time of a byte by bytes in flight",
        Axis::new("bytes in flight", Scale::Bytes),
        Axis::new("nanoseconds a byte", Scale::Linear),
        vec![Line::new("both ends", 0, times)],
    );
    let settings = Settings::default()
        .with("device", "wire, virtual time")
        .with("delay", format_args!("{DELAY:?} each way"))
        .with("offloads", args.offloads)
        .with("bytes", args.bytes)
        .with("rounds", args.rounds);
    Ok(Study::new("in-flight", settings, table, vec![plot]).without(failed))
}

fn transfer(args: &InFlightArgs, in_flight: usize) -> Result<Found> {
    let mut config = Config::default();
    // A stack advertises less than it may keep, since frames are larger than what is in them.
    let buffer_len = 2 * in_flight;
    (config.send_buffer_len, config.send_buffer_len_max) = (buffer_len, buffer_len);
    (config.receive_buffer_len, config.receive_buffer_len_max) = (buffer_len, buffer_len);
    config.memory_len_max = config.memory_len_max.max(2 * buffer_len);
    let wire = VirtualWire::default().delay(DELAY).offloads(args.offloads).stack(config);
    let bytes = args.bytes;
    wire.run(|_client, server| async move {
        let streams = bed::connect(Some(server), None, 1, read_to_end).await?;
        let stream = streams.into_iter().next().expect("one was asked for");
        let found = send(stream, WARM_UP * in_flight as u64, bytes).await;
        found.attempt(|| FAILED.into())
    })?
}

async fn send(mut stream: TcpStream, warm_up: u64, bytes: u64) -> io::Result<Found> {
    let chunk = vec![0x5a; WRITE_LEN];
    write(&mut stream, &chunk, warm_up).await?;
    let start = processor_time();
    let in_flight = write(&mut stream, &chunk, bytes).await?;
    let nanoseconds_per_byte = (processor_time() - start).as_nanos() as f64 / bytes as f64;
    Ok(Found { nanoseconds_per_byte, in_flight })
}

/// Writes, and returns the most that it saw in flight.
async fn write(stream: &mut TcpStream, chunk: &[u8], bytes: u64) -> io::Result<u32> {
    let (mut left, mut count, mut in_flight) = (bytes, 0_u64, 0);
    while left > 0 {
        let len = left.min(chunk.len() as u64);
        stream.write_all(&chunk[..len as usize]).await?;
        left -= len;
        if count.is_multiple_of(LOOK_PERIOD) {
            in_flight = in_flight.max(stream.info()?.unacked);
        }
        count += 1;
    }
    Ok(in_flight)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_much_is_in_flight_as_is_wanted() {
        let args = InFlightArgs {
            in_flight: Vec::new(),
            offloads: hayase::Offloads::ALL,
            bytes: 4 << 20,
            rounds: 1,
            svg: None,
            json: false,
        };
        for len in [64 << 10, 2 << 20] {
            let found = transfer(&args, len).unwrap();
            let seen = found.in_flight as usize;
            assert!((len / 2..=2 * len).contains(&seen), "{seen} bytes in flight, not {len}");
            assert!(found.nanoseconds_per_byte > 0.0);
        }
    }
}
