//! Templates as people paste them from Airflow.

use chrono_tz::America::New_York;
use chrono_tz::Europe::Berlin;

use super::*;

fn params() -> BTreeMap<String, toml::Value> {
    let text = r#"
        region = "eu"
        odd = "it's \\ here"
        limit = 5
        ratio = 0.5
        big = nan
        on = true
        since = 2026-01-05
        regions = ["eu", "us"]
        ids = [1, 2]
        none = []
        table = "mart.Users"
        nested = { a = "b" }
    "#;
    toml::from_str(text).unwrap()
}

fn day(zone: Tz, y: i32, m: u32, d: u32) -> DataInterval {
    let at = |d| zone.with_ymd_and_hms(y, m, d, 0, 0, 0).unwrap().with_timezone(&Utc);
    DataInterval { start: at(d), end: at(d + 1) }
}

fn try_render_in(zone: Tz, template: &str) -> Result<String> {
    let interval = Some(day(zone, 2026, 1, 5));
    let params = params();
    let context = TemplateContext {
        interval,
        timezone: zone,
        unit: Some(Unit::Day),
        tick: None,
        run_id: "r1",
        params: &params,
    };
    render(template, &context)
}

fn rendered(template: &str) -> String {
    try_render_in(New_York, template).unwrap()
}

fn message(template: &str) -> String {
    let error = try_render_in(New_York, template).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    error.to_string()
}

#[test]
fn a_query_pasted_from_a_dag_renders_as_it_does_there() {
    assert_eq!(
        rendered("SELECT * FROM users WHERE created_at::date = date '{{ ds }}'"),
        "SELECT * FROM users WHERE created_at::date = date '2026-01-05'"
    );
    assert_eq!(
        rendered("where t >= '{{ data_interval_start }}' and t < '{{ data_interval_end }}'"),
        "where t >= '2026-01-05T00:00:00-05:00' and t < '2026-01-06T00:00:00-05:00'"
    );
}

#[test]
fn every_name_of_airflow_has_its_value() {
    for (name, value) in [
        ("ds", "2026-01-05"),
        ("ds_nodash", "20260105"),
        ("ts", "2026-01-05T00:00:00-05:00"),
        ("ts_nodash", "20260105T000000"),
        ("ts_nodash_with_tz", "20260105T000000-0500"),
        ("logical_date", "2026-01-05T00:00:00-05:00"),
        ("execution_date", "2026-01-05T00:00:00-05:00"),
        ("prev_ds", "2026-01-04"),
        ("next_ds", "2026-01-06"),
        ("next_ds_nodash", "20260106"),
        ("yesterday_ds", "2026-01-04"),
        ("yesterday_ds_nodash", "20260104"),
        ("tomorrow_ds", "2026-01-06"),
        ("run_id", "r1"),
    ] {
        assert_eq!(rendered(&format!("{{{{ {name} }}}}")), value, "{name}");
    }
}

#[test]
fn dates_are_local_and_neighbours_step_the_unit() {
    assert_eq!(try_render_in(Berlin, "{{ ds }} {{ ts }}").unwrap(), "2026-01-05 2026-01-05T00:00:00+01:00");
    let params = BTreeMap::new();
    for (unit, expected) in [
        (Unit::Hour, "2026-01-04"),
        (Unit::Week, "2025-12-29"),
        (Unit::Month, "2025-12-01"),
        (Unit::Elapsed(chrono::TimeDelta::hours(72)), "2026-01-02"),
    ] {
        let interval = Some(day(Berlin, 2026, 1, 5));
        let context = TemplateContext {
            interval,
            timezone: Berlin,
            unit: Some(unit),
            tick: None,
            run_id: "",
            params: &params,
        };
        assert_eq!(render("{{ prev_ds }}", &context).unwrap(), expected, "{unit:?}");
    }
}

