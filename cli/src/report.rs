//! What the user sees: progress, messages in plan order, a summary.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anstyle::{AnsiColor, Style};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;

use crate::trace::Trace;
use backlto::cache::Summary;
use backlto::error::Error;
use backlto::{Job, JobReport, Observer, Origin};

/// How much to say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verbosity {
    /// Errors and the compiler's messages only.
    Quiet,
    /// On a terminal, what is running too.
    Progress,
    /// Progress and a summary.
    #[default]
    Normal,
    /// The command line of every job too.
    Verbose,
}

/// Prints `error`, and what to do about it.
pub(crate) fn error(error: &Error) {
    say("error", AnsiColor::Red, &error.to_string());
    if let Some(advice) = error.advice() {
        say("note", AnsiColor::Cyan, advice);
    }
}

/// Prints a warning.
pub(crate) fn warning(text: &str) {
    say("warning", AnsiColor::Magenta, text);
}

fn say(label: &str, color: AnsiColor, text: &str) {
    let bold = Style::new().bold();
    let style = Style::new().bold().fg_color(Some(color.into()));
    let mut stderr = anstream::stderr().lock();
    // Nobody is left to tell when standard error is gone.
    let _ = writeln!(
        stderr,
        "{bold}backlto:{bold:#} {style}{label}:{style:#} {text}"
    );
}

