//! `backlto manual`: manual pages of both programs, and completions for shells.

use std::io;
use std::path::Path;

use clap::Command;
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Inline, Roff, bold, italic, roman};

/// Variables that no option stands for, and what they do.
const VARIABLES: [(&str, &str); 9] = [
    ("LD", "The ld.lld to use, where --ld names none."),
    (
        "BACKLTO_LD",
        "The ld.lld that ld.backlto becomes [default: that of its LLVM on PATH, then ld.lld].",
    ),
    (
        "BACKLTO_SUMMARY",
        "With 1, the backends of each link end with a line that says what they came to; with 0 \
         not even on a terminal.",
    ),
    (
        "MAKEFLAGS, CARGO_MAKEFLAGS",
        "Where a make or cargo above counts its jobs: workers ask it for leave.",
    ),
    (
        "XDG_CACHE_HOME, HOME",
        "Where the cache is by default: backlto in the first, else in .cache of the second.",
    ),
    (
        "TMPDIR",
        "Where temporary files are, of which there are few.",
    ),
    (
        "NO_COLOR, CLICOLOR_FORCE",
        "No colours, and colours in any case, where --color is auto.",
    ),
    (
        "BROWSER",
        "The browsers that backlto report --open tries, with a colon between them; else xdg-open.",
    ),
    (
        "PATH",
        "Where ld.lld, and programs that flags name, are looked for.",
    ),
];

/// Files that are read or left.
const FILES: [(&str, &str); 6] = [
    (
        "~/.cache/backlto",
        "Objects of earlier builds; backlto cache looks after them.",
    ),
    (
        ".tmp_backlto",
        "In a kernel's object tree: what its objects are made of.",
    ),
    (
        ".PLAN.json.backlto",
        "Beside a plan: the same of its programs.",
    ),
    (
        ".tmp_backlto-run, .PLAN.json.backlto-run",
        "Beside these: what happened in the last run, for backlto report.",
    ),
    (
        "backlto-repro-NAME.tar.zst",
        "A compile that crashed; backlto repro repeats it.",
    ),
    (
        "backlto-audit-NAME/",
        "Two objects that an audit has found to differ.",
    ),
];

/// What the exit status says.
const STATUS: [(&str, &str); 4] = [
    ("0", "All is done."),
    (
        "1",
        "Something failed; standard error says what. Of backlto cc: as of clang.",
    ),
    ("2", "The command line makes no sense."),
    ("128+N", "Signal N ended the run: 130 for Ctrl-C."),
];

/// Writes pages and completions of `program` to `directory`; `examples` are those of its
/// help, a command and what it is for on each line.
///
/// # Errors
/// When a file cannot be written.
pub(crate) fn write(program: &Command, examples: &str, directory: &Path) -> io::Result<()> {
    let mut program = program.clone().disable_help_subcommand(true);
    program.build();
    write_page(&program, &program, examples, directory)?;
    let shown = program.get_subcommands().filter(|door| !door.is_hide_set());
    for door in shown {
        write_page(door, &program, "", directory)?;
    }
    std::fs::write(directory.join("ld.backlto.1"), page_of_linker(&program))?;
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        clap_complete::generate_to(shell, &mut program, "backlto", directory)?;
    }
    Ok(())
}

/// Writes the page of `command`, which is `program` or one of its doors.
fn write_page(
    command: &Command,
    program: &Command,
    examples: &str,
    directory: &Path,
) -> io::Result<()> {
    let man = Man::new(command.clone());
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut page)?;
    }
    let mut roff = Roff::new();
    if !examples.is_empty() {
        add_as_it_is(&mut roff, "EXAMPLES", examples);
    }
    let by_option = variables_of(command);
    let others = VARIABLES
        .iter()
        .map(|&(name, text)| (name.to_owned(), text.to_owned()));
    add_list(
        &mut roff,
        "ENVIRONMENT",
        by_option.into_iter().chain(others),
    );
    add_list(&mut roff, "FILES", owned(&FILES));
    add_list(&mut roff, "EXIT STATUS", owned(&STATUS));
    let name = command.get_display_name();
    add_see_also(&mut roff, name.unwrap_or(command.get_name()), program);
    roff.to_writer(&mut page)?;
    std::fs::write(directory.join(man.get_filename()), page)
}

/// The variables that stand for options of `command`, with what those do.
fn variables_of(command: &Command) -> Vec<(String, String)> {
    let arguments = command.get_arguments();
    let with_variable = arguments.filter_map(|argument| {
        let name = argument.get_env()?.to_str()?;
        let option = argument.get_long()?;
        let help = argument.get_help()?.to_string();
        Some((name.to_owned(), format!("As --{option}: {help}.")))
    });
    with_variable.collect()
}

fn owned<const N: usize>(list: &[(&str, &str); N]) -> Vec<(String, String)> {
    let pairs = list.iter();
    pairs
        .map(|&(name, text)| (name.to_owned(), text.to_owned()))
        .collect()
}

