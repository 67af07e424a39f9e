//! What was compiled here goes to the engine, some time soon.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bazel_remote_apis::build::bazel::remote::execution::v2 as api;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::action;
use super::connection::{Connection, TO_ANSWER};
use super::content::{BlobName, SHA256};
use super::trouble::{Ailment, Trouble};
use crate::digest::Digest;

/// The bytes of objects that wait to be uploaded, at most: what comes on top is not.
const ROOM: u64 = 256 << 20;
/// How many objects go together, at most.
const TOGETHER: usize = 64;
/// How long the first of them waits for others: nobody waits for it.
const TO_GATHER: Duration = Duration::from_millis(100);

/// An object to be uploaded.
pub(super) struct Offer {
    /// The keys that it is for, each with what is known of it.
    pub(super) entries: Vec<(Digest, Vec<u8>)>,
    pub(super) object: Vec<u8>,
}

/// The objects that wait, and how many they are.
#[derive(Default)]
pub(super) struct Waiting {
    objects: AtomicU64,
    bytes: AtomicU64,
}

impl Waiting {
    /// Takes `offer` in, if there is room.
    pub(super) fn add(&self, offer: &Offer) -> bool {
        let size = offer.object.len() as u64;
        let before = self.bytes.fetch_add(size, Ordering::Relaxed);
        // One object alone is always let in.
        if before > 0 && before + size > ROOM {
            self.bytes.fetch_sub(size, Ordering::Relaxed);
            return false;
        }
        self.objects.fetch_add(1, Ordering::Relaxed);
        true
    }

    fn remove(&self, offer: &Offer) {
        self.objects.fetch_sub(1, Ordering::Relaxed);
        let size = offer.object.len() as u64;
        self.bytes.fetch_sub(size, Ordering::Relaxed);
    }

    /// How many objects wait.
    pub(super) fn objects(&self) -> u64 {
        self.objects.load(Ordering::Relaxed)
    }
}

/// Uploads what comes until nothing more can come.
pub(super) async fn upload(
    connection: Arc<Connection>,
    mut offers: mpsc::UnboundedReceiver<Offer>,
    waiting: Arc<Waiting>,
) {
    let mut uploader = Uploader {
        connection: Arc::clone(&connection),
        there: HashSet::new(),
    };
    let mut batch = Vec::new();
    while gather(&mut offers, &mut batch).await {
        let health = &connection.health;
        let count = batch.len() as u64;
        let outcome = match health.is_well() && health.takes_objects() {
            true => uploader.upload(&batch).await,
            false => Ok(false),
        };
        match outcome {
            Ok(true) => {}
            Ok(false) => health.count(|totals| totals.not_uploaded += count),
            Err(trouble) => {
                health.count(|totals| totals.not_uploaded += count);
                // Whoever may only read is no less welcome to.
                match trouble.kind {
                    Ailment::Forbidden | Ailment::Unable => health.refuses_uploads(trouble.text),
                    _ => {
                        let _ = health.suffered(&trouble);
                    }
                }
            }
        }
        batch.drain(..).for_each(|offer| waiting.remove(&offer));
    }
}

/// Puts what comes within a while into `batch`; false when nothing more can come.
async fn gather(offers: &mut mpsc::UnboundedReceiver<Offer>, batch: &mut Vec<Offer>) -> bool {
    let Some(first) = offers.recv().await else {
        return false;
    };
    batch.push(first);
    let others = async {
        while batch.len() < TOGETHER
            && let Some(offer) = offers.recv().await
        {
            batch.push(offer);
        }
    };
    let _ = tokio::time::timeout(TO_GATHER, others).await;
    true
}

struct Uploader {
    connection: Arc<Connection>,
    /// The hashes of blobs that the engine has.
    there: HashSet<String>,
}

impl Uploader {
    /// Uploads the objects of `offers` and says what they are for; true when all of
    /// them are there.
    async fn upload(&mut self, offers: &[Offer]) -> Result<bool, Trouble> {
        let command = action::command();
        let keys = offers.iter().flat_map(|offer| &offer.entries);
        let actions: Vec<Vec<u8>> = keys.map(|(key, _)| action::of_key(key)).collect();
        let blobs: HashMap<BlobName, &[u8]> = offers
            .iter()
            .map(|offer| &offer.object)
            .chain(&actions)
            .chain([&command])
            .filter(|blob| !blob.is_empty())
            .map(|blob| (BlobName::of(blob), &blob[..]))
            .filter(|(name, _)| !self.there.contains(&name.hash))
            .collect();
        let names: Vec<BlobName> = blobs.keys().cloned().collect();
        let missing = self.connection.find_missing(&names).await?;
        let missing: Vec<(BlobName, &[u8])> = missing
            .into_iter()
            .filter_map(|name| blobs.get(&name).map(|blob| (name, *blob)))
            .collect();
        self.connection.write(&missing).await?;
        self.there.extend(names.into_iter().map(|name| name.hash));
        self.tell_results(offers).await?;
        let count = offers.len() as u64;
        self.connection
            .health
            .count(|totals| totals.uploaded += count);
        Ok(true)
    }

    /// Tells the engine what the keys of `offers` stand for, all at a time.
    async fn tell_results(&self, offers: &[Offer]) -> Result<(), Trouble> {
        let mut calls = JoinSet::new();
        for offer in offers {
            let object = BlobName::of(&offer.object);
            for (key, entry) in &offer.entries {
                let request = api::UpdateActionResultRequest {
                    instance_name: self.connection.instance.clone(),
                    action_digest: Some(BlobName::of(&action::of_key(key)).message()),
                    action_result: Some(action::result(entry.clone(), &object)),
                    digest_function: SHA256,
                    ..api::UpdateActionResultRequest::default()
                };
                let connection = Arc::clone(&self.connection);
                let _ = calls.spawn(async move {
                    let told = connection.call("UpdateActionResult", TO_ANSWER, || async {
                        connection
                            .actions()
                            .update_action_result(request.clone())
                            .await
                    });
                    told.await.map(|_| ())
                });
            }
        }
        while let Some(told) = calls.join_next().await {
            // A panic of ours has been reported on its thread.
            told.unwrap_or(Ok(()))?;
        }
        Ok(())
    }
}
