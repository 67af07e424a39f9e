//! Compiles in this process.
//!
//! Each executor has a thread that runs LLVM's code and nothing else. The one
//! that waits for it, the pool's worker, never runs C++: when a compile crashes
//! and takes a lock of the C++ heap with it, others that run C++ may wait for
//! ever, while workers go on. A crashed thread says so and then sleeps for ever;
//! those that were busy beside it are left alone too, and what they make is not
//! used.

use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use super::{CompileJob, Input, Limits, SMALL_STACK_SIZE, STACK_SIZE, Shown};
use crate::compile::{Compiled, Failure, Imported, Watch};
use crate::llvm::{self, Adopted, CompileInput};
use crate::sys;

/// What became of a job that this process was given.
pub(super) enum Attempted {
    Done(Box<Compiled>),
    /// The job crashed this process.
    Crashed(Failure),
    /// Another job did, now or earlier.
    Unsafe,
    /// Other `-mllvm` options are in force.
    OtherOptions,
    /// Nobody wants it any more. The thread may work on it for ever.
    LeftBehind,
}

/// A thread for compiles, seen from the worker that waits for it.
pub(crate) struct Local {
    exchange: Arc<Exchange>,
    thread: Option<JoinHandle<()>>,
    limits: Limits,
}

/// Where worker and thread meet. One of the two always waits for the other.
struct Exchange {
    state: Mutex<State>,
    changed: Condvar,
}

enum State {
    /// The thread waits for a job.
    Idle,
    /// The thread is to take this.
    Job(Arc<CompileJob>),
    /// The thread works.
    Busy,
    /// The worker is to look at this.
    Shown(Box<Shown>),
    /// Whether the object is needed.
    Answer(bool),
    /// The worker is to take this.
    Ended(Attempted),
    /// The thread is to end.
    Closed,
}

/// The exchanges of all pools: a crash concerns everybody.
static ALL: Mutex<Vec<Arc<Exchange>>> = Mutex::new(Vec::new());

/// Whether jobs that were cancelled are left behind: this is a program that ends
/// then. A host goes on, so there they are waited for.
static LEAVES_BEHIND: AtomicBool = AtomicBool::new(false);
/// Whether there is a thread that may still run C++.
static HAS_LEFT: AtomicBool = AtomicBool::new(false);

/// Leaves jobs behind from now on when they are cancelled.
pub(crate) fn leave_cancelled_behind() {
    LEAVES_BEHIND.store(true, Ordering::Relaxed);
}

/// Whether there is a thread that may still run C++, which must not meet the
/// destructors of the end of the process.
pub(crate) fn has_left_behind() -> bool {
    HAS_LEFT.load(Ordering::Relaxed)
}

