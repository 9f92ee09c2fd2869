//! What `#[hayase::main]` makes of an async main.

use std::convert::Infallible;
use std::error::Error;
use std::panic::resume_unwind;
use std::process::ExitCode;

use crate::task::{JoinSet, spawn, spawn_on};
use crate::{Builder, DeviceSpec, Runtime};

/// Runs `main`, or says on stderr why not and ends the process with code 1.
pub fn block_on<F: Future>(device: Option<&str>, main: F) -> F::Output {
    start(device, 1).block_on(main)
}

/// Runs `main` on each of several cores until all have ended, or one has failed. Its failure is the output, else it is
/// what the last one returned.
pub fn block_on_each<F>(
    device: Option<&str>,
    cores: usize,
    main: impl Fn() -> F + Copy + Send + 'static,
) -> F::Output
where
    F: Future<Output: Outcome + Send> + 'static,
{
    start(device, cores).block_on(async move {
        let mut mains = JoinSet::new();
        mains.insert(spawn(main()));
        for core in 1..cores {
            mains.insert(spawn_on(core, main).expect("the runtime has as many cores"));
        }
        loop {
            let output = match mains.join_next().await.expect("the last one ends the loop") {
                Ok(output) => output,
                Err(error) => match error.try_into_panic() {
                    Ok(panic) => resume_unwind(panic),
                    Err(cancelled) => panic!("a main was cancelled: {cancelled}"),
                },
            };
            if output.is_failure() || mains.is_empty() {
                return output;
            }
        }
    })
}

fn start(device: Option<&str>, cores: usize) -> Runtime {
    build(device, cores).unwrap_or_else(|error| {
        eprintln!("hayase: {error}");
        std::process::exit(1);
    })
}

fn build(device: Option<&str>, cores: usize) -> Result<Runtime, Box<dyn Error>> {
    let mut builder = Builder::default().cores(cores);
    if let Some(device) = device {
        builder = builder.devices(DeviceSpec::list(device)?);
    }
    Ok(builder.build()?)
}

/// What a main that runs on several cores may return, or a simulation with many seeds: one that fails ends the others.
#[diagnostic::on_unimplemented(
    message = "a main that runs more than once cannot return `{Self}`",
    label = "with `cores`, or as a simulation with many seeds, it returns `()`, a `Result` of that, or an `ExitCode`"
)]
pub trait Outcome {
    /// Whether it is a failure.
    fn is_failure(&self) -> bool;
}

impl Outcome for () {
    fn is_failure(&self) -> bool {
        false
    }
}

impl Outcome for Infallible {
    fn is_failure(&self) -> bool {
        false
    }
}

impl Outcome for ExitCode {
    fn is_failure(&self) -> bool {
        *self != ExitCode::SUCCESS
    }
}

impl<T: Outcome, E> Outcome for Result<T, E> {
    fn is_failure(&self) -> bool {
        self.as_ref().map_or(true, T::is_failure)
    }
}

#[cfg(all(test, feature = "kernel"))]
mod tests {
    use std::future::pending;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// Says how many mains began before this one.
    fn number(begun: &AtomicUsize) -> usize {
        begun.fetch_add(1, Ordering::Relaxed)
    }

    static OF_THREE: AtomicUsize = AtomicUsize::new(0);

    #[crate::main(device = "kernel", cores = 3)]
    async fn the_second_fails() -> Result<(), &'static str> {
        match number(&OF_THREE) {
            1 => Err("no"),
            _ => pending().await,
        }
    }

    #[test]
    fn one_that_fails_ends_the_others() {
        assert_eq!(the_second_fails(), Err("no"));
    }

    static OF_TWO: AtomicUsize = AtomicUsize::new(0);

    #[crate::main(device = "kernel", cores = 2)]
    async fn each_waits_for_the_other() -> Result<(), &'static str> {
        number(&OF_TWO);
        while OF_TWO.load(Ordering::Relaxed) < 2 {
            crate::task::yield_now().await;
        }
        Ok(())
    }

    #[test]
    fn they_run_at_the_same_time_each_once() {
        assert_eq!(each_waits_for_the_other(), Ok(()));
        assert_eq!(number(&OF_TWO), 2);
    }
}
