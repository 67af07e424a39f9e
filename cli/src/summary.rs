//! What a run comes to: counted while jobs end, told when all have.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::resources;
use crate::runs::data::CacheUse;
use backlto::cache::Summary as CacheSummary;
use backlto::error::Kind;
use backlto::remote::Summary as RemoteSummary;
use backlto::{JobReport, Origin};

/// The counts of a run so far.
pub(crate) struct Summary {
    start: Instant,
    start_cpu: Duration,
    count: Count,
    /// The counts of each group of jobs that has a name.
    groups: BTreeMap<String, Count>,
    /// The compiles that took longest, the longest first.
    slowest: Vec<(Duration, String)>,
}

/// What a run had from caches, of those that it used.
pub(crate) struct Caches {
    /// The one of this machine.
    pub(crate) cache: Option<CacheSummary>,
    /// The one of another machine.
    pub(crate) remote: Option<RemoteSummary>,
}

impl Caches {
    /// What was had from the one of this machine, for a report.
    pub(crate) fn of_this_machine(&self) -> Option<CacheUse> {
        let totals = &self.cache.as_ref()?.totals;
        Some(CacheUse {
            found: totals.hits_primary,
            found_after_import: totals.hits_after_import,
            missed: totals.misses,
            bytes_read: totals.bytes_served,
            bytes_written: totals.bytes_stored,
            seconds_saved: totals.seconds_saved,
        })
    }

    /// What was had from the one of another machine, for a report.
    pub(crate) fn of_another(&self) -> Option<CacheUse> {
        let totals = &self.remote.as_ref()?.totals;
        Some(CacheUse {
            found: totals.used.saturating_sub(totals.used_after_import),
            found_after_import: totals.used_after_import,
            missed: totals.asked.saturating_sub(totals.found),
            bytes_read: totals.bytes_received,
            bytes_written: totals.bytes_sent,
            seconds_saved: totals.seconds_saved,
        })
    }
}

/// How many compiles the summary names.
const SLOWEST: usize = 5;

/// What is counted of jobs.
#[derive(Clone, Copy, Default)]
struct Count {
    objects: usize,
    compiled: usize,
    cached: usize,
    up_to_date: usize,
    /// Out of the cache of another machine.
    remote: usize,
    /// By an engine on another machine.
    executed: usize,
    failed: usize,
    not_run: usize,
    audited: usize,
    /// Audited objects that are not what they compile to.
    differ: usize,
    bytes: u64,
    duration: Duration,
    backend_cpu: Duration,
}

impl Summary {
    /// A summary of a run that begins now.
    pub(crate) fn new() -> Summary {
        Summary {
            start: Instant::now(),
            start_cpu: resources::cpu_time(),
            count: Count::default(),
            groups: BTreeMap::new(),
            slowest: Vec::new(),
        }
    }

    /// Counts a job that has ended as `report` says, and is called `label`; in
    /// `group` too, if it is of one.
    pub(crate) fn add(&mut self, report: &JobReport, group: Option<&str>, label: &str) {
        self.count.add(report);
        if let Some(group) = group {
            self.groups.entry(group.to_owned()).or_default().add(report);
        }
        if report.origin == Origin::Compiled {
            self.slowest.push((report.duration, label.to_owned()));
            self.slowest.sort_by(|a, b| b.cmp(a));
            self.slowest.truncate(SLOWEST);
        }
    }

    /// The seconds since the run began.
    pub(crate) fn seconds(&self) -> f64 {
        self.start.elapsed().as_secs_f64()
    }

    /// Whether no job has ended.
    pub(crate) fn is_empty(&self) -> bool {
        self.count.objects + self.count.failed + self.count.not_run == 0
    }

