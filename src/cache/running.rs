//! Knows which builds use a cache at this moment.
//!
//! Each holds a lock on a file of its own, whose modification time says when it
//! started. A build that uses a cached file sees to it that the file's time is
//! not older than that (`Cache::touch`), so whoever prunes keeps what is not
//! older than the oldest build. This compares times of one file system with
//! each other: it needs no clock that is right.

use std::fs::{File, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::{Duration, SystemTime};

use rustix::fs::FlockOperation;
use rustix::io::Errno;
use tempfile::NamedTempFile;

use super::store;

/// Marks a running build. Dropping it ends the build, as does the end of
/// the process.
pub(super) struct Running {
    _locked: NamedTempFile,
    pub(super) started: SystemTime,
}

/// Bounds the time for which a mark counts where locks do not work.
const LONGEST_BUILD: Duration = Duration::from_secs(24 * 3600);

impl Running {
    /// Marks a build in `directory`, which must be there.
    pub(super) fn begin(directory: &Path, now: SystemTime) -> io::Result<Running> {
        loop {
            let locked = tempfile::Builder::new()
                .prefix("build-")
                // Others must be able to try the lock.
                .permissions(Permissions::from_mode(0o666))
                .tempfile_in(directory)?;
            store::set_used(locked.as_file(), now)?;
            // Where there are no locks, the age of the file has to do.
            let _ = rustix::fs::flock(locked.as_file(), FlockOperation::LockExclusive);
            let metadata = locked.as_file().metadata()?;
            // Before it was locked, somebody may have taken it for stale.
            if metadata.nlink() > 0 {
                return Ok(Running {
                    // As the file system rounds it: all times here come from
                    // there.
                    started: metadata.modified()?,
                    _locked: locked,
                });
            }
        }
    }
}

/// Says when each running build started. Removes the marks of builds that were
/// killed.
pub(super) fn builds(directory: &Path, now: SystemTime) -> io::Result<Vec<SystemTime>> {
    let mut starts = Vec::new();
    for entry in store::entries(directory)?.into_iter().flatten() {
        let path = entry?.path();
        let Ok(metadata) = path.symlink_metadata() else {
            continue;
        };
        if !metadata.is_file() {
            continue;
        }
        let started = metadata.modified()?;
        let is_running = match File::open(&path) {
            Ok(file) => match rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared) {
                Ok(()) => {
                    // The lock is still held, so that a build that has just
                    // made this file waits and sees it gone. A read-only
                    // directory keeps it.
                    let _ = store::remove(&path);
                    false
                }
                Err(Errno::WOULDBLOCK) => true,
                Err(_) => is_recent(started, now),
            },
            Err(e) if e.kind() == io::ErrorKind::NotFound => false,
            Err(_) => is_recent(started, now),
        };
        if is_running {
            starts.push(started);
        }
    }
    Ok(starts)
}

fn is_recent(started: SystemTime, now: SystemTime) -> bool {
    now.duration_since(started).unwrap_or_default() < LONGEST_BUILD
}
