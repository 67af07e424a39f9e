//! One job on its way to an object: what the cache has of it, before LLVM starts
//! and again once the imported code is known, and what the cache learns.

use std::time::Duration;

use super::ahead;
use super::entry::{Entry, ListedBlocks, store_first};
use super::keys::{self, InputKeys};
use super::record::ObjectRecord;
use crate::asm::{AsmFiles, Search};
use crate::block_list::BlockList;
use crate::cache::{Cache, Hit, Placement};
use crate::compile::{Imported, Watch};
use crate::dependency::{self, Dependency};
use crate::digest::Digest;
use crate::elsewhere::{Answer, Elsewhere};
use crate::emit;
use crate::error::Result;
use crate::origin::Origin;
use crate::plan::CompilerCommand;
use crate::prepare::{CacheUse, Task};

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
    elsewhere: Option<&'a dyn Elsewhere>,
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
    /// What was found after LLVM had started.
    waiting: Option<Waiting>,
}

/// An object out of a cache that has no place yet: LLVM has not stopped, and what it
/// has shown counts only if it does so well.
struct Waiting {
    entry: Entry,
    object: Vec<u8>,
    how: Origin,
}

impl<'a> Attempt<'a> {
    pub(crate) fn new(task: &'a Task) -> Attempt<'a> {
        // What a program makes of an object is not in any key.
        let cache = task.cache.as_deref().filter(|_| task.job.post.is_none());
        let elsewhere = task.elsewhere.as_deref();
        let elsewhere = elsewhere.filter(|_| task.job.post.is_none());
        let made_of = keys::made_of(task);
        let primary = made_of
            .as_ref()
            .filter(|_| cache.is_some() || elsewhere.is_some())
            .and_then(|made_of| InputKeys::of(task, made_of));
        Attempt {
            task,
            cache,
            elsewhere,
            made_of,
            primary,
            imported: None,
            asm: AsmFiles::none(),
            shown: false,
            waiting: None,
        }
    }

    /// The keys by which a cache may have the object, first the one by which `how` says
    /// that it was found. That by the imported module is known once LLVM has imported.
    pub(crate) fn keys(&self, how: Origin) -> Vec<Digest> {
        let mut all = self.primary.as_ref().map_or(Vec::new(), InputKeys::all);
        if let Some((imported, _)) = self.imported {
            let at = match how {
                Origin::CachedAfterImport | Origin::RemoteAfterImport => 0,
                _ => all.len(),
            };
            all.insert(at, imported);
        }
        all
    }

    /// The object, if a cache has it for these inputs.
    pub(crate) fn look_up(&mut self) -> Option<Found> {
        if self.task.cache_use == CacheUse::KeysOnly {
            return None;
        }
        self.look_up_here().or_else(|| self.look_up_elsewhere())
    }

    fn look_up_here(&mut self) -> Option<Found> {
        let keys = self.primary.as_ref()?;
        // The list of basic blocks is in these keys as a whole.
        let nameless = keys.nameless.as_ref().and_then(|key| self.entry(key, None));
        let entry = nameless.or_else(|| self.entry(&keys.named, None))?;
        self.with_files_of(&entry, |attempt| attempt.place(&entry))
    }

    /// The object, if another machine has it by now.
    fn look_up_elsewhere(&mut self) -> Option<Found> {
        let (entry, object) = self.answer_to_inputs(ahead::patience(self.task))?;
        self.with_files_of(&entry, |attempt| {
            attempt
                .put(&object)
                .ok()
                .map(|()| attempt.found_elsewhere(entry.clone(), &object, Origin::Remote))
        })
    }

    /// Has `place` put the object of `entry` in its place, whose files are those that
    /// the module's assembly names if that works.
    fn with_files_of(
        &mut self,
        entry: &Entry,
        place: impl FnOnce(&Attempt<'a>) -> Option<Found>,
    ) -> Option<Found> {
        self.asm = AsmFiles::Known(entry.files.clone());
        self.shown = true;
        let found = place(self);
        if found.is_none() {
            self.asm = AsmFiles::none();
            self.shown = false;
        }
        found
    }

    /// What another machine has for the inputs, if it says so within `patience`.
    fn answer_to_inputs(&self, patience: Duration) -> Option<(Entry, Vec<u8>)> {
        let _ = self.primary.as_ref()?;
        let answer = self.task.asked.as_ref()?.take(patience)?;
        self.checked(answer)
            .filter(|(entry, _)| self.fits(entry, None))
    }

    /// What another machine has for the imported module, whose key is `key`.
    fn answer_to_imported(&self, key: Digest, places: Digest) -> Option<(Entry, Vec<u8>)> {
        let elsewhere = self.elsewhere?;
        // What an engine has compiled is there: nobody waits for another one.
        let asked = self.task.asked.as_ref();
        if asked.is_some_and(|asked| asked.is_closed()) {
            return None;
        }
        let patience = ahead::patience(self.task);
        // An answer that comes too late costs the engine and helps nobody.
        if !elsewhere.is_likely_within(patience) {
            return None;
        }
        let answer = elsewhere.ask(vec![key]).take(patience)?;
        self.checked(answer)
            .filter(|(entry, _)| self.fits(entry, None) && self.is_said_of(entry, places))
    }

    /// `answer`, if it is what it should be.
    fn checked(&self, answer: Answer) -> Option<(Entry, Vec<u8>)> {
        match Entry::unpacked(&answer) {
            Ok(entry) => Some((entry, answer.object)),
            Err(reason) => {
                self.elsewhere?.refuse(reason);
                None
            }
        }
    }

    /// Puts `object` in its place, if the inputs are still what they were.
    fn put(&self, object: &[u8]) -> Result<()> {
        self.task
            .files()
            .try_for_each(|file| file.check_unchanged())
            .and_then(|()| emit::write(&self.task.job.output_path(), object))
    }

    /// The object of `entry`, which is in its place and came from another machine: the
    /// cache here learns of it.
    fn found_elsewhere(&self, entry: Entry, object: &[u8], how: Origin) -> Found {
        let found = self.found(&entry, how);
        if let Some(cache) = self.cache
            && cache.insert(object).is_some()
        {
            if how == Origin::RemoteAfterImport
                && let Some((key, _)) = &self.imported
            {
                store_first(cache, key, entry.clone(), Vec::new());
            }
            self.keep_primary(cache, entry);
        }
        found
    }

    /// Puts the object in its place that was found after the imports, now that the
    /// compile has ended for that; `None` if none was.
    ///
    /// # Errors
    /// When it cannot be written, or an input has changed meanwhile.
    pub(crate) fn place_found(&mut self) -> Option<Result<Found>> {
        let Waiting { entry, object, how } = self.waiting.take()?;
        Some(self.put(&object).map(|()| {
            if how != Origin::CachedAfterImport {
                return self.found_elsewhere(entry, &object, how);
            }
            let found = self.found(&entry, how);
            if let Some(cache) = self.cache {
                self.keep_primary(cache, entry);
            }
            found
        }))
    }

    /// What the record is to know of the object of this `size`, now that it is there. `None`
    /// if it cannot be told what the object depends on.
    pub(crate) fn known(&self, object: Digest, size: u64, how: Origin) -> Option<ObjectRecord> {
        let made_of = [self.made_of.as_deref()?, self.files()?].concat();
        Some(ObjectRecord {
            sizes: Some(keys::sizes(self.task, &made_of, size)),
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

    /// Whether the files that LLVM has opened by name are on disk as they were when they
    /// were hashed. What changed meanwhile is in the object, and neither in keys nor in
    /// what the record is to know.
    pub(crate) fn files_held(&self) -> bool {
        let (Some(flags), Some(search), Some(files)) =
            (&self.task.flags.key, self.search(), self.files())
        else {
            return false;
        };
        flags.holds(&self.task.files) && search.holds(files)
    }

    /// The files behind the module's assembly, if a cache is to learn of the object.
    fn files_to_keep(&self) -> Option<&[Dependency]> {
        let is_full = self.task.cache_use == CacheUse::Full;
        self.files().filter(|_| is_full)
    }

    /// Counts an object that had to be compiled.
    pub(crate) fn count_miss(&self) {
        if let (Some(cache), Some(_)) = (self.cache, self.files_to_keep()) {
            cache.count_miss();
        }
    }

    /// Gives the caches what was compiled, of files that have [held](Attempt::files_held);
    /// `functions` are those that the code generator got, if that is wanted and known.
    pub(crate) fn keep(
        &self,
        object: &[u8],
        diagnostics: &str,
        functions: Option<Vec<String>>,
        duration: Duration,
    ) {
        let Some(files) = self.files_to_keep() else {
            return;
        };
        let flags = self.task.flags.key.as_ref();
        let entry = Entry {
            files: files.to_vec(),
            object: Digest::of(object),
            size: object.len() as u64,
            module: self.task.job.module.clone(),
            diagnostics: diagnostics.to_owned(),
            rendering: flags.map_or(Vec::new(), |flags| flags.rendering.clone()),
            places: None,
            blocks: None,
            microseconds: u64::try_from(duration.as_micros()).unwrap_or(u64::MAX),
        };
        self.offer(&entry, object);
        if let Some(cache) = self.cache
            && cache.insert(object).is_some()
        {
            self.keep_imported(cache, entry.clone(), functions);
            self.keep_primary(cache, entry);
        }
    }

    /// Offers `object` to other machines.
    fn offer(&self, entry: &Entry, object: &[u8]) {
        let (Some(elsewhere), Some(keys)) = (self.elsewhere, &self.primary) else {
            return;
        };
        let primary = entry.packed(keys.for_one_that_said(&entry.diagnostics));
        // A key without the list of basic blocks has several objects, which only the
        // cache here can tell apart.
        let imported = self.imported.filter(|_| self.block_list().is_none());
        let imported = imported.and_then(|(key, places)| {
            let mut entry = entry.clone();
            entry.places = Some(places);
            entry.packed(&key)
        });
        elsewhere.offer(primary.into_iter().chain(imported).collect(), object);
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
        let entry = Entry {
            // These are for the key by the imported module.
            blocks: None,
            places: None,
            ..entry
        };
        store_first(cache, primary, entry, others);
    }

    fn entries(&self, key: &Digest) -> Vec<Entry> {
        self.cache
            .and_then(|cache| cache.lookup(key))
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or_default()
    }

    /// The entry under `key` that [`Attempt::fits`].
    fn entry(&self, key: &Digest, list: Option<&BlockList>) -> Option<Entry> {
        let mut entries = self.entries(key).into_iter();
        entries.find(|entry| self.fits(entry, list))
    }

    /// Whether the files of `entry` are as they are now, and its messages, if it has
    /// any, look as they are to look now. Where its key is one without the list of basic
    /// blocks, `list` is to say of the object's functions what it said.
    fn fits(&self, entry: &Entry, list: Option<&BlockList>) -> bool {
        let (Some(search), Some(flags)) = (self.search(), &self.task.flags.key) else {
            return false;
        };
        let looks_right = entry.diagnostics.is_empty() || entry.rendering == flags.rendering;
        let listed = match (&entry.blocks, list) {
            (None, None) => true,
            (Some(blocks), Some(list)) => blocks.are_as_in(list),
            _ => false,
        };
        looks_right && listed && search.finds(&entry.files)
    }

    /// Whether what `entry` says can be said of this module, whose places in the sources
    /// are `places`. The object depends neither on the module's name (LLD gives members
    /// of archives another one in each link) nor on places; a message might.
    fn is_said_of(&self, entry: &Entry, places: Digest) -> bool {
        let same_names = entry.module == self.task.job.module && entry.places == Some(places);
        same_names || entry.diagnostics.is_empty()
    }

    /// What the cache here has under `key`, that of the imported module.
    fn known_here(
        &self,
        key: &Digest,
        list: Option<&BlockList>,
        places: Digest,
    ) -> Option<Waiting> {
        let entry = self.entry(key, list)?;
        if !self.is_said_of(&entry, places) {
            return None;
        }
        let object = self.cache?.read(&entry.object, entry.size)?;
        Some(Waiting {
            entry,
            object,
            how: Origin::CachedAfterImport,
        })
    }

    /// What another machine has under `key`, that of the imported module; or under that
    /// of the inputs, if it has said so only by now.
    fn known_elsewhere(
        &self,
        key: Digest,
        list: Option<&BlockList>,
        places: Digest,
    ) -> Option<Waiting> {
        let found = |(entry, object), how| Waiting { entry, object, how };
        if let Some(answer) = self.answer_to_inputs(Duration::ZERO) {
            return Some(found(answer, Origin::Remote));
        }
        // See `offer`.
        let imported = list
            .is_none()
            .then(|| self.answer_to_imported(key, places))?;
        imported.map(|answer| found(answer, Origin::RemoteAfterImport))
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
        // What is to end up in memory is read once.
        let placement = match self.task.transient || self.task.in_memory {
            true => Placement::Transient,
            false => Placement::Own,
        };
        let path = self.task.job.output_path();
        let is_placed = cache.place(&entry.object, entry.size, &path, placement);
        is_placed.then(|| self.found(entry, Origin::Cached))
    }

    /// The object of `entry`, which is in its place.
    fn found(&self, entry: &Entry, how: Origin) -> Found {
        let saved = Duration::from_micros(entry.microseconds);
        let after_import = [Origin::CachedAfterImport, Origin::RemoteAfterImport].contains(&how);
        let is_elsewhere = [Origin::Remote, Origin::RemoteAfterImport].contains(&how);
        match (self.cache, self.elsewhere) {
            (_, Some(elsewhere)) if is_elsewhere => elsewhere.count_used(after_import, saved),
            (Some(cache), _) if after_import => cache.count_hit(Hit::AfterImport, saved),
            (Some(cache), _) => cache.count_hit(Hit::Primary, saved),
            _ => {}
        }
        Found {
            size: entry.size,
            diagnostics: entry.diagnostics.clone(),
            how,
            known: self.known(entry.object, entry.size, how),
        }
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
        self.waiting = self
            .known_here(&key, list, imported.places)
            .or_else(|| self.known_elsewhere(key, list, imported.places));
        self.waiting.is_none()
    }
}
