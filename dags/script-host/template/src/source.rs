//! Looking at a template's text without evaluating it: where its expressions are and which tags it uses.

use crate::error::Error;

/// The longest template or expression, in bytes. The template engine counts columns in 16 bits and would panic, or
/// point anywhere, beyond them.
pub const SOURCE_BYTES_MAX: usize = 65_000;
/// How many minus signs may stand in a row. The engine's parser calls itself for each and counts none, so that some ten
/// thousand would overflow the stack.
const SIGNS_MAX: usize = 50;

/// Whether a text holds an expression, a tag or a comment, and so needs rendering.
pub fn has_expression(text: &str) -> bool {
    text.contains("{{") || text.contains("{%") || text.contains("{#")
}

/// One stretch of a template's text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part<'a> {
    /// Text that is copied.
    Text,
    /// The inside of `{{ ... }}`.
    Expression(&'a str),
    /// The inside of `{% ... %}`, with the line it starts on.
    Tag(&'a str, usize),
}

/// Splits a template's text. Unclosed expressions reach to the end; the engine reports them properly.
pub(crate) fn parts(source: &str) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    let mut at = 0;
    while at < source.len() {
        let rest = &source[at..];
        let Some(open) = rest.find('{').map(|i| at + i) else {
            parts.push(Part::Text);
            break;
        };
        let close = match source.as_bytes()[open..].get(1) {
            Some(b'{') => "}}",
            Some(b'%') => "%}",
            Some(b'#') => "#}",
            _ => {
                parts.push(Part::Text);
                at = open + 1;
                continue;
            }
        };
        if open > at {
            parts.push(Part::Text);
        }
        let inner = open + 2;
        let end = if close == "#}" {
            source[inner..].find("#}").map(|i| inner + i)
        } else {
            closing(source, inner, close)
        };
        let stop = end.unwrap_or(source.len());
        let text = without_trimming(&source[inner..stop]).trim();
        match close {
            "}}" => parts.push(Part::Expression(text)),
            "%}" => parts.push(Part::Tag(text, 1 + source[..open].matches('\n').count())),
            _ => {}
        }
        at = (stop + 2).min(source.len());
        if close == "%}" && text == "raw" {
            // What follows is copied as it is, up to the closing tag.
            match source[at..]
                .find("endraw")
                .and_then(|i| source[at + i..].find("%}").map(|j| at + i + j + 2))
            {
                Some(end) => at = end,
                None => at = source.len(),
            }
        }
    }
    parts
}

/// Where `close` stands outside of string literals and nested braces, from `start`.
fn closing(source: &str, start: usize, close: &str) -> Option<usize> {
    let bytes = source.as_bytes();
    let mut quote = None;
    let mut depth = 0_u32;
    let mut at = start;
    while at < bytes.len() {
        let byte = bytes[at];
        match quote {
            Some(_) if byte == b'\\' => at += 1,
            Some(q) if byte == q => quote = None,
            Some(_) => {}
            None if depth == 0 && bytes[at..].starts_with(close.as_bytes()) => return Some(at),
            None => match byte {
                b'\'' | b'"' => quote = Some(byte),
                b'{' => depth += 1,
                b'}' => depth = depth.saturating_sub(1),
                _ => {}
            },
        }
        at += 1;
    }
    None
}

/// The inside of a text that is one whole `{{ expression }}` and nothing else.
pub(crate) fn whole_expression(source: &str) -> Option<&str> {
    let text = source.trim();
    let inner = text.strip_prefix("{{")?;
    let end = closing(text, 2, "}}")?;
    if end + 2 != text.len() {
        return None;
    }
    let inner = &inner[..end - 2];
    Some(without_trimming(inner).trim())
}

/// The inside of braces without the signs that say what happens to the blanks around them.
fn without_trimming(inner: &str) -> &str {
    let inner = inner.strip_prefix(['-', '+']).unwrap_or(inner);
    inner.strip_suffix(['-', '+']).unwrap_or(inner)
}

/// Refuses a template that the engine must not see, with the reason.
pub(crate) fn check(source: &str) -> Result<(), Error> {
    check_length(source)?;
    check_tags(source)?;
    for part in parts(source) {
        match part {
            Part::Expression(text) | Part::Tag(text, _) => check_signs(text)?,
            Part::Text => {}
        }
    }
    Ok(())
}

/// As [`check`], for an expression without its braces.
pub(crate) fn check_expression(expression: &str) -> Result<(), Error> {
    check_length(expression)?;
    check_signs(expression)
}

