//! Fuzz targets of the stack: what a stranger can send, and what must hold whatever that is.
//!
//! Each target is a function of bytes that panics when a rule is broken. The programs in `fuzz_targets/` hand them to
//! libFuzzer where they are built for it (`fuzz/run`), and are else programs that replay files. The tests of this
//! crate run every target over a few thousand random inputs, without a fuzzer.
#![forbid(unsafe_code)]

mod host;
mod input;
mod link;
mod neighbours;
mod options;
mod packet;
mod parsers;
mod reassembly;
mod states;

pub use link::link;
pub use neighbours::neighbours;
pub use options::options;
pub use parsers::parsers;
pub use reassembly::reassembly;
pub use states::states;

/// Runs a target over the files that the command line names.
///
/// # Errors
/// Those of reading a file.
pub fn replay(target: fn(&[u8])) -> std::io::Result<()> {
    for path in std::env::args_os().skip(1) {
        println!("{}", path.display());
        target(&std::fs::read(path)?);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    /// What a fuzzer does without looking: every target, over inputs of every length.
    fn over_random_inputs(target: fn(&[u8]), count: u64) {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        for _ in 0..count {
            let len = next() % 300;
            let input: Vec<u8> = (0..len).map(|_| (next() >> 32) as u8).collect();
            target(&input);
        }
    }

    macro_rules! random {
        ($($name:ident: $count:literal,)*) => {$(
            #[test]
            fn $name() {
                over_random_inputs(super::$name, $count);
            }
        )*};
    }

    random! {
        parsers: 20_000,
        states: 1_000,
        options: 1_000,
        link: 500,
        reassembly: 1_000,
        neighbours: 500,
    }
}