    /// The JSON event that closes a run; `caches` are what the run had from them.
    pub(crate) fn event(&self, caches: &Caches) -> serde_json::Value {
        let groups: serde_json::Map<_, _> = self
            .groups
            .iter()
            .map(|(name, count)| (name.clone(), count.json()))
            .collect();
        json!({
            "event": "summary",
            "count": self.count.json(),
            "groups": groups,
            "cpu_seconds": self.cpu_seconds(),
            "peak_memory_bytes": resources::peak_memory(),
            "cache": caches.cache.as_ref().map(|cache| &cache.totals),
            "remote": caches.remote.as_ref().map(|remote| &remote.totals),
        })
    }

    /// The lines that close a run; `caches` are what the run had from them.
    pub(crate) fn text(&self, caches: &Caches) -> String {
        let mut text = self.first_line();
        for (name, group) in &self.groups {
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
            if group.not_run > 0 {
                let _ = write!(text, ", {} not run", group.not_run);
            }
        }
        self.add_origins(&mut text, caches.cache.as_ref());
        if let Some(remote) = &caches.remote {
            add_remote(&mut text, remote);
            add_execution(&mut text, remote);
        }
        self.add_audit(&mut text);
        if self.count.compiled > 1 {
            text.push_str("\nslowest:");
            for (duration, name) in &self.slowest {
                let _ = write!(text, "\n  {:7.2} s  {name}", duration.as_secs_f64());
            }
        }
        text
    }

    /// The run in one line; `caches` are what it had from them.
    pub(crate) fn line(&self, caches: &Caches) -> String {
        let count = &self.count;
        let mut text = format!("{} backends: {} compiled", count.objects, count.compiled);
        let hits = caches.cache.as_ref();
        let hits = hits.map_or(0, |cache| cache.totals.hits());
        for (number, what) in [
            (count.up_to_date as u64, "up to date"),
            (hits, "from the cache"),
            (count.remote as u64, "from the remote cache"),
            (count.executed as u64, "by the remote engine"),
            (count.failed as u64, "FAILED"),
            (count.not_run as u64, "not run"),
        ] {
            if number > 0 {
                let _ = write!(text, ", {number} {what}");
            }
        }
        let _ = write!(text, ", in {:.2} s", self.seconds());
        let groups: Vec<&str> = self.groups.keys().map(String::as_str).collect();
        if !groups.is_empty() {
            let _ = write!(text, " ({})", groups.join(", "));
        }
        text
    }

    /// What there is and what it cost. Rates are those of compiles: objects that
    /// were there already take no time that says anything.
    fn first_line(&self) -> String {
        let count = &self.count;
        let seconds = self.seconds();
        let mut text = format!(
            "{} objects ({:.1} MB)",
            count.objects,
            megabytes(count.bytes)
        );
        if count.failed > 0 {
            let _ = write!(text, ", {} FAILED,", count.failed);
        }
        if count.not_run > 0 {
            let _ = write!(text, " {} not run,", count.not_run);
        }
        let _ = write!(text, " in {seconds:.2} s");
        if count.compiled > 0 {
            let rate = count.compiled as f64 / seconds.max(1e-9);
            let _ = write!(text, ", {rate:.1} objects/s");
        }
        let cpu = self.cpu_seconds();
        let _ = write!(text, ", {cpu:.2} s CPU");
        if count.compiled + count.failed > 0 {
            let backend = count.backend_cpu.as_secs_f64() * 100.0 / cpu.max(1e-9);
            let _ = write!(text, " ({backend:.1} % in LLVM's backend)");
        }
        if let Some(peak) = resources::peak_memory() {
            let _ = write!(text, ", peak memory {:.0} MB", megabytes(peak));
        }
        text
    }

