//! What this process uses of the machine.

use std::time::Duration;

/// Where the system tells of this process (`proc_pid_status(5)`).
const STATUS: &str = "/proc/self/status";

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

/// What the system says of this process under `field`, in bytes.
fn status(field: &str) -> Option<u64> {
    size(&std::fs::read_to_string(STATUS).ok()?, field)
}

/// The size in bytes under `field` of `status`.
fn size(status: &str, field: &str) -> Option<u64> {
    let size = status.lines().find_map(|line| line.strip_prefix(field))?;
    let kilobytes: u64 = size.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_told_in_bytes() {
        let status = "Name:\tbacklto\nVmHWM:\t    5000 kB\nVmRSS:\t    3000 kB\nThreads:\t1\n";
        assert_eq!(size(status, "VmHWM:"), Some(5_120_000));
        assert_eq!(size(status, "VmRSS:"), Some(3_072_000));
        assert_eq!(size(status, "VmSwap:"), None);
    }

    /// One reading: of two, a test beside this one may have given memory back in between, and
    /// the system writes a peak down late.
    #[test]
    fn a_process_has_memory_and_no_more_than_its_peak() {
        let status = std::fs::read_to_string(STATUS).expect("this system tells");
        let now = size(&status, "VmRSS:").expect("what is resident");
        assert!(now > 0 && size(&status, "VmHWM:").is_some_and(|peak| peak >= now));
    }
}
