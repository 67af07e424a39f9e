//! How much memory jobs may take together, so that big ones do not bring down the
//! machine or the container.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Memory that jobs share. A job waits until there is room for it beside those that
/// run; alone it always has.
#[derive(Debug)]
pub(crate) struct Memory {
    /// What the user allows, in bytes.
    allowed: Option<u64>,
    state: Mutex<State>,
    freed: Condvar,
    /// Held by the job that waits for room. Others wait behind it: it is as big as
    /// they are, or bigger, and they must not fill the room that it waits for.
    turn: Mutex<()>,
}

#[derive(Debug)]
struct State {
    limit: u64,
    used: u64,
    /// Whether a job has had to wait since the limit was looked at.
    is_short: bool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Memory {
    /// As much as the system has, and at most `allowed` bytes if that is given.
    pub(crate) fn new(allowed: Option<u64>) -> Memory {
        Memory {
            allowed,
            state: Mutex::new(State {
                limit: u64::MAX,
                used: 0,
                is_short: false,
            }),
            freed: Condvar::new(),
            turn: Mutex::default(),
        }
    }

    /// Looks how much there is, if no job has any of it.
    pub(crate) fn measure(&self) {
        let mut state = lock(&self.state);
        if state.used == 0 {
            let limits = self.allowed.into_iter().chain(available());
            state.limit = limits.min().unwrap_or(u64::MAX);
            state.is_short = false;
        }
    }

    /// Waits for room for `bytes`, which are taken until the result is dropped.
    pub(crate) fn room_for(&self, bytes: u64) -> Room<'_> {
        let _turn = lock(&self.turn);
        let mut state = lock(&self.state);
        while state.used > 0 && state.used.saturating_add(bytes) > state.limit {
            state.is_short = true;
            state = self
                .freed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        state.used = state.used.saturating_add(bytes);
        Room {
            memory: self,
            bytes,
            is_short: state.is_short,
        }
    }
}

/// Room that a job has taken.
pub(crate) struct Room<'a> {
    memory: &'a Memory,
    bytes: u64,
    is_short: bool,
}

impl Room<'_> {
    /// Whether jobs have had to wait for room.
    pub(crate) fn is_short(&self) -> bool {
        self.is_short
    }
}

impl Drop for Room<'_> {
    fn drop(&mut self) {
        let mut state = lock(&self.memory.state);
        state.used = state.used.saturating_sub(self.bytes);
        drop(state);
        self.memory.freed.notify_all();
    }
}

/// Estimates the memory, in bytes, that LLVM takes to compile `module` bytes of
/// bitcode with imports from modules of `imported` bytes, when there may be
/// `instructions` in the end. DESIGN.md says how the figures were found.
pub(crate) fn estimate(module: usize, imported: usize, instructions: u64) -> u64 {
    const EACH: u64 = 12 << 20;
    const MODULE: u64 = 14;
    const IMPORTED: u64 = 3;
    const INSTRUCTION: u64 = 1 << 10;
    let times = |bytes: usize, factor: u64| (bytes as u64).saturating_mul(factor);
    EACH.saturating_add(times(module, MODULE))
        .saturating_add(times(imported, IMPORTED))
        .saturating_add(instructions.saturating_mul(INSTRUCTION))
}

/// How many workers may start of `wanted` where the process's address space is
/// limited: what their stacks and heaps set aside would be missing elsewhere.
pub(crate) fn workers_that_fit(wanted: NonZeroUsize) -> NonZeroUsize {
    /// Two stacks, and the heaps of two threads; most of that is never touched.
    const EACH: u64 = 256 << 20;
    let fitting = left_of_addresses().map(|left| left / EACH);
    let fitting = fitting.and_then(|count| usize::try_from(count).ok());
    fitting.map_or(wanted, |count| {
        wanted.min(NonZeroUsize::new(count).unwrap_or(NonZeroUsize::MIN))
    })
}

/// What the machine, the process's control groups and its own limit have left, in
/// bytes; nothing where the system does not say.
fn available() -> impl Iterator<Item = u64> {
    let of_machine = std::fs::read_to_string("/proc/meminfo")
        .ok()
        .and_then(|text| kilobytes(&text, "MemAvailable:"));
    let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let of_groups = left_in_groups(&groups, Path::new("/sys/fs/cgroup"));
    of_machine
        .into_iter()
        .chain(of_groups)
        .chain(left_of_addresses())
}

/// The value of `name` in `text`, of the form of `/proc/meminfo` (`proc(5)`), in
/// bytes.
fn kilobytes(text: &str, name: &str) -> Option<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix(name))?;
    let number: u64 = value.trim().strip_suffix("kB")?.trim().parse().ok()?;
    number.checked_mul(1024)
}

/// What is left of the address space that the process may have (`ulimit -v`).
fn left_of_addresses() -> Option<u64> {
    let limit = rustix::process::getrlimit(rustix::process::Resource::As).current?;
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    Some(limit.saturating_sub(kilobytes(&status, "VmSize:")?))
}

/// What each memory control group of the process has left, those around it
/// included. `groups` is `/proc/self/cgroup` (`cgroups(7)`); `root` is where the
/// hierarchies are mounted.
fn left_in_groups(groups: &str, root: &Path) -> Vec<u64> {
    let mut left = Vec::new();
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(group)) = (parts.next(), parts.next()) else {
            continue;
        };
        let group = Path::new(group.trim_start_matches('/'));
        let files = match controllers {
            "" => V2,
            _ if controllers.split(',').any(|name| name == "memory") => V1,
            _ => continue,
        };
        let top = root.join(files.mount);
        // In a container, the group's own directory may be where its name says, or
        // mounted at the top.
        let inner = group.ancestors().map(|group| top.join(group));
        left.extend(inner.filter_map(|directory| files.left_in(&directory)));
    }
    left
}

