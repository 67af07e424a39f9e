//! Flags on another machine, where the files that they name have other names.

use std::path::Path;
use std::sync::Arc;

use crate::digest::{Digest, Hasher};
use crate::files::{Files, InputFile};

/// The cc1 option with the name of a file that lists basic blocks.
pub(crate) const BLOCK_LIST: &str = "-fbasic-block-sections=list=";

/// cc1 options that name a file of which an object knows no more than the content: its
/// name stands in messages alone. All are read by `runThinLTOBackend` of
/// `clang/lib/CodeGen/BackendUtil.cpp`.
const CONTENT_ALONE: [&str; 4] = [
    BLOCK_LIST,
    "-fprofile-sample-use=",
    "-fprofile-instrument-use-path=",
    "-fprofile-remapping-file=",
];

/// What stands before a name in an argument.
const BEFORE_NAME: [char; 3] = ['=', ',', ':'];

/// What flags mean wherever the files are that they name.
#[derive(Clone)]
pub(crate) struct Portable {
    /// The digest of the flags, in which files stand for their names.
    pub(crate) digest: Digest,
    /// The files, under the names that the flags give them.
    pub(crate) files: Vec<(String, Arc<InputFile>)>,
}

impl std::fmt::Debug for Portable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names = self.files.iter().map(|(name, _)| name);
        f.debug_list().entries(names).finish()
    }
}

impl Portable {
    /// The driver's arguments `args` with `new_name` for the name of each file; `None` if
    /// they do not name all of the files, such as when the driver makes up names.
    pub(crate) fn rename(
        &self,
        args: &[String],
        mut new_name: impl FnMut(&Arc<InputFile>) -> String,
    ) -> Option<Vec<String>> {
        let mut renamed = args.to_owned();
        for (name, file) in &self.files {
            let new_name = new_name(file);
            let named = |arg: &&mut String| ends_with_name(arg, name);
            let mut count = 0;
            for arg in renamed.iter_mut().filter(named) {
                arg.replace_range(arg.len() - name.len().., &new_name);
                count += 1;
            }
            if count == 0 {
                return None;
            }
        }
        Some(renamed)
    }

    /// Whether `args`, from which the flags come, name all of the files themselves.
    pub(crate) fn is_named_by(&self, args: &[String]) -> bool {
        let is_named = |name: &String| args.iter().any(|arg| ends_with_name(arg, name));
        let reads_more = args.iter().any(|arg| arg.starts_with('@'));
        !reads_more && self.files.iter().all(|(name, _)| is_named(name))
    }
}

/// Whether `name` stands at the end of `arg`, as the whole of a value.
fn ends_with_name(arg: &str, name: &str) -> bool {
    let before = arg.strip_suffix(name);
    before.is_some_and(|before| before.is_empty() || before.ends_with(BEFORE_NAME))
}

/// Flags that are looked at one after the other.
pub(crate) struct Reading<'a> {
    directory: &'a Path,
    hasher: Hasher,
    files: Vec<(String, Arc<InputFile>)>,
    /// Whether something was named where more than the content may count.
    is_bound: bool,
}

impl<'a> Reading<'a> {
    /// Starts with no flags; names start in `directory`.
    pub(crate) fn new(directory: &'a Path) -> Reading<'a> {
        Reading {
            directory,
            hasher: Hasher::new(),
            files: Vec::new(),
            is_bound: false,
        }
    }

    /// Adds `arg`, an argument of a `kind`, which names the files `names` of `files`.
    pub(crate) fn add(&mut self, kind: &str, arg: &str, names: &[&str], files: &Files) {
        let option = CONTENT_ALONE
            .iter()
            .find(|option| arg.starts_with(**option));
        let name = option.map_or("", |option| &arg[option.len()..]);
        if names.is_empty() {
            self.hasher.field(kind, arg.as_bytes());
        } else if let Some(option) = option
            && names.iter().all(|named| *named == name)
            && let Ok(file) = files.get(&self.directory.join(name))
        {
            self.hasher.field(option, file.digest().as_bytes());
            if self.files.iter().all(|(known, _)| known != name) {
                self.files.push((name.to_owned(), file));
            }
        } else {
            self.is_bound = true;
        }
    }

    /// What the flags mean elsewhere; `None` if that is not known.
    pub(crate) fn finish(self) -> Option<Portable> {
        (!self.is_bound).then(|| Portable {
            digest: self.hasher.digest(),
            files: self.files,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `args` mean in a directory with the files `there`, `other` of the same content,
    /// and `third`.
    fn portable(args: &[&str]) -> Option<Portable> {
        let tree = tempfile::tempdir().expect("a directory");
        for (name, text) in [("there", "1"), ("other", "1"), ("third", "3")] {
            std::fs::write(tree.path().join(name), text).expect("a file");
        }
        let files = Files::default();
        let mut reading = Reading::new(tree.path());
        for arg in args {
            let after = arg.match_indices(BEFORE_NAME).map(|(at, _)| at + 1);
            let names = after.map(|at| &arg[at..]);
            let names: Vec<&str> = names
                .filter(|name| tree.path().join(name).is_file())
                .collect();
            reading.add("arg", arg, &names, &files);
        }
        reading.finish()
    }

    #[test]
    fn the_content_of_a_file_counts_and_its_name_does_not() {
        let digest = |args: &[&str]| portable(args).expect("portable flags").digest;
        let base = digest(&["-O2", "-fprofile-sample-use=there"]);
        assert_eq!(base, digest(&["-O2", "-fprofile-sample-use=other"]));
        for others in [
            &["-O2", "-fprofile-sample-use=third"][..],
            &["-O2", "-fprofile-sample-use=nowhere"],
            &["-O2", "-fprofile-remapping-file=there"],
            &["-fprofile-sample-use=there", "-O2"],
        ] {
            assert_ne!(base, digest(others), "{others:?}");
        }
    }

    #[test]
    fn a_file_whose_name_may_count_keeps_flags_where_they_are() {
        assert!(portable(&["-fsomething=nowhere"]).is_some());
        for bound in ["-fsomething=there", "-fbasic-block-sections=list=x:there"] {
            assert!(portable(&[bound]).is_none(), "{bound}");
        }
    }

    #[test]
    fn arguments_of_the_driver_get_the_new_names() {
        let portable = portable(&["-fprofile-sample-use=there"]).expect("portable flags");
        let args = |args: &[&str]| args.iter().map(|arg| (*arg).to_owned()).collect::<Vec<_>>();
        let given = args(&["-O2", "-fprofile-sample-use=there", "elsewhere"]);
        assert!(portable.is_named_by(&given));
        let renamed = portable.rename(&given, |_| "in/1".to_owned());
        let expected = args(&["-O2", "-fprofile-sample-use=in/1", "elsewhere"]);
        assert_eq!(renamed, Some(expected));
        for unnamed in [
            &["-O2", "-fprofile-use=."][..],
            &["-fprofile-sample-use=there", "@more"],
        ] {
            assert!(!portable.is_named_by(&args(unnamed)), "{unnamed:?}");
        }
        assert_eq!(
            portable.rename(&args(&["-fprofile-use=."]), |_| String::new()),
            None
        );
    }
}
