//! What this process uses of the machine.

use std::time::Duration;

/// The CPU time that this process has used so far.
pub(crate) fn cpu_time() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::try_from(now).unwrap_or_default()
}

/// The most memory that this process ever had resident, in bytes.
pub(crate) fn peak_memory() -> Option<u64> {
    status("VmHWM:")
}

/// The memory that this process has resident now, in bytes.
pub(crate) fn memory() -> Option<u64> {
    status("VmRSS:")
}

/// The size in bytes that the system has under `field` for this process
/// (`proc_pid_status(5)`).
fn status(field: &str) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let size = status.lines().find_map(|line| line.strip_prefix(field))?;
    let kilobytes: u64 = size.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_memory_and_no_more_than_its_peak() {
        let now = memory().expect("this system tells");
        assert!(now > 0 && peak_memory().is_some_and(|peak| peak >= now));
    }
}
