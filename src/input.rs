//! Input files: each is opened and mapped once, and shared by all jobs that
//! compile it or import from it. A plan may bring some of them in memory.

use std::collections::{BTreeSet, HashMap};
use std::fs::{File, Metadata};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rayon::prelude::*;

use crate::digest::Digest;
use crate::error::{Error, Kind, Result};
use crate::plan::Plan;
use crate::sys::Mapping;

/// An input file.
pub(crate) struct InputFile {
    path: PathBuf,
    content: Content,
    /// What is read instead of the content, see [`crate::llvm::repair_index`].
    repaired: Option<Vec<u8>>,
    digest: OnceLock<Digest>,
}

/// Where its bytes are.
enum Content {
    Mapped(Mapping, Stamp),
    /// The plan has them, and they cannot change.
    Memory(Arc<[u8]>),
}

/// What tells one version of a file from another.
#[derive(PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
}

impl Stamp {
    fn of(metadata: &Metadata) -> Stamp {
        Stamp {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
        }
    }
}

impl InputFile {
    fn open(path: &Path) -> Result<InputFile> {
        let failed =
            |e| Error::new(Kind::Input, format!("cannot read `{}`", path.display())).because(e);
        let file = File::open(path).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        let map = if metadata.is_file() {
            Mapping::new(&file).map_err(failed)?
        } else if is_null_device(&metadata) {
            // The usual way to say "an empty index".
            Mapping::empty()
        } else {
            return Err(failed(std::io::Error::other("not a regular file")));
        };
        Ok(InputFile {
            path: path.to_owned(),
            content: Content::Mapped(map, Stamp::of(&metadata)),
            repaired: None,
            digest: OnceLock::new(),
        })
    }

    fn in_memory(path: &Path, bytes: &Arc<[u8]>) -> InputFile {
        InputFile {
            path: path.to_owned(),
            content: Content::Memory(Arc::clone(bytes)),
            repaired: None,
            digest: OnceLock::new(),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        self.repaired.as_deref().unwrap_or_else(|| self.found())
    }

    /// The bytes as they were found.
    fn found(&self) -> &[u8] {
        match &self.content {
            Content::Mapped(map, _) => map.bytes(),
            Content::Memory(bytes) => bytes,
        }
    }

    /// The hash of the content as it was found.
    pub(crate) fn digest(&self) -> Digest {
        *self.digest.get_or_init(|| {
            let digest = Digest::of(self.found());
            self.rest();
            digest
        })
    }

    /// Says that the content is not needed for now. It stays valid; a run over
    /// many files would otherwise keep all of them in memory.
    pub(crate) fn rest(&self) {
        if let Content::Mapped(map, _) = &self.content {
            map.release_pages();
        }
    }

    /// Fails when the file on disk is no longer the one that was mapped: what
    /// was made of it cannot be trusted then.
    pub(crate) fn check_unchanged(&self) -> Result<()> {
        let Content::Mapped(map, stamp) = &self.content else {
            return Ok(());
        };
        let now = std::fs::metadata(&self.path).map(|m| Stamp::of(&m));
        if !map.was_truncated() && now.is_ok_and(|now| now == *stamp) {
            return Ok(());
        }
        Err(Error::new(
            Kind::Input,
            format!("`{}` changed while it was being read", self.path.display()),
        )
        .hint("another process writes to it; run again when that is done"))
    }
}

/// Whether it is /dev/null, by whatever name: character device 1:3 on Linux.
pub(crate) fn is_null_device(metadata: &Metadata) -> bool {
    metadata.file_type().is_char_device() && metadata.rdev() == rustix::fs::makedev(1, 3)
}

/// Adds to `known` what `read` finds at those of `paths` that it does not have,
/// several at a time and each once.
pub(crate) fn add_missing<T: Send>(
    known: &mut HashMap<PathBuf, T>,
    paths: impl IntoIterator<Item = PathBuf>,
    read: impl Fn(&Path) -> T + Sync + Send,
) {
    let mut new: Vec<PathBuf> = paths
        .into_iter()
        .filter(|path| !known.contains_key(path))
        .collect();
    new.sort_unstable();
    new.dedup();
    known.par_extend(new.into_par_iter().map(|path| {
        let found = read(&path);
        (path, found)
    }));
}

/// All input files of a run.
#[derive(Default)]
pub(crate) struct Inputs(HashMap<PathBuf, Result<Arc<InputFile>>>);

impl Inputs {
    /// Those that `plan` brings in memory.
    pub(crate) fn of(plan: &Plan) -> Inputs {
        let directories: BTreeSet<&Path> = plan.jobs.iter().map(|job| &*job.directory).collect();
        let files = plan.files.iter().flat_map(|(name, bytes)| {
            directories.iter().map(move |directory| {
                let path = directory.join(name);
                let file = InputFile::in_memory(&path, bytes);
                (path, Ok(Arc::new(file)))
            })
        });
        Inputs(files.collect())
    }

    /// Opens those of `paths` that are not open yet. A file that cannot be
    /// opened is an error for those who ask for it.
    pub(crate) fn open(&mut self, paths: impl IntoIterator<Item = PathBuf>) {
        add_missing(&mut self.0, paths, |path| {
            InputFile::open(path).map(Arc::new)
        });
    }

    /// Has the open file at `path`, which nobody else holds yet, read as what
    /// `repair` makes of its bytes, if it makes anything of them.
    pub(crate) fn repair(&mut self, path: &Path, repair: impl FnOnce(&[u8]) -> Option<Vec<u8>>) {
        if let Some(Ok(file)) = self.0.get_mut(path)
            && let Some(file) = Arc::get_mut(file)
        {
            file.repaired = repair(file.found());
        }
    }

    /// The open file at `path`.
    pub(crate) fn get(&self, path: &Path) -> Result<&Arc<InputFile>> {
        match self.0.get(path) {
            Some(Ok(file)) => Ok(file),
            Some(Err(e)) => Err(e.clone()),
            None => Err(Error::new(
                Kind::Input,
                format!("`{}` was not opened", path.display()),
            )),
        }
    }
}
