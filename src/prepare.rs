//! Checks a plan against its files before any work starts, and finds out what
//! each job reads.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rayon::prelude::*;

use crate::audit::Audit;
use crate::cache::Cache;
use crate::dependency::Dependency;
use crate::elsewhere::{Elsewhere, Question};
use crate::error::{Error, Errors, Kind, Result};
use crate::files::{Files, InputFile};
use crate::flags::MappedFlags;
use crate::llvm::{self, ModuleHash, ModuleInfo, SummaryIndex};
use crate::memory;
use crate::plan::{Job, Plan};
use crate::reproducer::Reproducers;

/// A job with everything it reads at hand.
#[derive(Clone)]
pub(crate) struct Task {
    /// The job's place in the plan.
    pub(crate) number: usize,
    pub(crate) job: Job,
    pub(crate) flags: Arc<MappedFlags>,
    pub(crate) module: Arc<InputFile>,
    pub(crate) index: Option<Arc<InputFile>>,
    /// The modules imported from, under the names that the index has.
    pub(crate) imports: Vec<(String, Arc<InputFile>)>,
    /// All that the run has opened.
    pub(crate) files: Files,
    /// An estimate of the work: IR instructions, or microseconds for all tasks of a run
    /// of some of which it is known how long they took.
    pub(crate) cost: u64,
    /// An estimate of how long its compile takes.
    pub(crate) time: Duration,
    /// An estimate of the memory that it takes, in bytes.
    pub(crate) memory: u64,
    /// Whether jobs wait for memory, so that none is to be held on to.
    pub(crate) memory_is_short: bool,
    pub(crate) cache: Option<Arc<Cache>>,
    pub(crate) cache_use: CacheUse,
    /// The audit that it is drawn by: see [`crate::Options::audit`].
    pub(crate) audit: Option<Arc<Audit>>,
    /// What its object, which is up to date, is made of by the record, if it is there
    /// for the audit alone.
    pub(crate) recorded: Option<Vec<Dependency>>,
    /// A cache on another machine.
    pub(crate) elsewhere: Option<Arc<dyn Elsewhere>>,
    /// What that one was asked for.
    pub(crate) asked: Option<Arc<Question>>,
    /// See [`Plan::transient`].
    pub(crate) transient: bool,
    /// See [`crate::Options::time_trace`].
    pub(crate) time_trace: bool,
    /// See [`Plan::in_memory`].
    pub(crate) in_memory: bool,
    /// Where a reproducer goes, if it crashes LLVM.
    pub(crate) reproducers: Option<Arc<Reproducers>>,
    /// Whether there is to be a reproducer in any case.
    pub(crate) is_to_be_saved: bool,
}

/// The number of each of `tasks`, and its estimated work.
pub(crate) fn work_of(tasks: &[Task]) -> Vec<(usize, u64)> {
    tasks.iter().map(|task| (task.number, task.cost)).collect()
}

/// How far a task uses its cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CacheUse {
    /// Objects come out of it and go into it.
    Full,
    /// The keys are made, and nothing is done with them.
    KeysOnly,
}

impl Task {
    /// Every file that the result depends on.
    pub(crate) fn files(&self) -> impl Iterator<Item = &InputFile> {
        [&self.module]
            .into_iter()
            .chain(&self.index)
            .chain(self.imports.iter().map(|(_, file)| file))
            .map(|file| &**file)
    }
}

/// What an index asks for.
struct Index {
    /// The hash that its own module should have.
    own: ModuleHash,
    /// Every module it names but its own, with the hashes they should have.
    imports: Vec<(String, ModuleHash)>,
    instructions: u64,
}

/// Opens every input of the jobs `numbers` of `plan` and checks that they fit
/// together; every problem found is reported, each once.
pub(crate) fn prepare(
    plan: &Plan,
    numbers: &[usize],
    flags: &[Arc<MappedFlags>],
    cache: Option<&Arc<Cache>>,
    files: &Files,
) -> std::result::Result<Vec<Task>, Errors> {
    let jobs: Vec<&Job> = numbers.iter().map(|number| &plan.jobs[*number]).collect();
    repair_indexes(plan, &jobs, files);
    let indexes: Vec<Result<Index>> = jobs.par_iter().map(|job| read_index(job, files)).collect();
    let modules = Modules::read(&jobs, &indexes, files);

    let tasks: Vec<Result<Task>> = jobs
        .par_iter()
        .zip(numbers)
        .zip(indexes)
        .map(|((job, number), index)| {
            let mut task = check_job(*number, job, index?, &flags[*number], files, &modules)?;
            task.cache = cache.cloned();
            task.transient = plan.transient;
            task.in_memory = plan.in_memory;
            Ok(task)
        })
        .collect();
    let mut ready = Vec::with_capacity(tasks.len());
    let mut errors = Vec::new();
    for task in tasks {
        match task {
            Ok(task) => ready.push(task),
            Err(e) => errors.push(e),
        }
    }
    // One damaged module fails every job that imports from it: say it once.
    let mut said = std::collections::HashSet::new();
    errors.retain(|e| said.insert(e.to_string()));
    Errors::of(errors).map_or(Ok(ready), Err)
}

