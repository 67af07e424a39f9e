//! Which process has started which, as /proc tells.

use std::collections::HashMap;

use rustix::process::Pid;

/// The process that has started `process`; `None` for the first one of all, and for one
/// that has ended.
pub(crate) fn parent_of(process: Pid) -> Option<Pid> {
    let stat = std::fs::read(format!("/proc/{process}/stat")).ok()?;
    parent_in(&String::from_utf8_lossy(&stat))
}

/// The children of every process of the system.
pub(crate) fn children_of_all() -> HashMap<Pid, Vec<Pid>> {
    let mut children: HashMap<Pid, Vec<Pid>> = HashMap::new();
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    for child in processes.filter_map(|process| pid(process.file_name().to_str()?)) {
        if let Some(parent) = parent_of(child) {
            children.entry(parent).or_default().push(child);
        }
    }
    children
}

/// The parent in `stat`, a line of `proc_pid_stat(5)`: the second word behind the
/// program's name, which may hold anything.
fn parent_in(stat: &str) -> Option<Pid> {
    let (_, rest) = stat.rsplit_once(')')?;
    pid(rest.split_whitespace().nth(1)?)
}

fn pid(number: &str) -> Option<Pid> {
    Pid::from_raw(number.parse().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parents_are_found_whatever_programs_are_called() {
        let parent = |stat: &str| {
            parent_in(stat)
                .map(Pid::as_raw_nonzero)
                .map(|pid| pid.get())
        };
        assert_eq!(parent("12 (sh) S 7 12 12 0"), Some(7));
        assert_eq!(parent("12 (a) S 9) b) S 7 12"), Some(7));
        assert_eq!(parent("1 (init) S 0 1 1"), None);
        assert_eq!(parent(""), None);
    }
}
