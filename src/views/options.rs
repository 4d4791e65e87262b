//! What is asked of a view: the words of `pgtide.toml` and of the comment lines in a view's own SQL file.

use super::trial;
use crate::error::Result;
use crate::postgres::connect::Session;

pub use crate::config::views::{AfterRefresh, Every, RefreshMode, VIEW_KEYS, ViewOptions, ViewRules};

/// The rules with every view named in full: a file may leave the schema to the role's `search_path`.
///
/// # Errors
/// The server's.
pub async fn resolved(session: &Session, rules: &ViewRules) -> Result<ViewRules> {
    let rules = rules.clone();
    match rules.has_bare_names() {
        true => Ok(rules.with_schema(&trial::default_schema(session).await?)),
        false => Ok(rules),
    }
}
