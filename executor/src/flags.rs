//! Which tasks of a core other threads have woken: a flag for each, so that a task is in the mailbox at most once however
//! often it is woken before the core looks.
//!
//! Who raises a flag has written what the task shall see; whoever finds it down puts the task into the mailbox. The core
//! lowers the flag first and wakes the task second, so a wake after that goes into the mailbox anew. Raising and lowering
//! are read-modify-writes of one word, and so each sees what was written before the ones in front of it:
//! `tests/loom.rs` tries every order.

use std::sync::OnceLock;

use crate::sync::{AtomicU64, Ordering};

/// Flags of a word.
const BITS: u32 = u64::BITS;

/// Blocks, each of twice as many words as the one before: together enough for 2^32 flags.
pub(crate) const BLOCKS: usize = 27;

/// A growing set of flags, by index.
#[derive(Debug)]
pub(crate) struct Flags {
    blocks: [OnceLock<Box<[AtomicU64]>>; BLOCKS],
}

impl Flags {
    pub(crate) fn new() -> Flags {
        Flags { blocks: [const { OnceLock::new() }; BLOCKS] }
    }

    /// Raises a flag. Returns whether it was down.
    pub(crate) fn raise(&self, index: u32) -> bool {
        let (block, word, mask) = place(index);
        let words = self.blocks[block].get_or_init(|| (0..1 << block).map(|_| AtomicU64::new(0)).collect());
        words[word].fetch_or(mask, Ordering::AcqRel) & mask == 0
    }

    /// Lowers a flag.
    pub(crate) fn lower(&self, index: u32) {
        let (block, word, mask) = place(index);
        if let Some(words) = self.blocks[block].get() {
            words[word].fetch_and(!mask, Ordering::AcqRel);
        }
    }
}

/// The block of a flag, the word in it, and the bit in that.
pub(crate) fn place(index: u32) -> (usize, usize, u64) {
    let word = index / BITS + 1;
    let block = word.ilog2();
    (block as usize, (word - (1 << block)) as usize, 1 << (index % BITS))
}
