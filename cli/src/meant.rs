//! What a command line means that others have put together.

use std::ffi::OsString;
use std::io::Write as _;

use clap::Command;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::console;

/// The command line `args` of `program`, as it is meant. LLD calls a distributor with
/// options that the user has for it and, last, the file that describes the jobs; its name
/// is made of that of the link's output, and may look like an option.
pub(crate) fn as_meant(program: &Command, mut args: Vec<OsString>) -> Vec<OsString> {
    let Some((last, before)) = args.split_last() else {
        return args;
    };
    if !last.as_encoded_bytes().ends_with(b".dist-file.json") {
        return args;
    }
    let door = before
        .iter()
        .skip(1)
        .filter_map(|arg| arg.to_str())
        .find(|arg| program.find_subcommand(arg).is_some());
    let is_option = last.as_encoded_bytes().starts_with(b"-");
    let missing: &[&str] = match door {
        None if is_option => &["distribute", "--"],
        None => &["distribute"],
        Some("distribute" | "kbuild-distribute") if is_option => &["--"],
        Some(_) => &[],
    };
    let at = args.len() - 1;
    args.splice(at..at, missing.iter().map(OsString::from));
    args
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
    use super::*;

    fn meant(line: &str) -> String {
        let doors = ["distribute", "kbuild-distribute", "cc"];
        let program = Command::new("b").subcommands(doors.map(Command::new));
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
            ("b --version", "b --version"),
        ] {
            assert_eq!(meant(line), expected);
        }
    }
}
