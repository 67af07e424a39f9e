//! Jobs that an engine compiles: what they read goes there, what they make comes back.

use std::collections::{HashMap, HashSet};
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
use super::lot::{Blob, Lot, Output, Program, outputs};
use super::options::ExecutionOptions;
use super::trouble::{Ailment, Trouble};
use crate::away::{Cost, Outcomes, Workshop};
use crate::digest::Digest;
use crate::errands::OTHER_COMPILER;
use crate::execute::{CompileJob, Content, errand};

/// What an action costs an engine, until one has shown it: 40 to 300 ms are usual.
const USUAL_LOT: Duration = Duration::from_millis(250);
/// Round trips for an action, at most times: what is missing, blobs, the action, outputs.
const ROUND_TRIPS: u32 = 5;
/// What it costs at the least.
const LEAST_LOT: Duration = Duration::from_millis(5);
/// The bytes in a second that are taken for granted, near and far, until some were sent.
const NEAR_RATE: f64 = 100e6;
const FAR_RATE: f64 = 1e6;
/// Where answers take less than this, the engine is near.
const NEAR: Duration = Duration::from_millis(1);
/// What is sent of the program to see how fast bytes travel.
const PIECE: usize = 256 << 10;
/// As many bytes say how fast bytes travel.
const TELLING: usize = 64 << 10;
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
    state: Mutex<State>,
    /// Held by whoever uploads: so nothing is uploaded twice.
    uploading: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    /// Whether somebody has asked what it would cost to send something.
    is_asked: bool,
    /// What is to be run, once it is known whether the engine has it.
    program: Option<Arc<Program>>,
    /// The hashes of the blobs that the engine has.
    there: HashSet<String>,
    /// The names of what was sent.
    names: HashMap<Digest, BlobName>,
    /// What an action cost of late.
    lot: Option<Duration>,
    /// How many times as long as was expected compiles took of late.
    slowness: Option<f64>,
    /// Bytes in a second, of late.
    rate: Option<f64>,
    /// The bytes that wait to be uploaded.
    waiting: u64,
    in_vain: u32,
    /// Nothing more is sent.
    is_closed: bool,
    /// Calls that tell the engine what is not wanted any more.
    cancels: Vec<JoinHandle<()>>,
}

