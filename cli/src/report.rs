//! What the user sees of a run: progress, messages in plan order, a summary.

use std::collections::{BTreeMap, HashMap};
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use serde_json::json;

use crate::console;
use crate::progress::Progress;
use crate::runs::collect::{Collector, Totals};
use crate::runs::data::{Run, Span, rounded};
use crate::summary::{Caches, Summary};
use crate::text::shell_command;
use crate::trace::Trace;
use backlto::error::Error;
use backlto::incremental::Record;
use backlto::{AuditOptions, BUILT_VERSION, Job, JobReport, Observer, Origin, Plan};

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

/// The version of what `--json` prints (docs/json.schema.json): another one when a
/// program that reads it must be changed.
pub(crate) const JSON_VERSION: u32 = 1;

/// Follows runs for a person or a log file.
pub(crate) struct Reporter {
    verbosity: Verbosity,
    /// Events go to standard output as JSON, in place of lines for people.
    json: bool,
    trace: Option<(PathBuf, Mutex<Trace>)>,
    progress: Option<Progress>,
    runs: AtomicUsize,
    state: Mutex<State>,
}

/// What changes while runs are followed.
struct State {
    summary: Summary,
    collector: Collector,
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
            progress: interactive.then(Progress::new),
            runs: AtomicUsize::new(0),
            state: Mutex::new(State {
                summary: Summary::new(),
                collector: Collector::new(),
            }),
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
    ) -> Follower<'a> {
        if let Some(progress) = &self.progress {
            progress.expect(jobs);
        }
        Follower {
            reporter: self,
            run: self.runs.fetch_add(1, Ordering::Relaxed),
            group,
            label,
            turns: Mutex::default(),
            spans: Mutex::default(),
        }
    }

    /// Says to programs that a run begins, with `audit` if there is one.
    pub(crate) fn begin(&self, audit: Option<&AuditOptions>) {
        if self.json {
            let audit = audit.map(|audit| json!({"percent": audit.percent, "seed": audit.seed}));
            self.event(json!({
                "event": "start", "version": JSON_VERSION, "backlto": env!("CARGO_PKG_VERSION"),
                "llvm": BUILT_VERSION, "audit": audit,
            }));
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says that a step other than a job begins, in kbuild's style if lines are
    /// wanted: `  LD      vmlinux.o`.
    pub(crate) fn step(&self, what: &str, file: &str) {
        if self.json {
            self.event(json!({"event": "step", "what": what, "file": file}));
        } else if self.verbosity > Verbosity::Progress {
            self.print(|| console::line(&format!("  {what:<7} {file}")));
        }
    }

    /// Notes that the step `name`, which was done in `directory` and began at `begin`, has
    /// ended.
    pub(crate) fn step_ended(&self, name: &str, directory: &Path, begin: Instant) {
        if let Some(mut trace) = self.trace() {
            trace.step(name, begin);
        }
        let mut state = self.state();
        let end = state.summary.seconds();
        let begin = end - begin.elapsed().as_secs_f64();
        state
            .collector
            .add_step(name, directory, begin.max(0.0), end);
    }

    /// Gives all that has happened, when `workers` could run at a time and `caches` gave
    /// what they did. Nothing is known of it any more then.
    pub(crate) fn take_run(&self, workers: usize, caches: &Caches) -> Run {
        let mut state = self.state();
        let totals = Totals {
            seconds: state.summary.seconds(),
            cpu_seconds: state.summary.cpu_seconds(),
            workers,
            cache: caches.of_this_machine(),
            remote: caches.of_another(),
        };
        std::mem::replace(&mut state.collector, Collector::new()).into_run(totals)
    }

    fn trace(&self) -> Option<MutexGuard<'_, Trace>> {
        let (_, trace) = self.trace.as_ref()?;
        Some(trace.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Prints `event` with the time since the start.
    fn event(&self, mut event: serde_json::Value) {
        event["seconds"] = self.state().summary.seconds().into();
        self.print(|| console::line(&event.to_string()));
    }

    /// Runs `print` while the progress line is away.
    fn print(&self, print: impl FnOnce()) {
        match &self.progress {
            Some(progress) => progress.suspend(print),
            None => print(),
        }
    }

    fn show(&self, output: &JobOutput) {
        self.print(|| {
            if let Some(line) = &output.line {
                console::line(line);
            }
            console::compiler_messages(&output.diagnostics);
            if let Some(e) = &output.error {
                console::error(e);
            }
        });
    }

    /// Ends the progress line and writes the trace.
    pub(crate) fn end(&self) {
        if let Some(progress) = &self.progress {
            progress.finish();
        }
        if let Some((path, trace)) = &self.trace {
            let trace = std::mem::take(&mut *trace.lock().unwrap_or_else(PoisonError::into_inner));
            if let Err(e) = trace.write(path) {
                console::lost_output(&e);
            }
        }
    }

    /// Ends the progress line, writes the trace, and prints the summary if one is
    /// wanted; `caches` are what the run had from them.
    pub(crate) fn finish(&self, caches: &Caches) {
        self.end();
        if self.json {
            let event = self.state().summary.event(caches);
            self.event(event);
        } else if self.verbosity > Verbosity::Progress {
            let summary = &self.state().summary;
            if !summary.is_empty() {
                console::line(&summary.text(caches));
            }
        }
    }
}

impl Reporter {
    /// Says in one line on standard error what the run came to, for a link: standard
    /// output is the linker's.
    pub(crate) fn say_in_one_line(&self, caches: &Caches) {
        console::note(&self.state().summary.line(caches));
    }
}

/// Follows one run.
pub(crate) struct Follower<'a> {
    reporter: &'a Reporter,
    /// Which of the program's runs it is.
    run: usize,
    group: Option<&'a str>,
    label: &'a dyn Fn(&Job) -> String,
    turns: Mutex<Turns>,
    /// When each job ran, by its number.
    spans: Mutex<HashMap<usize, Span>>,
}

/// Whose turn it is to print: jobs end in any order.
#[derive(Default)]
struct Turns {
    /// What jobs that have ended print when their turn comes.
    waiting: BTreeMap<usize, JobOutput>,
    /// The job whose turn it is.
    next: usize,
}

/// What is printed of a job that has ended.
struct JobOutput {
    line: Option<String>,
    diagnostics: String,
    error: Option<Error>,
}

impl Follower<'_> {
    /// The line that says that `job` has ended, where one is wanted.
    fn line(&self, job: &Job, report: &JobReport) -> Option<String> {
        let reporter = self.reporter;
        match reporter.verbosity {
            _ if reporter.json => None,
            Verbosity::Quiet | Verbosity::Progress => None,
            // As make: what is up to date is not worth a line.
            _ if report.origin == Origin::UpToDate || report.is_cancelled() => None,
            Verbosity::Verbose => Some(shell_command(&job.directory, &job.command_line())),
            // On a terminal the progress line has named it. LLVM's messages do not.
            Verbosity::Normal if reporter.progress.is_some() && report.diagnostics.is_empty() => {
                None
            }
            Verbosity::Normal => Some(format!("  BE      {}", (self.label)(job))),
        }
    }

    /// Notes, for a report, how the jobs of `plan` ended, as `reports` say and `record`
    /// knows. `is_link` says that the group is what a link writes that they belong to.
    pub(crate) fn note(self, plan: &Plan, reports: &[JobReport], record: &Record, is_link: bool) {
        let spans = self
            .spans
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        let link = self.group.filter(|_| is_link);
        let mut state = self.reporter.state();
        state
            .collector
            .add_plan(plan, reports, &spans, record, link);
    }

    /// Notes when job `number` ran, which has just ended on `worker`, and what it showed.
    fn note_job(
        &self,
        state: &mut State,
        number: usize,
        worker: usize,
        job: &Job,
        report: &JobReport,
    ) {
        let now = state.summary.seconds();
        state.collector.look_at_memory(now);
        state.collector.add_trace(job, report);
        let seconds = report.duration.as_secs_f64();
        let span = Span {
            worker,
            begin: rounded((now - seconds).max(0.0)),
            seconds: rounded(seconds),
        };
        let mut spans = self.spans.lock().unwrap_or_else(PoisonError::into_inner);
        spans.insert(number, span);
    }

    /// Prints what is to be said of job `number`, and of those that waited for it.
    fn take_turn(&self, number: usize, output: JobOutput) {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        turns.waiting.insert(number, output);
        let mut turn = turns.next;
        while let Some(output) = turns.waiting.remove(&turn) {
            self.reporter.show(&output);
            turn += 1;
        }
        turns.next = turn;
    }
}

