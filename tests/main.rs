//! All tests that need a server or the program, in one binary: one build, one pair of servers.
//!
//! Each module is a part of what pgtide promises; each test has databases of its own on the shared
//! servers, or a server of its own where it breaks one.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test that fails panics")]

/// The harness: servers, databases, the program, the checker, a faulty network.
mod support;

/// What is read from a catalog: names, tables, queries, rights; and the SQL made of it.
mod catalog;
/// Every pair of types: refused, or copied to the value that a cast gives.
mod columns;

/// The whole story on two throw-away servers, which are gone afterwards.
mod demo;
/// The documents name what exists, and what exists is named in them.
mod docs;
/// The job files of the repository, run on the demo's data.
mod jobs;
/// Throw-away servers start, keep databases apart, and never outlive their owner.
mod sandbox;

/// Sessions: hosts in turn, deadlines, TLS as libpq means it, settings, lost connections.
mod connect;
/// The ledger, rule by rule: claims, fences, finishes, marks, and looking.
mod ledger;

/// Queries as they stand in Airflow's DAGs: rendered for their day, run as the role and zone say.
mod airflow_query;
/// Backfills as objects: shared by processes that die, pause and fail; each interval is loaded once.
mod backfills;
/// Wrong input of every kind: one clear line, the right exit code, nothing changed, no secret and no value.
mod bad_input;
/// Calendars and schedules that make no sense: the key or the date by name, nothing changed.
mod bad_schedules;
/// What is recorded as loaded and is not in the table any more: every verb says so, and what mends it.
mod belief;
/// Postgres agrees where days, weeks, months and hours begin, in every zone.
mod calendar;
/// Runs meet runs, signals and take-overs: one load, nothing lost, nothing in the way.
mod concurrency;
/// How many sessions there are at once, by the servers' logs.
mod connections;
/// Killed at random moments, in every load mode: each row arrives once all the same.
mod exactly_once;
/// Sessions, servers and networks fail in the middle: a run goes on, or says what to do.
mod faults;
/// Code that is not pgtide's runs with a load, such as triggers, rules and hooks: no row goes or comes unseen.
mod foreign_code;
/// What another live run holds: 75 for who asks once, and another look for the schedule.
mod held;
/// Tables that change behind a snapshot: what it does not show is read again.
mod hidden_rows;
/// Sources whose clock or replay is behind: a day is not loaded before it is over there.
mod horizon;
/// What is kept from one interval to the next, and what must be noticed all the same.
mod intervals;
/// What a broken attempt left: removed if it is its own, gone on after if it fits, refused otherwise.
mod leftovers;
/// Limits over processes: never more at once, runs first, a backfill always goes on.
mod limits;
/// Keys of a merge: one that comes twice is refused in whatever batches, and equal ones become the same.
mod merge_keys;
/// A program of the user is told how runs ended.
mod notify;
/// Server processes that are shared with other applications: nothing is left in them.
mod poolers;
/// Who is first of those that wait for the same slots.
mod priority;
/// A job that has another name than before goes on where it was.
mod rename;
/// A reload that was asked for is not done by a load that began before.
mod requests;
/// What a load depends on, changed by others while it runs.
mod reshaped;
/// Keys of every type, after which an interrupted copy goes on.
mod resume_order;
/// What is due is loaded for ever, by one leader; files may change meanwhile.
mod schedule;
/// Whose rows a load touches: jobs beside each other on one table, and rows that nobody loaded.
mod scopes;
/// Snapshot jobs in the status: their moments, and lateness.
mod snapshots;
/// Status beyond the calendar: gaps, deadlines, ten years, watching; several jobs in one run.
mod status_more;
/// Runs without names: what is due, when, in which order, and what is loaded again.
mod unasked;
/// Values of every type arrive bit for bit, under every name, into and from every kind of table.
mod values;
/// What counters that stand still do not prove.
mod views_doubt;
/// What reads what, through views and functions, and how it is drawn.
mod views_graph;
/// Names that need quotes, are long, or are there twice: every way of refreshing, every verb that looks.
mod views_names;
/// What a view's options do to its refresh, from `pgtide.toml` and from its own file.
mod views_options;
/// Refreshing: the order, the three ways, failures, runs that meet, runs that are killed.
mod views_refresh;
/// Failures of a refresh that are tried again, and those that are told at once.
mod views_retries;
/// A run of refreshes: watched, limited in time, stopped at a failure; what it says to do next.
mod views_runs;
/// What makes a view stale and what does not: rewrites, partitions, foreign rows, clocks, loads of nothing.
mod views_sources;
/// Stale or fresh, and the reason told.
mod views_stale;
/// Swaps where something stands on the view: refused, moved, or given up as it was.
mod views_swap;

/// The verbs that look and set right: status, mark, check, init.
mod verbs;
/// Views from files: plan, build beside, swap, drop.
mod views_apply;
/// `views check`, and what `check` says of views: every finding, each with what to do.
mod views_check;
/// `views apply --jobs`: what is independent is built at once, and fails by itself.
mod views_jobs;
/// Status of many views: as many statements as for one, and no wait.
mod views_many;
/// What a server writes beside the settings of people is none of them.
mod views_marks;
/// What was dropped comes back; a plan that was read is what is done.
mod views_restore;
/// Five systems that keep views today, each from its own artefacts.
mod views_stories;
/// A year of real flights, day by day: equal, once, and left alone when it is done.
mod year;
