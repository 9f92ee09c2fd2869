//! The files of the repository.

use std::fs;
use std::path::{Path, PathBuf};

use crate::binary::workspace_root;

/// A file of the repository.
#[derive(Clone, Debug)]
pub struct File {
    /// Its path, relative to the root.
    pub path: PathBuf,
    /// What is in it.
    pub text: String,
}

impl File {
    /// Whether it holds tests only: a test target, or the tests of a module in a file of their own.
    pub fn is_test(&self) -> bool {
        let is_tests = |part: &Path| part.file_stem().is_some_and(|stem| stem == "tests");
        let fixture = Path::new("tests/src");
        !self.path.starts_with(fixture) && self.path.ancestors().any(is_tests)
    }
}

/// Every file with one of these names or extensions, without those that git ignores or that are hidden.
///
/// # Panics
/// If the tree cannot be read.
pub fn files(kinds: &[&str]) -> Vec<File> {
    let mut found = Vec::new();
    gather(workspace_root(), kinds, &mut found);
    found.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(!found.is_empty(), "no file is one of {kinds:?}");
    found
}

fn gather(directory: &Path, kinds: &[&str], found: &mut Vec<File>) {
    let entries = fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    for path in entries.map(|entry| entry.expect("a directory can be listed").path()) {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name.starts_with('.') || name == "target" {
            continue;
        }
        if path.is_dir() {
            gather(&path, kinds, found);
        } else if kinds.contains(&name.rsplit('.').next().unwrap_or_default()) {
            found.push(read(&path));
        }
    }
}

fn read(path: &Path) -> File {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let relative = path.strip_prefix(workspace_root()).expect("the walk began at the root");
    File { path: relative.to_owned(), text }
}
