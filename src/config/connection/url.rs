//! `postgres://user:password@host:port,host2:port2/database?word=value`, split as libpq splits it.
//!
//! libpq reads the user's part up to the first `@` that comes before any `/`. A password with bare
//! `/`, `@` or `:` in it is therefore cut in the wrong place; whenever that may have happened, the
//! message says so and shows nothing of the URL.

use percent_encoding::percent_decode_str;

use super::words::Words;

const ENCODE: &str = "percent-encode `/`, `?`, `@`, `:` and `#` in user and password (`@` is %40)";

/// The decoded parts of a URL; empty when absent. Not `Debug`: it holds the password.
#[derive(Default)]
pub(super) struct Parts {
    pub(super) user: String,
    pub(super) password: String,
    /// Hosts separated by commas, as libpq's `host`.
    pub(super) hosts: String,
    /// Ports separated by commas, as libpq's `port`.
    pub(super) ports: String,
    pub(super) database: String,
    pub(super) query: Vec<(String, String)>,
}

/// Parses a URL into words.
pub(super) fn parse(text: &str) -> Result<Words, String> {
    parse_words(text).map_err(|what| if looks_misread(text) { misread() } else { what })
}

fn parse_words(text: &str) -> Result<Words, String> {
    let parts = split(text, false)?;
    let mut words = Words::default();
    let named = [
        ("user", &parts.user),
        ("password", &parts.password),
        ("host", &parts.hosts),
        ("port", &parts.ports),
        ("dbname", &parts.database),
    ];
    for (name, value) in named {
        if !value.is_empty() {
            words.set(name, value)?;
        }
    }
    for (name, value) in &parts.query {
        match (name.as_str(), value.as_str()) {
            ("ssl", "true") => words.set("sslmode", "require")?,
            ("ssl", _) => return Err("ssl can only be true; use sslmode".to_owned()),
            (name, value) => words.set(name, value)?,
        }
    }
    Ok(words)
}

/// Splits and decodes a URL; `plus_is_blank` reads `+` in the query as form data does.
pub(super) fn split(text: &str, plus_is_blank: bool) -> Result<Parts, String> {
    let (_, rest) = text.split_once("://").ok_or("it is not a URL")?;
    let (user_part, rest) = match rest.find(['@', '/']) {
        Some(at) if rest[at..].starts_with('@') => (&rest[..at], &rest[at + 1..]),
        _ => ("", rest),
    };
    let (user, password) = user_part.split_once(':').unwrap_or((user_part, ""));
    let (hosts, ports, rest) = split_hosts(rest)?;
    let (database, query) = match rest.strip_prefix('/') {
        Some(path) => path.split_once('?').unwrap_or((path, "")),
        None => ("", rest.strip_prefix('?').unwrap_or_default()),
    };
    if hosts.contains('@') || database.contains('@') {
        return Err(misread());
    }
    if !ports.bytes().all(|byte| byte.is_ascii_digit() || byte == b',') {
        return Err("a port is not a number".to_owned());
    }
    Ok(Parts {
        user: decode(user, "the user")?,
        password: decode(password, "the password")?,
        hosts: decode(&hosts, "the host")?,
        ports,
        database: decode(database, "the database")?,
        query: split_query(query, plus_is_blank)?,
    })
}

/// Reads `host:port,[::1]:port` up to `/` or `?`; gives hosts, ports and the rest.
fn split_hosts(text: &str) -> Result<(String, String, &str), String> {
    let (mut hosts, mut ports) = (Vec::new(), Vec::new());
    let mut rest = text;
    loop {
        let (host, tail) = match rest.strip_prefix('[') {
            Some(inner) => split_ipv6(inner)?,
            None => rest.split_at(rest.find([':', '/', '?', ',']).unwrap_or(rest.len())),
        };
        let (port, tail) = match tail.strip_prefix(':') {
            Some(tail) => tail.split_at(tail.find(['/', '?', ',']).unwrap_or(tail.len())),
            None => ("", tail),
        };
        hosts.push(host);
        ports.push(port);
        match tail.strip_prefix(',') {
            Some(next) => rest = next,
            None => {
                let ports = if ports.iter().all(|p| p.is_empty()) { String::new() } else { ports.join(",") };
                return Ok((hosts.join(","), ports, tail));
            }
        }
    }
}

fn split_ipv6(text: &str) -> Result<(&str, &str), String> {
    let (host, tail) = text.split_once(']').ok_or("an IPv6 address lacks its `]`")?;
    if host.is_empty() {
        return Err("an IPv6 address is empty".to_owned());
    }
    if !tail.is_empty() && !tail.starts_with([':', '/', '?', ',']) {
        return Err("only `:`, `/`, `?` or `,` can follow an IPv6 address".to_owned());
    }
    Ok((host, tail))
}

