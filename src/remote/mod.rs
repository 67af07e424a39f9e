//! A cache of objects on any engine that speaks the Remote Execution API v2.
//!
//! The two keys of the local cache stand for actions of the engine's action cache:
//!
//! ```text
//!   key ─ Action { salt: key } ─ ActionResult ─ stdout: what is known of the object
//!                                            └ output file "object": its bytes
//! ```
//!
//! The engine of this library sees the trait `Elsewhere` of it. All that is
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
mod health;
#[cfg(feature = "remote")]
mod lookups;
#[cfg(feature = "remote")]
mod probe;
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
pub use options::{Header, RemoteOptions};
#[cfg(feature = "remote")]
pub use probe::probe;
pub use totals::{Probed, Summary, Totals};
