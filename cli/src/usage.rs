//! What the help of each door shows: options that mean something to it. All may stand
//! before a door's name, so clap would list them for each.

use std::ffi::OsString;

use clap::Command;

/// The doors that compile nothing, with those of the common options that they heed.
/// Others heed all.
const HEEDED: [(&str, &[&str]); 7] = [
    ("cache", &["cache-dir", "cache-policy", "json", "color"]),
    ("diff", &["quiet", "json", "color"]),
    (
        "doctor",
        &[
            "cache-dir",
            "cache-policy",
            "cache-shared",
            "no-cache",
            "ld",
            "remote",
            "remote-jobs",
            "remote-compiler",
            "remote-platform",
            "remote-header",
            "remote-ca",
            "remote-cert",
            "remote-key",
            "json",
            "color",
        ],
    ),
    ("explain", &["json", "color"]),
    ("install-linker", &["color"]),
    ("report", &["json", "color"]),
    ("simulate", &["json", "color"]),
];

/// Whether `args` may ask for help.
pub(crate) fn is_asked_for(args: &[OsString]) -> bool {
    let words = ["help", "--help", "-h"];
    args.iter().any(|arg| words.iter().any(|word| arg == word))
}

/// `program`, where the help of a door leaves out what that does not heed. All is accepted
/// as before.
pub(crate) fn trimmed(mut program: Command) -> Command {
    // Common options are given to the doors here.
    program.build();
    for (door, heeded) in HEEDED {
        program = program.mut_subcommand(door, |door| {
            door.mut_args(|arg| {
                let name = arg.get_long().unwrap_or_default();
                let is_idle = arg.is_global_set() && !heeded.contains(&name);
                arg.hide(is_idle)
            })
        });
    }
    program
}
