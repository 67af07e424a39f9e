//! A file system of its own: of a size, or read-only.

use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

/// A file system in memory, as long as this lives.
pub(crate) struct Mounted(TempDir);

impl Mounted {
    /// One of `size`, as in `64k`, if the system lets us.
    pub(crate) fn new(size: &str) -> Option<Mounted> {
        let mounted = Mounted(tempfile::tempdir().expect("a temporary directory"));
        // Nobody trusts a cache that others can write to.
        let options = format!("size={size},mode=755");
        mounted.mount(&options).then_some(mounted)
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// Makes it read-only, if the system lets us.
    pub(crate) fn close(&self) -> bool {
        self.mount("remount,ro")
    }

    /// Whether it could be mounted with `options`; if not, that is printed.
    fn mount(&self, options: &str) -> bool {
        let mut mount = Command::new("mount");
        mount
            .args(["-t", "tmpfs", "-o", options, "none"])
            .arg(self.path());
        let done = mount.output().is_ok_and(|output| output.status.success());
        if !done {
            // What macros print of a test that ends well is kept back.
            let _ = writeln!(
                std::io::stderr(),
                "skipped: `mount -o {options}` is not allowed here"
            );
        }
        done
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.path()).output();
    }
}
