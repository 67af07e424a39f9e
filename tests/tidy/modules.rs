//! The module graph of a crate, read from the paths in its source, and the
//! circles in it.
//!
//! A module depends on another when it names something of it: in a `use`, in a
//! path that starts with `crate`, `self` or `super`, or through the name of a
//! child. What a module only hands on (`pub use child::Item`) is looked up where
//! it is defined, so handing on is no dependency.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path};

/// A module's path from the root of its crate, which has the empty one.
pub(crate) type Name = Vec<String>;

/// The modules of one crate.
#[derive(Default)]
pub(crate) struct Modules(BTreeMap<Name, Module>);

/// What one file says.
#[derive(Default)]
struct Module {
    /// By the name that this file has for it, where a `use` leads.
    imports: BTreeMap<String, Vec<String>>,
    /// Every path, as it is written; without those that are handed on only.
    paths: BTreeSet<Vec<String>>,
}

impl Modules {
    /// Reads the files of a crate: their paths from its `src`, and their text.
    /// Tests are left out: they may use what they like.
    pub(crate) fn read<'a>(files: impl IntoIterator<Item = (&'a Path, &'a str)>) -> Modules {
        let mut modules = Modules::default();
        for (path, text) in files {
            let name = name_of(path);
            if !name.contains(&"tests".to_owned()) {
                // Several programs may share a folder, and have a root each.
                let module = modules.0.entry(name).or_default();
                module.add(text);
            }
        }
        modules
    }

    /// The circles, each as the modules on it: between single modules, and between
    /// folders, each with all that is in it, that have one parent.
    pub(crate) fn circles(&self) -> Vec<String> {
        let uses: Graph = self
            .0
            .keys()
            .map(|name| (name.clone(), self.uses(name)))
            .collect();
        let mut circles = find_circles(&uses);
        let folders: BTreeSet<&[String]> = uses
            .keys()
            .filter_map(|name| Some(name.split_last()?.1))
            .collect();
        for folder in folders {
            // The child of the folder that a module is, or is in.
            let child = |name: &Name| {
                let is_below = name.len() > folder.len() && name.starts_with(folder);
                is_below.then(|| name[..=folder.len()].to_vec())
            };
            let mut siblings = Graph::new();
            for (name, used) in &uses {
                if let Some(name) = child(name) {
                    let others = used.iter().filter_map(child);
                    let others = others.filter(|other| *other != name).collect::<Vec<_>>();
                    siblings.entry(name).or_default().extend(others);
                }
            }
            circles.extend(find_circles(&siblings));
        }
        circles.into_iter().collect()
    }

    /// The modules that `name` depends on.
    fn uses(&self, name: &Name) -> BTreeSet<Name> {
        let module = &self.0[name];
        let found = module.paths.iter().filter_map(|path| self.find(name, path));
        found.filter(|other| other != name).collect()
    }

    /// The module where the item is defined that `path` means in module `from`.
    fn find(&self, from: &Name, path: &[String]) -> Option<Name> {
        self.find_within(from, path, 0)
    }

    fn find_within(&self, from: &Name, path: &[String], depth: usize) -> Option<Name> {
        if depth > 20 {
            return None;
        }
        let mut at = from.clone();
        let mut left = path;
        let mut anchored = false;
        while let Some((first, more)) = left.split_first() {
            match first.as_str() {
                "crate" => at.clear(),
                "self" => {}
                "super" => drop(at.pop()?),
                _ => break,
            }
            anchored = true;
            left = more;
        }
        while let Some((first, more)) = left.split_first() {
            let child = [at.as_slice(), std::slice::from_ref(first)].concat();
            if self.0.contains_key(&child) {
                at = child;
            } else if let Some(import) = self.0.get(&at)?.imports.get(first) {
                let whole = [import, more].concat();
                // `use x::x` of another crate leads back to where it stands.
                return match whole == left {
                    true => None,
                    false => self.find_within(&at, &whole, depth + 1),
                };
            } else if !anchored {
                return None;
            } else {
                break;
            }
            anchored = true;
            left = more;
        }
        Some(at)
    }
}

/// What each module depends on.
type Graph = BTreeMap<Name, BTreeSet<Name>>;

/// At least one circle of each knot of `graph`.
fn find_circles(graph: &Graph) -> BTreeSet<String> {
    let (mut done, mut circles) = (BTreeSet::new(), BTreeSet::new());
    for start in graph.keys() {
        walk(start, graph, &mut Vec::new(), &mut done, &mut circles);
    }
    circles
}

