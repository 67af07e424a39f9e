//! What an object consists of, for those who want to know in what two differ: functions
//! and data by their symbols, and what no symbol covers by its sections.

use std::collections::BTreeMap;
use std::ops::Range;

use object::{
    File, Object, ObjectSection, ObjectSymbol, RelocationTarget, SectionIndex, SymbolKind,
};

use backlto::digest::{Digest, Hasher};

/// What a part of an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// Code with a name.
    Function,
    /// Data with a name.
    Data,
    /// A whole section.
    Section,
}

impl Kind {
    /// Its name, for people and programs.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Kind::Function => "function",
            Kind::Data => "data",
            Kind::Section => "section",
        }
    }
}

/// A part of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    /// In bytes.
    pub(crate) size: u64,
    /// Bytes, relocations, and how others see it.
    content: Digest,
}

/// The parts of an object, by what they are and what they are called.
pub(crate) type Parts = BTreeMap<(Kind, String), Part>;

/// The parts of the object `bytes`.
///
/// # Errors
/// When it is none that can be read.
pub(crate) fn of(bytes: &[u8]) -> object::Result<Parts> {
    let file = File::parse(bytes)?;
    let mut sections = BTreeMap::new();
    for section in file.sections() {
        sections.insert(section.index().0, Content::of(&file, section.index())?);
    }
    let mut parts = Parts::new();
    let add = |parts: &mut Parts, kind, name: &str, part| {
        // Local symbols of one name are told apart by their order.
        let mut key = (kind, name.to_owned());
        let mut number = 1;
        while parts.contains_key(&key) {
            number += 1;
            key.1 = format!("{name} ({number})");
        }
        parts.insert(key, part);
    };
    for symbol in file.symbols() {
        let kind = match symbol.kind() {
            SymbolKind::Text => Kind::Function,
            SymbolKind::Data | SymbolKind::Tls => Kind::Data,
            _ => continue,
        };
        let Some(content) = symbol
            .section_index()
            .and_then(|index| sections.get(&index.0))
        else {
            continue;
        };
        let start = symbol.address().saturating_sub(content.address);
        let mut hasher = content.hasher(start..start.saturating_add(symbol.size()));
        hasher.field("section", content.name.as_bytes());
        hasher.field(
            "scope",
            format!("{:?} {}", symbol.scope(), symbol.is_weak()).as_bytes(),
        );
        let part = Part {
            size: symbol.size(),
            content: hasher.digest(),
        };
        add(&mut parts, kind, symbol.name().unwrap_or_default(), part);
    }
    for content in sections.values() {
        let mut hasher = content.hasher(0..u64::MAX);
        hasher.field("size", &content.size.to_le_bytes());
        let part = Part {
            size: content.size,
            content: hasher.digest(),
        };
        add(&mut parts, Kind::Section, &content.name, part);
    }
    Ok(parts)
}

/// What is in a section.
struct Content<'a> {
    name: String,
    address: u64,
    size: u64,
    bytes: &'a [u8],
    /// By their offsets, in words.
    relocations: Vec<(u64, String)>,
}