fn print_line(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// Follows runs for a person or a log file.
pub(crate) struct Reporter {
    verbosity: Verbosity,
    /// Events go to standard output as JSON, in place of lines for people.
    json: bool,
    trace: Option<(PathBuf, Mutex<Trace>)>,
    bar: Option<ProgressBar>,
    start: Instant,
    start_cpu: Duration,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    running: Vec<String>,
    slowest: Vec<(Duration, String)>,
    count: Count,
    /// The same for each group of runs that has a name.
    groups: BTreeMap<String, Count>,
}

/// What the summary counts.
#[derive(Clone, Copy, Default)]
struct Count {
    objects: usize,
    compiled: usize,
    up_to_date: usize,
    failed: usize,
    bytes: u64,
    duration: Duration,
    backend_cpu: Duration,
}

impl Count {
    fn add(&mut self, report: &JobReport) {
        match report.result {
            Ok(bytes) => {
                self.objects += 1;
                self.bytes += bytes;
                match report.origin {
                    Origin::Compiled => self.compiled += 1,
                    Origin::UpToDate => self.up_to_date += 1,
                    _ => {}
                }
            }
            Err(_) => self.failed += 1,
        }
        self.duration += report.duration;
        self.backend_cpu += report.backend_cpu;
    }
}

impl Reporter {
    /// A reporter that has heard of no run yet. With `json`, what happens is
    /// printed as JSON, one object a line; with `trace`, a trace of it goes to
    /// that file.
    pub(crate) fn new(verbosity: Verbosity, json: bool, trace: Option<PathBuf>) -> Reporter {
        let interactive = [Verbosity::Progress, Verbosity::Normal].contains(&verbosity)
            && std::io::stdout().is_terminal()
            && std::io::stderr().is_terminal();
        Reporter {
            verbosity,
            json,
            trace: trace.map(|path| (path, Mutex::default())),
            bar: interactive.then(progress_bar),
            start: Instant::now(),
            start_cpu: process_cpu(),
            state: Mutex::default(),
        }
    }

    /// An observer for one run of `jobs` jobs. `label` names a job's object;
    /// `group` is whose line of the summary the jobs count for.
    ///
    /// Whatever order the jobs end in, what is said of them comes in plan
    /// order.
    pub(crate) fn follow<'a>(
        &'a self,
        jobs: usize,
        group: Option<&'a str>,
        label: &'a dyn Fn(&Job) -> String,
    ) -> impl Observer + 'a {
        if let Some(bar) = &self.bar {
            bar.inc_length(jobs as u64);
        }
        Follower {
            reporter: self,
            group,
            label,
            turns: Mutex::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says that a step other than a job begins, in kbuild's style if lines are
    /// wanted: `  LD      vmlinux.o`.
    pub(crate) fn step(&self, what: &str, file: &str) {
        if self.json {
            self.event(&json!({"event": "step", "what": what, "file": file}));
        } else if self.verbosity > Verbosity::Progress {
            self.print(|| print_line(&format!("  {what:<7} {file}")));
        }
    }

    /// Notes in the trace that the step `name`, which began at `begin`, has ended.
    pub(crate) fn step_ended(&self, name: &str, begin: Instant) {
        if let Some(mut trace) = self.trace() {
            trace.step(name, begin);
        }
    }

    fn trace(&self) -> Option<MutexGuard<'_, Trace>> {
        let (_, trace) = self.trace.as_ref()?;
        Some(trace.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Prints `event` with the time since the start.
    fn event(&self, event: &serde_json::Value) {
        let mut event = event.clone();
        event["seconds"] = self.start.elapsed().as_secs_f64().into();
        self.print(|| print_line(&event.to_string()));
    }

    /// Runs `print` while the progress line is away.
    fn print(&self, print: impl FnOnce()) {
        match &self.bar {
            Some(bar) => bar.suspend(print),
            None => print(),
        }
    }

    fn show(&self, said: &Said) {
        self.print(|| {
            if let Some(line) = &said.line {
                print_line(line);
            }
            // clang decided on colours when it wrote these.
            let _ = std::io::stderr().write_all(said.diagnostics.as_bytes());
            if let Some(e) = &said.error {
                error(e);
            }
        });
    }

    /// Ends the progress line and writes the trace.
    pub(crate) fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        if let Some((path, trace)) = &self.trace {
            let trace = std::mem::take(&mut *trace.lock().unwrap_or_else(PoisonError::into_inner));
            if let Err(e) = trace.write(path) {
                error(&e);
            }
        }
    }

    /// The same, and prints the summary if one is wanted; `cache` is what the run
    /// had from it.
    pub(crate) fn finish(&self, cache: Option<&Summary>) {
        self.end();
        let count = self.state().count;
        let nothing_ran = count.objects + count.failed == 0;
        if self.json {
            self.event(&self.summary_event(cache));
        } else if self.verbosity > Verbosity::Progress && !nothing_ran {
            print_line(&self.summary(cache));
        }
    }

    fn summary_event(&self, cache: Option<&Summary>) -> serde_json::Value {
        let state = self.state();
        let groups: serde_json::Map<_, _> = state
            .groups
            .iter()
            .map(|(name, count)| (name.clone(), count.json()))
            .collect();
        json!({
            "event": "summary",
            "count": state.count.json(),
            "groups": groups,
            "cpu_seconds": process_cpu().saturating_sub(self.start_cpu).as_secs_f64(),
            "peak_memory_bytes": peak_memory(),
            "cache": cache.map(|cache| &cache.totals),
        })
    }

    fn summary(&self, cache: Option<&Summary>) -> String {
        let state = self.state();
        let count = &state.count;
        let seconds = self.start.elapsed().as_secs_f64();
        let mut text = format!(
            "{} objects ({:.1} MB) in {seconds:.2} s, {:.1} objects/s",
            count.objects,
            megabytes(count.bytes),
            count.objects as f64 / seconds.max(1e-9),
        );
        let cpu = process_cpu().saturating_sub(self.start_cpu).as_secs_f64();
        let _ = write!(
            text,
            ", {cpu:.2} s CPU ({:.1} % in LLVM's backend)",
            count.backend_cpu.as_secs_f64() * 100.0 / cpu.max(1e-9)
        );
        if let Some(peak) = peak_memory() {
            let _ = write!(text, ", peak memory {:.0} MB", megabytes(peak));
        }
        for (name, group) in &state.groups {
            let _ = write!(
                text,
                "\n  {name}: {} objects ({:.1} MB), {:.2} s of backends",
                group.objects,
                megabytes(group.bytes),
                group.duration.as_secs_f64(),
            );
            if group.failed > 0 {
                let _ = write!(text, ", {} FAILED", group.failed);
            }
        }
        let cached = cache
            .map(|cache| &cache.totals)
            .filter(|totals| totals.hits() > 0);
        if count.up_to_date > 0 || cached.is_some() {
            let _ = write!(
                text,
                "\n{} compiled, {} up to date",
                count.compiled, count.up_to_date
            );
        }
        if let Some(totals) = cached {
            let _ = write!(
                text,
                ", {} from the cache ({} of them known after the import), {:.2} s saved",
                totals.hits(),
                totals.hits_after_import,
                totals.seconds_saved,
            );
        }
        if let Some(pruned) = cache.and_then(|cache| cache.pruned.as_ref())
            && pruned.removed_objects > 0
        {
            let _ = write!(
                text,
                "\n{} objects ({:.1} MB) removed from the cache",
                pruned.removed_objects,
                megabytes(pruned.removed_bytes)
            );
        }
        if count.compiled > 1 {
            text.push_str("\nslowest:");
            for (duration, name) in &state.slowest {
                let _ = write!(text, "\n  {:7.2} s  {name}", duration.as_secs_f64());
            }
        }
        text
    }
}

impl Count {
    fn json(&self) -> serde_json::Value {
        json!({
            "objects": self.objects, "compiled": self.compiled, "up_to_date": self.up_to_date,
            "failed": self.failed, "bytes": self.bytes,
            "backend_seconds": self.duration.as_secs_f64(),
            "backend_cpu_seconds": self.backend_cpu.as_secs_f64(),
        })
    }
}

fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

/// How many jobs the summary names.
const SLOWEST: usize = 5;

/// Follows one run.
struct Follower<'a> {
    reporter: &'a Reporter,
    group: Option<&'a str>,
    label: &'a dyn Fn(&Job) -> String,
    turns: Mutex<Turns>,
}

