//! "Did you mean": the nearest of some known words.

/// The candidate that is nearest to `word`, if any is near enough to be meant.
pub(crate) fn nearest<'c>(word: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    // Comparing costs the product of the lengths, and nobody mistypes a word of hundreds of letters.
    if word.len() > 64 {
        return None;
    }
    let lower = word.to_lowercase();
    let length = lower.chars().count();
    let allowed = match length {
        0..=2 => 1,
        3..=5 => 2,
        _ => length / 3,
    };
    candidates
        .into_iter()
        .take(10_000)
        .filter(|candidate| candidate.len() <= 96 && candidate.chars().count().abs_diff(length) <= allowed)
        .map(|candidate| (strsim::osa_distance(&lower, &candidate.to_lowercase()), candidate))
        .filter(|(distance, candidate)| *distance <= allowed && *distance < length.max(candidate.len()))
        .min()
        .map(|(_, candidate)| candidate)
}

/// "did you mean `x`?" for the nearest candidate.
pub fn did_you_mean<'c>(word: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<String> {
    nearest(word, candidates).map(|candidate| format!("did you mean `{candidate}`?"))
}

/// "`a`, `b` and `c`".
pub fn list<'c>(words: impl IntoIterator<Item = &'c str>, conjunction: &str) -> String {
    let words: Vec<String> = words.into_iter().map(|word| format!("`{word}`")).collect();
    match words.as_slice() {
        [] => "none".to_owned(),
        [one] => one.clone(),
        [rest @ .., last] => format!("{} {conjunction} {last}", rest.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_words_are_found_and_far_ones_are_not() {
        assert_eq!(nearest("retires", ["retries", "needs"]), Some("retries"));
        assert_eq!(nearest("Needs", ["retries", "needs"]), Some("needs"));
        assert_eq!(nearest("xyz", ["retries", "needs"]), None);
        assert_eq!(nearest("europe/berln", ["Europe/Berlin"]), Some("Europe/Berlin"));
        assert_eq!(list(["a", "b", "c"], "or"), "`a`, `b` or `c`");
    }
}
