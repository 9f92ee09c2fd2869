//! The rules of the house that a compiler does not check, as tests. CONTRIBUTING.md says why they are there.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use hayase_tests::binary::{cargo, profile_directory, workspace_root};
use hayase_tests::house::tree::{File, files};
use hayase_tests::house::{Dependency, Graph, Kind, Package, Source, licence};
use hayase_tests::rights;

const FUNCTION_LINES_MAX: usize = 70;
const FILE_LINES_MAX: usize = 800;
const BARE_METAL: &str = "x86_64-unknown-none";

/// What a program is made of, tests aside.
const PRODUCT: [Kind; 2] = [Kind::Normal, Kind::Build];
const EVERY: [Kind; 3] = [Kind::Normal, Kind::Build, Kind::Dev];

/// Fails with every violation, not with the first.
fn none<T: Display>(rule: &str, violations: impl IntoIterator<Item = T>) {
    let lines: Vec<_> = violations.into_iter().map(|violation| format!("  {violation}")).collect();
    assert!(lines.is_empty(), "{rule}:\n{}", lines.join("\n"));
}

fn outside(package: &Package, kinds: &[Kind], allowed: &[&str]) -> Vec<String> {
    let names = package.names(kinds);
    let others = names.iter().filter(|name| !allowed.contains(name));
    others.map(|name| format!("{} depends on {name}", package.name)).collect()
}

fn among(package: &Package, kinds: &[Kind], forbidden: &[&str]) -> Vec<String> {
    let names = package.names(kinds);
    let found = names.iter().filter(|name| forbidden.contains(name));
    found.map(|name| format!("{} depends on {name}", package.name)).collect()
}

#[test]
fn the_seam_and_the_clock_depend_on_nothing() {
    let graph = Graph::load();
    for name in ["hayase-device", "hayase-time"] {
        none("a leaf has a dependency", outside(graph.member(name), &PRODUCT, &[]));
    }
}

#[test]
fn the_stack_depends_on_the_seam_the_clock_and_three_helpers() {
    let allowed = ["hayase-device", "hayase-time", "foldhash", "hashbrown", "siphasher"];
    none("the stack sees too much", outside(Graph::load().member("hayase-stack"), &PRODUCT, &allowed));
}

#[test]
fn the_executor_sees_neither_stack_nor_device() {
    let graph = Graph::load();
    let forbidden = [
        "hayase",
        "hayase-stack",
        "hayase-device",
        "hayase-wire",
        "hayase-tap",
        "hayase-netmap",
        "hayase-xdp",
        "hayase-dpdk",
        "hayase-kernel",
        "tokio",
    ];
    none("the executor sees too much", among(graph.member("hayase-executor"), &EVERY, &forbidden));
    let built = graph.built_with("hayase-executor");
    none("the executor builds too much", forbidden.iter().filter(|name| built.contains(**name)));
}

#[test]
fn a_backend_sees_the_seam_and_the_system() {
    let graph = Graph::load();
    let backends: Vec<_> = graph.members().filter(|package| package.is_backend()).collect();
    assert!(backends.len() >= 2, "the wire and TAP at least");
    // The last two are for the build script of DPDK, which is a C library.
    let allowed = ["hayase-device", "io-uring", "libc", "netmap-sys", "rustix", "cc", "pkg-config"];
    none("a backend sees too much", backends.iter().flat_map(|backend| outside(backend, &PRODUCT, &allowed)));
    let forbidden = ["hayase", "hayase-stack", "hayase-executor"];
    none(
        "a backend's test sees too much",
        backends.iter().flat_map(|backend| among(backend, &EVERY, &forbidden)),
    );
}

#[test]
fn only_the_facade_sees_all_three() {
    let graph = Graph::load();
    let outsiders = ["hayase-compat", "hayase-tool", "hayase-macros"].map(|name| graph.member(name));
    let inner = [
        "hayase-stack",
        "hayase-executor",
        "hayase-device",
        "hayase-wire",
        "hayase-tap",
        "hayase-netmap",
        "hayase-xdp",
        "hayase-dpdk",
        "hayase-kernel",
    ];
    none("around the facade", outsiders.iter().flat_map(|package| among(package, &PRODUCT, &inner)));
    let facade = graph.member("hayase").names(&PRODUCT);
    none("the facade joins these", inner[..3].iter().filter(|name| !facade.contains(**name)));
}

