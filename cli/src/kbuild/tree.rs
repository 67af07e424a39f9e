//! Object trees: where they are and what they are configured for.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::archive;
use crate::console;
use crate::linker::Linker;
use crate::magic;
use crate::session::{Session, absolute};
use backlto::BUILT_VERSION;
use backlto::error::{Error, Kind, Result};
use backlto::files;

/// An object tree, and what its build is made of.
pub(crate) struct Tree<'a> {
    /// Where it is; an absolute path.
    pub(crate) path: PathBuf,
    /// What lines of output about it start with, when there are several: its
    /// architecture.
    pub(crate) name: String,
    /// `CONFIG_LTO_CLANG_THIN_DIST`: make itself knows stages 2 and 3.
    pub(crate) distributed: bool,
    /// Any object that clang compiled.
    pub(crate) object: String,
    /// `VAR=VALUE` for make, in case it must be asked.
    pub(crate) make_variables: &'a [String],
    /// What to run on each finished object.
    pub(crate) post: Option<Arc<[String]>>,
    /// The linker of stages 2 and 4.
    pub(crate) linker: &'a Linker,
    /// What tells the linker from others.
    pub(crate) linker_identity: String,
    /// What all trees of the run share.
    pub(crate) session: &'a Session,
}

impl<'a> Tree<'a> {
    /// Looks at the tree at `objtree`: its configuration, and whether its front
    /// end is done.
    ///
    /// # Errors
    /// When it is no object tree of a kernel with ThinLTO, or holds no bitcode.
    pub(crate) fn open(
        objtree: &Path,
        make_variables: &'a [String],
        post: Option<Arc<[String]>>,
        linker: &'a Linker,
        session: &'a Session,
    ) -> Result<Tree<'a>> {
        let path = absolute(objtree)?;
        if let Some((text, advice)) = other_llvm(&path) {
            console::warning(&format!("{text}: {advice}"));
        }
        Ok(Tree {
            distributed: is_distributed(&path)?,
            object: any_bitcode(&path)?,
            name: architecture(&path).unwrap_or_else(|_| objtree.display().to_string()),
            path,
            make_variables,
            post,
            linker,
            linker_identity: linker.identity(),
            session,
        })
    }
}

/// The architecture that the tree at `objtree` is configured for, by the name
/// that make knows it by (`ARCH=`).
///
/// # Errors
/// When the tree's configuration does not tell.
pub(crate) fn architecture(objtree: &Path) -> Result<String> {
    // "# Linux/arm64 6.12.1 Kernel Configuration"
    let config = objtree.join(".config");
    files::read_text(&config)
        .ok()
        .and_then(|text| {
            let (_, after) = text.split_once("# Linux/")?;
            after.split_whitespace().next().map(str::to_owned)
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

/// The folder below `arch/` that holds the sources for `ARCH=arch` (`SRCARCH` in
/// the kernel's Makefile).
pub(crate) fn source_architecture(arch: &str) -> &str {
    match arch {
        "i386" | "x86_64" => "x86",
        "sparc32" | "sparc64" => "sparc",
        "parisc64" => "parisc",
        _ => arch,
    }
}

/// The options that the tree at `objtree` is configured with, a line each.
///
/// # Errors
/// When it is no configured object tree.
pub(super) fn configured(objtree: &Path) -> Result<String> {
    let config = objtree.join("include/config/auto.conf");
    files::read_text(&config).map_err(|e| {
        let is_directory = objtree.is_dir();
        let objtree = objtree.display();
        let what = match is_directory {
            true => "is not a configured kernel object tree",
            false => "is not a directory",
        };
        Error::new(Kind::Input, format!("`{objtree}` {what}"))
            .because(format!("cannot read `{}`: {e}", config.display()))
            .hint(format!(
                "name the directory that make was given as O=, else the source tree; if it is that, \
                 `make LLVM={LLVM} O={objtree}` configures and builds it"
            ))
    })
}

/// What `LLVM=` is for the LLVM that compiles.
const LLVM: &str = concat!("-", env!("BACKLTO_LLVM_MAJOR"));

/// Whether the tree at `objtree` is of a THIN_DIST kernel.
///
/// # Errors
/// When it is no configured object tree, or has no ThinLTO.
pub(crate) fn is_distributed(objtree: &Path) -> Result<bool> {
    let text = configured(objtree)?;
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
    let objtree = objtree.display();
    let text = format!("`{objtree}` is configured with {what}");
    Err(Error::new(Kind::Input, text).hint(format!(
        "choose CONFIG_LTO_CLANG_THIN, or CONFIG_LTO_CLANG_THIN_DIST where there is one: \
         `scripts/config --file {objtree}/.config -d LTO_NONE -d LTO_CLANG_FULL -e LTO_CLANG_THIN` \
         in the source tree, then `make LLVM={LLVM} O={objtree} olddefconfig all`"
    )))
}

/// What to say, and to do, where the tree at `objtree` is configured for clang of another
/// LLVM than the one that compiles.
pub(super) fn other_llvm(objtree: &Path) -> Option<(String, String)> {
    let text = configured(objtree).ok()?;
    let version = text
        .lines()
        .find_map(|line| line.strip_prefix("CONFIG_CLANG_VERSION="))?;
    // 220108 is 22.1.8.
    let major = version.parse::<u32>().ok()? / 10_000;
    let is_ours = major == 0 || LLVM.strip_prefix('-') == Some(&*major.to_string());
    (!is_ours).then(|| {
        let objtree = objtree.display();
        (
            format!(
                "`{objtree}` is configured for clang {major}, but backlto compiles with LLVM \
                 {BUILT_VERSION}"
            ),
            format!("`make LLVM={LLVM} O={objtree} olddefconfig all` builds it with that clang"),
        )
    })
}

/// Some bitcode object of the tree's top archive.
pub(super) fn any_bitcode(objtree: &Path) -> Result<String> {
    let members = archive::members(objtree, "built-in.a").map_err(|e| {
        let next = format!("`make LLVM={LLVM} O={}`", objtree.display());
        e.hint(format!(
            "run make first: the front end is not done ({next})"
        ))
    })?;
    let starts_as_bitcode =
        |object: &String| files::starts_with(&objtree.join(object), magic::BITCODE);
    members.into_iter().find(starts_as_bitcode).ok_or_else(|| {
        Error::new(
            Kind::Input,
            format!("no object of `{}/built-in.a` is bitcode", objtree.display()),
        )
        .hint("was the tree built with clang and LTO, and not cleaned since?")
    })
}