impl<'a> Content<'a> {
    fn of(file: &File<'a>, index: SectionIndex) -> object::Result<Content<'a>> {
        let section = file.section_by_index(index)?;
        let mut relocations: Vec<(u64, String)> = section
            .relocations()
            .map(|(offset, relocation)| {
                let target = target_of(file, relocation.target());
                let how = relocation.flags();
                (offset, format!("{how:?} {target} {}", relocation.addend()))
            })
            .collect();
        relocations.sort();
        Ok(Content {
            name: section.name().unwrap_or_default().to_owned(),
            address: section.address(),
            size: section.size(),
            bytes: section.data()?,
            relocations,
        })
    }

    /// Has hashed what stands in `range` of the section.
    fn hasher(&self, range: Range<u64>) -> Hasher {
        let mut hasher = Hasher::new();
        let at = |offset: u64| {
            usize::try_from(offset)
                .unwrap_or(usize::MAX)
                .min(self.bytes.len())
        };
        hasher.field("bytes", &self.bytes[at(range.start)..at(range.end)]);
        for (offset, text) in &self.relocations {
            if range.contains(offset) {
                hasher.field("at", &(offset - range.start).to_le_bytes());
                hasher.field("relocation", text.as_bytes());
            }
        }
        hasher
    }
}

/// What a relocation refers to: a symbol by its name, a section by its own.
fn target_of(file: &File<'_>, target: RelocationTarget) -> String {
    let section_name = |index| {
        let section = file.section_by_index(index);
        section
            .ok()
            .and_then(|section| Some(section.name().ok()?.to_owned()))
    };
    let name = match target {
        RelocationTarget::Symbol(index) => {
            file.symbol_by_index(index)
                .ok()
                .and_then(|symbol| match symbol.kind() {
                    SymbolKind::Section => section_name(symbol.section_index()?),
                    _ => Some(symbol.name().ok()?.to_owned()),
                })
        }
        RelocationTarget::Section(index) => section_name(index),
        _ => None,
    };
    name.unwrap_or_else(|| "nothing".to_owned())
}

/// How one part of two objects differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) kind: Kind,
    pub(crate) name: String,
    /// Its size in the first, if it is there.
    pub(crate) before: Option<u64>,
    /// Its size in the second, if it is there.
    pub(crate) after: Option<u64>,
}

/// In what parts `one` and `other` differ. A section is left out where functions or data
/// say it.
pub(crate) fn changes(one: &Parts, other: &Parts) -> Vec<Change> {
    let keys: std::collections::BTreeSet<_> = one.keys().chain(other.keys()).collect();
    let differing = keys
        .into_iter()
        .filter(|key| one.get(*key) != other.get(*key));
    let mut changes: Vec<Change> = differing
        .map(|key| Change {
            kind: key.0,
            name: key.1.clone(),
            before: one.get(key).map(|part| part.size),
            after: other.get(key).map(|part| part.size),
        })
        .collect();
    let has_named = changes.iter().any(|change| change.kind != Kind::Section);
    // What holds code and data, and what tells of them.
    let is_implied = |name: &str| {
        [
            ".text",
            ".data",
            ".bss",
            ".rodata",
            ".rela",
            ".rel.",
            ".symtab",
            ".strtab",
            ".shstrtab",
            ".llvm_addrsig",
            ".eh_frame",
        ]
        .iter()
        .any(|start| name.starts_with(start))
    };
    changes
        .retain(|change| !has_named || change.kind != Kind::Section || !is_implied(&change.name));
    changes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(list: &[(Kind, &str, u64, &str)]) -> Parts {
        let part = |&(kind, name, size, text): &(Kind, &str, u64, &str)| {
            let content = Digest::of(text.as_bytes());
            ((kind, name.to_owned()), Part { size, content })
        };
        list.iter().map(part).collect()
    }

    #[test]
    fn sections_are_named_where_nothing_in_them_is() {
        let one = parts(&[
            (Kind::Function, "f", 3, "a"),
            (Kind::Function, "g", 1, "b"),
            (Kind::Section, ".text", 4, "ab"),
            (Kind::Section, ".debug_info", 4, "d"),
        ]);
        let mut other = one.clone();
        assert_eq!(changes(&one, &other), []);
        other.extend(parts(&[(Kind::Section, ".text", 4, "xx")]));
        let names = |changes: Vec<Change>| changes.into_iter().map(|c| c.name).collect::<Vec<_>>();
        assert_eq!(names(changes(&one, &other)), [".text"]);
        other.extend(parts(&[
            (Kind::Function, "f", 5, "x"),
            (Kind::Section, ".debug_info", 4, "x"),
        ]));
        assert_eq!(names(changes(&one, &other)), ["f", ".debug_info"]);
        other.remove(&(Kind::Function, "g".to_owned()));
        let found = changes(&one, &other);
        assert_eq!((found[1].before, found[1].after), (Some(1), None));
    }

    #[test]
    fn what_is_no_object_is_an_error() {
        assert!(of(b"text").is_err());
        assert!(of(b"").is_err());
    }
}
