//! Looking at SQL without a parser: where statements begin, and the few that reach out of the database.

/// The statements of a text, without the blanks and comments around them.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Script<'a> {
    /// The text of each statement.
    pub(super) statements: Vec<&'a str>,
    /// Each statement's bare words, upper case: no literals, quoted names or comments.
    words: Vec<Vec<String>>,
}

impl<'a> Script<'a> {
    /// Splits at `;` outside of literals, quoted names, comments and, for triggers, `BEGIN ... END`.
    pub(super) fn read(text: &'a str, dollar_quotes: bool) -> Self {
        let mut script = Self { statements: Vec::new(), words: Vec::new() };
        let (mut start, mut at, mut words) = (0, 0, Vec::new());
        while at < text.len() {
            let rest = &text[at..];
            let step = skipped(rest, dollar_quotes);
            if step > 0 {
                at += step;
            } else if rest.starts_with(|c: char| c.is_alphabetic() || c == '_') {
                let end =
                    rest.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '$')).unwrap_or(rest.len());
                words.push(rest[..end].to_ascii_uppercase());
                at += end;
            } else if rest.starts_with(';') && !inside_trigger(&words) {
                script.push(&text[start..at], std::mem::take(&mut words));
                at += 1;
                start = at;
            } else {
                at += rest.chars().next().map_or(1, char::len_utf8);
            }
        }
        script.push(&text[start..], words);
        script
    }

    fn push(&mut self, statement: &'a str, words: Vec<String>) {
        if !words.is_empty() {
            self.statements.push(statement.trim());
            self.words.push(words);
        }
    }

    /// Whether a statement starts with one of these words.
    pub(super) fn any_starts_with(&self, openers: &[&str]) -> bool {
        self.words.iter().any(|words| words.first().is_some_and(|first| openers.contains(&first.as_str())))
    }

    /// What a SQLite script would do outside of its database, in words; `None` for most.
    pub(super) fn reaches_out(&self) -> Option<&'static str> {
        self.words.iter().find_map(|words| {
            let has = |word: &str| words.iter().any(|w| w == word);
            match words.first().map(String::as_str) {
                Some("ATTACH" | "DETACH") => Some("`ATTACH` isn't allowed: a task works with one database"),
                Some("EXPLAIN") if has("ATTACH") => {
                    Some("`ATTACH` isn't allowed: a task works with one database")
                }
                Some("VACUUM") if has("INTO") => Some("`VACUUM INTO` isn't allowed: it writes another file"),
                Some(_) if has("LOAD_EXTENSION") => Some("`load_extension` isn't allowed"),
                _ => None,
            }
        })
    }
}

/// A trigger's body has statements of its own; it ends with the `END` that isn't of a `CASE`.
fn inside_trigger(words: &[String]) -> bool {
    let trigger =
        words.first().is_some_and(|w| w == "CREATE") && words.iter().take(4).any(|w| w == "TRIGGER");
    let opened = words.iter().filter(|w| ["BEGIN", "CASE"].contains(&w.as_str())).count();
    trigger && opened > words.iter().filter(|w| *w == "END").count()
}

/// How many bytes of literal, quoted name or comment the text starts with.
fn skipped(text: &str, dollar_quotes: bool) -> usize {
    let all = text.len();
    if text.starts_with("--") {
        return text.find('\n').unwrap_or(all);
    }
    if let Some(comment) = text.strip_prefix("/*") {
        return comment.find("*/").map_or(all, |i| i + 4);
    }
    if dollar_quotes && text.starts_with('$') {
        return dollar_quoted(text);
    }
    let close = match text.chars().next() {
        Some(quote @ ('\'' | '"' | '`')) => quote,
        Some('[') if !dollar_quotes => ']',
        _ => return 0,
    };
    // A doubled quote closes and opens again, which skips just as well.
    text[1..].find(close).map_or(all, |i| i + 2)
}

fn dollar_quoted(text: &str) -> usize {
    let Some(end) = text[1..].find('$').map(|i| i + 2) else { return 0 };
    let tag = &text[..end];
    let named = tag[1..end - 1].chars().all(|c| c.is_alphanumeric() || c == '_');
    if !named || tag[1..].starts_with(|c: char| c.is_ascii_digit()) {
        return 0;
    }
    text[end..].find(tag).map_or(text.len(), |i| end + i + tag.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statements(text: &str, dollar_quotes: bool) -> Vec<&str> {
        Script::read(text, dollar_quotes).statements
    }

    #[test]
    fn statements_end_where_the_database_ends_them() {
        assert_eq!(
            statements("select 1; select ';' -- ;\n;\n/* ; */", false),
            ["select 1", "select ';' -- ;"]
        );
        assert_eq!(statements("select 'it''s;', \";\", [;], `;`", false).len(), 1);
        assert_eq!(statements("do $a$ begin; $$ end $a$; select $1", true).len(), 2);
        assert_eq!(statements("select $1;select $2", true).len(), 2);
        let trigger = "create trigger t after insert on a begin update a set b = case when 1 then 2 end; delete from c; end; select 1";
        assert_eq!(statements(trigger, false).len(), 2);
        assert!(statements(" ;; -- nothing", false).is_empty());
    }

    #[test]
    fn what_reaches_out_of_the_database_is_seen() {
        let out = |text: &str| Script::read(text, false).reaches_out().is_some();
        for text in [
            "ATTACH 'x' AS y",
            "select 1;\n/**/aTTach database 'x' as y",
            "vacuum main into 'x'",
            "select load_extension('x')",
            "explain attach 'x' as y",
        ] {
            assert!(out(text), "{text}");
        }
        for text in [
            "select 'attach'",
            "-- attach\nselect 1",
            "vacuum",
            "select \"load_extension\" from t",
            "insert into attach values (1)",
        ] {
            assert!(!out(text), "{text}");
        }
    }
}
