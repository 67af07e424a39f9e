//! One job on its way to an object: what the cache has of it, before LLVM starts
//! and again once the imported code is known, and what the cache learns.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::asm::{AsmFiles, Search};
use super::record::ObjectRecord;
use crate::block_list::BlockList;
use crate::cache::{Cache, Hit, Placement};
use crate::compile::{Imported, Watch};
use crate::dependency::{self, Dependency};
use crate::digest::Digest;
use crate::emit;
use crate::error::Result;
use crate::flag_key::FlagsKey;
use crate::origin::Origin;
use crate::plan::CompilerCommand;
use crate::prepare::{CacheUse, Task};

/// What the cache holds under a key: an object, and what clang said of it.
#[derive(Clone, Serialize, Deserialize)]
struct Entry {
    /// Files that assembly pulled in: the entry is for these alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    files: Vec<Dependency>,
    object: Digest,
    size: u64,
    /// The module's name, and what clang said of it.
    module: String,
    diagnostics: String,
    /// How that looks, see [`FlagsKey::rendering`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    rendering: Vec<String>,
    /// The places in the sources that messages may name, see [`Imported::places`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    places: Option<Digest>,
    /// What of the list of basic blocks is in the object, under a key without the list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    blocks: Option<ListedBlocks>,
    /// How long the compile took.
    microseconds: u64,
}

/// What of a list of basic blocks an object depends on.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
struct ListedBlocks {
    /// The functions that the module defines when code is generated, some of which the
    /// optimiser may have made.
    functions: Vec<String>,
    /// What the list says of them.
    said: Digest,
}

impl ListedBlocks {
    fn of(functions: Vec<String>, list: &BlockList) -> ListedBlocks {
        ListedBlocks {
            said: list.part_for(functions.iter().map(String::as_str)),
            functions,
        }
    }

    /// Whether `list` says of the functions what it said.
    fn are_as_in(&self, list: &BlockList) -> bool {
        list.part_for(self.functions.iter().map(String::as_str)) == self.said
    }
}

/// Modules of which only a file behind their assembly changes, or what is listed of
/// their basic blocks, keep this many objects.
const VARIANTS: usize = 8;

/// An object that came from the cache and is where it belongs.
pub(crate) struct Found {
    pub(crate) size: u64,
    pub(crate) diagnostics: String,
    pub(crate) how: Origin,
    /// For the record, if the job has one.
    pub(crate) known: Option<ObjectRecord>,
}

pub(crate) struct Attempt<'a> {
    task: &'a Task,
    cache: Option<&'a Cache>,
    /// What the object depends on, but for files that assembly names; `None` when
    /// its flags ask for more than an object.
    made_of: Option<Vec<Dependency>>,
    /// The keys by everything that the job reads, if it has any.
    primary: Option<InputKeys>,
    /// The key by the imported module, once that is known, and its places.
    imported: Option<(Digest, Digest)>,
    asm: AsmFiles,
    /// Whether LLVM came as far as to show its assembly.
    shown: bool,
    /// What the cache has by the imported module.
    waiting: Option<Waiting>,
}

/// Keys by everything that a job reads.
struct InputKeys {
    /// With the names of modules.
    named: Digest,
    /// Without, for a compile that says nothing: LLD gives members of archives another
    /// name in each link, and only messages tell names. None when names stay.
    nameless: Option<Digest>,
}

impl InputKeys {
    fn of(task: &Task, flags: &FlagsKey, made_of: &[Dependency]) -> InputKeys {
        let nameless = task
            .transient
            .then(|| super::dependencies_without_names(task, flags))
            .flatten();
        InputKeys {
            named: dependency::key(made_of),
            nameless: nameless.as_ref().map(dependency::key),
        }
    }

    /// The key for a compile that has said `diagnostics`.
    fn for_one_that_said(&self, diagnostics: &str) -> &Digest {
        match &self.nameless {
            Some(nameless) if diagnostics.is_empty() => nameless,
            _ => &self.named,
        }
    }
}

/// An object out of the cache that has no place yet: LLVM has not stopped, and what it
/// has shown counts only if it does so well.
struct Waiting {
    entry: Entry,
    object: Vec<u8>,
}

