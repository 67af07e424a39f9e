//! Blobs that are too large to go with others: one at a time, in chunks. A transfer
//! that breaks off goes on where it was.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use bazel_remote_apis::google::bytestream as api;

use super::connection::{Connection, TO_ANSWER, time_for};
use super::content::{BlobName, IDENTITY, ZSTD, pack, unpack};
use super::trouble::Trouble;

/// The bytes of a chunk.
const CHUNK: usize = 256 << 10;
/// How often a transfer may break off.
const ATTEMPTS: usize = 3;

impl Connection {
    /// Reads the blob `name`.
    ///
    /// # Errors
    /// When it cannot be had, or is not what its name says.
    pub(super) async fn read_stream(&self, name: &BlobName) -> Result<Vec<u8>, Trouble> {
        let packed = self.packs_streams(self.capabilities().await?);
        let mut bytes = Vec::new();
        for attempt in 1.. {
            if packed {
                // An offset would be one of the blob, not of what travels.
                bytes.clear();
            }
            let read = self.read_on(name, packed, &mut bytes);
            let read = tokio::time::timeout(time_for(name.size), read).await;
            let read = read.unwrap_or_else(|_| {
                let seconds = time_for(name.size).as_secs_f64();
                Err(Trouble::slow("ByteStream.Read", seconds))
            });
            match read {
                Ok(()) => break,
                Err(trouble) if trouble.kind.may_pass() && attempt < ATTEMPTS => {}
                Err(trouble) => return Err(trouble),
            }
        }
        self.health
            .count(|totals| totals.bytes_received += bytes.len() as u64);
        unpack(name, bytes, if packed { ZSTD } else { IDENTITY })
    }

    /// Adds what there is of the blob `name` behind `bytes`.
    async fn read_on(
        &self,
        name: &BlobName,
        packed: bool,
        bytes: &mut Vec<u8>,
    ) -> Result<(), Trouble> {
        self.health.count(|totals| totals.calls += 1);
        let of = |status| Trouble::of("ByteStream.Read", &status);
        let request = api::ReadRequest {
            resource_name: format!("{}{}", self.prefix(), resource(name, packed)),
            read_offset: i64::try_from(bytes.len()).unwrap_or(i64::MAX),
            read_limit: 0,
        };
        let mut chunks = self.streams().read(request).await.map_err(of)?.into_inner();
        while let Some(chunk) = chunks.message().await.map_err(of)? {
            bytes.extend_from_slice(&chunk.data);
            // zstd makes what cannot be compressed a little longer.
            if bytes.len() > name.size + name.size / 16 + CHUNK {
                return Err(Trouble::wrong("a blob came longer than its name says"));
            }
        }
        Ok(())
    }

    /// Uploads the blob `name`, which is `bytes`.
    ///
    /// # Errors
    /// When the engine does not take it.
    pub(super) async fn write_stream(&self, name: &BlobName, bytes: &[u8]) -> Result<(), Trouble> {
        let packs = self.packs_streams(self.capabilities().await?);
        let (bytes, how) = pack(bytes, packs);
        let bytes: Arc<[u8]> = bytes.into();
        let resource = format!(
            "{}uploads/{}/{}",
            self.prefix(),
            unique(),
            resource(name, how == ZSTD)
        );
        let mut offset = 0;
        for attempt in 1.. {
            match self.write_on(&resource, &bytes, offset).await {
                Ok(committed) => {
                    // An engine that has the blob by now says so in one of these ways.
                    let whole = [-1, size_of(bytes.len()), size_of(name.size)];
                    if !whole.contains(&committed) {
                        return Err(Trouble::wrong("an engine took a part of a blob"));
                    }
                    break;
                }
                Err(trouble) if trouble.kind.may_pass() && attempt < ATTEMPTS => {
                    offset = self.committed(&resource).await;
                }
                Err(trouble) => return Err(trouble),
            }
        }
        self.health
            .count(|totals| totals.bytes_sent += bytes.len() as u64);
        Ok(())
    }

    /// Sends `bytes` from `offset` on; returns how many the engine has then.
    async fn write_on(
        &self,
        resource: &str,
        bytes: &Arc<[u8]>,
        offset: usize,
    ) -> Result<i64, Trouble> {
        let all = Arc::clone(bytes);
        let name = resource.to_owned();
        let offset = offset.min(all.len());
        // An empty blob has one chunk, too.
        let count = (all.len() - offset).div_ceil(CHUNK).max(1);
        let chunks = (0..count).map(move |number| {
            let begin = offset + number * CHUNK;
            let end = all.len().min(begin + CHUNK);
            api::WriteRequest {
                resource_name: match number {
                    0 => name.clone(),
                    _ => String::new(),
                },
                write_offset: size_of(begin),
                finish_write: end == all.len(),
                data: all[begin..end].to_vec(),
            }
        });
        let written = self.call("ByteStream.Write", time_for(bytes.len()), || async {
            self.streams()
                .write(tokio_stream::iter(chunks.clone()))
                .await
        });
        Ok(written.await?.committed_size)
    }

    /// How much of what was sent as `resource` the engine has; nothing if it does not
    /// say.
    async fn committed(&self, resource: &str) -> usize {
        let request = api::QueryWriteStatusRequest {
            resource_name: resource.to_owned(),
        };
        let status = self.call("ByteStream.QueryWriteStatus", TO_ANSWER, || async {
            self.streams().query_write_status(request.clone()).await
        });
        match status.await {
            Ok(status) => usize::try_from(status.committed_size).unwrap_or(0),
            Err(_) => 0,
        }
    }

    /// What the names of resources begin with.
    fn prefix(&self) -> String {
        match self.instance.is_empty() {
            true => String::new(),
            false => format!("{}/", self.instance),
        }
    }
}

fn resource(name: &BlobName, packed: bool) -> String {
    let kind = if packed {
        "compressed-blobs/zstd"
    } else {
        "blobs"
    };
    format!("{kind}/{}/{}", name.hash, name.size)
}

fn size_of(length: usize) -> i64 {
    i64::try_from(length).unwrap_or(i64::MAX)
}

/// A name that no other upload has, in the form of a UUID.
fn unique() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let time = SystemTime::now().duration_since(UNIX_EPOCH);
    let seed = format!(
        "{} {} {}",
        std::process::id(),
        time.map_or(0, |time| time.as_nanos()),
        COUNT.fetch_add(1, Ordering::Relaxed)
    );
    // The host's name and what else tells machines apart.
    let host = crate::files::read(std::path::Path::new("/proc/sys/kernel/random/boot_id"));
    let hash = BlobName::of(&[seed.as_bytes(), &host.unwrap_or_default()].concat()).hash;
    let (a, b, c, d) = (&hash[..8], &hash[8..12], &hash[13..16], &hash[17..20]);
    format!("{a}-{b}-4{c}-8{d}-{}", &hash[20..32])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uploads_have_names_of_their_own() {
        let (one, other) = (unique(), unique());
        assert_ne!(one, other);
        let lengths: Vec<usize> = one.split('-').map(str::len).collect();
        assert_eq!(lengths, [8, 4, 4, 4, 12]);
    }
}
