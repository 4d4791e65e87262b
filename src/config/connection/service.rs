//! `pg_service.conf`: sections of libpq words, chosen by `service=` or `PGSERVICE`.
//!
//! The user's own file comes first, then the system's; a service fills only what is not given.

use std::path::{Path, PathBuf};

use super::words::Words;
use crate::config::environment::Environment;
use crate::config::file::read_text;

/// Fills words from a service, where they have no value yet.
///
/// # Errors
/// Where the service was looked for, or which line is not valid.
pub(super) fn fill(words: &mut Words, service: &str, env: &Environment) -> Result<(), String> {
    let mut seen = Vec::new();
    for (path, required) in files(words, env) {
        if !path.exists() && !required {
            continue;
        }
        let shown = env.shown(&path);
        let text = read_text(&path).map_err(|what| format!("the service file {shown} {what}"))?;
        if let Some(found) = section(&text, service, &shown)? {
            found.iter().for_each(|(name, value)| words.fill(name, value));
            return Ok(());
        }
        seen.push(shown);
    }
    let service = service.escape_debug();
    match seen.as_slice() {
        [] => Err(format!("service `{service}` is not defined: there is no service file")),
        files => Err(format!("service `{service}` is not defined in {}", files.join(" or "))),
    }
}

/// The files to look in, and whether each must exist.
fn files(words: &Words, env: &Environment) -> Vec<(PathBuf, bool)> {
    let named = words.get("servicefile").or_else(|| env.filled_var("PGSERVICEFILE"));
    let own = match named {
        Some(path) => Some((env.absolute(env.current_dir(), path), true)),
        None => env.home().map(|home| (home.join(".pg_service.conf"), false)),
    };
    let system = env.system_dir().map(|dir: PathBuf| (Path::join(&dir, "pg_service.conf"), false));
    own.into_iter().chain(system).collect()
}

/// Reads one section; within it the first value of a word wins.
fn section(text: &str, service: &str, shown: &str) -> Result<Option<Words>, String> {
    let mut found: Option<Words> = None;
    for (at, line) in text.lines().enumerate() {
        let line = line.trim();
        let bad = |what: &str| format!("{shown}:{}: {what}", at + 1);
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            if found.is_some() {
                break;
            }
            found = (name == service).then(Words::default);
            continue;
        }
        let Some(words) = &mut found else { continue };
        if line.starts_with("ldap") {
            return Err(bad("LDAP look-ups are not supported"));
        }
        let (name, value) = line.split_once('=').ok_or_else(|| bad("is not `word=value`"))?;
        if matches!(name, "service" | "servicefile") {
            return Err(bad("a service cannot name another service"));
        }
        if words.get(name).is_none() {
            words.set(name, value).map_err(|what| bad(&what))?;
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "# all\n[other]\nhost=wrong\n\n[dw]\nhost=db\nhost=second\n user=etl\n\
                        password=canary\n[dw]\nport=9\n";

    #[test]
    fn a_section_fills_only_what_is_missing() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(".pg_service.conf"), FILE).unwrap();
        let env = Environment::empty("/").with_home(dir.path());
        let mut words = Words::default();
        words.set("user", "me").unwrap();
        fill(&mut words, "dw", &env).unwrap();
        let got = ["host", "user", "password", "port"].map(|name| words.get(name).map(str::to_owned));
        assert_eq!(got, [Some("db".into()), Some("me".into()), Some("canary".into()), None]);
    }

    #[test]
    fn the_named_file_comes_first_then_the_system_folder() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("pg_service.conf"), "[sys]\nhost=far\n").unwrap();
        std::fs::write(dir.path().join("mine"), "[own]\nhost=near\n").unwrap();
        let env = Environment::empty(dir.path())
            .with_var("PGSERVICEFILE", "mine")
            .with_var("PGSYSCONFDIR", &dir.path().display().to_string());
        for (service, host) in [("own", "near"), ("sys", "far")] {
            let mut words = Words::default();
            fill(&mut words, service, &env).unwrap();
            assert_eq!(words.get("host"), Some(host));
        }
        let message = fill(&mut Words::default(), "none", &env).unwrap_err();
        assert_eq!(message, "service `none` is not defined in mine or pg_service.conf");
        let lost = Environment::empty(dir.path()).with_var("PGSERVICEFILE", "lost");
        assert!(fill(&mut Words::default(), "own", &lost).unwrap_err().starts_with("the service file lost "));
    }

    #[test]
    fn a_bad_line_is_told_by_file_and_line() {
        for (text, expected) in [
            ("[a]\nhost", "f:2: is not `word=value`"),
            ("[a]\nldap://x", "f:2: LDAP look-ups are not supported"),
            ("[a]\n\nservice=b", "f:3: a service cannot name another service"),
            ("[a]\nhots=canary", "f:2: unknown word `hots`, did you mean `host`?"),
        ] {
            assert_eq!(section(text, "a", "f").err().as_deref(), Some(expected));
        }
    }
}
