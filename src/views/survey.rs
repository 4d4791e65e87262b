//! The plan: files, catalog and ledger read, each object decided, units made. Nothing is changed.
//!
//! When everything is as it was applied, nothing is tried either: then a plan is a few catalog queries.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::diff::{self, Class, Known, Step, Wishes};
use super::facts::{self, Dependent, Facts, Named};
use super::files::{Content, Folder};
use super::inspect::Unreadable;
use super::statement::ObjectKind;
use super::trial::{self, Trial};
use super::units::{self, Edges, Unit};
use crate::error::{Error, ErrorKind, Result};
use crate::ledger::{Ledger, ViewObject};
use crate::name::TableName;
use crate::postgres::connect::Session;

/// Why a drop is blocked.
pub const STANDS_ON_IT: &str = "but something stands on it";

/// What is to be done, and in which order.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    /// Objects, by name; unchanged ones too.
    pub steps: Vec<Step>,
    /// What is built and changed in place, in order.
    pub units: Vec<Unit>,
    /// Who stands on whom.
    pub edges: Edges,
    /// What views of the files would read and their owners may not.
    pub unreadable: Vec<(TableName, Unreadable)>,
    /// How long materialized views took to build, in milliseconds.
    pub build_ms: BTreeMap<String, i64>,
}

impl Plan {
    /// A step by its name.
    #[must_use]
    pub fn step(&self, name: &TableName) -> Option<&Step> {
        self.steps.iter().find(|step| step.name == *name)
    }

    /// Steps of some class.
    pub fn of(&self, is: impl Fn(Class) -> bool) -> impl Iterator<Item = &Step> {
        self.steps.iter().filter(move |step| is(step.class))
    }
}

/// What is asked for beside the files.
#[derive(Debug, Clone, Default)]
pub struct Asked {
    /// About single objects.
    pub wishes: Wishes,
    /// Drop what was applied and has no file any more.
    pub prune: bool,
}

impl Asked {
    /// Gives names their schema; refuses those that no file creates.
    fn checked(mut self, folder: &Folder, schema: &str) -> Result<Self> {
        for name in self.wishes.accept.iter_mut().chain(&mut self.wishes.revert) {
            name.schema.get_or_insert_with(|| schema.to_owned());
            if !folder.definitions().any(|(_, object)| object.name == *name) {
                let what = format!("--accept and --revert are about views of files, and none creates {name}");
                return Err(Error::new(ErrorKind::Usage, what).with_hint("pgtide views plan -v lists them"));
            }
        }
        Ok(self)
    }
}

/// Makes the plan. Names without a schema get one in `folder`.
///
/// # Errors
/// The server's; `Usage` for a wish about what no file creates.
pub async fn plan(
    session: &Session,
    ledger: Option<&Ledger>,
    folder: &mut Folder,
    asked: &Asked,
) -> Result<Plan> {
    let schema = trial::default_schema(session).await?;
    folder.resolve(&schema);
    let asked = &asked.clone().checked(folder, &schema)?;
    let stored = match ledger {
        Some(ledger) => ledger.view_objects(session).await?,
        None => Vec::new(),
    };
    let catalog = Catalog::read(session, folder, &stored).await?;
    let mut trial = if catalog.is_as_applied(folder) && asked.wishes.accept.is_empty() {
        catalog.as_trial(folder)
    } else {
        trial::run(session, folder).await?
    };
    let mut steps: Vec<Step> = Vec::new();
    for (file, object) in folder.definitions() {
        let name = &object.name;
        let tried = trial.objects.get(name);
        let live = catalog.live(name, object.kind, tried);
        let Some(tried) = tried.map(Ok).or_else(|| trial.failed.get(name).map(Err)) else { continue };
        let stored = catalog.stored.get(name);
        let known = Known {
            file,
            object,
            tried,
            live,
            obstacle: catalog.obstacle(name, object.kind),
            stored,
            renamed: stored.and_then(|stored| catalog.renamed(stored)),
            server_version: session.server().version_num,
        };
        steps.push(diff::step(&known, &asked.wishes));
    }
    steps.extend(gone(folder, &catalog, asked));
    steps.sort_by(|one, other| one.name.cmp(&other.name));
    let edges = edges(session, &steps, &trial).await?;
    let units = units::arrange(&mut steps, &edges);
    hold_drops(&mut steps, &edges);
    let build_ms = match ledger {
        Some(ledger) => ledger.view_build_times(session).await?.into_iter().collect(),
        None => BTreeMap::new(),
    };
    let unreadable = std::mem::take(&mut trial.unreadable);
    Ok(Plan { steps, units, edges, unreadable, build_ms })
}

