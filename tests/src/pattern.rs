//! The byte pattern of the control port, and the digests by which long streams are compared.

use std::io::{self, Read, Write};
use std::sync::LazyLock;

use sha2::{Digest, Sha256};

use crate::kernel::read;

/// After so many bytes the pattern repeats: byte `i` is `(i*7 + i/251) & 255`, and both terms are back at
/// the same residue after 251 * 256 bytes.
const PERIOD_LEN: usize = 251 * 256;

/// Two periods, so that a whole period can be borrowed from any phase.
static TABLE: LazyLock<Vec<u8>> = LazyLock::new(|| (0..2 * PERIOD_LEN).map(pattern_byte).collect());

/// A SHA-256 digest.
pub type Hash = [u8; 32];

fn pattern_byte(index: usize) -> u8 {
    ((index * 7 + index / 251) & 255) as u8
}

/// `len` bytes of the pattern from its start.
pub fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(pattern_byte).collect()
}

/// The longest stretch that starts at byte `offset` of the pattern, at most `len` bytes of it.
fn stretch(offset: u64, len: u64) -> &'static [u8] {
    let phase = (offset % PERIOD_LEN as u64) as usize;
    let len = usize::try_from(len).unwrap_or(PERIOD_LEN).min(PERIOD_LEN);
    &TABLE[phase..phase + len]
}

/// The digest of the first `len` bytes of the pattern.
pub fn pattern_hash(len: u64) -> Hash {
    let mut hasher = Hasher::default();
    // A hasher takes everything.
    write_pattern(&mut hasher, len).expect("hashing cannot fail");
    hasher.finish()
}

/// Writes the first `len` bytes of the pattern.
///
/// # Errors
/// Those of the writer.
pub fn write_pattern(mut writer: impl Write, len: u64) -> io::Result<()> {
    let mut offset = 0;
    while offset < len {
        let bytes = stretch(offset, len - offset);
        writer.write_all(bytes)?;
        offset += bytes.len() as u64;
    }
    Ok(())
}

/// Reads exactly `len` bytes and compares each with the pattern.
///
/// # Errors
/// Those of the reader; `UnexpectedEof` if the stream ends early; `InvalidData` naming the first wrong byte.
pub fn expect_pattern(mut reader: impl Read, len: u64) -> io::Result<()> {
    let mut buffer = vec![0; PERIOD_LEN];
    let mut offset = 0;
    while offset < len {
        let wanted = stretch(offset, len - offset);
        let count = read(&mut reader, &mut buffer[..wanted.len()])?;
        if count == 0 {
            let text = format!("the stream ended after {offset} of {len} bytes");
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, text));
        }
        if let Some(at) = (0..count).find(|&at| buffer[at] != wanted[at]) {
            let text = format!("byte {} is {}, not {}", offset + at as u64, buffer[at], wanted[at]);
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        offset += count as u64;
    }
    Ok(())
}

/// Reads to the end of the stream; returns how many bytes there were and their digest.
///
/// # Errors
/// Those of the reader.
pub fn hash_to_end(mut reader: impl Read) -> io::Result<(u64, Hash)> {
    let mut hasher = Hasher::default();
    let mut buffer = vec![0; 256 * 1024];
    let mut total_len = 0;
    loop {
        let count = read(&mut reader, &mut buffer)?;
        if count == 0 {
            return Ok((total_len, hasher.finish()));
        }
        hasher.write_all(&buffer[..count])?;
        total_len += count as u64;
    }
}

#[derive(Default)]
struct Hasher(Sha256);

impl Hasher {
    fn finish(self) -> Hash {
        self.0.finalize().into()
    }
}

impl Write for Hasher {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEN: usize = 3 * PERIOD_LEN + 12_345;

    #[test]
    fn the_table_is_the_formula() {
        let mut written = Vec::new();
        write_pattern(&mut written, LEN as u64).unwrap();
        assert_eq!(written, pattern(LEN));
    }

    #[test]
    fn a_wrong_byte_is_named() {
        let mut bytes = pattern(LEN);
        bytes[100_000] ^= 1;
        let error = expect_pattern(&bytes[..], LEN as u64).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        assert!(error.to_string().starts_with("byte 100000 "), "{error}");
    }

    #[test]
    fn a_short_stream_is_noticed() {
        let error = expect_pattern(&pattern(10)[..], 11).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn digests_of_both_directions_agree() {
        let (len, hash) = hash_to_end(&pattern(LEN)[..]).unwrap();
        assert_eq!((len, hash), (LEN as u64, pattern_hash(LEN as u64)));
    }
}
