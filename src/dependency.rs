//! What decides an object: one list, from which the keys of the cache, the record
//! beside the objects and `explain` all derive. What is not in [`Part`] decides
//! nothing.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::digest::{Digest, Hasher};
use crate::named;

/// The kinds of things that an object depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Part {
    /// The programs and libraries that compile: backlto, LLVM, clang, libm, all of
    /// the process.
    Compiler,
    /// clang's flags as cc1 gets them, less what no object depends on.
    Flags,
    /// A file that flags name: a profile, a list of functions.
    FlagFile,
    /// The module, by the name that its index has for it.
    Module,
    /// The summary index of the module.
    Index,
    /// A module that is imported from, by the name that the index has for it.
    Import,
    /// The module as the optimiser gets it, with all that was imported.
    ImportedModule,
    /// What is left of the summary index for the stages after importing.
    IndexAfterImport,
    /// The directories in which assembly looks for files.
    IncludePath,
    /// A file that assembly may pull in, there or not.
    AsmFile,
    /// A word of the command that finishes the object.
    Finisher,
    /// A file that a word of that command names, itself first of all.
    FinisherFile,
}

impl Part {
    /// Its name in lists and keys.
    pub fn as_str(self) -> &'static str {
        match self {
            Part::Compiler => "compiler",
            Part::Flags => "flags",
            Part::FlagFile => "flag-file",
            Part::Module => "module",
            Part::Index => "index",
            Part::Import => "import",
            Part::ImportedModule => "imported-module",
            Part::IndexAfterImport => "index-after-import",
            Part::IncludePath => "include-path",
            Part::AsmFile => "asm-file",
            Part::Finisher => "finisher",
            Part::FinisherFile => "finisher-file",
        }
    }
}

/// One thing that an object depends on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Dependency {
    /// What it is.
    pub part: Part,
    /// Its name, where there may be several of its kind; the name counts.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Its content; `None` for a file that is not there, or cannot be read.
    pub digest: Option<Digest>,
}

impl Dependency {
    pub(crate) fn new(part: Part, name: &str, digest: impl Into<Option<Digest>>) -> Dependency {
        Dependency {
            part,
            name: name.to_owned(),
            digest: digest.into(),
        }
    }
}

/// The key of what depends on `list` and on nothing else. Order counts.
pub(crate) fn key<'a>(list: impl IntoIterator<Item = &'a Dependency>) -> Digest {
    let mut hasher = Hasher::new();
    for dependency in list {
        hasher.field(dependency.part.as_str(), dependency.name.as_bytes());
        match &dependency.digest {
            Some(digest) => hasher.field("content", digest.as_bytes()),
            None => hasher.field("absent", &[]),
        };
    }
    hasher.digest()
}

/// What differs between the lists `before` and `now`, in words for people; nothing
/// when they are the same.
pub(crate) fn differences(before: &[Dependency], now: &[Dependency]) -> Vec<String> {
    if before == now {
        return Vec::new();
    }
    let mut reasons: Vec<String> = Vec::new();
    let mut say = |reason: String| {
        if !reasons.contains(&reason) {
            reasons.push(reason);
        }
    };
    for known in before {
        let same_thing = |other: &&Dependency| known.part == other.part && known.name == other.name;
        match now.iter().find(same_thing) {
            Some(other) if other.digest == known.digest => {}
            Some(other) => say(change(known, other)),
            None => say(one_sided(known, "no longer")),
        }
    }
    for new in now {
        let is_known = |other: &Dependency| new.part == other.part && new.name == other.name;
        if !before.iter().any(is_known) {
            say(one_sided(new, "now"));
        }
    }
    if reasons.is_empty() {
        reasons.push("what it is made of comes in another order".to_owned());
    }
    reasons
}

/// How `now` differs from `before`, which was the same thing.
fn change(before: &Dependency, now: &Dependency) -> String {
    let name = &now.name;
    let changed = |what: &str| match (&before.digest, &now.digest) {
        (Some(before), Some(now)) => {
            let (before, now) = (before.short(), now.short());
            format!("{what} changed from {before} to {now}")
        }
        (Some(_), None) => format!("{what} cannot be read"),
        (None, _) => format!("{what} is there now"),
    };
    match now.part {
        Part::Compiler => "backlto or LLVM is another build".to_owned(),
        Part::Flags => "its flags changed".to_owned(),
        Part::FlagFile => changed(&format!("`{name}`, which its flags name,")),
        Part::Module => changed(&format!("its module `{name}`")),
        Part::Index => changed("its summary index"),
        Part::Import => format!("`{name}`, from which it imports, changed"),
        Part::ImportedModule => "the imported code changed".to_owned(),
        Part::IndexAfterImport => "its summary index says other things of its code".to_owned(),
        Part::IncludePath => "the include path of its assembly changed".to_owned(),
        Part::AsmFile => format!("`{name}`, which its assembly names, changed"),
        Part::Finisher | Part::FinisherFile => "the program to run on it changed".to_owned(),
    }
}

