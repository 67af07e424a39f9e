//! The `backlto` program: picks a front door, prints what is left to say, sets
//! the exit status.

// libFuzzer has a main of its own.
#![cfg_attr(fuzzing, no_main, allow(dead_code))]
// The macros that print panic when nobody reads any more.
#![deny(clippy::print_stdout, clippy::print_stderr)]

use std::ffi::OsString;
use std::path::{Path, PathBuf};

mod apart;
mod arch;
mod audit;
mod browser;
mod common;
mod console;
mod doors;
mod dtlto;
#[cfg(fuzzing)]
mod fuzz;
mod interrupt;
mod kbuild;
mod limits;
mod linker;
mod magic;
mod manners;
mod meant;
mod parts;
mod processes;
mod progress;
mod remote;
mod report;
mod resources;
mod response;
mod runs;
mod session;
mod summary;
mod text;
mod tools;
mod trace;
mod usage;

use crate::common::Common;
use crate::interrupt::Ending;
use crate::session::{Failure, Settings};
use backlto::RemoteOptions;
use backlto::error::{self, Error};
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};

/// After a crash of LLVM, the thread it came in may hold the lock of a heap of
/// glibc's for ever, which others would wait for. This allocator is LLVM's in no
/// part, and its threads do not wait for each other: Rust code goes on.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Every ThinLTO back end of a build, in one process.
#[derive(Parser)]
#[command(name = "backlto", version = VERSION, max_term_width = 100, after_help = AFTER_HELP)]
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

const EXAMPLES: &str = include_str!("examples.txt");

/// What the help ends with.
const AFTER_HELP: &str = concat!(
    "Examples:\n",
    include_str!("examples.txt"),
    "\nExit status: 0 when all is done, 1 when something failed (standard error says what),\n\
     2 for a command line that makes no sense."
);

