//! Running ld.lld: the thin link before the backends, the final link after.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use backlto::BUILT_VERSION;
use backlto::error::{Error, Kind, Result};

use crate::lld::{self, LLD_NAMES};

/// An ld.lld that was found and asked for its version.
#[derive(Clone, Debug)]
pub(crate) struct Linker {
    program: PathBuf,
    version: String,
}

impl Linker {
    /// Finds ld.lld: `chosen`, else `$LD`, else by its usual names.
    ///
    /// # Errors
    /// When there is none, or what was chosen is not LLD.
    pub(crate) fn find(chosen: Option<&Path>) -> Result<Linker> {
        // Within a build that has ld.backlto for its linker, LD leads back to us.
        let is_ours = |ld: &OsStr| Path::new(ld).file_name() == Some("ld.backlto".as_ref());
        let from_environment = std::env::var_os("LD").filter(|ld| !ld.is_empty() && !is_ours(ld));
        if let Some(program) = chosen.map(Path::as_os_str).or(from_environment.as_deref()) {
            return Linker::at(program);
        }
        for program in lld::on_path() {
            match Linker::at(program.as_ref()) {
                Err(e) if e.kind() == Kind::Environment => {}
                found => return found,
            }
        }
        Err(Error::new(
            Kind::Environment,
            format!(
                "cannot find ld.lld: neither {} is on PATH",
                LLD_NAMES.join(" nor ")
            ),
        )
        .hint(format!(
            "install Debian's package lld-{}, or name one with --ld or LD",
            BUILT_VERSION.split('.').next().unwrap_or_default()
        )))
    }

    /// Asks `program` what it is.
    fn at(program: &OsStr) -> Result<Linker> {
        let shown = program.to_string_lossy();
        let output = Command::new(program)
            .arg("--version")
            .output()
            .map_err(|e| {
                Error::new(Kind::Environment, format!("cannot run linker `{shown}`")).because(e)
            })?;
        let text = String::from_utf8_lossy(&output.stdout);
        // "LLD 22.1.8 (...)", with a vendor's name before it on some systems.
        let version = text
            .split_whitespace()
            .skip_while(|word| *word != "LLD")
            .nth(1)
            .ok_or_else(|| {
                Error::new(Kind::Link, format!("linker `{shown}` is not LLD"))
                    .because(text.lines().next().unwrap_or("it prints no version"))
                    .hint("ThinLTO indexes are written by ld.lld; name one with --ld")
            })?;
        Ok(Linker {
            program: program.into(),
            version: version.to_owned(),
        })
    }

    /// What to warn about when its LLVM is not the one that compiles.
    pub(crate) fn mismatch(&self) -> Option<String> {
        let major = |version: &str| version.split('.').next().map(str::to_owned);
        (major(&self.version) != major(BUILT_VERSION)).then(|| {
            format!(
                "linker `{}` is LLD {}, but backlto compiles with LLVM {BUILT_VERSION}: \
                 their summary indexes may not fit",
                self.program.display(),
                self.version
            )
        })
    }

    /// What tells it from other linkers; `None` when its file cannot be read.
    pub(crate) fn identity(&self) -> Option<String> {
        let build = backlto::identity::of_program(&resolve(&self.program)).ok()?;
        Some(format!("{} {build}", self.version))
    }

    /// Runs it in `directory`; what it prints goes where our output goes.
    ///
    /// # Errors
    /// When it cannot be run or does not succeed. `doing` names the step.
    pub(crate) fn run<S: AsRef<OsStr>>(
        &self,
        directory: &Path,
        args: &[S],
        doing: &str,
    ) -> Result<()> {
        let failed = || {
            Error::new(
                Kind::Link,
                format!("{doing} failed in `{}`", directory.display()),
            )
        };
        let status = Command::new(&self.program)
            .args(args)
            .current_dir(directory)
            .status()
            .map_err(|e| {
                failed().because(format!("cannot run `{}`: {e}", self.program.display()))
            })?;
        if status.success() {
            return Ok(());
        }
        Err(failed().because(format!("`{}`: {status}", self.program.display())))
    }
}

impl std::fmt::Display for Linker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} (LLD {})",
            resolve(&self.program).display(),
            self.version
        )
    }
}

/// The file that `program` stands for, as the system finds it.
fn resolve(program: &Path) -> PathBuf {
    if program.components().count() > 1 {
        return program.to_owned();
    }
    which::which(program).unwrap_or_else(|_| program.to_owned())
}

/// The bitcode objects that a thin link listed in the file at `path`
/// (`--thinlto-index-only=`), in link order.
///
/// # Errors
/// When the file cannot be read.
pub(crate) fn read_index_list(path: &Path) -> Result<Vec<String>> {
    let text = std::fs::read_to_string(path).map_err(|e| {
        Error::new(
            Kind::Link,
            format!("the thin link left no `{}`", path.display()),
        )
        .because(e)
    })?;
    Ok(text.lines().map(str::to_owned).collect())
}

/// How the object of a bitcode file is named: kbuild's own suffix
/// (`scripts/Makefile.thinlto` of Linux 7.2).
///
/// `dir/x.o` becomes `dir/x.thinlto-native.o`.
pub(crate) fn native_name(module: &str) -> String {
    let stem = module.strip_suffix(".o").unwrap_or(module);
    format!("{stem}.thinlto-native.o")
}

/// How ld.lld names the summary index of a bitcode file.
pub(crate) fn index_name(module: &str) -> String {
    format!("{module}.thinlto.bc")
}