/// What is simulated is the product: the simulator stands on the facade, and brings the executor its clock.
#[test]
fn the_simulator_stands_on_the_facade_and_brings_a_clock() {
    let graph = Graph::load();
    let allowed = ["hayase", "hayase-executor"];
    none("the simulator sees too much", outside(graph.member("hayase-sim"), &EVERY, &allowed));
    // The command simulates, and what is counted is counted on virtual time.
    let others = ["hayase-tool", "hayase-benches"];
    let products: Vec<_> = graph.members().filter(|member| !others.contains(&member.name.as_str())).collect();
    none(
        "a product depends on the simulator",
        products.iter().flat_map(|member| among(member, &PRODUCT, &["hayase-sim"])),
    );
}

#[test]
fn the_facade_knows_no_framework() {
    let frameworks = ["hyper", "hyper-util", "tokio-util", "axum", "tonic", "tower", "h2", "reqwest"];
    none("the facade knows a framework", among(Graph::load().member("hayase"), &PRODUCT, &frameworks));
}

#[test]
fn tokio_is_a_choice() {
    let graph = Graph::load();
    let facade = graph.member("hayase");
    let product = facade.dependencies.iter().filter(|dependency| dependency.kind != Kind::Dev);
    let forced = product.filter(|dependency| dependency.name == "tokio" && !dependency.optional);
    none("not optional in the facade", forced.map(|dependency| &dependency.name));
    assert!(!graph.built_with("hayase").contains("tokio"), "the default features of the facade build tokio");
    // A test behind a feature that nobody asks for is never run.
    let is_itself = |dependency: &Dependency| dependency.kind == Kind::Dev && dependency.name == "hayase";
    assert!(facade.dependencies.iter().any(is_itself), "the facade's tests are built without the feature");

    // The last is what Hayase is compared with, behind a feature of the command.
    let allowed = ["hayase", "hayase-compat", "hayase-peers"];
    let others = graph.members().filter(|member| !allowed.contains(&member.name.as_str()));
    none("tokio outside compat", others.flat_map(|member| among(member, &PRODUCT, &["tokio"])));
}

/// Where the keyword `unsafe` may stand.
fn is_unsafe_room(path: &Path) -> bool {
    let is_sys = |path: &Path| path.ends_with("src/sys.rs") || path.ends_with("src/sys");
    let is_backend_sys = path.starts_with("backend") && path.ancestors().any(is_sys);
    is_backend_sys || path.starts_with("executor/src/sys") || path == Path::new("device/src/sys.rs")
}

#[test]
fn unsafe_stays_in_its_rooms() {
    let outside = files(&["rs"]).into_iter().filter(|file| !is_unsafe_room(&file.path));
    none("unsafe outside of its rooms", outside.flat_map(|file| found(&file, "unsafe")));
}

fn found(file: &File, word: &str) -> Vec<String> {
    let lines = Source::new(&file.text).lines_with(word);
    lines.into_iter().map(|line| format!("{}:{line}", file.path.display())).collect()
}

#[test]
fn every_crate_forbids_unsafe_code() {
    let graph = Graph::load();
    let has_room = |package: &Package| {
        let folder = workspace_root().join(package.folder.as_ref().expect("a member has a folder"));
        folder.join("src/sys.rs").exists() || folder.join("src/sys").exists()
    };
    let lacks = |package: &Package, root: &PathBuf| {
        let level = if has_room(package) { "#![deny(unsafe_code)]" } else { "#![forbid(unsafe_code)]" };
        let text = fs::read_to_string(root).unwrap_or_else(|error| panic!("{}: {error}", root.display()));
        (!Source::new(&text).code().contains(level)).then(|| format!("{} lacks {level}", root.display()))
    };
    let lacking =
        |package| Package::clone(package).roots.into_iter().filter_map(move |root| lacks(package, &root));
    none("a crate's root", graph.members().flat_map(lacking));
}

