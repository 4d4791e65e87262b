//! SQL text cut into statements and tokens, as the server's own scanner would cut it: strings, dollar
//! quotes, quoted names, nested comments, bodies of `begin atomic`.
//!
//! This is no parser. What a statement means is for `statement` to say, and for the server. Names are
//! found by their tokens, so that one schema can be put in place of another without touching the rest.

use std::fmt::Write as _;

use super::statement::fold;

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenKind {
    /// An unquoted name, a keyword or a number.
    Word,
    /// A name in double quotes.
    Quoted,
    /// A string of any kind, dollar-quoted ones too.
    Text,
    /// A comment.
    Comment,
    /// Anything else: one sign.
    Sign,
}

/// A piece of a statement; blanks are between tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token {
    /// What it is.
    pub kind: TokenKind,
    /// Its first byte.
    pub start: usize,
    /// The byte after its last.
    pub end: usize,
}

/// One statement, without its semicolon and without comments around it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// The text as it was written.
    pub text: String,
    /// The line of its first token, from 1.
    pub line: usize,
    /// Its tokens without comments.
    pub tokens: Vec<Token>,
}

/// A text that cannot be cut: where, and what is not closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unclosed {
    /// The line where it opens, from 1.
    pub line: usize,
    /// A string, a comment, a quoted name.
    pub what: &'static str,
}

/// Statements and the comments that stand on lines of their own.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Script {
    /// The statements in order.
    pub statements: Vec<Statement>,
    /// Line comments, with the line each is on.
    pub comments: Vec<(usize, String)>,
}

impl Script {
    /// Cuts a text.
    ///
    /// # Errors
    /// What is not closed, and where it opens.
    pub fn parse(text: &str) -> Result<Self, Unclosed> {
        let mut script = Self::default();
        let mut open: Vec<Token> = Vec::new();
        let mut depth = Depth::default();
        for token in tokens(text)? {
            let word = &text[token.start..token.end];
            if token.kind == TokenKind::Comment {
                if let Some(line) = word.strip_prefix("--") {
                    script.comments.push((line_of(text, token.start), line.trim().to_owned()));
                }
                continue;
            }
            if token.kind == TokenKind::Sign && word == ";" && depth.is_outside() {
                script.end_statement(text, &mut open);
                depth = Depth::default();
                continue;
            }
            depth.count(token.kind, word, open.len());
            open.push(token);
        }
        script.end_statement(text, &mut open);
        Ok(script)
    }

    fn end_statement(&mut self, text: &str, open: &mut Vec<Token>) {
        let (Some(first), Some(last)) = (open.first().copied(), open.last().copied()) else { return };
        let at = |token: Token| Token {
            kind: token.kind,
            start: token.start - first.start,
            end: token.end - first.start,
        };
        self.statements.push(Statement {
            text: text[first.start..last.end].to_owned(),
            line: line_of(text, first.start),
            tokens: open.drain(..).map(at).collect(),
        });
    }
}

impl Statement {
    /// The text of a token; empty past the end.
    #[must_use]
    pub fn word(&self, index: usize) -> &str {
        self.tokens.get(index).map_or("", |token| &self.text[token.start..token.end])
    }

    /// The name that a token is, folded; none for other tokens.
    #[must_use]
    pub fn name(&self, index: usize) -> Option<String> {
        let token = self.tokens.get(index)?;
        match token.kind {
            TokenKind::Word | TokenKind::Quoted => fold(self.word(index)),
            _ => None,
        }
    }

    /// Whether a token is this keyword.
    #[must_use]
    pub fn is(&self, index: usize, keyword: &str) -> bool {
        let kind = self.tokens.get(index).map(|token| token.kind);
        kind.is_some_and(|kind| kind != TokenKind::Text) && self.word(index).eq_ignore_ascii_case(keyword)
    }

