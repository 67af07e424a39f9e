//! What an object depends on, as digests.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use object::Object;

use super::asm::Files;
use crate::digest::{Digest, Hasher};
use crate::llvm::BUILT_VERSION;

/// What flags mean for an object.
#[derive(Clone, Debug)]
pub(crate) struct FlagsKey {
    /// Everything but the include path, which only matters to assembly that
    /// pulls in files.
    pub(crate) digest: Digest,
    /// The include path.
    pub(crate) include: Vec<String>,
    /// Files that count with their content.
    named: Vec<(PathBuf, Digest)>,
}

impl FlagsKey {
    /// Whether the files that flags name are still as they were.
    pub(crate) fn holds(&self) -> bool {
        self.named.iter().all(|(path, known)| {
            let content = std::fs::read(path);
            content.is_ok_and(|content| Digest::of(&content) == *known)
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

/// cc1 options that have more written than an object, or less than all that was
/// asked for printed when the object is not compiled.
const MORE_OUTPUT: [&str; 12] = [
    "-split-dwarf-output",
    "-split-dwarf-file",
    "-opt-record-file",
    "-stack-usage-file",
    "-ftime-trace",
    "-ftime-report",
    "-print-stats",
    "-stats-file",
    "-fsave-optimization-record",
    "-gsplit-dwarf",
    "-print-pipeline-passes",
    "-fdump-",
];

/// Words in LLVM's own options that write files or print more than diagnostics.
const MORE_OUTPUT_OF_LLVM: [&str; 10] = [
    "output", "print", "dump", "dot-", "-view", "stats", "time-", "debug", "trace", "remarks",
];

/// What the cc1 command line `args`, run in `directory`, means for an object.
/// `None` when it asks for more than an object: such jobs always run. The last
/// argument, which names the module, is left out.
pub(crate) fn of_flags(args: &[String], directory: &Path) -> Option<FlagsKey> {
    let (_, args) = args.split_last()?;
    let mut hasher = Hasher::new();
    let mut include = Vec::new();
    let mut named = Vec::new();
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let arg = arg.as_str();
        if MORE_OUTPUT.iter().any(|option| arg.starts_with(option)) {
            return None;
        }
        if INCLUDE.contains(&arg) {
            include.extend(args.next().cloned());
        } else if let Some(directory) = arg.strip_prefix("-I") {
            // As the driver passes on what `-Wa,-I…` says.
            include.push(directory.to_owned());
        } else if IRRELEVANT.contains(&arg) {
            args.next();
        } else if arg == "-mllvm" {
            let option = args.next()?;
            if MORE_OUTPUT_OF_LLVM.iter().any(|word| option.contains(word)) {
                return None;
            }
            hasher.field("llvm", option.as_bytes());
            named.extend(named_files(option, directory));
        } else if !IRRELEVANT_JOINED.iter().any(|name| arg.starts_with(name)) {
            hasher.field("arg", arg.as_bytes());
            named.extend(named_files(arg, directory));
        }
    }
    for (name, content) in &named {
        hasher
            .field("file", name.as_bytes())
            .field("content", content.as_bytes());
    }
    let in_directory = |(name, content)| (directory.join(name), content);
    Some(FlagsKey {
        digest: hasher.digest(),
        include,
        named: named.into_iter().map(in_directory).collect(),
    })
}

/// Profiles, lists of functions: a file that an argument names counts with its
/// content, whatever the argument is for and wherever the name starts and ends
/// (`-fbasic-block-sections=list=NAME`).
fn named_files(arg: &str, directory: &Path) -> Vec<(String, Digest)> {
    let after = arg.match_indices(['=', ',', ':']).map(|(at, _)| at + 1);
    let rests = std::iter::once(0).chain(after).map(|start| &arg[start..]);
    let names = rests.flat_map(|rest| {
        let whole = std::iter::once(rest);
        whole.chain(rest.split_once([',', ':']).map(|(name, _)| name))
    });
    names
        .filter_map(|name| {
            let path = directory.join(name);
            let content = path.is_file().then(|| std::fs::read(path).ok())??;
            Some((name.to_owned(), Digest::of(&content)))
        })
        .collect()
}

/// The key of an object by everything that its job reads, but for files that
/// assembly pulls in.
pub(crate) struct Inputs<'a> {
    pub(crate) flags: &'a Digest,
    /// The names are those that the index has.
    pub(crate) module: (&'a str, Digest),
    pub(crate) index: Digest,
    pub(crate) imports: &'a mut dyn Iterator<Item = (&'a str, Digest)>,
}

impl Inputs<'_> {
    pub(crate) fn key(self) -> Digest {
        let mut hasher = Hasher::new();
        hasher
            .field("build", build().as_bytes())
            .field("flags", self.flags.as_bytes())
            .field("module", self.module.0.as_bytes())
            .field("content", self.module.1.as_bytes())
            .field("index", self.index.as_bytes());
        for (name, content) in self.imports {
            hasher
                .field("import", name.as_bytes())
                .field("content", content.as_bytes());
        }
        hasher.digest()
    }
}

/// The key of an object by its module as the optimiser gets it, and by what is
/// left of its index then ([`crate::llvm::index_remainder`]).
pub(crate) fn of_imported(flags: &Digest, bitcode: &[u8], index: &[u8], files: &Files) -> Digest {
    let mut hasher = Hasher::new();
    hasher
        .field("build", build().as_bytes())
        .field("flags", flags.as_bytes())
        .field("imported", Digest::of(bitcode).as_bytes())
        .field("index", index);
    for (name, content) in files {
        hasher.field("file", name.as_bytes());
        match content {
            Some(content) => hasher.field("content", content.as_bytes()),
            None => hasher.field("absent", &[]),
        };
    }
    hasher.digest()
}

/// Which backlto and LLVM compile.
pub(crate) fn build() -> &'static Digest {
    static BUILD: OnceLock<Digest> = OnceLock::new();
    BUILD.get_or_init(|| {
        let mut hasher = Hasher::new();
        hasher.field("llvm", BUILT_VERSION.as_bytes());
        for file in std::iter::once("/proc/self/exe".to_owned()).chain(libraries()) {
            hasher.field("code", &identity(&file));
        }
        hasher.digest()
    })
}

