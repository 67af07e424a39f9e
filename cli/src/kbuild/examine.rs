//! What `backlto doctor` finds in an object tree.

use std::path::Path;

use super::state::RECORD;
use super::tree::{any_bitcode, architecture, configured, is_distributed, other_llvm};
use backlto::error::{Error, Kind, Result};
use backlto::incremental::Record;

/// What there is to say of the tree at `objtree`, a name with each; nothing where there
/// is no tree of a kernel.
pub(crate) fn examine(objtree: &Path) -> Vec<(&'static str, Result<String>)> {
    if !objtree.join(".config").is_file() && configured(objtree).is_err() {
        return Vec::new();
    }
    let tree = is_distributed(objtree).and_then(|distributed| {
        let option = match distributed {
            true => "CONFIG_LTO_CLANG_THIN_DIST",
            false => "CONFIG_LTO_CLANG_THIN",
        };
        let arch = architecture(objtree)?;
        Ok(format!("`{}`, {arch}, {option}", objtree.display()))
    });
    if tree.is_err() {
        return vec![("tree", tree)];
    }
    let built_with = match other_llvm(objtree) {
        None => Ok("of this LLVM".to_owned()),
        Some((text, advice)) => Err(Error::new(Kind::Environment, text).hint(advice)),
    };
    let front_end = any_bitcode(objtree).map(|object| format!("done: `{object}` is bitcode"));
    let count = Record::read(&objtree.join(RECORD)).objects().count();
    let record = match count {
        0 => "of no earlier build: objects come from the cache or are compiled".to_owned(),
        _ => format!("knows {count} objects"),
    };
    vec![
        ("tree", tree),
        ("clang", built_with),
        ("front end", front_end),
        ("record", Ok(record)),
    ]
}
