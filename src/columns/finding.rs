//! What keeps columns from being copied, with what helps, and the one error made of all of it.

use std::collections::BTreeSet;

use super::fit::{is_number, is_object_name};
use crate::error::{Error, ErrorKind};
use crate::name::TableName;
use crate::postgres::catalog::{DataType, Provider};
use crate::postgres::ident::{literal, quote};

/// One column that cannot be copied as things are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The column.
    pub column: String,
    /// Its type on the source, if it is there.
    pub source_type: Option<String>,
    /// Its type in the destination, if it is there.
    pub target_type: Option<String>,
    /// What is wrong, in a few words.
    pub problem: String,
    /// What helps.
    pub remedy: Remedy,
}

/// What helps against a finding; any of these.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Remedy {
    /// A clause of `alter table` on the destination: `alter column discount type numeric(12,4)`.
    pub alter: Option<String>,
    /// SQL on the source for the job's `cast`.
    pub cast: Option<String>,
    /// Anything else, in one line.
    pub advice: Option<String>,
    /// Whether the destination has to get a value that the source does not have.
    pub needs_value: bool,
}

impl Finding {
    /// Leaves out what helps only where the table exists: it is still to be made, of the source's types.
    pub fn forget_table(&mut self) {
        self.remedy.alter = None;
        self.remedy.cast = None;
        if self.source_type.is_some() {
            let column = shown(&self.column);
            self.remedy.advice = Some(format!("read {column} as a type that can be copied: {column}::text"));
        }
    }
}

/// The names that an error about columns mentions.
#[derive(Debug, Clone, Copy)]
pub struct Names<'a> {
    /// The source table, or `query`.
    pub source: &'a str,
    /// The destination table.
    pub target: &'a TableName,
    /// The destination connection.
    pub destination: &'a str,
    /// The job's file, if there is one.
    pub job_file: Option<&'a str>,
}

/// Makes one `Preflight` error of all findings: a table of columns, and a hint with SQL and casts.
#[must_use]
pub fn into_error(findings: &[Finding], names: &Names<'_>) -> Error {
    let types_only = findings.iter().all(|f| f.source_type.is_some() && f.target_type.is_some());
    let (count, s) = (findings.len(), if findings.len() == 1 { "" } else { "s" });
    let context = if types_only {
        format!("types differ in {count} column{s}")
    } else {
        format!("columns of {} and {} do not fit: {count} finding{s}", names.source, names.target)
    };
    let mut error = Error::new(ErrorKind::Preflight, context);
    for line in table(findings, names) {
        error = error.with_detail(line);
    }
    match hint(findings, names) {
        hint if hint.is_empty() => error,
        hint => error.with_hint(hint),
    }
}

