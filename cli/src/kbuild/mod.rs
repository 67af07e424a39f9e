//! `backlto kbuild`: stages 2 to 4 of Linux kernels with Clang ThinLTO, in
//! trees whose front end is done.
//!
//! Everything that knows of the kernel is in this folder. The reference is what
//! Linux 7.2 does with `CONFIG_LTO_CLANG_THIN_DIST` (`scripts/Makefile.vmlinux_a`,
//! `Makefile.thinlto` and `Makefile.vmlinux_o`): the same files are left behind,
//! with the same `.cmd` files, so that make goes on from there.

mod answers;
mod archive;
mod backends;
mod cmdfile;
pub(crate) mod distribute;
mod flags;
mod initcalls;
mod recipe;
mod running;
mod stages;
mod steps;
mod tree;

use std::path::{Path, PathBuf};

use self::backends::{Backends, Label};
use self::steps::State;
use self::tree::Tree;
use crate::arch;
use crate::linker::{native_name, read_index_list};
use crate::report;
use crate::session::{Failure, Outcome, Session, Settings, absolute, lock};
use backlto::Job;
use backlto::error::{Error, Kind, Result};

/// The record of what the objects of a kernel tree are made of; `make clean`
/// removes files of such names.
pub(crate) const RECORD: &str = ".tmp_backlto";

/// Where to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub(crate) enum Stage {
    /// Summary indexes written
    ThinLink,
    /// Native objects written
    Objects,
    /// `vmlinux.a` written
    Archive,
    /// `vmlinux.o` linked
    #[value(name = "vmlinux.o")]
    VmlinuxO,
}

/// What to do for which trees.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// The object trees, each the `O=` of a make.
    pub(crate) objtrees: Vec<PathBuf>,
    /// `NAME`: only the trees of this architecture. `NAME=OBJTREE`: one more
    /// tree, which must be of it.
    pub(crate) arches: Vec<String>,
    /// The last stage to do.
    pub(crate) to: Stage,
    /// `VAR=VALUE` for make, in case it must be asked.
    pub(crate) make_variables: Vec<String>,
    /// A command to run on each finished object, `{}` for its path. It is split
    /// into words as a shell would, but no shell runs it.
    pub(crate) post: Option<String>,
}

/// Does stages 2 to 4 of every tree, all on one pool.
///
/// # Errors
/// When a tree is not as it should be, or a stage fails. The other trees are
/// finished first.
pub(crate) fn run(request: &Request, settings: &Settings) -> Outcome {
    let post = request.post.as_deref().map(split_post).transpose()?;
    let linker = settings.find_linker()?;
    let session = Session::new(settings)?;
    let trees = select(request)?
        .into_iter()
        .map(|objtree| Tree::open(&objtree, request, post.clone(), &linker, &session))
        .collect::<Result<Vec<_>>>()?;
    let _alone = lock(trees.iter().map(|tree| tree.path.as_path()))?;
    let several = trees.len() > 1;
    // Each thread waits for its linker or for the pool; what overlaps is the
    // thin link of one tree, the backends of another, the last link of a third.
    let failed = std::thread::scope(|scope| {
        let running: Vec<_> = trees
            .iter()
            .map(|tree| {
                scope.spawn(move || {
                    let outcome = tree.run(request, several);
                    if let Err(Failure::Unsaid(errors)) = &outcome {
                        errors.iter().for_each(report::error);
                    }
                    outcome.is_err()
                })
            })
            .collect();
        running
            .into_iter()
            .map(|thread| {
                thread
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            })
            .fold(false, |one, other| one | other)
    });
    session.finish();
    match failed {
        true => Err(Failure::Said),
        false => Ok(()),
    }
}

/// Stage 2 with ld.lld's own command line `args`, as kbuild gives it in the
/// object tree, and stage 3 at once: make finds every object up to date.
///
/// # Errors
/// When the thin link or a backend fails.
pub(crate) fn index(args: &[String], settings: &Settings) -> Outcome {
    let linker = settings.find_linker()?;
    let session = Session::new(settings)?;
    let objtree = absolute(Path::new("."))?;
    let _alone = lock([objtree.as_path()])?;
    let mut state = State::read(&objtree);
    // That it must be done is for make to say.
    let inputs = None;
    state.step(
        stages::INDEX_LIST,
        inputs,
        &|| stages::indexes(&objtree),
        || session.link(&linker, &objtree, args, "the thin link"),
    )?;
    let bitcode = read_index_list(&objtree.join(stages::INDEX_LIST))?;
    let outcome = Backends {
        objtree: &objtree,
        distributed: true,
        post: None,
        label: Label(None),
    }
    .run(&bitcode, &mut state, &session);
    state.keep();
    session.finish_quietly();
    outcome
}

/// The job that makes `object`, which is relative to `objtree`, by what kbuild
/// has recorded now; `None` when it has not.
///
/// # Errors
/// When the record cannot be understood.
pub(crate) fn job_of(objtree: &Path, object: &Path) -> Result<Option<Job>> {
    let name = object.to_string_lossy();
    let Some(stem) = name.strip_suffix(&native_name("")) else {
        return Ok(None);
    };
    let module = format!("{stem}.o");
    let backends = Backends {
        objtree,
        distributed: false,
        post: None,
        label: Label(None),
    };
    let flags = flags::BackendFlags::read(objtree, &module)?;
    Ok(Some(backends.job(&module, &flags)))
}

fn split_post(command: &str) -> Result<Vec<String>> {
    let wrong = |what: &str| {
        Error::new(Kind::Plan, format!("`--post '{command}'` {what}"))
            .hint("give a program and its arguments, `{}` for the object's path")
    };
    let words = shlex::split(command).ok_or_else(|| wrong("has unbalanced quotes"))?;
    match words.iter().any(|word| word.contains("{}")) {
        true => Ok(words),
        false => Err(wrong("does not say where the object's path goes")),
    }
}

/// The object trees that `request` asks for.
fn select(request: &Request) -> Result<Vec<PathBuf>> {
    let (pairs, names): (Vec<&String>, Vec<&String>) =
        request.arches.iter().partition(|arch| arch.contains('='));
    let mut trees = Vec::new();
    for objtree in &request.objtrees {
        let wanted = match names.is_empty() {
            true => true,
            false => {
                let of = tree::architecture(objtree)?;
                let of = arch::canonical(&of);
                names.iter().any(|name| arch::canonical(name) == of)
            }
        };
        if wanted {
            trees.push(objtree.clone());
        }
    }
    for (name, objtree) in pairs.iter().filter_map(|pair| pair.split_once('=')) {
        let of = tree::architecture(objtree.as_ref())?;
        if arch::canonical(name) != arch::canonical(&of) {
            return Err(Error::new(
                Kind::Plan,
                format!("`{objtree}` is a kernel for {of}, not {name}"),
            ));
        }
        trees.push(objtree.into());
    }
    for (at, tree) in trees.iter().enumerate() {
        let same = |other: &PathBuf| other.canonicalize().ok() == tree.canonicalize().ok();
        if tree.exists() && trees[..at].iter().any(same) {
            return Err(Error::new(
                Kind::Plan,
                format!("object tree `{}` is named twice", tree.display()),
            ));
        }
    }
    if trees.is_empty() {
        return Err(Error::new(Kind::Plan, "no object tree is left to work in")
            .hint("name one, or --arch NAME=OBJTREE; --arch NAME alone picks from those named"));
    }
    Ok(trees)
}
