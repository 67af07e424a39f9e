//! What clang's flags mean for an object.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use crate::block_list::BlockList;
use crate::dependency::{Dependency, Part};
use crate::digest::Hasher;
use crate::files::Files;
use crate::named;
use crate::plan::Job;
use crate::portable::{BLOCK_LIST, Portable, Reading};

/// What flags mean for an object.
#[derive(Clone, Debug)]
pub(crate) struct FlagsKey {
    /// The flags but for the include path, and the files that they name.
    pub(crate) dependencies: Vec<Dependency>,
    /// The include path, which only matters to assembly that pulls in files.
    pub(crate) include: Vec<String>,
    /// How messages look, which depends on the terminal: no part of the object.
    pub(crate) rendering: Vec<String>,
    /// What they mean on another machine; `None` if they name files in ways that may
    /// mean something else there.
    pub(crate) portable: Option<Portable>,
    /// Where the files are that the flags name.
    paths: Vec<PathBuf>,
    /// The file that lists basic blocks, if it is named for nothing else.
    listing: Option<Listing>,
}

/// A file that lists basic blocks.
#[derive(Clone, Debug)]
struct Listing {
    name: String,
    path: PathBuf,
    /// Read when it is first asked for: most runs end before.
    list: Arc<OnceLock<Option<BlockList>>>,
}

impl FlagsKey {
    /// Whether the files that the flags name, which `files` has, are on disk as
    /// they were when they were hashed: LLVM opens them by name.
    pub(crate) fn holds(&self, files: &Files) -> bool {
        self.paths
            .iter()
            .all(|path| files.get(path).is_ok_and(|file| file.is_unchanged()))
    }

    /// The list of basic blocks that the flags name, if it says certain things of
    /// certain functions and nothing more. `files` are those of the run.
    pub(crate) fn block_list(&self, files: &Files) -> Option<&BlockList> {
        let listing = self.listing.as_ref()?;
        let read = || BlockList::parse(files.get(&listing.path).ok()?.bytes());
        listing.list.get_or_init(read).as_ref()
    }

    /// The flags and the files that they name, without the list of basic blocks.
    pub(crate) fn without_block_list(&self) -> impl Iterator<Item = &Dependency> {
        let listed = self.listing.as_ref().map(|listing| &*listing.name);
        self.dependencies.iter().filter(move |dependency| {
            dependency.part != Part::FlagFile || Some(&*dependency.name) != listed
        })
    }
}

/// cc1 options with a directory of the include path for a value.
const INCLUDE: [&str; 8] = [
    "-I",
    "-iquote",
    "-isystem",
    "-idirafter",
    "-internal-isystem",
    "-internal-externc-isystem",
    "-cxx-isystem",
    "-c-isystem",
];

/// cc1 options, with a value, that no object compiled from bitcode depends on, or
/// that are part of the key elsewhere: the names of the job's files, and the
/// resource directory, which belongs to the LLVM.
const IRRELEVANT: [&str; 3] = ["-resource-dir", "-o", "-main-file-name"];

/// The working directory as debug information has it: the front end put it into
/// the bitcode, the back end reads it there.
const IRRELEVANT_JOINED: [&str; 3] = [
    "-fdebug-compilation-dir=",
    "-fcoverage-compilation-dir=",
    "-fthinlto-index=",
];

/// cc1 options, by how they start, that decide how messages look. clang's driver adds
/// them by what standard error is.
const RENDERING: [&str; 3] = [
    "-fcolor-diagnostics",
    "-fansi-escape-codes",
    "-fmessage-length=",
];

