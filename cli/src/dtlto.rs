//! The backends that ld.lld hands over from a link that it runs itself. LLD calls
//! the program that takes them a distributor, and describes the jobs in JSON (LLVM's
//! `DTLTO.rst`).

use std::path::Path;
use std::sync::Arc;

use serde::Deserialize;

use crate::session::{About, Outcome, Session, Settings};
use backlto::error::{Error, Kind, Result};
use backlto::files::{self, Files};
use backlto::incremental::Record;
use backlto::{CompilerCommand, Job, Plan, bitcode};

/// The jobs of a link, as the file has them that LLD writes. LLD may add fields.
#[derive(Debug, Deserialize)]
pub(crate) struct LinkJobs {
    /// What all jobs share.
    pub(crate) common: Common,
    /// One compile for each module.
    pub(crate) jobs: Vec<LinkJob>,
    /// Whether objects stay when the link is done: then they share no file with the
    /// cache.
    #[serde(skip)]
    keep_objects: bool,
}

/// What all jobs share.
#[derive(Debug, Deserialize)]
pub(crate) struct Common {
    /// What the link writes, for messages.
    #[serde(default)]
    linker_output: String,
    /// The compiler and its arguments, before those of a job.
    args: Vec<String>,
    /// Files that every job may read.
    #[serde(default)]
    #[expect(dead_code, reason = "for distributors that copy files elsewhere")]
    inputs: Vec<String>,
}

/// One backend compile.
#[derive(Debug, Deserialize)]
pub(crate) struct LinkJob {
    /// The compiler's arguments for this job, behind those of [`Common`].
    args: Vec<String>,
    /// The bitcode, its index, then the modules imported from.
    inputs: Vec<String>,
    /// The object.
    outputs: Vec<String>,
}

impl LinkJobs {
    /// Reads the file at `path`; `keep_objects` says that LLD will not remove the
    /// objects.
    ///
    /// # Errors
    /// When it cannot be read or is not as LLD writes it.
    pub(crate) fn read(path: &Path, keep_objects: bool) -> Result<LinkJobs> {
        let failed = || {
            Error::new(
                Kind::Input,
                format!("cannot read jobs from `{}`", path.display()),
            )
            .hint("it is the file that ld.lld --thinlto-distributor= passes")
        };
        let text = files::read(path).map_err(|e| failed().because(e))?;
        let mut link: LinkJobs = serde_json::from_slice(&text).map_err(|e| failed().because(e))?;
        link.keep_objects = keep_objects;
        if link.common.args.is_empty() {
            return Err(failed().because("`common.args` names no compiler"));
        }
        for (number, job) in link.jobs.iter().enumerate() {
            if job.inputs.is_empty() || job.outputs.is_empty() {
                return Err(failed().because(format!("job {number} has no input or no output")));
            }
        }
        Ok(link)
    }

    /// Compiles `jobs`, which are those of this link, from what `files` read.
    ///
    /// # Errors
    /// When one fails; the others are done then.
    pub(crate) fn compile(&self, jobs: Vec<Job>, files: &Files, settings: &Settings) -> Outcome {
        let session = Session::new(settings)?;
        let plan = Plan {
            jobs,
            transient: !self.keep_objects,
            ..Plan::default()
        };
        let output = &self.common.linker_output;
        let group = (!output.is_empty()).then_some(output.as_str());
        // The objects have LLD's temporary names; a person knows the modules.
        let label = |job: &Job| job.module.clone();
        let mut record = Record::default();
        let about = About {
            group,
            label: &label,
            record: None,
        };
        let outcome = session.run_backends(&plan, &mut record, files, &about);
        session.finish();
        outcome
    }

    /// What the link writes; empty when LLD does not say.
    pub(crate) fn output(&self) -> &str {
        &self.common.linker_output
    }
}

impl LinkJob {
    /// The bitcode.
    pub(crate) fn module(&self) -> &str {
        &self.inputs[0]
    }

    /// The summary index of the bitcode.
    pub(crate) fn index(&self) -> Option<&str> {
        self.args
            .iter()
            .find_map(|arg| arg.strip_prefix("-fthinlto-index="))
            .or(self.inputs.get(1).map(String::as_str))
    }

