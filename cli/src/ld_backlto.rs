//! `ld.backlto`: the linker front door. It becomes ld.lld with what it was
//! given; where bitcode may be among the inputs, LLD is told to have its
//! ThinLTO backends run by backlto.
//!
//! The library is not used, so that LLVM is not loaded (nor linked): this runs
//! for every link of a build, most of which have no bitcode.

// The macros that print panic when nobody reads any more.
#![deny(clippy::print_stdout, clippy::print_stderr)]

mod fitting;
mod magic;
mod options;
mod response;
mod tools;

use std::ffi::{OsStr, OsString};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use fitting::{Fitting, STARTED_BY_LINKER};
use options::Carried;
use tools::{CLANG, LLD_NAMES, LLD_VARIABLE, STARTED_BY, STARTED_BY_BACKLTO};

/// Whether ld.lld hands all backends over (`--thinlto-distributor=`). LLD 21 does so too,
/// but gives members of archives names that nobody can open (`lib.a(x.o at 94)`).
const LLD_DISTRIBUTES: bool = fitting::OURS >= 22;
/// What kbuild's make tells all that it starts (`export` in the `Makefile` of Linux).
const OF_KBUILD: [&str; 3] = ["srctree", "objtree", "KBUILD_LDFLAGS"];

/// What says, as the first word, whose command line LLD is to understand.
const FLAVOUR: &str = "-flavor";
/// The names of ld.lld's.
const OWN_FLAVOURS: [&str; 3] = ["gnu", "ld", "ld.lld"];
/// What `-m` names for programs of Windows, which ld.lld leaves to another of LLD's linkers
/// (`isPETargetName` in `lld/Common/DriverDispatcher.cpp`).
const WINDOWS: [&str; 6] = [
    "arm64ecpe",
    "arm64pe",
    "i386pe",
    "i386pep",
    "mipspe",
    "thumb2pe",
];

fn main() -> ExitCode {
    let lld = match find_lld() {
        Ok(lld) => lld,
        Err(message) => {
            return fail(&format!(
                "{message}\n\
                 ld.backlto: note: install LLD, or name one with {LLD_VARIABLE}"
            ));
        }
    };
    let args: Vec<OsString> = std::env::args_os().skip(1).collect();
    let mut command = Command::new(&lld);
    command.args(&args).env(STARTED_BY, STARTED_BY_LINKER);
    let expanded = response::expand(&args);
    let mut asked = match std::env::var_os(STARTED_BY) {
        Some(by) if by == STARTED_BY_BACKLTO => Ask::Other,
        _ => asked_of(&expanded),
    };
    if expanded == ["--version"] && std::env::var_os(STARTED_BY).is_none() {
        return print_version(command);
    }
    let is_for_us = match asked {
        Ask::Link => may_have_bitcode(&expanded),
        Ask::KernelIndex => true,
        Ask::Other => false,
    };
    if matches!(asked, Ask::Link)
        && is_for_us
        && let Some(ended) = leave_to_fitting(&expanded, &lld, &args)
    {
        return ended;
    }
    if is_for_us && let Some(version) = fitting::other_version(&lld) {
        // For libraries that may have some, it is not worth a word.
        let is_sure = matches!(asked, Ask::KernelIndex) || names_bitcode(&expanded);
        asked = Ask::Other;
        if is_sure {
            say(&format!(
                "warning: `{}` is LLD {version}, and backlto compiles with LLVM \
                 {}: ld.lld runs the backends itself; install backlto for that LLVM, \
                 or name another one with {LLD_VARIABLE}",
                lld.display(),
                fitting::OURS
            ));
        }
    }
    match asked {
        Ask::Link if is_for_us => {
            let Some(backlto) = find_backlto() else {
                return no_backlto();
            };
            match options::carry(&expanded) {
                Ok(carried) => command = distributed(&lld, &args, &backlto, carried),
                Err(option) if is_verbose(&expanded) => say(&format!(
                    "note: ld.lld runs the backends itself, because of `{}`",
                    option.display()
                )),
                Err(_) => {}
            }
        }
        Ask::KernelIndex => {
            let Some(backlto) = find_backlto() else {
                return no_backlto();
            };
            command = Command::new(backlto);
            command.arg("--ld").arg(&lld).arg("kbuild-index").arg("--");
            command.args(&args);
        }
        Ask::Link | Ask::Other => {}
    }
    become_program(&mut command)
}

