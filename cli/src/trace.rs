//! `--trace`: what ran when, as Chrome and Perfetto read it: a row for each
//! worker, a span for each job (the "Trace Event Format").

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use backlto::error::Result;
use backlto::{Job, JobReport};

/// Spans collected so far.
pub(crate) struct Trace {
    start: Instant,
    events: Vec<Value>,
    workers: usize,
}

impl Default for Trace {
    fn default() -> Trace {
        Trace {
            start: Instant::now(),
            events: Vec::new(),
            workers: 0,
        }
    }
}

impl Trace {
    /// Adds `job`, which has just ended on `worker`.
    pub(crate) fn job(&mut self, worker: usize, job: &Job, report: &JobReport) {
        self.workers = self.workers.max(worker + 1);
        let end = self.start.elapsed();
        let begin = end.saturating_sub(report.duration);
        self.events.push(json!({
            "name": job.module, "cat": "backend", "ph": "X", "pid": PROCESS, "tid": worker,
            "ts": microseconds(begin), "dur": microseconds(report.duration),
            "args": {
                "output": job.output,
                "how": report.origin.as_str(),
                "why": report.why,
                "bytes": report.result.as_ref().ok(),
                "error": report.result.as_ref().err().map(ToString::to_string),
                "backend_cpu_us": microseconds(report.backend_cpu),
            },
        }));
        let inner = report.time_trace.as_deref().unwrap_or_default();
        self.events.extend(spans_of_llvm(inner, begin, worker));
    }

    /// Adds the step `name`, which is no job but a link, say. It began at `begin` and
    /// has just ended.
    pub(crate) fn step(&mut self, name: &str, begin: Instant) {
        self.events.push(json!({
            "name": name, "cat": "step", "ph": "X", "pid": PROCESS, "tid": STEPS,
            "ts": microseconds(begin.saturating_duration_since(self.start)),
            "dur": microseconds(begin.elapsed()),
        }));
    }

    /// Writes the trace to `path`.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(crate) fn write(mut self, path: &Path) -> Result<()> {
        let name = |tid: usize, name: String| {
            json!({"name": "thread_name", "ph": "M", "pid": PROCESS, "tid": tid,
                   "args": {"name": name}})
        };
        for worker in 0..self.workers {
            self.events.push(name(worker, format!("worker {worker}")));
        }
        self.events.push(name(STEPS, "links".to_owned()));
        self.events
            .push(json!({"name": "process_name", "ph": "M", "pid": PROCESS,
                                "args": {"name": "backlto"}}));
        let text = json!({"traceEvents": self.events, "displayTimeUnit": "ms"}).to_string();
        backlto::emit::write(path, text.as_bytes())
    }
}

/// The spans of `trace`, which LLVM wrote of a job that began at `begin` on
/// `worker`, at their places in the trace of the run.
fn spans_of_llvm(trace: &str, begin: Duration, worker: usize) -> Vec<Value> {
    let mut trace: Value = serde_json::from_str(trace).unwrap_or_default();
    let events = trace["traceEvents"].as_array_mut().map(std::mem::take);
    let mut spans = events.unwrap_or_default();
    // Besides spans there are sums over all of them, and names.
    spans.retain(|event| {
        let name = event["name"].as_str().unwrap_or_default();
        event["ph"] == "X" && !name.starts_with("Total ")
    });
    for span in &mut spans {
        let offset = span["ts"].as_u64().unwrap_or_default();
        span["ts"] = (microseconds(begin) + offset).into();
        span["pid"] = PROCESS.into();
        span["tid"] = worker.into();
        span["cat"] = "llvm".into();
    }
    spans
}

/// The number that the trace has for this process, its only one.
const PROCESS: u32 = 1;
/// The row of steps, which workers do not do.
const STEPS: usize = 1_000_000;

fn microseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_of_llvm_are_moved_to_the_job() {
        let trace = r#"{"traceEvents": [
            {"name": "Optimizer", "ph": "X", "ts": 10, "dur": 5, "pid": 7, "tid": 9},
            {"name": "Total Optimizer", "ph": "X", "ts": 0, "dur": 5, "pid": 7, "tid": 10},
            {"name": "process_name", "ph": "M", "ts": 0, "pid": 7, "tid": 9}],
            "beginningOfTime": 1}"#;
        let spans = spans_of_llvm(trace, Duration::from_micros(100), 3);
        assert_eq!(
            spans,
            [
                json!({"name": "Optimizer", "ph": "X", "ts": 110, "dur": 5, "pid": PROCESS,
                    "tid": 3, "cat": "llvm"})
            ]
        );
        assert!(spans_of_llvm("", Duration::ZERO, 0).is_empty());
    }
}
