//! `ld.backlto`: the linker front door. It runs ld.lld with what it was given.
//!
//! The library is not used, so that LLVM is not loaded (nor linked).

#[path = "../lld_names.rs"]
mod lld_names;

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use lld_names::LLD_NAMES;

fn main() -> ExitCode {
    let Some(program) = find_lld() else {
        eprintln!(
            "ld.backlto: error: neither {} is on PATH",
            LLD_NAMES.join(" nor ")
        );
        return ExitCode::FAILURE;
    };
    // Returns only when it fails.
    let reason = Command::new(&program)
        .args(std::env::args_os().skip(1))
        .exec();
    eprintln!(
        "ld.backlto: error: cannot run `{}`: {reason}",
        program.display()
    );
    ExitCode::FAILURE
}

fn find_lld() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    LLD_NAMES.iter().find_map(|name| {
        std::env::split_paths(&path)
            .map(|directory| directory.join(name))
            .find(|program| program.is_file())
    })
}
