//! `backlto run PLAN.json`: whole programs from a description, for build tools
//! of any kind and for cross compilation. All programs share one pool.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;

use crate::arch;
use crate::linker::{Linker, index_name, native_name, read_index_list};
use crate::session::{About, Outcome, Session, Settings, absolute, keep_record, lock};
use crate::tools::CLANG;
use backlto::error::{Error, Kind, Result};
use backlto::files::{self, Files};
use backlto::incremental::Record;
use backlto::{CompilerCommand, Job, Plan};

/// Ends the name of the record of a plan, which starts with a dot and the plan's.
pub(crate) const RECORD_SUFFIX: &str = ".backlto";

/// What `PLAN.json` holds.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PlanFile {
    programs: Vec<Program>,
}

/// One program, from bitcode to executable.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Program {
    /// What messages call it.
    name: String,
    /// All paths below start here; itself relative to the description.
    directory: PathBuf,
    /// clang's flags for the backends. The compiler's name is not among them.
    flags: Vec<String>,
    /// Objects in link order, bitcode and native mixed.
    inputs: Vec<String>,
    /// ld.lld's flags for the thin link.
    #[serde(default)]
    thin_link: Vec<String>,
    /// ld.lld's flags for the final link.
    #[serde(default)]
    link: Vec<String>,
    /// The file that the final link writes.
    output: String,
}

/// Thin-links, compiles and links every program that the file at `path`
/// describes; of `arches` only, when some are given.
///
/// # Errors
/// When a stage fails. Programs are only linked when all backends succeeded.
pub(crate) fn run(path: &Path, arches: &[String], settings: &Settings) -> Outcome {
    let programs = select(read(path)?, arches)?;
    if programs.is_empty() {
        let text = format!("`{}` describes no program", path.display());
        return Err(Error::new(Kind::Plan, text)
            .hint("name at least one below `programs`")
            .into());
    }
    let linker = settings.find_linker()?;
    let session = Session::new(settings)?;
    let _alone = lock(programs.iter().map(|program| program.directory.as_path()))?;
    let outcome = build(path, &programs, &linker, &session);
    session.finish();
    outcome
}

/// Does all stages of `programs`, which the plan at `path` describes.
///
/// # Errors
/// When a stage fails.
fn build(path: &Path, programs: &[Program], linker: &Linker, session: &Session) -> Outcome {
    let mut plan = Plan::default();
    let mut native_inputs = Vec::new();
    for program in programs {
        session.reporter.step("INDEX", &program.name);
        let bitcode = thin_link(program, linker, session)?;
        let flags = program.compiler_and_flags();
        let mut objects = Vec::new();
        for input in &program.inputs {
            if bitcode.contains(input) {
                plan.jobs.push(program.job(input, &flags));
                objects.push(native_name(input));
            } else {
                objects.push(input.clone());
            }
        }
        native_inputs.push(objects);
    }
    let record_path = record_path(path)?;
    let mut record = Record::read(&record_path);
    let label = |job: &Job| {
        let directory = job.directory.file_name().unwrap_or_default();
        Path::new(directory).join(&job.output).display().to_string()
    };
    let about = About {
        group: None,
        label: &label,
        record: Some(&record_path),
    };
    let backends = session.run_backends(&plan, &mut record, &Files::default(), &about);
    keep_record(&record, &record_path);
    backends?;
    for (program, objects) in programs.iter().zip(native_inputs) {
        session
            .reporter
            .step("LD", &format!("{}/{}", program.name, program.output));
        let mut args = program.link.clone();
        args.extend(["-o".to_owned(), program.output.clone()]);
        args.extend(objects);
        session.link(linker, &program.directory, &args, "the final link")?;
    }
    Ok(())
}

/// The path of the record of what the programs of the plan at `path` are made of:
/// beside it.
pub(crate) fn record_path(path: &Path) -> Result<PathBuf> {
    let path = absolute(path)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    Ok(path.with_file_name(format!(".{name}{RECORD_SUFFIX}")))
}

