//! The calendar as a person sees it.

use insta::assert_snapshot;

use super::*;

fn date(text: &str) -> NaiveDate {
    text.parse().unwrap()
}

/// The status of SCREENS: three years of days, and one of each thing that can be wrong.
fn orders(from: &str) -> Status {
    let mut status = Status {
        job: "orders".into(),
        source: "source".into(),
        destination: "warehouse".into(),
        into: "mart.orders".into(),
        interval: "day".into(),
        timezone: "America/New_York".into(),
        schedule: Some("0 3 * * *".into()),
        deadline: None,
        grain: Grain::Day,
        cells: Vec::new(),
        draw_from: Some(date("2025-11-03")),
        months_from: None,
        draw_to: None,
        today: date("2026-01-06"),
        moments: Vec::new(),
        footer: vec![
            String::new(),
            "next 2026-01-07 03:00     mart.sales shows data up to 2026-01-04".into(),
        ],
    };
    for day in date(from).iter_days().take_while(|day| *day <= date("2026-01-05")) {
        let rows = 851_000 - u64::from(day.weekday().num_days_from_monday()) * 90_000;
        status.cells.push(Cell {
            key: day.to_string(),
            date: day,
            state: DayState::Loaded,
            rows: Some(rows),
            note: None,
            late: false,
        });
    }
    set(
        &mut status,
        "2026-01-05",
        DayState::Failed,
        Some("03:00  types differ: discount numeric(12,4) into integer"),
    );
    if from <= "2025-12-20" {
        set(&mut status, "2025-12-20", DayState::Missing, None);
        set(&mut status, "2025-12-30", DayState::Stale, Some("verify 07:30: source has 212 rows more"));
    }
    status
}

fn set(status: &mut Status, key: &str, state: DayState, note: Option<&str>) {
    let cell = status.cells.iter_mut().find(|cell| cell.key == key).unwrap();
    cell.state = state;
    cell.note = note.map(str::to_owned);
    if matches!(state, DayState::Missing | DayState::Failed) {
        cell.rows = None;
    }
}

fn shown(status: &Status, width: usize) -> String {
    text(status, width, Palette::OFF)
}