#[derive(Default)]
struct Turns {
    /// Ended jobs whose turn has not come.
    waiting: BTreeMap<usize, Said>,
    /// The job whose turn it is.
    next: usize,
}

/// What is to be said of a job.
struct Said {
    line: Option<String>,
    diagnostics: String,
    error: Option<Error>,
}

impl Observer for Follower<'_> {
    fn started(&self, number: usize, worker: usize, job: &Job) {
        if self.reporter.json {
            self.reporter.event(&json!({
                "event": "started", "job": number, "worker": worker, "group": self.group,
                "module": job.module, "output": job.output,
            }));
        }
        if let Some(bar) = &self.reporter.bar {
            let mut state = self.reporter.state();
            state.running.push((self.label)(job));
            bar.set_message(state.running.join(" "));
        }
    }

    fn finished(&self, number: usize, worker: usize, job: &Job, report: &JobReport) {
        let label = (self.label)(job);
        let reporter = self.reporter;
        if let Some(mut trace) = reporter.trace()
            && report.origin != Origin::UpToDate
        {
            trace.job(worker, job, report);
        }
        if reporter.json {
            reporter.event(&json!({
                "event": "finished", "job": number, "worker": worker, "group": self.group,
                "module": job.module, "output": job.output, "how": report.origin.as_str(),
                "why": report.why, "job_seconds": report.duration.as_secs_f64(),
                "bytes": report.result.as_ref().ok(), "diagnostics": report.diagnostics,
                "error": report.result.as_ref().err().map(ToString::to_string),
            }));
        }
        let line = match reporter.verbosity {
            _ if reporter.json => None,
            Verbosity::Quiet | Verbosity::Progress => None,
            // As make: what is up to date is not worth a line.
            _ if report.origin == Origin::UpToDate => None,
            Verbosity::Verbose => Some(shell_words(&job.command_line())),
            Verbosity::Normal => reporter.bar.is_none().then(|| format!("  BE      {label}")),
        };
        let mut state = reporter.state();
        state.count.add(report);
        if let Some(group) = self.group {
            state
                .groups
                .entry(group.to_owned())
                .or_default()
                .add(report);
        }
        if report.origin == Origin::Compiled {
            state.slowest.push((report.duration, label.clone()));
        }
        state.slowest.sort_by(|a, b| b.cmp(a));
        state.slowest.truncate(SLOWEST);
        if let Some(bar) = &reporter.bar {
            state.running.retain(|running| *running != label);
            bar.set_message(state.running.join(" "));
            bar.inc(1);
        }
        drop(state);
        let said = Said {
            line,
            diagnostics: report.diagnostics.clone(),
            error: report.result.as_ref().err().cloned(),
        };
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        turns.waiting.insert(number, said);
        let mut turn = turns.next;
        while let Some(said) = turns.waiting.remove(&turn) {
            reporter.show(&said);
            turn += 1;
        }
        turns.next = turn;
    }
}

fn progress_bar() -> ProgressBar {
    let template = "[{pos}/{len}] {eta} left  {wide_msg}";
    let style =
        ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr());
    bar.set_style(style);
    bar.enable_steady_tick(Duration::from_millis(250));
    bar
}

/// `args` as a shell would read them, with no more quotes than a person would
/// write.
pub(crate) fn shell_words(args: &[String]) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=,:+@%".contains(c);
    let words: Vec<_> = args
        .iter()
        .map(|arg| match !arg.is_empty() && arg.chars().all(plain) {
            true => arg.into(),
            // Only a NUL byte cannot be quoted, and no argument has one.
            false => shlex::try_quote(arg).unwrap_or_else(|_| arg.into()),
        })
        .collect();
    words.join(" ")
}

/// The CPU time that this process has used so far.
fn process_cpu() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::try_from(now).unwrap_or_default()
}

/// The most memory that this process ever had resident, in bytes
/// (`proc_pid_status(5)`).
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_must_be_is_quoted() {
        let args = ["-z=a,b", "", "a b", "it's", "$x"].map(str::to_owned);
        let text = shell_words(&args);
        assert!(text.starts_with("-z=a,b '' 'a b' "), "{text}");
        assert_eq!(shlex::split(&text).unwrap(), args);
    }
}