/// Goes on from `at`, to which `way` leads.
fn walk<'a>(
    at: &'a Name,
    graph: &'a Graph,
    way: &mut Vec<&'a Name>,
    done: &mut BTreeSet<&'a Name>,
    circles: &mut BTreeSet<String>,
) {
    if let Some(begin) = way.iter().position(|passed| *passed == at) {
        let mut names: Vec<String> = way[begin..].iter().map(|name| shown(name)).collect();
        names.push(shown(at));
        circles.insert(names.join(" -> "));
        return;
    }
    if !done.insert(at) {
        return;
    }
    way.push(at);
    for next in &graph[at] {
        walk(next, graph, way, done, circles);
    }
    way.pop();
}

fn shown(name: &[String]) -> String {
    match name.is_empty() {
        true => "(root)".to_owned(),
        false => name.join("::"),
    }
}

/// The name of the module in the file at `path`.
fn name_of(path: &Path) -> Name {
    let mut name: Name = path
        .with_extension("")
        .components()
        .map(|part: Component<'_>| part.as_os_str().to_string_lossy().into_owned())
        .collect();
    let is_root = name.len() == 1 && ["lib", "main", "ld_backlto"].contains(&&*name[0]);
    if is_root || name.last().is_some_and(|last| last == "mod") {
        name.pop();
    }
    name
}

impl Module {
    fn add(&mut self, text: &str) {
        let tokens = tokens(text);
        let mut at = 0;
        while at < tokens.len() {
            let before = &tokens[..at];
            if tokens[at] == "use" {
                let mut found = Vec::new();
                at = tree(&tokens, at + 1, &[], &mut found);
                let hands_on = before.last().is_some_and(|t| t == "pub" || t == ")");
                for (name, path) in found {
                    if !hands_on {
                        self.paths.insert(path.clone());
                    }
                    self.imports.insert(name, path);
                }
            } else if is_word(&tokens[at]) && before.last().is_none_or(|t| t != "::" && t != "mod")
            {
                let mut path = vec![tokens[at].clone()];
                while tokens.get(at + 1).is_some_and(|t| t == "::")
                    && tokens.get(at + 2).is_some_and(|t| is_word(t))
                {
                    path.push(tokens[at + 2].clone());
                    at += 2;
                }
                if path.len() > 1 {
                    self.paths.insert(path);
                }
                at += 1;
            } else {
                at += 1;
            }
        }
    }
}

/// Reads the tree of a `use` at `tokens[at]`, below `base`; returns where it ends.
fn tree(
    tokens: &[String],
    mut at: usize,
    base: &[String],
    found: &mut Vec<(String, Vec<String>)>,
) -> usize {
    let mut path = base.to_vec();
    while let Some(token) = tokens.get(at) {
        match token.as_str() {
            "::" => {}
            "{" => {
                at += 1;
                while tokens.get(at).is_some_and(|t| t != "}") {
                    at = tree(tokens, at, &path, found);
                    at += usize::from(tokens.get(at).is_some_and(|t| t == ","));
                }
                return at + 1;
            }
            "as" => {
                let name = tokens.get(at + 1).cloned().unwrap_or_default();
                found.push((name, path));
                return at + 2;
            }
            "*" => {
                found.push(("*".to_owned(), path));
                return at + 1;
            }
            word if is_word(word) => path.push(word.to_owned()),
            _ => break,
        }
        at += 1;
    }
    if path.last().is_some_and(|last| last == "self") {
        path.pop();
    }
    let name = path.last().cloned().unwrap_or_default();
    found.push((name, path));
    at
}

fn is_word(token: &str) -> bool {
    token.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
}

/// The words and marks of `text`, without comments, strings and the module that is
/// for tests alone.
fn tokens(text: &str) -> Vec<String> {
    let mut tokens = all_tokens(text);
    let tests = "# [ cfg ( test ) ] mod tests {".split(' ');
    let tests: Vec<&str> = tests.collect();
    if let Some(begin) = tokens
        .windows(tests.len())
        .position(|window| window == tests)
    {
        let mut depth = 0;
        let end = tokens[begin..].iter().position(|token| {
            depth += i32::from(token == "{") - i32::from(token == "}");
            token == "}" && depth == 0
        });
        let end = end.map_or(tokens.len(), |length| begin + length + 1);
        tokens.drain(begin..end);
    }
    tokens
}

/// The words and marks of `text`, without comments and strings.
fn all_tokens(text: &str) -> Vec<String> {
    let mut tokens = Vec::new();
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let end = |from: usize, stop: &dyn Fn(u8) -> bool| {
            let found = bytes[from..].iter().position(|&byte| stop(byte));
            found.map_or(bytes.len(), |length| from + length)
        };
        match bytes[at] {
            b'/' if bytes.get(at + 1) == Some(&b'/') => at = end(at, &|byte| byte == b'\n'),
            b'"' => {
                at += 1;
                while at < bytes.len() && bytes[at] != b'"' {
                    at += 1 + usize::from(bytes[at] == b'\\');
                }
                at += 1;
            }
            // A character; a lifetime ends otherwise.
            b'\'' if bytes.get(at + 1) == Some(&b'\\') => at = end(at + 3, &|b| b == b'\'') + 1,
            b'\'' if bytes.get(at + 2) == Some(&b'\'') => at += 3,
            b':' if bytes.get(at + 1) == Some(&b':') => {
                tokens.push("::".to_owned());
                at += 2;
            }
            byte if byte.is_ascii_alphanumeric() || byte == b'_' => {
                let stop = end(at, &|byte| !byte.is_ascii_alphanumeric() && byte != b'_');
                tokens.push(text[at..stop].to_owned());
                at = stop;
            }
            byte => {
                if byte.is_ascii_punctuation() {
                    tokens.push(char::from(byte).to_string());
                }
                at += 1;
            }
        }
    }
    tokens
}

