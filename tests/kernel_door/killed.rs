//! `backlto kbuild` killed at any moment, and run again.

use std::process::Command;

use crate::common::killed::Moments;
use crate::common::{BACKLTO, succeed};
use crate::tree::{KERNELS, KernelTree};

/// Kills of each kernel.
const ROUNDS: usize = 10;

#[test]
fn a_tree_is_as_if_nothing_had_been_killed() {
    for kernel in KERNELS {
        let tree = KernelTree::new(kernel);
        let before = tree.tree.files();
        let mut clean = None;
        let mut moments = Moments::of(|| clean = Some(tree.observe(&["."])));
        let clean = clean.expect("it has run").files;
        for round in 0..ROUNDS {
            // A run with nothing to do ends soon: most are to have something.
            if round % 3 != 2 {
                // From the start again.
                for name in tree
                    .tree
                    .files()
                    .keys()
                    .filter(|n| !before.contains_key(*n))
                {
                    std::fs::remove_file(tree.tree.file(name)).expect("a file is removed");
                }
                let _ = std::fs::remove_file(tree.tree.file(".tmp_backlto"));
            }
            let mut command = Command::new(BACKLTO);
            command.args(["kbuild", "."]).current_dir(tree.tree.path());
            command
                .env("BACKLTO_CACHE_DIR", "")
                .env_remove("LD")
                .env_remove("MAKEFLAGS");
            moments.kill(command);
            succeed(&tree.kbuild(&["."]));
            let files = tree.tree.files();
            for (name, bytes) in &clean {
                assert!(files.get(name) == Some(bytes), "{kernel:?}: {name} differs");
            }
            let strange: Vec<_> = files
                .keys()
                .filter(|name| !before.contains_key(*name) && !clean.contains_key(*name))
                .filter(|name| !name.ends_with("backlto-tmp"))
                // In a thin link, LLD tries whether it could write an output.
                .filter(|name| !name.starts_with("a.out.tmp"))
                // What ld.lld writes before it has its name.
                .filter(|name| !name.starts_with("vmlinux.o.tmp"))
                // What llvm-ar writes before it has its name, as it does for kbuild.
                .filter(|name| !name.contains(".temp-archive-"))
                .collect();
            assert!(strange.is_empty(), "{kernel:?}: {strange:?}");
        }
        moments.assert_enough();
    }
}