/// cc1 options, by how they start, that have more written than an object, or less
/// than all that was asked for printed when the object is not compiled.
const MORE_OUTPUT: [&str; 20] = [
    // Names and places are in IR, which no object has.
    "-emit-llvm",
    "-split-dwarf-output",
    "-split-dwarf-file",
    "-opt-record-file",
    "-stack-usage-file",
    "-serialize-diagnostic-file",
    "-diagnostic-log-file",
    "-header-include-file",
    "-dependency-file",
    "-coverage-",
    "-save-temps",
    "-ftime-trace",
    "-ftime-report",
    "-print-stats",
    "-stats-file",
    "-fsave-optimization-record",
    "-gsplit-dwarf",
    "-print-pipeline-passes",
    "-fdump-",
    "-mdebug-pass",
];

/// Words in the names of LLVM's own options that write files, print more than
/// diagnostics, ask another program, or count what a whole process compiles
/// (bisection, debug counters). Why words will do: docs/design/keys.md.
const MORE_OUTPUT_OF_LLVM: [&str; 29] = [
    "output",
    "print",
    "dump",
    "dumpafter",
    "dot",
    "view",
    "show",
    "report",
    "log",
    "verbose",
    "verbosity",
    "stats",
    "time",
    "timers",
    "timing",
    "trace",
    "remarks",
    "bisect",
    "counter",
    "counters",
    "save",
    "write",
    "file",
    "diagnostics",
    "interactive",
    "help",
    "version",
    // -misched-dcpl and -polly-optimized-scops print.
    "dcpl",
    "scops",
];

/// What has such a word and only steers code. A kernel with KCSAN has it in each compile.
const CODE_OF_LLVM: &str = "tsan-compound-read-before-write";

/// Whether the LLVM option `option` does more than steer code.
fn does_more_than_code(option: &str) -> bool {
    let name = option.trim_start_matches('-');
    let name = name.split('=').next().unwrap_or(name);
    // `debug`, `debug-only`, `debug-pass`, `debugify-…`; what has the word elsewhere is
    // about debug information.
    let has_word = |name: &str| {
        name.split('-')
            .any(|word| MORE_OUTPUT_OF_LLVM.contains(&word))
    };
    // Polly's two name files after functions.
    ["debug", "polly-export", "polly-import"]
        .iter()
        .any(|start| name.starts_with(start))
        || (name != CODE_OF_LLVM && has_word(name))
}

/// What the cc1 command line `args`, run in `directory`, means for an object.
/// `None` when it asks for more than an object: such jobs always run. The last
/// argument, which names the module, is left out. Files are looked up in `files`.
pub(crate) fn of_flags(args: &[String], directory: &Path, files: &Files) -> Option<FlagsKey> {
    let (_, args) = args.split_last()?;
    let mut hasher = Hasher::new();
    let mut include = Vec::new();
    let mut rendering = Vec::new();
    let mut names = Vec::new();
    let mut lists = Vec::new();
    let mut portable = Reading::new(directory);
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let arg = arg.as_str();
        if MORE_OUTPUT.iter().any(|option| arg.starts_with(option))
            || named::names_odd_file(arg, directory)
        {
            return None;
        }
        if INCLUDE.contains(&arg) {
            include.extend(args.next().cloned());
        } else if let Some(directory) = arg.strip_prefix("-I") {
            // As the driver passes on what `-Wa,-I…` says.
            include.push(directory.to_owned());
        } else if RENDERING.iter().any(|option| arg.starts_with(option)) {
            rendering.push(arg.to_owned());
        } else if IRRELEVANT.contains(&arg) {
            args.next();
        } else if arg == "-mllvm" {
            let option = args.next()?;
            if does_more_than_code(option) || named::names_odd_file(option, directory) {
                return None;
            }
            hasher.field("llvm", option.as_bytes());
            let named = named::file_names(option, directory);
            portable.add("llvm", option, &named, files);
            names.extend(named);
        } else if !IRRELEVANT_JOINED.iter().any(|name| arg.starts_with(name)) {
            hasher.field("arg", arg.as_bytes());
            let mut named = named::file_names(arg, directory);
            portable.add("arg", arg, &named, files);
            if let Some(list) = arg.strip_prefix(BLOCK_LIST) {
                lists.push(list);
                named.retain(|name| *name != list);
            }
            names.extend(named);
        }
    }
    let listing = listing(&lists, &names, directory);
    names.extend(
        lists
            .into_iter()
            .filter(|name| directory.join(name).is_file()),
    );
    names.sort_unstable();
    names.dedup();
    let mut dependencies = vec![Dependency::new(Part::Flags, "", hasher.digest())];
    let mut paths = Vec::with_capacity(names.len());
    for name in names {
        let path = directory.join(name);
        let content = files.get(&path).ok().map(|file| file.digest());
        dependencies.push(Dependency::new(Part::FlagFile, name, content));
        paths.push(path);
    }
    Some(FlagsKey {
        dependencies,
        include,
        rendering,
        portable: portable.finish(),
        paths,
        listing,
    })
}

