//! What the process was started with: variables, home, user, current folder.
//!
//! Configuration reads the environment only through this value; tests make their own.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

/// Variables and places, taken once.
#[derive(Clone, Default)]
pub struct Environment {
    vars: BTreeMap<String, String>,
    home: Option<PathBuf>,
    user: Option<String>,
    current_dir: PathBuf,
    socket_dirs: Vec<PathBuf>,
    system_dir: Option<PathBuf>,
}

impl Environment {
    /// Takes the process's environment; variables that are not UTF-8 are left out.
    #[must_use]
    pub fn from_process() -> Self {
        let vars: BTreeMap<_, _> = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        let account = nix::unistd::User::from_uid(nix::unistd::geteuid()).ok().flatten();
        let home = vars.get("HOME").filter(|home| !home.is_empty()).map(PathBuf::from);
        Self {
            home: home.or_else(|| account.as_ref().map(|a| a.dir.clone())),
            user: account.map(|a| a.name),
            current_dir: std::env::current_dir().unwrap_or_else(|_| PathBuf::from(".")),
            socket_dirs: ["/var/run/postgresql", "/tmp"].map(PathBuf::from).into(),
            system_dir: Some(PathBuf::from("/etc/postgresql-common")),
            vars,
        }
    }

    /// Makes an environment with no variables, no home and no user, in a folder.
    #[must_use]
    pub fn empty(current_dir: impl Into<PathBuf>) -> Self {
        Self { current_dir: current_dir.into(), ..Self::default() }
    }

    /// Sets a variable.
    #[must_use]
    pub fn with_var(mut self, name: &str, value: &str) -> Self {
        self.vars.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Sets the home folder.
    #[must_use]
    pub fn with_home(mut self, home: impl Into<PathBuf>) -> Self {
        self.home = Some(home.into());
        self
    }

    /// Sets the operating system's user, the default role.
    #[must_use]
    pub fn with_user(mut self, user: &str) -> Self {
        self.user = Some(user.to_owned());
        self
    }

    /// Adds a folder where a local server's socket may be.
    #[must_use]
    pub fn with_socket_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.socket_dirs.push(dir.into());
        self
    }

    /// Looks a variable up.
    #[must_use]
    pub fn var(&self, name: &str) -> Option<&str> {
        self.vars.get(name).map(String::as_str)
    }

    /// Looks a variable up; an empty one counts as not set.
    #[must_use]
    pub fn filled_var(&self, name: &str) -> Option<&str> {
        self.var(name).filter(|value| !value.is_empty())
    }

    /// Lists the variables' names.
    pub fn var_names(&self) -> impl Iterator<Item = &str> {
        self.vars.keys().map(String::as_str)
    }

    /// The home folder.
    #[must_use]
    pub fn home(&self) -> Option<&Path> {
        self.home.as_deref()
    }

    /// The operating system's user.
    #[must_use]
    pub fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// The current folder.
    #[must_use]
    pub fn current_dir(&self) -> &Path {
        &self.current_dir
    }

    /// Folders where a local server's socket may be, in order.
    #[must_use]
    pub fn socket_dirs(&self) -> &[PathBuf] {
        &self.socket_dirs
    }

    /// The folder of the system-wide `pg_service.conf`: `PGSYSCONFDIR`, else Debian's.
    #[must_use]
    pub fn system_dir(&self) -> Option<PathBuf> {
        self.filled_var("PGSYSCONFDIR").map(PathBuf::from).or_else(|| self.system_dir.clone())
    }

    /// A path as a person in the current folder would write it.
    #[must_use]
    pub fn shown(&self, path: &Path) -> String {
        path.strip_prefix(&self.current_dir).unwrap_or(path).display().to_string()
    }

    /// An absolute form of a path, relative ones being in `base`; `~/` is the home folder.
    #[must_use]
    pub fn absolute(&self, base: &Path, path: &str) -> PathBuf {
        match (path.strip_prefix("~/"), &self.home) {
            (Some(rest), Some(home)) => home.join(rest),
            _ => base.join(path),
        }
    }
}

/// Names the variables, never their values.
impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Environment")
            .field("vars", &self.vars.keys().collect::<Vec<_>>())
            .field("home", &self.home)
            .field("user", &self.user)
            .field("current_dir", &self.current_dir)
            .finish_non_exhaustive()
    }
}
