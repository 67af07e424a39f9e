//! A plan says which modules to compile, and into what. It is plain data, from
//! whoever knows.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{Error, Kind, Result};

/// Backend compiles that belong to one run.
///
/// More fields may come: write `..Plan::default()`. [`Plan::in_memory`] makes a
/// plan over modules that are in memory.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// The compiles. Reports follow this order, whatever order they run in.
    pub jobs: Vec<Job>,
    /// Says that objects are read once and removed, as those of a link that LLD
    /// runs are: then they may share their file with the cache.
    pub transient: bool,
    /// Bitcode and indexes that stand before those on disk, by the names that
    /// jobs and indexes have for them. A relative name starts at the directory
    /// of each job.
    pub files: BTreeMap<PathBuf, Arc<[u8]>>,
    /// Says that objects are not written: [`JobReport::object`](crate::JobReport)
    /// has them. Other outputs that the flags ask for still go to disk.
    pub in_memory: bool,
}

impl Plan {
    /// The plan with all directories absolute: a thread that has done a job is in the
    /// directory of that job.
    ///
    /// # Errors
    /// When there are relative ones, and no directory in which they start.
    pub(crate) fn with_absolute_directories(&self) -> Result<Cow<'_, Plan>> {
        if self.jobs.iter().all(|job| job.directory.is_absolute()) {
            return Ok(Cow::Borrowed(self));
        }
        let here = std::env::current_dir().map_err(|e| {
            Error::new(Kind::Environment, "cannot find the working directory").because(e)
        })?;
        let mut plan = self.clone();
        for job in &mut plan.jobs {
            job.directory = here.join(&job.directory);
        }
        Ok(Cow::Owned(plan))
    }
}

/// One module to compile.
///
/// More fields may come: write `..Job::new(module, command)`.
///
/// ```
/// use backlto::{CompilerCommand, Job};
///
/// let command = CompilerCommand::flags(["clang", "-O2"]);
/// let job = Job {
///     directory: "/src/hello".into(),
///     ..Job::new("main.o", command)
/// };
/// let line = "clang -O2 -x ir -fthinlto-index=main.o.thinlto.bc -c -o main.o.native.o main.o";
/// assert_eq!(job.command_line().join(" "), line);
/// ```
#[derive(Clone, Debug)]
pub struct Job {
    /// The directory where the thin link ran: relative paths below, in the flags
    /// and in the index start here. If it is relative itself, it starts where the
    /// process is when the run begins.
    pub directory: PathBuf,
    /// The bitcode file, spelled as the thin link was given it: the index
    /// knows the module by this name.
    pub module: String,
    /// The summary index of this module. An empty file means "compile without
    /// ThinLTO", as `None` does.
    pub index: Option<String>,
    /// The object to write.
    pub output: String,
    /// The compiler's command line.
    pub command: CompilerCommand,
    /// A program to run on the finished object before it gets its name, with
    /// its arguments; `{}` in them stands for the path that the object has
    /// meanwhile. It may change the object; when it fails, the job fails.
    pub post: Option<Arc<[String]>>,
}

/// A clang command line. [`CodegenOptions`](crate::CodegenOptions) can be turned
/// into one where there are no flags.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum CompilerCommand {
    /// The compiler's name and flags. What names the job's files is added:
    /// `-x ir -fthinlto-index=… -c -o …`.
    Flags(Arc<[String]>),
    /// The whole command line, compiler and files included.
    Exact(Arc<[String]>),
}

impl CompilerCommand {
    /// Makes [`CompilerCommand::Flags`] of `words`: the compiler's name, then its
    /// flags.
    pub fn flags<S: Into<String>>(words: impl IntoIterator<Item = S>) -> CompilerCommand {
        CompilerCommand::Flags(words.into_iter().map(Into::into).collect())
    }
}

impl Job {
    /// Makes the job that compiles `module` with the index `MODULE.thinlto.bc` to
    /// `MODULE.native.o`, in the directory that the process is in now.
    pub fn new(module: impl Into<String>, command: CompilerCommand) -> Job {
        let module = module.into();
        Job {
            // Wherever that is, it is a directory that a worker can enter.
            directory: std::env::current_dir().unwrap_or_else(|_| "/".into()),
            index: Some(format!("{module}.thinlto.bc")),
            output: format!("{module}.native.o"),
            module,
            command,
            post: None,
        }
    }

    /// Gives the clang command line that this job stands for, a word each.
    pub fn command_line(&self) -> Vec<String> {
        match &self.command {
            CompilerCommand::Exact(args) => args.to_vec(),
            CompilerCommand::Flags(flags) => {
                command_line(flags, &self.module, self.index.as_deref(), &self.output)
            }
        }
    }

    /// Gives the module's path, absolute when [`Job::directory`] is.
    pub fn module_path(&self) -> PathBuf {
        self.directory.join(&self.module)
    }

    /// Gives the index's path, absolute when [`Job::directory`] is.
    pub fn index_path(&self) -> Option<PathBuf> {
        self.index.as_ref().map(|index| self.directory.join(index))
    }

    /// Gives the object's path, absolute when [`Job::directory`] is.
    pub fn output_path(&self) -> PathBuf {
        self.directory.join(&self.output)
    }

    /// Gives the path of another file that the index or the flags name.
    pub(crate) fn resolve(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }
}

/// Adds to `flags` what names the files of one job.
pub(crate) fn command_line(
    flags: &[String],
    module: &str,
    index: Option<&str>,
    output: &str,
) -> Vec<String> {
    let mut args = flags.to_vec();
    args.extend(["-x".to_owned(), "ir".to_owned()]);
    args.extend(index.map(|index| format!("-fthinlto-index={index}")));
    args.extend(["-c", "-o", output, module].map(str::to_owned));
    args
}

/// Spells `path` below `directory` as the user would.
pub(crate) fn display_path(directory: &Path, path: &str) -> String {
    match std::env::current_dir() {
        Ok(here) if here == directory => path.to_owned(),
        _ => directory.join(path).display().to_string(),
    }
}
