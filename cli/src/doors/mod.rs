//! The front doors: thin, each turns what a build has on disk into a plan and
//! runs the stages around it. The kernel's are in [`crate::kbuild`].

pub(crate) mod cache;
pub(crate) mod cc;
pub(crate) mod diff;
pub(crate) mod distribute;
pub(crate) mod doctor;
pub(crate) mod explain;
pub(crate) mod install_linker;
pub(crate) mod manual;
pub(crate) mod programs;
mod records;
pub(crate) mod report;
pub(crate) mod repro;
pub(crate) mod simulate;
