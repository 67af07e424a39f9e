//! For programs that have no clang command lines and no files: front ends,
//! JITs, build systems. From LLVM IR to objects without leaving the process:
//!
//! ```text
//!   IR ─ thin_lto_bitcode ─ bitcode ─ thin_link ─ index ┐
//!                              └────────────────────────┴ Plan ─ Engine::run
//! ```

mod diagnostic;
mod options;
mod thin_link;

pub use diagnostic::{Diagnostic, Severity};
pub use options::{CodeModel, CodegenOptions, Debugger, OptLevel, Relocation};
pub use thin_link::{Linkage, Module, ThinLinkOptions, thin_link, thin_lto_bitcode};
