//! Blobs that go together.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use bazel_remote_apis::build::bazel::remote::execution::v2 as api;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tonic::{Code, Status};

use super::connection::{Connection, TO_ANSWER, time_for};
use super::content::{BlobName, IDENTITY, LONGEST, SHA256, ZSTD, pack, unpack};
use super::trouble::Trouble;

/// How many names are asked for at a time.
const NAMES: usize = 10_000;
/// How many batches of blobs are on their way here at a time: while these are, further
/// wishes come together.
const BATCHES: usize = 4;
/// What a blob takes in a message besides its bytes, at most.
const AROUND: usize = 256;

type Blob = Result<Vec<u8>, Trouble>;

/// Reads blobs, many with one call where many are wanted.
pub(super) struct Reader {
    connection: Arc<Connection>,
    wishes: mpsc::UnboundedSender<Wish>,
}

/// Somebody who wants a blob.
struct Wish {
    name: BlobName,
    to: oneshot::Sender<Blob>,
}

impl Reader {
    /// Starts a reader, in the context of a runtime. It ends when it is dropped.
    pub(super) fn start(connection: &Arc<Connection>) -> Reader {
        let (wishes, wished) = mpsc::unbounded_channel();
        drop(tokio::spawn(fulfil(Arc::clone(connection), wished)));
        Reader {
            connection: Arc::clone(connection),
            wishes,
        }
    }

    /// Reads the blob `name`.
    ///
    /// # Errors
    /// When it cannot be had, or is not what its name says.
    pub(super) async fn read(&self, name: &BlobName) -> Blob {
        if name.size == 0 {
            return name.check(Vec::new());
        }
        if name.size > LONGEST {
            return Err(Trouble::wrong("a blob is longer than any of ours"));
        }
        if name.size + AROUND > self.connection.capabilities().await?.batch {
            return self.connection.read_stream(name).await;
        }
        let (to, blob) = oneshot::channel();
        let name = name.clone();
        let _ = self.wishes.send(Wish { name, to });
        let gone = |_| Err(Trouble::slow("BatchReadBlobs", 0.0));
        blob.await.unwrap_or_else(gone)
    }
}

/// Takes wishes as they come, and those that have come meanwhile with them.
async fn fulfil(connection: Arc<Connection>, mut wished: mpsc::UnboundedReceiver<Wish>) {
    let slots = Arc::new(Semaphore::new(BATCHES));
    let mut next = None;
    loop {
        let first = match next.take() {
            Some(wish) => wish,
            None => match wished.recv().await {
                Some(wish) => wish,
                None => return,
            },
        };
        // The semaphore is never closed.
        let slot = Arc::clone(&slots).acquire_owned().await;
        // Whoever wishes for a blob has asked for the limit before.
        let limit = connection.capabilities().await.map_or(0, |can| can.batch);
        let mut bytes = first.name.size + AROUND;
        let mut batch = vec![first];
        while let Ok(wish) = wished.try_recv() {
            bytes += wish.name.size + AROUND;
            if bytes > limit {
                next = Some(wish);
                break;
            }
            batch.push(wish);
        }
        let connection = Arc::clone(&connection);
        drop(tokio::spawn(async move {
            fulfil_batch(&connection, batch).await;
            drop(slot);
        }));
    }
}

async fn fulfil_batch(connection: &Connection, mut batch: Vec<Wish>) {
    batch.retain(|wish| !wish.to.is_closed());
    if batch.is_empty() {
        return;
    }
    let names: HashSet<BlobName> = batch.iter().map(|wish| wish.name.clone()).collect();
    let mut blobs = match connection.read_batch(&names).await {
        Ok(blobs) => blobs,
        Err(trouble) => names
            .into_iter()
            .map(|name| (name, Err(trouble.clone())))
            .collect(),
    };
    for wish in batch {
        let missing = || Err(Trouble::wrong("an engine left out a blob"));
        let blob = blobs.get_mut(&wish.name).cloned();
        let _ = wish.to.send(blob.unwrap_or_else(missing));
    }
}

