//! Runs tasks on a work-stealing pool: longest first, and never two at once
//! that need different process-wide state.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use crossbeam::deque::{Steal, Stealer, Worker};

use crate::error::{Error, Kind, Result};
use crate::llvm;
use crate::prepare::Task;
use crate::sys;

/// LLVM recurses deeply on large functions. clang runs on the main thread's
/// 8 MiB; address space that is not touched costs nothing.
const STACK_SIZE: usize = 64 << 20;

/// What all running tasks of the process have in common.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Common {
    /// `-mllvm` options are global to the process.
    llvm_options: Vec<String>,
    /// The working directory, where threads cannot have their own.
    directory: Option<PathBuf>,
}

/// Runs `work` once for each task, on `workers` threads.
///
/// Tasks with one set of process-wide options run together, then those with
/// the next. An error means that some tasks could not even be started.
pub(crate) fn run<'a>(
    tasks: Vec<Task<'a>>,
    workers: NonZeroUsize,
    work: impl Fn(&Task<'a>) + Sync,
) -> Result<()> {
    // What is process-wide belongs to one run at a time.
    static RUNNING: Mutex<()> = Mutex::new(());
    let _turn = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
    let shared_directory = !threads_can_have_directories();
    // Sorted, so that the order of groups depends on nothing but the tasks;
    // first come those without options, for which nothing need be reset.
    let mut groups = std::collections::BTreeMap::<Common, Vec<Task<'a>>>::new();
    for task in tasks {
        let common = Common {
            llvm_options: task.flags.llvm_options.clone(),
            directory: shared_directory.then(|| task.job.directory.clone()),
        };
        groups.entry(common).or_default().push(task);
    }
    for (common, mut tasks) in groups {
        llvm::set_llvm_options(&common.llvm_options)?;
        if let Some(directory) = &common.directory {
            enter(directory)?;
        }
        tasks.sort_by_key(|task| (std::cmp::Reverse(task.cost), task.number));
        run_group(tasks, workers, common.directory.is_none(), &work)?;
    }
    Ok(())
}

fn enter(directory: &std::path::Path) -> Result<()> {
    sys::enter(directory).map_err(|e| {
        Error::new(
            Kind::Environment,
            format!("cannot enter directory `{}`", directory.display()),
        )
        .because(e)
    })
}

/// Asked on a thread of its own, which gives up what it shares.
fn threads_can_have_directories() -> bool {
    std::thread::spawn(|| sys::own_working_directory().is_ok())
        .join()
        .unwrap_or(false)
}

/// `tasks` come longest first.
fn run_group<'a>(
    tasks: Vec<Task<'a>>,
    workers: NonZeroUsize,
    own_directories: bool,
    work: &(impl Fn(&Task<'a>) + Sync),
) -> Result<()> {
    let count = workers.get().min(tasks.len());
    // Dealt out like cards, each queue too holds its longest task first.
    let queues: Vec<Worker<Task<'a>>> = (0..count).map(|_| Worker::new_fifo()).collect();
    for (task, queue) in tasks.into_iter().zip(queues.iter().cycle()) {
        queue.push(task);
    }
    let stealers: Vec<Stealer<Task<'a>>> = queues.iter().map(Worker::stealer).collect();
    let stealers = &stealers;

    std::thread::scope(|scope| {
        let threads: Vec<_> = queues
            .into_iter()
            .enumerate()
            .map(|(number, queue)| {
                std::thread::Builder::new()
                    .name(format!("backend-{number}"))
                    .stack_size(STACK_SIZE)
                    .spawn_scoped(scope, move || {
                        if own_directories {
                            sys::own_working_directory().map_err(|e| {
                                Error::new(Kind::Environment, "cannot set up a worker").because(e)
                            })?;
                        }
                        while let Some(task) = next(&queue, stealers, number) {
                            if own_directories {
                                enter(&task.job.directory)?;
                            }
                            work(&task);
                        }
                        Ok(())
                    })
                    .map_err(|e| {
                        Error::new(Kind::Environment, "cannot start a worker thread").because(e)
                    })
            })
            .collect();
        threads.into_iter().try_for_each(|thread| {
            thread?
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    })
}

/// The next task of the worker's own queue, else the longest one left in
/// another's.
fn next<'a>(
    own: &Worker<Task<'a>>,
    stealers: &[Stealer<Task<'a>>],
    number: usize,
) -> Option<Task<'a>> {
    own.pop().or_else(|| {
        // Neighbours differ between workers, so that thieves spread out.
        let others = || {
            stealers
                .iter()
                .cycle()
                .skip(number + 1)
                .take(stealers.len())
        };
        loop {
            let stolen: Steal<Task<'a>> = others().map(Stealer::steal).collect();
            if !stolen.is_retry() {
                return stolen.success();
            }
        }
    })
}