fn check_length(source: &str) -> Result<(), Error> {
    if source.len() > SOURCE_BYTES_MAX {
        return Err(Error::new(format!(
            "the template is {} bytes long; at most {SOURCE_BYTES_MAX} are allowed (limit: source)",
            source.len()
        ))
        .hint("move it to a file that the task reads"));
    }
    Ok(())
}

/// Counts the minus signs that stand in a row outside of string literals.
fn check_signs(expression: &str) -> Result<(), Error> {
    let (mut quote, mut escaped, mut signs) = (None, false, 0);
    for c in expression.chars() {
        match quote {
            Some(_) if escaped => escaped = false,
            Some(_) if c == '\\' => escaped = true,
            Some(q) if c == q => quote = None,
            Some(_) => {}
            None if c == '-' => signs += 1,
            None if c.is_whitespace() => {}
            None => {
                signs = 0;
                quote = matches!(c, '\'' | '"').then_some(c);
            }
        }
        if signs > SIGNS_MAX {
            return Err(Error::new(format!(
                "more than {SIGNS_MAX} minus signs stand in a row (limit: nesting)"
            ))
            .hint("text belongs between quotes, or outside of the braces"));
        }
    }
    Ok(())
}

/// Refuses tags that aren't on the allow-list, with the reason.
fn check_tags(source: &str) -> Result<(), Error> {
    for part in parts(source) {
        let Part::Tag(text, line) = part else { continue };
        let word = text.split(|c: char| !(c.is_alphanumeric() || c == '_')).next().unwrap_or_default();
        match word {
            "for" | "endfor" | "if" | "elif" | "else" | "endif" | "set" | "endset" | "with" | "endwith"
            | "filter" | "endfilter" | "raw" | "endraw" => {}
            "include" | "import" | "extends" | "block" | "endblock" | "macro" | "endmacro" | "call"
            | "endcall" | "from" => {
                return Err(Error::new(format!("`{{% {word} %}}` isn't allowed in a template"))
                    .at(line)
                    .hint("a template stands alone; allowed tags are for, if, set, with, filter and raw"));
            }
            _ => {
                return Err(Error::new(format!("unknown tag `{{% {word} %}}`"))
                    .at(line)
                    .hint("allowed tags are for, if, set, with, filter and raw"));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_expression_is_recognised() {
        assert_eq!(whole_expression("{{ a }}"), Some("a"));
        assert_eq!(whole_expression(" {{- a ~ '}}' -}}\n"), Some("a ~ '}}'"));
        assert_eq!(whole_expression("{{ {'a': {'b': 1}}['a'] }}"), Some("{'a': {'b': 1}}['a']"));
        assert_eq!(whole_expression("{{ a }}{{ b }}"), None);
        assert_eq!(whole_expression("x {{ a }}"), None);
    }

    #[test]
    fn tags_outside_the_list_are_refused() {
        assert!(check_tags("{% for a in b %}{{ a }}{% endfor %}").is_ok());
        assert!(check_tags("{% raw %}{% include 'x' %}{% endraw %}").is_ok());
        let error = check_tags("a\n{%- include '/etc/passwd' ignore missing %}").unwrap_err();
        assert_eq!(
            (error.line, error.message.as_str()),
            (Some(2), "`{% include %}` isn't allowed in a template")
        );
        assert!(check_tags("{% macro a() %}{% endmacro %}").is_err());
    }

    #[test]
    fn signs_in_a_row_are_counted_where_the_engine_would() {
        let row = "-".repeat(60_000);
        for bad in [
            format!("{{{{ {row}1 }}}}"),
            format!("{{{{{row}1 }}}}"),
            format!("{{% if 1 {} 2 %}}", "- ".repeat(99)),
        ] {
            let error = check(&bad).unwrap_err();
            assert!(error.message.contains("limit: nesting"), "{error}");
        }
        assert!(check_expression(&row).is_err());
        for good in [
            format!("{0} {{{{ ds }}}} {0}", &row[..9_000]),
            format!("{{{{ '\\'{}' }}}}", &row[..60_000]),
            "{{- 1 - -2 -}}".to_owned(),
        ] {
            assert!(check(&good).is_ok(), "{good:.80}");
        }
    }

    #[test]
    fn text_without_expressions_is_found_fast() {
        assert!(!has_expression("echo {a} %d"));
        assert!(has_expression("{{ ds }}"));
    }
}
