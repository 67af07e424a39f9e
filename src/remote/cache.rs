//! The cache as one build uses it: what is asked and offered from any thread goes to
//! the one that talks with the engine.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::action::LONGEST_ENTRY;
use super::address::Address;
use super::connection::{Connection, cannot_use};
use super::content::LONGEST;
use super::farm::Farm;
use super::lookups::Lookups;
use super::options::RemoteOptions;
use super::totals::Summary;
use super::trouble::Trouble;
use super::uploads::{Offer, Waiting, upload};
use crate::away::Workshop;
use crate::digest::Digest;
use crate::elsewhere::{Elsewhere, Question};
use crate::error::{Error, Kind, Result};

/// How long an end waits until the engine has been told of what is not wanted any more.
const TO_CANCEL: Duration = Duration::from_millis(300);

/// How long the end of a build waits for uploads, if nobody says.
const LEAST_LINGER: Duration = Duration::from_millis(100);
const LONGEST_LINGER: Duration = Duration::from_secs(1);

/// A cache on an engine.
pub(crate) struct RemoteCache {
    client: Arc<Client>,
    uploads: JoinHandle<()>,
    farm: Option<Arc<Farm>>,
    /// See [`RemoteOptions::linger`].
    linger: Option<Duration>,
    begin: Instant,
    /// `None` once it has ended.
    runtime: Option<Runtime>,
}

/// What all who use the cache share.
struct Client {
    connection: Arc<Connection>,
    lookups: Arc<Lookups>,
    /// `None` when nothing is uploaded, or nothing more.
    offers: Mutex<Option<mpsc::UnboundedSender<Offer>>>,
    waiting: Arc<Waiting>,
    /// See [`RemoteOptions::wait`].
    wait: Option<Duration>,
    runtime: Handle,
}

/// A runtime for one engine.
///
/// # Errors
/// When the system gives no thread.
pub(super) fn runtime(options: &RemoteOptions) -> Result<Runtime> {
    Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("remote")
        .enable_all()
        .build()
        .map_err(|e| cannot_use(options, e.to_string()))
}

impl RemoteCache {
    /// Begins to use the engine of `options`, if it can be used. One that is away is
    /// left alone until it may be back. `helper` is the program that it runs.
    ///
    /// # Errors
    /// When the options make no sense, or the engine is there and cannot be used with
    /// them.
    pub(crate) fn open(options: &RemoteOptions, helper: Option<&Path>) -> Result<RemoteCache> {
        let address = Address::parse(&options.url)?;
        if options.execution.is_some() && helper.is_none() {
            let text = "an engine cannot compile without a program to run there";
            return Err(Error::new(Kind::Environment, text).hint("give `Options::helper`"));
        }
        let runtime = runtime(options)?;
        let opened = runtime.block_on(async {
            let connection = Arc::new(Connection::new(options, &address)?);
            connection.greet(options, &address).await?;
            let (offers, offered) = mpsc::unbounded_channel();
            let waiting = Arc::new(Waiting::default());
            let farm = options.execution.as_ref().zip(helper);
            let farm = farm.map(|(execution, helper)| Farm::start(&connection, execution, helper));
            let uploads = upload(Arc::clone(&connection), offered, Arc::clone(&waiting));
            let client = Client {
                lookups: Arc::new(Lookups::start(&connection)),
                connection,
                offers: Mutex::new(options.uploads.then_some(offers)),
                waiting,
                wait: options.wait,
                runtime: Handle::current(),
            };
            Ok((Arc::new(client), farm, tokio::spawn(uploads)))
        });
        match opened {
            Ok((client, farm, uploads)) => Ok(RemoteCache {
                client,
                uploads,
                farm,
                linger: options.linger,
                begin: Instant::now(),
                runtime: Some(runtime),
            }),
            Err(e) => {
                // A name that is still being looked up is not waited for.
                runtime.shutdown_background();
                Err(e)
            }
        }
    }

    /// What jobs see of the cache.
    pub(crate) fn elsewhere(&self) -> Arc<dyn Elsewhere> {
        Arc::clone(&self.client) as Arc<dyn Elsewhere>
    }

