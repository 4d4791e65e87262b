//! status, mark, check and init as a user meets them: the program, real servers, files in a folder.

mod check;
mod init;
mod mark;
mod status;

use tempfile::TempDir;

use super::support::cli::{self, Run, pgtide};
use super::support::{Pair, databases};

/// A project folder with its two databases.
struct Site {
    pair: Pair,
    folder: TempDir,
}

const PROJECT: &str = "
[connections.source]
url = \"${SOURCE_URL}\"

[connections.warehouse]
url = \"${WAREHOUSE_URL}\"

[defaults]
destination = \"warehouse\"
timezone = \"America/New_York\"
retries = 0
";

/// Ten days of three events each, at 3, 4 and 5 o'clock in New York.
const EVENTS: &str = "
create table public.events (id bigint primary key, at timestamptz not null, amount numeric(12,4));
create index on public.events (at);
insert into public.events
select 10 * d + h, timestamptz '2013-01-01 08:00Z' + (d - 1) * interval '1 day' + h * interval '1 hour', d
from generate_series(1, 10) d, generate_series(0, 2) h";

/// The job that copies them.
const EVENTS_JOB: &str = "
table = \"public.events\"
into = \"mart.events\"
time_column = \"at\"
interval = \"day\"
start_date = 2013-01-01
end_date = 2013-01-10
create = true
";

impl Site {
    async fn new(hint: &str) -> Self {
        let site = Self { pair: databases(hint).await, folder: TempDir::new().unwrap() };
        cli::write_file(site.folder.path(), "pgtide.toml", PROJECT);
        site
    }

    /// A project with the events and their job.
    async fn with_events(hint: &str) -> Self {
        let site = Self::new(hint).await;
        site.pair.source.exec(EVENTS).await;
        site.pair.destination.exec("create schema mart").await;
        site.job("events", EVENTS_JOB);
        site
    }

    fn job(&self, name: &str, text: &str) {
        cli::write_file(self.folder.path(), &format!("jobs/{name}.toml"), text);
    }

    /// A run in the folder, with both places known.
    fn pgtide(&self, arguments: &str) -> Run {
        self.bare(arguments)
            .env("SOURCE_URL", self.pair.source.url())
            .env("WAREHOUSE_URL", self.pair.destination.url())
    }

    /// A run in the folder, with no place known.
    fn bare(&self, arguments: &str) -> Run {
        let arguments: Vec<_> = arguments.split_whitespace().collect();
        pgtide(&arguments).dir(self.folder.path())
    }

    /// What a run that must end well prints.
    async fn printed(&self, arguments: &str) -> String {
        self.pgtide(arguments).run().await.expect(0).stdout
    }
}

/// Puts words in place of what differs from run to run, while a snapshot is compared.
fn stable() -> insta::internals::SettingsBindDropGuard {
    let mut settings = insta::Settings::clone_current();
    settings.add_filter(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "[time]");
    settings.add_filter(r"on \S+, process \d+", "on [host], process [pid]");
    settings.add_filter(r"run [0-9a-f-]{36}", "run [id]");
    settings.add_filter(r"after [0-9.]+ m?s", "after [s]");
    settings.add_filter(r"127\.0\.0\.1:\d+", "[place]");
    settings.add_filter(r"PostgreSQL [0-9.]+", "PostgreSQL [version]");
    settings.bind_to_scope()
}
