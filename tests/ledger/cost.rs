//! A claim costs what it costs, however much is loaded: the server's own count of the pages it looks at.

use pgtide::postgres::connect::Session;

use super::{World, day};

/// Every day of a century before and after the tests' days, for this table and for others.
const A_CENTURY: &str = "
insert into pgtide.interval (job, interval_start, interval_end, key, state, table_oid, table_name, loaded_at)
select job, start, start + interval '1 day', start::text, 'loaded', oid, 'mart.users', now()
from (values ('users', 'mart.users'::regclass::oid), ('other', 1), ('third', 4294967295)) j(job, oid),
     generate_series(timestamptz '1930-01-01Z', '2020-01-01Z', interval '1 day') start
where start + interval '1 day' <= '2020-01-01Z'";

/// The pages that the claim's statement looks at, by the statement that the session itself has prepared.
async fn pages_of_overlap(control: &Session, interval: &str, plans: &str) -> (i64, String) {
    let sql = "select name from pg_prepared_statements where statement like '%select o.job, o.key%' and statement not like '%prepared%'";
    let name: String = control.client().query(sql, &[]).await.unwrap()[0].get(0);
    let sql = format!(
        "set plan_cache_mode = {plans};
         explain (analyze, buffers, format json)
         execute \"{name}\"('mart.users'::regclass, 'users', {interval}, null)"
    );
    let rows = control.client().simple_query(&sql).await.unwrap();
    let text = rows.iter().find_map(|message| match message {
        tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0),
        _ => None,
    });
    let plan: serde_json::Value = serde_json::from_str(text.unwrap()).unwrap();
    let plan = &plan[0]["Plan"];
    let pages = |what: &str| plan[what].as_i64().unwrap();
    (pages("Shared Hit Blocks") + pages("Shared Read Blocks"), plan.to_string())
}

#[tokio::test]
async fn the_claim_of_the_100_000th_interval_looks_at_as_little_as_that_of_the_first() {
    let world = World::new("claim_cost").await;
    world.db.exec(A_CENTURY).await;
    assert!(world.number("select count(*) from pgtide.interval").await > 95_000);
    for is_analyzed in [false, true] {
        if is_analyzed {
            world.db.exec("analyze pgtide.interval").await;
        }
        let (control, _claim) = world.claim(i64::from(is_analyzed)).await;
        for interval in [
            "'1930-01-01Z', '1930-01-02Z'",
            "'1975-06-01Z', '1975-06-02Z'",
            "'2019-12-31Z', '2020-01-01Z'",
            "'2026-01-05Z', '2026-01-06Z'",
        ] {
            for plans in ["force_custom_plan", "force_generic_plan"] {
                let (pages, plan) = pages_of_overlap(&control, interval, plans).await;
                assert!(plan.contains("interval_overlap"), "{plan}");
                assert!(pages < 60, "{pages} pages for {interval}, {plans}: {plan}");
            }
        }
    }
}

#[tokio::test]
async fn intervals_without_an_end_are_found_by_their_overlap() {
    let world = World::new("claim_whole").await;
    let mut whole = world.request(0);
    whole.interval = pgtide::interval::DataInterval::WHOLE;
    whole.job = "all".to_owned();
    let (_control, _claim) = world.claim_with(&whole).await;
    let outcome = world.ledger.claim(&world.session().await, &world.request(7)).await.unwrap();
    assert!(matches!(outcome, pgtide::ledger::ClaimOutcome::Overlaps { .. }), "{outcome:?}");
    assert_eq!(day(7).end, world.request(7).interval.end);
}
