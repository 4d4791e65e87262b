//! `${name}` in a view's file: replaced before anything else is looked at; `$${` stays as `${`.

use super::Placeholders;

/// Fills placeholders in, or tells each that stands for nothing, with its line.
pub(super) fn expand(text: &str, placeholders: Placeholders<'_>) -> Result<String, Vec<(usize, String)>> {
    let (mut out, mut missing) = (String::with_capacity(text.len()), Vec::new());
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        let line = text[..text.len() - rest.len() + at].matches('\n').count() + 1;
        if let Some(escaped) = rest[..at].strip_suffix('$') {
            out.push_str(escaped);
            out.push_str("${");
            rest = &rest[at + 2..];
            continue;
        }
        out.push_str(&rest[..at]);
        let tail = &rest[at + 2..];
        let name = tail.split_once('}').map_or(tail, |(name, _)| name);
        let is_name = !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || "_.:-".contains(c));
        if !is_name || name.len() == tail.len() {
            missing.push((line, "`${` opens no placeholder; write `$${` for the two signs".to_owned()));
            return Err(missing);
        }
        match placeholders(name) {
            Some(value) => out.push_str(&value),
            None => missing.push((line, format!("`${{{name}}}` stands for nothing: set it under [views.placeholders] of pgtide.toml, or as a variable"))),
        }
        rest = &tail[name.len() + 1..];
    }
    out.push_str(rest);
    if missing.is_empty() { Ok(out) } else { Err(missing) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_filled_in_and_all_missing_ones_told() {
        let known = |name: &str| (name == "a").then(|| "1".to_owned());
        assert_eq!(expand("x ${a} $${a} $1 $$y$$", &known), Ok("x 1 ${a} $1 $$y$$".to_owned()));
        let missing = expand("${b}\n${c}", &known).unwrap_err();
        assert_eq!(missing.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [1, 2]);
        assert!(expand("${a", &known).is_err());
    }
}
