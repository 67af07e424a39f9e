//! `backlto kbuild`: stages 2 to 4 of Linux kernels with Clang ThinLTO, in
//! trees whose front end is done.
//!
//! Everything that knows of the kernel is in this folder. The reference is what
//! Linux 7.2 does with `CONFIG_LTO_CLANG_THIN_DIST` (`scripts/Makefile.vmlinux_a`,
//! `Makefile.thinlto` and `Makefile.vmlinux_o`): the same files are left behind,
//! with the same `.cmd` files but for stage 4, so that make goes on from there.

mod archive;
mod backends;
mod cmdfile;
pub(crate) mod distribute;
mod examine;
mod flags;
#[cfg(fuzzing)]
pub(crate) mod fuzz;
mod initcalls;
mod link_plan;
mod make;
mod request;
mod running;
mod stages;
mod state;
mod tree;

use std::path::Path;

use self::backends::{Backends, Label};
use self::link_plan::LinkPlan;
use self::stages::Stages;
use self::state::TreeState;
use self::tree::Tree;
use crate::console;
use crate::linker::{native_name, read_index_list};
use crate::session::{Failure, Outcome, Session, Settings, absolute, lock};
use backlto::Job;
use backlto::error::Result;

pub(crate) use self::examine::examine;
pub(crate) use self::request::{Request, Stage};
pub(crate) use self::state::RECORD;

/// Does stages 2 to 4 of every tree, all on one pool.
///
/// # Errors
/// When a tree is not as it should be, or a stage fails. The other trees are
/// finished first.
pub(crate) fn run(request: &Request, settings: &Settings) -> Outcome {
    let objtrees = request.trees()?;
    let post = request.post_command(&objtrees)?;
    let linker = settings.find_linker()?;
    let session = Session::new(settings)?;
    let trees = objtrees
        .iter()
        .map(|objtree| {
            let variables = &request.make_variables;
            Tree::open(objtree, variables, post.clone(), &linker, &session)
        })
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
                    let outcome = build(tree, request.to, several);
                    if let Err(Failure::Errors(errors)) = &outcome {
                        errors.iter().for_each(console::ending);
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
        true => Err(Failure::Reported),
        false => Ok(()),
    }
}

/// Does the stages of `tree` up to `to`. `several` trees share the output.
fn build(tree: &Tree<'_>, to: Stage, several: bool) -> Outcome {
    let mut state = TreeState::read(&tree.path);
    let label = Label(several.then_some(&tree.name));
    let outcome = LinkPlan::find(tree, &mut state)
        .map_err(Into::into)
        .and_then(|plan| Stages::new(tree, &plan, label).run(to, &mut state));
    // What was done before a failure need not be done again.
    state.keep();
    outcome
}

/// Does stage 2 with ld.lld's own command line `args`, as kbuild gives it in the
/// object tree, and stage 3 at once: make finds every object up to date.
///
/// # Errors
/// When the thin link or a backend fails.
pub(crate) fn index(args: &[String], settings: &Settings) -> Outcome {
    let linker = settings.find_linker()?;
    let session = Session::new(settings)?;
    let objtree = absolute(Path::new("."))?;
    let _alone = lock([objtree.as_path()])?;
    let mut state = TreeState::read(&objtree);
    // Make decides whether the thin link is due, so it is always done.
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
/// When kbuild's record cannot be understood.
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
