//! Which LLVM a link needs, and the `ld.backlto` that has it. Several are installed
//! beside each other as `ld.backlto-NN`; each has one LLVM.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::magic::{bitcode_within, is_bitcode};
use crate::tools::{self, CLANG, LLD_NAMES, STARTED_BY};

/// The LLVM of this program.
pub(crate) const OURS: u32 = match u32::from_str_radix(env!("BACKLTO_LLVM_MAJOR"), 10) {
    Ok(major) => major,
    Err(_) => panic!("it is a number"),
};
/// The value of [`STARTED_BY`] for what `ld.backlto` takes for ld.lld: another
/// `ld.backlto` would go on like this for ever.
pub(crate) const STARTED_BY_LINKER: &str = "ld.backlto";
/// Bitcode says at its start who has written it.
const START: u64 = 256;

/// The program that fits a link better than this one.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Fitting {
    /// This one.
    Ours,
    /// Another one.
    Other(PathBuf),
}

/// Finds the program for a link of `inputs` by `lld`. If the user has `named` that, it
/// is the program of its LLVM, else that of the newest LLVM which has written bitcode
/// among the inputs: no other can read them all. Archives are asked where there is no other
/// bitcode, since nobody may need what they have.
///
/// # Errors
/// With what is to be installed, when no LLVM here can read that bitcode.
pub(crate) fn find(inputs: &[OsString], lld: &Path, named: bool) -> Result<Fitting, String> {
    if named {
        // Without one, that ld.lld links by itself.
        let fitting = major_in(lld).and_then(other);
        return Ok(fitting.unwrap_or(Fitting::Ours));
    }
    let newest = |producer: fn(&Path) -> Option<u32>| {
        let files = inputs.iter().filter_map(|input| file_named(input));
        let written = files.filter_map(|file| Some((file, producer(file)?)));
        written.max_by_key(|(_, major)| *major)
    };
    let Some((input, major)) = newest(producer) else {
        let fitting = newest(producer_within).and_then(|(_, major)| other(major));
        return Ok(fitting.unwrap_or(Fitting::Ours));
    };
    match other(major) {
        Some(fitting) => Ok(fitting),
        // LLVM reads what older ones have written.
        None if major < OURS => Ok(Fitting::Ours),
        None => Err(format!(
            "`{}` was written by LLVM {major}, which LLVM {OURS} cannot read; install backlto for \
             LLVM {major} (`make install LLVM={major}`), or compile with clang-{OURS}",
            input.display()
        )),
    }
}

/// The version of `lld` if it is not of the LLVM that compiles: the summary indexes would
/// not fit. It is asked for, which takes as long as a small link, unless its name or its
/// place says it.
pub(crate) fn other_version(lld: &Path) -> Option<String> {
    let ours = Path::new(CLANG)
        .parent()
        .and_then(|directory| directory.canonicalize().ok());
    let place = lld.canonicalize().ok();
    let is_beside = place
        .as_deref()
        .and_then(Path::parent)
        .is_some_and(|p| Some(p) == ours.as_deref());
    if is_beside || lld.ends_with(LLD_NAMES[0]) {
        return None;
    }
    let mut command = Command::new(lld);
    let output = command
        .arg("--version")
        .env(STARTED_BY, STARTED_BY_LINKER)
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let version = tools::lld_version(&text)?;
    let is_ours = version.split('.').next() == Some(env!("BACKLTO_LLVM_MAJOR"));
    (!is_ours).then(|| version.to_owned())
}

/// The program for LLVM `major`, if there is one.
fn other(major: u32) -> Option<Fitting> {
    if major == OURS {
        return Some(Fitting::Ours);
    }
    let name = format!("ld.backlto-{major}");
    let own = std::env::current_exe().ok()?;
    // Whatever it is called, it would call itself for ever.
    if own.file_name() == Some(OsStr::new(&name)) {
        return None;
    }
    let beside = own.with_file_name(&name);
    let found = match beside.is_file() {
        true => beside,
        false => which::which(name).ok()?,
    };
    // That name may be a link to this very file.
    let is_own = found.canonicalize().is_ok_and(|found| found == own);
    (!is_own).then_some(Fitting::Other(found))
}

