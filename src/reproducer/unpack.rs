//! Reading an archive, which may come from anybody.

use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use ruzstd::decoding::StreamingDecoder;
use tar::EntryType;

use super::{DESCRIPTION, Description, FORMAT};
use crate::error::{Error, Kind, Result};
use crate::files;
use crate::plan::{CompilerCommand, Job, Plan};

/// A reproducer that was unpacked.
#[derive(Debug)]
pub struct Reproducer {
    top: PathBuf,
    description: Description,
}

impl Reproducer {
    /// Unpacks the `archive` into the directory `into`, which must exist: nothing is
    /// written anywhere else.
    ///
    /// # Errors
    /// [`Kind::Input`] when it cannot be read or is damaged, [`Kind::Output`] when
    /// `into` cannot be written to.
    pub fn unpack(archive: &Path, into: &Path) -> Result<Reproducer> {
        let top = unpack(archive, into).map_err(|e| {
            let text = format!("cannot unpack `{}`", archive.display());
            Error::new(Kind::Input, text)
                .because(e)
                .hint("it should be a file `backlto-repro-NAME.tar.zst`, as backlto writes them")
        })?;
        Reproducer::open(&top)
    }

    /// Opens the reproducer that was unpacked to `directory`.
    ///
    /// # Errors
    /// [`Kind::Input`] when there is none.
    pub fn open(directory: &Path) -> Result<Reproducer> {
        let failed = || {
            let text = format!("`{}` is no reproducer", directory.display());
            Error::new(Kind::Input, text)
        };
        let top = std::path::absolute(directory).map_err(|e| failed().because(e))?;
        let text = files::read(&top.join(DESCRIPTION)).map_err(|e| failed().because(e))?;
        let description: Description =
            serde_json::from_slice(&text).map_err(|e| failed().because(e))?;
        let inside = |name: &str| is_inside(Path::new(name));
        if description.format != FORMAT {
            let reason = format!("its format is {}, not {FORMAT}", description.format);
            return Err(failed()
                .because(reason)
                .hint("use the backlto that has written it"));
        }
        let output = Path::new(&description.directory).join(&description.output);
        if !inside(&description.directory)
            || !stays_inside(&output)
            || !description.absolute.iter().all(|(_, place)| inside(place))
        {
            return Err(failed().because("it names a file outside of it"));
        }
        Ok(Reproducer { top, description })
    }

    /// Gives the plan that compiles it. The object goes below the directory that it
    /// was unpacked to.
    ///
    /// # Errors
    /// [`Kind::Input`] when a file is missing.
    pub fn plan(&self) -> Result<Plan> {
        let description = &self.description;
        let in_memory = |(name, place): &(String, String)| {
            let path = self.top.join(place);
            let bytes = files::read(&path).map_err(|e| {
                Error::new(Kind::Input, format!("cannot read `{}`", path.display())).because(e)
            })?;
            Ok((PathBuf::from(name), Arc::from(bytes)))
        };
        Ok(Plan {
            jobs: vec![Job {
                directory: self.directory(),
                module: description.module.clone(),
                index: description.index.clone(),
                output: description.output.clone(),
                command: CompilerCommand::Exact(self.command_line().into()),
                post: None,
            }],
            files: description
                .absolute
                .iter()
                .map(in_memory)
                .collect::<Result<_>>()?,
            ..Plan::default()
        })
    }

    /// Gives clang's command line, compiler first, to be run in
    /// [`Reproducer::directory`].
    pub fn command_line(&self) -> &[String] {
        &self.description.command
    }

    /// Gives the directory where the command line holds.
    pub fn directory(&self) -> PathBuf {
        self.top.join(&self.description.directory)
    }

    /// Gives the path of the object.
    pub fn output(&self) -> PathBuf {
        self.directory().join(&self.description.output)
    }

    /// Lists the modules that clang would read elsewhere, by the names that the
    /// index has, each with its copy here; but for those that are the same.
    pub fn missing_for_clang(&self) -> Vec<(PathBuf, PathBuf)> {
        let absolute = self.description.absolute.iter();
        let paths = absolute.map(|(name, place)| (PathBuf::from(name), self.top.join(place)));
        paths
            .filter(|(name, copy)| {
                let (there, here) = (files::read(name), files::read(copy));
                !matches!((there, here), (Ok(there), Ok(here)) if there == here)
            })
            .collect()
    }

    /// Says in a line what it is of, and what happened.
    pub fn summary(&self) -> String {
        let Description {
            module,
            backlto,
            llvm,
            failure,
            ..
        } = &self.description;
        let what = failure.as_deref().unwrap_or("it was compiled");
        format!("`{module}` by backlto {backlto} (LLVM {llvm}): {what}")
    }
}

/// Unpacks `archive` and returns the one directory at its top.
fn unpack(archive: &Path, into: &Path) -> io::Result<PathBuf> {
    let archive = files::read(archive)?;
    let decoder = StreamingDecoder::new(&archive[..]).map_err(io::Error::other)?;
    let mut tar = tar::Archive::new(decoder);
    let mut top: Option<PathBuf> = None;
    for entry in tar.entries()? {
        let mut entry = entry?;
        let path = entry.path()?.into_owned();
        let wrong = |what: &str| io::Error::other(format!("`{}` {what}", path.display()));
        if !matches!(
            entry.header().entry_type(),
            EntryType::Regular | EntryType::Directory
        ) {
            return Err(wrong("is neither a file nor a directory"));
        }
        // With no links among them, names alone decide where files are.
        if !is_inside(&path) || !entry.unpack_in(into)? {
            return Err(wrong("would be outside"));
        }
        let first = path.components().next();
        top = top.or(first.map(|first| into.join(first)));
    }
    top.ok_or_else(|| io::Error::other("nothing is in it"))
}

/// Whether `path`, which may turn back, never leaves the directory where it starts.
fn stays_inside(path: &Path) -> bool {
    let mut level = 0_usize;
    path.components().all(|part| match part {
        Component::Normal(_) => {
            level += 1;
            true
        }
        Component::CurDir => true,
        Component::ParentDir if level > 0 => {
            level -= 1;
            true
        }
        _ => false,
    })
}

/// Whether `path` leads below where it starts, step by step.
fn is_inside(path: &Path) -> bool {
    let mut components = path.components().peekable();
    components.peek().is_some() && components.all(|part| matches!(part, Component::Normal(_)))
}
