//! Patterns for names: `*` stands for any characters and `?` for one.

/// Whether a name fits a pattern as a whole. Takes time proportional to the product of both lengths at worst.
pub fn fits(pattern: &str, name: &str) -> bool {
    let (pattern, name) = (pattern.as_bytes(), name.as_bytes());
    let (mut p, mut n, mut star) = (0, 0, None);
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(byte) if *byte == b'?' || *byte == name[n] => {
                p += 1;
                n += 1;
            }
            _ => match &mut star {
                // The last star takes one character more.
                Some((at, taken)) => {
                    *taken += 1;
                    (p, n) = (*at + 1, *taken);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

/// Whether a text is more than a name.
pub fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_fit_whole_names() {
        assert!(fits("load", "load") && !fits("load", "load_eu") && !fits("load", "reload"));
        assert!(
            fits("load_*", "load_eu")
                && fits("*_eu", "load_eu")
                && fits("*", "x")
                && fits("l*d*u", "load_eu")
        );
        assert!(fits("load_??", "load_eu") && !fits("load_?", "load_eu") && !fits("", "x"));
        assert!(!fits("a*b*c", "abcd") && fits("a**d", "abcd"));
        assert!(is_pattern("a*") && is_pattern("?") && !is_pattern("a[1]"));
    }
}