/// Adds the section `title`, a list of names and what they are.
fn add_list(roff: &mut Roff, title: &str, list: impl IntoIterator<Item = (String, String)>) {
    roff.control("SH", [title]);
    for (name, text) in list {
        roff.control("TP", [])
            .text([bold(name)])
            .text([roman(text)]);
    }
}

/// Adds the section `title` with `text` as it is laid out.
fn add_as_it_is(roff: &mut Roff, title: &str, text: &str) {
    roff.control("SH", [title]).control("nf", []);
    for line in text.lines() {
        roff.text([roman(line)]);
    }
    roff.control("fi", []);
}

/// Adds what else there is to read beside the page `own`: the other pages.
fn add_see_also(roff: &mut Roff, own: &str, program: &Command) {
    let doors = program.get_subcommands().filter(|door| !door.is_hide_set());
    let doors = doors.map(|door| format!("backlto-{}", door.get_name()));
    let others = ["backlto", "ld.backlto", "clang", "ld.lld"].map(str::to_owned);
    let mut words: Vec<Inline> = Vec::new();
    for page in others.into_iter().chain(doors).filter(|page| page != own) {
        if !words.is_empty() {
            words.push(roman(", "));
        }
        words.extend([bold(page), roman("(1)")]);
    }
    roff.control("SH", ["SEE ALSO"]).text(words);
}

/// The page ld.backlto(1); `program` is backlto.
fn page_of_linker(program: &Command) -> String {
    let mut roff = Roff::new();
    roff.control("TH", ["ld.backlto", "1"]);
    roff.control("SH", ["NAME"]);
    roff.text([roman(
        "ld.backlto - ld.lld, with the ThinLTO backends of a link in one process",
    )]);
    roff.control("SH", ["SYNOPSIS"]);
    roff.text([
        bold("ld.backlto"),
        roman(" ["),
        italic("OPTION"),
        roman(" | "),
        italic("FILE"),
        roman("]..."),
    ]);
    roff.control("br", []);
    roff.text([bold("clang -flto=thin -fuse-ld=backlto"), roman(" ...")]);
    roff.control("SH", ["DESCRIPTION"]);
    for (number, text) in DESCRIPTION_OF_LINKER.iter().enumerate() {
        if number > 0 {
            roff.control("PP", []);
        }
        roff.text([roman(*text)]);
    }
    let by_option = variables_of(program);
    let own = owned(&VARIABLES)
        .into_iter()
        .filter(|(name, _)| name != "LD");
    add_list(&mut roff, "ENVIRONMENT", by_option.into_iter().chain(own));
    add_list(&mut roff, "FILES", owned(&FILES));
    roff.control("SH", ["EXIT STATUS"]);
    roff.text([roman(
        "That of ld.lld; 1 when there is no ld.lld, or no backlto beside it.",
    )]);
    add_see_also(&mut roff, "ld.backlto", program);
    roff.to_roff()
}

const DESCRIPTION_OF_LINKER: [&str; 4] = [
    "It takes ld.lld's command line and becomes ld.lld. Where an input may be bitcode, ld.lld is \
     told to have the backends of the link run by backlto: all in one process, with the cache. \
     The program is the one that ld.lld alone would make.",
    "What ld.lld cannot tell a distributor of backends, it does itself; -v or --verbose says so. \
     An ld.lld of another LLVM does all of it, with a warning.",
    "In a kernel's build (make LD=ld.backlto) each object gets the flags that were recorded for it.",
    "--version prints that of ld.lld, and a line of its own.",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_have_all_sections_and_nothing_hidden() {
        let variable = clap::Arg::new("x").long("x").env("SOME_X").help("Some x");
        let door = |name: &'static str| Command::new(name).about("A door");
        let program = Command::new("backlto")
            .about("All")
            .arg(variable.global(true))
            .subcommand(door("run"))
            .subcommand(door("secret").hide(true));
        let directory = tempfile::tempdir().unwrap();
        write(&program, "  backlto run x   does x\n", directory.path()).unwrap();
        let read = |name: &str| std::fs::read_to_string(directory.path().join(name)).unwrap();
        for name in ["backlto.1", "backlto-run.1", "ld.backlto.1"] {
            let page = read(name);
            for section in [
                "NAME",
                "ENVIRONMENT",
                "FILES",
                "\"EXIT STATUS\"",
                "\"SEE ALSO\"",
            ] {
                assert!(page.contains(&format!(".SH {section}\n")), "{name}: {page}");
            }
            assert!(
                page.contains("SOME_X") && page.contains("BACKLTO_SUMMARY"),
                "{page}"
            );
            assert!(!page.contains("secret"), "{page}");
        }
        let examples = ".SH EXAMPLES\n.nf\n  backlto run x   does x\n.fi\n";
        assert!(
            read("backlto.1").contains(examples),
            "{}",
            read("backlto.1")
        );
        assert!(!directory.path().join("backlto-secret.1").exists());
        assert!(directory.path().join("backlto.bash").exists());
    }
}