impl Observer for Follower<'_> {
    fn planned(&self, work: &[(usize, u64)]) {
        if let Some(progress) = &self.reporter.progress {
            progress.plan(self.run, work);
        }
    }

    fn started(&self, number: usize, worker: usize, job: &Job) {
        if self.reporter.json {
            self.reporter.event(json!({
                "event": "started", "job": number, "worker": worker, "group": self.group,
                "module": job.module, "output": job.output,
            }));
        }
        if let Some(progress) = &self.reporter.progress {
            progress.start((self.run, number), (self.label)(job));
        }
    }

    fn finished(&self, number: usize, worker: usize, job: &Job, report: &JobReport) {
        let label = (self.label)(job);
        let reporter = self.reporter;
        let has_run =
            (report.origin != Origin::UpToDate || report.audited) && !report.is_cancelled();
        if has_run && let Some(mut trace) = reporter.trace() {
            trace.job(worker, job, report);
        }
        if reporter.json {
            reporter.event(json!({
                "event": "finished", "job": number, "worker": worker, "group": self.group,
                "module": job.module, "output": job.output,
                "how": report.result.is_ok().then(|| report.origin.as_str()),
                "why": report.why, "audited": report.audited, "job_seconds": report.duration.as_secs_f64(),
                "bytes": report.result.as_ref().ok(), "diagnostics": report.diagnostics,
                "error": report.result.as_ref().err().map(ToString::to_string),
                "reproducer": report.reproducer,
            }));
        }
        let mut state = reporter.state();
        state.summary.add(report, self.group, &label);
        if has_run {
            self.note_job(&mut state, number, worker, job, report);
        }
        drop(state);
        if let Some(progress) = &reporter.progress {
            progress.end((self.run, number), &label);
        }
        let output = JobOutput {
            line: self.line(job, report),
            diagnostics: report.diagnostics.clone(),
            // How many were not run is in the summary.
            error: match report.is_cancelled() {
                true => None,
                false => report.result.as_ref().err().cloned(),
            },
        };
        self.take_turn(number, output);
    }
}
