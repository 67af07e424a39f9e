//! What SIGINT, SIGTERM and SIGHUP do: they end a run within a second, whatever LLVM
//! or ld.lld are busy with. No process stays behind and no file is half written, and
//! whoever waits for this process sees the signal.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, Signal, getpid, pidfd_open, pidfd_send_signal};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;

use crate::{console, processes};
use backlto::Canceller;

/// How a run ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// What is known of finished objects is kept, for the next run.
    Orderly,
    /// Nobody wants the objects any more: none is written from then on.
    Unwanted,
}

/// How long programs that were started have to end by themselves.
const MERCY: Duration = Duration::from_millis(300);
/// How long doors have to end by themselves.
const PATIENCE: Duration = Duration::from_millis(600);
/// How often to look for programs that were started in the meantime.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// The signal that came, or zero.
static RECEIVED: AtomicI32 = AtomicI32::new(0);
/// The engines that run.
static ENGINES: Mutex<Vec<Canceller>> = Mutex::new(Vec::new());

/// From now on a signal ends the run as `ending` says. Signals that the process was
/// started to ignore, as by nohup, are left alone.
pub(crate) fn watch(ending: Ending) {
    let (ready, is_ready) = mpsc::channel();
    // Handlers are installed by the thread: where there is none to be had, signals
    // end the process as they always do.
    let started = std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            let ignored = ignored_signals();
            let signals = [SIGINT, SIGTERM, SIGHUP].map(|signal| (signal, 1 << (signal - 1)));
            let handled = signals.iter().filter(|(_, bit)| ignored & bit == 0);
            let mut signals = match Signals::new(handled.map(|(signal, _)| signal)) {
                Ok(signals) => signals,
                Err(_) => return,
            };
            let _ = ready.send(());
            if let Some(signal) = signals.forever().next() {
                end_run(signal, ending);
            }
        });
    if started.is_ok() {
        // An error says that the thread has gone, which is as good.
        let _ = is_ready.recv();
    }
}

/// Has the system send SIGTERM when the process that started this one ends: ld.lld,
/// which has taken away by then what it wanted objects for.
pub(crate) fn end_with_parent() {
    // Where that is not to be had, the objects are litter as those of any distributor.
    let _ = rustix::process::set_parent_process_death_signal(Some(Signal::TERM));
}

/// Has a signal cancel the runs of an engine too, by `canceller`.
pub(crate) fn cancels(canceller: Canceller) {
    let mut engines = ENGINES.lock().unwrap_or_else(PoisonError::into_inner);
    if RECEIVED.load(Ordering::SeqCst) != 0 {
        canceller.cancel();
    }
    engines.push(canceller);
}

/// Ends the process by the signal that came, if one did. For the end of the program:
/// the doors have kept what they know.
pub(crate) fn end_if_received() {
    let signal = RECEIVED.load(Ordering::SeqCst);
    if signal != 0 {
        die(signal);
    }
}

/// The signals that this process ignores, a bit for each (`proc_pid_status(5)`).
fn ignored_signals() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or(0)
}

fn end_run(signal: i32, ending: Ending) {
    // Whatever fails from here on fails because of it. Nothing is said of it either:
    // whoever reads that may be gone, or busy.
    console::be_silent();
    RECEIVED.store(signal, Ordering::SeqCst);
    if ending == Ending::Unwanted {
        backlto::emit::close();
    }
    for engine in &*ENGINES.lock().unwrap_or_else(PoisonError::into_inner) {
        engine.cancel();
    }
    let begin = Instant::now();
    // The main thread ends the process before that, if it can.
    while begin.elapsed() < PATIENCE {
        let last = begin.elapsed() > MERCY;
        tell_all_started(if last { Signal::KILL } else { Signal::TERM });
        std::thread::sleep(LOOK_AGAIN);
    }
    die(signal);
}

/// Ends the process by `signal`, with all that it has started. From the first step
/// on no file is written.
fn die(signal: i32) {
    backlto::emit::close();
    tell_all_started(Signal::KILL);
    // It fails for signals that do not exist.
    let _ = emulate_default_handler(signal);
}

/// Sends `signal` to all that this process has started. One thread at a time: when a
/// linker has been told and ends, so does the main thread, and with it the process,
/// which must not happen before what the linker has started has been told too.
fn tell_all_started(signal: Signal) {
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    Descendants::of(getpid()).tell(signal);
}

/// The processes that a process has started, and those that they have. They are held
/// by descriptors: a number may be another process's by the time it is used.
struct Descendants(Vec<OwnedFd>);

impl Descendants {
    fn of(process: Pid) -> Descendants {
        let children = processes::children_of_all();
        let mut found = vec![process];
        let mut next = 0;
        while let Some(parent) = found.get(next) {
            let more = children.get(parent).map_or(&[][..], Vec::as_slice);
            found.extend_from_slice(more);
            next += 1;
        }
        let held = found[1..]
            .iter()
            .filter_map(|child| pidfd_open(*child, PidfdFlags::empty()).ok());
        Descendants(held.collect())
    }

    fn tell(&self, signal: Signal) {
        for process in &self.0 {
            // One that has ended already is no error.
            let _ = pidfd_send_signal(process, signal);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_was_started_is_found_and_ended() {
        let mut child = std::process::Command::new("sh")
            .args(["-c", "(sleep 1000 & wait) & wait"])
            .spawn()
            .expect("a shell");
        let shell = Pid::from_child(&child);
        // The inner shell, and what it has started.
        while Descendants::of(shell).0.len() < 2 {
            std::thread::sleep(Duration::from_millis(1));
        }
        Descendants::of(shell).tell(Signal::KILL);
        child.wait().expect("it ends");
        assert!(Descendants::of(shell).0.is_empty());
    }
}
