//! Running ld.lld: the thin link before the backends, the final link after.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use backlto::BUILT_VERSION;
use backlto::error::{Error, Kind, Result};

use crate::tools::{self, LLD_NAMES, STARTED_BY, STARTED_BY_BACKLTO};

/// An ld.lld that was found and asked for its version.
#[derive(Clone, Debug)]
pub(crate) struct Linker {
    program: PathBuf,
    version: String,
}

impl Linker {
    /// Finds ld.lld: `chosen`, else `$LD`, else by its usual names. Where one of the
    /// first two is `ld.backlto`, the linker is the one that it would call: what it
    /// does beyond that would come back here.
    ///
    /// # Errors
    /// When there is none, or what was chosen is not LLD.
    pub(crate) fn find(chosen: Option<&Path>) -> Result<Linker> {
        let from_environment = std::env::var_os("LD").filter(|ld| !ld.is_empty());
        let mut named = chosen
            .map(Path::to_owned)
            .or(from_environment.map(PathBuf::from));
        if named.as_deref().is_some_and(is_ours) {
            named = tools::chosen_lld().filter(|program| !is_ours(program));
        }
        if let Some(program) = named {
            return Linker::at(program.as_os_str());
        }
        let mut cannot_run = None;
        // `ld.backlto` by LLD's name would hand all on to the next of them, and hide from the
        // record which one that is.
        for program in tools::on_path().filter(|program| !is_ours(program)) {
            match Linker::at(program.as_ref()) {
                // The next one may do. If not, this is what is wrong.
                Err(e) if e.kind() == Kind::Environment => {
                    cannot_run.get_or_insert(e);
                }
                found => return found,
            }
        }
        if let Some(error) = cannot_run {
            return Err(error);
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
    ///
    /// # Errors
    /// When it cannot be run or is not LLD.
    fn at(program: &OsStr) -> Result<Linker> {
        let shown = program.to_string_lossy();
        let output = Command::new(program)
            .arg("--version")
            .env(STARTED_BY, STARTED_BY_BACKLTO)
            .output()
            .map_err(|e| {
                Error::new(Kind::Environment, format!("cannot run linker `{shown}`")).because(e)
            })?;
        let text = String::from_utf8_lossy(&output.stdout);
        let version = tools::lld_version(&text).ok_or_else(|| {
            Error::new(Kind::Link, format!("linker `{shown}` is not LLD"))
                .because(text.lines().next().unwrap_or("it prints no version"))
                .hint("ThinLTO indexes are written by ld.lld; name one with --ld")
        })?;
        Ok(Linker {
            program: program.into(),
            version: version.to_owned(),
        })
    }

    /// What to warn about when the linker's LLVM is not the one that compiles;
    /// `None` when it is.
    pub(crate) fn mismatch(&self) -> Option<String> {
        let major = |version: &str| version.split('.').next().map(str::to_owned);
        (major(&self.version) != major(BUILT_VERSION)).then(|| {
            format!(
                "linker `{}` is LLD {}, but backlto compiles with LLVM {BUILT_VERSION}: \
                 their summary indexes may not fit; name an {} with --ld or LD",
                self.program.display(),
                self.version,
                LLD_NAMES[0]
            )
        })
    }

    /// What tells this linker from others: its version and its build. One whose file
    /// cannot be read is another each time.
    pub(crate) fn identity(&self) -> String {
        let program = tools::on_path_or_as_is(&self.program);
        let build = backlto::identity::of_program(&program).map_or_else(
            |e| format!("unknown at {:?}: {e}", std::time::SystemTime::now()),
            |digest| digest.to_string(),
        );
        format!("{} {build}", self.version)
    }

    /// Runs the linker with `args` in `directory`; what it prints goes where our
    /// output goes. `doing` names the step in errors.
    ///
    /// # Errors
    /// When it cannot be run or does not succeed.
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
        let status = self.status(directory, args).map_err(|e| {
            failed().because(format!("cannot run `{}`: {e}", self.program.display()))
        })?;
        if status.success() {
            return Ok(());
        }
        Err(failed().because(format!("`{}`: {status}", self.program.display())))
    }

    /// Runs the linker with `args` in `directory`; what it says is all that there is to
    /// say, whether it succeeds or not.
    ///
    /// # Errors
    /// When it cannot be run.
    pub(crate) fn status<S: AsRef<OsStr>>(
        &self,
        directory: &Path,
        args: &[S],
    ) -> std::io::Result<ExitStatus> {
        Command::new(&self.program)
            .args(args)
            .env(STARTED_BY, STARTED_BY_BACKLTO)
            .current_dir(directory)
            .status()
    }
}

impl std::fmt::Display for Linker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} (LLD {})",
            tools::on_path_or_as_is(&self.program).display(),
            self.version
        )
    }
}

/// The names that `ld.backlto` is installed by: its own, and that of its program
/// where cargo has put it, which takes no dot in a name.
pub(crate) const LINKER_NAMES: [&str; 2] = ["ld.backlto", "ld-backlto"];

/// What the plain name leads to where `ld.backlto` is installed for several LLVMs.
const NUMBERED: &str = concat!("ld.backlto-", env!("BACKLTO_LLVM_MAJOR"));

/// Whether `program` is `ld.backlto`, whatever links lead to it.
fn is_ours(program: &Path) -> bool {
    let found = tools::on_path_or_as_is(program);
    let resolved = found.canonicalize().unwrap_or_else(|_| found.clone());
    [found, resolved].iter().any(|path| {
        let name = path.file_name();
        let mut names = LINKER_NAMES.iter().chain([&NUMBERED]);
        names.any(|ours| name == Some(ours.as_ref()))
    })
}

/// The bitcode objects that a thin link listed in the file at `path`
/// (`--thinlto-index-only=`), in link order.
///
/// # Errors
/// When the file cannot be read.
pub(crate) fn read_index_list(path: &Path) -> Result<Vec<String>> {
    let text = backlto::files::read_text(path).map_err(|e| {
        Error::new(
            Kind::Link,
            format!("the thin link left no `{}`", path.display()),
        )
        .because(e)
    })?;
    Ok(text.lines().map(str::to_owned).collect())
}

/// The name of the object of bitcode file `module`, with kbuild's own suffix
/// (`scripts/Makefile.thinlto` of Linux 7.2).
///
/// `dir/x.o` becomes `dir/x.thinlto-native.o`.
pub(crate) fn native_name(module: &str) -> String {
    let stem = module.strip_suffix(".o").unwrap_or(module);
    format!("{stem}.thinlto-native.o")
}

/// The name that ld.lld gives the summary index of bitcode file `module`.
pub(crate) fn index_name(module: &str) -> String {
    format!("{module}.thinlto.bc")
}
