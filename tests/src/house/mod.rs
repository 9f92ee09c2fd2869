//! What the checks of the house rules look at.

pub mod graph;
pub mod licence;
pub mod source;
pub mod tree;

pub use graph::{Dependency, Graph, Kind, Package};
pub use source::Source;