#[derive(Subcommand)]
enum Door {
    /// Thin link, backends and link of Linux kernels whose front end is done
    Kbuild(Kbuild),
    /// One backend compile, with clang's own command line and the cache
    ///
    /// What is no backend compile, or cannot be done in this process, is done by the
    /// clang that is named, so `CC="backlto cc clang-22"` is good for everything.
    /// Options of backlto itself come before `cc`.
    Cc {
        /// What clang would be given, with its name in front or without
        #[arg(
            required = true,
            trailing_var_arg = true,
            allow_hyphen_values = true,
            value_name = "CLANG-ARGS"
        )]
        args: Vec<OsString>,
    },
    /// The backends of a link that ld.lld runs (--thinlto-distributor=)
    Distribute {
        /// The link makes an object: modules say which code may move
        #[arg(long, hide = true)]
        relocatable: bool,
        /// The jobs, as LLD describes them
        #[arg(value_name = "FILE.json")]
        description: PathBuf,
        /// Objects stay when the link is done (--save-temps): share no file with the cache
        #[arg(long)]
        keep_objects: bool,
    },
    /// The backends of a link that ld.lld runs in a kernel tree, with the flags that
    /// kbuild recorded
    #[command(hide = true)]
    KbuildDistribute {
        /// What the linker was asked to tell the compiler, behind what kbuild recorded
        #[arg(long = "compiler-arg", allow_hyphen_values = true, value_name = "WORD")]
        compiler_args: Vec<String>,
        /// The jobs, as LLD describes them
        #[arg(value_name = "FILE.json")]
        description: PathBuf,
        /// Objects stay when the link is done (--save-temps): share no file with the cache
        #[arg(long)]
        keep_objects: bool,
    },
    /// A link by an ld.lld that cannot hand its backends over
    #[command(hide = true)]
    LinkApart(apart::Request),
    /// The thin link that kbuild asks ld.backlto for, and the backends
    #[command(hide = true)]
    KbuildIndex {
        /// ld.lld's command line
        #[arg(last = true)]
        args: Vec<String>,
    },
    /// Why an object was built, and what would happen to it now
    Explain {
        /// The object, the module that it is made of, or the source of that
        object: PathBuf,
    },
    /// In what two objects, archives or trees differ, and why; status 1 when they do, 2 when
    /// that cannot be told
    Diff {
        /// The first
        #[arg(value_name = "A")]
        one: PathBuf,
        /// The second
        #[arg(value_name = "B")]
        other: PathBuf,
        /// Show how the code of functions differs, by LLVM's disassembler
        #[arg(short, long)]
        disassemble: bool,
    },
    /// Check that everything that builds need is there and fits
    Doctor {
        /// A kernel's object tree to check too, if it is one
        #[arg(value_name = "OBJTREE", default_value = ".")]
        tree: PathBuf,
    },
    /// Compile for another backlto, which must not do it itself
    #[command(hide = true)]
    Worker {
        /// What was sent to this machine for it, in the current directory
        #[arg(value_name = "errand", value_parser = ["errand"])]
        errand: Option<String>,
    },
    /// Put the link ld.backlto beside this program, for LD= and -fuse-ld=
    InstallLinker,
    /// Write man pages and completions for bash, zsh and fish
    #[command(hide = true)]
    Manual {
        /// Where to; it must exist
        directory: PathBuf,
    },
    /// Look at the cache of objects, or tidy it up
    Cache {
        /// What to do
        task: doors::cache::Task,
        /// With stats: count from zero again, once it has been said
        #[arg(long)]
        zero: bool,
    },
    /// Repeat the compile of a reproducer, by backlto or by clang
    Repro {
        /// The file backlto-repro-NAME.tar.zst, or the directory that it was unpacked to
        #[arg(value_name = "FILE")]
        archive: PathBuf,
        /// Have clang do it [default program: that of backlto's LLVM]
        #[arg(long, value_name = "PROGRAM", num_args = 0..=1, require_equals = true,
              default_missing_value = tools::CLANG)]
        clang: Option<PathBuf>,
        /// Where to leave the object [default: nowhere]
        #[arg(short, long, value_name = "OBJECT")]
        output: Option<PathBuf>,
    },
    /// The last run of a tree or plan as a page to look at: what ran when, what took long,
    /// what more cores would bring, what an edit costs
    Report {
        /// A directory in a tree that was built, a plan, a record, or a report
        #[arg(value_name = "RUN", default_value = ".")]
        run: PathBuf,
        /// Say how it differs from another run, which is named in the same way
        #[arg(long, value_name = "RUN")]
        against: Option<PathBuf>,
        /// Where the page goes
        #[arg(
            short,
            long,
            value_name = "FILE.html",
            default_value = "backlto-report.html"
        )]
        output: PathBuf,
        /// Show it, by $BROWSER or by what the desktop has
        #[arg(long)]
        open: bool,
    },
    /// Thin link, backends and link of programs that a JSON file describes
    Run {
        /// The description
        plan: PathBuf,
        /// Only the programs for this architecture
        #[arg(long = "arch", value_name = "NAME")]
        arches: Vec<String>,
    },
    /// How long a recorded build would take with other workers than there are, or with a
    /// remote engine beside them
    Simulate(doors::simulate::Request),
}

impl Cli {
    /// What the door is to go by.
    ///
    /// # Errors
    /// When the options about a cache on another machine make no sense, to a door that
    /// uses it.
    fn settings(&self) -> error::Result<Settings> {
        let remote = self.common.remote().or_else(|e| match self.door {
            // No link fails for it, nor does what is in clang's place.
            Door::Distribute { .. }
            | Door::KbuildDistribute { .. }
            | Door::KbuildIndex { .. }
            | Door::Cc { .. } => {
                console::done_without(&e);
                Ok(None)
            }
            Door::Kbuild(_) | Door::Run { .. } | Door::Doctor { .. } => Err(e),
            _ => Ok(None),
        })?;
        let remote = remote.map(|remote| RemoteOptions {
            // A single compile has nothing that would have to wait for it.
            execution: remote
                .execution
                .filter(|_| !matches!(self.door, Door::Cc { .. })),
            ..remote
        });
        Ok(self.common.settings(remote))
    }
}

impl Door {
    /// Sets up what signals do to it. A worker process leaves them to the one that it
    /// works for; what takes no time and writes nothing ends as any program.
    fn heed_signals(&self) {
        match self {
            Door::Distribute { .. } | Door::KbuildDistribute { .. } => {
                interrupt::end_with_parent();
                interrupt::watch(Ending::Unwanted);
            }
            Door::Kbuild(_)
            | Door::KbuildIndex { .. }
            | Door::LinkApart(_)
            | Door::Cc { .. }
            | Door::Run { .. } => {
                interrupt::watch(Ending::Orderly);
            }
            _ => {}
        }
    }
}

