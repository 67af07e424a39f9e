//! How well an engine works from here.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::action;
use super::address::Address;
use super::blobs::Reader;
use super::cache::runtime;
use super::connection::{Connection, cannot_use};
use super::content::BlobName;
use super::farm::Farm;
use super::options::RemoteOptions;
use super::totals::Probed;
use super::trouble::{Ailment, Trouble};
use crate::digest::{Digest, Hasher};
use crate::error::Result;

/// How often a small call is timed.
const CALLS: usize = 9;
/// The bytes of the blob that is sent and read again.
const BLOB: usize = 4 << 20;

/// Tries the engine of `options`: whether it is there, knows the instance and the user,
/// and gives back what it was given. A blob of 4 MiB is uploaded for that, unless
/// uploads are off. If it is to compile, it is to run `helper`, too, without a job.
///
/// # Errors
/// [`Kind::Environment`](crate::error::Kind) with the reason why it cannot be used.
pub fn probe(options: &RemoteOptions, helper: Option<&Path>) -> Result<Probed> {
    let address = Address::parse(&options.url)?;
    let runtime = runtime(options)?;
    let probed = runtime.block_on(async {
        let connection = Arc::new(Connection::new(options, &address)?);
        connection.greet(options, &address).await?;
        let farm = options.execution.as_ref().zip(helper);
        let farm = farm.map(|(execution, helper)| Farm::start(&connection, execution, helper));
        let probed = probe_connection(&connection, farm, options.uploads).await;
        probed.map_err(|trouble| cannot_use(options, trouble.text))
    });
    runtime.shutdown_background();
    probed
}

async fn probe_connection(
    connection: &Arc<Connection>,
    farm: Option<Arc<Farm>>,
    uploads: bool,
) -> std::result::Result<Probed, Trouble> {
    let capabilities = connection.capabilities().await?;
    let round_trip = round_trip(connection).await?;
    let takes_objects = uploads && connection.health.takes_objects();
    let bandwidth = match takes_objects {
        true => Some(bandwidth(connection).await?),
        false => None,
    };
    let action = match farm {
        Some(farm) => Some(farm.try_out().await?),
        None => None,
    };
    Ok(Probed {
        round_trip,
        bandwidth,
        takes_objects,
        compresses: connection.packs_batches(capabilities)
            || connection.packs_streams(capabilities),
        executes: capabilities.executes,
        action,
    })
}

async fn round_trip(connection: &Connection) -> std::result::Result<Duration, Trouble> {
    let name = BlobName::of(&action::of_key(&Digest::of(b"nothing")));
    let mut times = Vec::with_capacity(CALLS);
    for _ in 0..CALLS {
        let begin = Instant::now();
        match connection.action_result(&name).await {
            Err(trouble) if trouble.kind != Ailment::Absent => return Err(trouble),
            _ => times.push(begin.elapsed()),
        }
    }
    times.sort_unstable();
    Ok(times[CALLS / 2])
}

/// Bytes in a second, there and back.
async fn bandwidth(connection: &Arc<Connection>) -> std::result::Result<(f64, f64), Trouble> {
    // No zstd makes it smaller, and no engine has it already.
    let seed = format!("{} {:?}", std::process::id(), std::time::SystemTime::now());
    let blob: Vec<u8> = (0..BLOB / 32)
        .flat_map(|number| {
            let mut hasher = Hasher::new();
            let field = hasher.field(&seed, &number.to_le_bytes());
            *field.digest().as_bytes()
        })
        .collect();
    let name = BlobName::of(&blob);
    let begin = Instant::now();
    connection.write(&[(name.clone(), &blob)]).await?;
    let there = BLOB as f64 / begin.elapsed().as_secs_f64().max(1e-9);
    let begin = Instant::now();
    // That the bytes are the same, whoever reads them checks.
    let _ = Reader::start(connection).read(&name).await?;
    let back = BLOB as f64 / begin.elapsed().as_secs_f64().max(1e-9);
    Ok((there, back))
}
