//! Files that arguments name.

use std::path::Path;

use crate::files;

/// The names of files in `arg`. Profiles, lists of functions: a file that an
/// argument names counts with its content, whatever the argument is for and
/// wherever the name starts and ends (`-fbasic-block-sections=list=NAME`).
pub(crate) fn file_names<'a>(arg: &'a str, directory: &Path) -> Vec<&'a str> {
    names_in(arg)
        .filter(|name| directory.join(name).is_file())
        .collect()
}

/// Whether `arg` names something whose content cannot be told beforehand: a pipe, a
/// terminal.
pub(crate) fn names_odd_file(arg: &str, directory: &Path) -> bool {
    names_in(arg).any(|name| files::is_odd(&directory.join(name)))
}

/// What in `arg` may be the name of a file.
fn names_in(arg: &str) -> impl Iterator<Item = &str> {
    let after = arg.match_indices(['=', ',', ':']).map(|(at, _)| at + 1);
    let rests = std::iter::once(0).chain(after).map(|start| &arg[start..]);
    rests.flat_map(|rest| {
        let whole = std::iter::once(rest);
        whole.chain(rest.split_once([',', ':']).map(|(name, _)| name))
    })
}
