//! Takes programs that have no clang command lines and no files (front ends, JITs,
//! build systems) from LLVM IR to objects without leaving the process:
//!
//! ```text
//!   IR ─ thin_lto_bitcode ─ bitcode ─ thin_link ─ index ┐
//!                              └────────────────────────┴ Plan ─ Engine::run
//! ```
//!
//! ```
//! use backlto::{CodegenOptions, Engine, Module, Options, Plan, Silent, ThinLinkOptions};
//!
//! let target = "x86_64-unknown-linux-gnu";
//! let ir = format!("target triple = \"{target}\" define i32 @answer() {{ ret i32 42 }}");
//! let bitcode = backlto::thin_lto_bitcode("answer.ll", ir.as_bytes())?;
//! let modules = [Module::new("answer.o", bitcode)];
//! let around = ThinLinkOptions {
//!     used: vec!["answer".to_owned()],
//!     ..ThinLinkOptions::default()
//! };
//! let indexes = backlto::thin_link(&modules, &around)?;
//! let options = CodegenOptions {
//!     target: Some(target.to_owned()),
//!     ..CodegenOptions::default()
//! };
//! let plan = Plan::in_memory(&modules, indexes, &options.into())?;
//! for report in Engine::new(&Options::default())?.run(&plan, &Silent)? {
//!     report.result?;
//!     assert!(report.object.is_some_and(|object| object.starts_with(b"\x7fELF")));
//! }
//! # Ok::<(), backlto::Errors>(())
//! ```

mod diagnostic;
mod options;
mod thin_link;

pub use diagnostic::{Diagnostic, Severity};
pub use options::{CodeModel, CodegenOptions, Debugger, OptLevel, Relocation};
pub use thin_link::{Linkage, Module, ThinLinkOptions, thin_link, thin_lto_bitcode};
