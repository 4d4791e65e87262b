//! `pgtide views refresh`: what is stale, in dependency order; again = what is left.

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::NaiveDate;
use clap::builder::RangedU64ValueParser;
use clap::{Args, ValueEnum};

use super::place::Place;
use crate::cli::workshop;
use crate::cli::{Context, loading, stoppable};
use crate::config::project::Project;
use crate::config::quantity::{parse_duration, show_duration};
use crate::config::views::RefreshMode;
use crate::error::{Error, ErrorKind, Result};
use crate::event::{self, Event, ViewsSummary};
use crate::exit;
use crate::ledger::Ledger;
use crate::name::TableName;
use crate::postgres::ident;
use crate::report::{Format, Reporter, views as shown};
use crate::views::catalog;
use crate::views::options::ViewRules;
use crate::views::outlook::Outlook;
use crate::views::refresh::{self, Planned, Refresher, Request, Scope, Settings, Step};
use crate::views::stale::Trust;

const APPLICATION: &str = "pgtide/refresh";

/// Views at once, unless it is said.
const JOBS: usize = 2;

const EXAMPLES: &str = "\
Examples:
  pgtide views refresh                             what is stale, of all
  pgtide views refresh mart.sales --upstream       and what it reads, first
  pgtide views refresh --after-load mart.orders    what reads this table
  pgtide views refresh --dry-run                   which, in which way, and why";

/// `views refresh`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct RefreshArgs {
    /// Views by name, left alone only if they are proved fresh; all of the database without
    #[arg(value_name = "NAME")]
    names: Vec<TableName>,
    /// All views of the database: as without names
    #[arg(long, conflicts_with = "names")]
    all: bool,
    /// Only stale ones: as without --force
    #[arg(long, conflicts_with = "force")]
    stale: bool,
    /// Fresh ones too
    #[arg(long)]
    force: bool,
    /// What they read too, first
    #[arg(long, requires = "names")]
    upstream: bool,
    /// What reads them too
    #[arg(long, requires = "names")]
    downstream: bool,
    /// What reads these tables
    #[arg(long, value_name = "TABLE", num_args = 1.., conflicts_with_all = ["names", "all"])]
    after_load: Vec<TableName>,
    /// Views at once
    #[arg(long, value_name = "N", default_value_t = JOBS, value_parser = RangedU64ValueParser::<usize>::new().range(1..=64))]
    jobs: usize,
    /// auto, plain, concurrent or swap; over what the views' own options say
    #[arg(long, value_name = "WAY", hide_possible_values = true)]
    strategy: Option<StrategyArg>,
    /// All views show one snapshot
    #[arg(long)]
    consistent: bool,
    /// Only those whose last refresh began longer ago: 10m, 26h
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    if_older_than: Option<Duration>,
    /// Exit 75 while a table that they read lacks this day
    #[arg(long, value_name = "DATE")]
    require_loaded: Option<NaiveDate>,
    /// Start nothing new after this time
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    max_runtime: Option<Duration>,
    /// Start nothing new after the first failure
    #[arg(long)]
    fail_fast: bool,
    /// Again and again, with this pause: 1m without
    #[arg(long, value_name = "TIME", num_args = 0..=1, default_missing_value = "1m", value_parser = parse_duration)]
    watch: Option<Duration>,
    /// Show which, in which way and why, and change nothing
    #[arg(long, conflicts_with = "watch")]
    dry_run: bool,
}

/// `--strategy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum StrategyArg {
    /// What fits, with the reason told
    Auto,
    /// Quickest; readers wait
    Plain,
    /// Only what changed is written; needs a unique index
    Concurrent,
    /// Built beside; readers wait for a moment
    Swap,
}

impl From<StrategyArg> for RefreshMode {
    fn from(arg: StrategyArg) -> Self {
        match arg {
            StrategyArg::Auto => Self::Auto,
            StrategyArg::Plain => Self::Plain,
            StrategyArg::Concurrent => Self::Concurrent,
            StrategyArg::Swap => Self::Swap,
        }
    }
}

pub(super) async fn run(args: RefreshArgs, context: &Context) -> anyhow::Result<u8> {
    let project = loading::project(context, None)?;
    if args.dry_run {
        let code = Box::pin(stoppable(context, dry_run(&args, context, &project))).await?;
        return Ok(code);
    }
    let run_id = uuid::Uuid::new_v4().to_string();
    loop {
        let summary = Box::pin(once(&args, context, &project, &run_id)).await;
        let Some(pause) = args.watch else { return Ok(code(&summary?)) };
        if let Err(error) = summary {
            if !error.is_retryable() {
                return Err(error.into());
            }
            context.output.error(&error);
        }
        let mut shutdown = context.shutdown.clone();
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = shutdown.requested() => return Ok(exit::INTERRUPTED),
        }
    }
}

