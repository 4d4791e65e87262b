//! `views status` of many views: as many statements as of one, and no wait for a refresh that goes on.

use pgtide::sandbox::{Options, Server};

use crate::support::servers::private_server_with;
use crate::support::{Database, pgtide};
use crate::views_apply::Views;

/// Statements of `views status` in the server's log, beside those that open the session.
async fn statements(server: &Server, db: &Database) -> usize {
    let before = server.log().len();
    let rules = "[views.\"*\"]\ndepends_on = [\"public.t\", \"public.gone\"]\n";
    let run = pgtide(&["views", "status", "--destination", &db.url()]).file("pgtide.toml", rules);
    run.run().await.expect(0);
    let log = server.log();
    let of_status = |line: &&str| {
        line.contains("pgtide/status") && (line.contains("execute ") || line.contains("statement: "))
    };
    log[before..].lines().filter(of_status).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_number_of_statements_does_not_grow_with_the_number_of_views() {
    let settings = [("log_statement", "all"), ("log_line_prefix", "'%a '")];
    let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    let server = private_server_with("many", Options { settings, ..Options::default() }).await;
    let db = Database::create(&server, "many").await;
    let make = |from: usize, to: usize| {
        format!(
            "do $$ begin for n in {from}..{to} loop
               execute format('create materialized view public.v%s as select * from public.t', n);
               execute format('create view public.w%s as select * from public.v%s', n, n);
             end loop; end $$"
        )
    };
    db.exec("create table public.t (id int)").await;
    db.exec(&make(1, 2)).await;
    let few = statements(&server, &db).await;
    db.exec(&make(3, 200)).await;
    let many = statements(&server, &db).await;
    println!("{few} statements for 2 views, {many} for 200");
    assert_eq!(few, many);
}

#[tokio::test]
async fn status_answers_while_a_view_is_refreshed_and_holds_its_lock() {
    let views = Views::new(
        "vm_lock",
        "create schema mart; create table public.t (id int); create materialized view mart.busy as select * from public.t;
         create materialized view mart.idle as select * from public.t",
        &[],
    )
    .await;
    let refresh = views.db.client().await;
    refresh.batch_execute("begin; refresh materialized view mart.busy").await.unwrap();
    let output = views.run("views status", 0).await;
    assert!(output.stdout.contains("mart.busy"), "{}", output.stdout);
    // Another view's refresh goes on too.
    views.run("views refresh mart.idle --strategy plain", 0).await;
    refresh.batch_execute("rollback").await.unwrap();
}
