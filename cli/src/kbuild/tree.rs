//! Object trees: what they are configured for, and their way through the stages.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::backends::Label;
use super::recipe::Recipe;
use super::stages::Stages;
use super::steps::State;
use super::{Request, archive};
use crate::linker::Linker;
use crate::session::{Outcome, Session, absolute};
use backlto::error::{Error, Kind, Result};

/// An object tree, and what its build is made of.
pub(crate) struct Tree<'a> {
    pub(crate) path: PathBuf,
    /// What lines of output about it start with, when there are several: its
    /// architecture.
    name: String,
    /// `CONFIG_LTO_CLANG_THIN_DIST`: make itself knows stages 2 and 3.
    pub(crate) distributed: bool,
    /// Any object that clang compiled.
    pub(crate) object: String,
    /// `VAR=VALUE` for make, in case it must be asked.
    pub(crate) make_variables: &'a [String],
    /// What to run on each finished object.
    pub(crate) post: Option<Arc<[String]>>,
    pub(crate) linker: &'a Linker,
    /// What tells the linker from others.
    pub(crate) linker_identity: Option<String>,
    pub(crate) session: &'a Session,
}

impl<'a> Tree<'a> {
    pub(crate) fn open(
        objtree: &Path,
        request: &'a Request,
        post: Option<Vec<String>>,
        linker: &'a Linker,
        session: &'a Session,
    ) -> Result<Tree<'a>> {
        let path = absolute(objtree)?;
        Ok(Tree {
            distributed: is_distributed(&path)?,
            object: any_bitcode(&path)?,
            name: architecture(&path).unwrap_or_else(|_| objtree.display().to_string()),
            path,
            make_variables: &request.make_variables,
            post: post.map(Arc::from),
            linker,
            linker_identity: linker.identity(),
            session,
        })
    }

    /// Does the stages up to the one that `request` names. `several` trees share
    /// the output.
    pub(crate) fn run(&self, request: &Request, several: bool) -> Outcome {
        let mut state = State::read(&self.path);
        let label = Label(several.then_some(&self.name));
        let outcome = Recipe::find(self, &mut state)
            .map_err(Into::into)
            .and_then(|recipe| Stages::new(self, &recipe, label).run(request.to, &mut state));
        // What was done before a failure need not be done again.
        state.keep();
        outcome
    }
}

/// The architecture that the tree at `objtree` is configured for, by the name
/// that make knows it by.
pub(crate) fn architecture(objtree: &Path) -> Result<String> {
    // "# Linux/arm64 6.12.1 Kernel Configuration"
    let config = objtree.join(".config");
    std::fs::read_to_string(&config)
        .ok()
        .and_then(|text| {
            let (_, rest) = text.split_once("# Linux/")?;
            rest.split_whitespace().next().map(str::to_owned)
        })
        .ok_or_else(|| {
            Error::new(
                Kind::Input,
                format!("cannot tell the architecture of `{}`", objtree.display()),
            )
            .because(format!("`{}` does not name it", config.display()))
            .hint("name the directory that make was given as O=, else the source tree")
        })
}

/// Whether the tree is of a THIN_DIST kernel; an error when it has no ThinLTO.
pub(crate) fn is_distributed(objtree: &Path) -> Result<bool> {
    let config = objtree.join("include/config/auto.conf");
    let text = std::fs::read_to_string(&config).map_err(|e| {
        let what = match objtree.is_dir() {
            true => "is not a configured kernel object tree",
            false => "is not a directory",
        };
        Error::new(Kind::Input, format!("`{}` {what}", objtree.display()))
            .because(format!("cannot read `{}`: {e}", config.display()))
            .hint("name the directory that make was given as O=, else the source tree")
    })?;
    let has = |option: &str| {
        text.lines()
            .any(|line| line.strip_suffix("=y") == Some(option))
    };
    if has("CONFIG_LTO_CLANG_THIN_DIST") {
        return Ok(true);
    }
    if has("CONFIG_LTO_CLANG_THIN") {
        return Ok(false);
    }
    let what = match has("CONFIG_LTO_CLANG_FULL") {
        true => "full LTO, which has no backends to run apart",
        false => "no LTO",
    };
    Err(Error::new(
        Kind::Input,
        format!("`{}` is configured with {what}", objtree.display()),
    )
    .hint("choose CONFIG_LTO_CLANG_THIN, or CONFIG_LTO_CLANG_THIN_DIST where there is one"))
}

/// Some bitcode object of the tree's top archive.
fn any_bitcode(objtree: &Path) -> Result<String> {
    let members = archive::members(objtree, "built-in.a")
        .map_err(|e| e.hint("run make first: the front end is not done"))?;
    let starts_as_bitcode = |object: &String| {
        let mut magic = [0; 4];
        std::fs::File::open(objtree.join(object))
            .and_then(|mut file| file.read_exact(&mut magic))
            .is_ok_and(|()| magic == *b"BC\xC0\xDE")
    };
    members.into_iter().find(starts_as_bitcode).ok_or_else(|| {
        Error::new(
            Kind::Input,
            format!("no object of `{}/built-in.a` is bitcode", objtree.display()),
        )
        .hint("was the tree built with clang and LTO, and not cleaned since?")
    })
}
