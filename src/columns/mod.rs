//! Pure: source columns x destination columns -> pass through, cast on the source, or refuse.
//!
//! Rows are never decoded, and binary COPY takes bytes of the right length for any meaning, so this
//! comparison is what makes every value arrive as it was. Columns go together by name. All findings
//! come at once. Called before the first row; [`ColumnPlan::verify`] again with the final query as
//! the server describes it, since only then the types of a job's own SQL are known.

mod decide;
mod finding;
mod fit;
mod typmod;

use std::collections::BTreeMap;

pub use decide::decide;
pub use finding::{Finding, Names, Remedy, into_error};
use fit::{Context, Fit, fit};

use crate::config::job::OnSchemaChange;
use crate::postgres::catalog::Column;
use crate::postgres::ident::quote;

/// What the job and the destination say about columns.
#[derive(Debug, Clone, Copy)]
pub struct Options<'a> {
    /// SQL on the source for a destination column, in place of the column.
    pub cast: &'a BTreeMap<String, String>,
    /// Only these columns, in this order.
    pub columns: Option<&'a [String]>,
    /// What to do with columns that only one side has.
    pub on_schema_change: OnSchemaChange,
    /// The job's time zone, if it gives one: local times become instants only with it.
    pub timezone: Option<&'a str>,
    /// `server_version_num` of the destination.
    pub target_version: i32,
}

/// What is copied, column by column, in the order of the rows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ColumnPlan {
    /// The columns; their order is that of the select list and of COPY's column list.
    pub columns: Vec<Decision>,
    /// Source columns that the destination has to get first.
    pub added: Vec<Column>,
    /// What a person should know, a line each.
    pub notices: Vec<String>,
}

/// What happens with one column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The column in the destination, and on the source unless there is SQL for it.
    pub column: String,
    /// Where its value comes from.
    pub expression: Expression,
    /// Its type on the source; none if the job's SQL makes the column.
    pub source_type: Option<String>,
    /// Its type in the destination.
    pub target_type: String,
    /// What a person should know about it.
    pub note: Option<String>,
}

/// Where a column's value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expression {
    /// The source's column, byte for byte.
    PassThrough,
    /// The source's column, converted there without loss.
    CastOnSource {
        /// The whole expression.
        sql: String,
    },
    /// The job's own SQL.
    Custom {
        /// The whole expression.
        sql: String,
    },
}

/// The list between `select` and `from`: every column under its destination name.
#[must_use]
pub fn select_list(plan: &ColumnPlan) -> String {
    let item = |decision: &Decision| match &decision.expression {
        Expression::PassThrough => quote(&decision.column),
        Expression::CastOnSource { sql } => format!("{sql} as {}", quote(&decision.column)),
        // On lines of its own: the job's SQL may end in a comment.
        Expression::Custom { sql } => format!("(\n{sql}\n) as {}", quote(&decision.column)),
    };
    plan.columns.iter().map(item).collect::<Vec<_>>().join(", ")
}

impl ColumnPlan {
    /// The destination's columns, in the order of the rows.
    pub fn target_columns(&self) -> impl Iterator<Item = &str> {
        self.columns.iter().map(|decision| decision.column.as_str())
    }

    /// Compares the final query, as the server describes it, with the destination once more: now
    /// every column must pass as it is.
    ///
    /// # Errors
    /// Every finding, if there is any.
    pub fn verify(
        &self,
        described: &[Column],
        target: &[Column],
        options: &Options<'_>,
    ) -> Result<(), Vec<Finding>> {
        let same = described.iter().map(|c| c.name.as_str()).eq(self.target_columns());
        if !same {
            return Err(vec![plain_finding("*", "the query's columns changed while they were looked at")]);
        }
        let targets = target.iter().chain(&self.added);
        let find = |name: &str| targets.clone().find(|c| c.name == name);
        let context = options.context();
        let mut findings = Vec::new();
        for (decision, column) in self.columns.iter().zip(described) {
            match find(&column.name).map(|t| (t, fit(&column.data_type, &t.data_type, &context))) {
                Some((_, Fit::Pass(_))) => {}
                Some((t, Fit::Convert(..) | Fit::Refuse(_))) => {
                    findings.push(wrong_expression(decision, column, t));
                }
                None => findings.push(plain_finding(&column.name, "went away in the destination")),
            }
        }
        if findings.is_empty() { Ok(()) } else { Err(findings) }
    }
}

impl Options<'_> {
    fn context(&self) -> Context<'_> {
        Context { timezone: self.timezone, target_version: self.target_version }
    }
}

fn plain_finding(column: &str, problem: &str) -> Finding {
    Finding {
        column: column.to_owned(),
        source_type: None,
        target_type: None,
        problem: problem.to_owned(),
        remedy: Remedy::default(),
    }
}

fn wrong_expression(decision: &Decision, described: &Column, target: &Column) -> Finding {
    let to = &target.data_type.unwrapped().formatted;
    let cast = match &decision.expression {
        Expression::Custom { sql } => Some(format!("({sql})::{to}")),
        Expression::PassThrough | Expression::CastOnSource { .. } => None,
    };
    Finding {
        source_type: Some(described.data_type.formatted.clone()),
        target_type: Some(target.data_type.formatted.clone()),
        remedy: Remedy { cast, ..Remedy::default() },
        ..plain_finding(&described.name, "its SQL gives another type")
    }
}

#[cfg(test)]
mod tests;
