//! What happened in a run, for a report: collected while it runs, kept beside the record
//! of what was built, and told as a page to look at.

pub(crate) mod against;
pub(crate) mod collect;
pub(crate) mod cores;
pub(crate) mod data;
pub(crate) mod edits;
pub(crate) mod findings;
pub(crate) mod hot;
pub(crate) mod keep;
pub(crate) mod outlets;
pub(crate) mod page;
pub(crate) mod review;