/// The circles of a crate with these files.
fn circles(files: &[(&str, &str)]) -> Vec<String> {
    Modules::read(files.iter().map(|(path, text)| (Path::new(path), *text))).circles()
}

#[test]
fn circles_are_found_however_they_are_written() {
    for (a, b) in [
        ("use crate::b::B;", "use crate::a::A;"),
        ("use crate::{b::{self, B}, c};", "use super::a;"),
        ("fn f() -> crate::b::B {}", "const X: u8 = super::a::X;"),
        ("use crate::c::B;", "use crate::a::A as Other;"),
    ] {
        let files = [
            ("main.rs", "mod a; mod b; mod c;"),
            ("a.rs", a),
            ("b.rs", b),
            ("c.rs", "pub(crate) use crate::b::B;"),
        ];
        assert_eq!(circles(&files), ["a -> b -> a"], "{a} {b}");
    }
}

#[test]
fn a_parent_that_uses_children_which_use_it_is_a_circle() {
    let parent = "mod x; struct Own; fn f() { x::g() }";
    let files = [("p/mod.rs", parent), ("p/x.rs", "use super::Own;")];
    assert_eq!(circles(&files), ["p -> p::x -> p"]);
}

#[test]
fn folders_that_use_each_other_are_a_circle() {
    let files = [
        ("a.rs", "use crate::f::x::X;"),
        ("f/mod.rs", "mod x; use crate::a::A;"),
        ("f/x.rs", ""),
    ];
    assert_eq!(circles(&files), ["a -> f -> a"]);
    let files = [
        ("f/mod.rs", "mod x; mod z;"),
        ("g/mod.rs", "mod y;"),
        ("main.rs", ""),
        (
            "f/x.rs",
            "#[cfg(test)]\nmod tests { fn f() { \"}\" } }\nuse crate::g::y::Y;",
        ),
        ("f/z.rs", ""),
        ("g/y.rs", "use crate::f::z::Z;"),
    ];
    assert_eq!(circles(&files), ["f -> g -> f"]);
}

#[test]
fn handing_on_is_no_circle() {
    let files = [
        ("lib.rs", "mod p; pub use p::Y; pub(crate) use p::x::Z;"),
        ("p/mod.rs", "mod x; mod y; pub use x::{X, Z}; pub use y::Y;"),
        (
            "p/x.rs",
            "//! See [`super::y`].\nuse super::Y; fn f() { g(\"crate::p\") }",
        ),
        ("p/y.rs", "#[cfg(test)]\nmod tests { use crate::p::X; }"),
        ("q.rs", "use crate::{Y, Z}; use std::fs;"),
    ];
    assert_eq!(circles(&files), Vec::<String>::new());
}
