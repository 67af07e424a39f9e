//! Stage 3 of one tree: each object with the flags that kbuild recorded for it.

use std::path::Path;
use std::sync::Arc;

use rayon::prelude::*;

use super::cmdfile;
use super::flags::BackendFlags;
use super::state::TreeState;
use crate::linker::{index_name, native_name};
use crate::session::{About, Failure, Outcome, Session};
use backlto::error::{Error, Errors, Kind, Result};
use backlto::{CompilerCommand, Job, Plan};

/// How the objects of a tree are compiled.
pub(crate) struct Backends<'a> {
    /// The tree; an absolute path.
    pub(crate) objtree: &'a Path,
    /// Whether make itself knows stage 3.
    pub(crate) distributed: bool,
    /// What to run on each finished object.
    pub(crate) post: Option<&'a Arc<[String]>>,
    /// Starts the lines of output about the tree.
    pub(crate) label: Label<'a>,
}

/// Whose file a line of output is about, when trees share it.
#[derive(Clone, Copy)]
pub(crate) struct Label<'a>(pub(crate) Option<&'a str>);

impl Label<'_> {
    /// What a line of output calls `file`.
    pub(crate) fn of(self, file: &str) -> String {
        match self.0 {
            Some(arch) => format!("{arch}: {file}"),
            None => file.to_owned(),
        }
    }
}

/// The longest path that modpost can look for (`PATH_MAX`), with its NUL.
const LONGEST_PATH: usize = 4096;

impl Backends<'_> {
    /// Compiles each object of `bitcode` to its native object, and records how
    /// as kbuild does.
    ///
    /// # Errors
    /// When kbuild's record of an object cannot be understood, before anything is
    /// compiled, and when a compile fails, after all others were done.
    pub(crate) fn run(
        &self,
        bitcode: &[String],
        state: &mut TreeState<'_>,
        session: &Session,
    ) -> Outcome {
        let flags = self.flags(bitcode)?;
        let plan = Plan {
            jobs: bitcode
                .iter()
                .zip(&flags)
                .map(|(object, flags)| self.job(object, flags))
                .collect(),
            ..Plan::default()
        };
        let record_path = state.record_path();
        let TreeState { record, files, .. } = state;
        record.keep_jobs(plan.jobs.iter());
        let about = About {
            group: self.label.0,
            label: &|job| self.label.of(&job.output),
            record: Some(&record_path),
        };
        session.run_backends(&plan, record, files, &about)?;
        // make must not take an object that this run did not finish for one
        // that its own rule made.
        bitcode
            .par_iter()
            .zip(&flags)
            .try_for_each(|(object, flags)| self.record(object, flags))?;
        Ok(())
    }

    /// The job that compiles bitcode `object`.
    pub(crate) fn job(&self, object: &str, flags: &BackendFlags) -> Job {
        Job {
            directory: self.objtree.to_owned(),
            module: object.to_owned(),
            index: Some(index_name(object)),
            output: native_name(object),
            command: CompilerCommand::Flags(flags.for_clang.clone()),
            post: self.post.cloned(),
        }
    }

    /// Leaves the `.cmd` file of the native object of `object`, as kbuild would.
    fn record(&self, object: &str, flags: &BackendFlags) -> Result<()> {
        // modpost of kernels with THIN_DIST finds symbol versions by itself.
        let versions = match self.distributed {
            true => &[][..],
            false => &flags.symbol_versions,
        };
        cmdfile::write(
            self.objtree,
            &native_name(object),
            &flags.command(object),
            versions.iter().map(String::as_str),
        )
    }

    /// Reads the flags of every object of `bitcode`.
    fn flags(&self, bitcode: &[String]) -> std::result::Result<Vec<BackendFlags>, Failure> {
        let read: Vec<Result<BackendFlags>> = bitcode
            .par_iter()
            .map(|object| {
                check_length(object)?;
                BackendFlags::read(self.objtree, object)
            })
            .collect();
        let mut flags = Vec::with_capacity(read.len());
        let mut errors = Vec::new();
        for one in read {
            match one {
                Ok(one) => flags.push(one),
                Err(e) => errors.push(e),
            }
        }
        Errors::of(errors).map_or(Ok(flags), |errors| Err(errors.into()))
    }
}

/// modpost derives the name of the `.cmd` file with an object's symbol versions
/// from that of the native object, in a buffer of fixed size.
fn check_length(object: &str) -> Result<()> {
    let name = cmdfile::path_of(Path::new(""), &native_name(object));
    if name.as_os_str().len() < LONGEST_PATH {
        return Ok(());
    }
    Err(Error::new(
        Kind::Plan,
        format!("the path of `{}` is too long for kbuild", name.display()),
    )
    .because(format!("it has more than {} bytes", LONGEST_PATH - 1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_modpost_would_cut_is_refused() {
        let cut = LONGEST_PATH - "/.x.thinlto-native.o.cmd".len();
        assert!(check_length(&format!("{}/x.o", "d".repeat(cut - 1))).is_ok());
        let error = check_length(&format!("{}/x.o", "d".repeat(cut))).unwrap_err();
        assert!(
            error.to_string().contains("more than 4095 bytes"),
            "{error}"
        );
    }
}
