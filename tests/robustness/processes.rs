//! Finding the processes that work in a tree.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::common::Tree;
use crate::common::spoil::PATIENCE;

/// How long a process that was killed may take to go on a machine that is busy.
const A_MOMENT: Duration = Duration::from_secs(5);

/// A process by its number, with its arguments, each followed by a NUL.
pub(crate) type Process = (u32, Vec<u8>);

/// The processes that have `tree` for their working directory.
pub(crate) fn processes(tree: &Tree) -> Vec<Process> {
    let here = tree.path().canonicalize().expect("the tree is there");
    let entries = std::fs::read_dir("/proc").expect("there are processes");
    let numbers = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let found = numbers.filter_map(|number: u32| {
        let process = PathBuf::from(format!("/proc/{number}"));
        let works_here = std::fs::read_link(process.join("cwd")).ok()? == here;
        let words = std::fs::read(process.join("cmdline")).ok()?;
        works_here.then_some((number, words))
    });
    found.collect()
}

/// Waits until `happens`; `what` says that it never did.
#[track_caller]
pub(crate) fn wait_for(what: &str, mut happens: impl FnMut() -> bool) {
    let start = Instant::now();
    while !happens() {
        assert!(start.elapsed() < PATIENCE, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Asserts that nobody works in `tree` any more. One that has been killed may need a
/// moment to go.
#[track_caller]
pub(crate) fn assert_nobody_left(tree: &Tree) {
    let start = Instant::now();
    loop {
        let left = processes(tree);
        if left.is_empty() {
            return;
        }
        assert!(
            start.elapsed() < A_MOMENT,
            "still there: {:?}",
            left.iter()
                .map(|(_, words)| String::from_utf8_lossy(words))
                .collect::<Vec<_>>()
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}
