//! Goes through all columns of both sides and decides on each; collects every finding.

use std::collections::HashSet;

use super::finding::{Finding, Remedy, shown};
use super::fit::{Fit, fit};
use super::{ColumnPlan, Decision, Expression, Options, plain_finding};
use crate::config::job::OnSchemaChange;
use crate::name::MAX_NAME_BYTES;
use crate::postgres::catalog::{Column, DataType, Identity, Provider, TypeKind};
use crate::postgres::ident::{literal, quote};

/// Decides on all columns.
///
/// A source and a destination without any columns are fine: rows are still counted.
///
/// # Errors
/// Every finding, if there is any.
pub fn decide(
    source: &[Column],
    target: &[Column],
    options: &Options<'_>,
) -> Result<ColumnPlan, Vec<Finding>> {
    let mut work = Work { source, target, options, plan: ColumnPlan::default(), findings: Vec::new() };
    work.check_names();
    let mut only_in_source = Vec::new();
    for name in work.wanted() {
        work.decide_column(&name, &mut only_in_source);
    }
    work.note_source_columns(&only_in_source);
    work.check_left_out();
    if work.findings.is_empty() {
        let identities = work.identities();
        work.plan.notices.extend(identities);
        Ok(work.plan)
    } else {
        Err(work.findings)
    }
}

struct Work<'a> {
    source: &'a [Column],
    target: &'a [Column],
    options: &'a Options<'a>,
    plan: ColumnPlan,
    findings: Vec<Finding>,
}

fn find<'a>(columns: &'a [Column], name: &str) -> Option<&'a Column> {
    columns.iter().find(|c| c.name == name)
}

/// The nearest of the names, for a typo or another case.
fn nearest<'a>(wanted: &str, columns: &'a [Column]) -> Option<&'a str> {
    let distance = |name: &str| strsim::damerau_levenshtein(&name.to_lowercase(), &wanted.to_lowercase());
    let near = columns.iter().map(|c| (distance(&c.name), c.name.as_str())).min();
    near.filter(|(distance, _)| *distance <= 1 + wanted.chars().count() / 5).map(|(_, name)| name)
}

impl<'a> Work<'a> {
    fn is_listed(&self, name: &str) -> bool {
        self.options.columns.is_none_or(|columns| columns.iter().any(|c| c == name))
    }

    /// The job's names must exist, be unique, and be names that Postgres can keep.
    fn check_names(&mut self) {
        let mut seen = HashSet::new();
        for column in self.source {
            if !seen.insert(&column.name) {
                self.finding(&column.name, "the source has two columns of this name");
            }
        }
        let mut seen = HashSet::new();
        let listed = self.options.columns.unwrap_or_default();
        for name in listed.iter().chain(self.options.cast.keys()) {
            if name.len() > MAX_NAME_BYTES {
                self.finding(name, &format!("has {} bytes, Postgres keeps {MAX_NAME_BYTES}", name.len()));
            }
        }
        for name in listed {
            if !seen.insert(name) {
                self.finding(name, "is listed twice in `columns`");
            }
            if find(self.source, name).is_none() && !self.options.cast.contains_key(name) {
                self.unknown(name, "`columns` names it, the source does not have it", self.source);
            }
        }
        for name in self.options.cast.keys() {
            if find(self.target, name).is_none() {
                self.unknown(name, "`cast` names it, the destination does not have it", self.target);
            }
        }
    }

    fn finding(&mut self, column: &str, problem: &str) {
        let finding = plain_finding(column, problem);
        if !self.findings.contains(&finding) {
            self.findings.push(finding);
        }
    }

    fn unknown(&mut self, name: &str, problem: &str, among: &[Column]) {
        let mut finding = plain_finding(name, problem);
        finding.remedy.advice = nearest(name, among).map(|near| format!("did you mean {near}?"));
        self.findings.push(finding);
    }

    /// What to copy: the listed columns, else the source's in their order; then the job's own SQL.
    fn wanted(&self) -> Vec<String> {
        let mut names: Vec<String> = match self.options.columns {
            Some(listed) => listed.to_vec(),
            None => self.source.iter().map(|c| c.name.clone()).collect(),
        };
        let own = self.options.cast.keys().filter(|name| self.is_listed(name));
        names.extend(own.cloned());
        let mut seen = HashSet::new();
        names.retain(|name| seen.insert(name.clone()));
        names
    }

    fn decide_column(&mut self, name: &str, only_in_source: &mut Vec<&'a Column>) {
        let (source, target) = (find(self.source, name), find(self.target, name));
        let custom = self.options.cast.get(name);
        match (source, target) {
            (_, Some(target)) if target.generated => {
                self.plan.notices.push(format!("{name} is left out: the destination computes it"));
            }
            (_, Some(target)) if custom.is_some() => self.plan.columns.push(Decision {
                column: name.to_owned(),
                expression: Expression::Custom { sql: custom.cloned().unwrap_or_default() },
                source_type: source.map(|c| c.data_type.formatted.clone()),
                target_type: target.data_type.formatted.clone(),
                note: None,
            }),
            (Some(source), Some(target)) => self.decide_pair(source, target),
            (Some(source), None) => only_in_source.push(source),
            // Found by `check_names` already.
            (None, _) => {}
        }
    }

