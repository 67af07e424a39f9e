//! What a command line means that others have put together.

use std::ffi::OsString;
use std::io::Write as _;

use clap::Command;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::console;

/// The command line `args` of `program`, as it is meant. LLD calls a distributor with
/// options that the user has for it and, last, the file that describes the jobs; its name
/// is made of that of the link's output, and may look like an option.
pub(crate) fn as_meant(program: &Command, args: Vec<OsString>) -> Vec<OsString> {
    let Some((last, before)) = args.split_last() else {
        return args;
    };
    if !last.as_encoded_bytes().ends_with(b".dist-file.json") {
        return args;
    }
    let is_option = last.as_encoded_bytes().starts_with(b"-");
    let with = |missing: &[&str]| -> Vec<OsString> {
        let missing = missing.iter().map(OsString::from);
        let words = before.iter().cloned().chain(missing);
        words.chain([last.clone()]).collect()
    };
    let distributed = || match is_option {
        true => with(&["distribute", "--"]),
        false => with(&["distribute"]),
    };
    let is_door = |arg: &OsString| {
        let name = arg.to_str();
        name.is_some_and(|name| program.find_subcommand(name).is_some())
    };
    let Some(at) = before.iter().skip(1).position(is_door) else {
        return distributed();
    };
    let as_given = match before[at + 1].to_str() {
        Some("distribute" | "kbuild-distribute") if is_option => with(&["--"]),
        _ => with(&[]),
    };
    // Behind an option, what looks like a door may be a value.
    let makes_sense = |args: &[OsString]| program.clone().try_get_matches_from(args).is_ok();
    match at > 0 && !makes_sense(&as_given) && makes_sense(&distributed()) {
        true => distributed(),
        false => as_given,
    }
}

/// Ends the process with `error`, which is about the command line of `program`. Without
/// any door, the answer is what doors there are.
pub(crate) fn refuse(mut program: Command, error: clap::Error) -> ! {
    if error.kind() == ErrorKind::MissingSubcommand {
        // Nobody is left to tell when standard error is gone.
        let _ = write!(std::io::stderr(), "{}", program.render_help());
        std::process::exit(error.exit_code());
    }
    let error = without_hidden_doors(&program, error);
    let printed = error.print();
    if !error.use_stderr() {
        // Help and version were asked for.
        console::check_output(printed);
        std::process::exit(i32::from(console::has_lost_output()));
    }
    std::process::exit(error.exit_code())
}

/// Leaves doors that are not for people out of what `error` suggests, an error about
/// `program`.
fn without_hidden_doors(program: &Command, mut error: clap::Error) -> clap::Error {
    let kind = ContextKind::SuggestedSubcommand;
    let is_shown = |name: &String| {
        let door = program.find_subcommand(name);
        door.is_none_or(|door| !door.is_hide_set())
    };
    let shown = match error.get(kind) {
        Some(ContextValue::Strings(names)) => names.iter().filter(|name| is_shown(name)).cloned(),
        _ => return error,
    };
    let shown: Vec<String> = shown.collect();
    match shown.is_empty() {
        true => error.remove(kind),
        false => error.insert(kind, ContextValue::Strings(shown)),
    };
    error
}

/// Whether `args` ask for the version and all that belongs to it: `--version --verbose`.
pub(crate) fn asks_for_all_versions(args: &[OsString]) -> bool {
    let words = args.get(1..).unwrap_or_default();
    let one_of = |names: [&str; 2]| {
        words
            .iter()
            .any(|word| names.iter().any(|name| word == name))
    };
    words.len() == 2 && one_of(["-V", "--version"]) && one_of(["-v", "--verbose"])
}

#[cfg(test)]
mod tests {
    use clap::Arg;

    use super::*;

    fn meant(line: &str) -> String {
        let doors = ["distribute", "kbuild-distribute", "cc"];
        let door = |name| Command::new(name).arg(Arg::new("files").num_args(1..));
        let program = Command::new("b")
            .arg(Arg::new("cache-dir").long("cache-dir"))
            .subcommands(doors.map(door));
        let args = line.split(' ').map(OsString::from).collect();
        let meant: Vec<_> = as_meant(&program, args)
            .into_iter()
            .map(|arg| arg.into_string().expect("text"))
            .collect();
        meant.join(" ")
    }

    #[test]
    fn the_jobs_of_a_link_are_a_file_whatever_its_name() {
        for (line, expected) in [
            ("b a.1.dist-file.json", "b distribute a.1.dist-file.json"),
            (
                "b -j1 a.dist-file.json",
                "b -j1 distribute a.dist-file.json",
            ),
            ("b -.dist-file.json", "b distribute -- -.dist-file.json"),
            (
                "b kbuild-distribute -x.dist-file.json",
                "b kbuild-distribute -- -x.dist-file.json",
            ),
            (
                "b distribute -v -x.1.dist-file.json",
                "b distribute -v -- -x.1.dist-file.json",
            ),
            ("b cc -x.dist-file.json", "b cc -x.dist-file.json"),
            (
                "b --cache-dir cc a.dist-file.json",
                "b --cache-dir cc distribute a.dist-file.json",
            ),
            (
                "b --cache-dir cc -a.dist-file.json",
                "b --cache-dir cc distribute -- -a.dist-file.json",
            ),
            (
                "b --cache-dir cc cc a.dist-file.json",
                "b --cache-dir cc cc a.dist-file.json",
            ),
            ("b --version", "b --version"),
        ] {
            assert_eq!(meant(line), expected);
        }
    }
}