    /// Every `schema.name` of the text: the index of its first token, and both parts folded.
    pub fn qualified(&self) -> impl Iterator<Item = (usize, String, String)> + '_ {
        (0..self.tokens.len()).filter_map(|at| {
            let starts = at == 0 || self.word(at - 1) != ".";
            let pair = starts && self.word(at + 1) == ".";
            if pair { Some((at, self.name(at)?, self.name(at + 2)?)) } else { None }
        })
    }

    /// The text with other schemas, given as SQL, in place of those that `place` names for a qualified name.
    #[must_use]
    pub fn moved(&self, place: &dyn Fn(&str, &str) -> Option<String>) -> String {
        let changes = self.qualified().filter_map(|(at, schema, name)| {
            let token = self.tokens[at];
            place(&schema, &name).map(|schema| (token.start, token.end, schema))
        });
        replaced(&self.text, changes)
    }
}

/// A text with pieces replaced; they come in order and do not overlap.
pub(super) fn replaced(text: &str, changes: impl IntoIterator<Item = (usize, usize, String)>) -> String {
    let (mut out, mut from) = (String::with_capacity(text.len()), 0);
    for (start, end, new) in changes {
        let _ = write!(out, "{}{new}", &text[from..start]);
        from = end;
    }
    out.push_str(&text[from..]);
    out
}

/// Moves the schemas of a text that the server wrote, which always can be cut.
#[must_use]
pub fn moved(text: &str, place: &dyn Fn(&str, &str) -> Option<String>) -> String {
    let Ok(script) = Script::parse(text) else { return text.to_owned() };
    match script.statements.as_slice() {
        [one] => one.moved(place),
        _ => text.to_owned(),
    }
}

/// What keeps a semicolon from ending a statement: parentheses, and a body of `begin atomic`.
#[derive(Debug, Default)]
struct Depth {
    parentheses: usize,
    blocks: usize,
    is_routine: bool,
    after_begin: bool,
}

impl Depth {
    fn is_outside(&self) -> bool {
        self.parentheses == 0 && self.blocks == 0
    }

    fn count(&mut self, kind: TokenKind, word: &str, index: usize) {
        let is = |keyword: &str| kind == TokenKind::Word && word.eq_ignore_ascii_case(keyword);
        match word {
            "(" if kind == TokenKind::Sign => self.parentheses += 1,
            ")" if kind == TokenKind::Sign => self.parentheses = self.parentheses.saturating_sub(1),
            _ => {}
        }
        self.is_routine |= index <= 3 && (is("function") || is("procedure"));
        if !self.is_routine {
            return;
        }
        if self.after_begin && is("atomic") || self.blocks > 0 && is("case") {
            self.blocks += 1;
        } else if is("end") {
            self.blocks = self.blocks.saturating_sub(1);
        }
        self.after_begin = is("begin");
    }
}

fn line_of(text: &str, at: usize) -> usize {
    text[..at].bytes().filter(|byte| *byte == b'\n').count() + 1
}

fn tokens(text: &str) -> Result<Vec<Token>, Unclosed> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(c) = text[at..].chars().next() {
        if c.is_whitespace() || c == '\u{feff}' {
            at += c.len_utf8();
            continue;
        }
        let (kind, length) = token(&text[at..]).map_err(|what| Unclosed { line: line_of(text, at), what })?;
        found.push(Token { kind, start: at, end: at + length });
        at += length;
    }
    Ok(found)
}