/// An error for each pair of jobs that would write one object.
pub(crate) fn duplicate_outputs(plan: &Plan) -> Option<Errors> {
    // One file has several spellings: `x.o`, `./x.o`, by way of a link.
    let mut directories: HashMap<PathBuf, PathBuf> = HashMap::new();
    let mut place = |path: PathBuf| match (path.parent(), path.file_name()) {
        (Some(directory), Some(name)) => directories
            .entry(directory.to_owned())
            .or_insert_with(|| directory.canonicalize().unwrap_or(directory.to_owned()))
            .join(name),
        _ => path,
    };
    let mut writers: HashMap<PathBuf, &Job> = HashMap::new();
    let mut errors = Vec::new();
    for job in &plan.jobs {
        if let Some(other) = writers.insert(place(job.output_path()), job) {
            errors.push(Error::new(
                Kind::Plan,
                format!(
                    "both `{}` and `{}` would be compiled to `{}`",
                    other.module_path().display(),
                    job.module_path().display(),
                    job.output_path().display()
                ),
            ));
        }
    }
    Errors::of(errors)
}

/// Puts the paths of modules into the indexes of `jobs` where LLVM has spoilt them,
/// which it does to those that are not ASCII.
fn repair_indexes(plan: &Plan, jobs: &[&Job], files: &Files) {
    let spoilt: Vec<&Job> = plan
        .jobs
        .iter()
        .filter(|job| !job.module.is_ascii())
        .collect();
    if spoilt.is_empty() {
        return;
    }
    let found = spoilt.par_iter().filter_map(|job| {
        let file = files.get(&job.module_path()).ok()?;
        let info = llvm::read_module_info(&job.module, file.bytes()).ok()?;
        Some((&*job.module, info.hash?))
    });
    let modules: BTreeSet<(&str, ModuleHash)> = found.collect();
    let modules: Vec<_> = modules.into_iter().collect();
    jobs.par_iter().for_each(|job| {
        let index = job.index_path().and_then(|path| files.get(&path).ok());
        if let Some(index) = index {
            index.repair(|bytes| llvm::repair_index(bytes, &modules));
        }
    });
}

fn read_index(job: &Job, files: &Files) -> Result<Index> {
    let nothing = |instructions| Index {
        own: ModuleHash::default(),
        imports: Vec::new(),
        instructions,
    };
    // Without an index the module's size is all there is to go by.
    let guess = || {
        files
            .get(&job.module_path())
            .map_or(0, |m| m.bytes().len() as u64 / 16)
    };
    let Some(path) = job.index_path() else {
        return Ok(nothing(guess()));
    };
    let file = files.get(&path)?;
    if file.bytes().is_empty() {
        return Ok(nothing(guess()));
    }
    let describe = |message: &str| {
        Error::new(
            Kind::Input,
            format!("summary index `{}` {message}", path.display()),
        )
    };
    let name = job.index.as_deref().unwrap_or_default();
    // The index of a newer LLVM does not say what it is, its module does.
    let newer = || {
        let path = job.module_path();
        let module = files.get(&path).ok()?;
        let info = llvm::read_module_info(&job.module, module.bytes()).ok()?;
        too_new(&path, &info)
    };
    let index = SummaryIndex::read(name, file.bytes()).map_err(|reason| {
        newer().unwrap_or_else(|| {
            describe("is damaged or not a summary index")
                .because(reason)
                .hint("run the thin link again")
        })
    })?;
    if index.skips_module() {
        return Ok(nothing(0));
    }
    let mut imports = index.modules();
    let Some(own) = imports.iter().position(|(path, _)| *path == job.module) else {
        let about = match imports.first() {
            Some((first, _)) => format!("it knows `{first}`"),
            None => "it knows no module".to_owned(),
        };
        return Err(describe(&format!("is not that of module `{}`", job.module))
            .because(about)
            .hint("name the module as the thin link was given it, or run that again"));
    };
    let (_, own) = imports.remove(own);
    Ok(Index {
        own,
        imports,
        instructions: index.instructions(),
    })
}

/// What each distinct bitcode file says of itself.
struct Modules(HashMap<PathBuf, Result<ModuleInfo>>);

impl Modules {
    fn read(jobs: &[&Job], indexes: &[Result<Index>], files: &Files) -> Modules {
        let mut paths: Vec<PathBuf> = jobs.iter().map(|job| job.module_path()).collect();
        for (job, index) in jobs.iter().zip(indexes) {
            let imports = index.as_ref().map_or(&[][..], |index| &index.imports);
            paths.extend(imports.iter().map(|(name, _)| job.resolve(name)));
        }
        paths.sort_unstable();
        paths.dedup();
        Modules(
            paths
                .into_par_iter()
                .map(|path| {
                    let info = read_module(&path, files);
                    (path, info)
                })
                .collect(),
        )
    }