#[test]
fn moments_have_pendulums_methods() {
    for (call, value) in [
        ("strftime('%Y-%m-%d %H:%M:%S.%f %% %z')", "2026-01-05 00:00:00.000000 % -0500"),
        ("isoformat()", "2026-01-05T00:00:00-05:00"),
        (
            "format('YYYY-MM-DD[T]HH:mm:ss Z ZZ z zz Q SSS D M dddd')",
            "2026-01-05T00:00:00 -05:00 -0500 America/New_York EST 1 000 5 1 Monday",
        ),
        ("format('YYYYMMDDTHHmmss')", "20260105T000000"),
        ("date()", "2026-01-05"),
        ("date().strftime('%d.%m.%y')", "05.01.26"),
        ("to_date_string()", "2026-01-05"),
        ("to_datetime_string()", "2026-01-05 00:00:00"),
        ("add(days=1)", "2026-01-06T00:00:00-05:00"),
        ("add(months=1, days=30, hours=2).to_datetime_string()", "2026-03-07 02:00:00"),
        ("subtract(days=5).to_date_string()", "2025-12-31"),
        ("in_timezone('UTC')", "2026-01-05T05:00:00+00:00"),
        ("start_of('month').to_date_string()", "2026-01-01"),
        ("start_of('week').to_date_string()", "2026-01-05"),
        ("date().add(days=-1)", "2026-01-04"),
        ("timestamp()", "1767589200"),
        ("isoweekday()", "1"),
        ("year", "2026"),
        ("month", "1"),
        ("quarter", "1"),
    ] {
        assert_eq!(rendered(&format!("{{{{ data_interval_start.{call} }}}}")), value, "{call}");
    }
    assert_eq!(rendered("{% if data_interval_start < data_interval_end %}yes{% endif %}"), "yes");
}

#[test]
fn moments_have_airflows_filters() {
    assert_eq!(
        rendered("{{ data_interval_end | ds }} {{ logical_date | ds_nodash }}"),
        "2026-01-06 20260105"
    );
    assert_eq!(
        rendered("{{ logical_date | ts }} {{ logical_date | ts_nodash }}"),
        "2026-01-05T00:00:00-05:00 20260105T000000"
    );
    assert!(message("{{ ds | ds }}").contains("the filter is for dates"));
}

#[test]
fn days_step_the_calendar_over_clock_changes() {
    let params = BTreeMap::new();
    let at = New_York.with_ymd_and_hms(2026, 3, 7, 2, 30, 0).unwrap().with_timezone(&Utc);
    let interval = Some(DataInterval { start: at, end: at });
    let context =
        TemplateContext { interval, timezone: New_York, unit: None, tick: None, run_id: "", params: &params };
    assert_eq!(
        render("{{ ds }} {{ logical_date.add(days=1) }} {{ logical_date.add(hours=24) }}", &context).unwrap(),
        "2026-03-07 2026-03-08T03:30:00-04:00 2026-03-08T03:30:00-04:00"
    );
    assert_eq!(
        render("{{ logical_date.add(days=2) }} {{ logical_date.add(hours=48) }}", &context).unwrap(),
        "2026-03-09T02:30:00-04:00 2026-03-09T03:30:00-04:00"
    );
}

#[test]
fn macros_shift_and_format_dates() {
    assert_eq!(rendered("{{ macros.ds_add(ds, -5) }}"), "2025-12-31");
    assert_eq!(rendered("{{ macros.ds_add(ds, 27) }}"), "2026-02-01");
    assert_eq!(rendered("{{ macros.ds_format(ds, '%Y-%m-%d', '%d/%m/%Y') }}"), "05/01/2026");
    assert!(message("{{ macros.timedelta(days=1) }}").contains("use `.add(days=1)`"));
    assert!(message("{{ macros.random() }}").contains("macros.random is not here"));
}

#[test]
fn params_print_as_sql_literals() {
    for (template, sql) in [
        ("{{ params.region }}", "'eu'"),
        ("{{ params.odd }}", r"E'it''s \\ here'"),
        ("{{ params.limit }}", "5"),
        ("{{ params.ratio }}", "0.5"),
        ("{{ params.big }}", "'NaN'::pg_catalog.float8"),
        ("{{ params.on }}", "true"),
        ("{{ params.since }}", "'2026-01-05'"),
        ("in ({{ params.regions }})", "in ('eu', 'us')"),
        ("in ({{ params.ids }})", "in (1, 2)"),
        ("{% for r in params.regions %}[{{ r }}]{% endfor %}", "['eu']['us']"),
        ("{{ params.nested.a }}", "'b'"),
        ("{{ params['region'] }}", "'eu'"),
    ] {
        assert_eq!(rendered(template), sql, "{template}");
    }
}

#[test]
fn params_are_compared_and_filtered_as_text() {
    assert_eq!(rendered("{% if params.region == 'eu' %}yes{% endif %}"), "yes");
    assert_eq!(rendered("{% if params.region in ['eu'] %}yes{% endif %}"), "yes");
    assert_eq!(rendered("{{ params.region | upper }}"), "'EU'");
    assert_eq!(rendered("{{ params.region | replace('e', 'E') }}"), "Eu");
    assert_eq!(rendered("{{ params.region ~ '%' }}"), "eu%");
    assert_eq!(rendered("{{ (params.region ~ '%') | literal }}"), "'eu%'");
    assert_eq!(rendered("{{ params.regions | join('-') }}"), "eu-us");
    assert_eq!(rendered("{{ params.region | safe }}"), "eu");
    assert_eq!(rendered("{{ ds | replace('-', '') }} {{ 'a' ~ ds_nodash }}"), "20260105 a20260105");
    assert_eq!(rendered("{{ ds | literal }}"), "'2026-01-05'");
}