#[test]
fn no_lint_is_silenced() {
    let allows = |file: &File| {
        let code = Source::new(&file.text).code().replace(char::is_whitespace, "");
        let attributes = code.matches("[allow(").count();
        let rooms = code.matches("#[allow(unsafe_code)]modsys;").count();
        (attributes > rooms).then(|| file.path.display().to_string())
    };
    none("#[allow] other than of a room for unsafe", files(&["rs"]).iter().filter_map(allows));
}

#[test]
fn the_core_builds_for_bare_metal() {
    let sysroot = Command::new("rustc").args(["--print", "sysroot"]).current_dir(workspace_root()).output();
    let sysroot = String::from_utf8(sysroot.expect("rustc runs").stdout).expect("the sysroot is UTF-8");
    if !Path::new(sysroot.trim()).join("lib/rustlib").join(BARE_METAL).exists() {
        return rights::skip(&format!("needs rustup target add {BARE_METAL}"));
    }
    let target_directory = profile_directory().join("bare-metal");
    let packages = ["-p", "hayase-time", "-p", "hayase-device", "-p", "hayase-stack"];
    let mut build = cargo();
    build.args(["build", "--quiet", "--target", BARE_METAL]).args(packages);
    let output = build.arg("--target-dir").arg(target_directory).output().expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn every_licence_is_allowed() {
    let graph = Graph::load();
    let refused = graph.packages.iter().filter(|package| {
        let expression = package.licence.as_deref().unwrap_or_default();
        !licence::is_allowed(expression)
    });
    none("a licence", refused.map(|package| format!("{}: {:?}", package.name, package.licence)));
}

#[test]
fn packages_come_from_crates_io_in_named_versions() {
    let graph = Graph::load();
    let foreign = graph.packages.iter().filter(|package| {
        package
            .source
            .as_ref()
            .is_some_and(|source| !source.ends_with("github.com/rust-lang/crates.io-index"))
    });
    none(
        "a package from elsewhere",
        foreign.map(|package| format!("{}: {:?}", package.name, package.source)),
    );
    let any_version = graph.members().flat_map(|member| {
        let is_loose = |dependency: &&Dependency| {
            let path = graph.members().any(|other| other.name == dependency.name);
            dependency.versions == "*" && !path
        };
        let loose = member.dependencies.iter().filter(is_loose);
        loose.map(|dependency| format!("{}: {}", member.name, dependency.name)).collect::<Vec<_>>()
    });
    none("a dependency of any version", any_version);
}

/// `deny.toml` and this crate have the list of licences once each.
#[test]
fn both_lists_of_licences_agree() {
    let text = fs::read_to_string(workspace_root().join("deny.toml")).unwrap();
    let (_, list) = text.split_once("\nallow = [\n").expect("deny.toml has a list of licences");
    let (list, _) = list.split_once("\n]").expect("the list has an end");
    let theirs: BTreeSet<_> = list.split(',').map(|name| name.trim().trim_matches('"')).collect();
    let ours = licence::ALLOWED.into_iter().chain([""]).collect();
    assert_eq!(theirs, ours);
}

#[test]
fn functions_are_short() {
    let long = |file: File| {
        let functions = Source::new(&file.text).without_tests().functions().into_iter();
        let long = functions.filter(|function| function.line_count > FUNCTION_LINES_MAX);
        long.map(move |function| {
            let (path, count) = (file.path.display(), function.line_count);
            format!("{path}:{}: fn {} has {count} lines", function.line, function.name)
        })
    };
    none("a long function", files(&["rs"]).into_iter().filter(|file| !file.is_test()).flat_map(long));
}

/// Comments count: a file is as long as it looks. Its tests do not.
#[test]
fn files_are_short() {
    let long = |file: &File| {
        let tests =
            Source::new(&file.text).line_count() - Source::new(&file.text).without_tests().line_count();
        let count = file.text.lines().count() - tests;
        (count > FILE_LINES_MAX).then(|| format!("{}: {count} lines", file.path.display()))
    };
    none("a long file", files(&["rs"]).iter().filter(|file| !file.is_test()).filter_map(long));
}

#[test]
fn nothing_is_left_for_later() {
    // Put together here, or this file would be a violation.
    let marks = [["TO", "DO"].concat(), ["FIX", "ME"].concat()];
    let left = |file: &File| {
        let lines = file.text.lines().enumerate();
        let marked = lines.filter(|(_, line)| marks.iter().any(|mark| line.contains(mark.as_str())));
        marked.map(|(index, _)| format!("{}:{}", file.path.display(), index + 1)).collect::<Vec<_>>()
    };
    none("left for later", files(&["rs", "toml", "md"]).iter().flat_map(left));
}

/// A document that names a file of this repository names one that is there.
#[test]
fn the_files_that_documents_name_are_there() {
    let tops = [
        "src/",
        "stack/src/",
        "executor/src/",
        "device/src/",
        "backend/",
        "tool/src/",
        "tests/tests/",
        "benches/",
    ];
    let mut missing = Vec::new();
    for file in files(&["md"]).iter().filter(|file| file.path.starts_with("docs")) {
        for name in file.text.split('`').skip(1).step_by(2) {
            let is_path =
                tops.iter().any(|top| name.starts_with(top)) && !name.contains([' ', '*', '{', '<']);
            let path = name.split(':').next().unwrap_or(name);
            if is_path && path.ends_with(".rs") && !workspace_root().join(path).exists() {
                missing.push(format!("{}: {name}", file.path.display()));
            }
        }
    }
    none("a document names what is not there", missing);
}

/// What netmap's tests skip takes a kernel module, so a machine that skips nothing else may skip it.
const MAY_BE_SKIPPED: [&str; 1] = ["backend/netmap/src/tests.rs"];

/// A test that cannot run says so past the harness, which keeps what is printed to itself, and fails where
/// `HAYASE_NO_SKIP` is set.
#[test]
fn no_test_is_skipped_in_silence() {
    let sources = files(&["rs"]);
    let word = concat!('"', "skipped: ");
    let skipping: Vec<_> = sources.iter().filter(|file| file.text.contains(word)).collect();
    assert!(skipping.len() >= 5, "the rule looks for another word than the tests say");
    let printed = |file: &&&File| file.text.contains(&format!("println!({word}"));
    none(
        "the harness hides what is printed here",
        skipping.iter().filter(printed).map(|file| file.path.display()),
    );
    let is_allowed = |file: &File| MAY_BE_SKIPPED.iter().any(|path| file.path == Path::new(path));
    let deaf = skipping.iter().filter(|file| !file.text.contains("HAYASE_NO_SKIP") && !is_allowed(file));
    none("a test is skipped although HAYASE_NO_SKIP is set", deaf.map(|file| file.path.display()));
}

/// The root manifest is the one place for versions, lints and profiles.
#[test]
fn members_inherit_from_the_root_manifest() {
    let members = files(&["toml"]).into_iter().filter(|file| file.path.ends_with("Cargo.toml"));
    let members: Vec<_> = members.filter(|file| file.path != Path::new("Cargo.toml")).collect();
    none("a manifest decides for itself", members.iter().flat_map(decisions));
    let lacking = members.iter().filter(|file| !file.text.contains("[lints]\nworkspace = true"));
    none("a manifest without the lints", lacking.map(|file| file.path.display()));
}

/// The lines of a member's manifest that say what the root manifest should.
fn decisions(file: &File) -> Vec<String> {
    let mut table = "";
    let mut found = Vec::new();
    for line in file.text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if line.starts_with('[') {
            table = line.trim_matches(['[', ']']);
        } else if is_decision(table, line) {
            found.push(format!("{}: [{table}] {line}", file.path.display()));
        }
    }
    found
}

fn is_decision(table: &str, line: &str) -> bool {
    let key = line.split(['=', '.', ' ']).next().unwrap_or_default();
    let inherited = line.replace(' ', "").contains("workspace=true");
    match table {
        "package" => ["version", "edition", "rust-version", "license"].contains(&key) && !inherited,
        _ if table.starts_with("profile") => true,
        _ if table.ends_with("dependencies") => line.contains('=') && !inherited,
        _ if table.contains("dependencies.") => key == "version" || key == "path" || key == "git",
        _ => false,
    }
}
