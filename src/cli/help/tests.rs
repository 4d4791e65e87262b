//! The first screen, the help texts and the exit codes as a person sees them.

use insta::assert_snapshot;

use super::*;

fn project() -> Project {
    Project { file: "/srv/etl/pgtide.toml".into(), jobs: 3 }
}

fn help_at(width: usize, verb: Option<&str>) -> String {
    let mut command = command().term_width(width);
    command.build();
    let help = match verb {
        Some(verb) => command.find_subcommand_mut(verb).unwrap().render_help(),
        None => command.render_help(),
    };
    help.to_string()
}

#[test]
fn the_grammar_is_sound() {
    command().debug_assert();
}

#[test]
fn the_first_screen() {
    let screen = first_screen(Some(&project()), Palette::OFF);
    assert!(screen.lines().all(|line| line.chars().count() <= 80));
    assert_snapshot!(screen, @r#"
    pgtide 0.1.0  Copy Postgres to Postgres, day by day, exactly once

    Usage: pgtide COMMAND [OPTIONS]

    Start   demo      The whole story on two throw-away servers
            copy      Copy tables or a query now; no files needed
            init      Write pgtide.toml and a first job from a live table
            check     Test configuration, connections, rights and types
    Load    run       Load what is due, or the dates given
            backfill  Load a range of dates in parallel; again = resume
            plan      What run or backfill would do, and why
    Look    status    Calendar of days; one day's error and tries
            mark      Override a day's state, with a reason
    Views   views     Status, plan, apply, refresh

      pgtide copy public.users -s "$SRC" -d "$DST"
      pgtide run users --date 2026-01-05
      pgtide backfill users --from-date 2023-01-01 --to-date 2025-12-31

    Project: /srv/etl/pgtide.toml, 3 jobs
    More: pgtide help COMMAND, pgtide help exit-codes
    "#);
}

#[test]
fn every_verb_is_in_a_group_of_the_help() {
    let named: Vec<_> = [GROUPS, MORE].concat().iter().flat_map(|(_, names)| names.to_vec()).collect();
    let verbs: Vec<_> = Cli::command().get_subcommands().map(|verb| verb.get_name().to_owned()).collect();
    assert_eq!(named, verbs);
}

#[test]
fn help_at_80_columns() {
    assert_snapshot!(help_at(80, None), @"
    pgtide 0.1.0  Copy Postgres to Postgres, day by day, exactly once

    Usage: pgtide COMMAND [OPTIONS]

    Start   demo         The whole story on two throw-away servers
            copy         Copy tables or a query now; no files needed
            init         Write pgtide.toml and a first job from a live table
            check        Test configuration, connections, rights and types
    Load    run          Load what is due, or the dates given
            backfill     Load a range of dates in parallel; again = resume
            plan         What run or backfill would do, and why
    Look    status       Calendar of days; one day's error and tries
            mark         Override a day's state, with a reason
    Views   views        Status, plan, apply, refresh
    More    completions  Print a script that completes commands for a shell
            man          Print the manual page
            help         Show the help of a command, or the exit codes

    For every command:
      -s, --source <CONN|URL>       The source: a connection's name, or a URL
      -d, --destination <CONN|URL>  The destination: a connection's name, or a URL
          --config <FILE>           The project's file, in place of the nearest
                                    pgtide.toml upward
      -o, --output <FORMAT>         What stdout gets: text for people, json for
                                    programs
      -q, --quiet                   Say only what failed
      -v, --verbose...              Say more; -vv and -vvv log more
          --color <WHEN>            When to use colour: auto, always, never
          --progress <HOW>          How to show progress: auto, bars, plain, none
          --log-format <FORMAT>     The form of log lines: text, json
          --show-values             Let error messages hold values of rows
          --skip-exit-code <CODE>   Exit with this code, 99, when there was nothing
                                    to do
      -h, --help                    Print help
      -V, --version                 Print version

    Exit codes:
        0  done           all that was asked for is committed, or nothing was due
        1  failed         some intervals failed; the last lines say which
        2  usage          the command line makes no sense; nothing was done
       75  temporary      locked, unreachable or not complete yet: try later
       78  configuration  configuration, tables or rights have to change first
       99  nothing to do  only with --skip-exit-code 99
      130  interrupted    SIGINT (Ctrl-C) ended it; the same command goes on
      143  terminated     SIGTERM ended it; the same command goes on
    ");
}

#[test]
fn help_of_a_verb_at_80_columns() {
    assert_snapshot!(help_at(80, Some("run")), @"
    Load what is due, or the dates given

    Usage: pgtide run [OPTIONS] [JOB]...

    Arguments:
      [JOB]...  Jobs by name; all of the project without

    Options:
      -h, --help  Print help

    Dates:
          --date <DATE>            A day, a month or a key as status prints it:
                                   2026-01-05, 2026-01, 2026-W02; may be given again
          --from-date <DATE>       The first day (or month) of a range
          --to-date <DATE>         The last day (or month) of the range, inside it
          --interval-start <TIME>  The first instant, on the job's grid:
                                   2026-01-05T06:00 (local) or with an offset
          --interval-end <TIME>    The first instant after

    Load:
          --writers <N>         Destination connections per interval, 1 to 16
          --batch-rows <ROWS>   Rows in a transaction: 50000, 50k
          --batch-bytes <SIZE>  Bytes in a transaction: 16MiB
          --parallel <N>        Intervals (or tables) at once in this process, 1 to
                                64
          --retries <N>         Further tries after a failure that may pass
          --fail-fast           Start nothing new after the first failure
          --dry-run             Show the plan and change nothing
          --take-over           End the run that holds an interval, and load it here
          --force               Load again what append has loaded: its rows are then
                                there twice
          --reload              Load also what is loaded; its rows are replaced
          --stale               Load also what is stale

    For every command:
      -s, --source <CONN|URL>       The source: a connection's name, or a URL
      -d, --destination <CONN|URL>  The destination: a connection's name, or a URL
          --config <FILE>           The project's file, in place of the nearest
                                    pgtide.toml upward
      -o, --output <FORMAT>         What stdout gets: text for people, json for
                                    programs
      -q, --quiet                   Say only what failed
      -v, --verbose...              Say more; -vv and -vvv log more
          --color <WHEN>            When to use colour: auto, always, never
          --progress <HOW>          How to show progress: auto, bars, plain, none
          --log-format <FORMAT>     The form of log lines: text, json
          --show-values             Let error messages hold values of rows
          --skip-exit-code <CODE>   Exit with this code, 99, when there was nothing
                                    to do

    Examples:
      pgtide run                             what is due, of every job
      pgtide run orders --date 2026-01-05    this day, unless it is loaded
      pgtide run orders --date 2026-01 --reload

    An interval is loaded when it is complete, exactly once; loaded ones are left
    alone.
    ");
}

#[test]
fn help_of_a_verb_at_160_columns() {
    assert_snapshot!(help_at(160, Some("copy")), @r#"
    Copy tables or a query now; no files needed

    Usage: pgtide copy [OPTIONS] TABLE...
           pgtide copy [OPTIONS] --query SQL --into TABLE

    Arguments:
      [TABLE]...  Tables of the source: schema.table

    Options:
          --into <TABLE>   The destination table, if it has another name
          --query <SQL>    A query of the source in place of a table
          --where <SQL>    A SQL condition on the source
          --mode <MODE>    append, delete-insert, merge or replace; a table that is made new needs none
          --key <COLUMNS>  The key columns of merge: id, or id,day
          --no-create      Refuse when the destination table is missing, rather than make it
      -h, --help           Print help

    Load:
          --writers <N>         Destination connections per interval, 1 to 16
          --batch-rows <ROWS>   Rows in a transaction: 50000, 50k
          --batch-bytes <SIZE>  Bytes in a transaction: 16MiB
          --parallel <N>        Intervals (or tables) at once in this process, 1 to 64
          --retries <N>         Further tries after a failure that may pass
          --fail-fast           Start nothing new after the first failure
          --dry-run             Show the plan and change nothing
          --take-over           End the run that holds an interval, and load it here
          --force               Load again what append has loaded: its rows are then there twice

    For every command:
      -s, --source <CONN|URL>       The source: a connection's name, or a URL
      -d, --destination <CONN|URL>  The destination: a connection's name, or a URL
          --config <FILE>           The project's file, in place of the nearest pgtide.toml upward
      -o, --output <FORMAT>         What stdout gets: text for people, json for programs
      -q, --quiet                   Say only what failed
      -v, --verbose...              Say more; -vv and -vvv log more
          --color <WHEN>            When to use colour: auto, always, never
          --progress <HOW>          How to show progress: auto, bars, plain, none
          --log-format <FORMAT>     The form of log lines: text, json
          --show-values             Let error messages hold values of rows
          --skip-exit-code <CODE>   Exit with this code, 99, when there was nothing to do

    Examples:
      pgtide copy public.users -s "$SRC" -d "$DST"
      pgtide copy public.users public.orders -s source -d warehouse
      pgtide copy --query "select * from users where active" --into mart.users -s source -d warehouse

    Rows pass as they are, in binary, in transactions of --batch-rows.
    A table that holds rows needs a --mode; with --mode replace the same command loads again.
    "#);
}

#[test]
fn the_exit_codes() {
    assert!(exit_codes().lines().all(|line| line.len() <= 80));
    assert_snapshot!(exit_codes(), @"
      0  done           all that was asked for is committed, or nothing was due
      1  failed         some intervals failed; the last lines say which
      2  usage          the command line makes no sense; nothing was done
     75  temporary      locked, unreachable or not complete yet: try later
     78  configuration  configuration, tables or rights have to change first
     99  nothing to do  only with --skip-exit-code 99
    130  interrupted    SIGINT (Ctrl-C) ended it; the same command goes on
    143  terminated     SIGTERM ended it; the same command goes on
    ");
}

#[test]
fn a_long_path_of_a_project_keeps_its_end() {
    let long = Project { file: format!("/srv/{}/pgtide.toml", "x".repeat(100)).into(), jobs: 1 };
    let line = long.to_string();
    assert_eq!(line.chars().count(), 80);
    assert!(line.ends_with("xx/pgtide.toml, 1 job"), "{line}");
}

#[test]
fn a_project_is_found_upward_with_the_number_of_its_jobs() {
    let dir = tempfile::tempdir().unwrap();
    let deep = dir.path().join("a/b");
    std::fs::create_dir_all(&deep).unwrap();
    assert_eq!(Project::nearest(&deep), None);
    std::fs::write(dir.path().join("pgtide.toml"), "").unwrap();
    assert_eq!(Project::nearest(&deep).unwrap().jobs, 0, "without a folder of jobs");
    std::fs::create_dir(dir.path().join("jobs")).unwrap();
    for name in ["users.toml", "orders.toml", "notes.md"] {
        std::fs::write(dir.path().join("jobs").join(name), "").unwrap();
    }
    assert_eq!(Project::nearest(&deep).unwrap().jobs, 2);
}

#[test]
fn colour_is_known_before_parsing() {
    let color = |args: &[&str]| color_of(&args.iter().map(Into::into).collect::<Vec<_>>());
    assert_eq!(color(&["pgtide", "--color", "never", "run"]), clap::ColorChoice::Never);
    assert_eq!(color(&["pgtide", "run", "--color=always"]), clap::ColorChoice::Always);
    assert_eq!(color(&["pgtide", "run", "--", "--color=always"]), clap::ColorChoice::Auto);
    assert_eq!(color(&["pgtide", "run", "--color"]), clap::ColorChoice::Auto);
}

#[test]
fn the_documents_show_the_exit_codes_as_the_help_does() {
    let pages = [
        ("README", include_str!("../../../README.md")),
        ("docs", include_str!("../../../docs/operations.md")),
    ];
    for (name, page) in pages {
        assert!(page.contains(&exit_codes()), "{name}");
    }
}