#[test]
fn names_are_quoted_by_ident() {
    assert_eq!(rendered("{{ params.table | ident }}"), "\"mart\".\"users\"");
    assert_eq!(rendered("{{ params.regions | ident }}"), "\"eu\", \"us\"");
    assert_eq!(rendered("{{ '\"Odd \"\"x\"' | ident }}"), "\"Odd \"\"x\"");
    assert!(message("{{ params.odd | ident }}").contains("is not a table name"));
    assert!(message("{{ params.limit | ident }}").contains("a number is not a name"));
}

#[test]
fn what_has_no_form_in_sql_is_refused() {
    assert!(message("{{ params.none }}").contains("an empty list has no form in SQL"));
    assert!(message("{{ params.nested }}").contains("a map has no form in SQL"));
    assert!(message("{{ macros }}").contains("has no form in SQL"));
    assert_eq!(rendered("{{ none }}"), "null");
}

#[test]
fn an_undefined_name_is_told_with_its_line_and_the_nearest() {
    assert_eq!(
        message("select 1 -- dss\nwhere d = '{{ dss }}'"),
        "the query template, line 2: `dss` is undefined, did you mean `ds`?"
    );
    assert_eq!(
        message("{{ params.regon }}"),
        "the query template, line 1: `params.regon` is undefined, did you mean `region`?"
    );
    assert!(message("{{ var.value.x }}").contains("`var` is Airflow's own and undefined here: use params"));
    assert_eq!(message("{{ ds.foo }}"), "the query template, line 1: `ds.foo` is undefined");
    let both = try_render_in(New_York, "{{ a }}\n{{ b }}").unwrap_err();
    assert_eq!(both.details().len(), 2);
}

#[test]
fn dates_are_undefined_without_an_interval() {
    let params = BTreeMap::new();
    for interval in [None, Some(DataInterval::WHOLE)] {
        let context = TemplateContext {
            interval,
            timezone: Tz::UTC,
            unit: None,
            tick: None,
            run_id: "r",
            params: &params,
        };
        let error = render("{{ ds }}", &context).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the query template, line 1: `ds` is undefined: the job has no interval"
        );
        assert_eq!(render("{{ run_id }}", &context).unwrap(), "r");
    }
}

#[test]
fn a_template_is_checked_without_an_interval() {
    let lines = |template: &str| -> Vec<(usize, String)> {
        check(template, &params(), true).into_iter().map(|p| (p.line, p.message)).collect()
    };
    assert_eq!(lines("{{ ds }} {{ params.region }} {% for i in range(3) %}{{ loop.index }}{% endfor %}"), []);
    assert_eq!(lines("{% set x = ds %}{{ x }}"), []);
    assert_eq!(lines("\n{{ dss }}")[0].0, 2);
    assert_eq!(lines("\n\n{{ ds ")[0].0, 3);
    assert!(lines("{% if false %}{{ bad }}{% endif %}")[0].1.contains("`bad` is undefined"));
    assert!(lines("{{ ds | upcase }}")[0].1.contains("upcase"));
    assert!(lines("{{ logical_date.ad(days=1) }}")[0].1.contains("did you mean `add`?"));
    assert!(lines("{{ logical_date.add(day=1) }}")[0].1.contains("day"));
    assert!(lines("{{ logical_date.strftime('%Q!') }}")[0].1.contains("format is not valid"));
    assert!(lines("{{ logical_date.format('YYYY w') }}")[0].1.contains("token `w`"));
    assert!(lines("where r =\n '{{ params.region }}'")[0].1.contains("leave out the quotes"));
    assert_eq!(lines("where r =\n '{{ params.region }}'")[0].0, 2);
    assert_eq!(check("{{ ds }}", &params(), false).len(), 1);
}

proptest::proptest! {
    #[test]
    fn no_template_makes_the_check_panic(text in "(\\PC|'\\{\\{|\\}\\}'|\\{%|%\\}|params\\.|ds|\n){0,30}") {
        let _ = check(&text, &BTreeMap::new(), true);
    }
}

#[test]
fn braces_of_other_kinds_stay() {
    let sql = "select '{a,b}'::text[], j #>> '{a}' from t where x like '100%' -- {";
    assert_eq!(rendered(sql), sql);
}