/// Has everybody who waits for a compile look again whether it is still wanted.
pub(crate) fn wake() {
    for exchange in lock(&ALL).iter() {
        // Taken, so that nobody is between a look and the wait.
        drop(lock(&exchange.state));
        exchange.changed.notify_all();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Exchange {
    fn put(&self, state: State) {
        *lock(&self.state) = state;
        self.changed.notify_all();
    }

    /// Waits until `take` finds something in the state.
    fn wait<T>(&self, mut take: impl FnMut(&mut State) -> Option<T>) -> T {
        let mut state = lock(&self.state);
        loop {
            if let Some(found) = take(&mut state) {
                return found;
            }
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Local {
    /// Starts the thread, for compiles within `limits`; `None` in a process that has
    /// crashed.
    pub(super) fn start(limits: &Limits) -> std::io::Result<Option<Local>> {
        if llvm::has_crashed() {
            return Ok(None);
        }
        let exchange = Arc::new(Exchange {
            state: Mutex::new(State::Idle),
            changed: Condvar::new(),
        });
        let start = |stack_size| {
            let theirs = Arc::clone(&exchange);
            std::thread::Builder::new()
                .name("backend".to_owned())
                .stack_size(stack_size)
                .spawn(move || serve(&theirs))
        };
        // Where address space is limited, what clang has must do.
        let thread = start(STACK_SIZE).or_else(|_| start(SMALL_STACK_SIZE))?;
        lock(&ALL).push(Arc::clone(&exchange));
        Ok(Some(Local {
            exchange,
            thread: Some(thread),
            limits: limits.clone(),
        }))
    }

    pub(super) fn compile(&self, job: &Arc<CompileJob>, watch: &mut dyn Watch) -> Attempted {
        if llvm::has_crashed() {
            return Attempted::Unsafe;
        }
        self.exchange.put(State::Job(Arc::clone(job)));
        enum News {
            Shown(Box<Shown>),
            Ended(Attempted),
        }
        let mut panicked = None;
        loop {
            let news = self.exchange.wait(|state| {
                match state {
                    State::Ended(Attempted::Crashed(_)) => {}
                    // What was made beside a crash may be wrong.
                    _ if llvm::has_crashed() => return Some(News::Ended(Attempted::Unsafe)),
                    State::Shown(_) | State::Ended(_) => {}
                    _ if self.is_left_behind() => {
                        return Some(News::Ended(Attempted::LeftBehind));
                    }
                    _ => return None,
                }
                match std::mem::replace(state, State::Busy) {
                    State::Shown(shown) => Some(News::Shown(shown)),
                    State::Ended(attempted) => {
                        *state = State::Idle;
                        Some(News::Ended(attempted))
                    }
                    _ => None,
                }
            });
            match news {
                News::Shown(shown) => {
                    // The thread needs an answer, whatever happens here.
                    let looked = std::panic::catch_unwind(AssertUnwindSafe(|| shown.to(watch)));
                    let wanted = *looked.as_ref().unwrap_or(&true);
                    panicked = looked.err().or(panicked);
                    self.exchange.put(State::Answer(wanted));
                }
                News::Ended(attempted) => match panicked {
                    Some(panic) => std::panic::resume_unwind(panic),
                    None => return attempted,
                },
            }
        }
    }

    /// Whether what the thread works on is left behind.
    fn is_left_behind(&self) -> bool {
        self.limits.is_cancelled() && LEAVES_BEHIND.load(Ordering::Relaxed)
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        lock(&ALL).retain(|other| !Arc::ptr_eq(other, &self.exchange));
        let before = std::mem::replace(&mut *lock(&self.exchange.state), State::Closed);
        self.exchange.changed.notify_all();
        // After a crash it may never end.
        if llvm::has_crashed() {
            return;
        }
        if !matches!(before, State::Idle) {
            HAS_LEFT.store(true, Ordering::Relaxed);
            return;
        }
        // As it ends it runs destructors of C++, which must not meet those of the
        // end of the process.
        if let Some(thread) = self.thread.take() {
            // Panics are caught where jobs run.
            let _ = thread.join();
        }
    }
}

/// What the thread does.
fn serve(exchange: &Exchange) {
    let own_directory = sys::own_working_directory().is_ok();
    let _stack = sys::AlternateStack::new();
    loop {
        let job = exchange.wait(|state| match state {
            State::Job(job) => {
                let job = Arc::clone(job);
                *state = State::Busy;
                Some(Some(job))
            }
            State::Closed => Some(None),
            _ => None,
        });
        let Some(job) = job else {
            return;
        };
        // A bug of ours must not leave a worker waiting.
        let act = AssertUnwindSafe(|| attempt(&job, own_directory, exchange));
        let attempted = std::panic::catch_unwind(act).unwrap_or_else(|_| {
            let failure = Failure::Reported("a thread panicked over it".to_owned());
            Attempted::Done(Box::new(failure.into()))
        });
        if job.gives_back {
            sys::give_back_memory();
        }
        drop(job);
        let closed = {
            let mut state = lock(&exchange.state);
            let closed = matches!(*state, State::Closed);
            if !closed {
                *state = State::Ended(attempted);
            }
            closed
        };
        if closed {
            return;
        }
        exchange.changed.notify_all();
    }
}

fn attempt(job: &CompileJob, own_directory: bool, exchange: &Exchange) -> Attempted {
    let failed = |failure: Failure| Attempted::Done(Box::new(failure.into()));
    match llvm::adopt_options(&job.flags.llvm_options) {
        Adopted::InForce => {}
        Adopted::Others => return Attempted::OtherOptions,
        Adopted::Rejected(text) => return failed(Failure::Options(text)),
    }
    let entered = match own_directory {
        true => sys::enter(&job.directory).map(|()| None),
        false => SharedDirectory::enter(&job.directory).map(Some),
    };
    if let Err(e) = &entered {
        return failed(Failure::Directory(e.to_string()));
    }
    let mut relay = Relay {
        exchange,
        assembly: Vec::new(),
        wants_imported: job.wants_imported,
    };
    Attempted::Done(Box::new(llvm::compile(
        &input_of(job),
        &mut relay,
        &|failure, _| say_crash(exchange, failure),
    )))
}

/// What `job` reads, for LLVM.
fn input_of(job: &CompileJob) -> CompileInput<'_> {
    CompileInput {
        invocation: &job.flags.invocation,
        module: job.module.parts(),
        index: job.index.as_ref().map(Input::parts),
        imports: job.imports.iter().map(Input::parts).collect(),
        output: &job.output,
        time_trace: job.time_trace,
        wants_functions: job.wants_functions,
    }
}

/// Tells everybody of a crash. Nothing here allocates: this thread may hold the
/// lock that it would wait for.
fn say_crash(exchange: &Exchange, failure: Failure) {
    {
        let mut state = lock(&exchange.state);
        // What is there is `Busy`, or `Closed`, and owns nothing.
        if matches!(*state, State::Busy) {
            *state = State::Ended(Attempted::Crashed(failure));
        } else {
            std::mem::forget(failure);
        }
    }
    exchange.changed.notify_all();
    wake();
}

/// Has the worker look at what was imported.
struct Relay<'a> {
    exchange: &'a Exchange,
    assembly: Vec<Vec<u8>>,
    wants_imported: bool,
}

impl Watch for Relay<'_> {
    fn wants_imported(&self) -> bool {
        self.wants_imported
    }

    fn assembly(&mut self, text: &[u8]) {
        self.assembly.push(text.to_owned());
    }

    fn imported(&mut self, imported: Option<Imported>) -> bool {
        let shown = Box::new(Shown {
            assembly: std::mem::take(&mut self.assembly),
            imported,
        });
        {
            let mut state = lock(&self.exchange.state);
            if !matches!(*state, State::Busy) {
                return true;
            }
            *state = State::Shown(shown);
        }
        self.exchange.changed.notify_all();
        self.exchange.wait(|state| match state {
            State::Answer(wanted) => {
                let wanted = *wanted;
                *state = State::Busy;
                Some(wanted)
            }
            // Nobody waits for the object any more.
            State::Closed => Some(false),
            _ => None,
        })
    }
}

/// The process's working directory, where threads cannot have their own: those
/// who need another wait.
struct SharedDirectory;

struct Users {
    directory: Option<PathBuf>,
    count: usize,
}

static USERS: Mutex<Users> = Mutex::new(Users {
    directory: None,
    count: 0,
});
static LEFT: Condvar = Condvar::new();

impl SharedDirectory {
    fn enter(directory: &Path) -> std::io::Result<SharedDirectory> {
        let mut users = lock(&USERS);
        while users.count > 0 && users.directory.as_deref() != Some(directory) {
            users = LEFT.wait(users).unwrap_or_else(PoisonError::into_inner);
        }
        if users.count == 0 {
            users.directory = None;
            sys::enter(directory)?;
            users.directory = Some(directory.to_owned());
        }
        users.count += 1;
        Ok(SharedDirectory)
    }
}

impl Drop for SharedDirectory {
    fn drop(&mut self) {
        let mut users = lock(&USERS);
        users.count -= 1;
        if users.count == 0 {
            LEFT.notify_all();
        }
    }
}
