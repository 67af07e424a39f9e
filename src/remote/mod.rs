//! A cache of objects, and compiles, on any engine that speaks the Remote Execution API v2.
//!
//! The two keys of the local cache stand for actions of the engine's action cache:
//!
//! ```text
//!   key ─ Action { salt: key } ─ ActionResult ─ stdout: what is known of the object
//!                                            └ output file "object": its bytes
//! ```
//!
//! Jobs that are compiled there are actions of the usual kind, several short ones together:
//!
//! ```text
//!   backlto worker errand ─ errand: which jobs       ─ out/report: how they ended
//!                         └ in/N: what they read     └ out/N.o: their objects
//! ```
//!
//! The engine of this library sees the traits `Elsewhere` and `Workshop` of it. All that is
//! asynchronous is in this folder, on a thread of its own; without the feature `remote`
//! nothing of it is there, and [`Options::remote`](crate::Options::remote) is an error.

mod address;
mod options;
mod totals;

#[cfg(feature = "remote")]
mod action;
#[cfg(feature = "remote")]
mod blobs;
#[cfg(feature = "remote")]
mod cache;
#[cfg(feature = "remote")]
mod connection;
#[cfg(feature = "remote")]
mod content;
#[cfg(feature = "remote")]
mod execution;
#[cfg(feature = "remote")]
mod farm;
#[cfg(feature = "remote")]
mod health;
#[cfg(feature = "remote")]
mod lookups;
#[cfg(feature = "remote")]
mod lot;
#[cfg(feature = "remote")]
mod probe;
#[cfg(feature = "remote")]
mod stock;
#[cfg(feature = "remote")]
mod stream;
#[cfg(feature = "remote")]
mod trouble;
#[cfg(feature = "remote")]
mod uploads;

#[cfg(not(feature = "remote"))]
#[path = "without.rs"]
mod cache;

pub(crate) use cache::RemoteCache;
#[cfg(not(feature = "remote"))]
pub use cache::probe;
pub use options::{ExecutionOptions, Header, RemoteOptions};
#[cfg(feature = "remote")]
pub use probe::probe;
pub use totals::{Probed, Summary, Totals};
