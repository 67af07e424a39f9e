//! Files that list the basic blocks of functions, by which LLVM makes sections of them
//! (`-fbasic-block-sections=list=`): what of such a file is for which functions.
//!
//! LLVM reads one in `llvm/lib/CodeGen/BasicBlockSectionsProfileReader.cpp`, for each
//! module anew. A line of names (`f`) begins what is listed of a function; all that
//! follows, up to the next, is passed over unless the module defines one of the names.
//! There is nothing that counts for all functions, so what a module does not define has
//! no part in its object. Why that is sound: docs/design/keys.md.

use std::collections::{BTreeSet, HashMap};

use crate::digest::{Digest, Hasher};
use crate::llvm::BUILT_VERSION;

/// The first line of the only format that is understood here.
const VERSION: &str = "v1";
/// How lines begin that say more of the function whose names came last: clusters, paths
/// to clone, edges, hashes and targets of prefetches. LLVMs before 22 do not know the
/// last three, and refuse them whatever function they are of.
const OF_FUNCTION: &[u8] = match BUILT_VERSION.as_bytes() {
    [b'1', ..] | [b'2', b'0' | b'1', ..] => b"cp",
    _ => b"cpght",
};

/// A list, taken apart by function.
#[derive(Clone, Debug)]
pub(crate) struct BlockList {
    /// What is listed of each function, in the order of the file.
    entries: Vec<Digest>,
    /// The entries that have a name. Local functions of several modules may share it, and
    /// a function may have several.
    by_name: HashMap<String, Vec<usize>>,
}

impl BlockList {
    /// Reads `text`. `None` when there is anything in it of which it is not certain that
    /// LLVM reads it in the same way.
    pub(crate) fn parse(text: &[u8]) -> Option<BlockList> {
        let is_plain = |&byte: &u8| byte == b'\n' || byte == b' ' || byte.is_ascii_graphic();
        if !text.iter().all(is_plain) {
            return None;
        }
        let text = std::str::from_utf8(text).ok()?;
        // What LLVM skips too.
        let mut lines = text
            .lines()
            .filter(|line| !line.is_empty() && !line.starts_with('#'));
        if lines.next() != Some(VERSION) {
            return None;
        }
        let mut reader = Reader::default();
        for line in lines {
            reader.take(line)?;
        }
        reader.finish()
    }

    /// What the list says of `functions`, all those that a module defines.
    pub(crate) fn part_for<'a>(&self, functions: impl IntoIterator<Item = &'a str>) -> Digest {
        let numbers: BTreeSet<usize> = functions
            .into_iter()
            .filter_map(|name| self.by_name.get(name))
            .flatten()
            .copied()
            .collect();
        let mut hasher = Hasher::new();
        for number in numbers {
            hasher.field("entry", self.entries[number].as_bytes());
        }
        hasher.digest()
    }
}

/// A list of which some lines have been read.
#[derive(Default)]
struct Reader<'a> {
    finished: Vec<Digest>,
    by_name: HashMap<String, Vec<usize>>,
    /// The line before that names the module of the next function (`m`).
    module: Option<&'a str>,
    /// The lines of the last function.
    open: Option<Hasher>,
}

impl<'a> Reader<'a> {
    /// Reads `line`; `None` when it makes no sense where it is.
    fn take(&mut self, line: &'a str) -> Option<()> {
        let (&kind, rest) = line.as_bytes().split_first()?;
        // LLVM wants no blank here, and drops one.
        let rest = rest.strip_prefix(b" ").unwrap_or(rest);
        let mut words = rest.split(|&byte| byte == b' ');
        if words.clone().any(<[u8]>::is_empty) {
            return None;
        }
        // What is said of a module is for the names that follow at once.
        if self.module.is_some() && kind != b'f' {
            return None;
        }
        match kind {
            b'm' if !rest.contains(&b' ') => self.module = Some(line),
            b'f' => self.begin(line, words)?,
            _ if OF_FUNCTION.contains(&kind) => {
                if !words.all(is_of_numbers) {
                    return None;
                }
                self.open.as_mut()?.field("line", line.as_bytes());
            }
            _ => return None,
        }
        Some(())
    }

    /// Begins the entry of the function with `names`, which stand in `line`.
    fn begin<'b>(&mut self, line: &str, names: impl Iterator<Item = &'b [u8]>) -> Option<()> {
        self.close();
        for name in names {
            let name = std::str::from_utf8(name).ok()?.to_owned();
            let number = self.finished.len();
            self.by_name.entry(name).or_default().push(number);
        }
        let mut hasher = Hasher::new();
        let module = self.module.take().unwrap_or_default();
        hasher.field("module", module.as_bytes());
        hasher.field("names", line.as_bytes());
        self.open = Some(hasher);
        Some(())
    }

    fn close(&mut self) {
        self.finished
            .extend(self.open.take().map(|hasher| hasher.digest()));
    }

    /// The whole list; `None` when something is missing at its end.
    fn finish(mut self) -> Option<BlockList> {
        self.close();
        self.module.is_none().then_some(BlockList {
            entries: self.finished,
            by_name: self.by_name,
        })
    }
}