#[test]
fn the_calendar_at_80_columns() {
    assert_snapshot!(shown(&orders("2023-01-01"), 80), @"
    orders  source -> warehouse mart.orders  day  America/New_York  0 3 * * *
    1,098 loaded  1 failed  1 missing  1 stale     2023-01-01 .. 2026-01-05
    loaded from 2023-01-01 to 2026-01-04

            J  F  M  A  M  J  J  A  S  O  N  D
      2025  #  #  #  #  #  #  #  #  #  #  #
      2024  #  #  #  #  #  #  #  #  #  #  #  #
      2023  #  #  #  #  #  #  #  #  #  #  #  #

          Nov         Dec            Jan
           3 10 17 24  1  8 15 22 29  5
      Mon  #  #  #  #  #  #  #  #  #  X      # loaded    X failed
      Tue  #  #  #  #  #  #  #  #  ~         . missing   ~ stale
      Wed  #  #  #  #  #  #  #  #  #         > running   ! interrupted
      Thu  #  #  #  #  #  #  #  #  #         - skipped
      Fri  #  #  #  #  #  #  #  #  #
      Sat  #  #  #  #  #  #  .  #  #         rows a day, last 14
      Sun  #  #  #  #  #  #  #  #  #         ▇▆▅▅▄▃█▇▆▅▅▄▃_   581 k median

    X 2026-01-05  03:00  types differ: discount numeric(12,4) into integer
                  pgtide status orders --date 2026-01-05
    . 2025-12-20  never loaded
                  pgtide run orders --date 2025-12-20
    ~ 2025-12-30  verify 07:30: source has 212 rows more
                  pgtide run orders --date 2025-12-30 --reload

    next 2026-01-07 03:00     mart.sales shows data up to 2026-01-04
    ");
}

#[test]
fn half_a_year_is_two_blocks_at_80_columns() {
    let mut status = orders("2023-01-01");
    status.draw_from = Some(default_from(status.today, 80));
    assert_snapshot!(shown(&status, 80), @"
    orders  source -> warehouse mart.orders  day  America/New_York  0 3 * * *
    1,098 loaded  1 failed  1 missing  1 stale     2023-01-01 .. 2026-01-05
    loaded from 2023-01-01 to 2026-01-04

            J  F  M  A  M  J  J  A  S  O  N  D
      2025  #  #  #  #  #  #  #
      2024  #  #  #  #  #  #  #  #  #  #  #  #
      2023  #  #  #  #  #  #  #  #  #  #  #  #

          Jul      Aug         Sep            Oct
          14 21 28  4 11 18 25  1  8 15 22 29  6
      Mon  #  #  #  #  #  #  #  #  #  #  #  #  #
      Tue  #  #  #  #  #  #  #  #  #  #  #  #  #
      Wed  #  #  #  #  #  #  #  #  #  #  #  #  #
      Thu  #  #  #  #  #  #  #  #  #  #  #  #  #
      Fri  #  #  #  #  #  #  #  #  #  #  #  #  #
      Sat  #  #  #  #  #  #  #  #  #  #  #  #  #
      Sun  #  #  #  #  #  #  #  #  #  #  #  #  #

          Oct      Nov         Dec            Jan
          13 20 27  3 10 17 24  1  8 15 22 29  5
      Mon  #  #  #  #  #  #  #  #  #  #  #  #  X      # loaded    X failed
      Tue  #  #  #  #  #  #  #  #  #  #  #  ~         . missing   ~ stale
      Wed  #  #  #  #  #  #  #  #  #  #  #  #         > running   ! interrupted
      Thu  #  #  #  #  #  #  #  #  #  #  #  #         - skipped
      Fri  #  #  #  #  #  #  #  #  #  #  #  #
      Sat  #  #  #  #  #  #  #  #  #  .  #  #         rows a day, last 14
      Sun  #  #  #  #  #  #  #  #  #  #  #  #         ▇▆▅▅▄▃█▇▆▅▅▄▃_   581 k median

    X 2026-01-05  03:00  types differ: discount numeric(12,4) into integer
                  pgtide status orders --date 2026-01-05
    . 2025-12-20  never loaded
                  pgtide run orders --date 2025-12-20
    ~ 2025-12-30  verify 07:30: source has 212 rows more
                  pgtide run orders --date 2025-12-30 --reload

    next 2026-01-07 03:00     mart.sales shows data up to 2026-01-04
    ");
}

#[test]
fn a_year_is_one_block_at_160_columns_and_a_bit() {
    let mut status = orders("2025-04-15");
    status.draw_from = None;
    for day in ["2025-08-02", "2025-08-03", "2025-08-04"] {
        set(&mut status, day, DayState::Missing, None);
    }
    set(&mut status, "2025-09-01", DayState::Interrupted, None);
    set(&mut status, "2025-09-02", DayState::Running, Some("etl-1 since 22:01, 412 k rows"));
    set(&mut status, "2025-09-03", DayState::Skipped, Some("source was down"));
    assert_snapshot!(shown(&status, 160), @"
    orders  source -> warehouse mart.orders  day  America/New_York  0 3 * * *
    257 loaded  1 failed  4 missing  1 stale  1 running  1 interrupted  1 skipped     2025-04-15 .. 2026-01-05
    loaded from 2025-04-15 to 2026-01-04

          Apr      May         Jun            Jul         Aug         Sep            Oct         Nov         Dec            Jan
          14 21 28  5 12 19 26  2  9 16 23 30  7 14 21 28  4 11 18 25  1  8 15 22 29  6 13 20 27  3 10 17 24  1  8 15 22 29  5
      Mon     #  #  #  #  #  #  #  #  #  #  #  #  #  #  #  .  #  #  #  !  #  #  #  #  #  #  #  #  #  #  #  #  #  #  #  #  #  X      # loaded    X failed
      Tue  #  #  #  #  #  #  #  #  #  #  #  #  #  #  #  #  #  #  #  #  >  #  #  #  #  #  #  #  #  #  #  #  #  #  #  #  #  ~         . missing   ~ stale
      Wed  #  #  #  #  #  #  #  #  #  #  #  #  #  #  #  #  #  #  #  #  -  #  #  #  #  #  #  #  #  #  #  #  #  #  #  #  #  #         > running   ! interrupted
      Thu  #  #  #  #  #  #  #  #  #  #  #  #  #  #  #  #  #  #  #  #  #  #  #  #  #  #  #  #  #  #  #  #  #  #  #  #  #  #         - skipped
      Fri  #  #  #  #  #  #  #  #  #  #  #  #  #  #  #  #  #  #  #  #  #  #  #  #  #  #  #  #  #  #  #  #  #  #  #  #  #  #
      Sat  #  #  #  #  #  #  #  #  #  #  #  #  #  #  #  .  #  #  #  #  #  #  #  #  #  #  #  #  #  #  #  #  #  #  #  .  #  #         rows a day, last 14
      Sun  #  #  #  #  #  #  #  #  #  #  #  #  #  #  #  .  #  #  #  #  #  #  #  #  #  #  #  #  #  #  #  #  #  #  #  #  #  #         ▇▆▅▅▄▃█▇▆▅▅▄▃_   581 k median

    X 2026-01-05  03:00  types differ: discount numeric(12,4) into integer
                  pgtide status orders --date 2026-01-05
    ! 2025-09-01  the run that loaded it died; the next takes it over
                  pgtide run orders --date 2025-09-01
    > 2025-09-02  etl-1 since 22:01, 412 k rows
    . 2025-12-20  never loaded
                  pgtide run orders --date 2025-12-20
    . 2025-08-02 .. 2025-08-04 (3)  never loaded
                  pgtide run orders --from-date 2025-08-02 --to-date 2025-08-04
    ~ 2025-12-30  verify 07:30: source has 212 rows more
                  pgtide run orders --date 2025-12-30 --reload

    next 2026-01-07 03:00     mart.sales shows data up to 2026-01-04
    ");
}

#[test]
fn no_line_is_wider_than_the_terminal() {
    let mut status = orders("2023-01-01");
    for width in [80, 100, 120, 160, 240] {
        status.draw_from = Some(default_from(status.today, width));
        let text = shown(&status, width);
        let widest = text.lines().map(console::measure_text_width).max();
        assert!(widest <= Some(width), "{width}: {widest:?}\n{text}");
    }
}

#[test]
fn where_only_missing_days_would_be_seen_the_newest_known_ones_are_drawn() {
    let mut status = orders("2023-01-01");
    for cell in &mut status.cells {
        cell.state = if cell.key == *"2023-03-01" { DayState::Loaded } else { DayState::Missing };
    }
    status.draw(None, 80);
    let text = shown(&status, 80);
    assert!(
        text.contains("  #  .      > running") && text.contains("\n  after 2023-03-08 all are missing\n"),
        "{text}"
    );
    status.draw(Some(date("2025-12-29")), 80);
    let text = shown(&status, 80);
    assert!(text.contains("\n      29  5\n") && !text.contains("all are missing"), "{text}");
}

#[test]
fn what_is_marked_ahead_of_its_time_is_counted_and_not_drawn() {
    let mut status = orders("2025-12-01");
    let cell = Cell { key: "2027-01-01".into(), date: date("2027-01-01"), ..status.cells[0].clone() };
    status.cells.push(Cell { state: DayState::Skipped, ..cell });
    status.draw(None, 80);
    let text = shown(&status, 80);
    assert!(text.contains("1 skipped     2025-12-01 .. 2027-01-01"), "{text}");
    assert!(!text.contains("2027\n"), "{text}");
}

#[test]
fn hours_show_the_worst_of_their_day_and_the_sum_of_its_rows() {
    let cell = |hour: u32, state, rows| Cell {
        key: format!("2026-01-05T{hour:02}"),
        date: date("2026-01-05"),
        state,
        rows,
        note: None,
        late: false,
    };
    let cells = [
        cell(0, DayState::Loaded, Some(3)),
        cell(1, DayState::Missing, None),
        cell(2, DayState::Loaded, Some(4)),
    ];
    assert_eq!(picture::by_date(&cells)[&date("2026-01-05")], (DayState::Missing, Some(7)));
}

#[test]
fn months_stand_in_a_row_per_year() {
    let mut status =
        Status { grain: Grain::Month, interval: "month".into(), footer: Vec::new(), ..orders("2026-01-05") };
    status.cells.clear();
    for (year, month) in (0..23).map(|n| (2024 + n / 12, n % 12 + 1)) {
        let date = NaiveDate::from_ymd_opt(year, month as u32, 1).unwrap();
        let state = if (year, month) == (2025, 11) { DayState::Missing } else { DayState::Loaded };
        status.cells.push(Cell {
            key: date.format("%Y-%m").to_string(),
            date,
            state,
            rows: Some(1),
            note: None,
            late: false,
        });
    }
    assert_snapshot!(shown(&status, 80), @"
    orders  source -> warehouse mart.orders  month  America/New_York  0 3 * * *
    22 loaded  1 missing     2024-01 .. 2025-11
    loaded from 2024-01 to 2025-10

            J  F  M  A  M  J  J  A  S  O  N  D
      2025  #  #  #  #  #  #  #  #  #  #  .
      2024  #  #  #  #  #  #  #  #  #  #  #  #

      # loaded  X failed  . missing  ~ stale  > running  ! interrupted  - skipped

    . 2025-11  never loaded
                  pgtide run orders --date 2025-11
    ");
}

#[test]
fn weeks_stand_in_a_row_per_year() {
    let mut status =
        Status { grain: Grain::Week, interval: "week".into(), footer: Vec::new(), ..orders("2026-01-05") };
    status.cells.clear();
    for week in date("2024-11-04").iter_weeks().take(60) {
        let key = week.format("%G-W%V").to_string();
        status.cells.push(Cell {
            key,
            date: week,
            state: DayState::Loaded,
            rows: Some(1),
            note: None,
            late: false,
        });
    }
    assert_snapshot!(shown(&status, 80), @"
    orders  source -> warehouse mart.orders  week  America/New_York  0 3 * * *
    60 loaded     2024-W45 .. 2025-W52

            1        10        20        30        40        50
      2025  ####################################################
      2024                                              ########

      # loaded  X failed  . missing  ~ stale  > running  ! interrupted  - skipped
    ");
}

#[test]
fn a_job_that_never_ran_says_so() {
    let status = Status { cells: Vec::new(), footer: Vec::new(), ..orders("2026-01-05") };
    assert_snapshot!(shown(&status, 80), @"
    orders  source -> warehouse mart.orders  day  America/New_York  0 3 * * *
    nothing is loaded or due yet
    ");
}

#[test]
fn colour_marks_states_and_changes_no_column() {
    let status = orders("2025-11-03");
    let painted = text(&status, 80, Palette::new(true));
    assert_ne!(painted, shown(&status, 80));
    assert_eq!(console::strip_ansi_codes(&painted), shown(&status, 80));
}

#[test]
fn the_json_form_counts_states_and_lists_intervals() {
    let object = json(&orders("2026-01-04"));
    assert_snapshot!(object.to_string(), @r#"{"job":"orders","source":"source","destination":"warehouse","into":"mart.orders","interval":"day","timezone":"America/New_York","schedule":"0 3 * * *","deadline_s":null,"counts":{"failed":1,"interrupted":0,"loaded":1,"missing":0,"running":0,"skipped":0,"stale":0},"late":0,"oldest_loaded":"2026-01-04","newest_loaded":"2026-01-04","gaps":[],"intervals":[{"interval":"2026-01-04","date":"2026-01-04","state":"loaded","rows":311000,"late":false,"note":null},{"interval":"2026-01-05","date":"2026-01-05","state":"failed","rows":null,"late":false,"note":"03:00  types differ: discount numeric(12,4) into integer"}],"moments":[]}"#);
}

#[test]
fn what_is_late_is_counted_and_said_beside_its_finding() {
    let mut status = Status { deadline: Some(Duration::from_secs(21_600)), ..orders("2025-12-01") };
    let missing = status.cells.iter_mut().find(|cell| cell.key == "2025-12-20").unwrap();
    missing.late = true;
    let text = shown(&status, 80);
    assert!(text.contains("1 missing  1 stale  1 late"), "{text}");
    assert!(text.contains("\n. 2025-12-20  late  never loaded\n"), "{text}");
    assert_eq!((&json(&status)["late"], &json(&status)["deadline_s"]), (&1.into(), &21_600.into()));
}

#[test]
fn what_has_a_deadline_may_be_missing_until_then() {
    let cell = |state, late| Cell { state, late, ..orders("2026-01-05").cells[0].clone() };
    assert!(cell(DayState::Missing, false).wants_attention(false), "no deadline: at once");
    assert!(!cell(DayState::Missing, false).wants_attention(true));
    assert!(cell(DayState::Missing, true).wants_attention(true));
    assert!(
        cell(DayState::Running, true).wants_attention(true)
            && !cell(DayState::Running, false).wants_attention(true)
    );
    assert!(cell(DayState::Failed, false).wants_attention(true));
    assert!(!cell(DayState::Loaded, false).wants_attention(true));
}

#[test]
fn gaps_are_stretches_without_a_load() {
    let mut status = orders("2025-12-01");
    for day in ["2025-12-19", "2025-12-20", "2025-12-28"] {
        set(&mut status, day, DayState::Missing, None);
    }
    let gaps = serde_json::json!([
        { "first": "2025-12-19", "last": "2025-12-20", "intervals": 2 },
        { "first": "2025-12-28", "last": "2025-12-28", "intervals": 1 },
    ]);
    assert_eq!(json(&status)["gaps"], gaps);
}

#[test]
fn ten_years_are_a_line_each_and_the_newest_weeks_day_by_day() {
    let mut status = orders("2016-01-01");
    status.draw(Some(date("2016-01-01")), 80);
    let text = shown(&status, 80);
    assert!(text.contains("\n  2016  #  #  #  #  #  #  #  #  #  #  #  #\n"), "{text}");
    assert!(text.lines().count() < 60, "{text}");
}
