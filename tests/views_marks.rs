//! Options that a server writes for itself: Postgres 15.20 puts `pg_attver` beside those of every column.
//! They are nobody's settings, whichever server writes them and wherever it does.

use crate::views_apply::Views;

const BASE: &str = "
create schema mart;
create table public.notes (id int, words text);
insert into public.notes select n, 'word ' || n from generate_series(1, 50) n";

/// Every list of options that is read: of a view, its TOAST table, its columns, an index, a column of one.
const MARKS: &str = "
update pg_attribute set attoptions = array_append(array(select o from unnest(attoptions) o where o !~ '^pg_'), 'pg_attver=NUMBER')
where attrelid in ('mart.notes'::regclass, 'mart.short'::regclass, 'mart.notes_words'::regclass) and attnum > 0;
update pg_class set reloptions = array_append(array(select o from unnest(reloptions) o where o !~ '^pg_'), 'pg_relver=NUMBER')
where oid in ('mart.notes'::regclass, 'mart.short'::regclass, 'mart.notes_words'::regclass, 'mart.notes_id'::regclass,
              (select reltoastrelid from pg_class where oid = 'mart.notes'::regclass))";

/// What people have set.
const SET: &str = "
select (select string_agg(o, ' ' order by o) from pg_class c, unnest(reloptions) o
        where c.oid = 'mart.notes'::regclass and o !~ '^pg_'),
       (select string_agg(o, ' ' order by o) from pg_class c join pg_class t on t.oid = c.reltoastrelid, unnest(t.reloptions) o
        where c.oid = 'mart.notes'::regclass and o !~ '^pg_'),
       (select string_agg(attname || ' ' || o, ' ' order by o) from pg_attribute, unnest(attoptions) o
        where attrelid = 'mart.notes'::regclass and attnum > 0 and o !~ '^pg_'),
       (select string_agg(o, ' ') from pg_attribute, unnest(attoptions) o
        where attrelid = 'mart.notes_words'::regclass and o !~ '^pg_'),
       (select string_agg(o, ' ') from pg_class, unnest(reloptions) o where oid = 'mart.notes_id'::regclass and o !~ '^pg_'),
       (select string_agg(o, ' ') from pg_class, unnest(reloptions) o where oid = 'mart.short'::regclass and o !~ '^pg_')";

async fn mark(views: &Views, number: u32) {
    for statement in MARKS.replace("NUMBER", &number.to_string()).split(';') {
        views.db.exec(statement).await;
    }
}

#[tokio::test]
async fn what_a_server_writes_beside_the_options_is_no_setting_and_no_change() {
    let views = Views::new("marks", BASE, &[]).await;
    views
        .db
        .exec(
            "create materialized view mart.notes with (fillfactor = 71, toast.autovacuum_enabled = false)
               as select id, words from public.notes;
             alter materialized view mart.notes alter column id set (n_distinct = -0.5);
             create unique index notes_id on mart.notes (id) with (fillfactor = 55);
             create index notes_words on mart.notes using gist (to_tsvector('simple', words) tsvector_ops (siglen = 100));
             create view mart.short with (security_barrier) as select id from mart.notes where id < 10",
        )
        .await;
    let set = views.db.rows(SET).await;
    let expected = [
        "fillfactor=71",
        "autovacuum_enabled=false",
        "id n_distinct=-0.5",
        "siglen=100",
        "fillfactor=55",
        "security_barrier=true",
    ];
    assert_eq!(set[0].iter().flatten().collect::<Vec<_>>(), expected);

    mark(&views, 7).await;
    views.run("views adopt", 0).await;
    for file in ["notes", "short"] {
        let path = views.project.folder().join(format!("views/mart/{file}.sql"));
        let text = std::fs::read_to_string(path).unwrap();
        assert!(!text.contains("pg_attver") && !text.contains("pg_relver"), "{text}");
    }
    assert_eq!(views.classes().await, Vec::<String>::new(), "adopted as they are");
    mark(&views, 8).await;
    assert_eq!(views.classes().await, Vec::<String>::new(), "the server's own marks have moved on");

    views.run("views refresh mart.notes --force --strategy swap", 0).await;
    assert_eq!(views.db.rows(SET).await, set, "after a swap");
    mark(&views, 9).await;
    assert_eq!(views.classes().await, Vec::<String>::new(), "after a swap");

    views.file(
        "mart/notes.sql",
        &std::fs::read_to_string(views.project.folder().join("views/mart/notes.sql"))
            .unwrap()
            .replacen("SELECT id", "SELECT id + 0 AS id", 1)
            .replacen("SELECT notes.id", "SELECT notes.id + 0 AS id", 1),
    );
    assert_eq!(views.classes().await, ["replace mart.notes", "repoint mart.short"]);
    views.apply().await;
    assert_eq!(views.db.rows(SET).await, set, "after a replacement");
    mark(&views, 10).await;
    views.run("views drop mart.short", 0).await;
    views.run("views restore mart.short", 0).await;
    assert_eq!(views.db.rows(SET).await, set, "after a drop and a restore");
    assert_eq!(views.classes().await, ["touched mart.short"], "as its file says");
}

#[tokio::test]
async fn a_swap_of_its_own_is_no_change_of_what_was_applied() {
    let file = "create materialized view mart.notes as select id, words from public.notes;\n\
                create unique index notes_id on mart.notes (id);\n";
    let views = Views::new("marks_swap", BASE, &[("notes.sql", file)]).await;
    views.apply().await;
    for (number, arguments) in [
        "views refresh --force --strategy swap",
        "views refresh mart.notes --force --strategy swap --consistent",
    ]
    .into_iter()
    .enumerate()
    {
        let before = views.oid("mart.notes").await;
        views.run(arguments, 0).await;
        let now = views.oid("mart.notes").await;
        assert_ne!(now, before, "{number}");
        let known = "select (select oid from pgtide.view_object), (select view_oid from pgtide.view),
                            (select table_oid from pgtide.table_version)";
        let now = Some(now);
        assert_eq!(views.db.rows(known).await, [[now.clone(), now.clone(), now]], "{number}");
        views.run("views plan --exit-code", 0).await;
        assert_eq!(views.classes().await, Vec::<String>::new(), "{number}");
    }
    // Who alters what was swapped is still found.
    views.db.exec("create index notes_words on mart.notes (words)").await;
    assert_eq!(views.classes().await, ["drift mart.notes"]);
}
