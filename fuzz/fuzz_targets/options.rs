//! Fuzzes `hayase_fuzz::options`; built without a fuzzer, replays the files that it is given.
#![cfg_attr(fuzzing, no_main)]
#![forbid(unsafe_code)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| hayase_fuzz::options(data));

#[cfg(not(fuzzing))]
fn main() -> std::io::Result<()> {
    hayase_fuzz::replay(hayase_fuzz::options)
}