impl State {
    /// Learns that so many `bytes` took `elapsed` to upload.
    fn learn_rate(&mut self, bytes: usize, elapsed: Duration) {
        if bytes >= TELLING {
            let now = bytes as f64 / elapsed.as_secs_f64().max(1e-6);
            self.rate = Some(self.rate.map_or(now, |before| (before * 3.0 + now) / 4.0));
        }
    }
}

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
            state: Mutex::default(),
            uploading: tokio::sync::Mutex::default(),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Finds out whether the engine has the program.
    async fn prepare(self: Arc<Farm>) {
        let path = self.path.clone();
        let opening = tokio::task::spawn_blocking(move || Program::open(&path));
        let program = match opening.await {
            Ok(Ok(program)) => program,
            Ok(Err(e)) => return self.close(&format!("cannot read the program to send: {e}")),
            Err(_) => return,
        };
        match self.ask_for(&program).await {
            Ok(()) => self.state().program = Some(Arc::new(program)),
            Err(trouble) if trouble.kind == Ailment::Forbidden => self.close(&trouble.text),
            Err(trouble) => self.connection.health.suffered(&trouble),
        }
    }

    /// Finds out whether the engine has `program`, and if not, how long it would take to
    /// upload it: a piece of it is sent.
    async fn ask_for(&self, program: &Program) -> Result<(), Trouble> {
        let piece = &program.bytes()[..PIECE.min(program.name.size)];
        let names = [program.name.clone(), BlobName::of(piece)];
        let missing = self.connection.find_missing(&names).await?;
        if !missing.contains(&names[0]) {
            self.state().there.insert(program.name.hash.clone());
        } else if missing.contains(&names[1]) {
            let begin = Instant::now();
            self.connection.write(&[(names[1].clone(), piece)]).await?;
            self.state().learn_rate(piece.len(), begin.elapsed());
        }
        Ok(())
    }

    /// Sends nothing more, because of `reason`.
    fn close(&self, reason: &str) {
        self.state().is_closed = true;
        self.connection.health.closed(reason);
    }

    /// What an action costs beside its compiles and its bytes.
    fn cost_of_lot(&self, state: &State) -> Duration {
        let round_trip = self.connection.health.round_trip().unwrap_or_default();
        state.lot.unwrap_or(USUAL_LOT + round_trip * ROUND_TRIPS)
    }

    fn rate(&self, state: &State) -> f64 {
        let is_near = |round_trip| round_trip < NEAR;
        let usual = match self.connection.health.round_trip().is_some_and(is_near) {
            true => NEAR_RATE,
            false => FAR_RATE,
        };
        state.rate.unwrap_or(usual)
    }

    /// The name of the blob that is `content`.
    fn name_of(&self, content: &dyn Content) -> BlobName {
        let digest = content.digest();
        if let Some(name) = self.state().names.get(&digest) {
            return name.clone();
        }
        let name = BlobName::of(content.bytes());
        self.state().names.insert(digest, name.clone());
        name
    }

    /// Has the engine compile `jobs`, which would take `time` here.
    async fn compile(
        &self,
        jobs: Vec<Arc<CompileJob>>,
        time: Duration,
        name: &OperationName,
    ) -> Result<Outcomes, Trouble> {
        let program = self.state().program.clone();
        let (Some(program), Some(farm)) = (program, self.this.upgrade()) else {
            return Ok(Outcomes::new());
        };
        let packing = tokio::task::spawn_blocking(move || {
            let name_of = |content: &dyn Content| farm.name_of(content);
            let lot = Lot::of(&jobs, &program, &farm.options.platform, name_of);
            (lot, jobs)
        });
        let Ok((Some(lot), jobs)) = packing.await else {
            return Ok(Outcomes::new());
        };
        self.upload(&lot.blobs).await?;
        let begin = Instant::now();
        let limit = time.saturating_mul(PATIENCE).saturating_add(MORE_PATIENCE);
        let connection = &self.connection;
        connection.health.count(|totals| totals.lots += 1);
        let run = || connection.run_action(&lot.action, &lot.outputs, name, limit);
        let result = match run().await {
            Err(trouble) if trouble.kind == Ailment::Lacking => {
                // It has dropped what it had.
                self.forget(&lot.blobs);
                self.upload(&lot.blobs).await?;
                run().await?
            }
            result => result?,
        };
        let outcomes = self.take_in(&jobs, &lot, result).await?;
        self.learn(begin.elapsed(), time, &outcomes);
        Ok(outcomes)
    }

    fn forget(&self, blobs: &[(BlobName, Blob)]) {
        let mut state = self.state();
        for (name, _) in blobs {
            state.there.remove(&name.hash);
        }
    }

    /// Uploads what the engine lacks of `blobs`.
    async fn upload(&self, blobs: &[(BlobName, Blob)]) -> Result<(), Trouble> {
        let _turn = self.uploading.lock().await;
        let unknown: Vec<BlobName> = {
            let state = self.state();
            let names = blobs.iter().map(|(name, _)| name);
            let unknown = names.filter(|name| !state.there.contains(&name.hash));
            unknown.cloned().collect()
        };
        if unknown.is_empty() {
            return Ok(());
        }
        let missing: HashSet<BlobName> = self
            .connection
            .find_missing(&unknown)
            .await?
            .into_iter()
            .collect();
        let mut sent = HashSet::new();
        let wanted = blobs
            .iter()
            .filter(|(name, _)| missing.contains(name) && sent.insert(name.clone()));
        let wanted: Vec<(BlobName, &[u8])> = wanted
            .map(|(name, blob)| (name.clone(), blob.bytes()))
            .collect();
        let bytes: usize = wanted.iter().map(|(name, _)| name.size).sum();
        let begin = Instant::now();
        self.connection.write(&wanted).await?;
        let mut state = self.state();
        state.learn_rate(bytes, begin.elapsed());
        state
            .there
            .extend(unknown.into_iter().map(|name| name.hash));
        Ok(())
    }

    /// What has come of `lot`, by its `result`.
    async fn take_in(
        &self,
        jobs: &[Arc<CompileJob>],
        lot: &Lot,
        result: api::ActionResult,
    ) -> Result<Outcomes, Trouble> {
        if let Some(reason) = self.failure(&result).await {
            let is_hopeless =
                result.exit_code == OTHER_COMPILER || CANNOT_RUN.contains(&result.exit_code);
            self.came_home(jobs.len(), &reason, is_hopeless);
            return Ok(Outcomes::new());
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
        let outcomes = errand::outcomes(jobs, &report[..], contents.collect());
        let reason = outcomes.iter().find_map(|outcome| outcome.as_ref().err());
        if let Some(reason) = reason {
            let count = outcomes.iter().filter(|outcome| outcome.is_err()).count();
            self.came_home(count, reason, false);
        }
        if outcomes.iter().any(Result::is_ok) {
            self.state().in_vain = 0;
        }
        Ok(outcomes.into_iter().map(Result::ok).collect())
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

    /// Learns of an action that took `elapsed`, whose compiles were expected to take
    /// `time`, and of which `outcomes` came.
    fn learn(&self, elapsed: Duration, time: Duration, outcomes: &Outcomes) {
        let done = outcomes.iter().flatten();
        let (count, compiles) = done.fold((0, Duration::ZERO), |(count, time), outcome| {
            (count + 1, time + outcome.time)
        });
        self.connection
            .health
            .count(|totals| totals.executed += count);
        if count == 0 {
            return;
        }
        let mut state = self.state();
        // What the engine knew already took nothing.
        let now = elapsed.saturating_sub(compiles).max(LEAST_LOT);
        let before = self.cost_of_lot(&state);
        state.lot = Some((before * 3 + now) / 4);
        let now = compiles.as_secs_f64() / time.as_secs_f64().max(1e-6);
        let before = state.slowness.unwrap_or(now);
        state.slowness = Some((before * 3.0 + now) / 4.0);
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
        let mut state = self.state();
        if !std::mem::replace(&mut state.is_asked, true)
            && let Some(farm) = self.this.upgrade()
        {
            drop(self.runtime.spawn(farm.prepare()));
        }
        let is_ready = state.program.is_some() && !state.is_closed;
        if !is_ready || !self.connection.health.is_well() {
            return None;
        }
        let byte = 1.0 / self.rate(&state);
        let waits = Duration::try_from_secs_f64(byte * state.waiting as f64);
        Some(Cost {
            lot: self.cost_of_lot(&state) + waits.unwrap_or_default(),
            byte: Duration::from_secs_f64(byte),
            slowness: state.slowness.unwrap_or(1.0).max(1.0),
        })
    }

    fn bytes_to_send(&self, jobs: &[Arc<CompileJob>]) -> u64 {
        let state = self.state();
        let is_there = |name: &BlobName| state.there.contains(&name.hash);
        let mut counted = HashSet::new();
        let program = state
            .program
            .iter()
            .filter(|program| !is_there(&program.name));
        let mut bytes: usize = program.map(|program| program.name.size).sum();
        for job in jobs {
            let inputs = [&job.module]
                .into_iter()
                .chain(&job.index)
                .chain(&job.imports);
            for input in inputs {
                let digest = input.content.digest();
                let is_known = state.names.get(&digest).is_some_and(is_there);
                if !is_known && counted.insert(digest) {
                    bytes += input.content.bytes().len();
                }
            }
        }
        bytes as u64
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
        let bytes = self.bytes_to_send(&jobs);
        self.state().waiting += bytes;
        let waits = Waits {
            farm: Arc::clone(&farm),
            bytes,
        };
        let errand = {
            let (farm, name) = (Arc::clone(&farm), Arc::clone(&name));
            async move {
                let count = jobs.len();
                let outcomes = farm.compile(jobs, time, &name).await;
                drop(waits);
                done(outcomes.unwrap_or_else(|trouble| {
                    // What runs no action may be a good cache all the same.
                    if trouble.kind.may_pass() {
                        farm.connection.health.suffered(&trouble);
                    }
                    farm.came_home(count, &trouble.text, trouble.kind == Ailment::Forbidden);
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

/// Bytes that wait to be uploaded, until this is dropped.
struct Waits {
    farm: Arc<Farm>,
    bytes: u64,
}

impl Drop for Waits {
    fn drop(&mut self) {
        self.farm.state().waiting -= self.bytes;
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
