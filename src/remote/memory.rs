//! Memory for bytes that travel from one thread to the other.

use bytes::{Bytes, BytesMut};

use super::{LARGE_LEN, SHARED_LEN};

/// Bytes of the pieces of one size, which are used in turn. By the time when all others were used, the other thread has let go
/// of the first, as a rule, and nothing is allocated by the one and freed by the other: that makes them wait for each other.
const ROW_LEN: usize = 128 * 1024;

/// Sizes of pieces of which each is one message's: 4, 8, 16, 32 and 64 KiB. For what is larger, to copy takes longer than to
/// allocate.
const SIZES: usize = 5;

/// Makes copies, of which no small one keeps more than [`SHARED_LEN`], and no other one more than twice its length. Keeps
/// [`ROW_LEN`] of each size at most while nothing is under way.
#[derive(Debug, Default)]
pub(super) struct Memory {
    shared: Row,
    own: [Row; SIZES],
}

impl Memory {
    #[inline]
    pub(super) fn copy(&mut self, bytes: &[u8]) -> Bytes {
        let len = bytes.len();
        let piece = if len < LARGE_LEN {
            self.shared.piece(len, SHARED_LEN)
        } else {
            let piece_len = len.next_power_of_two().max(2 * LARGE_LEN);
            let Some(row) = self.own.get_mut((piece_len / (2 * LARGE_LEN)).ilog2() as usize) else {
                return Bytes::copy_from_slice(bytes);
            };
            row.piece(piece_len, piece_len)
        };
        piece.extend_from_slice(bytes);
        piece.split().freeze()
    }
}

#[derive(Debug, Default)]
struct Row {
    pieces: Vec<BytesMut>,
    at: usize,
}

impl Row {
    /// A piece with room for `len` bytes, which is `piece_len` long where it is another one than before.
    #[inline]
    fn piece(&mut self, len: usize, piece_len: usize) -> &mut BytesMut {
        let has_room = |piece: &mut BytesMut| piece.capacity() >= len || piece.try_reclaim(piece_len);
        if !self.pieces.get_mut(self.at).is_some_and(has_room) {
            self.turn(piece_len);
        }
        &mut self.pieces[self.at]
    }

    fn turn(&mut self, piece_len: usize) {
        let pieces_max = ROW_LEN / piece_len;
        if self.pieces.len() < pieces_max {
            self.at = self.pieces.len();
            self.pieces.push(BytesMut::with_capacity(piece_len));
        } else {
            self.at = (self.at + 1) % pieces_max;
            // Again the same, if nobody has it any more, else a new one.
            self.pieces[self.at].reserve(piece_len);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many pieces there are of each size; first, those that are shared.
    fn counts(memory: &Memory) -> Vec<usize> {
        let rows = [&memory.shared].into_iter().chain(&memory.own);
        rows.map(|row| row.pieces.len()).collect()
    }

    #[test]
    fn what_is_let_go_of_is_used_again() {
        let mut memory = Memory::default();
        for len in [1, 100, 2047, 2048, 4096, 4097, 8192, 16_384, 16_385, 65_536, 65_537, 1 << 20] {
            for round in 0..100 {
                let bytes = vec![round; len];
                assert!(memory.copy(&bytes) == bytes, "{len}");
            }
        }
        assert_eq!(counts(&memory), [1; 1 + SIZES]);
    }

    #[test]
    fn no_copy_keeps_much_more_than_its_length() {
        let mut memory = Memory::default();
        let lens = [2048, 3000, 4096, 5000, 16_384, 40_000, 70_000];
        let large = lens.map(|len| (len, memory.copy(&vec![7; len])));
        let small: Vec<Bytes> = (0..1000).map(|_| memory.copy(&[7; 1000])).collect();
        assert_eq!(counts(&memory)[0], ROW_LEN / SHARED_LEN);
        drop(memory);
        for (len, bytes) in large {
            let alone = bytes.try_into_mut().map(|whole| whole.capacity());
            assert!(alone.is_ok_and(|capacity| capacity <= 2 * len), "{len} bytes");
        }
        for four in small.chunks(4) {
            let begin = four[0].as_ptr().addr();
            assert!(four.iter().all(|bytes| bytes[..] == [7; 1000]));
            assert_eq!([1, 2, 3].map(|n| four[n].as_ptr().addr() - begin), [1000, 2000, 3000]);
        }
    }
}