/// The one of `lists`, names of files that list basic blocks, if there is one and no
/// other argument names it: `names` are the files that they name.
fn listing(lists: &[&str], names: &[&str], directory: &Path) -> Option<Listing> {
    let (&name, others) = lists.split_first()?;
    let is_alone = others.iter().all(|other| *other == name) && !names.contains(&name);
    is_alone.then(|| Listing {
        name: name.to_owned(),
        path: directory.join(name),
        list: Arc::default(),
    })
}

/// The files that the command line of `job` names, but for those of the job itself
/// and the compiler. Response files are among them.
pub(crate) fn files_of_command(job: &Job) -> Vec<String> {
    let own = [Some(&job.module), job.index.as_ref(), Some(&job.output)];
    let words = job.command_line();
    let names = words.iter().skip(1).flat_map(|word| {
        let word = word.strip_prefix('@').unwrap_or(word);
        named::file_names(word, &job.directory)
    });
    let others = names.filter(|name| own.iter().flatten().all(|own| own != name));
    others.map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn key(args: &[&str], directory: &Path) -> Option<FlagsKey> {
        let args = args.iter().chain(&["module.o"]);
        let args: Vec<String> = args.map(|arg| (*arg).to_owned()).collect();
        of_flags(&args, directory, &Files::default())
    }

    #[test]
    fn places_do_not_matter_and_flags_do() {
        let here = Path::new("/nowhere");
        let base = key(&["-cc1", "-O2", "-I", "inc"], here).unwrap();
        let elsewhere = [
            "-cc1",
            "-resource-dir",
            "/x",
            "-O2",
            "-I",
            "other",
            "-fdebug-compilation-dir=/y",
        ];
        let elsewhere = key(&elsewhere, Path::new("/elsewhere")).unwrap();
        assert_eq!(base.dependencies, elsewhere.dependencies);
        assert_eq!(
            (&*base.include, &*elsewhere.include),
            (&["inc".to_owned()][..], &["other".to_owned()][..])
        );
        let colours = ["-cc1", "-fcolor-diagnostics", "-fmessage-length=80", "-O2"];
        let colours = key(&colours, here).unwrap();
        assert_eq!(base.dependencies, colours.dependencies);
        assert_ne!(base.rendering, colours.rendering);
        for other in [
            &["-cc1", "-O1"][..],
            &["-cc1"],
            &["-cc1", "-O2", "-mllvm", "-x"],
            &["-cc1", "-O2", "-x"],
        ] {
            assert_ne!(
                key(other, here).unwrap().dependencies,
                base.dependencies,
                "{other:?}"
            );
        }
    }

    #[test]
    fn a_file_that_is_named_counts_with_its_content() {
        let tree = tempfile::tempdir().unwrap();
        let args = [
            "-fprofile-instrument-use-path=p.profdata",
            "-f=list=l",
            "list,x",
        ];
        let mut seen = BTreeSet::new();
        for (name, text) in [
            ("p.profdata", "a"),
            ("p.profdata", "b"),
            ("l", "c"),
            ("list", "d"),
        ] {
            let before = key(&args, tree.path()).unwrap();
            assert!(before.holds(&Files::default()));
            seen.insert(before.dependencies);
            std::fs::write(tree.path().join(name), text).unwrap();
        }
        seen.insert(key(&args, tree.path()).unwrap().dependencies);
        assert_eq!(seen.len(), 5);
    }

    /// What a pipe had is gone; it may have the same name next time.
    #[test]
    fn what_is_no_file_has_no_content_to_count() {
        let tree = tempfile::tempdir().unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(tree.path().join("odd")).unwrap();
        for args in [&["-f=list=odd"][..], &["odd"], &["-mllvm", "-x=odd"]] {
            assert!(key(args, tree.path()).is_none(), "{args:?}");
        }
        for args in [&["-f=/dev/null"][..], &["-f=."], &["-f=none"]] {
            assert!(key(args, tree.path()).is_some(), "{args:?}");
        }
    }

    #[test]
    fn a_list_of_basic_blocks_is_read_for_itself_if_it_is_named_for_nothing_else() {
        let tree = tempfile::tempdir().unwrap();
        std::fs::write(tree.path().join("l"), "v1\nf start\n").unwrap();
        std::fs::write(tree.path().join("old"), "!start\n").unwrap();
        let list = "-fbasic-block-sections=list=l";
        for (args, is_read) in [
            (&[list, "-O2"][..], true),
            (&[list, list], true),
            (&["-O2", "-f=l"], false),
            (&[list, "-fother=l"], false),
            (&[list, "-fbasic-block-sections=list=old"], false),
            (&["-fbasic-block-sections=list=old"], false),
            (&["-fbasic-block-sections=list=lost"], false),
            (&[list, "-mllvm", "-other=l"], false),
        ] {
            let key = key(args, tree.path()).unwrap();
            let list = key.block_list(&Files::default());
            assert_eq!(list.is_some(), is_read, "{args:?}");
            let left = key.without_block_list().count();
            let left_out = key.dependencies.len() - left;
            assert!(left_out == 1 || !is_read, "{args:?}");
        }
    }

    #[test]
    fn a_file_that_changes_later_is_noticed() {
        let tree = tempfile::tempdir().unwrap();
        let path = tree.path().join("p");
        std::fs::write(&path, "a").unwrap();
        let files = Files::default();
        let args = ["-f=p", "x"].map(str::to_owned);
        let key = of_flags(&args, tree.path(), &files).unwrap();
        assert!(key.holds(&files));
        std::fs::write(&path, "ab").unwrap();
        assert!(!key.holds(&files));
    }

    #[test]
    fn jobs_that_write_more_than_an_object_have_no_key() {
        let here = Path::new("/nowhere");
        for args in [
            &["-split-dwarf-output", "x.dwo"][..],
            &["-mllvm", "-print-after-all"],
            &["-mllvm", "--opt-bisect-limit=3"],
            &["-mllvm", "-debug-counter=x"],
            &["-mllvm", "-info-output-file=x"],
            &["-mllvm", "-dataflow-log=x"],
            &["-mllvm", "-icp-dumpafter"],
            &["-mllvm", "-inliner-interactive-channel-base=x"],
            &["-mllvm", "-lowertypetests-write-summary=x"],
            &["-mllvm", "-report-profile-staleness"],
            &["-mllvm", "-show-fs-branchprob"],
            &["-mllvm", "-misched-dcpl"],
            &["-serialize-diagnostic-file", "x"],
            &["-ftime-trace=x"],
            &["-emit-llvm"],
            &["-emit-llvm-bc"],
            &["-mllvm", "-polly-export"],
            &["-mllvm", "-polly-import-jscop-dir=x"],
        ] {
            assert!(key(args, here).is_none(), "{args:?}");
        }
        for option in [
            "-disable-auto-upgrade-debug-info",
            "-import-instr-limit=5",
            "-regalloc=basic",
            "-hwasan-instrument-writes=0",
            "-tsan-compound-read-before-write=1",
            "-x=print",
        ] {
            assert!(key(&["-mllvm", option], here).is_some(), "{option}");
        }
    }
}
