//! The checker: two tables hold the same rows, whatever their order.

use super::Database;

/// Settings that decide how a value looks as text, the same on both sides.
const SETTINGS: &str = "set timezone = 'UTC'; set datestyle = 'ISO, YMD'; set intervalstyle = 'postgres'; \
    set extra_float_digits = 3; set bytea_output = 'hex'; set search_path = pg_catalog; ";

/// Number of rows, and a sum of their hashes that does not depend on the order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Digest {
    pub(crate) rows: u64,
    pub(crate) hash: String,
}

/// Digests a table, or `(select ...)`; columns count in their order.
pub(crate) async fn digest(database: &Database, relation: &str) -> Digest {
    let sql = format!(
        "{SETTINGS} select count(*), coalesce(sum(hashtextextended(t::text, 0)::numeric), 0) from {relation} t"
    );
    let rows = database.rows(&sql).await;
    let text = |column: usize| rows[0][column].clone().expect("count and coalesce are never null");
    Digest { rows: text(0).parse().unwrap(), hash: text(1) }
}

/// Fails unless both relations hold the same rows, each as often.
pub(crate) async fn assert_equal(source: &Database, destination: &Database, from: &str, into: &str) {
    let (read, stored) = tokio::join!(digest(source, from), digest(destination, into));
    assert_eq!(read, stored, "{from} of {} and {into} of {} differ", source.name(), destination.name());
}