    /// Adds where the objects came from to `text`, unless all were compiled.
    fn add_origins(&self, text: &mut String, cache: Option<&CacheSummary>) {
        let hits = cache
            .map(|cache| &cache.totals)
            .filter(|totals| totals.hits() > 0);
        let elsewhere = self.count.remote + self.count.executed;
        if self.count.up_to_date + elsewhere > 0 || hits.is_some() {
            let _ = write!(
                text,
                "\n{} compiled, {} up to date",
                self.count.compiled, self.count.up_to_date
            );
        }
        if let Some(totals) = hits {
            let _ = write!(
                text,
                ", {} from the cache ({} of them known after the import), {:.2} s saved",
                totals.hits(),
                totals.hits_after_import,
                totals.seconds_saved,
            );
        }
        if self.count.remote > 0 {
            let _ = write!(text, ", {} from the remote cache", self.count.remote);
        }
        if self.count.executed > 0 {
            let _ = write!(text, ", {} by the remote engine", self.count.executed);
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
    }

    /// Adds what the audit has found to `text`, if there was one.
    fn add_audit(&self, text: &mut String) {
        let Count {
            audited, differ, ..
        } = self.count;
        if audited > 0 {
            let found = match differ {
                0 => "none differs".to_owned(),
                some => format!("{some} DIFFER"),
            };
            let _ = write!(text, "\n{audited} taken ones were compiled too: {found}");
        }
    }

    pub(crate) fn cpu_seconds(&self) -> f64 {
        resources::cpu_time()
            .saturating_sub(self.start_cpu)
            .as_secs_f64()
    }
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
                    Origin::Cached | Origin::CachedAfterImport => self.cached += 1,
                    Origin::Remote | Origin::RemoteAfterImport => self.remote += 1,
                    Origin::Executed => self.executed += 1,
                    _ => {}
                }
            }
            Err(_) if report.is_cancelled() => self.not_run += 1,
            Err(_) => self.failed += 1,
        }
        self.audited += usize::from(report.audited);
        let differs = matches!(&report.result, Err(e) if e.kind() == Kind::Mismatch);
        self.differ += usize::from(differs);
        self.duration += report.duration;
        // What is compared with the CPU time of this machine.
        if report.origin != Origin::Executed {
            self.backend_cpu += report.backend_cpu;
        }
    }

    fn json(&self) -> serde_json::Value {
        json!({
            "objects": self.objects, "compiled": self.compiled, "cached": self.cached,
            "remote": self.remote, "executed": self.executed, "up_to_date": self.up_to_date,
            "failed": self.failed, "not_run": self.not_run, "bytes": self.bytes,
            "audited": self.audited, "differ": self.differ,
            "backend_seconds": self.duration.as_secs_f64(),
            "backend_cpu_seconds": self.backend_cpu.as_secs_f64(),
        })
    }
}

/// Adds what was had from another machine and given to it, if anything was.
fn add_remote(text: &mut String, remote: &RemoteSummary) {
    let totals = &remote.totals;
    if totals.asked + totals.uploaded + totals.not_uploaded == 0 {
        return;
    }
    let _ = write!(
        text,
        "\nremote cache: {} of {} found ({:.1} MB), {:.2} s saved; {} uploaded ({:.1} MB)",
        totals.found,
        totals.asked,
        megabytes(totals.bytes_received),
        totals.seconds_saved,
        totals.uploaded,
        megabytes(totals.bytes_sent),
    );
    if totals.not_uploaded > 0 {
        let _ = write!(text, ", {} not", totals.not_uploaded);
        if let Some(reason) = &remote.read_only {
            let _ = write!(text, " ({reason})");
        }
    }
}

/// Adds what an engine has compiled, and what it was to, if it was.
fn add_execution(text: &mut String, remote: &RemoteSummary) {
    let totals = &remote.totals;
    if totals.executed + totals.came_home > 0 {
        let _ = write!(
            text,
            "\nremote engine: {} jobs compiled by {} actions",
            totals.executed, totals.lots
        );
        if totals.came_home > 0 {
            let _ = write!(text, ", {} came back", totals.came_home);
        }
    }
    if let (Some(reason), None) = (&remote.first_home, &remote.closed) {
        let _ = write!(text, "\nthe remote engine did not compile all: {reason}");
    }
}

fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}