    /// The job in `directory`, compiled with `flags`: the compiler's name and no
    /// file names.
    pub(crate) fn with_flags(&self, flags: Arc<[String]>, directory: &Path) -> Job {
        Job {
            directory: directory.to_owned(),
            module: self.module().to_owned(),
            index: self.index().map(str::to_owned),
            output: self.outputs[0].clone(),
            command: CompilerCommand::Flags(flags),
            post: None,
        }
    }
}

/// Makes jobs with the flags that ld.lld has for its own backends. Those whose
/// arguments differ in file names alone share a flag set, which is mapped once.
pub(crate) struct LinkersFlags<'a> {
    common: &'a Common,
    relocatable: bool,
    directory: &'a Path,
    files: &'a Files,
    sets: Vec<Arc<[String]>>,
}

impl<'a> LinkersFlags<'a> {
    /// The flags of a link whose jobs have `common`, started in `directory`.
    /// `relocatable` says that it makes an object: the modules, which are read
    /// through `files`, tell then which code may move.
    pub(crate) fn new(
        common: &'a Common,
        relocatable: bool,
        directory: &'a Path,
        files: &'a Files,
    ) -> LinkersFlags<'a> {
        LinkersFlags {
            common,
            relocatable,
            directory,
            files,
            sets: Vec::new(),
        }
    }

    /// What `job` describes.
    ///
    /// # Errors
    /// When clang does not accept its command line, or its module cannot be read.
    pub(crate) fn job(&mut self, job: &LinkJob) -> Result<Job> {
        let mut args: Vec<String> = self.common.args.iter().chain(&job.args).cloned().collect();
        // As `LTO::createTargetMachine` in llvm/lib/LTO/LTOBackend.cpp has it for a
        // linker that has no opinion; clang always has one.
        let module = self.directory.join(job.module());
        if self.relocatable && !bitcode::is_position_independent(&module, self.files)? {
            args.push("-fno-pic".to_owned());
        }
        let Some(flags) = without_job_files(&args, job.module(), &job.outputs[0]) else {
            // Of a shape that only clang's own driver can tell.
            return backlto::job_from_command_line(&args, self.directory.to_owned());
        };
        let known = self.sets.iter().find(|known| ***known == *flags);
        let shared = match known {
            Some(known) => Arc::clone(known),
            None => {
                let new: Arc<[String]> = flags.into();
                self.sets.push(Arc::clone(&new));
                new
            }
        };
        Ok(job.with_flags(shared, self.directory))
    }
}

/// `args` without what names the files of one job; `None` when they do not
/// stand there as LLD writes them.
fn without_job_files(args: &[String], module: &str, output: &str) -> Option<Vec<String>> {
    let mut flags = Vec::with_capacity(args.len());
    let (mut compiles, mut reads, mut writes) = (false, false, false);
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "-c" => compiles = true,
            "-o" => {
                writes = args.next().is_some_and(|name| name == output);
                if !writes {
                    return None;
                }
            }
            "-x" => {
                if args.next().is_none_or(|language| language != "ir") {
                    return None;
                }
            }
            arg if arg.starts_with("-fthinlto-index=") => {}
            arg if arg == module => reads = true,
            // Its value must not be taken for one of the above.
            "-Xclang" | "-mllvm" => {
                flags.push(arg.clone());
                flags.extend(args.next().cloned());
            }
            _ => flags.push(arg.clone()),
        }
    }
    (compiles && reads && writes).then_some(flags)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn file_names_come_out() {
        let args = words("clang -c -O2 -mllvm -c a.o -fthinlto-index=a.bc -o a.n");
        assert_eq!(
            without_job_files(&args, "a.o", "a.n").unwrap(),
            words("clang -O2 -mllvm -c")
        );
    }

    #[test]
    fn an_odd_shape_is_left_to_clang() {
        for odd in [
            "clang -S a.o -o a.n",
            "clang -c -o b.n a.o",
            "clang -c -o a.n b.o",
            "clang -c -x c -o a.n a.o",
        ] {
            assert_eq!(without_job_files(&words(odd), "a.o", "a.n"), None, "{odd}");
        }
    }

    #[test]
    fn fields_that_are_not_known_do_not_matter() {
        let text = r#"{"common": {"linker_output": "x", "args": ["clang"], "inputs": [], "new": 1},
            "jobs": [{"args": [], "inputs": ["a.o"], "outputs": ["a.n"], "more": {}}], "v": 2}"#;
        let link: LinkJobs = serde_json::from_str(text).unwrap();
        assert_eq!(link.jobs[0].module(), "a.o");
    }
}
