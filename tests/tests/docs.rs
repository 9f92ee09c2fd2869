//! What the documents say of the code, as far as a test can look.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use hayase_tests::binary::workspace_root;
use hayase_tests::house::tree::{File, files};

const ROWS: &str = "| row | what | state | code | shown by |";

fn document(path: &str) -> String {
    fs::read_to_string(workspace_root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// What stands between backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

fn is_there(path: &str) -> bool {
    [workspace_root().join("stack/src"), workspace_root().to_owned()]
        .iter()
        .any(|root| root.join(path).is_file())
}

/// What the sources have: their paths, and the names of all functions.
struct Sources {
    files: Vec<File>,
    functions: BTreeSet<String>,
}

impl Sources {
    fn load() -> Sources {
        let files = files(&["rs"]);
        let is_of_name = |character: char| character.is_alphanumeric() || character == '_';
        let name =
            |text: &str| text.split(|character| !is_of_name(character)).next().unwrap_or_default().to_owned();
        let functions = files.iter().flat_map(|file| file.text.split("fn ").skip(1).map(name)).collect();
        Sources { files, functions }
    }

    fn has_module(&self, module: &str) -> bool {
        let (file, folder) = (format!("{module}.rs"), Path::new(module).join("mod.rs"));
        self.files.iter().any(|source| source.path.ends_with(&file) || source.path.ends_with(&folder))
    }

    fn has_function(&self, start: &str) -> bool {
        self.functions.range(start.to_owned()..).next().is_some_and(|name| name.starts_with(start))
    }

    /// Whether this is a test by its name or by how that begins, or all tests of a module, perhaps after the name of its
    /// own module.
    fn has_test(&self, name: &str) -> bool {
        let (module, last) = name.rsplit_once("::").unwrap_or(("", name));
        self.has_module(&name.replace("::", "/"))
            || self.has_function(last) && (module.is_empty() || self.has_module(module))
    }
}

/// What is wrong with a row of `docs/RFC.md`.
fn faults(row: &str, sources: &Sources) -> Vec<String> {
    let cells: Vec<_> = row.trim_matches('|').split(" | ").map(str::trim).collect();
    let &[name, _, _, code, shown_by] = &cells[..] else {
        return vec![format!("{row}: {} cells", cells.len())];
    };
    let mut faults = Vec::new();
    if quoted(code).count() == 0 {
        faults.push(format!("{name}: no code"));
    }
    faults.extend(quoted(code).filter(|path| !is_there(path)).map(|path| format!("{name}: no file {path}")));
    // Commands stand between backticks as well; they have spaces.
    for test in quoted(shown_by).filter(|test| !test.contains(' ')) {
        let exists = if test.contains('/') { is_there(test) } else { sources.has_test(test) };
        if !exists {
            faults.push(format!("{name}: no test {test}"));
        }
    }
    faults
}

#[test]
fn every_row_names_code_and_tests_that_exist() {
    let sources = Sources::load();
    let text = document("docs/RFC.md");
    let tables = text.split(ROWS).skip(1).map(|table| table.trim_start().lines().skip(1));
    let rows: Vec<_> = tables.flat_map(|rows| rows.take_while(|line| line.starts_with('|'))).collect();
    assert!(rows.len() > 140, "only {} rows", rows.len());
    let faults: Vec<_> = rows.iter().flat_map(|row| faults(row, &sources)).collect();
    assert!(faults.is_empty(), "docs/RFC.md:\n{}", faults.join("\n"));
    for section in 'A'..='N' {
        assert!(text.contains(&format!("\n## {section}. ")), "docs/RFC.md has no section {section}");
    }
}

#[test]
fn a_row_that_names_what_is_not_there_has_faults() {
    let sources = Sources::load();
    let good = "| X | what | done | `tcp/ack.rs` | script `tcp_info::n2_`, unit tests of `wire::ipv4` |";
    assert_eq!(faults(good, &sources), [""; 0]);
    for (part, other) in [
        ("`tcp/ack.rs`", "`tcp/nack.rs`"),
        ("`tcp/ack.rs`", "ack"),
        ("tcp_info::n2_", "tcp_inform::n2_"),
        ("tcp_info::n2_", "tcp_info::n99_"),
        ("wire::ipv4", "wire::ipv5"),
        ("| done ", ""),
    ] {
        assert_eq!(faults(&good.replace(part, other), &sources).len(), 1, "{other}");
    }
}

const BENCHMARKS: &str = "docs/BENCHMARKS.md";

/// What documents quote of `benches/baseline`: where, in which words, with a `#` for each figure, and of which stages these
/// are. Whoever writes other words there writes them here as well.
const QUOTES: [(&str, &str, &[&str]); 9] = [
    (
        BENCHMARKS,
        ": # with 32 connections, # in software, # with one, # with one among 10,000.",
        &[
            "async-round-trip-32",
            "async-round-trip-32-software-checksum",
            "async-round-trip-1",
            "async-round-trip-1-of-10000",
        ],
    ),
    (BENCHMARKS, "| 10,000 | #, the stack alone |", &["stack-round-trip-10000"]),
    (BENCHMARKS, "with 32 connections the same is #)", &["stack-round-trip-32"]),
    (
        BENCHMARKS,
        "| 1 | # | | | 32 | # | # | | 1 active among 10,000 | # | | | 10,000 | # | |",
        &[
            "stack-round-trip-1",
            "stack-round-trip-32",
            "stack-round-trip-32-software-checksum",
            "stack-round-trip-1-of-10000",
            "stack-round-trip-10000",
        ],
    ),
    (BENCHMARKS, "| ratio | |---|---|---|---| | 1 | # | # |", &["async-round-trip-1", "stack-round-trip-1"]),
    (BENCHMARKS, "| 32 | # | # | 1.", &["async-round-trip-32", "stack-round-trip-32"]),
    (
        BENCHMARKS,
        "Through the async API it is # (`benches/count async-bulk-64k-owned`",
        &["async-bulk-64k-owned"],
    ),
    (BENCHMARKS, "; # where a write is as long as the longest segment,", &["async-bulk-segment-owned"]),
    (BENCHMARKS, "A connection costs some # instructions from SYN to TIME_WAIT", &["stack-connect-close"]),
];

/// How far a figure may be from the one that is quoted, as far as a stage may go without a new figure (`benches/gate`).
const DIFFERENCE_MAX: f64 = 0.02;

/// What each stage costs, by the lines of `benches/baseline`.
fn baseline() -> BTreeMap<String, f64> {
    let text = document("benches/baseline");
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let stage = |line: &str| {
        let mut words = line.split_whitespace();
        Some((words.next()?.to_owned(), words.next()?.parse().ok()?))
    };
    lines.filter_map(stage).collect()
}

/// The figures for which the words have a `#`, if these words are in the text.
fn figures(text: &str, words: &str) -> Option<Vec<f64>> {
    let (start, rest) = words.split_once('#')?;
    let figures_at = |at: usize| {
        let mut text = &text[at + start.len()..];
        let figure = |after: &str| {
            let len = text.find(|character: char| !character.is_ascii_digit() && character != ',')?;
            let digits = text[..len].trim_end_matches(',');
            text = text[digits.len()..].strip_prefix(after)?;
            digits.replace(',', "").parse().ok()
        };
        rest.split('#').map(figure).collect()
    };
    text.match_indices(start).find_map(|(at, _)| figures_at(at))
}

/// What is wrong with what a text says of stages.
fn untrue(text: &str, words: &str, stages: &[&str], baseline: &BTreeMap<String, f64>) -> Vec<String> {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let Some(figures) = figures(&text, words).filter(|figures| figures.len() == stages.len()) else {
        return vec![format!("nothing like \"{words}\": change QUOTES in tests/tests/docs.rs with it")];
    };
    let fault = |(stage, figure): (&&str, f64)| match baseline.get(*stage) {
        Some(cost) if (figure - cost).abs() <= DIFFERENCE_MAX * cost => None,
        Some(cost) => Some(format!("{figure} for {stage}, which costs {cost}")),
        None => Some(format!("{figure} for {stage}, which benches/baseline does not have")),
    };
    stages.iter().zip(figures).filter_map(fault).collect()
}

#[test]
fn quoted_figures_are_those_of_the_baseline() {
    let baseline = baseline();
    assert!(baseline.len() > 30, "only {} stages", baseline.len());
    let faults = |(path, words, stages): &(&str, &str, &[&str])| {
        let faults = untrue(&document(path), words, stages, &baseline).into_iter();
        faults.map(|fault| format!("{path}: {fault}")).collect::<Vec<_>>()
    };
    let faults: Vec<_> = QUOTES.iter().flat_map(faults).collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn a_figure_that_is_another_has_a_fault() {
    let baseline = BTreeMap::from([("one".to_owned(), 1000.0), ("two".to_owned(), 2000.0)]);
    let words = "It takes # with one, # with two";
    for (text, faults) in [
        ("It takes some. It takes 1,020 with\none, 1,960\nwith two.", 0),
        ("It takes 1,021 with one, 2,000 with two", 1),
        ("It takes 979 with one, 2,041 with two", 2),
        ("It takes 1,000 with one", 1),
        ("It takes 1,000, with one, 2,000 with two", 1),
    ] {
        assert_eq!(untrue(text, words, &["one", "two"], &baseline).len(), faults, "{text}");
    }
    assert_eq!(untrue("It takes 1,000 so", "takes # ", &["three"], &baseline).len(), 1);
}

/// The first program of README.md, which the facade's own tests compile.
#[test]
fn the_readme_echoes_in_ten_lines() {
    let text = document("README.md");
    let (_, program) = text.split_once("```rust,no_run\n").expect("README has a program");
    let (program, _) = program.split_once("```").expect("it has an end");
    assert!(program.contains("#[hayase::main]"), "{program}");
    let lines = program.lines().filter(|line| !line.trim().is_empty()).count();
    assert!(lines <= 10, "{lines} lines");
}
