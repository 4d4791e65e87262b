//! Which options in the catalog a person has set.
//!
//! A server keeps marks of its own in the same lists, such as the `pg_attver` that Postgres 15.20 writes
//! for every column. No statement sets one, and they change by themselves: taken for a setting they would
//! fail what makes a view again, and look like a change of it. The only place that tells them apart.

/// Options of a column.
const OF_COLUMN: &[&str] = &["n_distinct", "n_distinct_inherited"];

/// Options of a materialized view, its TOAST table or a view, of all versions up to [`KNOWN_VERSION`].
const OF_RELATION: &[&str] = &[
    "autovacuum_analyze_scale_factor",
    "autovacuum_analyze_threshold",
    "autovacuum_enabled",
    "autovacuum_freeze_max_age",
    "autovacuum_freeze_min_age",
    "autovacuum_freeze_table_age",
    "autovacuum_multixact_freeze_max_age",
    "autovacuum_multixact_freeze_min_age",
    "autovacuum_multixact_freeze_table_age",
    "autovacuum_vacuum_cost_delay",
    "autovacuum_vacuum_cost_limit",
    "autovacuum_vacuum_insert_scale_factor",
    "autovacuum_vacuum_insert_threshold",
    "autovacuum_vacuum_max_threshold",
    "autovacuum_vacuum_scale_factor",
    "autovacuum_vacuum_threshold",
    "check_option",
    "fillfactor",
    "log_autovacuum_min_duration",
    "parallel_workers",
    "security_barrier",
    "security_invoker",
    "toast_tuple_target",
    "user_catalog_table",
    "vacuum_index_cleanup",
    "vacuum_max_eager_freeze_failure_rate",
    "vacuum_truncate",
];

/// The newest version whose options are all known here. In a newer one what is not known counts as a
/// person's, unless its name begins as the system's own names do: a setting must not get lost.
const KNOWN_VERSION: i32 = 18;

/// Options in the SQL of an index: those of operator classes are not known, so only the prefix tells.
const MARK: &str = r"pg\_%";

/// The options of a column's list that a person has set, in their order, as SQL.
pub(super) fn of_column(list: &str) -> String {
    own(list, OF_COLUMN)
}

/// The options of a relation's list that a person has set, in their order, as SQL.
pub(super) fn of_relation(list: &str) -> String {
    own(list, OF_RELATION)
}

fn own(list: &str, names: &[&str]) -> String {
    let names = names.join(",");
    let newer = (KNOWN_VERSION + 1) * 10_000;
    format!(
        "array(select own.o from pg_catalog.unnest({list}) with ordinality own (o, place)
               where pg_catalog.split_part(own.o, '=', 1) = any ('{{{names}}}'::pg_catalog.text[])
                  or pg_catalog.current_setting('server_version_num')::pg_catalog.int4 >= {newer}
                     and own.o not like '{MARK}'
               order by own.place)"
    )
}

/// The definition of an index without what the server has put beside a person's options, as SQL.
pub(super) fn index_definition(index: &str) -> String {
    let definition = format!("pg_catalog.pg_get_indexdef({index})");
    // `name='value'`, or without quotes where the value is a plain name; what is left of an empty list goes.
    let option = r"\mpg_\w+=(''([^'']|'''')*''|\w+)(, )?";
    format!(
        r"case when exists (select from pg_catalog.pg_attribute p, pg_catalog.unnest(p.attoptions) o
                            where p.attrelid = {index} and o like '{MARK}')
                 or exists (select from pg_catalog.pg_class p, pg_catalog.unnest(p.reloptions) o
                            where p.oid = {index} and o like '{MARK}')
          then pg_catalog.regexp_replace(pg_catalog.replace(
                   pg_catalog.regexp_replace({definition}, '{option}', '', 'g'), ', )', ')'),
                 '( WITH)? \(\)', '', 'g')
          else {definition} end"
    )
}