/// Becomes the program of `command`; returns only when that fails.
fn become_program(command: &mut Command) -> ExitCode {
    let reason = command.exec();
    cannot_run(command, &reason)
}

/// Becomes the `ld.backlto` that fits a link of `inputs` by `lld` better, with `args`.
/// Returns nothing if that is this one, else how it failed.
fn leave_to_fitting(inputs: &[OsString], lld: &Path, args: &[OsString]) -> Option<ExitCode> {
    let named = tools::chosen_lld().is_some();
    match fitting::find(inputs, lld, named) {
        Ok(Fitting::Ours) => None,
        Ok(Fitting::Other(program)) => Some(become_program(Command::new(program).args(args))),
        Err(message) => Some(fail(&message)),
    }
}

/// Prints what `command`, which asks ld.lld for its version, says, since build systems
/// read that; then what this program is.
fn print_version(mut command: Command) -> ExitCode {
    match command.status() {
        Ok(status) if status.success() => {
            let printed = writeln!(
                std::io::stdout(),
                "ld.backlto {} (LLVM {}) in front of it: ThinLTO backends run in backlto",
                env!("CARGO_PKG_VERSION"),
                env!("BACKLTO_LLVM_VERSION")
            );
            match printed {
                Err(e) if e.kind() != ErrorKind::BrokenPipe => {
                    fail(&format!("cannot write to standard output: {e}"))
                }
                _ => ExitCode::SUCCESS,
            }
        }
        Ok(_) => ExitCode::FAILURE,
        Err(reason) => cannot_run(&command, &reason),
    }
}

/// Says that `command` cannot be run.
fn cannot_run(command: &Command, reason: &std::io::Error) -> ExitCode {
    fail(&format!(
        "cannot run `{}`: {reason}",
        Path::new(command.get_program()).display()
    ))
}

/// Says the error `message`, with which this program ends.
fn fail(message: &str) -> ExitCode {
    say(&format!("error: {message}"));
    ExitCode::FAILURE
}

/// Prints `message` to standard error. When that is gone, nobody is left to tell.
fn say(message: &str) {
    let _ = writeln!(std::io::stderr(), "ld.backlto: {message}");
}

/// The command for the link of `args` by `lld` with backends run by `backlto`, which
/// are told what `carried` has.
fn distributed(lld: &Path, args: &[OsString], backlto: &Path, carried: Carried) -> Command {
    let distributor = distributor_args(&carried);
    let (flavour, args) = split_flavour(args);
    if !LLD_DISTRIBUTES {
        return apart(lld, args, backlto, &carried, &distributor);
    }
    let mut command = Command::new(lld);
    command.env(STARTED_BY, STARTED_BY_LINKER).args(flavour);
    command.arg(flag("--thinlto-distributor=", backlto.as_os_str()));
    command.arg(format!("--thinlto-remote-compiler={CLANG}"));
    for word in &distributor {
        command.arg(flag("--thinlto-distributor-arg=", word));
    }
    for word in carried.asked.iter().chain(&carried.implied) {
        command.arg(flag("--thinlto-remote-compiler-arg=", word));
    }
    // Behind ours, so that what the user tells the backends directly wins.
    command.args(args);
    command.args(carried.linker);
    command
}

/// Splits `args` behind `-flavor NAME`, as rustc calls a linker of the flavour `ld.lld`:
/// only at the very start does LLD know it.
fn split_flavour(args: &[OsString]) -> (&[OsString], &[OsString]) {
    let count = match args {
        [first, _, ..] if first == FLAVOUR => 2,
        _ => 0,
    };
    args.split_at(count)
}

