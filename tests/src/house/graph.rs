//! The dependency graph as `cargo metadata` tells it.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde_json::Value;

use crate::binary::{cargo, workspace_root};

/// What a dependency is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Part of the program.
    Normal,
    /// For build scripts.
    Build,
    /// For tests, examples and benches.
    Dev,
}

/// One entry in a manifest's tables of dependencies.
#[derive(Clone, Debug)]
pub struct Dependency {
    /// The package it names.
    pub name: String,
    /// Its table.
    pub kind: Kind,
    /// Whether a feature turns it on.
    pub optional: bool,
    /// Which versions of it will do.
    pub versions: String,
}

/// A package, of this workspace or not.
#[derive(Clone, Debug)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Where it comes from, if not from this workspace.
    pub source: Option<String>,
    /// Its licence expression.
    pub licence: Option<String>,
    /// Its folder, relative to the workspace's root, if it is a member.
    pub folder: Option<PathBuf>,
    /// What its manifest names.
    pub dependencies: Vec<Dependency>,
    /// The root files of its library, its binaries and its macros.
    pub roots: Vec<PathBuf>,
}

/// Every package that a build of this workspace may use, with every feature of every member.
#[derive(Debug)]
pub struct Graph {
    /// All of them, members first.
    pub packages: Vec<Package>,
}

impl Graph {
    /// Asks cargo.
    ///
    /// # Panics
    /// If cargo fails or its answer is of an unknown form.
    pub fn load() -> Graph {
        let output = cargo().args(["metadata", "--format-version=1", "--all-features"]).output();
        let output = output.expect("cargo runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo metadata prints JSON");
        let mut packages: Vec<_> = array(&metadata["packages"]).iter().map(package).collect();
        packages.sort_by_key(|package| (package.folder.is_none(), package.name.clone()));
        Graph { packages }
    }

    /// The packages of this workspace.
    pub fn members(&self) -> impl Iterator<Item = &Package> {
        self.packages.iter().filter(|package| package.folder.is_some())
    }

    /// A package of this workspace.
    ///
    /// # Panics
    /// If there is none of that name.
    pub fn member(&self, name: &str) -> &Package {
        self.members().find(|package| package.name == name).unwrap_or_else(|| panic!("no member {name}"))
    }

    /// Everything that a plain build of a member compiles, itself included: default features, no tests.
    ///
    /// # Panics
    /// If cargo fails.
    pub fn built_with(&self, name: &str) -> BTreeSet<String> {
        let arguments = ["tree", "--package", name, "--edges", "normal,build", "--prefix", "none"];
        let output = cargo().args(arguments).args(["--format", "{lib}"]).output().expect("cargo runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).expect("names are UTF-8");
        text.split_whitespace().map(|library| library.replace('_', "-")).collect()
    }
}

impl Package {
    /// The names of the dependencies of some kinds, optional ones included.
    pub fn names(&self, kinds: &[Kind]) -> BTreeSet<&str> {
        let wanted = self.dependencies.iter().filter(|dependency| kinds.contains(&dependency.kind));
        wanted.map(|dependency| dependency.name.as_str()).collect()
    }

    /// Whether it is a backend.
    pub fn is_backend(&self) -> bool {
        self.folder.as_ref().is_some_and(|folder| folder.starts_with("backend"))
    }
}

fn package(value: &Value) -> Package {
    let manifest = PathBuf::from(text(&value["manifest_path"]));
    let folder = manifest.parent().and_then(|folder| folder.strip_prefix(workspace_root()).ok());
    let is_member = value["source"].is_null();
    Package {
        name: text(&value["name"]),
        source: value["source"].as_str().map(str::to_owned),
        licence: value["license"].as_str().map(str::to_owned),
        folder: folder.filter(|_| is_member).map(PathBuf::from),
        dependencies: array(&value["dependencies"]).iter().map(dependency).collect(),
        roots: array(&value["targets"]).iter().filter(|target| is_product(target)).map(root).collect(),
    }
}

fn dependency(value: &Value) -> Dependency {
    let kind = match value["kind"].as_str() {
        Some("dev") => Kind::Dev,
        Some("build") => Kind::Build,
        _ => Kind::Normal,
    };
    let (name, versions) = (text(&value["name"]), text(&value["req"]));
    Dependency { name, kind, optional: value["optional"] == true, versions }
}

fn is_product(target: &Value) -> bool {
    array(&target["kind"]).iter().any(|kind| matches!(kind.as_str(), Some("lib" | "bin" | "proc-macro")))
}

fn root(target: &Value) -> PathBuf {
    PathBuf::from(text(&target["src_path"]))
}

fn array(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> String {
    value.as_str().expect("cargo metadata has a text here").to_owned()
}
