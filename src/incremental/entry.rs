//! What is known under a key, here and on other machines.

use serde::{Deserialize, Serialize};

use crate::block_list::BlockList;
use crate::cache::Cache;
use crate::dependency::Dependency;
use crate::digest::Digest;
use crate::elsewhere::Answer;

/// What the cache holds under a key: an object, and what clang said of it.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Entry {
    /// Files that assembly pulled in: the entry is for these alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) files: Vec<Dependency>,
    pub(super) object: Digest,
    pub(super) size: u64,
    /// The module's name, and what clang said of it.
    pub(super) module: String,
    pub(super) diagnostics: String,
    /// How that looks, see [`FlagsKey::rendering`](crate::flag_key::FlagsKey).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) rendering: Vec<String>,
    /// The places in the sources that messages may name, see [`Imported::places`](crate::compile::Imported).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) places: Option<Digest>,
    /// What of the list of basic blocks is in the object, under a key without the list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) blocks: Option<ListedBlocks>,
    /// How long the compile took.
    pub(super) microseconds: u64,
}

/// What of a list of basic blocks an object depends on.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct ListedBlocks {
    /// The functions that the module defines when code is generated, some of which the
    /// optimiser may have made.
    functions: Vec<String>,
    /// What the list says of them.
    said: Digest,
}

impl ListedBlocks {
    pub(super) fn of(functions: Vec<String>, list: &BlockList) -> ListedBlocks {
        ListedBlocks {
            said: list.part_for(functions.iter().map(String::as_str)),
            functions,
        }
    }

    /// Whether `list` says of the functions what it said.
    pub(super) fn are_as_in(&self, list: &BlockList) -> bool {
        list.part_for(self.functions.iter().map(String::as_str)) == self.said
    }
}

/// Modules of which only a file behind their assembly changes, or what is listed of
/// their basic blocks, keep this many objects.
const VARIANTS: usize = 8;

/// Stores `entry` under `key`, and as many of `others` as there is place for.
pub(super) fn store_first(cache: &Cache, key: &Digest, entry: Entry, others: Vec<Entry>) {
    let mut entries = others;
    entries.insert(0, entry);
    entries.truncate(VARIANTS);
    if let Ok(bytes) = serde_json::to_vec(&entries) {
        cache.store(key, &bytes);
    }
}

/// Reads `bytes` as the content of an entry.
#[cfg(fuzzing)]
pub(crate) fn read_entries(bytes: &[u8]) {
    let _ = serde_json::from_slice::<Vec<Entry>>(bytes);
}

/// An entry on its way between machines. It has its key in it, so that what was mixed
/// up is found.
#[derive(Serialize, Deserialize)]
struct Parcel {
    key: Digest,
    entry: Entry,
}

impl Entry {
    /// The entry as it is kept under `key` on other machines.
    pub(super) fn packed(&self, key: &Digest) -> Option<(Digest, Vec<u8>)> {
        let parcel = Parcel {
            key: *key,
            entry: self.clone(),
        };
        Some((*key, serde_json::to_vec(&parcel).ok()?))
    }

    /// What `answer` says, and its object.
    ///
    /// # Errors
    /// When the answer is none of ours, or for another key, or the object is not the
    /// one that it speaks of.
    pub(super) fn unpacked(answer: &Answer) -> Result<Entry, &'static str> {
        let parcel: Parcel =
            serde_json::from_slice(&answer.entry).map_err(|_| "an entry is none of ours")?;
        if parcel.key != answer.key {
            return Err("an entry is for another key");
        }
        let entry = parcel.entry;
        let is_whole =
            entry.size == answer.object.len() as u64 && entry.object == Digest::of(&answer.object);
        match is_whole {
            true => Ok(entry),
            false => Err("an object is not the one that its entry speaks of"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(object: &[u8]) -> Entry {
        Entry {
            files: Vec::new(),
            object: Digest::of(object),
            size: object.len() as u64,
            module: "a.o".to_owned(),
            diagnostics: String::new(),
            rendering: Vec::new(),
            places: None,
            blocks: None,
            microseconds: 1,
        }
    }

    #[test]
    fn what_was_mixed_up_on_its_way_is_found() {
        let key = Digest::of(b"key");
        let (_, packed) = entry(b"object").packed(&key).unwrap();
        let answer = |key: &[u8], entry: &[u8], object: &[u8]| Answer {
            key: Digest::of(key),
            entry: entry.to_vec(),
            object: object.to_vec(),
            room: None,
        };
        let unpacked = |answer: Answer| Entry::unpacked(&answer).map(|entry| entry.module);
        assert_eq!(
            unpacked(answer(b"key", &packed, b"object")),
            Ok("a.o".into())
        );
        for answer in [
            answer(b"other", &packed, b"object"),
            answer(b"key", &packed, b"objecT"),
            answer(b"key", &packed, b"object and more"),
            answer(b"key", b"{}", b"object"),
        ] {
            assert!(unpacked(answer).is_err());
        }
    }
}