impl<'a> Attempt<'a> {
    pub(crate) fn new(task: &'a Task) -> Attempt<'a> {
        // What a program makes of an object is not in any key.
        let cache = task.cache.as_deref().filter(|_| task.job.post.is_none());
        // Before anything is compiled: what is hashed here is what LLVM gets.
        let made_of = task.flags.key.as_ref().map(|flags| {
            let mut imports: Vec<&str> = task.imports.iter().map(|(name, _)| &**name).collect();
            imports.sort_unstable();
            super::dependencies(&task.job, flags, &imports, &task.files)
        });
        let primary = match (&task.flags.key, &made_of, cache, &task.index) {
            (Some(flags), Some(made_of), Some(_), Some(_)) => {
                Some(InputKeys::of(task, flags, made_of))
            }
            _ => None,
        };
        Attempt {
            task,
            cache,
            made_of,
            primary,
            imported: None,
            asm: AsmFiles::none(),
            shown: false,
            waiting: None,
        }
    }

    /// The keys by which the cache may have the object, first the one by which `how`
    /// says that it was found. That by the imported module is known once LLVM has
    /// imported.
    pub(crate) fn keys(&self, how: Origin) -> Vec<Digest> {
        let inputs = self.primary.iter();
        let inputs = inputs.flat_map(|keys| keys.nameless.into_iter().chain([keys.named]));
        let mut all: Vec<Digest> = inputs.collect();
        if let Some((imported, _)) = self.imported {
            let at = match how {
                Origin::CachedAfterImport => 0,
                _ => all.len(),
            };
            all.insert(at, imported);
        }
        all
    }

    /// The object, if the cache has it for these inputs.
    pub(crate) fn look_up(&mut self) -> Option<Found> {
        if self.task.cache_use == CacheUse::KeysOnly {
            return None;
        }
        let keys = self.primary.as_ref()?;
        // The list of basic blocks is in these keys as a whole.
        let nameless = keys.nameless.as_ref().and_then(|key| self.entry(key, None));
        let entry = nameless.or_else(|| self.entry(&keys.named, None))?;
        self.asm = AsmFiles::Known(entry.files.clone());
        self.shown = true;
        let found = self.place(&entry);
        if found.is_none() {
            self.asm = AsmFiles::none();
            self.shown = false;
        }
        found
    }

    /// Puts the object in its place that was found after the imports, now that the
    /// compile has ended for that; `None` if none was.
    ///
    /// # Errors
    /// When it cannot be written, or an input has changed meanwhile.
    pub(crate) fn place_found(&mut self) -> Option<Result<Found>> {
        let Waiting { entry, object } = self.waiting.take()?;
        let written = self
            .task
            .files()
            .try_for_each(|file| file.check_unchanged())
            .and_then(|()| emit::write(&self.task.job.output_path(), &object));
        Some(written.map(|()| {
            let found = self.found(&entry, Origin::CachedAfterImport);
            if let Some(cache) = self.cache {
                self.keep_primary(cache, entry);
            }
            found
        }))
    }

    /// What the record is to know of the object, now that it is there. `None` if
    /// it cannot be told what the object depends on.
    pub(crate) fn known(&self, object: Digest, how: Origin) -> Option<ObjectRecord> {
        let mut made_of = self.made_of.clone()?;
        made_of.extend_from_slice(self.files()?);
        Some(ObjectRecord {
            made_of,
            flags: match &self.task.job.command {
                CompilerCommand::Flags(words) => words.to_vec(),
                CompilerCommand::Exact(_) => Vec::new(),
            },
            object,
            how,
            duration: Duration::ZERO,
            why: Vec::new(),
        })
    }

    /// The files behind the module's assembly; `None` when they are not known.
    pub(crate) fn files(&self) -> Option<&[Dependency]> {
        match &self.asm {
            AsmFiles::Known(files) if self.shown => Some(files.as_slice()),
            _ => None,
        }
    }

    /// The list of basic blocks, where what it says of a function is for that alone.
    fn block_list(&self) -> Option<&'a BlockList> {
        let flags = self.task.flags.key.as_ref()?;
        flags.block_list(&self.task.files)
    }

    /// Whether [`Attempt::keep`] has a use for the functions that the code generator
    /// gets.
    pub(crate) fn wants_functions(&self) -> bool {
        self.primary.is_some() && self.block_list().is_some()
    }

    /// Gives the cache what was compiled; `functions` are those that the code generator
    /// got, if that is wanted and known.
    pub(crate) fn keep(
        &self,
        object: &[u8],
        diagnostics: &str,
        functions: Option<Vec<String>>,
        duration: Duration,
    ) {
        let (Some(cache), Some(files), CacheUse::Full) =
            (self.cache, self.files(), self.task.cache_use)
        else {
            return;
        };
        cache.count_miss();
        // What changed while LLVM ran is in the object, and not in the keys.
        let flags = self.task.flags.key.as_ref();
        let holds = flags.is_some_and(|flags: &FlagsKey| flags.holds(&self.task.files))
            && self.search().is_some_and(|search| search.holds(files));
        if !holds {
            return;
        }
        let Some(digest) = cache.insert(object) else {
            return;
        };
        let entry = Entry {
            files: files.to_vec(),
            object: digest,
            size: object.len() as u64,
            module: self.task.job.module.clone(),
            diagnostics: diagnostics.to_owned(),
            rendering: flags.map_or(Vec::new(), |flags| flags.rendering.clone()),
            places: None,
            blocks: None,
            microseconds: u64::try_from(duration.as_micros()).unwrap_or(u64::MAX),
        };
        self.keep_imported(cache, entry.clone(), functions);
        self.keep_primary(cache, entry);
    }