impl Connection {
    /// Reads the blobs `names`, which go together; what became of each.
    ///
    /// # Errors
    /// When the call fails as a whole.
    async fn read_batch(
        &self,
        names: &HashSet<BlobName>,
    ) -> Result<HashMap<BlobName, Blob>, Trouble> {
        let packs = self.packs_batches(self.capabilities().await?);
        let request = api::BatchReadBlobsRequest {
            instance_name: self.instance.clone(),
            digests: names.iter().map(BlobName::message).collect(),
            acceptable_compressors: match packs {
                true => vec![IDENTITY, ZSTD],
                false => Vec::new(),
            },
            digest_function: SHA256,
        };
        let bytes = names.iter().map(|name| name.size).sum();
        let answer = self.call("BatchReadBlobs", time_for(bytes), || async {
            self.blobs().batch_read_blobs(request.clone()).await
        });
        let mut blobs = HashMap::new();
        for response in answer.await?.responses {
            let name = BlobName::read(&response.digest.unwrap_or_default())?;
            // Nobody wants others, which may be said to be of any size.
            if !names.contains(&name) {
                continue;
            }
            self.health
                .count(|totals| totals.bytes_received += response.data.len() as u64);
            let blob = match failed("BatchReadBlobs", response.status) {
                Some(trouble) => Err(trouble),
                None => unpack(&name, response.data, response.compressor),
            };
            let _ = blobs.insert(name, blob);
        }
        Ok(blobs)
    }

    /// Which of `names` the engine has not.
    ///
    /// # Errors
    /// When it does not say.
    pub(super) async fn find_missing(&self, names: &[BlobName]) -> Result<Vec<BlobName>, Trouble> {
        let mut missing = Vec::new();
        for names in names.chunks(NAMES) {
            let request = api::FindMissingBlobsRequest {
                instance_name: self.instance.clone(),
                blob_digests: names.iter().map(BlobName::message).collect(),
                digest_function: SHA256,
            };
            let answer = self.call("FindMissingBlobs", TO_ANSWER, || async {
                self.blobs().find_missing_blobs(request.clone()).await
            });
            for digest in answer.await?.missing_blob_digests {
                missing.push(BlobName::read(&digest)?);
            }
        }
        Ok(missing)
    }

    /// Uploads `blobs`, those together that can go so.
    ///
    /// # Errors
    /// When the engine does not take one of them.
    pub(super) async fn write(&self, blobs: &[(BlobName, &[u8])]) -> Result<(), Trouble> {
        let limit = self.capabilities().await?.batch;
        let mut batch = Vec::new();
        let mut bytes = 0;
        for (name, blob) in blobs {
            let size = name.size + AROUND;
            if size > limit {
                self.write_stream(name, blob).await?;
                continue;
            }
            if bytes + size > limit {
                self.write_batch(std::mem::take(&mut batch)).await?;
                bytes = 0;
            }
            bytes += size;
            batch.push((name, *blob));
        }
        match batch.is_empty() {
            true => Ok(()),
            false => self.write_batch(batch).await,
        }
    }

    async fn write_batch(&self, blobs: Vec<(&BlobName, &[u8])>) -> Result<(), Trouble> {
        let packs = self.packs_batches(self.capabilities().await?);
        let requests = blobs.iter().map(|(name, blob)| {
            let (data, compressor) = pack(blob, packs);
            api::batch_update_blobs_request::Request {
                digest: Some(name.message()),
                data,
                compressor,
            }
        });
        let requests: Vec<_> = requests.collect();
        let bytes = requests.iter().map(|request| request.data.len()).sum();
        let request = api::BatchUpdateBlobsRequest {
            instance_name: self.instance.clone(),
            requests,
            digest_function: SHA256,
        };
        let answer = self.call("BatchUpdateBlobs", time_for(bytes), || async {
            self.blobs().batch_update_blobs(request.clone()).await
        });
        for response in answer.await?.responses {
            if let Some(trouble) = failed("BatchUpdateBlobs", response.status) {
                return Err(trouble);
            }
        }
        self.health
            .count(|totals| totals.bytes_sent += bytes as u64);
        Ok(())
    }
}

/// What `status`, of one blob in `call`, says if it is not that all is well.
fn failed(call: &str, status: Option<bazel_remote_apis::google::rpc::Status>) -> Option<Trouble> {
    let status = status.filter(|status| status.code != 0)?;
    let status = Status::new(Code::from_i32(status.code), status.message);
    Some(Trouble::of(call, &status))
}