#[derive(Args)]
struct Kbuild {
    /// The kernels' object trees, each as given to make with O= [default: the current
    /// directory]
    #[arg(value_name = "OBJTREE")]
    objtrees: Vec<PathBuf>,
    /// One more object tree, as make takes it
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

fn main() {
    let mut program = Cli::command();
    let args = meant::as_meant(&program, std::env::args_os().collect());
    // It takes time that a link or a compile would have to wait for.
    if usage::is_asked_for(&args) {
        program = usage::trimmed(program);
    }
    if meant::asks_for_all_versions(&args) {
        doors::doctor::print_versions(VERSION);
        std::process::exit(i32::from(console::has_lost_output()));
    }
    let parsed = program.try_get_matches_from_mut(args);
    let cli = parsed
        .and_then(|words| Cli::from_arg_matches(&words))
        .unwrap_or_else(|e| meant::refuse(program, e));
    manners::set_colours(cli.common.manners.color);
    if cli.common.json {
        console::speak_json();
    }
    // What is for clang leaves here, before anything changes in this process.
    let backend = match &cli.door {
        Door::Cc { args } => Some(doors::cc::backend_or_clang(args, cli.common.verbosity())),
        _ => None,
    };
    // As of `cmp` and `diff`, whose 1 says that something differs.
    let status_of_errors = match cli.door {
        Door::Diff { .. } => 2,
        _ => 1,
    };
    let settings = cli.settings().unwrap_or_else(|e| {
        console::ending(&e);
        std::process::exit(status_of_errors)
    });
    cli.door.heed_signals();
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
            Door::Distribute {
                relocatable,
                keep_objects,
                description,
            } => doors::distribute::run(
                &description,
                relocatable,
                keep_objects,
                &settings.within_link(),
            ),
            Door::KbuildDistribute {
                compiler_args,
                keep_objects,
                description,
            } => kbuild::distribute::run(
                &description,
                &compiler_args,
                keep_objects,
                &settings.within_link(),
            ),
            Door::LinkApart(request) => apart::run(&request, &settings),
            Door::KbuildIndex { args } => kbuild::index(&args, &settings.in_linkers_place()),
            Door::Explain { object } => doors::explain::run(&object, settings.json),
            Door::Diff {
                one,
                other,
                disassemble,
            } => doors::diff::run(&one, &other, disassemble, &settings),
            Door::Simulate(request) => doors::simulate::run(&request, settings.json),
            Door::InstallLinker => doors::install_linker::run(),
            Door::Doctor { tree } => doors::doctor::run(&tree, &settings),
            Door::Worker { errand: None } => backlto::worker::serve().map_err(Failure::from),
            Door::Worker { errand: Some(_) } => {
                backlto::errands::run(Path::new(".")).map_err(Failure::from)
            }
            Door::Manual { directory } => {
                doors::manual::write(&usage::trimmed(Cli::command()), EXAMPLES, &directory).map_err(
                    |e| {
                        let text = format!("cannot write to `{}`", directory.display());
                        Error::new(error::Kind::Output, text).because(e).into()
                    },
                )
            }
            Door::Cache { task, zero } => doors::cache::run(&doors::cache::Request {
                task,
                zero,
                directory: cli
                    .common
                    .cache_dir
                    .filter(|name| !name.is_empty())
                    .map(PathBuf::from),
                policy: cli.common.cache_policy,
                json: cli.common.json,
            }),
            Door::Cc { .. } => match backend {
                Some(job) => doors::cc::run(job?, &settings),
                None => unreachable!("it was chosen above, for this door"),
            },
            Door::Repro {
                archive,
                clang,
                output,
            } => doors::repro::run(&archive, clang.as_deref(), output.as_deref(), &settings),
            Door::Report {
                run,
                against,
                output,
                open,
            } => doors::report::run(&doors::report::Request {
                run,
                against,
                output,
                open,
                json: settings.json,
            }),
            Door::Run { plan, arches } => doors::programs::run(&plan, &arches, &settings),
        });
    let status = match outcome {
        Ok(()) if console::has_lost_output() => status_of_errors,
        Ok(()) => 0,
        Err(Failure::Errors(errors)) => {
            errors.iter().for_each(console::ending);
            status_of_errors
        }
        Err(Failure::Reported) => 1,
    };
    interrupt::end_if_received();
    backlto::exit(status)
}
