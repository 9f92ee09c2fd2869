//! The system's allocator, which counts: `hayase bench memory` asks it what connections hold.

use std::alloc::System;

use cap::Cap;

/// Nothing is limited. It costs an atomic addition for each allocation, and a packet's path has none.
#[global_allocator]
static COUNTING: Cap<System> = Cap::new(System, usize::MAX);

/// Bytes that the program has asked for and not given back.
pub(crate) fn in_use() -> u64 {
    COUNTING.allocated() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_is_counted() {
        // Other tests ask for memory and give it back meanwhile.
        let memory = vec![0_u8; 1 << 24];
        assert!(in_use() >= memory.len() as u64);
    }
}
