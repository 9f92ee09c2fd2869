//! The processor's own counter of time.

/// What the counter shows, if it goes on evenly whatever the processor does.
#[inline]
pub(crate) fn ticks() -> Option<u64> {
    arch::is_even().then(arch::ticks)
}

#[cfg(target_arch = "x86_64")]
mod arch {
    use std::arch::x86_64::{__cpuid, _rdtsc};
    use std::sync::OnceLock;

    /// Where the processor says what it does about power, and which bit of EDX there is the invariant TSC's.
    const POWER: u32 = 0x8000_0007;
    const INVARIANT_TSC: u32 = 1 << 8;

    /// Whether the counter neither stops in sleep nor changes with the clock rate.
    #[inline]
    pub(super) fn is_even() -> bool {
        static IS_EVEN: OnceLock<bool> = OnceLock::new();
        *IS_EVEN.get_or_init(|| __cpuid(0x8000_0000).eax >= POWER && __cpuid(POWER).edx & INVARIANT_TSC != 0)
    }

    #[inline]
    pub(super) fn ticks() -> u64 {
        // SAFETY: the instruction reads a register of every processor of this architecture, and nothing else. A process that has
        // forbidden it to itself (`PR_SET_TSC`) cannot read the kernel's clock without a system call either, and ends by a signal.
        unsafe { _rdtsc() }
    }
}

#[cfg(not(target_arch = "x86_64"))]
mod arch {
    pub(super) fn is_even() -> bool {
        false
    }

    pub(super) fn ticks() -> u64 {
        0
    }
}
