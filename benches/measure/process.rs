//! What processes cost: time, CPU, memory.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;
use nix::unistd::{SysconfVar, sysconf};

/// How often a process is asked for its peak memory, which only grows.
const SAMPLE: Duration = Duration::from_millis(20);

/// What some work cost.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Cost {
    pub(crate) wall: Duration,
    /// User and system time of the processes measured, not of the servers.
    pub(crate) cpu: Duration,
    /// The same of the servers' sessions.
    pub(crate) source_cpu: Duration,
    pub(crate) destination_cpu: Duration,
    /// The most memory that the first process held resident.
    pub(crate) peak_bytes: Option<u64>,
}

/// Runs commands, the output of each the input of the next, and waits for all.
pub(crate) fn run(commands: Vec<Command>) -> Result<Cost> {
    let before = cpu_of(UsageWho::RUSAGE_CHILDREN)?;
    let start = Instant::now();
    let mut children = spawn(commands)?;
    let pid = children.first().map(Child::id).context("there is no command")?;
    let sampler = thread::spawn(move || peak_bytes(pid));
    for child in &mut children {
        let status = child.wait()?;
        if !status.success() {
            bail!("a measured program ended with {status}");
        }
    }
    let wall = start.elapsed();
    let cpu = cpu_of(UsageWho::RUSAGE_CHILDREN)? - before;
    let peak_bytes = sampler.join().ok().flatten();
    Ok(Cost { wall, cpu, peak_bytes, ..Cost::default() })
}

fn spawn(commands: Vec<Command>) -> Result<Vec<Child>> {
    let last = commands.len().saturating_sub(1);
    let mut children: Vec<Child> = Vec::new();
    for (index, mut command) in commands.into_iter().enumerate() {
        let input = children.last_mut().and_then(|child| child.stdout.take());
        command.stdin(input.map_or_else(Stdio::null, Stdio::from));
        command.stdout(if index < last { Stdio::piped() } else { Stdio::null() });
        let name = command.get_program().to_owned();
        children.push(command.spawn().with_context(|| format!("starting {}", name.display()))?);
    }
    Ok(children)
}

/// User and system time so far: of this process, or of those it started and waited for.
pub(crate) fn cpu_of(who: UsageWho) -> Result<Duration> {
    let usage = getrusage(who)?;
    let duration = |t: TimeVal| Duration::new(t.tv_sec() as u64, t.tv_usec() as u32 * 1000);
    Ok(duration(usage.user_time()) + duration(usage.system_time()))
}

/// User and system time of the children that a process has waited for: a server's ended sessions.
pub(crate) fn cpu_of_children(pid: i32) -> Option<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the name in brackets, and may hold spaces.
    let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
    let ticks = fields.get(13)?.parse::<u64>().ok()? + fields.get(14)?.parse::<u64>().ok()?;
    let ticks_per_second = sysconf(SysconfVar::CLK_TCK).ok()??;
    Some(Duration::from_secs_f64(ticks as f64 / ticks_per_second as f64))
}

/// Watches a process until it ends; none where `/proc` does not tell.
fn peak_bytes(pid: u32) -> Option<u64> {
    let mut peak = None;
    while let Some(bytes) = status_bytes(pid, "VmHWM:") {
        peak = Some(bytes);
        thread::sleep(SAMPLE);
    }
    peak
}

fn status_bytes(pid: u32, key: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(key))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024)
}
