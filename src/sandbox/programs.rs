//! Finds the Postgres programs of this machine: `initdb` and `postgres`, nothing else is needed.
//!
//! Distributions keep them out of `PATH`, each in its own place. `PG_BIN` overrides the search; a
//! folder named there that lacks them is an error, not a reason to look elsewhere.

use std::cmp::Reverse;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::error::{Error, ErrorKind, Result};

/// Folders with a `*` for the version, in the order in which they are tried.
const PLACES: [&str; 5] = [
    "/usr/lib/postgresql/*/bin",
    "/usr/pgsql-*/bin",
    "/opt/homebrew/opt/postgresql*/bin",
    "/usr/local/opt/postgresql*/bin",
    "/Applications/Postgres.app/Contents/Versions/*/bin",
];

const HINT: &str = "install the server programs:\n\
    Debian, Ubuntu   sudo apt-get install postgresql\n\
    Fedora, RHEL     sudo dnf install postgresql-server\n\
    Alpine           sudo apk add postgresql\n\
    Arch             sudo pacman -S postgresql\n\
    macOS            brew install postgresql@17\n\
    or set PG_BIN to the folder that holds initdb and postgres";

/// The folder of `initdb` and `postgres`, and their version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Programs {
    dir: PathBuf,
    version: String,
}

impl Programs {
    /// Finds the programs: `PG_BIN`, `PATH`, `pg_config --bindir`, then where systems put them, newest first.
    ///
    /// # Errors
    /// [`ErrorKind::Preflight`] with what to install when there are none.
    pub fn find() -> Result<Self> {
        if let Some(dir) = env::var_os("PG_BIN").filter(|d| !d.is_empty()) {
            return Self::named("PG_BIN", Path::new(&dir));
        }
        candidates().iter().find_map(|dir| Self::in_dir(dir)).ok_or_else(|| {
            Error::new(
                ErrorKind::Preflight,
                "no Postgres server programs (initdb, postgres) found on this machine",
            )
            .with_hint(HINT)
        })
    }

    /// Those of a folder that a variable names.
    ///
    /// # Errors
    /// [`ErrorKind::Preflight`], with the variable, when the folder does not hold them.
    pub fn named(variable: &str, dir: &Path) -> Result<Self> {
        Self::in_dir(dir).ok_or_else(|| {
            let text = format!("{variable} is {}, which holds no working initdb and postgres", dir.display());
            Error::new(ErrorKind::Preflight, text).with_hint(HINT)
        })
    }

    /// The folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The version as the server says it: `15.14`, `18beta1`.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    fn in_dir(dir: &Path) -> Option<Self> {
        if !dir.join("initdb").is_file() {
            return None;
        }
        let line = first_line(&dir.join("postgres"), "--version")?;
        let version = line.split_whitespace().nth(2)?.to_owned();
        Some(Self { dir: dir.to_owned(), version })
    }
}

fn candidates() -> Vec<PathBuf> {
    let mut dirs: Vec<PathBuf> =
        env::var_os("PATH").map(|path| env::split_paths(&path).collect()).unwrap_or_default();
    dirs.extend(first_line(Path::new("pg_config"), "--bindir").map(PathBuf::from));
    dirs.extend(PLACES.iter().flat_map(|place| matches_of(place)));
    dirs
}

/// The folders that a pattern with one `*` stands for, the highest version first.
fn matches_of(pattern: &str) -> Vec<PathBuf> {
    let Some((before, after)) = pattern.split_once('*') else { return Vec::new() };
    let Some((parent, prefix)) = before.rsplit_once('/') else { return Vec::new() };
    let Ok(entries) = fs::read_dir(parent) else { return Vec::new() };
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.starts_with(prefix))
        .collect();
    names.sort_by_key(|name| Reverse(numbers(name)));
    names.iter().map(|name| PathBuf::from(format!("{parent}/{name}{after}"))).collect()
}

/// The numbers in a name, so that 10 sorts above 9.6.
fn numbers(name: &str) -> Vec<u32> {
    name.split(|c: char| !c.is_ascii_digit()).filter_map(|part| part.parse().ok()).collect()
}

fn first_line(program: &Path, argument: &str) -> Option<String> {
    let output =
        Command::new(program).arg(argument).stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.lines().next().map(str::to_owned)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_version_of_a_pattern_comes_first() {
        let root = tempfile::tempdir().unwrap();
        for name in ["9.6", "18", "10", "other"] {
            fs::create_dir_all(root.path().join(format!("pg-{name}/bin"))).unwrap();
        }
        let found = matches_of(&format!("{}/pg-*/bin", root.path().display()));
        let names: Vec<_> =
            found.iter().map(|p| p.strip_prefix(root.path()).unwrap().to_str().unwrap()).collect();
        assert_eq!(names, ["pg-18/bin", "pg-10/bin", "pg-9.6/bin", "pg-other/bin"]);
    }

    #[test]
    fn a_folder_without_the_programs_is_none() {
        assert_eq!(Programs::in_dir(tempfile::tempdir().unwrap().path()), None);
    }
}
