//! `.pgpass`: lines of `host:port:database:user:password`, first match wins.
//!
//! `*` alone matches anything; `\:` and `\\` are the signs themselves. As in libpq, a file that
//! others can read is not used, and the password ends at the next bare `:`.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::Secret;

const MAX_BYTES: u64 = 1024 * 1024;

/// What a line must match.
pub(super) struct Wanted<'a> {
    pub(super) host: &'a str,
    pub(super) port: u16,
    pub(super) database: &'a str,
    pub(super) user: &'a str,
}

/// Reads a password file; none when there is none.
///
/// # Errors
/// A warning that says why an existing file is not used.
pub(super) fn read(path: &Path) -> Result<Option<String>, String> {
    let shown = path.display();
    match std::fs::metadata(path) {
        Ok(metadata) if !metadata.is_file() => {
            return Err(format!("the password file {shown} is not a plain file and is not used"));
        }
        Ok(_) => {}
        Err(_) => return Ok(None),
    }
    let unreadable = |e: std::io::Error| format!("the password file {shown} cannot be read: {e}");
    let file = File::open(path).map_err(unreadable)?;
    // Asked of the open file, so that it cannot be swapped in between.
    if file.metadata().map_err(unreadable)?.permissions().mode() & 0o077 != 0 {
        return Err(format!(
            "the password file {shown} can be read by others and is not used: chmod 600 {shown}"
        ));
    }
    let mut text = String::new();
    file.take(MAX_BYTES).read_to_string(&mut text).map_err(unreadable)?;
    Ok(Some(text))
}

/// Finds the password of the first line that matches.
pub(super) fn find(text: &str, wanted: &Wanted<'_>) -> Option<Secret> {
    text.lines().find_map(|line| password_of(line, wanted)).map(Secret::new)
}

fn password_of(line: &str, wanted: &Wanted<'_>) -> Option<String> {
    if line.is_empty() || line.starts_with('#') {
        return None;
    }
    let port = wanted.port.to_string();
    let mut rest = line;
    for value in [wanted.host, &port, wanted.database, wanted.user] {
        let (field, tail) = take_field(rest);
        let matches = rest.starts_with("*:") || field == value;
        rest = tail.filter(|_| matches)?;
    }
    Some(take_field(rest).0).filter(|password| !password.is_empty())
}

/// Takes a field up to a bare `:`, unescaped, and what follows that sign if there is one.
fn take_field(text: &str) -> (String, Option<&str>) {
    let mut field = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            ':' => return (field, Some(&text[at + 1..])),
            '\\' => field.push(chars.next().map_or('\\', |(_, escaped)| escaped)),
            c => field.push(c),
        }
    }
    (field, None)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn password(text: &str, host: &str, port: u16, database: &str, user: &str) -> Option<String> {
        find(text, &Wanted { host, port, database, user }).map(|secret| secret.reveal().to_owned())
    }

    #[test]
    fn the_first_matching_line_wins() {
        let text = "# comment\n\nh:1:d:u:one\r\n*:*:d:u:two\n*:*:*:*:three\n";
        assert_eq!(password(text, "h", 1, "d", "u").as_deref(), Some("one"));
        assert_eq!(password(text, "x", 9, "d", "u").as_deref(), Some("two"));
        assert_eq!(password(text, "x", 9, "e", "u").as_deref(), Some("three"));
        assert_eq!(password("h:1:d:u:one", "h", 2, "d", "u"), None);
    }

    #[test]
    fn signs_are_escaped_and_a_star_stands_alone() {
        assert_eq!(password(r"\:\:1:1:d:u:p\:q\\r", "::1", 1, "d", "u").as_deref(), Some(r"p:q\r"));
        assert_eq!(password(r"h:1:\*:u:p", "h", 1, "*", "u").as_deref(), Some("p"));
        assert_eq!(password(r"h:1:\*:u:p", "h", 1, "d", "u"), None);
        assert_eq!(password("*h:1:d:u:p", "xh", 1, "d", "u"), None);
        assert_eq!(password("h:1:d:u:p:rest", "h", 1, "d", "u").as_deref(), Some("p"));
        assert_eq!(password("h:1:d:u", "h", 1, "d", "u"), None);
        assert_eq!(password("h:1:d:u:", "h", 1, "d", "u"), None);
    }

    #[test]
    fn a_file_that_others_can_read_is_not_used() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("pgpass");
        assert_eq!(read(&file), Ok(None));
        std::fs::write(&file, "*:*:*:*:canary").unwrap();
        for (mode, used) in [(0o600, true), (0o400, true), (0o640, false), (0o604, false)] {
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(read(&file).is_ok(), used, "{mode:o}");
        }
        assert!(read(&file).unwrap_err().ends_with(&format!("chmod 600 {}", file.display())));
        assert!(read(dir.path()).unwrap_err().contains("not a plain file"));
    }

    fn escape(field: &str) -> String {
        let escaped = field.replace('\\', "\\\\").replace(':', "\\:");
        if escaped == "*" { "\\*".to_owned() } else { escaped }
    }

    proptest! {
        #[test]
        fn an_escaped_line_comes_back(
            host in "[^\r\n\0#]{1,12}", port in 1u16.., database in "[^\r\n\0]{1,12}",
            user in "[^\r\n\0]{1,12}", secret in "[^\r\n\0]{1,12}",
        ) {
            let fields = [&host, &port.to_string(), &database, &user, &secret].map(|f| escape(f));
            let line = fields.join(":");
            prop_assert_eq!(password(&line, &host, port, &database, &user), Some(secret));
        }

        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,60}") {
            let _ = password(&text, "h", 1, "d", "u");
        }
    }
}