fn split_query(query: &str, plus_is_blank: bool) -> Result<Vec<(String, String)>, String> {
    let pieces = query.split('&').filter(|piece| !piece.is_empty());
    pieces
        .map(|piece| {
            let (name, value) = piece.split_once('=').ok_or("a word after `?` has no `=`")?;
            if value.contains('=') && !plus_is_blank {
                return Err("a word after `?` has two `=`; percent-encode the second as %3D".to_owned());
            }
            let plain = |text: &str| if plus_is_blank { text.replace('+', " ") } else { text.to_owned() };
            Ok((decode(&plain(name), "a word after `?`")?, decode(&plain(value), "a value after `?`")?))
        })
        .collect()
}

/// Decodes `%XX` strictly: both digits, no NUL, UTF-8.
fn decode(text: &str, what: &str) -> Result<String, String> {
    for (at, _) in text.match_indices('%') {
        let digits = text.as_bytes().get(at + 1..at + 3);
        match digits {
            Some(b"00") => return Err(format!("{what} holds %00")),
            Some(pair) if pair.iter().all(u8::is_ascii_hexdigit) => {}
            _ => return Err(format!("{what} holds a `%` without two hexadecimal digits; write %25 for `%`")),
        }
    }
    let decoded = percent_decode_str(text).decode_utf8().map_err(|_| format!("{what} is not UTF-8"))?;
    Ok(decoded.into_owned())
}

/// Whether an `@` stands where only a wrongly cut password would put one.
fn looks_misread(text: &str) -> bool {
    let rest = text.split_once("://").map_or(text, |(_, rest)| rest);
    let first = rest.find(['@', '/']);
    let counted = rest.matches('@').count();
    match first {
        Some(at) if rest[at..].starts_with('@') => counted > 1,
        _ => counted > 0,
    }
}

fn misread() -> String {
    format!("the URL cannot be read; {ENCODE}")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn get<'a>(words: &'a Words, names: &[&str]) -> Vec<&'a str> {
        names.iter().map(|name| words.get(name).unwrap_or_default()).collect()
    }

    #[test]
    fn all_parts_are_found_and_decoded() {
        let words = parse(
            "postgresql://et%6c:p%40ss%2Fw%3Ard@h1:1,[::1]:2,h3/d%20b?sslmode=require&options=-c%20a%3Db",
        )
        .ok()
        .unwrap();
        assert_eq!(
            get(&words, &["user", "password", "host", "port", "dbname", "sslmode", "options"]),
            ["etl", "p@ss/w:rd", "h1,::1,h3", "1,2,", "d b", "require", "-c a=b"]
        );
    }

    #[test]
    fn parts_may_be_absent() {
        for (url, expected) in [
            ("postgres://", ["", "", "", ""]),
            ("postgres:///db", ["", "", "", "db"]),
            ("postgres://h", ["", "h", "", ""]),
            ("postgres://u@", ["u", "", "", ""]),
            ("postgres://:1/db", ["", "", "1", "db"]),
            ("postgres://%2Fvar%2Frun/db", ["", "/var/run", "", "db"]),
            ("postgres://?host=/tmp&user=a@b", ["a@b", "/tmp", "", ""]),
            ("postgres:///db?host=a&host=b", ["", "b", "", "db"]),
        ] {
            let words = parse(url).ok().unwrap();
            assert_eq!(get(&words, &["user", "host", "port", "dbname"]), expected, "{url}");
        }
        let words = parse("postgres://h/d?ssl=true").ok().unwrap();
        assert_eq!(words.get("sslmode"), Some("require"));
    }

    #[test]
    fn a_bad_url_is_refused_without_a_trace_of_it() {
        for url in [
            "postgres://u:canary@canary@h/d",
            "postgres://u:can/ary?canary=x@h/d",
            "postgres://u:can#ary/canary@h:canary/d?canary",
            "postgres://u:canary%zz@h/d",
            "postgres://u:canary%@h/d",
            "postgres://u:canary%00@h/d",
            "postgres://u:canary%ff@h/d",
            "postgres://u:canary@[::1/d",
            "postgres://u:canary@[]/d",
            "postgres://u:canary@[::1]x/d",
            "postgres://u:canary@h/d?sslmode",
            "postgres://u:canary@h/d?options=a=b",
            "postgres://u:canary@h/d?ssl=maybe",
        ] {
            let message = parse(url).err().unwrap_or_else(|| panic!("{url}"));
            assert!(!message.contains("canary") && !message.contains("ary"), "{url}: {message}");
        }
    }

    fn encode(text: &str) -> String {
        percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
    }

    proptest! {
        #[test]
        fn an_encoded_url_comes_back(
            user in "[^\0]{1,12}", password in "[^\0]{1,12}", host in "[^\0,]{1,12}",
            port in 1u16.., database in "[^\0]{1,12}", options in "[^\0]{1,12}",
        ) {
            let url = format!(
                "postgres://{}:{}@{}:{port}/{}?options={}",
                encode(&user), encode(&password), encode(&host), encode(&database), encode(&options),
            );
            let words = parse(&url).expect("the URL is valid");
            let port = port.to_string();
            prop_assert_eq!(
                get(&words, &["user", "password", "host", "port", "dbname", "options"]),
                [user.as_str(), &password, &host, &port, &database, &options]
            );
        }

        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,40}") {
            let _ = parse(&format!("postgres://{text}"));
        }
    }
}
