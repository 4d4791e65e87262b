//! What the server says of files and views: each finding a line with what to do about it.

use crate::cli::views::place::Place;
use crate::config::project::Project;
use crate::error::Result;
use crate::name::TableName;
use crate::report::checklist::{Level, Line};
use crate::report::number::counted;
use crate::views::diff::{Class, Step};
use crate::views::files::Folder;
use crate::views::inspect::{self, NullKey, Restless, Tried, Unreadable, Unrest};
use crate::views::options::RefreshMode;
use crate::views::outlook::Outlook;
use crate::views::survey::{self, Asked, Plan};
use crate::views::{apply, refresh, swap};

/// A database that is looked at.
struct Look<'a> {
    project: &'a Project,
    place: &'a Place,
    plan: &'a Plan,
    outlook: &'a Outlook,
}

/// Adds what the server says.
pub(super) async fn check(project: &Project, folder: &mut Folder, lines: &mut Vec<Line>) -> Result<()> {
    let place = Place::look(project, "pgtide/views check").await?;
    let (session, ledger) = (&place.session, place.ledger.as_ref());
    let plan = survey::plan(session, ledger, folder, &Asked::default()).await?;
    lines.extend(plan.steps.iter().filter(|step| step.class != Class::Unchanged).map(of_step));
    let outlook = Outlook::read(session, ledger, project.view_rules()).await?;
    let look = Look { project, place: &place, plan: &plan, outlook: &outlook };
    lines.extend(rules(project, folder, &outlook));
    lines.extend(look.ways().await?);
    lines.extend(look.rights().await?);
    lines.extend(look.functions().await?);
    lines.extend(look.keys().await?);
    lines.extend(look.leftovers().await?);
    Ok(())
}

/// A difference between a file and what is live.
fn of_step(step: &Step) -> Line {
    let name = step.name.to_string();
    let line = match step.class {
        Class::Failed | Class::Blocked => Line::new(Level::Finding, &name, step.cause.clone()),
        Class::Drift => Line::new(Level::Finding, &name, format!("drift: {}", step.cause)).with_hint(format!(
            "pgtide views apply --revert {name} applies the file over it; --accept {name} keeps what is live"
        )),
        class => {
            let hint = match class {
                Class::Orphan => format!(
                    "pgtide views drop {name} drops it; views drop --forget {name} leaves it to others"
                ),
                _ => "pgtide views plan shows it, views apply does it".to_owned(),
            };
            Line::new(Level::Note, &name, format!("{}: {}", class.word(), step.cause)).with_hint(hint)
        }
    };
    Line { details: step.details.clone(), ..line }
}

/// Rules that are about nothing, names that nothing has, and views that read each other.
pub(in crate::cli) fn rules(project: &Project, folder: &Folder, outlook: &Outlook) -> Vec<Line> {
    let mut lines = Vec::new();
    let live = outlook.catalog.views.values().map(|view| view.name.clone());
    let known: Vec<TableName> =
        live.chain(folder.definitions().map(|(_, object)| object.name.clone())).collect();
    for pattern in project.view_rules().unused(&known) {
        let what = format!("[views.\"{pattern}\"] fits no materialized view, and no file makes one");
        lines.push(
            Line::new(Level::Finding, "rules", what)
                .with_hint("names have their schema; `*` stands for any characters"),
        );
    }
    let is_made = |read: &TableName| folder.definitions().any(|(_, object)| object.name == *read);
    for (view, read) in outlook.catalog.unknown_names.iter().filter(|(_, read)| !is_made(read)) {
        let what = format!("depends_on names {read}, which does not exist");
        let hint = "names have their schema; take it out, or the view's state misses what it reads";
        lines.push(Line::new(Level::Finding, view.to_string(), what).with_hint(hint));
    }
    for cycle in outlook.catalog.graph.cycles() {
        let path: Vec<String> = cycle.iter().map(|oid| outlook.name(*oid)).collect();
        let what = format!("these read each other: {}", path.join(" -> "));
        let hint = "create or replace one of the views between so that nothing reads itself";
        lines.push(Line::new(Level::Finding, path[0].clone(), what).with_hint(hint));
    }
    lines
}

