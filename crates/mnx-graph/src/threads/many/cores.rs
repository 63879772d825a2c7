//! How many threads a session has that was not told.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use crate::MAX_THREADS;

/// Threads of a session that is not told how many: the fast physical cores that this thread may run on, no more than its
/// affinity and its control group's quota allow; 1 without the feature `rayon`.
///
/// Two threads on one core share its multipliers and gain nothing. A core with less than half of the fastest one's speed
/// would be waited for at the end of every step.
pub fn default_threads() -> usize {
    let allowed = std::thread::available_parallelism().map_or(1, usize::from);
    let status = fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    let known = fast_cores(Path::new("/sys/devices/system/cpu"), &allowed_cpus(&status));
    known.unwrap_or_else(num_cpus::get_physical).min(allowed).clamp(1, MAX_THREADS)
}

/// The numbers in the line `Cpus_allowed_list` of Linux's `status`, as `0-3,8`; none where they cannot be read.
fn allowed_cpus(status: &str) -> Vec<usize> {
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap_or_default();
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.parse().ok()?..=last.parse().ok()?)
    };
    list.trim().split(',').filter_map(range).flatten().collect()
}

/// Cores among the CPUs `allowed` that have at least half of the largest capacity among them, by Linux's description of the
/// machine in `folder`; none where that does not describe one of them.
fn fast_cores(folder: &Path, allowed: &[usize]) -> Option<usize> {
    let mut cores = Vec::with_capacity(allowed.len());
    for cpu in allowed {
        let cpu = folder.join(format!("cpu{cpu}"));
        // Every CPU of a core gives the same list.
        let core = fs::read_to_string(cpu.join("topology/thread_siblings_list")).ok()?;
        // Only machines with cores of several kinds need it.
        let capacity = fs::read_to_string(cpu.join("cpu_capacity")).ok().and_then(|text| text.trim().parse().ok());
        cores.push((core, capacity.unwrap_or(0_u64)));
    }
    let largest = cores.iter().map(|core| core.1).max()?;
    let fast: HashSet<_> = cores.into_iter().filter(|core| core.1 >= largest.div_ceil(2)).map(|core| core.0).collect();
    Some(fast.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine with a CPU for each pair of the CPUs of its core and, where there is one, its capacity.
    fn machine(cpus: &[(&str, Option<&str>)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (cpu, (core, capacity)) in cpus.iter().enumerate() {
            let cpu = folder.path().join(format!("cpu{cpu}"));
            fs::create_dir_all(cpu.join("topology")).unwrap();
            fs::write(cpu.join("topology/thread_siblings_list"), format!("{core}\n")).unwrap();
            if let Some(capacity) = capacity {
                fs::write(cpu.join("cpu_capacity"), format!("{capacity}\n")).unwrap();
            }
        }
        folder
    }

    #[test]
    fn lists_of_cpus_are_read() {
        let list =
            |list: &str| allowed_cpus(&format!("Name:\tx\nCpus_allowed:\tff\nCpus_allowed_list:\t{list}\nz:\t1\n"));
        assert_eq!(list("0-3,8"), [0, 1, 2, 3, 8]);
        assert_eq!(list("5"), [5]);
        assert!(list("").is_empty());
        assert_eq!(list("1-x,2"), [2]);
        assert!(allowed_cpus("").is_empty());
    }

    #[test]
    fn siblings_count_once_and_only_where_allowed() {
        let machine = machine(&[("0,2", None), ("1,3", None), ("0,2", None), ("1,3", None)]);
        let count = |allowed: &[usize]| fast_cores(machine.path(), allowed);
        assert_eq!(count(&[0, 1, 2, 3]), Some(2));
        assert_eq!(count(&[0, 2]), Some(1));
        assert_eq!(count(&[1, 2]), Some(2));
    }

    #[test]
    fn slow_cores_are_left_out() {
        let cpus = ["250", "250", "250", "250", "780", "780", "780", "1024"];
        let names: Vec<_> = (0..cpus.len()).map(|cpu| cpu.to_string()).collect();
        let cpus: Vec<_> = names.iter().map(String::as_str).zip(cpus.map(Some)).collect();
        let machine = machine(&cpus);
        let count = |allowed: &[usize]| fast_cores(machine.path(), allowed);
        assert_eq!(count(&[0, 1, 2, 3, 4, 5, 6, 7]), Some(4));
        // Confined to the slow ones they are the fastest there are.
        assert_eq!(count(&[0, 1, 2]), Some(3));
    }

    #[test]
    fn a_machine_that_is_not_described_is_unknown() {
        let machine = machine(&[("0", None)]);
        assert_eq!(fast_cores(machine.path(), &[0, 1]), None);
        assert_eq!(fast_cores(machine.path(), &[]), None);
        assert_eq!(fast_cores(&machine.path().join("absent"), &[0]), None);
    }
}
