//! The thin link of modules in memory.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use crate::error::{Error, Kind, Result};
use crate::llvm;
use crate::plan::Plan;

/// A module and the name by which indexes and jobs know it.
#[derive(Clone, Debug)]
pub struct Module {
    /// Unique in its link. It need not be that of a file.
    pub name: String,
    /// ThinLTO bitcode.
    pub bitcode: Arc<[u8]>,
}

impl Module {
    /// `bitcode` under `name`.
    pub fn new(name: impl Into<String>, bitcode: impl Into<Arc<[u8]>>) -> Module {
        Module {
            name: name.into(),
            bitcode: bitcode.into(),
        }
    }
}

/// What the objects will be linked to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Linkage {
    /// A program: only what is [`used`](ThinLinkOptions::used) stays visible.
    #[default]
    Executable,
    /// A shared library: all but hidden symbols stay visible, and may be replaced
    /// at run time.
    SharedLibrary,
    /// A larger object (`ld -r`): every symbol stays visible.
    Relocatable,
}

/// What the thin link is to know of what is around the modules.
///
/// More fields may come: write `..ThinLinkOptions::default()`.
#[derive(Clone, Debug, Default)]
pub struct ThinLinkOptions {
    /// What the objects will be linked to.
    pub linkage: Linkage,
    /// Symbols that something outside of the modules refers to: the entry point,
    /// what native objects and the run time call. One that is missing here may
    /// vanish.
    pub used: Vec<String>,
    /// No class is derived from outside of the modules
    /// (`--lto-whole-program-visibility`).
    pub whole_program_visibility: bool,
}

/// The thin link of `modules`: the summary index of each, in their order.
///
/// Symbols are resolved as ld.lld does it, by LLVM's own LTO library: the first
/// strong definition counts, else the largest common or the first weak one; one
/// of several COMDAT groups of a name is kept. Options that were set for the
/// process (`-mllvm`) are in force as they are.
///
/// # Errors
/// LLVM's: when a module is not ThinLTO bitcode, or two define one symbol.
pub fn thin_link(modules: &[Module], options: &ThinLinkOptions) -> Result<Vec<Vec<u8>>> {
    llvm::start()?;
    let modules: Vec<(&str, &[u8])> = modules
        .iter()
        .map(|module| (&*module.name, &*module.bitcode))
        .collect();
    let linked = llvm::thin_link(&llvm::ThinLink {
        modules: &modules,
        used: &options.used,
        relocatable: options.linkage == Linkage::Relocatable,
        shared: options.linkage == Linkage::SharedLibrary,
        whole_program_visibility: options.whole_program_visibility,
    });
    linked.map_err(|reason| Error::new(Kind::Input, "the thin link failed").because(reason))
}

/// ThinLTO bitcode of `source`: LLVM IR as text or as bitcode, with or without
/// a summary. No pass is run, so a front end runs LLVM's ThinLTO pre-link
/// pipeline before, if it wants the optimisations that come first.
///
/// # Errors
/// LLVM's, when it cannot read `source` or the module is not valid.
pub fn thin_lto_bitcode(name: &str, source: &[u8]) -> Result<Vec<u8>> {
    llvm::start()?;
    llvm::write_thin_lto(name, source)
        .map_err(|reason| Error::new(Kind::Input, format!("cannot read `{name}`")).because(reason))
}

impl Plan {
    /// A plan over `modules` and their `indexes`, all in memory, objects
    /// included: a [`Job::new`](crate::Job::new) for each, with `command`.
    pub fn in_memory(modules: &[Module], indexes: Vec<Vec<u8>>, command: &crate::Command) -> Plan {
        let mut files: BTreeMap<PathBuf, Arc<[u8]>> = BTreeMap::new();
        let mut jobs = Vec::with_capacity(modules.len());
        for (module, index) in modules.iter().zip(indexes) {
            let job = crate::Job::new(&module.name, command.clone());
            files.insert(PathBuf::from(&module.name), Arc::clone(&module.bitcode));
            files.extend(
                job.index
                    .iter()
                    .map(|name| (name.into(), index.as_slice().into())),
            );
            jobs.push(job);
        }
        Plan {
            jobs,
            files,
            in_memory: true,
            ..Plan::default()
        }
    }
}
