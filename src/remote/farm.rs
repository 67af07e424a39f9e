//! Jobs that an engine compiles: what they read goes there, what they make comes back.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use bazel_remote_apis::build::bazel::remote::execution::v2 as api;
use tokio::runtime::Handle;
use tokio::task::{AbortHandle, JoinHandle};

use super::blobs::Reader;
use super::connection::Connection;
use super::content::BlobName;
use super::execution::OperationName;
use super::lot::{Lot, Output, Program, SentProgram, outputs};
use super::options::ExecutionOptions;
use super::stock::{Missing, Stock};
use super::trouble::{Ailment, Trouble};
use crate::away::{Outcomes, Workshop};
use crate::errands::OTHER_COMPILER;
use crate::execute::errand::{self, Parcel, Refusal};
use crate::execute::{CompileJob, Content, Outcome};
use crate::price::{Cost, PIECE, Price};

/// An engine may take so many times as long as is expected, and so long on top of that.
const PATIENCE: u32 = 20;
const MORE_PATIENCE: Duration = Duration::from_secs(60);
/// After so many actions in a row that gave no object, nothing more is sent.
const IN_VAIN: u32 = 3;
/// What shells and loaders say when a program cannot be run.
const CANNOT_RUN: [i32; 2] = [126, 127];
/// The longest text of a failed action that is said.
const LONGEST_WORDS: usize = 300;

/// An engine as the place where jobs are compiled.
pub(super) struct Farm {
    this: Weak<Farm>,
    /// The file with the program to be run.
    path: PathBuf,
    connection: Arc<Connection>,
    reader: Reader,
    options: ExecutionOptions,
    runtime: Handle,
    stock: Stock,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Whether somebody has asked what it would cost to send something, so that what is to
    /// be known for that is found out.
    is_asked: bool,
    /// What is to be run, once it is known whether the engine has it.
    program: Option<Arc<Program>>,
    price: Price,
    in_vain: u32,
    /// Nothing more is sent.
    is_closed: bool,
    /// Calls that tell the engine what is not wanted any more.
    cancels: Vec<JoinHandle<()>>,
}

/// What came of jobs that were sent, in their order; nothing where that is known of none.
type Results = Vec<Result<Outcome, Refusal>>;

