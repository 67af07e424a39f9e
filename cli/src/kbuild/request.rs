//! What the user asks of the kernel's door: which trees, how far, and how.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::tree;
use crate::arch;
use backlto::error::{Error, Kind, Result};

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
    /// into words as a shell would, but no shell runs it; it runs in the tree.
    pub(crate) post: Option<String>,
}

impl Request {
    /// The words of the command to run on each finished object of `trees`, if there
    /// is one. Its program is looked for now: without it, every compile would be in
    /// vain.
    ///
    /// # Errors
    /// When the command cannot be split into words, does not say where the
    /// object's path goes, or names a program that cannot be run.
    pub(crate) fn post_command(&self, trees: &[PathBuf]) -> Result<Option<Arc<[String]>>> {
        let Some(command) = &self.post else {
            return Ok(None);
        };
        let wrong = |what: &str| {
            Error::new(Kind::Plan, format!("`--post '{command}'` {what}"))
                .hint("give a program and its arguments, `{}` for the object's path")
        };
        let words = shlex::split(command).ok_or_else(|| wrong("has unbalanced quotes"))?;
        if !words.iter().any(|word| word.contains("{}")) {
            return Err(wrong("does not say where the object's path goes"));
        }
        // What names the object is not there yet.
        if let Some(program) = words.first().filter(|word| !word.contains("{}")) {
            for tree in trees {
                which::which_in(program, std::env::var_os("PATH"), tree)
                    .map_err(|e| wrong(&format!("cannot run `{program}`")).because(e))?;
            }
        }
        Ok(Some(words.into()))
    }

    /// The object trees to work in.
    ///
    /// # Errors
    /// When there is none, one is named twice, or one is of another architecture
    /// than the user says.
    pub(crate) fn trees(&self) -> Result<Vec<PathBuf>> {
        let (pairs, names): (Vec<&String>, Vec<&String>) =
            self.arches.iter().partition(|arch| arch.contains('='));
        let mut trees = Vec::new();
        let here = [PathBuf::from(".")];
        let named: &[PathBuf] = match self.objtrees.is_empty() && pairs.is_empty() {
            true => &here,
            false => &self.objtrees,
        };
        for objtree in named {
            if names.is_empty() || is_of_any(objtree, &names)? {
                trees.push(objtree.clone());
            }
        }
        for (name, objtree) in pairs.iter().filter_map(|pair| pair.split_once('=')) {
            let configured = tree::architecture(objtree.as_ref())?;
            if arch::canonical(name) != arch::canonical(&configured) {
                return Err(Error::new(
                    Kind::Plan,
                    format!("`{objtree}` is a kernel for {configured}, not {name}"),
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
            return Err(
                Error::new(Kind::Plan, "no object tree is left to work in").hint(
                    "name one, or --arch NAME=OBJTREE; --arch NAME alone picks from those named",
                ),
            );
        }
        Ok(trees)
    }
}

/// Whether the tree at `objtree` is for an architecture of `names`.
fn is_of_any(objtree: &Path, names: &[&String]) -> Result<bool> {
    let configured = tree::architecture(objtree)?;
    let configured = arch::canonical(&configured);
    Ok(names.iter().any(|name| arch::canonical(name) == configured))
}