    fn decide_pair(&mut self, source: &Column, target: &Column) {
        let decision = fit(&source.data_type, &target.data_type, &self.options.context());
        let strict = self.options.on_schema_change == OnSchemaChange::Fail;
        let (expression, note) = match decision {
            Fit::Pass(note) => (Expression::PassThrough, note),
            Fit::Convert(..) if strict => {
                return self.refuse(source, target, "on_schema_change = \"fail\" allows no difference");
            }
            Fit::Convert(conversion, note) => {
                (Expression::CastOnSource { sql: conversion.sql(&quote(&source.name)) }, note)
            }
            Fit::Refuse(problem) => return self.refuse(source, target, &problem),
        };
        if let Some(note) = &note {
            self.plan.notices.push(format!("{}: {note}", source.name));
        }
        self.plan.columns.push(Decision {
            column: source.name.clone(),
            expression,
            source_type: Some(source.data_type.formatted.clone()),
            target_type: target.data_type.formatted.clone(),
            note,
        });
    }

    fn refuse(&mut self, source: &Column, target: &Column, problem: &str) {
        let (s, t) = (&source.data_type, &target.data_type);
        let mut remedy = Remedy::for_types(&source.name, s, t, self.options.timezone);
        remedy.advice = advice(source, target);
        self.findings.push(Finding {
            source_type: Some(s.formatted.clone()),
            target_type: Some(t.formatted.clone()),
            remedy,
            ..plain_finding(&source.name, problem)
        });
    }

    /// New source columns: left out with a notice, added, or a failure.
    fn note_source_columns(&mut self, columns: &[&Column]) {
        let listed = self.options.columns.is_some();
        let mut left_out = Vec::new();
        for column in columns {
            match self.options.on_schema_change {
                OnSchemaChange::Add => self.add(column),
                OnSchemaChange::Warn if !listed => left_out.push(shown(&column.name)),
                OnSchemaChange::Warn | OnSchemaChange::Fail => self.missing_in_target(column),
            }
        }
        if !left_out.is_empty() {
            self.plan.notices.push(format!(
                "left out, the destination does not have them: {} (on_schema_change = \"add\" adds them)",
                left_out.join(", ")
            ));
        }
    }

    fn add(&mut self, column: &Column) {
        let added = Column::plain(&column.name, column.data_type.clone());
        self.decide_pair(column, &added);
        self.plan.notices.push(format!("{} is added to the destination", column.name));
        self.plan.added.push(added);
    }

    fn missing_in_target(&mut self, column: &Column) {
        let mut finding = plain_finding(&column.name, "the destination does not have it");
        let formatted = &column.data_type.formatted;
        finding.source_type = Some(formatted.clone());
        finding.remedy.alter = Some(format!("add column {} {formatted}", shown(&column.name)));
        self.findings.push(finding);
    }

    /// Destination columns that get no value: fine with a default or nullable, else a finding.
    fn check_left_out(&mut self) {
        let decided: HashSet<String> = self.plan.columns.iter().map(|d| d.column.clone()).collect();
        let refused: HashSet<String> = self.findings.iter().map(|f| f.column.clone()).collect();
        let strict = self.options.on_schema_change == OnSchemaChange::Fail;
        let mut defaulted = Vec::new();
        for column in self.target {
            let name = &column.name;
            if column.generated || decided.contains(name) || refused.contains(name) {
                continue;
            }
            let asked = self.is_listed(name);
            if !column.can_be_left_out() || (strict && asked) {
                self.missing_in_source(column);
            } else if asked && column.identity.is_none() {
                defaulted.push(shown(name));
            }
        }
        if !defaulted.is_empty() {
            let names = defaulted.join(", ");
            self.plan.notices.push(format!("not in the source, they get their default or NULL: {names}"));
        }
        let empty = self.source.is_empty() && self.target.is_empty();
        if self.plan.columns.is_empty() && self.findings.is_empty() && !empty {
            self.finding("*", "source and destination have no column in common");
        }
    }

    fn missing_in_source(&mut self, column: &Column) {
        let name = &column.name;
        let problem = if column.can_be_left_out() {
            "the source does not have it"
        } else if find(self.source, name).is_some() {
            "is not listed in `columns`, is NOT NULL and has no default"
        } else {
            "the source does not have it; it is NOT NULL without a default"
        };
        let mut finding = plain_finding(name, problem);
        finding.target_type = Some(column.data_type.formatted.clone());
        if !column.can_be_left_out() {
            finding.remedy.needs_value = find(self.source, name).is_none();
        }
        if find(self.source, name).is_none() {
            let near = nearest(name, self.source);
            finding.remedy.advice = near.map(|near| format!("did you mean the source's column {near}?"));
        }
        self.findings.push(finding);
    }

    fn identities(&self) -> Vec<String> {
        let copied = |c: &&Column| self.plan.columns.iter().any(|d| d.column == c.name);
        let always = self.target.iter().filter(|c| c.identity == Some(Identity::Always)).filter(copied);
        always.map(|c| format!("{} is an identity column: the source's values are kept", c.name)).collect()
    }
}

/// What helps beyond another type or a cast.
fn advice(source: &Column, target: &Column) -> Option<String> {
    fn element(data_type: &DataType) -> &DataType {
        match &data_type.unwrapped().kind {
            TypeKind::Array(part) => element(part),
            _ => data_type.unwrapped(),
        }
    }
    let (s, t) = (element(&source.data_type), element(&target.data_type));
    match (&s.kind, &t.kind, &s.provider, &t.provider) {
        (TypeKind::Enum(a), TypeKind::Enum(b), ..) => {
            let missing = a.iter().filter(|label| !b.contains(label));
            let add = |label: &String| format!("alter type {} add value {};", t.formatted, literal(label));
            Some(format!("in the destination: {}", missing.map(add).collect::<Vec<_>>().join(" ")))
        }
        (_, _, Provider::Extension { name, version }, Provider::Extension { version: other, .. })
            if s.name == t.name && version != other =>
        {
            Some(format!("on the older side: alter extension {} update;", shown(name)))
        }
        _ => None,
    }
}
