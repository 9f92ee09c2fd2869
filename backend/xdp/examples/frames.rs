//! The device without a stack: what is to be had from an interface at most.
//!
//! ```text
//! frames echo IF                         sends every frame back
//! frames sink IF                         counts what comes, and prints it each second
//! frames round-trips IF COUNT WINDOW     frames of 60 bytes to an echo, WINDOW of them on their way at a time
//! frames flood IF COUNT LEN              frames of LEN bytes, as many as go
//! ```
//!
//! Both ends of a veth pair, each in a shell of its own, make a test bed.
#![forbid(unsafe_code)]

use std::error::Error;
use std::time::{Duration, Instant};

use hayase_device::{Burst, Device, Frame, TxMeta};
use hayase_xdp::{XdpConfig, XdpDevice, XdpFrame, open};

/// An EtherType for experiments (IEEE 802), which nobody answers.
const ETHERTYPE: [u8; 2] = [0x88, 0xb5];

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["echo", interface] => echo(&mut device(interface)?),
        ["sink", interface] => sink(&mut device(interface)?),
        ["round-trips", interface, count, window] => {
            round_trips(&mut device(interface)?, count.parse()?, window.parse()?);
        }
        ["flood", interface, count, len] => flood(&mut device(interface)?, count.parse()?, len.parse()?),
        _ => {
            return Err(
                "usage: frames echo IF | sink IF | round-trips IF COUNT WINDOW | flood IF COUNT LEN".into()
            );
        }
    }
    Ok(())
}

fn device(interface: &str) -> Result<XdpDevice, Box<dyn Error>> {
    let config = XdpConfig { interface: interface.into(), ..XdpConfig::default() };
    let queue = open(&config)?.pop().ok_or("an interface without queues")?;
    println!("{interface}: mode {}, queues {:?}", queue.mode(), queue.queues().collect::<Vec<_>>());
    Ok(queue.into_device()?)
}

fn is_ours(frame: &XdpFrame) -> bool {
    frame.bytes().get(12..14) == Some(&ETHERTYPE[..])
}

/// Takes what is there. With nothing there, somebody else may have the processor: maybe the other end.
fn look(device: &mut XdpDevice, burst: &mut Burst<XdpFrame>) {
    if device.receive(burst) == 0 {
        std::thread::yield_now();
    }
}

fn echo(device: &mut XdpDevice) {
    let mut burst = Burst::new(64);
    loop {
        look(device, &mut burst);
        for (mut frame, _) in burst.drain().filter(|(frame, _)| is_ours(frame)) {
            if let Some(bytes) = frame.bytes_mut() {
                let (destination, source) = bytes[..12].split_at_mut(6);
                destination.swap_with_slice(source);
                device.transmit(frame, TxMeta::default());
            }
        }
        device.flush();
    }
}

fn sink(device: &mut XdpDevice) {
    let (mut burst, mut since, mut frames, mut bytes) = (Burst::new(64), Instant::now(), 0_u64, 0);
    loop {
        look(device, &mut burst);
        for (frame, _) in burst.drain().filter(|(frame, _)| is_ours(frame)) {
            frames += 1;
            bytes += frame.total_len();
        }
        let elapsed = since.elapsed();
        if elapsed > Duration::from_secs(1) {
            let seconds = elapsed.as_secs_f64();
            println!("{:.0} frames/s, {:.2} Gbit/s", frames as f64 / seconds, bytes as f64 * 8e-9 / seconds);
            (since, frames, bytes) = (Instant::now(), 0, 0);
        }
    }
}

/// Queues a frame to everybody. Whether there was room and memory for it.
fn send(device: &mut XdpDevice, len: usize) -> bool {
    let mac = device.mac();
    if device.room() == 0 {
        return false;
    }
    let Some(mut frame) = device.alloc(len) else { return false };
    let Some(bytes) = frame.extend(len) else { return false };
    bytes[..6].fill(0xff);
    bytes[6..12].copy_from_slice(&mac);
    bytes[12..14].copy_from_slice(&ETHERTYPE);
    device.transmit(frame, TxMeta::default());
    true
}

fn round_trips(device: &mut XdpDevice, count: u64, window: u64) {
    let (mut burst, start, mut sent, mut back) = (Burst::new(64), Instant::now(), 0, 0);
    while back < count {
        while sent < count && sent - back < window && send(device, 60) {
            sent += 1;
        }
        device.flush();
        look(device, &mut burst);
        back += burst.drain().filter(|(frame, _)| is_ours(frame)).count() as u64;
    }
    println!("{:.0} round trips/s", count as f64 / start.elapsed().as_secs_f64());
}

fn flood(device: &mut XdpDevice, count: u64, len: usize) {
    let (start, mut sent) = (Instant::now(), 0);
    while sent < count {
        while sent < count && send(device, len) {
            sent += 1;
        }
        device.flush();
    }
    let rate = count as f64 / start.elapsed().as_secs_f64();
    println!("{rate:.0} frames/s, {:.2} Gbit/s", rate * len as f64 * 8e-9);
}