async fn once(
    args: &RefreshArgs,
    context: &Context,
    project: &Project,
    run_id: &str,
) -> Result<ViewsSummary> {
    let looked = async {
        let (place, ledger) = Place::work(project, APPLICATION).await?;
        let rules = place.rules(project).await?;
        let (outlook, plan) = look(args, &rules, &place).await?;
        require_loaded(args, &place, (&outlook, &plan)).await?;
        Ok((place, ledger, rules, (outlook, plan)))
    };
    let (place, ledger, rules, (outlook, plan)) = Box::pin(stoppable(context, looked)).await?;
    notices(context, &rules, &outlook);
    let (events, receiver) = event::channel();
    let reporter = Reporter::start(&context.output, receiver, Some(context.shutdown.clone()));
    let refresher = refresher(args, context, (rules, &place, ledger), events.clone(), run_id);
    let cleared = stoppable(context, refresher.clear_leftovers(&place.session)).await;
    if let Ok(removed) = &cleared {
        for schema in removed {
            let message = format!("removed {schema}, which a run that died had left");
            events.send(Event::Notice { message });
        }
    }
    place.session.close().await;
    let mut summary = match cleared {
        Ok(_) => Box::pin(refresher.run(&outlook, plan)).await,
        Err(error) => Err(error),
    };
    if let Ok(summary) = &mut summary {
        let is_left = !summary.failed.is_empty() || summary.not_started > 0;
        // Who watches tries again by itself.
        summary.retry_command =
            (is_left && args.watch.is_none()).then(|| again(args, summary.not_started > 0));
        events.send(Event::ViewsFinished(summary.clone()));
    }
    drop((events, refresher));
    reporter.finish().await;
    summary
}

fn refresher(
    args: &RefreshArgs,
    context: &Context,
    (rules, place, ledger): (ViewRules, &Place, Ledger),
    events: event::Events,
    run_id: &str,
) -> Refresher {
    let cap = place.spec.max_connections.unwrap_or(usize::MAX).saturating_sub(usize::from(args.consistent));
    Refresher {
        spec: place.spec.clone(),
        ledger,
        owner: workshop::owner(run_id),
        events,
        shutdown: context.shutdown.clone(),
        rules,
        settings: Settings {
            jobs: args.jobs.min(cap).max(1),
            strategy: args.strategy.map(Into::into),
            force: args.force,
            if_older_than: args.if_older_than,
            consistent: args.consistent,
            fail_fast: args.fail_fast,
            max_runtime: args.max_runtime,
            show_values: context.global.show_values,
            ..Settings::default()
        },
    }
}

async fn look(args: &RefreshArgs, rules: &ViewRules, place: &Place) -> Result<(Outlook, Vec<Planned>)> {
    if args.consistent && args.strategy == Some(StrategyArg::Concurrent) {
        let context = "a concurrent refresh cannot show the one snapshot of --consistent";
        return Err(Error::new(ErrorKind::Usage, context).with_hint("--strategy plain or swap"));
    }
    let mut outlook = Outlook::read(&place.session, place.ledger.as_ref(), rules).await?;
    let scope = match (&args.names[..], &args.after_load[..]) {
        ([], []) => Scope::All,
        ([], tables) => Scope::Loaded(loaded(place, tables).await?, None),
        (names, _) => {
            Scope::Named { names: names.to_vec(), upstream: args.upstream, downstream: args.downstream }
        }
    };
    let trust = if args.names.is_empty() { Trust::Settled } else { Trust::Proven };
    let request = Request { scope, force: args.force, if_older_than: args.if_older_than, trust };
    let ledger = place.ledger.as_ref();
    refresh::settle(&place.session, ledger, &mut outlook, (rules, &request)).await?;
    let plan = refresh::plan(&outlook, rules, &request, outlook.at)?;
    Ok((outlook, plan))
}

/// The OIDs of tables, with their partitions.
async fn loaded(place: &Place, tables: &[TableName]) -> Result<Vec<u32>> {
    let mut oids = Vec::new();
    for table in tables {
        let schema = table.schema.clone().unwrap_or_else(|| "public".to_owned());
        let name = ident::quote_table(&TableName::new(schema, &table.table));
        let sql = "select pg_catalog.to_regclass($1)::pg_catalog.oid";
        let row = place.session.query_one("looking for a table", sql, &[&name]).await?;
        let Some(oid) = row.get::<_, Option<u32>>(0) else {
            let context = format!("there is no table {table} on {}", place.spec.name);
            return Err(Error::new(ErrorKind::Usage, context).with_hint("name it with its schema"));
        };
        oids.extend(catalog::family(&place.session, oid).await?);
    }
    Ok(oids)
}

fn notices(context: &Context, rules: &ViewRules, outlook: &Outlook) {
    for (view, read) in &outlook.catalog.unknown_names {
        context.output.notice(&format!("{view}: depends_on names {read}, which does not exist"));
    }
    let names: Vec<TableName> = outlook.catalog.views.values().map(|view| view.name.clone()).collect();
    for pattern in rules.unused(&names) {
        context.output.notice(&format!("[views.\"{pattern}\"] fits no materialized view"));
    }
}

