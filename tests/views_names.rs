//! Names that need quotes, are as long as they can be, or are there twice.

use crate::support::Project;
use crate::views_graph::project;

/// Names of schemas and of views: quotes, dots, capitals, blanks, a shell's and a pattern's signs, words of
/// SQL, letters of other scripts, 63 bytes, a backslash, and what looks like one of pgtide's own.
fn names() -> Vec<String> {
    let mut names: Vec<String> = [
        "a\"b",
        "a.b",
        "MixedCase",
        "with blank",
        "it's",
        "per%cent",
        "dollar$1",
        "select",
        "Größe",
        "売上",
        "🦀",
        "back\\slash",
        "sem;colon",
        "--comment",
        "${name}",
        "pgtide_build_x",
        "1",
        "star*",
    ]
    .map(str::to_owned)
    .to_vec();
    names.push("x".repeat(63));
    names.push(format!("{}é", "y".repeat(61)));
    names
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// In a schema of each name a table, a view of it, an ordinary view above, and a view above that.
async fn odd(hint: &str) -> Project {
    let mut sql = String::new();
    for name in names() {
        let (name, path) = (quoted(&name), format!("{0}.{0}", quoted(&name)));
        sql.push_str(&format!(
            "create schema {name}; create table {name}.\"the table\" ({name} int primary key, v int);
             insert into {name}.\"the table\" values (1, 1), (2, 2);
             create materialized view {path} as select * from {name}.\"the table\";
             create unique index on {path} ({name}); create index \"An index\" on {path} (v desc);
             create statistics {name}.\"Its statistics\" on {name}, v from {path};
             comment on materialized view {path} is 'odd';
             create view {name}.\"Above\" as select {name}, v from {path};
             create materialized view {name}.top as select sum(v) as v from {name}.\"Above\";\n"
        ));
    }
    project(hint, &sql).await
}

async fn assert_shown(project: &Project, rows: &str, way: &str) {
    for name in names() {
        let name = quoted(&name);
        let shown = project.destination.scalar(&format!("select v from {name}.top")).await;
        assert_eq!(shown, rows, "{way}: {name}");
    }
}

#[tokio::test]
async fn every_name_is_refreshed_in_every_way() {
    let project = odd("names_ways").await;
    let views = names().len() * 2;
    let output = project.pgtide("views refresh").run().await.expect(0);
    assert!(output.stderr.contains(&format!("{views} refreshed")), "{}", output.stderr);
    for (number, way) in ["plain", "concurrent", "swap"].into_iter().enumerate() {
        for name in names() {
            let sql = format!("update {0}.\"the table\" set v = v + 1", quoted(&name));
            project.destination.exec(&sql).await;
        }
        let below = names().into_iter().map(|name| format!("{0}.{0}", quoted(&name)));
        let mut run = project.pgtide("views refresh --strategy").arg(way);
        for name in below {
            run = run.arg(name);
        }
        run.run().await.expect(0);
        project.pgtide("views refresh").run().await.expect(0);
        assert_shown(&project, &(3 + 2 * (number + 1)).to_string(), way).await;
    }
    let kept = "select count(*) from pg_class c where c.relkind = 'm' and relname <> 'top'
        and obj_description(c.oid) = 'odd' and (select count(*) from pg_index where indrelid = c.oid) = 2
        and exists (select from pg_statistic_ext where stxrelid = c.oid and stxnamespace = c.relnamespace)";
    assert_eq!(project.destination.scalar(kept).await, names().len().to_string());
    let left = "select count(*) from pg_namespace where nspname ~ '^pgtide_(build|old)_[0-9]+$'";
    assert_eq!(project.destination.scalar(left).await, "0");
    let again = project.pgtide("views refresh").run().await.expect(0);
    assert!(again.stderr.contains(&format!("nothing to do  views: {views} fresh")), "{}", again.stderr);
}

#[tokio::test]
async fn every_verb_that_looks_shows_every_name() {
    let project = odd("names_looks").await;
    for verb in [
        "views status",
        "views status --tree",
        "views refresh --dry-run",
        "views graph",
        "views graph --format mermaid",
        "views graph --format dot",
        "views graph --format svg",
    ] {
        let output = project.pgtide(verb).run().await.expect(0);
        assert!(output.stdout.contains("売上"), "{verb}: {}", output.stdout);
    }
    for name in names() {
        let path = format!("{0}.{0}", quoted(&name));
        let output = project.pgtide("views status -o json").arg(&path).run().await.expect(0);
        assert_eq!(output.stdout.lines().count(), 1, "{path}: {}", output.stdout);
        let plan =
            project.pgtide("views refresh --dry-run -o json --downstream").arg(&path).run().await.expect(0);
        assert_eq!(plan.stdout.lines().count(), 2, "{path}: {}", plan.stdout);
        let table = format!("{}.\"the table\"", quoted(&name));
        let plan =
            project.pgtide("views refresh --dry-run -o json --after-load").arg(&table).run().await.expect(0);
        assert_eq!(plan.stdout.lines().count(), 2, "{table}: {}", plan.stdout);
    }
}

#[tokio::test]
async fn two_schemas_with_the_same_names_are_kept_apart_in_every_way() {
    let two = |schema: &str| {
        format!(
            "create schema {schema}; create table {schema}.t (id int); insert into {schema}.t values (1);
             create materialized view {schema}.v as select * from {schema}.t;
             create unique index v_key on {schema}.v (id);
             create view {schema}.above as select id from {schema}.v;
             create materialized view {schema}.top as select count(*) as n from {schema}.above;\n"
        )
    };
    let project = project("names_twice", &format!("{}{}", two("one"), two("two"))).await;
    for (number, way) in ["plain", "concurrent", "swap"].into_iter().enumerate() {
        project.pgtide("views refresh --jobs 4").run().await.expect(0);
        project.destination.exec("insert into one.t values (10), (20), (30)").await;
        project
            .destination
            .exec("delete from one.t where ctid not in (select distinct on (id) ctid from one.t)")
            .await;
        let output = project.pgtide("views refresh v").run().await.expect(2);
        assert!(output.stderr.contains("one.v, two.v"), "{}", output.stderr);
        let output =
            project.pgtide("views refresh one.v two.v --force --downstream --jobs 4 --strategy").arg(way);
        // The views above have no unique index: they go their own way.
        let code = if way == "concurrent" { 1 } else { 0 };
        output.run().await.expect(code);
        project.pgtide("views refresh").run().await.expect(0);
        let shown =
            project.destination.scalar("select one.top.n || ' ' || two.top.n from one.top, two.top").await;
        assert_eq!(shown, "4 1", "{way} {number}");
    }
    let other = "select count(*) from pg_rewrite r join pg_depend d on d.objid = r.oid and d.classid = 'pg_rewrite'::regclass
        join pg_class f on f.oid = d.refobjid and d.refclassid = 'pg_class'::regclass join pg_class o on o.oid = r.ev_class
        where o.relnamespace in ('one'::regnamespace, 'two'::regnamespace) and f.relnamespace <> o.relnamespace";
    assert_eq!(project.destination.scalar(other).await, "0", "what reads the other schema's");
}

#[tokio::test]
async fn a_load_into_a_partition_of_an_odd_name_reaches_what_reads_its_parent() {
    let project = project(
        "names_partition",
        "create table src.\"Par.ent\" (d date) partition by range (d);
         create table src.\"2026-01\" partition of src.\"Par.ent\" for values from ('2026-01-01') to ('2026-02-01');
         create view mart.\"be tween\" as select d from src.\"Par.ent\";
         create materialized view mart.a as select count(*) as n from mart.\"be tween\";",
    )
    .await;
    project.pgtide("views refresh").run().await.expect(0);
    project.destination.exec("insert into src.\"2026-01\" values ('2026-01-05')").await;
    let output = project.pgtide("views refresh --after-load").arg("src.\"2026-01\"").run().await.expect(0);
    assert!(output.stderr.contains("1 refreshed"), "{}", output.stderr);
    assert_eq!(project.destination.scalar("select n from mart.a").await, "1");
}
