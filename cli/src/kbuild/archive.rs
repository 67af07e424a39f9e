//! The thin archives that kbuild keeps its objects in.

use std::path::{Path, PathBuf};

use object::read::archive::ArchiveFile;

use super::cmdfile::normalize;
use backlto::bitcode;
use backlto::error::{Error, Kind, Result};
use backlto::files;

/// The members of thin archive `archive`, as paths relative to `objtree`.
///
/// # Errors
/// When there is no such file, or it is no thin archive.
pub(crate) fn members(objtree: &Path, archive: &str) -> Result<Vec<String>> {
    let path = objtree.join(archive);
    let failed = |reason: &dyn std::fmt::Display| {
        Error::new(
            Kind::Input,
            format!("cannot read archive `{}`", path.display()),
        )
        .because(reason.to_string())
    };
    let bytes = files::read(&path).map_err(|e| failed(&e))?;
    let file = ArchiveFile::parse(&*bytes).map_err(|e| failed(&e))?;
    if !file.is_thin() {
        return Err(failed(&"it is not a thin archive"));
    }
    let base = Path::new(archive).parent().unwrap_or(Path::new(""));
    file.members()
        .map(|member| {
            let member = member.map_err(|e| failed(&e))?;
            let name = std::str::from_utf8(member.name())
                .map_err(|_| failed(&"a member's name is not UTF-8"))?;
            Ok(normalize(&base.join(name)).display().to_string())
        })
        .collect()
}

/// Writes thin archive `archive` with `members`, all relative to `objtree`.
///
/// # Errors
/// When it cannot be written.
pub(crate) fn write(objtree: &Path, archive: &str, members: &[String]) -> Result<()> {
    let path = objtree.join(archive);
    let absolute: Vec<PathBuf> = members.iter().map(|member| objtree.join(member)).collect();
    bitcode::write_thin_archive(&path, &absolute)
}

/// Moves `members` that contain a line of `list` to the front, as kbuild does
/// with `scripts/head-object-list.txt` (`scripts/Makefile.vmlinux_a`).
pub(crate) fn move_head_objects(members: &mut [String], list: &str) {
    let is_head = |member: &String| {
        list.lines()
            .filter(|line| !line.is_empty())
            .any(|line| member.contains(line))
    };
    // A stable sort keeps the order within both parts.
    members.sort_by_key(|member| !is_head(member));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn head_objects_come_first_in_their_order() {
        let mut members =
            ["init/main.o", "arch/a/head.o", "lib/x.o", "arch/b/head.o"].map(str::to_owned);
        move_head_objects(&mut members, "# comment\n\narch/b/head.o\narch/a/head.o\n");
        assert_eq!(
            members,
            ["arch/a/head.o", "arch/b/head.o", "init/main.o", "lib/x.o"]
        );
    }

    #[test]
    fn written_archives_read_back() {
        let tree = tempfile::tempdir().unwrap();
        std::fs::create_dir(tree.path().join("lib")).unwrap();
        let members = ["lib/b.o", "lib/a_name_longer_than_a_header_field.o"].map(str::to_owned);
        for member in &members {
            std::fs::write(tree.path().join(member), "x").unwrap();
        }
        for archive in ["top.a", "lib/lib.a"] {
            write(tree.path(), archive, &members).unwrap();
            assert_eq!(super::members(tree.path(), archive).unwrap(), members);
        }
    }

    #[test]
    fn a_plain_archive_is_refused() {
        let tree = tempfile::tempdir().unwrap();
        std::fs::write(tree.path().join("x.a"), "!<arch>\n").unwrap();
        let e = members(tree.path(), "x.a").unwrap_err().to_string();
        assert!(e.ends_with("it is not a thin archive"), "{e}");
    }
}