/// The files of a version of control groups.
struct GroupFiles {
    mount: &'static str,
    limit: &'static str,
    usage: &'static str,
    /// The line of `memory.stat` that counts pages of files that nobody uses now.
    unused: &'static str,
}

const V2: GroupFiles = GroupFiles {
    mount: "",
    limit: "memory.max",
    usage: "memory.current",
    unused: "inactive_file ",
};

const V1: GroupFiles = GroupFiles {
    mount: "memory",
    limit: "memory.limit_in_bytes",
    usage: "memory.usage_in_bytes",
    unused: "total_inactive_file ",
};

impl GroupFiles {
    /// What the group of `directory` has left; `None` when it has no limit.
    fn left_in(&self, directory: &Path) -> Option<u64> {
        let read = |name: &str| std::fs::read_to_string(PathBuf::from(directory).join(name)).ok();
        // "max" is no number.
        let limit: u64 = read(self.limit)?.trim().parse().ok()?;
        let usage: u64 = read(self.usage)?.trim().parse().ok()?;
        let unused = read("memory.stat").and_then(|text| {
            let value = text.lines().find_map(|line| line.strip_prefix(self.unused));
            value?.trim().parse::<u64>().ok()
        });
        let held = usage.saturating_sub(unused.unwrap_or(0));
        Some(limit.saturating_sub(held))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    fn limited(limit: u64) -> Memory {
        let memory = Memory::new(Some(limit));
        memory.measure();
        memory
    }

    #[test]
    fn jobs_together_stay_within_the_limit_and_all_run() {
        let memory = limited(100);
        let used = AtomicU64::new(0);
        let ran = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for worker in 0..8 {
                let (memory, used, ran) = (&memory, &used, &ran);
                scope.spawn(move || {
                    for round in 0..200 {
                        // The last one is more than there is.
                        let bytes = [1, 30, 60, 250][(worker + round) % 4];
                        let room = memory.room_for(bytes);
                        let now = used.fetch_add(bytes, Ordering::SeqCst) + bytes;
                        assert!(now <= 100 || now == 250, "{now}");
                        ran.fetch_add(1, Ordering::SeqCst);
                        used.fetch_sub(bytes, Ordering::SeqCst);
                        drop(room);
                    }
                });
            }
        });
        assert_eq!(ran.into_inner(), 1600);
        assert_eq!(lock(&memory.state).used, 0);
    }

    #[test]
    fn memory_is_short_once_a_job_had_to_wait() {
        let memory = limited(100);
        let (first, second) = (memory.room_for(60), memory.room_for(40));
        assert!(!first.is_short() && !second.is_short());
        std::thread::scope(|scope| {
            let third = scope.spawn(|| memory.room_for(50).is_short());
            while !lock(&memory.state).is_short {
                std::thread::yield_now();
            }
            drop((first, second));
            assert!(third.join().unwrap());
        });
        memory.measure();
        assert!(!memory.room_for(1).is_short());
    }

    #[test]
    fn the_system_is_asked_only_while_nothing_runs() {
        let memory = limited(100);
        let room = memory.room_for(10);
        lock(&memory.state).limit = 7;
        memory.measure();
        assert_eq!(lock(&memory.state).limit, 7);
        drop(room);
        memory.measure();
        assert_eq!(lock(&memory.state).limit, 100);
    }

    #[test]
    fn bigger_modules_take_more() {
        let small = estimate(1 << 10, 0, 10);
        for bigger in [
            estimate(1 << 20, 0, 10),
            estimate(1 << 10, 1 << 20, 10),
            estimate(1 << 10, 0, 10_000),
        ] {
            assert!(bigger > small);
        }
        assert_eq!(estimate(usize::MAX, usize::MAX, u64::MAX), u64::MAX);
    }

    #[test]
    fn numbers_are_read_as_the_kernel_writes_them() {
        let text = "MemTotal:       24609544 kB\nMemAvailable:   23 kB\n";
        assert_eq!(kilobytes(text, "MemAvailable:"), Some(23 << 10));
        assert_eq!(kilobytes(text, "VmSize:"), None);
    }

    #[test]
    fn groups_of_both_versions_have_limits() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write("memory.max", "900\n");
        write("memory.current", "100\n");
        write("a/memory.max", "max\n");
        write("a/memory.current", "100\n");
        write("a/b/memory.max", "500\n");
        write("a/b/memory.current", "300\n");
        write("a/b/memory.stat", "anon 100\ninactive_file 150\n");
        let of = |groups: &str| left_in_groups(groups, root.path());
        assert_eq!(of("0::/a/b\n"), [350, 800]);
        assert_eq!(of("0::/\n"), [800]);
        // What a container sees of its host's names.
        assert_eq!(of("0::/not/here\n"), [800]);
        write("memory/c/memory.limit_in_bytes", "70\n");
        write("memory/c/memory.usage_in_bytes", "60\n");
        assert_eq!(of("5:cpu:/c\n4:memory:/c\n"), [10]);
        assert_eq!(of("nonsense"), [0; 0]);
    }
}
