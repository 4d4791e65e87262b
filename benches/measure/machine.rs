//! The machine that a bench runs on.

use std::fs;
use std::thread;

/// The machine in a line: its cores, and how busy they are with other things.
pub(crate) fn machine() -> String {
    let cores = thread::available_parallelism().map_or(0, usize::from);
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load: Vec<&str> = load.split(' ').take(3).collect();
    format!("{cores} cores, load average {}", load.join(" "))
}
