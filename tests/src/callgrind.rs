//! How often each instruction of a program was executed, as callgrind writes it down with `--dump-instr=yes`.

use std::collections::HashMap;
use std::path::Path;
use std::process::Command;

/// An instruction: the object that it is in, and its address there.
pub type Instruction = (String, u64);

/// Reads a profile without compressed names and positions.
pub fn executed(profile: &str) -> HashMap<Instruction, u64> {
    let (mut counts, mut object) = (HashMap::new(), "");
    let mut lines = profile.lines();
    while let Some(line) = lines.next() {
        if let Some(name) = line.strip_prefix("ob=") {
            object = name;
        } else if line.starts_with("calls=") {
            // What the call cost in all: it is counted where it was executed.
            lines.next();
        } else if let Some((address, count)) = cost(line) {
            *counts.entry((object.to_owned(), address)).or_default() += count;
        }
    }
    counts
}

/// The address and the count of a line `0xADDRESS LINE COUNT`.
fn cost(line: &str) -> Option<(u64, u64)> {
    let mut fields = line.strip_prefix("0x")?.split_whitespace();
    let address = u64::from_str_radix(fields.next()?, 16).ok()?;
    Some((address, fields.nth(1)?.parse().ok()?))
}

/// The addresses of the instructions of an object that lock a cache line or wait for all stores.
///
/// # Panics
/// If `objdump` fails.
pub fn locked(object: &Path) -> Vec<u64> {
    let text = output(Command::new("objdump").args(["-d", "--no-show-raw-insn"]).arg(object));
    text.lines().filter_map(locked_address).collect()
}

/// `xchg` with memory locks without saying so.
fn locked_address(line: &str) -> Option<u64> {
    let (address, instruction) = line.trim_start().split_once(":\t")?;
    let is_locked = instruction.starts_with("lock ")
        || instruction.starts_with("mfence")
        || (instruction.starts_with("xchg") && instruction.contains('('));
    is_locked.then(|| u64::from_str_radix(address, 16).ok())?
}

/// The source file that an instruction comes from: of the functions inlined into each other, the innermost one that is not
/// of the standard library.
///
/// # Panics
/// If `addr2line` fails.
pub fn source(object: &Path, address: u64) -> String {
    let text = output(Command::new("addr2line").arg("-ie").arg(object).arg(format!("{address:#x}")));
    let mut files = text.lines().filter_map(|line| line.rsplit_once(':')).map(|(file, _)| file);
    files.find(|file| !file.contains("/library/")).unwrap_or("the standard library").to_owned()
}

fn output(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_call_cost_is_not_counted_twice() {
        let profile = "ob=/bin/a\nfn=f\n0x10 7 3\n0x14 8 1\ncalls=1 0x20 9\n0x14 8 500\nob=/bin/b\n0x10 1 2\n0x10 2 2\n";
        let counts = executed(profile);
        let count = |object: &str, address| counts.get(&(object.to_owned(), address)).copied();
        assert_eq!((count("/bin/a", 0x10), count("/bin/a", 0x14)), (Some(3), Some(1)));
        assert_eq!((count("/bin/b", 0x10), counts.len()), (Some(4), 3));
    }

    #[test]
    fn locks_are_known_by_their_names() {
        for (line, address) in [
            ("   1f0:\tlock cmpxchg %r13,0x10(%rbx)", Some(0x1f0)),
            ("  aa10:\txchg   %cl,0x18(%rax)", Some(0xaa10)),
            ("  aa10:\txchg   %ax,%ax", None),
            ("  aa10:\tmfence", Some(0xaa10)),
            ("  aa10:\tmov    %rax,(%rbx)", None),
            ("0000000000001f0 <lock >:", None),
        ] {
            assert_eq!(locked_address(line), address, "{line}");
        }
    }
}