    /// Adds `entry` to those under the key by the imported module; for `functions` see
    /// [`Attempt::keep`].
    fn keep_imported(&self, cache: &Cache, mut entry: Entry, functions: Option<Vec<String>>) {
        let Some((key, places)) = &self.imported else {
            return;
        };
        entry.places = Some(*places);
        let mut others = Vec::new();
        if let Some(list) = self.block_list() {
            let Some(functions) = functions else {
                return;
            };
            entry.blocks = Some(ListedBlocks::of(functions, list));
            others = self.entries(key);
            others.retain(|other| other.blocks != entry.blocks);
        }
        store_first(cache, key, entry, others);
    }

    /// Adds `entry` to those under the key of the inputs.
    fn keep_primary(&self, cache: &Cache, entry: Entry) {
        let Some(keys) = &self.primary else {
            return;
        };
        let primary = keys.for_one_that_said(&entry.diagnostics);
        let mut others = match entry.files.is_empty() {
            true => Vec::new(),
            false => self.entries(primary),
        };
        others.retain(|other| other.files != entry.files);
        store_first(cache, primary, entry, others);
    }

    fn entries(&self, key: &Digest) -> Vec<Entry> {
        self.cache
            .and_then(|cache| cache.lookup(key))
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or_default()
    }

    /// The entry under `key` whose files are as they are now, and whose messages, if
    /// it has any, look as they are to look now. Where the key is one without the list
    /// of basic blocks, `list` is to say of the object's functions what it said.
    fn entry(&self, key: &Digest, list: Option<&BlockList>) -> Option<Entry> {
        let search = self.search()?;
        let rendering = &self.task.flags.key.as_ref()?.rendering;
        self.entries(key).into_iter().find(|entry| {
            let fits = entry.diagnostics.is_empty() || entry.rendering == *rendering;
            let listed = match (&entry.blocks, list) {
                (None, None) => true,
                (Some(blocks), Some(list)) => blocks.are_as_in(list),
                _ => false,
            };
            fits && listed && search.finds(&entry.files)
        })
    }

    fn search(&self) -> Option<Search<'a>> {
        Some(Search {
            directory: &self.task.job.directory,
            include: &self.task.flags.key.as_ref()?.include,
            files: &self.task.files,
        })
    }

    /// Puts the object of `entry` where the job's belongs, unless it is damaged
    /// or one of the inputs has changed meanwhile.
    fn place(&self, entry: &Entry) -> Option<Found> {
        let cache = self.cache?;
        self.task
            .files()
            .try_for_each(|file| file.check_unchanged())
            .ok()?;
        let placement = match self.task.transient {
            true => Placement::Transient,
            false => Placement::Own,
        };
        let path = self.task.job.output_path();
        let is_placed = cache.place(&entry.object, entry.size, &path, placement);
        is_placed.then(|| self.found(entry, Origin::Cached))
    }

    /// The object of `entry`, which is in its place.
    fn found(&self, entry: &Entry, how: Origin) -> Found {
        let hit = match how {
            Origin::CachedAfterImport => Hit::AfterImport,
            _ => Hit::Primary,
        };
        if let Some(cache) = self.cache {
            cache.count_hit(hit, Duration::from_micros(entry.microseconds));
        }
        Found {
            size: entry.size,
            diagnostics: entry.diagnostics.clone(),
            how,
            known: self.known(entry.object, how),
        }
    }
}

/// Reads `bytes` as the content of an entry.
#[cfg(fuzzing)]
pub(crate) fn read_entries(bytes: &[u8]) {
    let _ = serde_json::from_slice::<Vec<Entry>>(bytes);
}

/// Stores `entry` under `key`, and as many of `others` as there is place for.
fn store_first(cache: &Cache, key: &Digest, entry: Entry, others: Vec<Entry>) {
    let mut entries = others;
    entries.insert(0, entry);
    entries.truncate(VARIANTS);
    if let Ok(bytes) = serde_json::to_vec(&entries) {
        cache.store(key, &bytes);
    }
}

impl Watch for Attempt<'_> {
    fn wants_imported(&self) -> bool {
        self.primary.is_some()
    }

    fn assembly(&mut self, text: &[u8]) {
        if let Some(search) = self.search() {
            self.asm.add(text, &search);
        }
    }

    fn imported(&mut self, imported: Option<Imported>) -> bool {
        self.shown = true;
        let (Some(imported), Some(flags), Some(_), Some(files)) =
            (imported, &self.task.flags.key, &self.primary, self.files())
        else {
            return true;
        };
        let list = flags.block_list(&self.task.files);
        let mut made_of = super::dependencies_after_import(flags, imported, list.is_some());
        made_of.extend_from_slice(files);
        let key = dependency::key(&made_of);
        self.imported = Some((key, imported.places));
        if self.task.cache_use == CacheUse::KeysOnly {
            return true;
        }
        let Some(entry) = self.entry(&key, list) else {
            return true;
        };
        // The object depends neither on the module's name (LLD gives members of
        // archives another one in each link) nor on places in the sources; a message
        // might.
        let same_names =
            entry.module == self.task.job.module && entry.places == Some(imported.places);
        if !same_names && !entry.diagnostics.is_empty() {
            return true;
        }
        let object = self
            .cache
            .and_then(|cache| cache.read(&entry.object, entry.size));
        self.waiting = object.map(|object| Waiting { entry, object });
        self.waiting.is_none()
    }
}