fn table(findings: &[Finding], names: &Names<'_>) -> Vec<String> {
    let or_none = |text: &Option<String>| text.clone().unwrap_or_else(|| "none".to_owned());
    let head = ["column".to_owned(), format!("source {}", names.source), format!("target {}", names.target)];
    let mut rows = vec![(head, String::new())];
    for f in findings {
        rows.push(([f.column.clone(), or_none(&f.source_type), or_none(&f.target_type)], f.problem.clone()));
    }
    let width = |i: usize| rows.iter().map(|(cells, _)| cells[i].chars().count()).max().unwrap_or(0);
    let (a, b, c) = (width(0), width(1), width(2));
    let line = |([x, y, z], problem): &([String; 3], String)| {
        format!("{x:a$}    {y:b$}   {z:c$}   {problem}").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

fn hint(findings: &[Finding], names: &Names<'_>) -> String {
    let mut lines = Vec::new();
    let clauses: Vec<&str> = findings.iter().filter_map(|f| f.remedy.alter.as_deref()).collect();
    if !clauses.is_empty() {
        lines.push(format!("on {}:", names.destination));
        lines.extend(alter_table(names.target, &clauses));
    }
    let casts: Vec<String> = findings
        .iter()
        .filter_map(|f| f.remedy.cast.as_ref().map(|sql| format!("{} = {}", toml_key(&f.column), toml(sql))))
        .collect();
    if !casts.is_empty() {
        let keep: BTreeSet<&str> = findings
            .iter()
            .filter(|f| f.remedy.cast.is_some())
            .filter_map(|f| f.target_type.as_deref())
            .collect();
        let keep: Vec<&str> = keep.into_iter().collect();
        let or = if clauses.is_empty() { "to" } else { "or" };
        lines.push(format!("{or} keep {}, in {}:", keep.join(", "), names.job_file.unwrap_or("a job")));
        lines.extend(cast_section(&casts));
    }
    lines.extend(needed_values(findings, names, lines.is_empty()));
    let mut said = BTreeSet::new();
    lines.extend(findings.iter().filter_map(|f| f.remedy.advice.clone()).filter(|a| said.insert(a.clone())));
    lines.join("\n")
}

/// Columns that are NOT NULL without a default get SQL of the job's, or a default.
fn needed_values(findings: &[Finding], names: &Names<'_>, is_first: bool) -> Vec<String> {
    let needed = findings.iter().filter(|f| f.remedy.needs_value);
    let columns: Vec<&str> = needed.map(|f| f.column.as_str()).collect();
    if columns.is_empty() {
        return Vec::new();
    }
    let cast: Vec<_> = columns.iter().map(|c| format!("{} = \"...\"", toml_key(c))).collect();
    let default: Vec<_> =
        columns.iter().map(|c| format!("alter column {} set default ...", shown(c))).collect();
    let start = if is_first { "SQL" } else { "and SQL" };
    let default: Vec<&str> = default.iter().map(String::as_str).collect();
    let file = names.job_file.unwrap_or("a job");
    let mut lines = vec![format!("{start} for what the source does not have, in {file}:")];
    lines.extend(cast_section(&cast));
    lines.push(format!("or a default, on {}:", names.destination));
    lines.extend(alter_table(names.target, &default));
    lines
}

/// One clause in the statement's line, several below it.
fn alter_table(target: &TableName, clauses: &[&str]) -> Vec<String> {
    match clauses {
        [only] => vec![format!("  alter table {target} {only};")],
        several => {
            let all = several.join(",\n    ");
            format!("  alter table {target}\n    {all};").lines().map(str::to_owned).collect()
        }
    }
}

/// One column in a line; several as the section that a job's file ends with.
fn cast_section(columns: &[String]) -> Vec<String> {
    match columns {
        [only] => vec![format!("  cast = {{ {only} }}")],
        several => {
            let lines = several.iter().map(|column| format!("  {column}"));
            std::iter::once("  [cast]".to_owned()).chain(lines).collect()
        }
    }
}

fn toml_key(name: &str) -> String {
    let bare = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    if bare { name.to_owned() } else { toml(name) }
}

fn toml(text: &str) -> String {
    let special = |c: char| c == '"' || c == '\\' || c.is_control();
    if text.contains(special) && !text.contains(|c: char| c == '\'' || c.is_control()) {
        return format!("'{text}'");
    }
    toml::Value::from(text).to_string()
}

impl Remedy {
    /// What helps when two types do not go together.
    pub(super) fn for_types(
        column: &str,
        source: &DataType,
        target: &DataType,
        timezone: Option<&str>,
    ) -> Self {
        let shown = shown(column);
        let s = source.unwrapped();
        // The destination need not have a type that is not Postgres's own.
        let retype = if is_object_name(s) || !s.has_binary_io() {
            Some("text")
        } else {
            (s.provider == Provider::Builtin).then_some(s.formatted.as_str())
        };
        let retype = retype
            .filter(|retype| *retype != target.unwrapped().formatted)
            .map(|retype| format!("alter column {shown} type {retype}"));
        let t = target.unwrapped();
        let cast = suggested_cast(&shown, s, t, timezone).filter(|_| t.has_binary_io());
        Self { alter: retype, cast, ..Self::default() }
    }
}

/// SQL that a person would probably write, where Postgres has a conversion at all.
fn suggested_cast(column: &str, s: &DataType, t: &DataType, timezone: Option<&str>) -> Option<String> {
    if t.provider != Provider::Builtin {
        return None;
    }
    let zone = literal(timezone.unwrap_or("UTC"));
    let to = &t.formatted;
    let text = |name: &str| matches!(name, "text" | "varchar" | "bpchar" | "name" | "citext");
    let temporal = |name: &str| matches!(name, "date" | "timestamp" | "timestamptz");
    Some(match (s.name.as_str(), t.name.as_str()) {
        ("numeric" | "float4" | "float8", "int2" | "int4" | "int8") => format!("round({column})::{to}"),
        (a, b) if is_number(a) && is_number(b) => format!("{column}::{to}"),
        ("timestamptz", "timestamp") => format!("({column} at time zone {zone})::{to}"),
        ("timestamptz", "date") => format!("({column} at time zone {zone})::date"),
        ("timestamp", "timestamptz") => format!("({column} at time zone {zone})::{to}"),
        ("date", "timestamptz") => format!("({column}::timestamp at time zone {zone})::{to}"),
        ("int4" | "int8", "timestamptz") => format!("to_timestamp({column})::{to}"),
        ("json", "jsonb") => format!("{column}::jsonb"),
        (a, b) if a == b || (temporal(a) && temporal(b)) || text(a) || text(b) => format!("{column}::{to}"),
        _ => return None,
    })
    .filter(|_| !t.name.starts_with("reg"))
}

/// A column's name in a suggestion: quoted only where SQL needs it.
pub(super) fn shown(name: &str) -> String {
    if RESERVED.contains(&name) {
        return quote(name);
    }
    TableName { schema: None, table: name.to_owned() }.to_string()
}

/// Words that SQL does not take as a column's name.
const RESERVED: &[&str] = &[
    "all",
    "analyse",
    "analyze",
    "and",
    "any",
    "array",
    "as",
    "asc",
    "asymmetric",
    "both",
    "case",
    "cast",
    "check",
    "collate",
    "column",
    "constraint",
    "create",
    "current_catalog",
    "current_date",
    "current_role",
    "current_time",
    "current_timestamp",
    "current_user",
    "default",
    "deferrable",
    "desc",
    "distinct",
    "do",
    "else",
    "end",
    "except",
    "false",
    "fetch",
    "for",
    "foreign",
    "from",
    "grant",
    "group",
    "having",
    "in",
    "initially",
    "intersect",
    "into",
    "lateral",
    "leading",
    "limit",
    "localtime",
    "localtimestamp",
    "not",
    "null",
    "offset",
    "on",
    "only",
    "or",
    "order",
    "placing",
    "primary",
    "references",
    "returning",
    "select",
    "session_user",
    "some",
    "symmetric",
    "system_user",
    "table",
    "then",
    "to",
    "trailing",
    "true",
    "union",
    "unique",
    "user",
    "using",
    "variadic",
    "when",
    "where",
    "window",
    "with",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(column: &str, source: &str, target: &str, alter: &str, cast: &str) -> Finding {
        Finding {
            column: column.to_owned(),
            source_type: Some(source.to_owned()),
            target_type: Some(target.to_owned()),
            problem: "does not fit".to_owned(),
            remedy: Remedy {
                alter: Some(alter.to_owned()),
                cast: Some(cast.to_owned()),
                ..Remedy::default()
            },
        }
    }

    #[test]
    fn error_shows_aligned_columns_and_both_remedies() {
        let target = TableName::new("mart", "orders");
        let names = Names {
            source: "public.orders",
            target: &target,
            destination: "warehouse",
            job_file: Some("jobs/orders.toml"),
        };
        let alter = "alter column discount type numeric(12,4)";
        let findings = [finding("discount", "numeric(12,4)", "integer", alter, "round(discount)::integer")];
        let error = into_error(&findings, &names);
        assert_eq!(error.to_string(), "types differ in 1 column");
        assert_eq!(
            error.details(),
            [
                "column      source public.orders   target mart.orders",
                "discount    numeric(12,4)          integer              does not fit",
            ]
        );
        assert_eq!(
            error.hint(),
            Some(
                "on warehouse:\n  alter table mart.orders alter column discount type numeric(12,4);\n\
                 or keep integer, in jobs/orders.toml:\n  cast = { discount = \"round(discount)::integer\" }"
            )
        );
    }

    #[test]
    fn names_in_suggestions_are_quoted_where_sql_or_toml_needs_it() {
        assert_eq!(shown("order"), "\"order\"");
        assert_eq!(shown("userId"), "\"userId\"");
        assert_eq!(shown("discount"), "discount");
        assert_eq!(toml_key("a b"), "\"a b\"");
        assert_eq!(toml("\"userId\"::integer"), "'\"userId\"::integer'");
    }
}