/// Whether `word` is made of numbers, hexadecimal ones among them, and what stands
/// between them (`3.1`, `1:40,2:7`).
fn is_of_numbers(word: &[u8]) -> bool {
    word.iter()
        .all(|byte| byte.is_ascii_hexdigit() || b".,:".contains(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = "# made by hand\nv1\nf one uno\nc0 2\nc 1\np 1 3 4\n\
        m a.c\nf local\nc0\nm ./b.c\nf local\nc0 1.1\np 0 1\nf none\n";

    fn part(text: &str, functions: &[&str]) -> Digest {
        let list = BlockList::parse(text.as_bytes()).expect("a list");
        list.part_for(functions.iter().copied())
    }

    /// The functions among those of [`LIST`] for which `changed` says something else.
    fn changed(changed: &str) -> Vec<&'static str> {
        let names = ["one", "uno", "local", "none", "other"];
        let differs = |name: &&str| part(LIST, &[*name]) != part(changed, &[*name]);
        names.into_iter().filter(differs).collect()
    }

    #[test]
    fn a_line_counts_for_the_function_above_it_alone() {
        assert_eq!(changed(LIST), [""; 0]);
        for (before, now, names) in [
            ("c0 2\n", "c0 3\n", &["one", "uno"][..]),
            ("c 1\n", "", &["one", "uno"]),
            ("p 1 3 4\n", "p 1 3\n", &["one", "uno"]),
            ("one uno", "one", &["one", "uno"]),
            ("m a.c\n", "m c.c\n", &["local"]),
            ("m ./b.c\n", "", &["local"]),
            ("p 0 1\n", "p 0 1\np 0\n", &["local"]),
            ("f none\n", "f none\nc0\n", &["none"]),
            ("f none\n", "f other\n", &["none", "other"]),
            ("# made by hand\n", "\n", &[]),
        ] {
            let text = LIST.replacen(before, now, 1);
            assert_ne!(text, LIST, "{before}");
            assert_eq!(changed(&text), names, "{before} -> {now}");
        }
    }

    #[test]
    fn lines_that_this_llvm_refuses_are_not_understood() {
        for (line, other) in [
            ("g 0:10,1:7 1:7", "g 0:10"),
            ("h 0:1f", "h 0:1e"),
            ("t 0,1", "t 1"),
        ] {
            let list = |line: &str| format!("v1\nf a\nc0\nf local\nc0\n{line}\nf none\n");
            let known = OF_FUNCTION.contains(&line.as_bytes()[0]);
            assert_eq!(
                BlockList::parse(list(line).as_bytes()).is_some(),
                known,
                "{line}"
            );
            if known {
                assert_eq!(part(&list(line), &["a"]), part(&list(other), &["a"]));
                assert_ne!(
                    part(&list(line), &["local"]),
                    part(&list(other), &["local"])
                );
            }
        }
    }

    #[test]
    fn functions_of_a_module_count_together_and_in_the_order_of_the_list() {
        let all = ["local", "one", "none"];
        assert_eq!(part(LIST, &all), part(LIST, &["none", "uno", "local"]));
        assert_ne!(part(LIST, &all), part(LIST, &["local", "one"]));
        let two = |text: &str| part(text, &["a", "b"]);
        assert_ne!(two("v1\nf a\nf b\nc1\n"), two("v1\nf b\nc1\nf a\n"));
        assert_ne!(two("v1\nf a b\n"), two("v1\nf b a\n"));
        // Of two entries for one name LLVM says something; where it is local to two
        // modules it does not.
        assert_ne!(
            part("v1\nf a\nc0\n", &["a"]),
            part("v1\nf a\nc0\nf a\nc0\n", &["a"])
        );
    }

    #[test]
    fn what_is_not_certain_is_no_list() {
        for text in [
            "",
            "v1",
            "v1\nf a\n",
            "v1\nfa\nc0",
            "v1\n\n#\nf a\n# b\nc0\n",
        ] {
            assert_eq!(
                BlockList::parse(text.as_bytes()).is_some(),
                !text.is_empty(),
                "{text:?}"
            );
        }
        for text in [
            "!a\n!!0\n",
            "v0\nf a\n",
            "v2\nf a\n",
            "v1 \nf a\n",
            " v1\nf a\n",
            "v1\nc0\n",
            "v1\nf\n",
            "v1\nf a \n",
            "v1\nf a  b\n",
            "v1\nf  a\n",
            "v1\nf a\tb\n",
            "v1\nf a\r\nc0\r\n",
            "v1\nf a\n\0c0\n",
            "v1\nf \u{e4}\n",
            "v1\n f a\n",
            "v1\nf a\nc\n",
            "v1\nf a\nc x\n",
            "v1\nf a\nc -1\n",
            "v1\nf a\ni 0,1 b,0,0\n",
            "v1\nf a\n@ b\n",
            "v1\nm a b\nf a\n",
            "v1\nm a\nm b\nf a\n",
            "v1\nm a\nc0\nf a\n",
            "v1\nf a\nm a\n",
            "v1\nf a\nm a\nc0\n",
        ] {
            assert!(BlockList::parse(text.as_bytes()).is_none(), "{text:?}");
        }
    }
}