/// The token that a text starts with, and its length.
fn token(rest: &str) -> Result<(TokenKind, usize), &'static str> {
    let first = rest.chars().next().unwrap_or_default();
    let second = rest[first.len_utf8()..].chars().next();
    match (first, second) {
        ('-', Some('-')) => Ok((TokenKind::Comment, rest.find('\n').unwrap_or(rest.len()))),
        ('/', Some('*')) => block_comment(rest).map(|n| (TokenKind::Comment, n)),
        ('\'', _) => quoted(rest, '\'', false).ok_or("a string").map(|n| (TokenKind::Text, n)),
        ('"', _) => quoted(rest, '"', false).ok_or("a quoted name").map(|n| (TokenKind::Quoted, n)),
        ('e' | 'E', Some('\'')) => prefixed(rest, true),
        ('b' | 'B' | 'x' | 'X' | 'n' | 'N', Some('\'')) => prefixed(rest, false),
        ('u' | 'U', Some('&')) => unicode(rest),
        ('$', _) => dollar(rest),
        (c, _) if is_name_start(c) => Ok((TokenKind::Word, word_length(rest))),
        (c, _) if c.is_ascii_digit() => Ok((TokenKind::Word, number_length(rest))),
        (c, _) => Ok((TokenKind::Sign, c.len_utf8())),
    }
}

fn is_name_start(c: char) -> bool {
    c == '_' || c.is_ascii_alphabetic() || !c.is_ascii()
}

fn word_length(rest: &str) -> usize {
    let inside = |c: char| is_name_start(c) && !c.is_whitespace() || c.is_ascii_digit() || c == '$';
    rest.find(|c| !inside(c)).unwrap_or(rest.len())
}

/// A number with its fraction: its point is none between names.
fn number_length(rest: &str) -> usize {
    let whole = word_length(rest);
    let fraction =
        rest[whole..].strip_prefix('.').filter(|tail| tail.starts_with(|c: char| c.is_ascii_digit()));
    fraction.map_or(whole, |tail| whole + 1 + word_length(tail))
}

fn prefixed(rest: &str, escapes: bool) -> Result<(TokenKind, usize), &'static str> {
    quoted(&rest[1..], '\'', escapes).ok_or("a string").map(|length| (TokenKind::Text, 1 + length))
}

fn unicode(rest: &str) -> Result<(TokenKind, usize), &'static str> {
    match rest[2..].chars().next() {
        Some('\'') => quoted(&rest[2..], '\'', false).ok_or("a string").map(|n| (TokenKind::Text, 2 + n)),
        Some('"') => {
            quoted(&rest[2..], '"', false).ok_or("a quoted name").map(|n| (TokenKind::Quoted, 2 + n))
        }
        _ => Ok((TokenKind::Word, word_length(rest))),
    }
}

/// The length of what starts with a quote, with its quotes; a doubled one does not end it.
fn quoted(rest: &str, quote: char, escapes: bool) -> Option<usize> {
    let mut chars = rest.char_indices().skip(1).peekable();
    while let Some((at, c)) = chars.next() {
        if escapes && c == '\\' {
            chars.next();
        } else if c == quote && chars.next_if(|(_, next)| *next == quote).is_none() {
            return Some(at + c.len_utf8());
        }
    }
    None
}

fn block_comment(rest: &str) -> Result<usize, &'static str> {
    let (mut level, mut at) = (0_usize, 0);
    let bytes = rest.as_bytes();
    while at + 1 < bytes.len() {
        match &bytes[at..at + 2] {
            b"/*" => (level, at) = (level + 1, at + 2),
            b"*/" => (level, at) = (level - 1, at + 2),
            _ => at += 1,
        }
        if level == 0 {
            return Ok(at);
        }
    }
    Err("a comment")
}

