//! Wrong input: one clear line, the right exit code, nothing changed in the databases, no row's value.
//!
//! Each group is a table of cases. A case is a project, a command, the exit code and parts of what is
//! said. Around every run the whole destination is compared with itself, and every output is searched
//! for the value that all rows of the source hold; the harness searches it for the password.

mod arguments;
mod configuration;
mod connections;
mod destination;
mod intervals;
mod loading;
mod output;
mod rights;
mod secrets;
mod source;

use std::fmt::Write;

use super::support::cli::{Output, Run};
use super::support::{Database, Pair, databases, pgtide};

/// In the text column of every row of the source.
const ROW_CANARY: &str = "canary-row-51c2";

/// The project of the cases that need databases; the places come from the environment.
const PROJECT: &str = r#"
[connections.source]
url = "${SOURCE_URL}"
[connections.warehouse]
url = "${WAREHOUSE_URL}"
[defaults]
source = "source"
destination = "warehouse"
timezone = "UTC"
start_date = 2024-05-01
retries = 0
"#;

/// A job that would work.
const USERS: &str = r#"
table = "public.users"
into = "mart.users"
time_column = "born"
interval = "day"
create = true
"#;

/// The destination table that fits the source's.
const FITTING: &str = "create table mart.users (id int primary key, name text, born timestamptz not null, \
     amount numeric(12,4)); ";

/// One wrong input.
#[derive(Debug, Clone, Default)]
struct Case {
    name: &'static str,
    /// SQL that makes the destination what it is; schema `mart` is there and empty.
    destination: String,
    /// `jobs/users.toml`.
    job: String,
    arguments: Vec<&'static str>,
    code: i32,
    says: Vec<&'static str>,
    /// Whether the ledger may know of it: the failure is one of the load itself.
    may_record: bool,
}

/// A case of `pgtide run users --date 2024-05-01` that ends with 78.
fn case(name: &'static str, job: impl Into<String>, says: &[&'static str]) -> Case {
    let arguments = vec!["run", "users", "--date", "2024-05-01"];
    Case { name, job: job.into(), arguments, code: 78, says: says.to_vec(), ..Case::default() }
}

impl Case {
    fn arguments(self, arguments: &[&'static str]) -> Self {
        Self { arguments: arguments.to_vec(), ..self }
    }

    fn destination(self, sql: impl Into<String>) -> Self {
        Self { destination: sql.into(), ..self }
    }

    fn code(self, code: i32) -> Self {
        Self { code, ..self }
    }

    /// Lets the ledger be made: what is wrong shows only when rows arrive.
    fn while_loading(self) -> Self {
        Self { may_record: true, ..self }
    }
}

/// Makes a pair of databases with the source's table: two days of rows.
async fn stage(hint: &str) -> Pair {
    let pair = databases(hint).await;
    pair.source
        .exec(&format!(
            "create table users (id int primary key, name text, born timestamptz not null, amount numeric(12,4));
             insert into users select g, '{ROW_CANARY} ' || g, timestamptz '2024-05-01 00:30Z' + g * interval '1 hour', g
             from generate_series(0, 47) g"
        ))
        .await;
    pair
}

/// Prepares a run in a project against a pair.
fn in_project(pair: &Pair, job: &str, arguments: &[&str]) -> Run {
    let run = pgtide(arguments).file("pgtide.toml", PROJECT);
    let run = if job.is_empty() { run } else { run.file("jobs/users.toml", job) };
    run.env("SOURCE_URL", pair.source.url()).env("WAREHOUSE_URL", pair.destination.url())
}

/// Everything that a database holds: relations and their rows; without the ledger's, if asked.
async fn contents(database: &Database, with_ledger: bool) -> String {
    let skipped = if with_ledger { "" } else { "and n.nspname <> 'pgtide'" };
    let sql = format!(
        "select coalesce(string_agg(n.nspname || ' ' || coalesce(c.relname, '') || ' ' || coalesce(
             case when c.relkind in ('r', 'p', 'm')
                  then query_to_xml(format('select * from %I.%I t order by t::text', n.nspname, c.relname),
                                    true, true, '')::text
                  else c.relkind::text end, ''), e'\\n' order by n.nspname, c.relname), '')
         from pg_namespace n left join pg_class c on c.relnamespace = n.oid and c.relkind <> 'i'
         where n.nspname !~ '^pg_' and n.nspname <> 'information_schema' {skipped}"
    );
    database.scalar(&sql).await
}

/// Runs all cases, and fails once with everything that is not as it should be.
async fn check(pair: &Pair, cases: &[Case]) {
    let mut faults = String::new();
    for case in cases {
        let reset = "drop schema if exists mart, pgtide cascade; create schema mart; ";
        pair.destination.exec(&format!("{reset}{}", case.destination)).await;
        let before =
            (contents(&pair.destination, !case.may_record).await, contents(&pair.source, true).await);
        let output = in_project(pair, &case.job, &case.arguments).run().await;
        let after = (contents(&pair.destination, !case.may_record).await, contents(&pair.source, true).await);
        let mut wrong = wrong_words(&output, case.code, &case.says);
        if before != after {
            wrong.push("the databases changed".to_owned());
        }
        report(&mut faults, case.name, &output, &wrong);
    }
    assert!(faults.is_empty(), "{faults}");
}

/// What is wrong with an output.
fn wrong_words(output: &Output, code: i32, says: &[&str]) -> Vec<String> {
    let all = format!("{}{}", output.stdout, output.stderr);
    let mut wrong = Vec::new();
    if output.code != code {
        wrong.push(format!("the exit code is {}, not {code}", output.code));
    }
    wrong
        .extend(says.iter().filter(|part| !all.contains(*part)).map(|part| format!("does not say {part:?}")));
    for never in [ROW_CANARY, "panicked", "RUST_BACKTRACE"] {
        if all.contains(never) {
            wrong.push(format!("says {never:?}"));
        }
    }
    if code != 0 && !all.contains("error") {
        wrong.push("has no line with `error`".to_owned());
    }
    wrong
}

fn report(faults: &mut String, name: &str, output: &Output, wrong: &[String]) {
    if !wrong.is_empty() {
        let wrong = wrong.join("; ");
        writeln!(faults, "== {name}: {wrong}\n{}{}", output.stdout, output.stderr).unwrap();
    }
}
