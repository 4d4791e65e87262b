//! Which place a connection's name stands for: the command line, a variable, or the project file.
//!
//! Finding and resolving are two steps, so that `check` can collect what is wrong with each.

use super::Project;
use crate::config::connection::{ConnectionSpec, Extra, Words, findings, parse_airflow, resolve};
use crate::config::file::{Item, Table, Value, expand};
use crate::config::finding::Finding;
use crate::config::nearest::did_you_mean;
use crate::config::overrides::Overrides;
use crate::config::reader::{Reader, unknown_key};
use crate::error::{Error, ErrorKind};

const OWN_KEYS: [&str; 3] = ["url", "password_command", "max_connections"];

/// Where a connection's place was found.
pub(super) enum Found<'a> {
    /// In an option of the command line.
    Typed(&'static str, &'a str),
    /// In the name itself, a URL or a keyword string.
    Given(&'a str),
    /// In `PGTIDE_CONN_NAME`.
    Variable(&'a str),
    /// In `[connections.NAME]`.
    Section(&'a Table),
    /// In `AIRFLOW_CONN_NAME`.
    Airflow(&'a str),
}

/// The name of a connection that is given by its place alone.
const GIVEN: &str = "given";

type Resolved = Result<(ConnectionSpec, Vec<String>), Vec<Finding>>;

impl Project {
    /// Finds what a name stands for, strongest first.
    pub(super) fn find_connection<'a>(&'a self, name: &'a str) -> Option<Found<'a>> {
        let typed = match name {
            "source" => Some(("--source", &self.overrides.source)),
            "destination" => Some(("--destination", &self.overrides.destination)),
            _ => None,
        };
        if let Some((option, Some(place))) = typed
            && Overrides::is_place(place)
        {
            return Some(Found::Typed(option, place));
        }
        if Overrides::is_place(name) {
            return Some(Found::Given(name));
        }
        let variable = variable_name(name);
        let set = |prefix: &str| self.env.filled_var(&format!("{prefix}_CONN_{variable}"));
        set("PGTIDE")
            .map(Found::Variable)
            .or_else(|| self.document.connections.get(name).map(Found::Section))
            .or_else(|| set("AIRFLOW").map(Found::Airflow))
    }

    /// Resolves what was found; gives warnings beside it.
    pub(super) fn resolve_found(&self, name: &str, found: &Found<'_>) -> Resolved {
        let variable = variable_name(name);
        let about = |origin: String| move |what: String| findings(name, vec![format!("{origin}: {what}")]);
        let (words, extra, mut warnings) = match found {
            Found::Given(place) => {
                // Not `name`: it is the place, and may hold a password.
                let words = Words::parse(place).map_err(|what| findings(GIVEN, vec![what]))?;
                return self.finish(GIVEN, words, Extra::default());
            }
            Found::Typed(option, place) => {
                let words = Words::parse(place).map_err(about((*option).to_owned()))?;
                let warnings = self.typed_password(&words, option, &variable);
                (words, Extra::default(), warnings)
            }
            Found::Variable(place) => {
                let words = Words::parse(place).map_err(about(format!("PGTIDE_CONN_{variable}")))?;
                (words, self.cap(name)?, Vec::new())
            }
            Found::Airflow(place) => {
                let parsed = parse_airflow(place).map_err(about(format!("AIRFLOW_CONN_{variable}")))?;
                (parsed.0, Extra::default(), parsed.1)
            }
            Found::Section(table) => self.read_section(name, table)?,
        };
        let (spec, more) = self.finish(name, words, extra)?;
        warnings.extend(more);
        Ok((spec, warnings))
    }

    fn finish(&self, name: &str, words: Words, extra: Extra) -> Resolved {
        resolve(name, words, extra, &self.env).map_err(|problems| findings(name, problems))
    }

    fn typed_password(&self, words: &Words, option: &str, variable: &str) -> Vec<String> {
        let warning = format!(
            "the password in {option} is visible to other users of this machine (ps): \
             use PGTIDE_CONN_{variable}, PGPASSWORD or a password file"
        );
        words.get("password").map(|_| warning).into_iter().collect()
    }

    /// The cap is about the server's name, wherever its place comes from.
    fn cap(&self, name: &str) -> Result<Extra, Vec<Finding>> {
        let Some(table) = self.document.connections.get(name) else { return Ok(Extra::default()) };
        let mut section = Section::new(self, name);
        let max_connections = section.extra(table).max_connections;
        section.finish(Extra { max_connections, ..Extra::default() })
    }

    fn read_section(&self, name: &str, table: &Table) -> Result<(Words, Extra, Vec<String>), Vec<Finding>> {
        let mut section = Section::new(self, name);
        let (words, extra) = section.read(table);
        let mut warnings = Vec::new();
        if section.holds_password && self.document.is_readable_by_others {
            let shown = &self.document.shown;
            warnings.push(format!(
                "{shown} holds its password and can be read by others: chmod 600 {shown}, or use ${{VARIABLE}}"
            ));
        }
        section.finish((words, extra, warnings))
    }

    /// The names of all connections that can be resolved, each once.
    #[must_use]
    pub fn connection_names(&self) -> Vec<String> {
        let from_variables = self.env.var_names().filter_map(|variable| {
            let name = variable.strip_prefix("PGTIDE_CONN_").or(variable.strip_prefix("AIRFLOW_CONN_"))?;
            Some(name.to_lowercase())
        });
        let declared = &self.document.connections;
        let is_new = |name: &String| !declared.keys().any(|key| variable_name(key) == variable_name(name));
        let mut names: Vec<String> = from_variables.filter(is_new).chain(declared.keys().cloned()).collect();
        names.sort();
        names.dedup();
        names
    }

    /// Makes the error for a name that stands for nothing.
    pub(super) fn unknown_connection(&self, name: &str) -> Error {
        if name.is_empty() {
            return Error::new(ErrorKind::Config, "the name of a connection is empty").with_hint(
                "after --source and --destination: is the variable that should hold the URL set?",
            );
        }
        let variable = variable_name(name);
        let known = self.connection_names();
        let suggestion = did_you_mean(name, known.iter().map(String::as_str));
        let shown = name.escape_debug();
        let error = Error::new(ErrorKind::Config, format!("there is no connection `{shown}`{suggestion}"));
        let error = match known.as_slice() {
            [] => error,
            known => error.with_detail(format!("known connections: {}", known.join(", "))),
        };
        let option = match name {
            "source" => "--source URL, ",
            "destination" => "--destination URL, ",
            _ => "",
        };
        error.with_hint(format!(
            "give {option}PGTIDE_CONN_{variable}, or [connections.{shown}] in pgtide.toml"
        ))
    }
}

/// `my-dw` in a variable's name is `MY_DW`.
fn variable_name(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect()
}

/// Reads one `[connections.NAME]`.
struct Section<'a> {
    project: &'a Project,
    name: &'a str,
    findings: Vec<Finding>,
    /// Whether the password itself, not a variable, is written in the file.
    holds_password: bool,
}

impl<'a> Section<'a> {
    fn new(project: &'a Project, name: &'a str) -> Self {
        Self { project, name, findings: Vec::new(), holds_password: false }
    }

    fn finish<T>(self, value: T) -> Result<T, Vec<Finding>> {
        if self.findings.is_empty() { Ok(value) } else { Err(self.findings) }
    }

    fn read(&mut self, table: &Table) -> (Words, Extra) {
        let mut words = self.url(table).unwrap_or_default();
        for (key, (place, item)) in &table.entries {
            if OWN_KEYS.contains(&key.as_str()) {
                continue;
            }
            if !Words::knows(key) {
                let known: Vec<&str> = OWN_KEYS.into_iter().chain(Words::names()).collect();
                self.findings.push(unknown_key(key, place, &known));
                continue;
            }
            if words.get(key).is_some() {
                self.fail(item, key, "is in the url too; one of the two is enough");
                continue;
            }
            self.word(&mut words, key, item);
        }
        (words, self.extra(table))
    }

    fn url(&mut self, table: &Table) -> Option<Words> {
        let (_, item) = table.entries.get("url")?;
        let Value::Text(text) = &item.value else {
            self.fail(item, "url", "is not a string");
            return None;
        };
        let raw_password = Words::parse(text).ok().and_then(|words| words.get("password").map(str::to_owned));
        self.holds_password |= raw_password.is_some_and(|password| !password.contains("${"));
        let words = expand(text, &self.project.env).and_then(|url| Words::parse(&url));
        words.map_err(|what| self.fail(item, "url", what)).ok()
    }

    fn word(&mut self, words: &mut Words, key: &str, item: &Item) {
        let text = match &item.value {
            Value::Text(text) => {
                self.holds_password |= key == "password" && !text.contains("${");
                expand(text, &self.project.env)
            }
            Value::Integer(number) => Ok(number.to_string()),
            Value::Flag(flag) => Ok(u8::from(*flag).to_string()),
            other => Err(format!("is {}, not a string or a number", other.kind())),
        };
        if let Err(what) = text.and_then(|text| words.set(key, &text)) {
            self.fail(item, key, what);
        }
    }

    fn extra(&mut self, table: &Table) -> Extra {
        let mut expanded = Table::default();
        for key in ["password_command", "max_connections"] {
            if let Some((place, item)) = table.entries.get(key) {
                let mut item = item.clone();
                let path = self.path(key);
                item.change_texts(&path, &|text| expand(text, &self.project.env), &mut self.findings);
                expanded.entries.insert(key.to_owned(), (place.clone(), item));
            }
        }
        let mut reader = Reader::new(&self.project.document.shown, vec![&expanded]);
        let password_command = match reader.item("password_command").map(|item| &item.value) {
            None => None,
            Some(Value::List(items)) if !items.is_empty() => reader.texts("password_command"),
            Some(_) => {
                reader.fail("password_command", "is not an array such as [\"pass\", \"show\", \"dw\"]");
                None
            }
        };
        let max_connections =
            reader.integer("max_connections", 2..=10_000).and_then(|n| usize::try_from(n).ok());
        self.findings.extend(reader.finish());
        Extra { password_command, max_connections, base: Some(self.project.root.clone()) }
    }

    fn path(&self, key: &str) -> String {
        format!("connections.{}.{key}", self.name)
    }

    fn fail(&mut self, item: &Item, key: &str, message: impl Into<String>) {
        let path = self.path(key);
        self.findings.push(Finding::at(item.place.clone(), message).about(&path));
    }
}