impl Farm {
    /// Makes an engine that runs `program` as `options` say, in the context of a runtime.
    pub(super) fn start(
        connection: &Arc<Connection>,
        options: &ExecutionOptions,
        program: &Path,
    ) -> Arc<Farm> {
        Arc::new_cyclic(|this| Farm {
            this: this.clone(),
            path: program.to_owned(),
            connection: Arc::clone(connection),
            reader: Reader::start(connection),
            options: options.clone(),
            runtime: Handle::current(),
            stock: Stock::new(connection),
            state: Mutex::default(),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Finds out what is to be run.
    async fn prepare(self: Arc<Farm>) {
        match self.find_program().await {
            Ok(program) => self.state().program = Some(Arc::new(program)),
            Err(trouble) if trouble.kind.may_pass() => {
                let _ = self.connection.health.suffered(&trouble);
                // To be found out when it is over.
                self.state().is_asked = false;
            }
            Err(trouble) => self.close(&trouble.text),
        }
    }

    /// What is to be run. If that is to be uploaded and is not there, a piece of it shows how
    /// long the rest would take.
    async fn find_program(&self) -> Result<Program, Trouble> {
        if let Some(path) = &self.options.program {
            return Ok(Program::There(path.clone()));
        }
        let path = self.path.clone();
        let opening = tokio::task::spawn_blocking(move || SentProgram::open(&path));
        let program = opening
            .await
            .unwrap_or_else(|e| Err(e.into()))
            .map_err(|e| Trouble {
                kind: Ailment::Other,
                text: format!("cannot read the program to send: {e}"),
            })?;
        let size = usize::try_from(PIECE).unwrap_or(usize::MAX);
        let piece = &program.bytes()[..program.name.size.min(size)];
        let names = [program.name.clone(), BlobName::of(piece)];
        let missing = self.connection.find_missing(&names).await?;
        if !missing.contains(&names[0]) {
            self.stock.has(&program.name);
        } else if missing.contains(&names[1]) {
            let begin = Instant::now();
            self.connection.write(&[(names[1].clone(), piece)]).await?;
            let bytes = piece.len() as u64;
            self.state().price.learn_rate(bytes, begin.elapsed());
        }
        Ok(Program::Sent(Arc::new(program)))
    }

    /// Has the engine run the program on nothing; how long that took.
    ///
    /// # Errors
    /// When it does not run there, or is not what runs here.
    pub(super) async fn try_out(&self) -> Result<Duration, Trouble> {
        let program = self.find_program().await?;
        let nothing = Lot::of(&[], &program, &self.options.platform, |_| {
            unreachable!("no input")
        });
        let lot = nothing.ok_or_else(|| Trouble::wrong("there is no errand"))?;
        let _ = self.stock.upload(&lot.blobs).await?;
        let begin = Instant::now();
        let name = OperationName::default();
        let result = self
            .connection
            .run_action(&lot.action, &lot.outputs, &name, MORE_PATIENCE);
        match self.failure(&result.await?).await {
            Some(reason) => Err(Trouble::wrong(reason)),
            None => Ok(begin.elapsed()),
        }
    }

    /// Sends nothing more, because of `reason`.
    fn close(&self, reason: &str) {
        self.state().is_closed = true;
        self.connection.health.closed(reason);
    }

    /// How long a call takes at present.
    fn round_trip(&self) -> Duration {
        self.connection.health.round_trip().unwrap_or_default()
    }

    /// What of `jobs` and of the program has to be uploaded for them.
    fn missing(&self, jobs: &[Arc<CompileJob>]) -> Missing {
        let program = self.state().program.clone();
        let sent = program.as_ref().and_then(|program| program.sent());
        let contents = jobs.iter().flat_map(|job| job.contents());
        self.stock.missing(contents, sent)
    }

    /// Has the engine compile `jobs`, which would take `time` here.
    async fn compile(
        &self,
        jobs: Vec<Arc<CompileJob>>,
        time: Duration,
        name: &OperationName,
        waits: Waits,
    ) -> Result<Outcomes, Trouble> {
        let parcel = |job| Parcel {
            job,
            files: Vec::new(),
        };
        let parcels: Vec<Parcel> = jobs.into_iter().map(parcel).collect();
        let mut results = self.run(parcels.clone(), time, name, Some(waits)).await?;
        let (again, lacking): (Vec<usize>, Vec<Parcel>) = with_files(&parcels, &results).unzip();
        if !again.is_empty() {
            let (part, all) = (lacking.len() as f64, parcels.len() as f64);
            let time = time.mul_f64(part / all);
            let more = self.run(lacking, time, name, None).await?;
            for (at, result) in again.into_iter().zip(more) {
                results[at] = result;
            }
        }
        Ok(self.judge(results))
    }

    /// Has the engine compile `parcels`, once; what came of each. What `waits` for the bytes
    /// does so until they are there.
    async fn run(
        &self,
        parcels: Vec<Parcel>,
        time: Duration,
        name: &OperationName,
        waits: Option<Waits>,
    ) -> Result<Results, Trouble> {
        let program = self.state().program.clone();
        let (Some(program), Some(farm)) = (program, self.this.upgrade()) else {
            return Ok(Vec::new());
        };
        let packing = tokio::task::spawn_blocking(move || {
            let name_of = |content: &dyn Content| farm.stock.name_of(content);
            let lot = Lot::of(&parcels, &program, &farm.options.platform, name_of);
            (lot, parcels)
        });
        let Ok((Some(lot), parcels)) = packing.await else {
            return Ok(Vec::new());
        };
        self.upload(&lot).await?;
        drop(waits);
        let begin = Instant::now();
        let limit = time.saturating_mul(PATIENCE).saturating_add(MORE_PATIENCE);
        let connection = &self.connection;
        connection.health.count(|totals| totals.lots += 1);
        let action = || connection.run_action(&lot.action, &lot.outputs, name, limit);
        let result = match action().await {
            Err(trouble) if trouble.kind == Ailment::Lacking => {
                // It has dropped what it had.
                self.stock.forget(&lot.blobs);
                self.upload(&lot).await?;
                action().await?
            }
            result => result?,
        };
        let mut results = self.take_in(&parcels, &lot, result).await?;
        hold_times(&mut results, limit);
        self.learn(begin.elapsed(), time, &results);
        Ok(results)
    }

    async fn upload(&self, lot: &Lot) -> Result<(), Trouble> {
        let sent = self.stock.upload(&lot.blobs).await?;
        let price = &mut self.state().price;
        price.learn_rate(sent.bytes as u64, sent.elapsed);
        Ok(())
    }

    /// What has come of `parcels`, which are `lot`, by its `result`.
    async fn take_in(
        &self,
        parcels: &[Parcel],
        lot: &Lot,
        result: api::ActionResult,
    ) -> Result<Results, Trouble> {
        if let Some(reason) = self.failure(&result).await {
            let is_hopeless =
                result.exit_code == OTHER_COMPILER || CANNOT_RUN.contains(&result.exit_code);
            self.came_home(parcels.len(), &reason, is_hopeless);
            return Ok(Vec::new());
        }
        let mut contents = Vec::with_capacity(lot.outputs.len());
        for output in outputs(result, &lot.outputs)? {
            contents.push(match output {
                None => None,
                Some(Output::Here(bytes)) => Some(bytes),
                Some(Output::Blob(name)) => Some(self.reader.read(&name).await?),
            });
        }
        let mut contents = contents.into_iter();
        let report = contents.next().flatten().unwrap_or_default();
        Ok(errand::outcomes(parcels, &report[..], contents.collect()))
    }

    /// Notes which of `results` are of use, and gives these.
    fn judge(&self, results: Results) -> Outcomes {
        let reasons = results.iter().filter_map(|result| result.as_ref().err());
        let count = reasons.clone().count();
        if let Some(reason) = reasons.into_iter().next() {
            self.came_home(count, &reason.to_string(), false);
        }
        if count < results.len() {
            self.state().in_vain = 0;
        }
        results.into_iter().map(Result::ok).collect()
    }

    /// Why the action failed that ended with `result`; `None` if it did not.
    async fn failure(&self, result: &api::ActionResult) -> Option<String> {
        let mut words = result.stderr_raw.clone();
        if let Some(digest) = &result.stderr_digest
            && words.is_empty()
            && let Ok(name) = BlobName::read(digest)
        {
            words = self.reader.read(&name).await.unwrap_or_default();
        }
        if result.exit_code == 0 && words.is_empty() {
            return None;
        }
        words.truncate(LONGEST_WORDS);
        let words = String::from_utf8_lossy(&words);
        let words = words.lines().next().unwrap_or_default().trim();
        let reason = match result.exit_code {
            0 => "an action said something".to_owned(),
            status => format!("an action ended with status {status}"),
        };
        Some(match words.is_empty() {
            true => reason,
            false => format!("{reason}: {words}"),
        })
    }

    /// Notes that so many `jobs` came back as they were, for `reason`. Where it `is_hopeless`,
    /// nothing more is sent.
    fn came_home(&self, jobs: usize, reason: &str, is_hopeless: bool) {
        self.connection.health.came_home(jobs, reason);
        let mut state = self.state();
        state.in_vain += 1;
        let is_over = is_hopeless || state.in_vain >= IN_VAIN;
        drop(state);
        if is_over {
            self.close(reason);
        }
    }

    /// Notes that so many `jobs` came back as they were, since the engine has `trouble`.
    fn failed(&self, jobs: usize, trouble: &Trouble) {
        let health = &self.connection.health;
        // What runs no action may be a good cache all the same. When it goes away, all that is
        // there fails, and what follows until it is back: that counts once.
        if trouble.kind.may_pass() && !health.suffered(trouble) {
            health.came_home(jobs, &trouble.text);
        } else {
            let is_hopeless = trouble.kind == Ailment::Forbidden;
            self.came_home(jobs, &trouble.text, is_hopeless);
        }
    }

    /// Learns of an action that took `elapsed`, whose compiles were expected to take
    /// `time`, and what came of them.
    fn learn(&self, elapsed: Duration, time: Duration, results: &Results) {
        let done = results.iter().flatten();
        let (count, compiles) = done.fold((0, Duration::ZERO), |(count, time), outcome| {
            (count + 1, time.saturating_add(outcome.time))
        });
        let health = &self.connection.health;
        health.count(|totals| {
            totals.executed += count;
            totals.overhead_seconds += elapsed.saturating_sub(compiles).as_secs_f64();
        });
        if count > 0 {
            let round_trip = self.round_trip();
            let price = &mut self.state().price;
            price.learn_action(elapsed, compiles, time, round_trip);
        }
    }

    /// Waits until the engine has been told what is not wanted any more, for as long as
    /// `limit`.
    pub(super) async fn finish(&self, limit: Duration) {
        let cancels = std::mem::take(&mut self.state().cancels);
        let told = async {
            for cancel in cancels {
                let _ = cancel.await;
            }
        };
        let _ = tokio::time::timeout(limit, told).await;
    }
}

impl Workshop for Farm {
    fn slots(&self) -> NonZeroUsize {
        self.options.lots
    }

    fn cost(&self) -> Option<Cost> {
        if !self.connection.health.is_well() {
            return None;
        }
        let mut state = self.state();
        if !std::mem::replace(&mut state.is_asked, true)
            && let Some(farm) = self.this.upgrade()
        {
            drop(self.runtime.spawn(farm.prepare()));
        }
        let is_ready = state.program.is_some() && !state.is_closed;
        is_ready.then(|| state.price.cost(self.round_trip()))
    }

    fn bytes_to_send(&self, jobs: &[Arc<CompileJob>]) -> u64 {
        self.missing(jobs).bytes
    }

    fn send(
        &self,
        jobs: Vec<Arc<CompileJob>>,
        time: Duration,
        done: Box<dyn FnOnce(Outcomes) + Send>,
    ) -> Box<dyn Send> {
        let name = Arc::new(OperationName::default());
        let Some(farm) = self.this.upgrade() else {
            return Box::new(());
        };
        let waits = Waits::begin(&farm, &jobs);
        let errand = {
            let (farm, name) = (Arc::clone(&farm), Arc::clone(&name));
            async move {
                let count = jobs.len();
                let outcomes = farm.compile(jobs, time, &name, waits).await;
                done(outcomes.unwrap_or_else(|trouble| {
                    farm.failed(count, &trouble);
                    Outcomes::new()
                }));
            }
        };
        let task = self.runtime.spawn(errand);
        Box::new(Sent {
            farm,
            task: task.abort_handle(),
            name,
        })
    }
}

/// Holds the times that an engine tells of compiles to `limit`, after which it would have been
/// given up: it may tell any, and sums of them are to be times, too. What it knew already may
/// have taken longer than the action.
fn hold_times(results: &mut Results, limit: Duration) {
    for outcome in results.iter_mut().flatten() {
        outcome.time = outcome.time.min(limit);
        outcome.backend_cpu = outcome.backend_cpu.min(limit);
    }
}

/// The ones of `parcels` that lacked files, each with its place in the list and these files.
fn with_files(parcels: &[Parcel], results: &Results) -> impl Iterator<Item = (usize, Parcel)> {
    let each = parcels.iter().zip(results).enumerate();
    each.filter_map(|(at, (parcel, result))| match result {
        Err(Refusal::Lacks(files)) => Some((
            at,
            Parcel {
                job: Arc::clone(&parcel.job),
                files: files.clone(),
            },
        )),
        _ => None,
    })
}

/// What a lot waits for to be uploaded, until this is dropped.
struct Waits {
    farm: Arc<Farm>,
    missing: Missing,
}

impl Waits {
    fn begin(farm: &Arc<Farm>, jobs: &[Arc<CompileJob>]) -> Waits {
        let missing = farm.missing(jobs);
        farm.stock.expect(&missing);
        farm.state().price.wait(missing.bytes);
        Waits {
            farm: Arc::clone(farm),
            missing,
        }
    }
}

impl Drop for Waits {
    fn drop(&mut self) {
        self.farm.stock.expect_no_more(&self.missing);
        self.farm.state().price.wait_no_more(self.missing.bytes);
    }
}

/// Jobs that were sent. They are given up when this is dropped.
struct Sent {
    farm: Arc<Farm>,
    task: AbortHandle,
    name: Arc<OperationName>,
}

impl Drop for Sent {
    fn drop(&mut self) {
        if self.task.is_finished() {
            return;
        }
        self.task.abort();
        if let Some(name) = self.name.get() {
            let connection = Arc::clone(&self.farm.connection);
            let tell = async move { connection.cancel_operation(name).await };
            let cancel = self.farm.runtime.spawn(tell);
            self.farm.state().cancels.push(cancel);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::execute::Shown;

    #[test]
    fn times_that_no_compile_takes_are_not_believed() {
        let told = |time| {
            let shown = Shown {
                assembly: Vec::new(),
                imported: None,
            };
            Ok(Outcome {
                object: Vec::new(),
                shown,
                backend_cpu: time,
                time,
            })
        };
        let second = Duration::from_secs(1);
        let mut results: Results = vec![told(Duration::MAX), Err("none".into()), told(second)];
        hold_times(&mut results, second * 60);
        let times = results.iter().flatten();
        let times: Vec<_> = times.map(|one| (one.time, one.backend_cpu)).collect();
        assert_eq!(times, [(second * 60, second * 60), (second, second)]);
    }
}
