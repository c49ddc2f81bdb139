//! Metrics of the process and of the runtime in it, by the names that every client of Prometheus uses. Read anew for each page.
//!
//! It knows Linux only: elsewhere the values stay zero.

use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};
use tokio::runtime::Handle;

/// The kernel counts a process's time in hundredths of a second, whatever its own clock is (proc(5), `USER_HZ`).
const TICKS: f64 = 100.0;

type Number = Gauge<f64, AtomicU64>;

/// The metrics.
#[derive(Default)]
pub(super) struct ProcessMetrics {
    cpu: Counter<f64, AtomicU64>,
    started: Number,
    resident: Number,
    virtual_memory: Number,
    threads: Gauge,
    open_files: Gauge,
    max_files: Gauge,
    workers: Gauge,
    tasks: Gauge,
    queue: Gauge,
    busy: Counter<f64, AtomicU64>,
}

impl ProcessMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register_with_unit("process_cpu", "CPU time of all threads", Unit::Seconds, self.cpu.clone());
        let started = self.started.clone();
        registry.register_with_unit("process_start_time", "When it started, since 1970", Unit::Seconds, started);
        registry.register_with_unit("process_resident_memory", "Resident memory", Unit::Bytes, self.resident.clone());
        let virtual_memory = self.virtual_memory.clone();
        registry.register_with_unit("process_virtual_memory", "Virtual memory", Unit::Bytes, virtual_memory);
        registry.register("process_threads", "Threads", self.threads.clone());
        registry.register("process_open_fds", "Open files and sockets", self.open_files.clone());
        registry.register("process_max_fds", "Files and sockets that may be open", self.max_files.clone());
        registry.register("tokio_workers", "Threads that run tasks", self.workers.clone());
        registry.register("tokio_alive_tasks", "Tasks that have not ended", self.tasks.clone());
        registry.register("tokio_global_queue_depth", "Tasks that wait for any worker", self.queue.clone());
        let busy = self.busy.clone();
        registry.register_with_unit("tokio_workers_busy", "Time that workers spent running tasks", Unit::Seconds, busy);
    }

    /// Reads it all.
    pub(super) fn sample(&self) {
        self.process();
        if let Ok(runtime) = Handle::try_current() {
            let metrics = runtime.metrics();
            let whole = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
            self.workers.set(whole(metrics.num_workers()));
            self.tasks.set(whole(metrics.num_alive_tasks()));
            self.queue.set(whole(metrics.global_queue_depth()));
            let busy =
                (0..metrics.num_workers()).map(|worker| metrics.worker_total_busy_duration(worker).as_secs_f64());
            set(&self.busy, busy.sum());
        }
    }

    fn process(&self) {
        self.resident.set(super::resident_memory().unwrap_or(0) as f64);
        if let Some(stat) = fs::read_to_string("/proc/self/stat").ok().as_deref().and_then(Stat::parse) {
            set(&self.cpu, stat.cpu);
            self.threads.set(stat.threads);
            self.virtual_memory.set(stat.virtual_memory);
            if let Some(booted) = booted() {
                self.started.set(booted + stat.started);
            }
        }
        if let Ok(files) = fs::read_dir("/proc/self/fd") {
            // The folder itself is open while it is read.
            self.open_files.set(i64::try_from(files.count()).unwrap_or(i64::MAX) - 1);
        }
        let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
        let limit = limits.lines().find_map(|line| line.strip_prefix("Max open files")?.split_whitespace().next());
        if let Some(limit) = limit.and_then(|limit| limit.parse().ok()) {
            self.max_files.set(limit);
        }
    }
}

fn set(counter: &Counter<f64, AtomicU64>, value: f64) {
    counter.inner().store(value.to_bits(), Ordering::Relaxed);
}

/// When the machine started, in seconds since 1970.
fn booted() -> Option<f64> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

/// What is read of `/proc/self/stat` (proc_pid_stat(5)).
#[derive(Debug, PartialEq)]
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
        let metrics = ProcessMetrics::default();
        metrics.sample();
        assert!(metrics.threads.get() >= 1 && metrics.open_files.get() >= 3);
        assert!(metrics.max_files.get() >= metrics.open_files.get());
        assert!(metrics.started.get() > 1.0e9 && metrics.virtual_memory.get() > metrics.resident.get());
    }
}
