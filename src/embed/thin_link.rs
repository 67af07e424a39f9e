//! Thin-links modules in memory.

use std::path::PathBuf;
use std::sync::Arc;

use crate::error::{Error, Kind, Result};
use crate::llvm;
use crate::plan::{CompilerCommand, Job, Plan};

/// A module and the name by which indexes and jobs know it.
#[derive(Clone, Debug)]
pub struct Module {
    /// The name, unique in its link. It need not be that of a file.
    pub name: String,
    /// The module itself: ThinLTO bitcode.
    pub bitcode: Arc<[u8]>,
}

impl Module {
    /// Gives `bitcode` the name `name`.
    pub fn new(name: impl Into<String>, bitcode: impl Into<Arc<[u8]>>) -> Module {
        Module {
            name: name.into(),
            bitcode: bitcode.into(),
        }
    }
}

/// Says what the objects will be linked to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
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

/// Tells the thin link what it is to know of what is around the modules.
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
    /// Whether no class is derived from outside of the modules
    /// (`--lto-whole-program-visibility`).
    pub whole_program_visibility: bool,
}

/// Thin-links `modules`: gives the summary index of each, in their order.
///
/// Symbols are resolved as ld.lld does it, by LLVM's own LTO library: the first
/// strong definition counts, else the largest common or the first weak one; one
/// of several COMDAT groups of a name is kept. Options that were set for the
/// process (`-mllvm`) are in force as they are.
///
/// # Errors
/// [`Kind::Input`] with LLVM's reason, when a module is not ThinLTO bitcode, when
/// two define one symbol; [`Kind::Environment`] when the LLVM that is loaded is not
/// the one built against.
///
/// ```
/// use backlto::{Module, ThinLinkOptions};
///
/// let module = |name: &str, ir: &str| -> backlto::Result<Module> {
///     let ir = format!("target triple = \"x86_64-unknown-linux-gnu\" {ir}");
///     Ok(Module::new(name, backlto::thin_lto_bitcode(name, ir.as_bytes())?))
/// };
/// let modules = [
///     module("main", "declare i32 @f()\n define i32 @main() { %s = call i32 @f() ret i32 %s }")?,
///     module("f", "define i32 @f() { ret i32 0 }")?,
/// ];
/// let around = ThinLinkOptions {
///     used: vec!["main".to_owned()],
///     ..ThinLinkOptions::default()
/// };
/// let indexes = backlto::thin_link(&modules, &around)?;
/// assert_eq!(indexes.len(), modules.len());
/// # Ok::<(), backlto::Error>(())
/// ```
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

/// Writes ThinLTO bitcode of `source`, which is LLVM IR as text or as bitcode, with
/// or without a summary. `name` is for LLVM's messages. No pass is run, so a front end runs LLVM's ThinLTO pre-link
/// pipeline before, if it wants the optimisations that come first. A module without a
/// `target triple` cannot be linked.
///
/// # Errors
/// [`Kind::Input`] with LLVM's reason, when it cannot read `source` or the module
/// is not valid; [`Kind::Environment`] when the LLVM that is loaded is not the one
/// built against.
///
/// ```
/// let bitcode = backlto::thin_lto_bitcode("f.ll", b"define void @f() { ret void }")?;
/// assert!(bitcode.starts_with(b"BC"));
///
/// let error = backlto::thin_lto_bitcode("f.ll", b"define").unwrap_err();
/// assert!(error.to_string().starts_with("cannot read `f.ll`: "));
/// # Ok::<(), backlto::Error>(())
/// ```
pub fn thin_lto_bitcode(name: &str, source: &[u8]) -> Result<Vec<u8>> {
    llvm::start()?;
    llvm::write_thin_lto(name, source)
        .map_err(|reason| Error::new(Kind::Input, format!("cannot read `{name}`")).because(reason))
}

impl Plan {
    /// Makes a plan over `modules` and their `indexes`, all in memory, objects
    /// included: a [`Job::new`] for each, with `command`.
    ///
    /// # Errors
    /// [`Kind::Plan`] when there are not as many indexes as modules.
    ///
    /// ```
    /// use backlto::{CompilerCommand, Module, Plan, ThinLinkOptions};
    ///
    /// let ir = br#"target triple = "x86_64-unknown-linux-gnu" define void @f() { ret void }"#;
    /// let bitcode = backlto::thin_lto_bitcode("f.ll", ir)?;
    /// let modules = [Module::new("f.o", bitcode)];
    /// let indexes = backlto::thin_link(&modules, &ThinLinkOptions::default())?;
    /// let command = CompilerCommand::flags(["clang", "-O2"]);
    /// let plan = Plan::in_memory(&modules, indexes, &command)?;
    /// assert_eq!(plan.jobs[0].output, "f.o.native.o");
    /// assert_eq!(plan.files.len(), 2);
    ///
    /// assert!(Plan::in_memory(&modules, vec![], &command).is_err());
    /// # Ok::<(), backlto::Error>(())
    /// ```
    pub fn in_memory(
        modules: &[Module],
        indexes: Vec<Vec<u8>>,
        command: &CompilerCommand,
    ) -> Result<Plan> {
        if modules.len() != indexes.len() {
            let (modules, indexes) = (modules.len(), indexes.len());
            let message = format!("cannot plan {modules} modules with {indexes} indexes");
            return Err(Error::new(Kind::Plan, message)
                .hint("give each module the index that `thin_link` made for it"));
        }
        let mut plan = Plan {
            in_memory: true,
            ..Plan::default()
        };
        for (module, index) in modules.iter().zip(indexes) {
            let job = Job::new(&module.name, command.clone());
            let index_name = job.index.as_ref().map(PathBuf::from);
            plan.files
                .insert(PathBuf::from(&module.name), Arc::clone(&module.bitcode));
            plan.files
                .extend(index_name.map(|name| (name, index.into())));
            plan.jobs.push(job);
        }
        Ok(plan)
    }
}