/// LLVM's, clang's and our own libraries in this process, by path.
fn libraries() -> BTreeSet<String> {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    maps.lines()
        .filter_map(|line| line.find('/').map(|at| &line[at..]))
        .filter(|path| {
            ["libLLVM", "libclang", "libbacklto"]
                .iter()
                .any(|name| path.contains(name))
        })
        .map(str::to_owned)
        .collect()
}

/// A digest of [`identity`].
pub(crate) fn of_program(path: &str) -> Digest {
    Digest::of(&identity(path))
}

/// The build ID of the ELF file at `path`, else what else tells its builds apart.
pub(crate) fn identity(path: &str) -> Vec<u8> {
    let build_id = std::fs::File::open(path)
        .and_then(|file| crate::sys::Mapping::new(&file))
        .ok()
        .and_then(|map| {
            let file = object::File::parse(map.bytes()).ok()?;
            file.build_id().ok()?.map(<[u8]>::to_vec)
        });
    build_id.unwrap_or_else(|| {
        let metadata = std::fs::metadata(path).ok();
        let size = metadata.as_ref().map(std::fs::Metadata::len);
        let modified = metadata.and_then(|m| m.modified().ok());
        format!("{path} {size:?} {modified:?}").into_bytes()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(args: &[&str], directory: &Path) -> Option<FlagsKey> {
        let args = args.iter().chain(&["module.o"]);
        let args: Vec<String> = args.map(|arg| (*arg).to_owned()).collect();
        of_flags(&args, directory)
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
        assert_eq!(base.digest, elsewhere.digest);
        assert_eq!(
            (&*base.include, &*elsewhere.include),
            (&["inc".to_owned()][..], &["other".to_owned()][..])
        );
        for other in [
            &["-cc1", "-O1"][..],
            &["-cc1"],
            &["-cc1", "-O2", "-mllvm", "-x"],
            &["-cc1", "-O2", "-x"],
        ] {
            assert_ne!(key(other, here).unwrap().digest, base.digest, "{other:?}");
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
            assert!(before.holds());
            seen.insert(before.digest);
            let is_known = tree.path().join(name).exists();
            std::fs::write(tree.path().join(name), text).unwrap();
            assert_eq!(before.holds(), !is_known);
        }
        seen.insert(key(&args, tree.path()).unwrap().digest);
        assert_eq!(seen.len(), 5);
    }

    #[test]
    fn jobs_that_write_more_than_an_object_have_no_key() {
        let here = Path::new("/nowhere");
        for args in [
            &["-split-dwarf-output", "x.dwo"][..],
            &["-mllvm", "-print-after-all"],
            &["-ftime-trace=x"],
        ] {
            assert!(key(args, here).is_none(), "{args:?}");
        }
    }
}
