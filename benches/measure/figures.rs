//! Figures side by side, a line per round, and what they come to.

use std::time::Duration;

use super::process::Cost;

/// The rounds of two ways to do the same.
pub(crate) struct Figures {
    rounds: Vec<(Cost, Cost)>,
}

impl Figures {
    /// Starts a table, our way on the left.
    pub(crate) fn new(ours: &str, theirs: &str) -> Self {
        let [wall, cpu, source, destination] = ["wall", "CPU", "source", "dest."];
        let columns = format!("{wall:>8} {cpu:>8} {source:>8} {destination:>8}");
        println!("  round | {ours:^35} | {theirs:^35} | ratio of walls");
        println!("        | {columns} | {columns} |");
        Self { rounds: vec![] }
    }

    /// Adds a round and prints it.
    pub(crate) fn add(&mut self, ours: Cost, theirs: Cost) {
        self.rounds.push((ours, theirs));
        let number = self.rounds.len();
        println!("  {number:>5} | {} | {} | {:.3}", columns(&ours), columns(&theirs), ratio(&ours, &theirs));
    }

    /// Prints what the rounds come to.
    pub(crate) fn sum_up(&self, rows: u64) {
        let mut ratios: Vec<f64> = self.rounds.iter().map(|(a, b)| ratio(a, b)).collect();
        let mut ours: Vec<f64> = self.rounds.iter().map(|(a, _)| per_row(a.cpu, rows)).collect();
        let mut theirs: Vec<f64> = self.rounds.iter().map(|(_, b)| per_row(b.cpu, rows)).collect();
        let mut walls: Vec<Duration> = self.rounds.iter().map(|(a, _)| a.wall).collect();
        let peak = self.rounds.iter().filter_map(|(a, _)| a.peak_bytes).max();
        let middle = median(&mut ratios);
        println!("  ratio, median {middle:.3}, {:.3} to {:.3}", ratios[0], ratios[ratios.len() - 1]);
        println!("  CPU per row, median: {:.3} us, theirs {:.3} us", median(&mut ours), median(&mut theirs));
        println!("  rows per second, median: {:.0}", rows as f64 / median(&mut walls).as_secs_f64());
        println!("  peak memory, highest: {}", mebibytes(peak));
    }
}

fn columns(cost: &Cost) -> String {
    let all = [cost.wall, cost.cpu, cost.source_cpu, cost.destination_cpu];
    all.map(|duration| format!("{:>8}", seconds(duration))).join(" ")
}

fn ratio(ours: &Cost, theirs: &Cost) -> f64 {
    ours.wall.as_secs_f64() / theirs.wall.as_secs_f64()
}

fn per_row(cpu: Duration, rows: u64) -> f64 {
    cpu.as_secs_f64() * 1e6 / rows as f64
}

/// The middle one; of an even number, the lower of the two.
pub(crate) fn median<T: PartialOrd + Copy>(values: &mut [T]) -> T {
    values.sort_by(|a, b| a.partial_cmp(b).expect("figures are numbers"));
    values[(values.len() - 1) / 2]
}

/// `9.87 s`
pub(crate) fn seconds(duration: Duration) -> String {
    format!("{:.2} s", duration.as_secs_f64())
}

/// `31.5 MiB`
pub(crate) fn mebibytes(bytes: Option<u64>) -> String {
    bytes.map_or_else(|| "-".to_owned(), |b| format!("{:.1} MiB", b as f64 / 1_048_576.0))
}
