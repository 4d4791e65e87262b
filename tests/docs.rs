//! The documents agree with the program: what they name exists, and what exists is named.
//!
//! Keys of jobs, words of connections and exit codes are held to their pages by tests beside them.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use pgtide::config::environment::Environment;
use pgtide::config::overrides::Overrides;
use pgtide::config::project::Project;

use crate::support::cli::write_file;

/// A page of the documentation.
struct Page {
    path: PathBuf,
    text: String,
}

fn pages() -> Vec<Page> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folders =
        ["docs", "docs/views"].into_iter().flat_map(|folder| fs::read_dir(root.join(folder)).unwrap());
    let docs = folders.map(|entry| entry.unwrap().path());
    let paths = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"].map(|name| root.join(name));
    let pages = paths.into_iter().chain(docs.filter(|path| path.extension().is_some_and(|e| e == "md")));
    pages.map(|path| Page { text: fs::read_to_string(&path).unwrap(), path }).collect()
}

fn page(name: &str) -> Page {
    pages().into_iter().find(|page| page.path.ends_with(name)).unwrap()
}

impl Page {
    fn name(&self) -> String {
        self.path.strip_prefix(env!("CARGO_MANIFEST_DIR")).unwrap().display().to_string()
    }

    /// The text under a heading, up to the next one of the same level.
    fn section(&self, heading: &str) -> &str {
        let after = self.text.split(&*format!("\n{heading}\n")).nth(1);
        let after = after.unwrap_or_else(|| panic!("{} has no {heading}", self.name()));
        after.split("\n## ").next().unwrap()
    }

    /// The fenced blocks of a language.
    fn blocks(&self, language: &str) -> Vec<&str> {
        let fence = format!("\n```{language}\n");
        let starts = self.text.split(&*fence).skip(1);
        starts.map(|rest| rest.split("\n```").next().unwrap()).collect()
    }

    /// Places of links, without those to other sites.
    fn links(&self) -> Vec<&str> {
        let targets = self.text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        targets.filter(|target| !target.contains("://")).collect()
    }
}

/// The heading of a page as the anchor of a link.
fn anchor(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = text.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.collect::<String>().replace(' ', "-")
}

#[test]
fn every_link_leads_somewhere() {
    for page in pages() {
        for link in page.links() {
            let (file, heading) = link.split_once('#').map_or((link, None), |(f, h)| (f, Some(h)));
            let target =
                if file.is_empty() { page.path.clone() } else { page.path.parent().unwrap().join(file) };
            assert!(target.exists(), "{}: {link} leads nowhere", page.name());
            let Some(heading) = heading else { continue };
            let text = fs::read_to_string(&target).unwrap();
            let found = text.lines().filter(|line| line.starts_with('#')).any(|line| anchor(line) == heading);
            assert!(found, "{}: {link} has no such heading", page.name());
        }
    }
}

#[test]
fn every_table_and_column_of_the_ledger_is_documented_with_its_type() {
    let page = page("docs/ledger.md");
    let schema = ["schema", "meta", "backfill", "views_refresh", "views_files"]
        .map(|file| format!("src/ledger/{file}.sql"))
        .map(|file| fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap())
        .concat();
    let mut columns = 0;
    for table in schema.split("create table pgtide.").skip(1) {
        let (name, rest) = table.split_once(" (").unwrap();
        let section = page.section(&format!("## `pgtide.{name}`"));
        for line in rest.lines().skip(1).take_while(|line| *line != ");") {
            let words: Vec<_> = line.split_whitespace().collect();
            let [column, data_type, ..] = words[..] else { panic!("{line}") };
            if matches!(column, "unique" | "check" | "primary") {
                continue;
            }
            let row = section
                .lines()
                .find(|row| row.split('|').nth(1).is_some_and(|cell| cell.contains(&format!("`{column}`"))));
            let row = row.unwrap_or_else(|| panic!("docs/ledger.md lacks {name}.{column}"));
            let types = row.split('|').nth(2).unwrap();
            assert!(types.contains(data_type.trim_end_matches(',')), "{name}.{column} is {data_type}: {row}");
            columns += 1;
        }
    }
    assert_eq!(columns, schema.matches("comment on column").count() - 7, "all but the 7 of the view");
    let view = page.section("## For consumers: `pgtide.loaded`");
    for column in schema.split("comment on column pgtide.loaded.").skip(1) {
        let column = column.split(' ').next().unwrap();
        assert!(view.contains(&format!("| `{column}` |")), "docs/ledger.md lacks loaded.{column}");
    }
}

#[test]
fn every_project_and_job_that_is_shown_can_be_read() {
    let mut read = BTreeSet::new();
    for page in pages() {
        for block in page.blocks("toml") {
            let Some(file) = block.strip_prefix("# ").and_then(|rest| rest.lines().next()) else { continue };
            let folder = tempfile::tempdir().unwrap();
            write_file(folder.path(), "pgtide.toml", "");
            write_file(folder.path(), file, block);
            let env = Environment::empty(folder.path()).with_user("etl");
            let project = Project::read(&Overrides::default(), &env).unwrap();
            let shown = || format!("{}: {block}", page.name());
            match file.strip_prefix("jobs/").and_then(|name| name.strip_suffix(".toml")) {
                Some(name) => drop(project.job(name).unwrap_or_else(|e| panic!("{e:?}\n{}", shown()))),
                None => assert_eq!(project.findings(), [], "{}", shown()),
            }
            read.insert(file.to_owned());
        }
    }
    assert!(read.contains("pgtide.toml") && read.contains("jobs/flights.toml"), "{read:?}");
}

#[test]
fn the_readme_shows_how_to_try_it_before_line_40() {
    let text = page("README.md").text;
    for command in ["make demo", "make test"] {
        let line = text.lines().position(|line| line.trim_start().starts_with(command));
        assert!(line.is_some_and(|line| line < 39), "{command}: {line:?}");
    }
}
