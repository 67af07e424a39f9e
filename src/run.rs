//! One run as its caller sees it: what workers say becomes reports in plan order.

use std::collections::HashMap;

use crossbeam::channel::Receiver;

use crate::batch::Event;
use crate::embed::Diagnostic;
use crate::incremental::Verdict;
use crate::incremental::record::{ObjectRecord, Record};
use crate::observer::Observer;
use crate::plan::Plan;
use crate::report::JobReport;

/// A run of a plan.
pub(crate) struct Run<'a> {
    plan: &'a Plan,
    observer: &'a dyn Observer,
    /// Why each job is run, until it has its report.
    why: Vec<Vec<String>>,
    /// What is known of the objects that are audited.
    audited: HashMap<usize, ObjectRecord>,
    reports: Vec<Option<JobReport>>,
}

impl<'a> Run<'a> {
    /// The run of `plan` when nothing has been compiled: jobs that are up to date by
    /// `verdicts` have their reports.
    pub(crate) fn begin(
        plan: &'a Plan,
        verdicts: Vec<Verdict>,
        observer: &'a dyn Observer,
    ) -> Run<'a> {
        let mut run = Run {
            plan,
            observer,
            why: Vec::with_capacity(plan.jobs.len()),
            audited: HashMap::new(),
            reports: Vec::with_capacity(plan.jobs.len()),
        };
        for (number, verdict) in verdicts.into_iter().enumerate() {
            let (report, why) = match verdict {
                Verdict::UpToDate(known) => (Some(JobReport::up_to_date(*known)), Vec::new()),
                Verdict::Audited(known) => {
                    run.audited.insert(number, *known);
                    (None, Vec::new())
                }
                Verdict::Stale(why) => (None, why),
            };
            if let Some(report) = &report {
                observer.finished(number, 0, &plan.jobs[number], report);
            }
            run.why.push(why);
            run.reports.push(report);
        }
        run
    }

    /// Waits until `count` jobs have ended, of which `happened` tells, and adds what
    /// is known of their objects to `record`.
    pub(crate) fn follow(&mut self, happened: &Receiver<Event>, count: usize, record: &mut Record) {
        let mut running = count;
        while running > 0 {
            match happened.recv() {
                Ok(Event::Started { number, worker }) => {
                    self.observer
                        .started(number, worker, &self.plan.jobs[number]);
                }
                Ok(Event::Finished {
                    number,
                    worker,
                    report,
                }) => {
                    self.finished(number, worker, *report, record);
                    running -= 1;
                }
                Err(_) => unreachable!("the caller of this function holds a sender"),
            }
        }
    }

    fn finished(
        &mut self,
        number: usize,
        worker: usize,
        mut report: JobReport,
        record: &mut Record,
    ) {
        let job = &self.plan.jobs[number];
        report.why = std::mem::take(&mut self.why[number]);
        if let Some(known) = &mut report.known {
            known.why.clone_from(&report.why);
        }
        // An audit changes nothing that is right.
        if let Some(known) = self.audited.remove(&number)
            && report.result.is_ok()
        {
            report.known = Some(known);
        }
        // Of a job that was not run, what is known of its old object still holds.
        if !report.is_cancelled() {
            record.set_object(job, report.known.clone());
        }
        for diagnostic in Diagnostic::all_of(&report.diagnostics) {
            self.observer.diagnostic(number, job, &diagnostic);
        }
        self.observer.finished(number, worker, job, &report);
        self.reports[number] = Some(report);
    }

    /// The reports of all jobs, in plan order.
    pub(crate) fn into_reports(self) -> Vec<JobReport> {
        self.reports.into_iter().flatten().collect()
    }
}
