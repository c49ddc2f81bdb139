//! Metrics of the process and its runtime, with the names that every Prometheus client library uses. Read at
//! scrape.
//!
//! It knows Linux only: elsewhere the values stay zero.

use std::fs;

use tokio::runtime::Handle;

use super::sampled::Samples;

/// The kernel counts a process's time in hundredths of a second, whatever its own clock is (proc(5), `USER_HZ`).
const TICKS: f64 = 100.0;

/// Reads it all.
pub fn sampled(samples: &mut Samples<'_>) {
    let stat = fs::read_to_string("/proc/self/stat").ok().as_deref().and_then(Stat::parse).unwrap_or_default();
    samples.counter("process_cpu_seconds_total", "CPU time of all threads", stat.cpu);
    let started = booted().map_or(0.0, |booted| booted + stat.started);
    samples.gauge("process_start_time_seconds", "Start time of the process, in seconds since 1970", started);
    samples.gauge("process_resident_memory_bytes", "Resident memory", resident_memory().unwrap_or(0) as f64);
    samples.gauge("process_virtual_memory_bytes", "Virtual memory", stat.virtual_memory);
    samples.gauge("tidegate_memory_limit_bytes", "Memory limit of the process", memory_limit().unwrap_or(0) as f64);
    samples.gauge("process_threads", "Threads", stat.threads);
    samples.gauge("process_open_fds", "Open file descriptors", open_files());
    samples.gauge("process_max_fds", "Limit of open file descriptors", max_files());
    let runtime = Handle::try_current().ok().map(|runtime| runtime.metrics());
    let of = |read: fn(&tokio::runtime::RuntimeMetrics) -> usize| runtime.as_ref().map_or(0, read);
    samples.gauge("tokio_workers", "Worker threads of the runtime", of(|runtime| runtime.num_workers()));
    samples.gauge("tokio_alive_tasks", "Tasks that have not finished", of(|runtime| runtime.num_alive_tasks()));
    let queued = of(|runtime| runtime.global_queue_depth());
    samples.gauge("tokio_global_queue_depth", "Tasks waiting in the runtime's global queue", queued);
    let busy = runtime.map_or(0.0, |runtime| {
        (0..runtime.num_workers()).map(|worker| runtime.worker_total_busy_duration(worker).as_secs_f64()).sum()
    });
    samples.counter("tokio_workers_busy_seconds_total", "Time that worker threads spent running tasks", busy);
}

fn open_files() -> i64 {
    // The folder itself is open while it is read.
    fs::read_dir("/proc/self/fd").map_or(0, |files| i64::try_from(files.count()).unwrap_or(i64::MAX) - 1)
}

fn max_files() -> i64 {
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let limit = limits.lines().find_map(|line| line.strip_prefix("Max open files")?.split_whitespace().next());
    limit.and_then(|limit| limit.parse().ok()).unwrap_or(0)
}

/// Resident memory of this process in bytes, from `/proc`; `None` where there is none.
pub fn resident_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
}

/// What this process may use in bytes: its control group's limit, else the machine's memory. `None` where neither is known.
pub fn memory_limit() -> Option<u64> {
    let group = std::fs::read_to_string("/sys/fs/cgroup/memory.max").ok();
    if let Some(limit) = group.and_then(|limit| limit.trim().parse().ok()) {
        return Some(limit);
    }
    let memory = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = memory.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
}

/// When the machine started, in seconds since 1970.
fn booted() -> Option<f64> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

/// What is read of `/proc/self/stat` (proc_pid_stat(5)).
#[derive(Debug, Default, PartialEq)]
struct Stat {
    /// Seconds.
    cpu: f64,
    threads: i64,
    /// Seconds since the machine started.
    started: f64,
    /// Bytes.
    virtual_memory: f64,
}

impl Stat {
    fn parse(text: &str) -> Option<Self> {
        // The program's name, in brackets, may hold anything; what follows is numbers. The first of them is field 3.
        let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<f64>().ok();
        Some(Self {
            cpu: (field(14)? + field(15)?) / TICKS,
            threads: fields.get(20 - 3)?.parse().ok()?,
            started: field(22)? / TICKS,
            virtual_memory: field(23)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_does_not_shift_the_numbers() {
        let text = "42 (a) (b) S 1 2 3 4 5 6 7 8 9 10 150 50 13 14 15 16 9 18 3000 4096 21 22\n";
        let stat = Stat { cpu: 2.0, threads: 9, started: 30.0, virtual_memory: 4096.0 };
        assert_eq!(Stat::parse(text), Some(stat));
        assert_eq!(Stat::parse("42 (a"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_has_used_time_and_files() {
        let stat = Stat::parse(&fs::read_to_string("/proc/self/stat").unwrap()).unwrap();
        assert!(stat.threads >= 1 && stat.virtual_memory > resident_memory().unwrap() as f64);
        assert!(open_files() >= 3 && max_files() >= open_files());
        assert!(booted().unwrap() + stat.started > 1.0e9);
    }
}
