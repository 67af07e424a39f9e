//! Entries to the kernel's parsers for the fuzz targets of `fuzz.rs`.

use std::path::Path;

use super::cmdfile::{self, CmdFile};
use super::flags::BackendFlags;
use super::{archive, initcalls};

/// The target whose `.cmd` file is read.
pub(crate) const TARGET: &str = "x.o";

/// Reads the `.cmd` file of [`TARGET`] in `directory`, and all that is asked of it.
pub(crate) fn cmd(directory: &Path) {
    let file = CmdFile::read(directory, TARGET).expect("a file that is there");
    let _ = file.symbol_versions();
    let _ = file.saved_c_flags(TARGET);
    if let Ok(text) = file.command(TARGET) {
        for command in cmdfile::commands(&text) {
            let words = file.words(command);
            let _ = words.map(|words| cmdfile::files_of_compile(&words, TARGET));
        }
    }
    let _ = BackendFlags::read(directory, TARGET);
}

/// Reads `text` as a list of names of initcalls, and as one of head objects.
pub(crate) fn lists(text: &str) {
    for name in text.lines() {
        let _ = initcalls::parse(name);
    }
    let (list, members) = text.split_once("\n\n").unwrap_or(("", text));
    let mut members: Vec<String> = members.lines().map(str::to_owned).collect();
    archive::move_head_objects(&mut members, list);
}

/// Reads the thin archive `name` in `directory`.
pub(crate) fn members(directory: &Path, name: &str) {
    let _ = archive::members(directory, name);
}