    fn get(&self, path: &Path) -> Result<&ModuleInfo> {
        match self.0.get(path) {
            Some(Ok(info)) => Ok(info),
            Some(Err(e)) => Err(e.clone()),
            None => unreachable!("every module and import of the plan was read"),
        }
    }
}

fn read_module(path: &Path, files: &Files) -> Result<ModuleInfo> {
    let file = files.get(path)?;
    let describe =
        |message: &str| Error::new(Kind::Input, format!("`{}` {message}", path.display()));
    check_is_bitcode(file.bytes()).map_err(|what| describe(&what))?;
    let info = llvm::read_module_info(&path.to_string_lossy(), file.bytes())
        .map_err(|reason| describe("is damaged bitcode").because(reason))?;
    file.release_memory();
    if !info.intact {
        return Err(describe("is damaged bitcode")
            .because("its content does not have the hash that it carries")
            .hint("compile it again"));
    }
    match too_new(path, &info) {
        Some(error) => Err(error),
        None => Ok(info),
    }
}

/// What is wrong with the module at `path` if a newer LLVM has written it.
fn too_new(path: &Path, info: &ModuleInfo) -> Option<Error> {
    let major = |version: &str| {
        let digits: String = version.chars().take_while(char::is_ascii_digit).collect();
        digits.parse::<u32>().ok()
    };
    let written_by = info.producer.strip_prefix("LLVM").and_then(major);
    (written_by > major(llvm::BUILT_VERSION)).then(|| {
        let text = format!(
            "`{}` was written by {}, newer than the LLVM {} that backlto is built with",
            path.display(),
            info.producer,
            llvm::BUILT_VERSION
        );
        Error::new(Kind::Input, text)
            .hint("use a backlto for that LLVM, or compile with an older one")
    })
}

/// Raw bitcode and its wrapper start with a magic number (see
/// `llvm/Bitcode/BitcodeReader.h`).
fn check_is_bitcode(bytes: &[u8]) -> std::result::Result<(), String> {
    let is = |magic: &[u8]| bytes.starts_with(magic);
    if is(b"BC\xC0\xDE") || is(b"\xDE\xC0\x17\x0B") {
        return Ok(());
    }
    let what = if bytes.is_empty() {
        "it is empty"
    } else if is(b"\x7fELF") {
        "it is a native ELF file"
    } else if is(b"!<arch>\n") || is(b"!<thin>\n") {
        "it is an archive"
    } else {
        "it starts with other bytes"
    };
    Err(format!("is not LLVM bitcode: {what}"))
}

fn check_job(
    number: usize,
    job: &Job,
    index: Index,
    flags: &Arc<MappedFlags>,
    files: &Files,
    modules: &Modules,
) -> Result<Task> {
    let info = modules.get(&job.module_path())?;
    let arch = llvm::arch_name(&info.triple);
    if !info.triple.is_empty() && arch != flags.arch {
        return Err(Error::new(
            Kind::Input,
            format!(
                "`{}` is bitcode for {arch}, but its flags compile for {}",
                job.module_path().display(),
                flags.arch
            ),
        )
        .hint("add the `--target=` that the module was compiled with"));
    }
    check_hash(info, &index.own, &job.module_path(), job)?;
    let mut imports = Vec::with_capacity(index.imports.len());
    for (name, hash) in index.imports {
        let path = job.resolve(&name);
        let file = files
            .get(&path)
            .map_err(|e| e.hint(format!("`{}` imports from it", job.module_path().display())))?;
        check_hash(modules.get(&path)?, &hash, &path, job)?;
        imports.push((name, file));
    }
    let module = files.get(&job.module_path())?;
    let imported = imports.iter().map(|(_, file)| file.bytes().len()).sum();
    Ok(Task {
        number,
        job: job.clone(),
        flags: Arc::clone(flags),
        memory: memory::estimate(module.bytes().len(), imported, index.instructions),
        module,
        index: job.index_path().map(|path| files.get(&path)).transpose()?,
        imports,
        files: files.clone(),
        cost: index.instructions,
        time: Duration::ZERO,
        memory_is_short: false,
        cache: None,
        cache_use: CacheUse::Full,
        audit: None,
        recorded: None,
        elsewhere: None,
        asked: None,
        transient: false,
        time_trace: false,
        in_memory: false,
        reproducers: None,
        is_to_be_saved: false,
    })
}

/// The thin link records the hash of each module it has seen; a module that
/// has another one by now would be compiled against the wrong summary.
fn check_hash(info: &ModuleInfo, expected: &ModuleHash, path: &Path, job: &Job) -> Result<()> {
    let recorded = *expected != ModuleHash::default();
    if !recorded || info.hash == Some(*expected) {
        return Ok(());
    }
    Err(Error::new(
        Kind::Input,
        format!(
            "`{}` changed after the thin link that wrote `{}`",
            path.display(),
            job.index_path().unwrap_or_default().display()
        ),
    )
    .hint("run the thin link again"))
}
