//! Where the threads of a runtime run.

use std::process::Command;
use std::thread;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::{DeviceSpec, Model, Runtime, WireSpec};

/// Where this thread is allowed.
fn here() -> Vec<usize> {
    let cpus = sched_getaffinity(None).unwrap();
    (0..CpuSet::MAX_CPU).filter(|cpu| cpus.is_set(*cpu)).collect()
}

fn runtime(model: Model, cores: usize, bound: bool) -> Runtime {
    let wire = DeviceSpec::Wire(WireSpec::default());
    Runtime::builder().device(wire).model(model).cores(cores).bound(bound).build().unwrap()
}

fn of_cores(runtime: &Runtime) -> Vec<Vec<usize>> {
    let ask = |core| runtime.block_on(async { crate::spawn_on(core, || async { here() }).unwrap().await });
    (0..runtime.cores()).map(|core| ask(core).unwrap()).collect()
}

#[test]
fn a_second_runtime_is_not_confined_to_a_cpu_of_the_first() {
    let allowed = here();
    let each = [0, 1].map(|core| vec![allowed[core % allowed.len()]]);
    let first = runtime(Model::Unified, 2, true);
    assert_eq!(of_cores(&first), each);
    let on_a_thread_that_inherits = || of_cores(&runtime(Model::Unified, 2, true));
    assert_eq!(thread::spawn(on_a_thread_that_inherits).join().unwrap(), each);
    let second = runtime(Model::Unified, 2, true);
    assert_eq!(of_cores(&second), each);
    let third = runtime(Model::Split, 1, true);
    assert_eq!(of_cores(&third), each[..1]);
    drop((first, second, third));
    assert_eq!(here(), allowed, "dropped in the order in which they were made");
}

/// Who is bound to a CPU by its owner, and not by a runtime, stays there, whatever runtimes there were before.
#[test]
fn a_runtime_stays_where_its_thread_was_put() {
    // In a process of its own: the other tests of this one bind threads to the same CPUs meanwhile.
    const ALONE: &str = "HAYASE_TEST_ALONE";
    if std::env::var_os(ALONE).is_none() {
        let name = format!(
            "{}::a_runtime_stays_where_its_thread_was_put",
            module_path!().split_once("::").unwrap().1
        );
        let mut test = Command::new(std::env::current_exe().unwrap());
        assert!(test.args([&name, "--exact"]).env(ALONE, "1").status().unwrap().success());
        return;
    }
    drop(runtime(Model::Unified, 2, true));
    let cpu = *here().last().unwrap();
    let mut one = CpuSet::new();
    one.set(cpu);
    sched_setaffinity(None, &one).unwrap();
    let bound = runtime(Model::Merge, 1, true);
    assert_eq!(here(), [cpu]);
    drop(bound);
    assert_eq!(here(), [cpu]);
}

#[test]
fn nobody_is_bound_who_is_to_be_free() {
    let allowed = here();
    for model in Model::ALL {
        for cores in [1, 2] {
            let runtime = runtime(model, cores, false);
            assert_eq!(of_cores(&runtime), vec![allowed.clone(); cores], "model {model}, {cores} cores");
        }
    }
}
