//! Blocks of a pcapng, in this machine's byte order, which the first one tells.

use std::time::{SystemTime, UNIX_EPOCH};

const SECTION: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
const PACKET: u32 = 6;

const BYTE_ORDER: u32 = 0x1a2b_3c4d;
const LINKTYPE_ETHERNET: u16 = 1;

// Options, of blocks as their names say.
const SHB_USERAPPL: u16 = 4;
const IF_NAME: u16 = 2;
const IF_MAC_ADDR: u16 = 6;
const IF_TSRESOL: u16 = 9;
const EPB_FLAGS: u16 = 2;

/// Nanoseconds: ten to the minus nine.
const RESOLUTION: u8 = 9;
const INBOUND: u32 = 1;
const OUTBOUND: u32 = 2;

/// The first block, of version 1.0; how long the section is, nobody knows yet.
pub(super) fn put_section(block: &mut Vec<u8>) {
    framed(SECTION, block, |block| {
        put(block, &BYTE_ORDER.to_ne_bytes());
        put(block, &1_u16.to_ne_bytes());
        put(block, &0_u16.to_ne_bytes());
        put(block, &u64::MAX.to_ne_bytes());
        option(SHB_USERAPPL, concat!("hayase ", env!("CARGO_PKG_VERSION")).as_bytes(), block);
        end_of_options(block);
    });
}

/// The block of an interface, before the first frame of it.
pub(super) fn put_interface(number: u32, mac: [u8; 6], snap_len: u32, block: &mut Vec<u8>) {
    framed(INTERFACE, block, |block| {
        put(block, &LINKTYPE_ETHERNET.to_ne_bytes());
        put(block, &0_u16.to_ne_bytes());
        put(block, &snap_len.to_ne_bytes());
        option(IF_NAME, format!("hayase{number}").as_bytes(), block);
        option(IF_MAC_ADDR, &mac, block);
        option(IF_TSRESOL, &[RESOLUTION], block);
        end_of_options(block);
    });
}

/// What is told of a frame beside its bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Packet {
    pub(super) interface: u32,
    pub(super) time: SystemTime,
    pub(super) is_inbound: bool,
    pub(super) snap_len: u32,
}

impl Packet {
    /// The block of a frame, which comes in fragments.
    pub(super) fn put<'a>(self, fragments: impl Iterator<Item = &'a [u8]>, block: &mut Vec<u8>) {
        let nanos = self.time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64);
        framed(PACKET, block, |block| {
            put(block, &self.interface.to_ne_bytes());
            put(block, &((nanos >> 32) as u32).to_ne_bytes());
            put(block, &(nanos as u32).to_ne_bytes());
            let lens_at = block.len();
            put(block, &[0; 8]);
            let (mut kept, mut len) = (0, 0);
            for fragment in fragments {
                let part = &fragment[..fragment.len().min(self.snap_len as usize - kept)];
                put(block, part);
                kept += part.len();
                len += fragment.len();
            }
            block[lens_at..lens_at + 4].copy_from_slice(&(kept as u32).to_ne_bytes());
            block[lens_at + 4..lens_at + 8].copy_from_slice(&(len as u32).to_ne_bytes());
            pad(block);
            let direction = if self.is_inbound { INBOUND } else { OUTBOUND };
            option(EPB_FLAGS, &direction.to_ne_bytes(), block);
            end_of_options(block);
        });
    }
}

/// A block: its kind, its length, what is in it, its length once more.
fn framed(kind: u32, block: &mut Vec<u8>, body: impl FnOnce(&mut Vec<u8>)) {
    let start = block.len();
    put(block, &kind.to_ne_bytes());
    put(block, &[0; 4]);
    body(block);
    let len = ((block.len() - start + 4) as u32).to_ne_bytes();
    put(block, &len);
    block[start + 4..start + 8].copy_from_slice(&len);
}

fn option(code: u16, value: &[u8], block: &mut Vec<u8>) {
    put(block, &code.to_ne_bytes());
    put(block, &(value.len() as u16).to_ne_bytes());
    put(block, value);
    pad(block);
}

fn end_of_options(block: &mut Vec<u8>) {
    put(block, &[0; 4]);
}

/// Everything begins at a multiple of four.
fn pad(block: &mut Vec<u8>) {
    block.resize(block.len().next_multiple_of(4), 0);
}

fn put(block: &mut Vec<u8>, bytes: &[u8]) {
    block.extend_from_slice(bytes);
}
