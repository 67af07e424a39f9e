//! The keys of a job by what it reads.

use super::record::Sizes;
use crate::dependency::{self, Dependency, Part};
use crate::digest::Digest;
use crate::prepare::Task;

/// Keys by everything that a job reads.
pub(super) struct InputKeys {
    /// With the names of modules.
    pub(super) named: Digest,
    /// Without, for a compile that says nothing: LLD gives members of archives another
    /// name in each link, and only messages tell names. None when names stay.
    pub(super) nameless: Option<Digest>,
}

impl InputKeys {
    /// The keys of `task`, whose object depends on `made_of`; `None` for a job without an
    /// index, which is no backend compile of a thin link.
    pub(super) fn of(task: &Task, made_of: &[Dependency]) -> Option<InputKeys> {
        let _ = task.index.as_ref()?;
        let flags = task.flags.key.as_ref()?;
        let nameless = task
            .transient
            .then(|| super::dependencies_without_names(task, flags))
            .flatten();
        Some(InputKeys {
            named: dependency::key(made_of),
            nameless: nameless.as_ref().map(dependency::key),
        })
    }

    /// The key for a compile that has said `diagnostics`.
    pub(super) fn for_one_that_said(&self, diagnostics: &str) -> &Digest {
        match &self.nameless {
            Some(nameless) if diagnostics.is_empty() => nameless,
            _ => &self.named,
        }
    }

    /// Both, in the order in which they are looked for.
    pub(super) fn all(&self) -> Vec<Digest> {
        self.nameless.into_iter().chain([self.named]).collect()
    }
}

/// What the object of `task` depends on, but for files that assembly names; `None` when
/// its flags ask for more than an object.
pub(super) fn made_of(task: &Task) -> Option<Vec<Dependency>> {
    // Before anything is compiled: what is hashed here is what LLVM gets.
    let flags = task.flags.key.as_ref()?;
    let mut imports: Vec<&str> = task.imports.iter().map(|(name, _)| &**name).collect();
    imports.sort_unstable();
    Some(super::dependencies(&task.job, flags, &imports, &task.files))
}

/// How much the compile of `task` reads, whose object of so many bytes is `made_of` that.
pub(super) fn sizes(task: &Task, made_of: &[Dependency], object: u64) -> Sizes {
    let read = |dependency: &Dependency| {
        let import = || {
            task.imports
                .iter()
                .find(|(name, _)| *name == dependency.name)
        };
        let file = match dependency.part {
            Part::Module => Some(&task.module),
            Part::Index => task.index.as_ref(),
            Part::Import => import().map(|(_, file)| file),
            _ => None,
        };
        file.map_or(0, |file| file.bytes().len() as u64)
    };
    Sizes {
        made_of: made_of.iter().map(read).collect(),
        object,
    }
}
