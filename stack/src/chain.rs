//! Trimming whole chains of fragments.

use hayase_device::Frame;

/// Takes `len` bytes off the front of a chain, fragments that become empty included. `None` if nothing is left.
#[inline]
pub(crate) fn trim_front<F: Frame>(mut frame: F, mut len: usize) -> Option<F> {
    while len >= frame.len() {
        len -= frame.len();
        match frame.unchain() {
            Some(next) => frame = next,
            None => return None,
        }
    }
    frame.trim_front(len);
    Some(frame)
}

/// Keeps the first `len` bytes of a chain; fragments beyond them are dropped.
#[inline]
pub(crate) fn truncate<F: Frame>(frame: &mut F, len: usize) {
    if len <= frame.len() {
        frame.truncate(len);
        frame.unchain();
    } else if let Some(mut rest) = frame.unchain() {
        truncate(&mut rest, len - frame.len());
        frame.chain(rest);
    }
}

/// Bytes of buffers that a chain keeps from their pool.
pub(crate) fn capacity<F: Frame>(frame: &F) -> usize {
    core::iter::successors(Some(frame), |frame| frame.next()).map(Frame::capacity).sum()
}

/// Copies the bytes of a chain from `offset` on into `out` until it is full; returns how many there were.
pub(crate) fn copy<F: Frame>(frame: &F, mut offset: usize, out: &mut [u8]) -> usize {
    let mut copied = 0;
    for bytes in frame.fragments() {
        let skipped = offset.min(bytes.len());
        offset -= skipped;
        let len = (bytes.len() - skipped).min(out.len() - copied);
        out[copied..copied + len].copy_from_slice(&bytes[skipped..skipped + len]);
        copied += len;
    }
    copied
}

#[cfg(test)]
mod tests {
    use super::*;
    use hayase_device::heap::{HeapFrame, Pool, PoolConfig};

    fn chain(parts: &[&[u8]]) -> HeapFrame {
        let pool = Pool::new(PoolConfig::default());
        let mut frames = parts.iter().map(|part| {
            let mut frame = pool.alloc(part.len()).unwrap();
            frame.extend(part.len()).unwrap().copy_from_slice(part);
            frame
        });
        let mut first = frames.next().unwrap();
        frames.for_each(|frame| first.chain(frame));
        first
    }

    #[test]
    fn trims_and_copies_across_fragments() {
        let bytes = b"abcdefgh";
        for from in 0..=8 {
            for to in from..=8 {
                let mut frame = chain(&[b"abc", b"", b"de", b"fgh"]);
                truncate(&mut frame, to);
                assert_eq!(frame.total_len(), to);
                let mut out = [0; 8];
                assert_eq!(copy(&frame, from, &mut out), to - from);
                assert_eq!(out[..to - from], bytes[from..to]);
                let rest = trim_front(frame, from);
                assert_eq!(rest.map_or(0, |frame| frame.total_len()), to - from);
            }
        }
    }
}