/// What is live and what was applied, by name.
struct Catalog {
    named: BTreeMap<TableName, Vec<Named>>,
    facts: HashMap<u32, Facts>,
    stored: BTreeMap<TableName, ViewObject>,
}

impl Catalog {
    async fn read(session: &Session, folder: &Folder, stored: &[ViewObject]) -> Result<Self> {
        let stored: BTreeMap<TableName, ViewObject> =
            stored.iter().filter_map(|object| Some((object.name.parse().ok()?, object.clone()))).collect();
        let mut names: BTreeSet<TableName> = stored.keys().cloned().collect();
        for file in &folder.files {
            match &file.content {
                Content::Object(object) => drop(names.insert(object.name.clone())),
                Content::Tombstone(gone) => names.extend(gone.iter().map(|(_, name)| name.clone())),
            }
        }
        let names: Vec<_> = names.into_iter().collect();
        let mut named: BTreeMap<TableName, Vec<Named>> = BTreeMap::new();
        for one in facts::named(session, &names).await? {
            named.entry(one.name.clone()).or_default().push(one);
        }
        let mut oids: BTreeSet<u32> = named.values().flatten().map(|one| one.oid).collect();
        oids.extend(stored.values().map(|object| object.oid));
        let facts = facts::read(session, &oids.into_iter().collect::<Vec<_>>()).await?;
        Ok(Self { named, facts, stored })
    }

    /// The live object of a name: a view of any kind, or a function with the same arguments.
    fn live(&self, name: &TableName, kind: ObjectKind, tried: Option<&Facts>) -> Option<&Facts> {
        let is_function = kind == ObjectKind::Function;
        let found: Vec<_> = self.named.get(name)?.iter().filter_map(|one| self.facts.get(&one.oid)).collect();
        let mut of_kind =
            found.into_iter().filter(|facts| (facts.kind == ObjectKind::Function) == is_function);
        match tried.filter(|_| is_function) {
            Some(tried) => of_kind.find(|facts| facts.arguments == tried.arguments),
            None => of_kind.next(),
        }
    }

    fn obstacle(&self, name: &TableName, kind: ObjectKind) -> Option<&str> {
        let found = self.named.get(name)?;
        let is_view = |one: &&Named| ObjectKind::of_sql(&one.kind).is_none();
        found.iter().find(is_view).filter(|_| kind != ObjectKind::Function).map(|one| one.kind.as_str())
    }

    /// The name that an applied object has now, if it has another.
    fn renamed(&self, stored: &ViewObject) -> Option<&TableName> {
        let now = self.facts.get(&stored.oid)?;
        (now.name.to_string() != stored.name).then_some(&now.name)
    }

    /// Whether every file and everything live is as it was applied.
    fn is_as_applied(&self, folder: &Folder) -> bool {
        folder.definitions().all(|(file, object)| {
            let Some(stored) = self.stored.get(&object.name) else { return false };
            let Some(live) = self.facts.get(&stored.oid) else { return false };
            live.name == object.name
                && stored.error.is_none()
                && stored.checksum_expanded == file.checksum_expanded
                && stored.definition_hash == live.definition_hash()
                && stored.properties_hash == live.properties_hash()
        })
    }

    /// What a trial would find when all is as it was applied.
    fn as_trial(&self, folder: &Folder) -> Trial {
        let live =
            |name: &TableName| Some((name.clone(), self.facts.get(&self.stored.get(name)?.oid)?.clone()));
        let objects = folder.definitions().filter_map(|(_, object)| live(&object.name)).collect();
        Trial { objects, ..Trial::default() }
    }
}