    /// Where jobs can be compiled, if they may be.
    pub(crate) fn workshop(&self) -> Option<Arc<dyn Workshop>> {
        let farm = self.farm.as_ref()?;
        Some(Arc::clone(farm) as Arc<dyn Workshop>)
    }

    /// Ends the use of the cache: waits for uploads as long as it may, if it `lingers`,
    /// and says what all came to.
    pub(crate) fn finish(mut self, lingers: bool) -> Summary {
        drop(self.client.offers().take());
        if let Some(runtime) = self.runtime.take() {
            if let Some(farm) = &self.farm {
                runtime.block_on(farm.finish(TO_CANCEL));
            }
            let limit = match lingers {
                true => self
                    .linger
                    .unwrap_or_else(|| usual_linger(self.begin.elapsed())),
                false => Duration::ZERO,
            };
            let _ =
                runtime.block_on(async { tokio::time::timeout(limit, &mut self.uploads).await });
            runtime.shutdown_background();
        }
        let health = &self.client.connection.health;
        let left = self.client.waiting.objects();
        health.count(|totals| totals.not_uploaded += left);
        health.summary()
    }
}

/// How long the end of a build waits that took `elapsed`: it is to be no slower for that, and
/// an engine that is near is nearly done.
fn usual_linger(elapsed: Duration) -> Duration {
    (elapsed / 100).clamp(LEAST_LINGER, LONGEST_LINGER)
}

impl Drop for RemoteCache {
    fn drop(&mut self) {
        // Not waited for: an answer may take for ever.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Client {
    fn offers(&self) -> std::sync::MutexGuard<'_, Option<mpsc::UnboundedSender<Offer>>> {
        self.offers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Elsewhere for Client {
    fn ask(&self, keys: Vec<Digest>) -> Arc<Question> {
        self.connection.health.count(|totals| totals.asked += 1);
        let question = Question::open();
        let asked = Arc::downgrade(&question);
        let lookups = Arc::clone(&self.lookups);
        let answer = async move { lookups.answer(keys, asked).await };
        drop(self.runtime.spawn(answer));
        question
    }

    fn offer(&self, mut entries: Vec<(Digest, Vec<u8>)>, object: &[u8]) {
        entries.retain(|(_, entry)| entry.len() <= LONGEST_ENTRY);
        // What nobody would take is of no use there.
        let is_of_use = !entries.is_empty() && object.len() <= LONGEST;
        let offers = self.offers();
        let Some(offers) = offers.as_ref().filter(|_| is_of_use) else {
            return;
        };
        let offer = Offer {
            entries,
            object: object.to_owned(),
        };
        if !self.waiting.add(&offer) || offers.send(offer).is_err() {
            let health = &self.connection.health;
            health.count(|totals| totals.not_uploaded += 1);
        }
    }

    fn refuse(&self, reason: &str) {
        let _ = self.connection.health.suffered(&Trouble::wrong(reason));
    }

    fn count_used(&self, after_import: bool, saved: Duration) {
        self.connection.health.count(|totals| {
            totals.used += 1;
            totals.used_after_import += u64::from(after_import);
            totals.seconds_saved += saved.as_secs_f64();
        });
    }

    fn patience(&self, compile: Duration) -> Duration {
        if !self.connection.health.is_well() {
            return Duration::ZERO;
        }
        if let Some(wait) = self.wait {
            return wait;
        }
        let (found, ended) = self.lookups.found_of_ended();
        match found * 2 > ended {
            true => compile / 4,
            false => compile / 50,
        }
    }

    fn is_likely_within(&self, patience: Duration) -> bool {
        // A question, and most times a blob.
        let usual = self.connection.health.round_trip().map(|time| time * 2);
        usual.is_some_and(|usual| usual <= patience)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_waits_for_uploads_a_small_part_of_its_time() {
        let second = Duration::from_secs(1);
        assert_eq!(usual_linger(Duration::ZERO), LEAST_LINGER);
        assert_eq!(usual_linger(second * 20), second / 5);
        assert_eq!(usual_linger(second * 3600), second);
    }
}
