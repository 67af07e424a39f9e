//! `ld.backlto`: the linker front door. It becomes ld.lld with what it was
//! given; where bitcode may be among the inputs, LLD is told to have its
//! ThinLTO backends run by backlto.
//!
//! The library is not used, so that LLVM is not loaded (nor linked): this runs
//! for every link of a build, most of which have no bitcode.

mod lld;
mod options;

use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use lld::LLD_NAMES;
use options::Carried;

/// Names the ld.lld to use.
const LLD_VARIABLE: &str = "BACKLTO_LD";
/// The compiler whose backends backlto runs; LLD wants to be told of one.
const CLANG: &str = concat!(env!("BACKLTO_LLVM_BINDIR"), "/clang");
/// Where kbuild works; it calls the linker from there.
const KERNEL_CONFIG: &str = "include/config/auto.conf";

fn main() -> ExitCode {
    let Some(lld) = find_lld() else {
        eprintln!(
            "ld.backlto: error: neither {} is on PATH\n\
             ld.backlto: note: install LLD, or name one with {LLD_VARIABLE}",
            LLD_NAMES.join(" nor ")
        );
        return ExitCode::FAILURE;
    };
    let args: Vec<OsString> = std::env::args_os().skip(1).collect();
    let mut command = Command::new(&lld);
    command.args(&args);
    let expanded = expand(&args);
    match asked_of(&expanded) {
        Ask::Link if may_have_bitcode(&expanded) => {
            let Some(backlto) = find_backlto() else {
                return no_backlto();
            };
            match options::carry(&expanded) {
                Ok(carried) => command = distributed(&lld, &args, &backlto, carried),
                Err(option) if is_verbose(&expanded) => eprintln!(
                    "ld.backlto: note: ld.lld runs the backends itself, as only they follow `{}`",
                    option.display()
                ),
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
    // Returns only when it fails.
    let reason = command.exec();
    eprintln!(
        "ld.backlto: error: cannot run `{}`: {reason}",
        Path::new(command.get_program()).display()
    );
    ExitCode::FAILURE
}

/// The link of `args` with backends run by `backlto`.
fn distributed(lld: &Path, args: &[OsString], backlto: &Path, carried: Carried) -> Command {
    let mut command = Command::new(lld);
    command.arg(flag("--thinlto-distributor=", backlto.as_os_str()));
    command.arg(format!("--thinlto-remote-compiler={CLANG}"));
    let door = match Path::new(KERNEL_CONFIG).exists() {
        true => "kbuild-distribute",
        false => "distribute",
    };
    command.arg(format!("--thinlto-distributor-arg={door}"));
    for word in &carried.distributor {
        command.arg(flag("--thinlto-distributor-arg=", word));
    }
    for word in &carried.compiler {
        command.arg(flag("--thinlto-remote-compiler-arg=", word));
    }
    // Behind ours, so that what the user tells the backends directly wins.
    command.args(args);
    command.args(carried.linker);
    command
}

/// Whether LLD was asked to say more than it must.
fn is_verbose(args: &[OsString]) -> bool {
    let names = ["-v", "-V", "--verbose", "-verbose"];
    args.iter()
        .any(|arg| names.iter().any(|name| arg == OsStr::new(name)))
}

fn no_backlto() -> ExitCode {
    eprintln!("ld.backlto: error: backlto is neither beside ld.backlto nor on PATH");
    ExitCode::FAILURE
}

fn flag(name: &str, value: &OsStr) -> OsString {
    let mut flag = OsString::from(name);
    flag.push(value);
    flag
}

/// What a command line asks the linker for.
enum Ask {
    Link,
    /// kbuild wants the summary indexes of vmlinux (`scripts/Makefile.vmlinux_a`
    /// of kernels with `CONFIG_LTO_CLANG_THIN_DIST`).
    KernelIndex,
    /// Nothing that has backends of ours.
    Other,
}

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
    if is(&["--thinlto-index-only=vmlinux.thinlto-index"]) && Path::new(KERNEL_CONFIG).exists() {
        return Ask::KernelIndex;
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

/// `args` with response files (`@file`) in place, as far as they can be read:
/// LLD says what is wrong with one.
fn expand(args: &[OsString]) -> Vec<OsString> {
    let mut expanded = Vec::with_capacity(args.len());
    for arg in args {
        let words = arg
            .as_bytes()
            .strip_prefix(b"@")
            .and_then(|name| std::fs::read(OsStr::from_bytes(name)).ok())
            .and_then(|text| shlex::bytes::split(&text));
        match words {
            Some(words) => {
                let words = words.iter().map(|word| OsStr::from_bytes(word).to_owned());
                expanded.extend(words);
            }
            None => expanded.push(arg.clone()),
        }
    }
    expanded
}

/// Whether an input is bitcode, or something that may hold some. A value of an
/// option is taken for an input; that does no harm.
fn may_have_bitcode(args: &[OsString]) -> bool {
    args.iter().any(|arg| {
        let bytes = arg.as_bytes();
        match bytes.first() {
            Some(b'-') => {
                bytes.starts_with(b"-l")
                    || bytes.starts_with(b"--library")
                    || bytes.ends_with(b"-fat-lto-objects")
            }
            _ => starts_as_bitcode_or_archive(arg),
        }
    })
}

fn starts_as_bitcode_or_archive(path: &OsStr) -> bool {
    let mut magic = [0; 8];
    let read = std::fs::File::open(path).and_then(|mut file| file.read(&mut magic));
    let is = |expected: &[u8]| magic.starts_with(expected);
    read.is_ok()
        && (is(b"BC\xC0\xDE") || is(b"\xDE\xC0\x17\x0B") || is(b"!<arch>\n") || is(b"!<thin>\n"))
}

/// `backlto`, which is installed beside this program.
fn find_backlto() -> Option<PathBuf> {
    let beside = std::env::current_exe()
        .ok()
        .map(|program| program.with_file_name("backlto"))
        .filter(|program| program.is_file());
    beside.or_else(|| which::which("backlto").ok())
}

fn find_lld() -> Option<PathBuf> {
    if let Some(chosen) = std::env::var_os(LLD_VARIABLE).filter(|name| !name.is_empty()) {
        let chosen = PathBuf::from(chosen);
        return match chosen.components().count() {
            1 => which::which(chosen).ok(),
            _ => Some(chosen),
        };
    }
    lld::on_path().next()
}
