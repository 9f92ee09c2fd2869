//! Calls of code that is compiled for more than the target's base instructions, after the processor was asked for them.
//!
//! Programs are built for the oldest processor of their target, whose vectors have 16 bytes; nearly every x86-64 server has
//! those of 32. On other targets, and on bare metal, there is what the compiler was told.

use crate::checksum;

/// [`checksum::sum_words`] by the widest vectors of this processor. A call, so that callers with few bytes stay lean.
#[inline(never)]
pub(crate) fn sum_words(bytes: &[u8]) -> u16 {
    #[cfg(all(target_arch = "x86_64", not(target_os = "none")))]
    if std::is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has what the function is compiled for.
        return unsafe { avx2::sum_words(bytes) };
    }
    checksum::sum_words(bytes)
}

#[cfg(all(target_arch = "x86_64", not(target_os = "none")))]
mod avx2 {
    use super::checksum;

    #[target_feature(enable = "avx2")]
    pub(super) fn sum_words(bytes: &[u8]) -> u16 {
        checksum::sum_words(bytes)
    }
}
