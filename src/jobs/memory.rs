//! How much memory this machine could still give to a worker.

use std::fs;

/// What the kernel says could be had without swapping; all there is where it does not tell.
pub(crate) fn available_bytes() -> u64 {
    let all = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    available(&all).unwrap_or(u64::MAX)
}

fn available(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kibibytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kibibytes.saturating_mul(1024))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_figure_is_in_kibibytes() {
        assert_eq!(available("MemTotal: 9 kB\nMemAvailable:   2048 kB\n"), Some(2 << 20));
        assert_eq!(available("MemTotal: 9 kB\n"), None);
    }
}
