//! Where the files of a compile are in an archive, and what its command line calls
//! them there.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

/// Options whose value, a directory, may follow without a sign between.
const JOINED: [&str; 4] = ["-I", "-isystem", "-iquote", "-idirafter"];

/// The places of files in an archive, by the names that a compile has for them.
#[derive(Debug)]
pub(super) struct Layout {
    /// How many levels above the working directory relative names reach.
    depth: usize,
    /// Absolute names that are words of the command line, and the directories that
    /// they are in.
    rewritten: BTreeSet<PathBuf>,
}

impl Layout {
    /// Makes room for files with the names `all`. Those of `rewritten` are called
    /// by other names if they are absolute.
    pub(super) fn new<'a>(
        all: impl IntoIterator<Item = &'a str>,
        rewritten: impl IntoIterator<Item = &'a str>,
    ) -> Layout {
        let relative = all.into_iter().map(Path::new).filter(|n| n.is_relative());
        let absolute = rewritten.into_iter().map(Path::new);
        let with_directories = absolute
            .filter(|name| name.is_absolute())
            .flat_map(|name| name.ancestors())
            .filter(|name| name.parent().is_some());
        Layout {
            depth: relative.map(levels_above).max().unwrap_or_default(),
            rewritten: with_directories.map(Path::to_owned).collect(),
        }
    }

    /// The working directory, from the top of the archive.
    pub(super) fn directory(&self) -> PathBuf {
        let levels = (0..self.depth).map(|level| level.to_string());
        std::iter::once("tree".to_owned()).chain(levels).collect()
    }

    /// The place of the file `name`, from the top of the archive.
    pub(super) fn place(&self, name: &str) -> PathBuf {
        let name = Path::new(name);
        let mut place = match name.is_absolute() {
            true => PathBuf::from("root"),
            false => self.directory(),
        };
        for component in name.components() {
            match component {
                Component::Normal(part) => place.push(part),
                // Above the root there is nothing.
                Component::ParentDir if place.as_os_str() != "root" => {
                    place.pop();
                }
                _ => {}
            }
        }
        place
    }

    /// The directories that must be there for the system to find `name`, such as
    /// `a` for `a/../b`.
    pub(super) fn directories(&self, name: &str) -> Vec<PathBuf> {
        let name = Path::new(name);
        let above = name.ancestors().skip(1);
        above
            .filter_map(|directory| Some(self.place(directory.to_str()?)))
            .collect()
    }

    /// What the command line in the archive says for `word`.
    pub(super) fn word(&self, word: &str) -> String {
        for (start, _) in word.match_indices('/') {
            let before = &word[..start];
            // Values of options, joined to their names or not.
            let begins = before.is_empty()
                || before == "@"
                || before.ends_with(['=', ',', ':'])
                || JOINED.iter().any(|option| before.ends_with(option));
            if !begins {
                continue;
            }
            let rest = &word[start..];
            let until = |stop: &[char]| rest.find(stop).unwrap_or(rest.len());
            for end in [rest.len(), until(&[',']), until(&[',', ':'])] {
                let (name, after) = rest.split_at(end);
                if self.rewritten.contains(Path::new(name)) {
                    let name = self.seen_from_directory(name);
                    return format!("{before}{name}{}", self.word(after));
                }
            }
        }
        word.to_owned()
    }

    /// The place of the file with the absolute `name`, from the working directory.
    fn seen_from_directory(&self, name: &str) -> String {
        let up = "../".repeat(self.depth + 1);
        format!("{up}{}", self.place(name).display())
    }
}

/// How many levels above its start the relative `name` reaches.
fn levels_above(name: &Path) -> usize {
    let (mut below, mut above) = (0_usize, 0);
    for component in name.components() {
        match component {
            Component::Normal(_) => below += 1,
            Component::ParentDir if below > 0 => below -= 1,
            Component::ParentDir => above += 1,
            _ => {}
        }
    }
    above
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relative_names_lead_to_their_places() {
        let names = ["a.o", "../b/c.o", "./d/../../../e.o"];
        let layout = Layout::new(names, []);
        assert_eq!(layout.directory(), Path::new("tree/0/1"));
        let places = names.map(|name| layout.place(name).display().to_string());
        assert_eq!(places, ["tree/0/1/a.o", "tree/0/b/c.o", "tree/e.o"]);
        // What the system steps through on its way.
        let steps = layout.directories("./d/../../../e.o");
        assert!(steps.contains(&PathBuf::from("tree/0/1/d")), "{steps:?}");
    }

    #[test]
    fn absolute_names_stay_below_the_root() {
        let layout = Layout::new(["/a/../../x/y.o"], []);
        assert_eq!(layout.place("/a/../../x/y.o"), Path::new("root/x/y.o"));
        assert_eq!(layout.directory(), Path::new("tree"));
    }

    #[test]
    fn absolute_names_in_flags_lead_to_the_root() {
        let layout = Layout::new(["../m.o"], ["/s/p.profdata", "/s/inc/x.bin", "/s/i.bc"]);
        for (word, expected) in [
            ("/s/i.bc", "../../root/s/i.bc"),
            (
                "-fthinlto-index=/s/i.bc",
                "-fthinlto-index=../../root/s/i.bc",
            ),
            ("-fprofile-use=/s/", "-fprofile-use=../../root/s"),
            ("-I/s/inc", "-I../../root/s/inc"),
            ("-Wa,-I/s/inc,-x", "-Wa,-I../../root/s/inc,-x"),
            (
                "-f=/s/i.bc,/s/p.profdata",
                "-f=../../root/s/i.bc,../../root/s/p.profdata",
            ),
            ("-f=/other/i.bc", "-f=/other/i.bc"),
            ("-DX=a/s/i.bc", "-DX=a/s/i.bc"),
            ("a/s/i.bc", "a/s/i.bc"),
        ] {
            assert_eq!(layout.word(word), expected, "{word}");
        }
    }
}