/// The major version that stands in the path of a program of LLVM: behind its name
/// (`ld.lld-19`), or in a directory of its own (`/usr/lib/llvm-19/bin/ld.lld`).
fn major_in(program: &Path) -> Option<u32> {
    let number = |text: &str| text.parse().ok().filter(|major| (10..100).contains(major));
    let name = program.file_name()?.to_str()?;
    let in_name = name.rsplit_once('-').and_then(|(_, text)| number(text));
    in_name.or_else(|| {
        let mut parts = program.iter().rev().filter_map(OsStr::to_str);
        parts.find_map(|part| number(part.strip_prefix("llvm-")?))
    })
}

/// The file that `input` names, if it is no option.
fn file_named(input: &OsStr) -> Option<&Path> {
    let path = Path::new(input);
    (!input.as_bytes().starts_with(b"-") && path.is_file()).then_some(path)
}

/// The major version of the LLVM that has written the file at `path`, if that is bitcode.
fn producer(path: &Path) -> Option<u32> {
    producer_at(path, 0)
}

/// The same of the first member that is bitcode, if the file is an archive.
fn producer_within(path: &Path) -> Option<u32> {
    producer_at(path, bitcode_within(path)?)
}

fn producer_at(path: &Path, at: u64) -> Option<u32> {
    let mut file = File::open(path).ok()?;
    file.seek(SeekFrom::Start(at)).ok()?;
    let mut bytes = Vec::new();
    file.take(START).read_to_end(&mut bytes).ok()?;
    is_bitcode(&bytes).then(|| producer_in(&bytes))?
}

/// The number behind `LLVM` in `bytes`, the start of bitcode: text of six, seven or
/// eight bits for a character, or of numbers in steps of six (twelve), which may begin
/// at any bit (LLVM's `BitCodeFormat.rst`).
fn producer_in(bytes: &[u8]) -> Option<u32> {
    const CHAR6: &[u8; 64] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._";
    const NAME: &[u8] = b"LLVM";
    let bits = bytes.len() * 8;
    let character = |at: usize, width: usize| -> Option<u8> {
        if at + width > bits {
            return None;
        }
        let code = (0..width).fold(0, |code: u16, i| {
            code | u16::from(bytes[(at + i) / 8] >> ((at + i) % 8) & 1) << i
        });
        match width {
            6 => Some(CHAR6[usize::from(code)]),
            // The first step says that there is one more.
            12 if code & 1 << 5 == 0 || code & 1 << 11 != 0 => None,
            12 => u8::try_from(code & 31 | (code >> 6) << 5).ok(),
            _ => u8::try_from(code).ok(),
        }
    };
    // It is not far, and all inputs of a link are asked.
    for at in 0..bits {
        for width in [6, 7, 8, 12] {
            let mut text = (0..).map_while(|i| character(at + i * width, width));
            if !NAME.iter().all(|expected| text.next() == Some(*expected)) {
                continue;
            }
            let digits: Vec<u8> = text.take_while(u8::is_ascii_digit).take(3).collect();
            if let Ok(major) = String::from_utf8_lossy(&digits).parse() {
                return Some(major);
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_in_a_name_or_in_a_directory() {
        for (path, major) in [
            ("ld.lld-19", Some(19)),
            ("/usr/lib/llvm-20/bin/ld.lld", Some(20)),
            ("/usr/lib/llvm-20/bin/ld.lld-21", Some(21)),
            ("/opt/llvm/bin/ld.lld", None),
            ("/srv/build-7/x86-64/ld.lld", None),
        ] {
            assert_eq!(major_in(Path::new(path)), major, "{path}");
        }
    }

    #[test]
    fn the_producer_is_found_at_any_bit_and_in_any_width() {
        let text = b"xLLVM23.1.4-rust";
        for width in [7, 8] {
            for shift in 0..8 {
                let mut bytes = vec![0; 32];
                for (i, character) in text.iter().enumerate() {
                    for bit in 0..width {
                        let at = shift + i * width + bit;
                        bytes[at / 8] |= (character >> bit & 1) << (at % 8);
                    }
                }
                assert_eq!(producer_in(&bytes), Some(23), "{width} bits at {shift}");
            }
        }
        assert_eq!(producer_in(b"LLV22"), None);
        assert_eq!(producer_in(b""), None);
    }
}