/// The job that makes `object`, an absolute path, by the plan at `path`; `None` when none
/// does.
///
/// # Errors
/// When the plan cannot be read.
pub(crate) fn job_of(path: &Path, object: &Path) -> Result<Option<Job>> {
    let jobs = read(path)?.into_iter().flat_map(|program| {
        let flags = program.compiler_and_flags();
        let job = |input: &String| program.job(input, &flags);
        program.inputs.iter().map(job).collect::<Vec<_>>()
    });
    let same = |job: &Job| std::path::absolute(job.output_path()).is_ok_and(|path| path == object);
    let mut jobs = jobs.filter(|job| same(job) || job.output_path() == object);
    Ok(jobs.next())
}

impl Program {
    /// What each backend is called with: the compiler's name, then the flags.
    fn compiler_and_flags(&self) -> Arc<[String]> {
        let compiler = std::iter::once(CLANG.to_owned());
        compiler.chain(self.flags.iter().cloned()).collect()
    }

    /// The backend of `input`, with `flags` that are those of
    /// [`Program::compiler_and_flags`].
    fn job(&self, input: &str, flags: &Arc<[String]>) -> Job {
        Job {
            directory: self.directory.clone(),
            module: input.to_owned(),
            index: Some(index_name(input)),
            output: native_name(input),
            command: CompilerCommand::Flags(Arc::clone(flags)),
            post: None,
        }
    }
}

/// Reads the programs of the plan at `path`.
pub(crate) fn read(path: &Path) -> Result<Vec<Program>> {
    let failed = || {
        Error::new(
            Kind::Input,
            format!("cannot read plan `{}`", path.display()),
        )
    };
    let text = files::read_text(path).map_err(|e| failed().because(e))?;
    let plan: PlanFile = serde_json::from_str(&text).map_err(|e| failed().because(e))?;
    let base = absolute(path)?;
    let base = base.parent().unwrap_or(Path::new("/"));
    let mut programs = plan.programs;
    for program in &mut programs {
        program.directory = base.join(&program.directory);
    }
    Ok(programs)
}

/// Picks the programs that are for one of `arches`; all, when none is given.
fn select(programs: Vec<Program>, arches: &[String]) -> Result<Vec<Program>> {
    if arches.is_empty() {
        return Ok(programs);
    }
    let targets = |program: &Program| {
        let triple = program
            .flags
            .iter()
            .rev()
            .find_map(|flag| flag.strip_prefix("--target="));
        // Without a target, clang compiles for the machine it runs on.
        let name = triple.map_or(std::env::consts::ARCH, |triple| {
            triple.split('-').next().unwrap_or_default()
        });
        arch::canonical(name).to_owned()
    };
    let known: Vec<String> = programs.iter().map(targets).collect();
    for name in arches {
        if !known.iter().any(|known| known == arch::canonical(name)) {
            return Err(Error::new(
                Kind::Plan,
                format!("no program of the plan is for architecture `{name}`"),
            )
            .hint(format!("it has programs for {}", known.join(", "))));
        }
    }
    Ok(programs
        .into_iter()
        .zip(&known)
        .filter(|(_, known)| arches.iter().any(|name| arch::canonical(name) == *known))
        .map(|(program, _)| program)
        .collect())
}

/// Writes the summary indexes of `program` and returns which of its inputs
/// are bitcode.
fn thin_link(program: &Program, linker: &Linker, session: &Session) -> Result<Vec<String>> {
    let list = format!("{}.thinlto-index", program.output);
    let mut args = program.thin_link.clone();
    args.push(format!("--thinlto-index-only={list}"));
    args.extend(["-o".to_owned(), program.output.clone()]);
    args.extend(program.inputs.iter().cloned());
    session.link(linker, &program.directory, &args, "the thin link")?;
    read_index_list(&program.directory.join(&list))
}
