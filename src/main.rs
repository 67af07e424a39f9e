//! The `backlto` program: picks a front door, prints what is left to say, sets
//! the exit status.

use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use backlto::front::{self, Failure, Settings, kbuild};
use backlto::report::{self, Verbosity};
use backlto::{CacheOptions, Options};
use clap::{Args, Parser, Subcommand};

/// Every ThinLTO back end of a build, in one process.
#[derive(Parser)]
#[command(version = VERSION, max_term_width = 100, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    door: Door,
    #[command(flatten)]
    common: Common,
}

const VERSION: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    " (LLVM ",
    env!("BACKLTO_LLVM_VERSION"),
    ")"
);

const EXAMPLES: &str = "\
Examples:
  backlto kbuild /path/to/objtree      stages 2 to 4 of a ThinLTO kernel
  backlto cc -x ir -fthinlto-index=a.o.thinlto.bc -O2 -c -o a.native.o a.o
                                       one backend, with clang's command line
  backlto run plan.json                thin link, backends and link of programs";

#[derive(Args)]
struct Common {
    /// Backends at a time [default: all cores]
    #[arg(short, long, global = true, value_name = "N")]
    jobs: Option<NonZeroUsize>,
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
    cache_dir: Option<OsString>,
    /// How large and old the cache may get, as for ld.lld --thinlto-cache-policy=
    #[arg(
        long,
        global = true,
        value_name = "POLICY",
        env = "BACKLTO_CACHE_POLICY",
        hide_env_values = true
    )]
    cache_policy: Option<String>,
    /// Neither look in the cache nor add to it
    #[arg(long, global = true)]
    no_cache: bool,
    /// The ld.lld to use [default: $LD, then ld.lld-22, ld.lld]
    #[arg(long, global = true, value_name = "PATH")]
    ld: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Door {
    /// Thin link, backends and link of Linux kernels whose front end is done
    Kbuild(Kbuild),
    /// One backend compile, with clang's own command line
    ///
    /// Options of backlto itself come before `cc`.
    Cc {
        /// What clang would be given
        #[arg(
            trailing_var_arg = true,
            allow_hyphen_values = true,
            value_name = "CLANG-ARGS"
        )]
        args: Vec<String>,
    },
    /// The backends of a link that ld.lld runs (--thinlto-distributor=)
    Distribute {
        /// The jobs, as LLD describes them
        #[arg(value_name = "FILE.json")]
        description: PathBuf,
    },
    /// The same in a kernel tree, with the flags that kbuild recorded
    #[command(hide = true)]
    KbuildDistribute {
        /// The jobs, as LLD describes them
        #[arg(value_name = "FILE.json")]
        description: PathBuf,
    },
    /// The thin link that kbuild asks ld.backlto for, and the backends
    #[command(hide = true)]
    KbuildIndex {
        /// ld.lld's command line
        #[arg(last = true)]
        args: Vec<String>,
    },
    /// Why an object was built, and what would happen to it now
    Explain {
        /// The object, or the module that it is made of
        object: PathBuf,
    },
    /// Look at the cache of objects, or tidy it up
    Cache {
        /// What to do
        task: front::cache::Task,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Thin link, backends and link of programs that a JSON file describes
    Run {
        /// The description
        plan: PathBuf,
        /// Only the programs for this architecture
        #[arg(long = "arch", value_name = "NAME")]
        arches: Vec<String>,
    },
}

#[derive(Args)]
struct Kbuild {
    /// The kernels' object trees, each as given to make with O=
    #[arg(value_name = "OBJTREE", required_unless_present_any = ["directory", "arches"])]
    objtrees: Vec<PathBuf>,
    /// The same, as an option
    #[arg(short = 'C', value_name = "OBJTREE", id = "directory")]
    directories: Vec<PathBuf>,
    /// Only the trees of this architecture; with =OBJTREE, one more tree
    #[arg(long = "arch", value_name = "NAME[=OBJTREE]")]
    arches: Vec<String>,
    /// The stage to stop after
    #[arg(long, value_name = "STAGE", default_value = "vmlinux.o")]
    to: kbuild::Stage,
    /// What make was given (LLVM=-22, ARCH=arm64, …), when it cannot be told
    /// from the tree
    #[arg(long = "make", value_name = "VAR=VALUE")]
    make_variables: Vec<String>,
    /// Run this on each finished object, {} for its path (no shell); the object
    /// fails when it fails
    #[arg(long, value_name = "CMD {}")]
    post: Option<String>,
}

/// The cache to use, if any.
fn cache(common: &Common) -> Option<CacheOptions> {
    let chosen = common.cache_dir.as_ref().map(PathBuf::from);
    let directory = chosen.or_else(backlto::default_cache_directory)?;
    let off = common.no_cache || directory.as_os_str().is_empty();
    (!off).then(|| CacheOptions {
        directory,
        policy: common.cache_policy.clone().unwrap_or_default(),
    })
}

fn main() {
    let cli = Cli::parse();
    let cache_by_default = cli.common.cache_dir.is_none();
    let settings = Settings {
        options: Options {
            workers: cli.common.jobs,
            cache: cache(&cli.common),
        },
        cache_by_default,
        verbosity: match (cli.common.quiet, cli.common.verbose) {
            (true, _) => Verbosity::Quiet,
            (_, true) => Verbosity::Verbose,
            _ => Verbosity::Normal,
        },
        linker: cli.common.ld,
    };
    let outcome = backlto::own_process()
        .map_err(Failure::from)
        .and_then(|()| match cli.door {
            Door::Kbuild(args) => kbuild::run(
                &kbuild::Request {
                    objtrees: [args.objtrees, args.directories].concat(),
                    arches: args.arches,
                    to: args.to,
                    make_variables: args.make_variables,
                    post: args.post,
                },
                &settings,
            ),
            Door::Distribute { description } => {
                front::distribute::run(&description, &settings.within_link())
            }
            Door::KbuildDistribute { description } => {
                kbuild::distribute::run(&description, &settings.within_link())
            }
            Door::KbuildIndex { args } => kbuild::index(&args, &settings),
            Door::Explain { object } => front::explain::run(&object),
            Door::Cache { task, json } => front::cache::run(&front::cache::Request {
                task,
                directory: cli
                    .common
                    .cache_dir
                    .filter(|name| !name.is_empty())
                    .map(PathBuf::from),
                policy: cli.common.cache_policy,
                json,
            }),
            Door::Cc { args } => front::cc::run(args, &settings),
            Door::Run { plan, arches } => front::programs::run(&plan, &arches, &settings),
        });
    let status = match outcome {
        Ok(()) => 0,
        Err(failure) => {
            if let Failure::Unsaid(errors) = failure {
                errors.iter().for_each(report::error);
            }
            1
        }
    };
    backlto::exit(status)
}
