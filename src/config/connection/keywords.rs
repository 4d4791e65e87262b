//! `host=db dbname='a b' password=it\'s`: libpq's keyword strings.
//!
//! Blanks may surround `=`, values may stand between single quotes, `\` takes the next sign as it is.

use super::words::Words;

/// Parses a keyword string.
///
/// # Errors
/// What is wrong, without any value.
pub(super) fn parse(text: &str) -> Result<Words, String> {
    let mut words = Words::default();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let end = rest.find(|c: char| c == '=' || c.is_whitespace()).unwrap_or(rest.len());
        let (name, tail) = rest.split_at(end);
        let value_at = tail.trim_start().strip_prefix('=').ok_or_else(lost_sign)?;
        let (value, tail) = take_value(value_at.trim_start())?;
        words.set(name, &value)?;
        rest = tail.trim_start();
    }
    Ok(words)
}

fn lost_sign() -> String {
    // The word itself may be the tail of a password with a blank in it, so it is not shown.
    "a word has no `=` after it; put values with blanks between single quotes".to_owned()
}

/// Takes a value, quoted or not, and gives what follows.
fn take_value(text: &str) -> Result<(String, &str), String> {
    let (quoted, body) = match text.strip_prefix('\'') {
        Some(body) => (true, body),
        None => (false, text),
    };
    let mut value = String::new();
    let mut chars = body.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '\'' if quoted => return Ok((value, &body[at + 1..])),
            c if !quoted && c.is_whitespace() => return Ok((value, &body[at..])),
            '\\' => value.extend(chars.next().map(|(_, escaped)| escaped)),
            c => value.push(c),
        }
    }
    if quoted { Err("a single quote is not closed".to_owned()) } else { Ok((value, "")) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn values_may_be_quoted_escaped_and_spaced() {
        let words =
            parse(r" host = db  dbname='a b' password=it\'s user='x\\y\'z' port=1 port=2").ok().unwrap();
        let got: Vec<_> = ["host", "dbname", "password", "user", "port"].map(|n| words.get(n)).into();
        assert_eq!(got, [Some("db"), Some("a b"), Some("it's"), Some(r"x\y'z"), Some("2")]);
        assert_eq!(
            parse("host= port=5").ok().unwrap().get("port"),
            None,
            "as in libpq, the value is `port=5`"
        );
    }

    #[test]
    fn a_bad_string_is_refused_without_a_trace_of_it() {
        for text in ["password=my canary", "host", "password='canary", "=", "hst=canary"] {
            let message = parse(text).err().unwrap_or_else(|| panic!("{text}"));
            assert!(!message.contains("canary"), "{message}");
        }
    }

    proptest! {
        #[test]
        fn a_quoted_value_comes_back(value in "\\PC{0,20}") {
            let quoted = value.replace('\\', "\\\\").replace('\'', "\\'");
            let words = parse(&format!("password='{quoted}' host=h")).expect("the string is valid");
            prop_assert_eq!(words.get("password").unwrap_or_default(), value);
            prop_assert_eq!(words.get("host"), Some("h"));
        }
    }
}
