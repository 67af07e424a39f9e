//! The plan: which modules to compile, and into what. Plain data, from any
//! front door.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Backend compiles that belong to one run.
///
/// More fields may come: write `..Plan::default()`.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// Reports follow this order, whatever order the jobs run in.
    pub jobs: Vec<Job>,
    /// The objects are read once and removed, as those of a link that LLD runs
    /// are: they may share their file with the cache.
    pub transient: bool,
    /// Bitcode and indexes that stand before those on disk, by the names that
    /// jobs and indexes have for them. A relative name starts at the directory
    /// of each job.
    pub files: BTreeMap<PathBuf, Arc<[u8]>>,
    /// The objects are not written: [`JobReport::object`](crate::JobReport) has
    /// them. Other outputs that the flags ask for still go to disk.
    pub in_memory: bool,
}

/// One module to compile.
///
/// More fields may come: write `..Job::new(module, command)`.
#[derive(Clone, Debug)]
pub struct Job {
    /// Where the thin link ran: relative paths below, in the flags and in the
    /// index start here.
    pub directory: PathBuf,
    /// The bitcode file, spelled as the thin link was given it: the index
    /// knows the module by this name.
    pub module: String,
    /// The summary index of this module. An empty file means "compile without
    /// ThinLTO".
    pub index: Option<String>,
    /// The object to write.
    pub output: String,
    /// How to compile.
    pub command: Command,
    /// A program to run on the finished object before it gets its name, with
    /// its arguments; `{}` in them stands for the path that the object has
    /// meanwhile. It may change the object; when it fails, the job fails.
    pub post: Option<Arc<[String]>>,
}

/// A clang command line. [`CodegenOptions`](crate::CodegenOptions) make one
/// for those who have none.
#[derive(Clone, Debug)]
pub enum Command {
    /// The compiler's name and flags. What names the job's files is added:
    /// `-x ir -fthinlto-index=… -c -o …`.
    Flags(Arc<[String]>),
    /// The whole command line, compiler and files included.
    Exact(Arc<[String]>),
}

impl Job {
    /// The job that compiles `module` with the index `MODULE.thinlto.bc` to
    /// `MODULE.native.o`, in the directory that the process is in now.
    pub fn new(module: impl Into<String>, command: Command) -> Job {
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

    /// The clang command line that this job stands for.
    pub fn command_line(&self) -> Vec<String> {
        match &self.command {
            Command::Exact(args) => args.to_vec(),
            Command::Flags(flags) => {
                command_line(flags, &self.module, self.index.as_deref(), &self.output)
            }
        }
    }

    /// The module's path, absolute when [`Job::directory`] is.
    pub fn module_path(&self) -> PathBuf {
        self.directory.join(&self.module)
    }

    /// The index's path.
    pub fn index_path(&self) -> Option<PathBuf> {
        self.index.as_ref().map(|index| self.directory.join(index))
    }

    /// The object's path.
    pub fn output_path(&self) -> PathBuf {
        self.directory.join(&self.output)
    }

    /// The path of another file that the index or the flags name.
    pub(crate) fn resolve(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }
}

/// `flags` plus what names the files of one job.
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

/// `path` below `directory` as the user would write it.
pub(crate) fn display_path(directory: &Path, path: &str) -> String {
    match std::env::current_dir() {
        Ok(here) if here == directory => path.to_owned(),
        _ => directory.join(path).display().to_string(),
    }
}