/// Objects that are to be gone, or whose file is.
fn gone(folder: &Folder, catalog: &Catalog, asked: &Asked) -> Vec<Step> {
    let mut steps = Vec::new();
    let held: BTreeSet<_> = folder.definitions().map(|(_, object)| object.name.clone()).collect();
    for file in &folder.files {
        let Content::Tombstone(names) = &file.content else { continue };
        for (kind, name) in names.iter().filter(|(_, name)| !held.contains(name)) {
            if let Some(live) = catalog.live(name, *kind, None) {
                let cause = format!("{} drops it and creates nothing", file.path);
                steps.push(removal(Class::Drop, live, cause, Some(file.path.clone())));
            }
        }
    }
    let wrong: BTreeSet<_> = folder
        .findings
        .iter()
        .filter_map(|finding| finding.place.as_ref())
        .map(|place| place.file.as_str())
        .collect();
    for (name, stored) in &catalog.stored {
        let is_read = wrong.contains(stored.file.as_str());
        // What never could be made is not missed.
        let is_made = stored.oid != 0;
        if !is_made || held.contains(name) || is_read || steps.iter().any(|step| step.name == *name) {
            continue;
        }
        let class = if asked.prune { Class::Drop } else { Class::Orphan };
        let cause = format!("its file {} is gone", stored.file);
        match catalog.facts.get(&stored.oid) {
            Some(live) => steps.push(removal(class, live, cause, None)),
            None => steps.push(forgotten(name, stored, cause, class)),
        }
    }
    steps
}

fn removal(class: Class, live: &Facts, cause: String, file: Option<String>) -> Step {
    Step {
        name: live.name.clone(),
        kind: live.kind,
        class,
        cause,
        details: Vec::new(),
        file,
        live: Some(live.clone()),
        want: None,
        changes: Vec::new(),
        sqlstate: None,
        unit: None,
    }
}

/// One that is gone itself: only the ledger still knows it.
fn forgotten(name: &TableName, stored: &ViewObject, cause: String, class: Class) -> Step {
    Step {
        name: name.clone(),
        kind: ObjectKind::of_sql(&stored.kind).unwrap_or(ObjectKind::View),
        class,
        cause: format!("{cause}, and so is it"),
        details: Vec::new(),
        file: None,
        live: None,
        want: None,
        changes: Vec::new(),
        sqlstate: None,
        unit: None,
    }
}

/// Who stands on whom.
async fn edges(session: &Session, steps: &[Step], trial: &Trial) -> Result<Edges> {
    let mut edges = Edges { reads: trial.reads.clone(), ..Edges::default() };
    if steps.iter().all(|step| step.class == Class::Unchanged) {
        return Ok(edges);
    }
    let by_oid: HashMap<u32, &TableName> =
        steps.iter().filter_map(|step| Some((step.live.as_ref()?.oid, &step.name))).collect();
    let oids: Vec<u32> = by_oid.keys().copied().collect();
    for Dependent { target, oid, described } in facts::dependents(session, &oids).await? {
        let Some(target) = by_oid.get(&target) else { continue };
        match by_oid.get(&oid) {
            Some(reader) => drop(edges.live.entry((*reader).clone()).or_default().insert((*target).clone())),
            None => edges.unknown.entry((*target).clone()).or_default().push(described),
        }
    }
    Ok(edges)
}

/// Blocks drops of what something stands on that stays.
fn hold_drops(steps: &mut [Step], edges: &Edges) {
    loop {
        let leaves: BTreeSet<_> = steps
            .iter()
            .filter(|step| step.class == Class::Drop || step.class.is_built() || step.class.is_in_place())
            .map(|step| step.name.clone())
            .collect();
        let mut held = Vec::new();
        for step in steps.iter().filter(|step| step.class == Class::Drop) {
            let readers =
                edges.live.iter().filter(|(_, reads)| reads.contains(&step.name)).map(|(reader, _)| reader);
            let stay: Vec<_> =
                readers.filter(|reader| !leaves.contains(*reader)).map(ToString::to_string).collect();
            let all: Vec<_> =
                edges.unknown.get(&step.name).into_iter().flatten().cloned().chain(stay).collect();
            if !all.is_empty() {
                held.push((step.name.clone(), all));
            }
        }
        if held.is_empty() {
            return;
        }
        for (name, readers) in held {
            for step in steps.iter_mut().filter(|step| step.name == name) {
                step.class = Class::Blocked;
                step.cause = format!("{}; {STANDS_ON_IT}", step.cause);
                step.details = readers.clone();
            }
        }
    }
}
