//! The blobs that an engine has, as far as is known: nothing is uploaded twice.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::connection::Connection;
use super::content::BlobName;
use super::lot::Blob;
use super::trouble::Trouble;
use crate::digest::Digest;
use crate::execute::Content;

/// What of an engine's blobs concerns us.
pub(super) struct Stock {
    connection: Arc<Connection>,
    known: Mutex<Known>,
    /// Held by whoever uploads: what two of them need is sent by one.
    uploading: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Known {
    /// The hashes of the blobs that are there.
    there: HashSet<String>,
    /// What lots wait for to be uploaded; nobody else has to wait for it once more.
    coming: HashSet<Digest>,
    /// The names of what was looked at.
    names: HashMap<Digest, BlobName>,
}

/// Contents that are not there, and how many bytes they have.
#[derive(Default)]
pub(super) struct Missing {
    contents: HashSet<Digest>,
    pub(super) bytes: u64,
}

/// What was sent.
pub(super) struct Sent {
    pub(super) bytes: usize,
    pub(super) elapsed: Duration,
}

impl Stock {
    /// Begins to learn what the engine at the end of `connection` has.
    pub(super) fn new(connection: &Arc<Connection>) -> Stock {
        Stock {
            connection: Arc::clone(connection),
            known: Mutex::default(),
            uploading: tokio::sync::Mutex::default(),
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The name of the blob that is `content`.
    pub(super) fn name_of(&self, content: &dyn Content) -> BlobName {
        let digest = content.digest();
        if let Some(name) = self.known().names.get(&digest) {
            return name.clone();
        }
        let name = BlobName::of(content.bytes());
        self.known().names.insert(digest, name.clone());
        name
    }

    /// What of `contents` and of the blob `named` is neither there nor waited for by another.
    pub(super) fn missing<'a>(
        &self,
        contents: impl Iterator<Item = &'a dyn Content>,
        named: Option<&BlobName>,
    ) -> Missing {
        let known = self.known();
        let mut missing = Missing::default();
        let mut count = |content: Digest, name: Option<&BlobName>, size: usize| {
            let is_there = name.is_some_and(|name| known.there.contains(&name.hash));
            let is_known = is_there || known.coming.contains(&content);
            if !is_known && missing.contents.insert(content) {
                missing.bytes += size as u64;
            }
        };
        if let Some(name) = named {
            count(Digest::of(name.hash.as_bytes()), Some(name), name.size);
        }
        for content in contents {
            let digest = content.digest();
            count(digest, known.names.get(&digest), content.bytes().len());
        }
        missing
    }

    /// Notes that a lot waits for what is `missing`.
    pub(super) fn expect(&self, missing: &Missing) {
        self.known().coming.extend(&missing.contents);
    }

    /// Notes that what was `missing` is there, or that the lot is given up.
    pub(super) fn expect_no_more(&self, missing: &Missing) {
        let mut known = self.known();
        for content in &missing.contents {
            known.coming.remove(content);
        }
    }

    /// Notes that the blob `name` is there.
    pub(super) fn has(&self, name: &BlobName) {
        self.known().there.insert(name.hash.clone());
    }

    /// Notes that `blobs` may not be there.
    pub(super) fn forget(&self, blobs: &[(BlobName, Blob)]) {
        let mut known = self.known();
        for (name, _) in blobs {
            known.there.remove(&name.hash);
        }
    }

    /// Uploads what the engine lacks of `blobs`; what that was.
    ///
    /// # Errors
    /// When a call fails.
    pub(super) async fn upload(&self, blobs: &[(BlobName, Blob)]) -> Result<Sent, Trouble> {
        let _turn = self.uploading.lock().await;
        let unknown: Vec<BlobName> = {
            let known = self.known();
            let names = blobs.iter().map(|(name, _)| name);
            let unknown = names.filter(|name| !known.there.contains(&name.hash));
            unknown.cloned().collect()
        };
        let missing: HashSet<BlobName> = match unknown.is_empty() {
            true => HashSet::new(),
            false => {
                let missing = self.connection.find_missing(&unknown).await?;
                missing.into_iter().collect()
            }
        };
        let mut chosen = HashSet::new();
        let wanted = blobs
            .iter()
            .filter(|(name, _)| missing.contains(name) && chosen.insert(name.clone()));
        let wanted: Vec<(BlobName, &[u8])> = wanted
            .map(|(name, blob)| (name.clone(), blob.bytes()))
            .collect();
        let begin = Instant::now();
        self.connection.write(&wanted).await?;
        let there = unknown.into_iter().map(|name| name.hash);
        self.known().there.extend(there);
        Ok(Sent {
            bytes: wanted.iter().map(|(name, _)| name.size).sum(),
            elapsed: begin.elapsed(),
        })
    }
}
