//! The options of the audit: some of what would be taken from an earlier build is compiled
//! anyway, and compared.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::path::Path;

use clap::Args;

use crate::limits::{self, Limit};
use backlto::AuditOptions;

/// What the user asks for.
#[derive(Args)]
pub(crate) struct AuditArgs {
    /// Compile N of 100 objects that would be taken from the record or the cache anyway:
    /// one that differs is an error
    #[arg(
        long = "audit",
        global = true,
        value_name = "N%",
        value_parser = limits::percent,
        env = "BACKLTO_AUDIT",
        hide_env_values = true
    )]
    percent: Option<Limit<f64>>,
    /// What decides which objects are audited [default: another number each time, which
    /// is printed]
    #[arg(
        long = "audit-seed",
        global = true,
        value_name = "NUMBER",
        value_parser = limits::number,
        env = "BACKLTO_AUDIT_SEED",
        hide_env_values = true
    )]
    seed: Option<Limit<u64>>,
}

impl AuditArgs {
    /// What the engine is to do, if an audit is asked for; objects that differ go to
    /// `directory`.
    pub(crate) fn options(&self, directory: &Path) -> Option<AuditOptions> {
        let percent = self.percent.and_then(Limit::into_inner)?;
        let seed = self.seed.and_then(Limit::into_inner);
        Some(AuditOptions {
            // A new state has keys of its own, from the system.
            seed: seed.unwrap_or_else(|| RandomState::new().build_hasher().finish()),
            directory: directory.to_owned(),
            ..AuditOptions::new(percent)
        })
    }
}

/// What the user is told of `audit` before anything is compiled.
pub(crate) fn announcement(audit: &AuditOptions) -> String {
    let AuditOptions { percent, seed, .. } = audit;
    format!("{percent}% of what is taken from earlier builds is compiled too (--audit-seed {seed})")
}
