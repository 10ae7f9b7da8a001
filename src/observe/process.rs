//! How many resources does this process use? Reads `/proc`, which only Linux has.

use std::fs;
use std::time::Duration;

/// One reading of `/proc/self`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ProcessUsage {
    /// The sum of user and system time.
    pub cpu_seconds: f64,
    pub resident_bytes: u64,
    pub virtual_bytes: u64,
    pub open_fds: u64,
    /// The soft limit; `None` if the number is unlimited.
    pub max_fds: Option<u64>,
}

/// Returns the current usage; `None` if `/proc` is missing or not in the format of proc(5): a missing metric is better
/// than a wrong value.
pub fn usage() -> Option<ProcessUsage> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    // Do not count the descriptor that reads the folder.
    let open_fds = fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1);
    Some(ProcessUsage {
        cpu_seconds: cpu_seconds(&fs::read_to_string("/proc/self/stat").ok()?)?,
        resident_bytes: status_bytes(&status, "VmRSS:")?,
        virtual_bytes: status_bytes(&status, "VmSize:")?,
        open_fds: u64::try_from(open_fds).ok()?,
        max_fds: max_fds(&limits),
    })
}

/// Returns the sum of the fields 14 and 15 of proc_pid_stat(5) in seconds. Linux gives both in 1/100 s (`USER_HZ`).
/// Field 2 is the program's name and may contain spaces and parentheses, so counting starts after the last parenthesis.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let mut fields = stat.get(stat.rfind(')')? + 1..)?.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    let millis = user.checked_add(system)?.checked_mul(10)?;
    Some(Duration::from_millis(millis).as_secs_f64())
}

/// Returns the size in `field`, in bytes. A "kB" of proc_pid_status(5) is 1024 bytes.
fn status_bytes(status: &str, field: &str) -> Option<u64> {
    let value = status.lines().find_map(|line| line.strip_prefix(field))?;
    let kilobytes: u64 = value.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kilobytes.checked_mul(1024)
}

fn max_fds(limits: &str) -> Option<u64> {
    let values = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    values.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_name_with_parentheses_does_not_move_the_fields() {
        let stat = "7 (a) b (c)) S 1 7 7 0 -1 4194304 100 0 0 0 250 50 0 0 20 0 1 0 100 1000 10";
        assert_eq!(cpu_seconds(stat), Some(3.0));
        // 32 busy cores reach 2^32 hundredths of a second in 16 days.
        let busy = "7 (a) S 1 7 7 0 -1 4194304 100 0 0 0 5000000000 50 0 0 20 0 1 0 100 1000 10";
        assert_eq!(cpu_seconds(busy), Some(50_000_000.5));
        assert_eq!(cpu_seconds("7 (a) S 1"), None);
        assert_eq!(cpu_seconds(""), None);
    }

    #[test]
    fn memory_is_given_in_bytes() {
        assert_eq!(status_bytes("Name:\tx\nVmRSS:\t   12 kB\n", "VmRSS:"), Some(12 * 1024));
        assert_eq!(status_bytes("VmRSS:\t12 pages\n", "VmRSS:"), None);
        assert_eq!(status_bytes("Name:\tx\n", "VmRSS:"), None);
    }

    #[test]
    fn an_unlimited_number_of_descriptors_has_no_maximum() {
        assert_eq!(
            max_fds("Max open files            1024                 4096                 files\n"),
            Some(1024)
        );
        assert_eq!(
            max_fds("Max open files            unlimited            unlimited            files\n"),
            None
        );
    }

    #[test]
    fn this_process_can_be_read() {
        let usage = usage().unwrap();
        assert!(
            usage.resident_bytes > 0 && usage.virtual_bytes >= usage.resident_bytes,
            "{usage:?}"
        );
        assert!(usage.open_fds >= 3, "{usage:?}");
    }
}