impl Look<'_> {
    fn asked(&self, view: u32) -> RefreshMode {
        self.outlook.options(view, self.project.view_rules()).refresh.unwrap_or_default()
    }

    /// Ways of refreshing that are asked for and not possible, and views that another role refreshes.
    async fn ways(&self) -> Result<Vec<Line>> {
        let session = &self.place.session;
        let oids: Vec<u32> = self.outlook.catalog.views.keys().copied().collect();
        let asked = (&oids[..], None);
        let choices = refresh::previews(session, self.outlook, self.project.view_rules(), asked).await?;
        let impossible = choices.into_iter().filter_map(|(oid, choice)| Some((oid, choice.err()?)));
        let mut lines: Vec<Line> =
            impossible.map(|(oid, error)| Line::of_error(self.outlook.name(oid), &error)).collect();
        let role = &session.server().role;
        for (oid, owner) in inspect::not_refreshable(session).await? {
            if self.outlook.catalog.views.contains_key(&oid) && self.asked(oid) != RefreshMode::Never {
                let name = self.outlook.name(oid);
                let what = format!(
                    "only {owner}, who owns it, may refresh it, and {role} is no member of that role"
                );
                let hint = format!("grant {owner} to {role}; or [views.\"{name}\"] refresh = \"never\"");
                lines.push(Line::new(Level::Finding, name, what).with_hint(hint));
            }
        }
        Ok(lines)
    }

    /// What owners may not read, of what is there and of what the files would make.
    async fn rights(&self) -> Result<Vec<Line>> {
        let is_built = |view: &u32| {
            let name = &self.outlook.catalog.views[view].name;
            self.plan.step(name).is_some_and(|step| step.class.is_built())
        };
        let views: Vec<u32> =
            self.outlook.catalog.views.keys().copied().filter(|view| !is_built(view)).collect();
        let live = inspect::unreadable(&self.place.session, &views, &Tried::default()).await?;
        let live = live.into_iter().map(|one| (self.outlook.name(one.view), one));
        let of_file = self
            .plan
            .unreadable
            .iter()
            .filter(|(name, _)| self.plan.step(name).is_some_and(|step| step.class.is_built()));
        let of_file = of_file.map(|(name, one)| (name.to_string(), one.clone()));
        Ok(live.chain(of_file).map(|(name, one)| of_right(name, &one)).collect())
    }

    /// Functions that a refresh may not find, or whose rows nobody can foresee.
    async fn functions(&self) -> Result<Vec<Line>> {
        let session = &self.place.session;
        let mut lines = Vec::new();
        for (view, function) in inspect::without_path(session).await? {
            let what = format!(
                "reads through {function}, which has no search_path of its own: from PostgreSQL 17 on a refresh may not find what it names"
            );
            let hint = format!("alter function {function} set search_path = ...");
            lines.extend(self.line(view, Level::Note, what, hint));
        }
        for one in inspect::restless(session).await? {
            let options = self.outlook.options(one.view, self.project.view_rules());
            let is_timed = options.max_age.is_some() || options.schedule.is_some() || options.every.is_some();
            if one.kind != Unrest::Clock || !is_timed {
                let (what, hint) = of_unrest(&one);
                lines.extend(self.line(one.view, Level::Note, what, hint));
            }
        }
        Ok(lines)
    }

    async fn keys(&self) -> Result<Vec<Line>> {
        let keys = inspect::null_keys(&self.place.session).await?;
        Ok(keys.iter().filter_map(|key| self.key(key)).collect())
    }

    fn key(&self, key: &NullKey) -> Option<Line> {
        let (index, columns) = (&key.index, key.columns.join(", "));
        let is_asked = self.asked(key.view) == RefreshMode::Concurrent;
        match &key.rows {
            Some(Ok(rows)) => {
                let level = if is_asked { Level::Finding } else { Level::Note };
                let rows = counted(*rows, "row");
                let what = format!(
                    "{rows} with a NULL in the key ({columns}) of {index}: each concurrent refresh writes them again"
                );
                let hint = if is_asked {
                    "coalesce the columns in the query, or `refresh: swap`"
                } else {
                    "coalesce the columns in the query; until then `auto` swaps where it can"
                };
                self.line(key.view, level, what, hint)
            }
            Some(Err(error)) => {
                let what = format!(
                    "whether the key ({columns}) of {index} has NULLs is not known: {}",
                    error.chain()
                );
                self.line(
                    key.view,
                    Level::Note,
                    what,
                    "count them at a quiet time: a concurrent refresh writes such rows again",
                )
            }
            None => self.line(
                key.view,
                Level::Note,
                format!(
                    "whether the key ({columns}) of {index} has NULLs was not counted: a minute was over"
                ),
                "count them at a quiet time: a concurrent refresh writes such rows again",
            ),
        }
    }

    /// What runs that died have left.
    async fn leftovers(&self) -> Result<Vec<Line>> {
        let session = &self.place.session;
        let mut lines = Vec::new();
        if let Some(ledger) = &self.place.ledger {
            for schema in apply::leftovers(session, ledger).await? {
                let what =
                    format!("schema {schema} was left by an apply that was interrupted, or one runs now");
                lines.push(
                    Line::new(Level::Note, "database", what).with_hint("the next views apply removes it"),
                );
            }
        }
        for (schema, view) in swap::leftovers(session).await? {
            if !self.outlook.catalog.views.get(&view).is_some_and(|view| view.is_locked) {
                let what = format!("schema {schema} was left by a refresh that was interrupted");
                lines.push(
                    Line::new(Level::Note, "database", what).with_hint("the next views refresh removes it"),
                );
            }
        }
        for step in &self.plan.steps {
            for index in step.live.iter().flat_map(|live| &live.invalid_indexes) {
                let schema = step.name.schema.as_deref().unwrap_or_default();
                let what = format!(
                    "index {index} was left half-made by a `create index concurrently`: it costs writes and serves no query"
                );
                let hint = format!("drop index concurrently {schema}.{index};");
                lines.push(Line::new(Level::Note, step.name.to_string(), what).with_hint(hint));
            }
        }
        Ok(lines)
    }

    /// A line about a view that is looked after; none for what is being built just now.
    fn line(&self, view: u32, level: Level, what: String, hint: impl Into<String>) -> Option<Line> {
        let name = self.outlook.catalog.views.get(&view)?.name.to_string();
        Some(Line::new(level, name, what).with_hint(hint))
    }
}