/// `$tag$ ... $tag$`; a dollar that opens none is a sign, as in `$1`.
fn dollar(rest: &str) -> Result<(TokenKind, usize), &'static str> {
    let tag = rest[1..].find(|c: char| !(is_name_start(c) || c.is_ascii_digit())).unwrap_or(rest.len() - 1);
    let starts_with_digit = rest[1..].starts_with(|c: char| c.is_ascii_digit());
    if starts_with_digit || !rest[1 + tag..].starts_with('$') {
        return Ok((TokenKind::Sign, 1));
    }
    let delimiter = &rest[..tag + 2];
    let body = rest[delimiter.len()..].find(delimiter).ok_or("a dollar-quoted string")?;
    Ok((TokenKind::Text, body + 2 * delimiter.len()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::postgres::ident;

    fn texts(script: &str) -> Vec<String> {
        Script::parse(script).unwrap().statements.into_iter().map(|statement| statement.text).collect()
    }

    #[test]
    fn a_semicolon_ends_a_statement_only_outside_of_quotes_comments_and_bodies() {
        assert_eq!(texts("select 1; select ';' ;; -- ; \n select 2"), ["select 1", "select ';'", "select 2"]);
        assert_eq!(
            texts(r"select E'\';' ; select '\'; select 3"),
            [r"select E'\';'", r"select '\'", "select 3"]
        );
        assert_eq!(texts("select $a$;$$;$a$; select $1;"), ["select $a$;$$;$a$", "select $1"]);
        assert_eq!(texts("/* ; /* ; */ ; */ select \";\""), ["select \";\""]);
        let body = "create function f() returns int language sql begin atomic select case when true then 1 end; select 2; end";
        assert_eq!(texts(&format!("{body}; select 1")), [body, "select 1"]);
        assert_eq!(
            texts("create rule r as on insert to v do (a; b); c"),
            ["create rule r as on insert to v do (a; b)", "c"]
        );
        assert_eq!(texts("select a$b$c from x; select 2"), ["select a$b$c from x", "select 2"]);
    }

    #[test]
    fn what_is_not_closed_is_told_with_its_line() {
        for (text, what) in [
            ("\n'a", "a string"),
            ("\n\"a", "a quoted name"),
            ("\n/* /* */", "a comment"),
            ("\n$x$ $y$", "a dollar-quoted string"),
        ] {
            assert_eq!(Script::parse(text), Err(Unclosed { line: 2, what }), "{text}");
        }
    }

    #[test]
    fn only_the_schema_of_a_name_is_moved() {
        let place =
            |schema: &str, name: &str| (schema == "mart" && name == "sales").then(|| "\"build\"".to_owned());
        let of = |text: &str| moved(text, &place);
        assert_eq!(
            of("select mart.sales.id from Mart . \"sales\" /* mart.sales */ where x = 'mart.sales'"),
            "select \"build\".sales.id from \"build\" . \"sales\" /* mart.sales */ where x = 'mart.sales'"
        );
        assert_eq!(
            of("select * from mart.salesman, db.mart.sales, mart.\"Sales\""),
            "select * from mart.salesman, db.mart.sales, mart.\"Sales\""
        );
        assert_eq!(of("select 1.5, mart.sales"), "select 1.5, \"build\".sales");
    }

    proptest! {
        #[test]
        fn nothing_is_lost_between_tokens(text in "[a-zA-Z0-9_.,;()'\"$/*\\- \n]{0,60}") {
            if let Ok(tokens) = tokens(&text) {
                let mut from = 0;
                for token in tokens {
                    prop_assert!(text[from..token.start].trim().is_empty());
                    prop_assert!(token.end > token.start);
                    from = token.end;
                }
                prop_assert!(text[from..].trim().is_empty());
            }
        }

        #[test]
        fn what_is_quoted_stays_one_statement(inner in "[^\u{0}]{0,30}") {
            let quoted = [
                ident::literal(&inner),
                ident::quote(&format!("x{inner}")),
                format!("$q${}$q$", inner.replace("$q$", "")),
                format!("/* {} */ 1", inner.replace("*/", "").replace("/*", "").replace(['*', '/'], "")),
            ];
            for piece in quoted {
                let script = Script::parse(&format!("select {piece}; select 2")).unwrap();
                prop_assert_eq!(script.statements.len(), 2, "{}", piece);
            }
        }

        #[test]
        fn moving_nothing_changes_nothing(text in "[a-z.\"'; ]{0,60}") {
            if let Ok(script) = Script::parse(&text) {
                for statement in script.statements {
                    prop_assert_eq!(statement.moved(&|_, _| None), statement.text.clone());
                }
            }
        }
    }
}
