//! How a backfill is worked on, as the ledger keeps it for `backfill resume`: options of the command
//! that change no rows, under their own names.

use serde_json::{Map, Value, json};

use crate::cli::args::LoadArgs;
use crate::cli::quantity;

/// The options that were given.
pub(super) fn written(load: &LoadArgs) -> Value {
    // Taken apart in full, so that a new option cannot be forgotten here.
    let LoadArgs {
        writers,
        batch_rows,
        batch_bytes,
        parallel,
        retries,
        fail_fast,
        stop_at,
        max_rate,
        run_backwards,
        dry_run: _,
        take_over: _,
        force: _,
    } = load;
    let mut map = Map::new();
    let mut put = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            map.insert(name.to_owned(), value);
        }
    };
    put("writers", writers.map(|n| json!(n)));
    put("batch_rows", batch_rows.map(|n| json!(n)));
    put("batch_bytes", batch_bytes.map(|n| json!(n)));
    put("parallel", parallel.map(|n| json!(n)));
    put("retries", retries.map(|n| json!(n)));
    put("fail_fast", fail_fast.then(|| json!(true)));
    put("stop_at", stop_at.map(|time| json!(time.format("%H:%M").to_string())));
    put("max_rate", max_rate.map(|rate| json!(rate.to_string())));
    put("run_backwards", run_backwards.then(|| json!(true)));
    Value::Object(map)
}

/// What was given now, and else what the ledger keeps.
pub(super) fn merged(given: LoadArgs, kept: &Value) -> LoadArgs {
    let number = |name: &str| kept.get(name).and_then(Value::as_u64);
    let size = |name: &str| number(name).and_then(|n| usize::try_from(n).ok());
    let flag = |name: &str| kept.get(name).and_then(Value::as_bool).unwrap_or(false);
    let text = |name: &str| kept.get(name).and_then(Value::as_str);
    LoadArgs {
        writers: given.writers.or(size("writers")),
        batch_rows: given.batch_rows.or(number("batch_rows")),
        batch_bytes: given.batch_bytes.or(number("batch_bytes")),
        parallel: given.parallel.or(size("parallel")),
        retries: given.retries.or(number("retries").and_then(|n| u32::try_from(n).ok())),
        fail_fast: given.fail_fast || flag("fail_fast"),
        stop_at: given.stop_at.or(text("stop_at").and_then(|text| quantity::time_of_day(text).ok())),
        max_rate: given.max_rate.or(text("max_rate").and_then(|text| quantity::rate(text).ok())),
        run_backwards: given.run_backwards || flag("run_backwards"),
        ..given
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_read_back_and_what_is_given_goes_first() {
        let load = LoadArgs {
            parallel: Some(8),
            fail_fast: true,
            stop_at: quantity::time_of_day("07:00").ok(),
            max_rate: quantity::rate("20MiB").ok(),
            ..LoadArgs::default()
        };
        let kept = written(&load);
        assert_eq!(
            kept.to_string(),
            r#"{"parallel":8,"fail_fast":true,"stop_at":"07:00","max_rate":"20971520B"}"#
        );
        let given = LoadArgs { parallel: Some(2), ..LoadArgs::default() };
        let merged = merged(given, &kept);
        assert_eq!((merged.parallel, merged.fail_fast, merged.writers), (Some(2), true, None));
        assert_eq!((merged.stop_at, merged.max_rate), (load.stop_at, load.max_rate));
    }
}
