//! What the planner says of an interval's query: tables that each interval would read whole.

use serde_json::Value;

use crate::error::Result;
use crate::postgres::bound::Condition;
use crate::postgres::connect::{Session, role_settings_sql};

/// Reading less than this, in the planner's units of about a page, is nobody's concern.
const CHEAP: f64 = 5_000.0;

/// The tables that a query scans whole at some cost.
pub(super) async fn scans(
    session: &Session,
    sql: &str,
    bounds: &Condition,
    timezone: &str,
) -> Result<Vec<String>> {
    let doing = &*format!("{}: planning the query", session.server().name);
    session.begin_reading(doing, &role_settings_sql(timezone)).await?;
    let answer = session.query_one_typed(doing, &format!("explain (format json) {sql}"), bounds).await;
    session.end_reading(doing).await?;
    let plan: Value =
        answer?.try_get::<_, tokio_postgres::types::Json<Value>>(0).map_or(Value::Null, |json| json.0);
    let mut found = Vec::new();
    if let Some(node) = plan.get(0).and_then(|p| p.get("Plan")) {
        collect(node, &mut found);
    }
    found.dedup();
    Ok(found)
}

fn collect(node: &Value, found: &mut Vec<String>) {
    let is_scan = node["Node Type"] == "Seq Scan";
    if is_scan
        && node["Total Cost"].as_f64().is_some_and(|cost| cost > CHEAP)
        && let Some(name) = node["Relation Name"].as_str()
    {
        found.push(name.to_owned());
    }
    for child in node["Plans"].as_array().into_iter().flatten() {
        collect(child, found);
    }
}