/// What there is to say of a thing that only one of two lists has: `when` it is.
fn one_sided(dependency: &Dependency, when: &str) -> String {
    let name = &dependency.name;
    match dependency.part {
        Part::FlagFile => format!("its flags name `{name}` {when}"),
        Part::Module => format!("its module is `{name}` {when}"),
        Part::Index => format!("it is compiled with a summary index {when}"),
        Part::Import => format!("it imports from `{name}` {when}"),
        Part::AsmFile | Part::IncludePath => format!("its assembly names `{name}` {when}"),
        Part::Finisher | Part::FinisherFile => "the program to run on it changed".to_owned(),
        Part::Compiler | Part::Flags | Part::ImportedModule | Part::IndexAfterImport => {
            change(dependency, dependency)
        }
    }
}

/// `command`, a program and its arguments that are run in `directory`: its words,
/// and the files that they name, the program itself first of all. What is in them
/// is what `digest` says.
pub(crate) fn of_command(
    command: &[String],
    directory: &Path,
    digest: impl Fn(&Path) -> Option<Digest>,
) -> Vec<Dependency> {
    let mut list = Vec::new();
    for (number, word) in command.iter().enumerate() {
        list.push(Dependency::new(
            Part::Finisher,
            &format!("{number} {word}"),
            None,
        ));
        let files = match number {
            0 if !word.contains('/') => Vec::from_iter(which::which(word).ok().zip(Some(&**word))),
            _ => named::file_names(word, directory)
                .into_iter()
                .map(|name| (directory.join(name), name))
                .collect(),
        };
        for (path, name) in files {
            if let Some(content) = digest(&path) {
                list.push(Dependency::new(Part::FinisherFile, name, content));
            }
        }
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dependency(part: Part, name: &str, content: &str) -> Dependency {
        Dependency::new(part, name, Digest::of(content.as_bytes()))
    }

    #[test]
    fn kind_name_content_and_order_count() {
        let one = dependency(Part::Module, "a", "1");
        let two = dependency(Part::Import, "b", "1");
        let base = key([&one, &two]);
        for other in [
            [&two, &one],
            [&one, &dependency(Part::Import, "b", "2")],
            [&one, &dependency(Part::Import, "c", "1")],
            [&one, &dependency(Part::AsmFile, "b", "1")],
            [&one, &Dependency::new(Part::Import, "b", None)],
        ] {
            assert_ne!(key(other), base, "{other:?}");
        }
        assert_ne!(key([&one]), base);
        assert_eq!(key([&one.clone(), &two.clone()]), base);
    }

    #[test]
    fn a_file_that_an_option_of_a_program_names_counts() {
        let tree = tempfile::tempdir().unwrap();
        for name in ["program", "symbols", "list"] {
            std::fs::write(tree.path().join(name), name).unwrap();
        }
        let words = ["./program", "--redefine-syms=symbols", "list", "{}"].map(str::to_owned);
        let content = |path: &Path| std::fs::read(path).ok().map(|bytes| Digest::of(&bytes));
        let files = of_command(&words, tree.path(), content);
        let files = files.iter().filter(|each| each.part == Part::FinisherFile);
        let names: Vec<&str> = files.map(|each| &*each.name).collect();
        assert_eq!(names, ["./program", "symbols", "list"]);
    }

    #[test]
    fn every_difference_is_said_once_and_none_when_there_is_none() {
        let before = [
            dependency(Part::Flags, "", "1"),
            dependency(Part::Module, "a.o", "1"),
            dependency(Part::Import, "b.o", "1"),
            Dependency::new(Part::AsmFile, "x.bin", None),
        ];
        assert_eq!(differences(&before, &before), [""; 0]);
        let now = [
            dependency(Part::Flags, "", "2"),
            dependency(Part::Module, "a.o", "1"),
            dependency(Part::Import, "c.o", "1"),
            dependency(Part::AsmFile, "x.bin", "now"),
        ];
        assert_eq!(
            differences(&before, &now),
            [
                "its flags changed",
                "it imports from `b.o` no longer",
                "`x.bin`, which its assembly names, changed",
                "it imports from `c.o` now",
            ]
        );
        let (first, second) = (before[0].clone(), before[1].clone());
        let order = differences(&[first.clone(), second.clone()], &[second, first]);
        assert_eq!(order.len(), 1, "{order:?}");
    }
}