/// Stops while a table that these views read, at any distance, is not loaded for the day.
async fn require_loaded(
    args: &RefreshArgs,
    place: &Place,
    (outlook, plan): (&Outlook, &[Planned]),
) -> Result<()> {
    let (Some(date), Some(ledger)) = (args.require_loaded, &place.ledger) else { return Ok(()) };
    let graph = &outlook.catalog.graph;
    let views: BTreeSet<u32> = plan.iter().map(|view| view.oid).collect();
    let below = graph.ancestors(&views);
    let mut tables = BTreeSet::new();
    for oid in views.union(&below).flat_map(|view| graph.sources_of(*view)) {
        tables.extend(catalog::family(&place.session, oid).await?);
    }
    let tables: Vec<u32> = tables.into_iter().collect();
    let (known, lacking) = ledger.tables_without_day(&place.session, &tables, date).await?;
    if known > 0 && lacking.is_empty() {
        return Ok(());
    }
    let error = Error::new(ErrorKind::NotComplete, format!("{date} is not loaded, so nothing was refreshed"));
    if known == 0 {
        return Err(error.with_detail("no table that these views read was loaded by days yet"));
    }
    let line = |(table, job, newest): (String, String, Option<String>)| match newest {
        Some(newest) => format!("{table}: job {job} has loaded up to {newest}"),
        None => format!("{table}: job {job} has loaded nothing"),
    };
    let hint = format!("pgtide run {} --date {date}", lacking[0].1);
    Err(lacking.into_iter().map(line).fold(error, Error::with_detail).with_hint(hint))
}

async fn dry_run(args: &RefreshArgs, context: &Context, project: &Project) -> Result<u8> {
    let place = Place::look(project, APPLICATION).await?;
    let rules = &place.rules(project).await?;
    let (outlook, plan) = look(args, rules, &place).await?;
    notices(context, rules, &outlook);
    let wanted = plan.iter().filter(|view| view.step == Step::Refresh);
    let oids: Vec<u32> = wanted.map(|view| view.oid).collect();
    let asked = (&oids[..], args.strategy.map(Into::into));
    let mut choices = refresh::previews(&place.session, &outlook, rules, asked).await?;
    let line = |view: Planned| {
        let choice = choices.remove(&view.oid);
        (view, choice)
    };
    let lines: Vec<_> = plan.into_iter().map(line).collect();
    let output = &context.output;
    match output.format {
        Format::Text => output.print(&shown::plan_text(&lines, output.out)),
        Format::Json => lines.iter().for_each(|line| output.print(&format!("{}\n", shown::plan_json(line)))),
    }
    let wanted = lines.iter().any(|(view, _)| view.step == Step::Refresh);
    Ok(if wanted { exit::DONE } else { exit::NOTHING_TO_DO })
}

/// The command that takes what is left of a run: what was asked for. What failed is stale without
/// `--force`; what was not started need not be.
fn again(args: &RefreshArgs, is_unfinished: bool) -> String {
    let time = |time: Option<Duration>| time.map(show_duration);
    let strategy = args.strategy.map(|strategy| RefreshMode::from(strategy).word().to_owned());
    let tables: Vec<String> = args.after_load.iter().map(word).collect();
    let flag = |is_set: bool| is_set.then(String::new);
    let options = [
        ("--upstream", flag(args.upstream)),
        ("--downstream", flag(args.downstream)),
        ("--after-load", (!tables.is_empty()).then(|| tables.join(" "))),
        ("--strategy", strategy),
        ("--jobs", (args.jobs != JOBS).then(|| args.jobs.to_string())),
        ("--if-older-than", time(args.if_older_than)),
        ("--require-loaded", args.require_loaded.map(|date| date.to_string())),
        ("--max-runtime", time(args.max_runtime)),
        ("--consistent", flag(args.consistent)),
        ("--fail-fast", flag(args.fail_fast)),
        ("--force", flag(args.force && is_unfinished)),
    ];
    let options = options.into_iter().filter_map(|(name, value)| Some(format!("{name} {}", value?)));
    let words = args.names.iter().map(word).chain(options);
    words.fold("pgtide views refresh".to_owned(), |text, word| format!("{text} {}", word.trim_end()))
}

/// A name as a shell takes it.
fn word(name: &TableName) -> String {
    let text = name.to_string();
    let is_plain = text.chars().all(|c| c.is_alphanumeric() || "._-".contains(c));
    if is_plain { text } else { format!("'{}'", text.replace('\'', "'\\''")) }
}

/// As [`exit::of_runs`] has it for intervals.
fn code(run: &ViewsSummary) -> u8 {
    let mut codes = run.failed.iter().map(|(_, failure)| failure.exit_code);
    match codes.next() {
        _ if run.interrupted => exit::INTERRUPTED,
        None if run.not_started > 0 => exit::TEMPORARY,
        None if run.refreshed > 0 => exit::DONE,
        None => exit::NOTHING_TO_DO,
        Some(first) if (run.refreshed == 0 || first == exit::TEMPORARY) && codes.all(|c| c == first) => first,
        Some(_) => exit::FAILED,
    }
}