/// The command for the link of `args` by `backlto`, which runs the steps of an `lld`
/// that does not hand over its backends. Those are told what LLD 22 would tell
/// them (`llvm/lib/DTLTO`).
fn apart(
    lld: &Path,
    args: &[OsString],
    backlto: &Path,
    carried: &Carried,
    distributor: &[OsString],
) -> Command {
    let mut command = Command::new(backlto);
    command.arg("--ld").arg(lld).arg("link-apart");
    for word in distributor {
        command.arg(flag("--distributor-arg=", word));
    }
    let always = ["-O2", "-faddrsig", "-ffunction-sections", "-fdata-sections"].map(OsStr::new);
    let pic = carried.pic.then_some(OsStr::new("-fpic"));
    let carried_words = [&carried.told, &carried.asked, &carried.implied];
    let words = carried_words.into_iter().flatten().map(OsString::as_os_str);
    for word in always.into_iter().chain(pic).chain(words) {
        command.arg(flag("--compiler-arg=", word));
    }
    command.arg("--").args(args).args(&carried.linker);
    command
}

/// How backlto is called as the distributor of a link, before the file of the jobs.
fn distributor_args(carried: &Carried) -> Vec<OsString> {
    let mut distributor: Vec<OsString> = Vec::new();
    // kbuild's flags are for what it links with `-r`: `vmlinux.o` and modules. Next to nothing
    // in its last links of `vmlinux` is bitcode, and LLD's flags do for that.
    if carried.relocatable && is_of_kbuild() {
        distributor.push("kbuild-distribute".into());
        let words = carried.told.iter().chain(&carried.asked);
        distributor.extend(words.map(|word| flag("--compiler-arg=", word)));
    } else {
        distributor.push("distribute".into());
        distributor.extend(carried.relocatable.then(|| "--relocatable".into()));
    }
    distributor.extend_from_slice(&carried.distributor);
    distributor
}

/// Whether kbuild has started this program. The working directory would not tell: it
/// is the module's when kbuild builds a module outside of the kernel's tree.
fn is_of_kbuild() -> bool {
    OF_KBUILD
        .iter()
        .all(|name| std::env::var_os(name).is_some())
}

/// Whether LLD was asked to say more than it must.
fn is_verbose(args: &[OsString]) -> bool {
    let names = ["-v", "-V", "--verbose", "-verbose"];
    args.iter()
        .any(|arg| names.iter().any(|name| arg == OsStr::new(name)))
}

/// Says that there is no `backlto` to run the backends.
fn no_backlto() -> ExitCode {
    fail("backlto is neither beside ld.backlto nor on PATH")
}

/// The option `name` with `value`.
fn flag(name: &str, value: &OsStr) -> OsString {
    let mut flag = OsString::from(name);
    flag.push(value);
    flag
}

/// What a command line asks the linker for.
enum Ask {
    /// A link, whose backends backlto may run.
    Link,
    /// kbuild wants the summary indexes of vmlinux (`scripts/Makefile.vmlinux_a`
    /// of kernels with `CONFIG_LTO_CLANG_THIN_DIST`).
    KernelIndex,
    /// Nothing that has backends of ours.
    Other,
}

/// What `args`, with response files in place, ask for.
fn asked_of(args: &[OsString]) -> Ask {
    let is = |names: &[&str]| {
        args.iter()
            .any(|arg| names.iter().any(|name| arg == OsStr::new(name)))
    };
    // The user has a distributor already, or wants no code.
    let starts = |prefixes: &[&str]| {
        args.iter().any(|arg| {
            let bytes = arg.as_bytes();
            prefixes.iter().any(|p| bytes.starts_with(p.as_bytes()))
        })
    };
    if is(&["--thinlto-index-only=vmlinux.thinlto-index"]) && is_of_kbuild() {
        return Ask::KernelIndex;
    }
    let one_of = |name: &OsString, names: &[&str]| names.iter().any(|known| name == known);
    let is_other_flavour = match args {
        [first, name, ..] if first == FLAVOUR => !one_of(name, &OWN_FLAVOURS),
        _ => false,
    };
    let mut pairs = args.windows(2);
    let machine = pairs.find(|pair| pair[0] == "-m").map(|pair| &pair[1]);
    if is_other_flavour || machine.is_some_and(|name| one_of(name, &WINDOWS)) {
        return Ask::Other;
    }
    // As for `--reproduce`: LLD keeps its command line, which should not need backlto.
    if std::env::var_os("LLD_REPRODUCE").is_some() {
        return Ask::Other;
    }
    if starts(&[
        "--thinlto-distributor=",
        "-thinlto-distributor=",
        "--thinlto-index-only",
        "-thinlto-index-only",
        "--plugin-opt=thinlto-index-only",
        "-plugin-opt=thinlto-index-only",
    ]) || is(&["--version", "-version", "--help", "-help"])
    {
        return Ask::Other;
    }
    Ask::Link
}