fn of_right(view: String, one: &Unreadable) -> Line {
    let (role, target) = (&one.role, &one.target);
    let verb = if one.is_function { "call" } else { "read" };
    let what = match (&one.via, one.is_owner) {
        (None, _) => format!("its owner {role}, as whom it is refreshed, may not {verb} {target}"),
        (Some(via), true) => {
            format!("its owner {role}, as whom it is refreshed, may not {verb} {target}, which {via} names")
        }
        (Some(via), false) => {
            format!("reads {via}, whose owner {role} may not {verb} {target}: a refresh fails")
        }
    };
    let grant = match one.is_function {
        true => format!("grant execute on function {target} to {};", one.sql_role),
        false => format!("grant select on {target} to {};", one.sql_role),
    };
    Line::new(Level::Finding, view, what).with_hint(grant)
}

/// What it means, and what to do.
fn of_unrest(one: &Restless) -> (String, String) {
    let what = match &one.via {
        Some(via) => format!("{} in {via}", one.what),
        None => one.what.clone(),
    };
    match one.kind {
        Unrest::Clock => (
            format!(
                "tells the time ({what}): what it shows depends on when it is refreshed, and nothing tells that it is stale"
            ),
            "`max_age`, or a `schedule`, says how old it may get".to_owned(),
        ),
        Unrest::Role => (
            format!("names the role ({what}), which in a refresh is its owner, whoever reads it"),
            "ask for the role in an ordinary view above it".to_owned(),
        ),
        Unrest::Volatile if one.is_system => (
            format!(
                "calls {what}, which is volatile: each refresh gives other rows, so a concurrent one writes all of them and nothing above stays fresh"
            ),
            "take it out of the query, or into an ordinary view above it".to_owned(),
        ),
        Unrest::Volatile => (
            format!("calls {what}, which is declared volatile: its rows may differ though nothing changed"),
            format!("if it only reads: alter function {} stable;", one.what),
        ),
    }
}
