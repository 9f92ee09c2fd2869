//! How the stack and the tasks of a core share the machine.

use std::error::Error;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// What another thread is waited for awake. Waking it takes some ten microseconds, more in a virtual machine, and it
/// may find a full ring then: several times both.
const SPIN_SPLIT: Duration = Duration::from_micros(200);

/// Where the stack of a core runs. The API is the same with each.
///
/// ```
/// use hayase::{Model, Runtime};
///
/// let runtime = Runtime::builder().device("wire".parse()?).model(Model::Split).build()?;
/// let addresses = runtime.block_on(async { hayase::Host::current()?.addresses() })?;
/// assert!(addresses.contains(&"10.7.0.2/24".parse()?));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Model {
    /// On the thread of the tasks, in the same turn: the least work for each request, and the default.
    #[default]
    Unified,
    /// On a thread and a CPU of its own: tasks that compute for long do not keep the stack from its packets. Sockets
    /// work on every thread.
    Split,
    /// On a thread of its own, on the CPU of the tasks: the kernel shares the CPU out, and each thread wakes the other.
    /// Sockets work on every thread.
    Merge,
}

impl Model {
    /// All of them.
    pub const ALL: [Model; 3] = [Model::Unified, Model::Split, Model::Merge];

    /// How long its threads spin: as was `chosen`, else as `unified` does, but where another thread has its say.
    pub(super) fn spin(self, chosen: Option<Duration>, unified: Duration) -> Duration {
        match self {
            Model::Unified => chosen.unwrap_or(unified),
            Model::Split => chosen.unwrap_or(SPIN_SPLIT),
            // Who spins keeps the other from the CPU.
            Model::Merge => Duration::ZERO,
        }
    }

    /// Its name, as on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Model::Unified => "unified",
            Model::Split => "split",
            Model::Merge => "merge",
        }
    }
}

impl fmt::Display for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A text that names no [`Model`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseModelError(String);

impl fmt::Display for ParseModelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "there is no CPU model `{}`, only unified, split and merge", self.0)
    }
}

impl Error for ParseModelError {}

impl FromStr for Model {
    type Err = ParseModelError;

    fn from_str(text: &str) -> Result<Model, ParseModelError> {
        let model = Model::ALL.into_iter().find(|model| model.name() == text);
        model.ok_or_else(|| ParseModelError(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_understood() {
        for model in Model::ALL {
            assert_eq!(model.to_string().parse(), Ok(model));
        }
        assert!("split-merge".parse::<Model>().unwrap_err().to_string().contains("unified, split and merge"));
    }
}
