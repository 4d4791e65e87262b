//! The nearest name for a typo: every refusal of an unknown word suggests one.
//!
//! A few wrong letters count, and so does a part of a longer name, such as `Berlin`.

/// Finds the candidate that a mistyped word most likely meant.
#[must_use]
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase();
    let limit = (word.chars().count() / 3).clamp(1, 3);
    candidates
        .into_iter()
        .filter_map(|candidate| {
            let lower = candidate.to_lowercase();
            let distance = strsim::damerau_levenshtein(&word, &lower);
            let inside = word.len() >= 4 && lower.contains(&word);
            (distance <= limit || inside).then_some((distance > limit, distance, candidate))
        })
        .min()
        .map(|(_, _, candidate)| candidate)
}

/// Makes `, did you mean ``x``?` for the nearest candidate, or nothing.
#[must_use]
pub fn did_you_mean<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> String {
    nearest(word, candidates).map_or_else(String::new, |name| format!(", did you mean `{name}`?"))
}

/// Joins words as people list them: `a, b or c`.
pub(crate) fn listed(words: &[&str], last: &str) -> String {
    match words {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [first @ .., end] => format!("{} {last} {end}", first.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typo_finds_its_word_and_a_stranger_finds_none() {
        let keys = ["table", "time_column", "timezone", "interval"];
        assert_eq!(nearest("tabel", keys), Some("table"));
        assert_eq!(nearest("time_colum", keys), Some("time_column"));
        assert_eq!(nearest("TimeZone", keys), Some("timezone"));
        assert_eq!(nearest("banana", keys), None);
        assert_eq!(nearest("Berlin", ["Europe/Paris", "Europe/Berlin"]), Some("Europe/Berlin"));
        assert_eq!(did_you_mean("banana", keys), "");
    }
}
