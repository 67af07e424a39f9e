//! `backlto install-linker`: puts the link `ld.backlto` beside this program, where
//! `cargo install` leaves the linker under a name without a dot.

use std::path::Path;

use crate::console;
use crate::linker::LINKER_NAMES;
use crate::session::Outcome;
use backlto::error::{Error, Kind, Result};

/// Puts the link beside the program that runs, and says where.
///
/// # Errors
/// When the linker's program is not there, another file has the link's name, or the
/// directory cannot be written to.
pub(crate) fn run() -> Outcome {
    let program = std::env::current_exe().map_err(|e| {
        Error::new(Kind::Environment, "cannot tell where this program is").because(e)
    })?;
    console::line(&install(program.parent().unwrap_or(Path::new("/")))?);
    Ok(())
}

/// Puts the link into `directory`; returns what to say.
fn install(directory: &Path) -> Result<String> {
    let [link, program] = LINKER_NAMES.map(|name| directory.join(name));
    let failed = || {
        let message = format!("cannot make the link `{}`", link.display());
        Error::new(Kind::Environment, message)
    };
    if !program.is_file() {
        return Err(failed()
            .because(format!("there is no `{}`", program.display()))
            .hint("`cargo install --path cli` installs both programs"));
    }
    match std::os::unix::fs::symlink(LINKER_NAMES[1], &link) {
        Ok(()) => {}
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {
            let same = link.canonicalize().ok() == program.canonicalize().ok();
            if !same {
                return Err(failed()
                    .because("another file of that name is there")
                    .hint("remove it, if it is not needed, and try again"));
            }
        }
        Err(e) => return Err(failed().because(e)),
    }
    Ok(format!(
        "`{0}` is there: make LD={0}, clang -fuse-ld={0}",
        link.display()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_link_is_made_once_and_replaces_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        let missing = install(path).unwrap_err().to_string();
        assert!(missing.contains("there is no `"), "{missing}");

        std::fs::write(path.join("ld-backlto"), "linker").unwrap();
        for _ in 0..2 {
            assert!(install(path).unwrap().contains("ld.backlto` is there"));
            assert_eq!(std::fs::read(path.join("ld.backlto")).unwrap(), b"linker");
        }
        // A tree that is moved keeps a link that works.
        assert!(path.join("ld.backlto").read_link().unwrap().is_relative());

        std::fs::remove_file(path.join("ld.backlto")).unwrap();
        std::fs::write(path.join("ld.backlto"), "mine").unwrap();
        let other = install(path).unwrap_err().to_string();
        assert!(other.contains("another file"), "{other}");
        assert_eq!(std::fs::read(path.join("ld.backlto")).unwrap(), b"mine");
    }
}