/// Whether an input is bitcode, or something that may hold some. A value of an
/// option is taken for an input; that does no harm. Where LLD cannot hand backends over,
/// to run them apart costs a link more: then there has to be some.
fn may_have_bitcode(args: &[OsString]) -> bool {
    args.iter().any(|arg| {
        let bytes = arg.as_bytes();
        match bytes.first() {
            Some(b'-') => {
                LLD_DISTRIBUTES
                    && (bytes.starts_with(b"-l")
                        || bytes.starts_with(b"--library")
                        || bytes.ends_with(b"-fat-lto-objects"))
            }
            _ => starts_as_bitcode_or_archive(arg),
        }
    })
}

/// Whether an input is named that is bitcode, or an archive of which that is likely.
fn names_bitcode(args: &[OsString]) -> bool {
    let mut inputs = args.iter().filter(|arg| !arg.as_bytes().starts_with(b"-"));
    inputs.any(|arg| starts_as_bitcode_or_archive(arg))
}

/// Whether the file at `path` begins as bitcode, or as an archive. From a pipe LLD
/// itself is to read.
fn starts_as_bitcode_or_archive(path: &OsStr) -> bool {
    if !Path::new(path).is_file() {
        return false;
    }
    let mut start = [0; 8];
    let read = std::fs::File::open(path).and_then(|mut file| file.read(&mut start));
    let is = |expected: &[u8]| start.starts_with(expected);
    let bitcode = || magic::is_bitcode(&start) || is(magic::THIN_ARCHIVE);
    let has_bitcode = || magic::bitcode_within(Path::new(path)).is_some();
    let archive = || is(magic::ARCHIVE) && (LLD_DISTRIBUTES || has_bitcode());
    read.is_ok() && (bitcode() || archive())
}

/// The path of the `backlto` with the same LLVM, which is installed beside this
/// program, else on PATH.
fn find_backlto() -> Option<PathBuf> {
    let names = [concat!("backlto-", env!("BACKLTO_LLVM_MAJOR")), "backlto"];
    let own = std::env::current_exe().ok();
    let beside = |name: &&str| own.as_ref().map(|own| own.with_file_name(name));
    let mut places = names.iter().filter_map(beside);
    let on_path = || names.iter().find_map(|name| which::which(name).ok());
    places.find(|program| program.is_file()).or_else(on_path)
}

/// The ld.lld to become: the one that the user has named, else one on PATH.
///
/// # Errors
/// With what is wrong, when there is none, or what was named is not LLD.
fn find_lld() -> Result<PathBuf, String> {
    if std::env::var_os(STARTED_BY).is_some_and(|by| by == STARTED_BY_LINKER) {
        return Err("what it took for ld.lld is ld.backlto itself".to_owned());
    }
    let Some(chosen) = tools::chosen_lld() else {
        return tools::on_path()
            .next()
            .ok_or_else(|| format!("neither {} is on PATH", LLD_NAMES.join(" nor ")));
    };
    // Asking costs as much as a small link. Whoever names a program of LLD's name
    // need not wait for that.
    let name = chosen.file_name().unwrap_or_default().as_bytes();
    if !name.windows(3).any(|part| part == b"lld") {
        check_is_lld(&chosen)?;
    }
    Ok(chosen)
}

/// Asks `program` whether it is LLD.
///
/// # Errors
/// With what it is instead.
fn check_is_lld(program: &Path) -> Result<(), String> {
    let named = format!("{LLD_VARIABLE} names `{}`, which", program.display());
    let output = Command::new(program)
        .arg("--version")
        .env(STARTED_BY, STARTED_BY_LINKER)
        .output()
        .map_err(|reason| format!("{named} cannot be run: {reason}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    match tools::lld_version(&text) {
        Some(_) => Ok(()),
        None => {
            let said = [text, String::from_utf8_lossy(&output.stderr)].concat();
            let first = said.lines().next().unwrap_or("it prints no version");
            Err(format!("{named} is not LLD: {first}"))
        }
    }
}
