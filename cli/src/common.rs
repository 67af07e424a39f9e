//! The options that all doors have in common.

use std::ffi::{OsStr, OsString};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use clap::builder::FalseyValueParser;

use crate::audit::AuditArgs;
use crate::limits::{self, Limit};
use crate::manners::Manners;
use crate::remote::Remote;
use crate::report::Verbosity;
use crate::session::Settings;
use backlto::error::Result;
use backlto::{CacheOptions, Options, RemoteOptions, ReproducerOptions};

/// What can be said to all doors.
#[derive(Args)]
pub(crate) struct Common {
    /// Backends at a time [default: all cores]
    #[arg(short, long, global = true, value_name = "N", value_parser = limits::jobs)]
    jobs: Option<NonZeroUsize>,
    /// Start the other backends of a build too once one has failed
    #[arg(short, long, global = true)]
    keep_going: bool,
    /// Give up an object that takes longer; each is compiled in a worker process then
    #[arg(
        long,
        global = true,
        value_name = "SECONDS",
        value_parser = limits::seconds,
        env = "BACKLTO_TIMEOUT_PER_OBJECT",
        hide_env_values = true
    )]
    timeout_per_object: Option<Limit<Duration>>,
    /// Memory for backends, as 500M or 4G: those that would take more together, by an
    /// estimate, wait [default: what machine and control group have]
    #[arg(
        long,
        global = true,
        value_name = "SIZE",
        value_parser = limits::bytes,
        env = "BACKLTO_MEMORY_LIMIT",
        hide_env_values = true
    )]
    memory_limit: Option<Limit<u64>>,
    /// Print the equivalent clang command of every backend
    #[arg(short, long, global = true, conflicts_with = "quiet")]
    verbose: bool,
    /// Print errors and the compiler's messages only
    #[arg(short, long, global = true)]
    quiet: bool,
    /// Where objects of earlier builds are kept [default: backlto in the user's
    /// cache directory; an empty name keeps none]
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        env = "BACKLTO_CACHE_DIR",
        hide_env_values = true
    )]
    pub(crate) cache_dir: Option<OsString>,
    /// How large and old the cache may get, as for ld.lld --thinlto-cache-policy=
    #[arg(
        long,
        global = true,
        value_name = "POLICY",
        env = "BACKLTO_CACHE_POLICY",
        hide_env_values = true
    )]
    pub(crate) cache_policy: Option<String>,
    /// Use the cache even if others can write to it: they decide what is linked
    #[arg(
        long,
        global = true,
        env = "BACKLTO_CACHE_SHARED",
        hide_env_values = true,
        value_parser = FalseyValueParser::new()
    )]
    cache_shared: bool,
    /// Neither look in the cache nor add to it
    #[arg(long, global = true)]
    no_cache: bool,
    /// Print what happens as JSON, one object a line, in place of text
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Write a trace of the run for Chrome's or Perfetto's viewer
    #[arg(long, global = true, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// Have LLVM's own time trace of each compile in it, and in the report
    #[arg(long, global = true)]
    trace_llvm: bool,
    /// Write a report of the run, a page to look at; in a directory that is there, it is
    /// called by what was built
    #[arg(
        long,
        global = true,
        value_name = "FILE.html",
        env = "BACKLTO_REPORT",
        hide_env_values = true
    )]
    report: Option<OsString>,
    /// Where a reproducer of each crash of LLVM goes, as backlto-repro-NAME.tar.zst
    /// [default: the current directory; an empty name writes none]
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        env = "BACKLTO_REPRO_DIR",
        hide_env_values = true
    )]
    repro_dir: Option<OsString>,
    /// Leave a reproducer of this object (or of the module of this name) in any case;
    /// it is compiled even if it is up to date
    #[arg(
        long,
        global = true,
        value_name = "OBJECT",
        env = "BACKLTO_SAVE_REPRO",
        hide_env_values = true
    )]
    save_repro: Option<OsString>,
    #[command(flatten)]
    pub(crate) manners: Manners,
    #[command(flatten)]
    audit: AuditArgs,
    /// The ld.lld to use [default: $LD, then ld.lld-22, ld.lld]
    #[arg(long, global = true, value_name = "PATH")]
    ld: Option<PathBuf>,
    #[command(flatten)]
    remote: Remote,
}

impl Common {
    /// What a door is to go by, which may use the cache `remote` on another machine.
    pub(crate) fn settings(&self, remote: Option<RemoteOptions>) -> Settings {
        Settings {
            options: Options {
                workers: self.jobs,
                cache: self.cache(),
                time_trace: self.trace_llvm,
                // This very file, also when another version has taken its name.
                helper: Some("/proc/self/exe".into()),
                keep_going: self.keep_going,
                timeout_per_object: self.timeout_per_object.and_then(Limit::into_inner),
                memory_limit: self.memory_limit.and_then(Limit::into_inner),
                load_limit: self.manners.load(),
                reproducers: self.reproducers(),
                audit: self
                    .audit
                    .options(directory_or_here(self.repro_dir.as_deref())),
                remote,
            },
            cache_is_optional: self.cache_dir.is_none(),
            remote_is_optional: false,
            saves: self.saves(),
            one_line: false,
            json: self.json,
            trace: self.trace.clone(),
            report: self
                .report
                .as_ref()
                .filter(|name| !name.is_empty())
                .map(PathBuf::from),
            verbosity: self.verbosity(),
            linker: self.ld.clone(),
        }
    }

    /// How much to say.
    pub(crate) fn verbosity(&self) -> Verbosity {
        match (self.quiet, self.verbose) {
            (true, _) => Verbosity::Quiet,
            (_, true) => Verbosity::Verbose,
            _ => Verbosity::Normal,
        }
    }

    /// The cache on another machine that is asked for, if any.
    ///
    /// # Errors
    /// When the options about it make no sense.
    pub(crate) fn remote(&self) -> Result<Option<RemoteOptions>> {
        // Whoever wants no cache wants none anywhere.
        match self.no_cache {
            true => Ok(None),
            false => self.remote.options(),
        }
    }

    /// The cache that is asked for, if any.
    fn cache(&self) -> Option<CacheOptions> {
        let chosen = self.cache_dir.as_ref().map(PathBuf::from);
        let directory = chosen.or_else(backlto::default_cache_directory)?;
        let off = self.no_cache || directory.as_os_str().is_empty();
        (!off).then(|| CacheOptions {
            directory,
            policy: self.cache_policy.clone().unwrap_or_default(),
            shared: self.cache_shared,
        })
    }

    /// The object, or the module, whose reproducer is asked for.
    fn saves(&self) -> Option<PathBuf> {
        let named = self.save_repro.as_ref().filter(|name| !name.is_empty());
        named.map(PathBuf::from)
    }

    /// The reproducers that are asked for.
    fn reproducers(&self) -> Option<ReproducerOptions> {
        let directory = self.repro_dir.as_deref().unwrap_or(OsStr::new("."));
        let of: Vec<PathBuf> = self.saves().into_iter().collect();
        if directory.is_empty() && of.is_empty() {
            return None;
        }
        Some(ReproducerOptions {
            of,
            ..ReproducerOptions::new(directory_or_here(Some(directory)))
        })
    }
}

/// `directory`, or the current one where there is no name: nowhere is no place for what
/// is asked for.
fn directory_or_here(directory: Option<&OsStr>) -> &Path {
    let named = directory.filter(|directory| !directory.is_empty());
    Path::new(named.unwrap_or(OsStr::new(".")))
}
