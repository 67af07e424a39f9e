//! Which programs and libraries are at work: objects of one build of LLVM are not
//! those of another.

use std::io;
use std::path::Path;
use std::sync::OnceLock;

use object::Object;

use crate::digest::{Digest, Hasher};
use crate::llvm::BUILT_VERSION;
use crate::sys;

/// The digest of all code in this process, as it was loaded: backlto and LLVM, and
/// what they call (LLVM folds constants with the system's libm, which has other code for
/// other processors, and compresses sections with its zlib). Libraries are told apart by their build IDs, else by
/// their content; never by their names, behind which there may be other files by
/// now.
pub(crate) fn of_process() -> &'static Digest {
    static PROCESS: OnceLock<Digest> = OnceLock::new();
    PROCESS.get_or_init(|| {
        let mut code = sys::loaded_code();
        // The order of libraries depends on who asked for them first.
        code.sort();
        let mut hasher = Hasher::new();
        hasher.field("llvm", BUILT_VERSION.as_bytes());
        for identity in code {
            hasher.field("code", &identity);
        }
        for place in sys::chosen_of_libm() {
            hasher.field("libm", &place.to_le_bytes());
        }
        hasher.digest()
    })
}

/// The version of LLVM, and whether it is a library.
pub(crate) fn llvm() -> String {
    let place = if cfg!(feature = "static") {
        "inside"
    } else {
        "loaded"
    };
    format!("{BUILT_VERSION}, {place}")
}

/// What tells the libraries in this process from their other builds, an item for each.
pub(crate) fn libraries() -> &'static [Vec<u8>] {
    static LIBRARIES: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    // The program comes first (`dl_iterate_phdr(3)`).
    LIBRARIES.get_or_init(|| sys::loaded_code().into_iter().skip(1).collect())
}

/// Gives the digest of all code in this process, LLVM's too: it is in every key of the
/// cache, so objects of two processes with another one are not taken from each other.
pub fn of_this_process() -> Digest {
    *of_process()
}

/// What tells the program at `path` from its other builds: its build ID, else its
/// content.
///
/// # Errors
/// When it cannot be read.
pub fn of_program(path: &Path) -> io::Result<Digest> {
    let map = sys::Mapping::new(&std::fs::File::open(path)?)?;
    let file = object::File::parse(map.bytes());
    let build_id = file.ok().and_then(|file| file.build_id().ok().flatten());
    Ok(Digest::of(build_id.unwrap_or(map.bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_the_code_of_llvm() {
        let names = sys::loaded_code();
        assert!(names.len() > 3, "{names:?}");
        assert!(names.iter().all(|identity| identity.len() >= 8));
        assert_eq!(of_process(), of_process());
    }

    /// The loader takes them by what the processor can do.
    #[test]
    fn functions_of_libm_are_known_by_their_places() {
        let chosen = sys::chosen_of_libm();
        let places: std::collections::BTreeSet<_> = chosen.iter().collect();
        assert!(places.len() + 2 > chosen.len(), "{chosen:x?}");
        assert!(
            chosen.iter().all(|place| (1..1 << 30).contains(place)),
            "{chosen:x?}"
        );
    }

    #[test]
    fn programs_are_told_apart() {
        let tree = tempfile::tempdir().unwrap();
        let (one, two) = (tree.path().join("1"), tree.path().join("2"));
        std::fs::write(&one, "#!/bin/sh\n").unwrap();
        std::fs::write(&two, "#!/bin/sh\nexit\n").unwrap();
        assert_ne!(of_program(&one).unwrap(), of_program(&two).unwrap());
        assert!(of_program(&tree.path().join("3")).is_err());
        let this = std::env::current_exe().unwrap();
        assert_eq!(of_program(&this).unwrap(), of_program(&this).unwrap());
    }
}
