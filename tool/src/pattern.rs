//! The bytes that servers send: byte `i` is `(i*7 + i/251) & 255`, so that a lost, doubled or displaced byte shows.

use std::io;

use hayase::net::TcpStream;

/// The pattern repeats after 251 * 256 bytes: 7 * 64256 and 64256 / 251 are multiples of 256.
const PERIOD: usize = 251 * 256;

/// Two periods, so that there is a whole one at every offset.
static TABLE: [u8; 2 * PERIOD] = table();

const fn table() -> [u8; 2 * PERIOD] {
    let mut table = [0; 2 * PERIOD];
    let mut i = 0;
    while i < table.len() {
        table[i] = (i * 7 + i / 251) as u8;
        i += 1;
    }
    table
}

/// The bytes of the pattern from `offset` on: at most `len_max`, and at most one period.
pub(crate) fn stretch(offset: u64, len_max: u64) -> &'static [u8] {
    // Both fit: a remainder of PERIOD, and at most PERIOD.
    let start = (offset % PERIOD as u64) as usize;
    let len = len_max.min(PERIOD as u64) as usize;
    &TABLE[start..start + len]
}

/// Sends the bytes of the pattern from `offset` up to `end`, from where they are.
pub(crate) async fn send(stream: &mut TcpStream, mut offset: u64, end: u64) -> io::Result<()> {
    while offset < end {
        let bytes = stretch(offset, end - offset);
        stream.write_owned(bytes).await?;
        offset += bytes.len() as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_the_formula_at_every_offset() {
        for offset in [0, 1, 250, 251, 64_255, 64_256, 64_257, 1 << 20, u64::from(u32::MAX) + 12_345] {
            let bytes = stretch(offset, u64::MAX);
            assert_eq!(bytes.len(), PERIOD);
            for (i, byte) in (offset..).zip(bytes) {
                assert_eq!(u64::from(*byte), (i * 7 + i / 251) & 255, "byte {i}");
            }
        }
        assert_eq!(stretch(5, 3).len(), 3);
        assert!(stretch(5, 0).is_empty());
    }
}
