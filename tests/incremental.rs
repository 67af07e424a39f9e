//! Never compile what did not change, and never keep what did: small programs
//! and kernel trees are built, changed and built again. What is there afterwards
//! must be clang's, byte by byte, and no more may have been compiled than had to
//! be.

#[path = "incremental/assembly.rs"]
mod assembly;
#[path = "incremental/audit.rs"]
mod audit;
#[path = "incremental/block_lists.rs"]
mod block_lists;
#[path = "incremental/cached.rs"]
mod cached;
#[path = "incremental/changes.rs"]
mod changes;
mod common;
#[path = "incremental/kernel.rs"]
mod kernel;
#[path = "incremental/killed.rs"]
mod killed;
#[path = "common/mounted.rs"]
mod mounted;
#[path = "incremental/places.rs"]
mod places;
#[path = "incremental/project.rs"]
mod project;
#[path = "incremental/promoted.rs"]
mod promoted;
#[path = "incremental/records.rs"]
mod records;
#[path = "incremental/simulated.rs"]
mod simulated;
#[allow(dead_code, reason = "shared with the tests of the kernel door")]
#[path = "kernel_door/tree.rs"]
mod tree;
