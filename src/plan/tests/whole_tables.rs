//! Tables that are loaded whole.

use super::*;

#[test]
fn a_whole_table_has_no_dates() {
    let error = refused(&whole_job(), &days(["2026-01-05"]), &[]);
    assert_eq!(error.kind(), ErrorKind::Usage);
    assert!(error.to_string().starts_with("users loads its table whole"));
}

#[test]
fn a_whole_table_is_loaded_once_unless_a_reload_is_asked() {
    let done = record(DataInterval::WHOLE, State::Loaded);
    let failed = Recorded { attempts: 9, ..record(DataInterval::WHOLE, State::Failed) };
    for (request, recorded, line) in [
        (due(), vec![], "all load: never loaded"),
        (due(), vec![done.clone()], "all skip: loaded 2026-01-08 08:00 UTC, 27,004 rows"),
        (reloading(due()), vec![done], "all reload: loaded 2026-01-08 08:00 UTC, 27,004 rows"),
        (due(), vec![failed], "all load: failed 2026-01-08 08:00 UTC; this is try 10"),
    ] {
        assert_eq!(lines(&planned(&whole_job(), &request, &recorded)), [line]);
    }
}

#[test]
fn copies_load_each_time() {
    let done = [record(DataInterval::WHOLE, State::Loaded)];
    let copy = job_with(|job| {
        job.calendar = None;
        job.name = "copy:mart.users".to_owned();
    });
    assert_eq!(planned(&copy, &due(), &done).intervals[0].action, Action::Reload);
    assert_eq!(planned(&copy, &due(), &[]).intervals[0].action, Action::Load);
}
