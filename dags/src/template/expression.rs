//! Finds the names that an expression takes from outside.

use std::ops::Range;

use super::scan::Problem;

/// A name that an expression uses, with what it takes from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// The first name: `outputs` in `outputs.train.error`.
    pub root: String,
    /// The second name, if it is known: `train`.
    pub member: Option<String>,
    /// The first string argument of a call such as `ti.xcom_pull(task_ids='train')`.
    pub argument: Option<String>,
    /// The bytes of the template: root and member.
    pub at: Range<usize>,
    /// Whether the expression asks if the name is defined, or gives a default.
    pub guarded: bool,
}

/// A filter (`| upper`) or a test (`is defined`) of an expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    /// Its name.
    pub name: String,
    /// Whether it is a test.
    pub is_test: bool,
    /// The bytes of the template.
    pub at: Range<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token<'t> {
    Name(&'t str),
    Text(&'t str),
    Number,
    Sign(u8),
}

const WORDS: &[&str] = &[
    "and",
    "or",
    "not",
    "in",
    "is",
    "if",
    "else",
    "true",
    "false",
    "none",
    "True",
    "False",
    "None",
    "recursive",
    "elif",
    "scoped",
];

/// The names from outside and the filters and tests that the expression at those bytes of the text uses.
pub(super) fn references(text: &str, range: Range<usize>) -> Result<(Vec<Reference>, Vec<Word>), Problem> {
    let tokens = tokens(text, range)?;
    let guarded = tokens.iter().any(|(token, _)| matches!(token, Token::Name("default" | "d" | "defined")));
    let (mut found, mut words) = (Vec::new(), Vec::new());
    let mut previous: Option<Token<'_>> = None;
    for (n, (token, at)) in tokens.iter().enumerate() {
        if let Token::Name(name) = token
            && let Some(is_test) = is_word(&tokens, n)
        {
            words.push(Word { name: (*name).to_owned(), is_test, at: at.clone() });
        } else if let Token::Name(name) = token
            && !WORDS.contains(name)
            && previous != Some(Token::Sign(b'.'))
            && !is_keyword_argument(&tokens, n)
        {
            let (member, end) = member(&tokens, n);
            found.push(Reference {
                root: (*name).to_owned(),
                argument: member.is_some().then(|| argument(&tokens, n)).flatten(),
                member,
                at: at.start..end,
                guarded,
            });
        }
        previous = Some(*token);
    }
    Ok((found, words))
}

fn token<'t>(tokens: &[(Token<'t>, Range<usize>)], n: usize) -> Option<Token<'t>> {
    tokens.get(n).map(|(token, _)| *token)
}

/// Whether a name is a filter (`x | name`, false) or a test (`x is name`, `x is not name`, true) and no value.
fn is_word(tokens: &[(Token<'_>, Range<usize>)], n: usize) -> Option<bool> {
    let before = |distance: usize| n.checked_sub(distance).and_then(|n| token(tokens, n));
    match before(1)? {
        Token::Sign(b'|') => Some(false),
        Token::Name("is") if token(tokens, n) != Some(Token::Name("not")) => Some(true),
        Token::Name("not") if before(2) == Some(Token::Name("is")) => Some(true),
        Token::Name(_) | Token::Text(_) | Token::Number | Token::Sign(_) => None,
    }
}

/// `call(name=value)`: a name of the callee.
fn is_keyword_argument(tokens: &[(Token<'_>, Range<usize>)], n: usize) -> bool {
    token(tokens, n + 1) == Some(Token::Sign(b'='))
        && token(tokens, n + 2) != Some(Token::Sign(b'='))
        && matches!(n.checked_sub(1).and_then(|n| token(tokens, n)), Some(Token::Sign(b'(' | b',')))
}

/// `.member` or `["member"]` after a name, and where it ends.
fn member(tokens: &[(Token<'_>, Range<usize>)], n: usize) -> (Option<String>, usize) {
    match (token(tokens, n + 1), token(tokens, n + 2)) {
        (Some(Token::Sign(b'.')), Some(Token::Name(name))) => (Some(name.to_owned()), tokens[n + 2].1.end),
        (Some(Token::Sign(b'[')), Some(Token::Text(name)))
            if token(tokens, n + 3) == Some(Token::Sign(b']')) =>
        {
            (Some(name.to_owned()), tokens[n + 3].1.end)
        }
        _ => (None, tokens[n].1.end),
    }
}

/// The first string of `root.member("...")` or `root.member(task_ids="...")`.
fn argument(tokens: &[(Token<'_>, Range<usize>)], n: usize) -> Option<String> {
    let text =
        |n: usize| if let Some(Token::Text(text)) = token(tokens, n) { Some(text.to_owned()) } else { None };
    if token(tokens, n + 3) != Some(Token::Sign(b'(')) {
        return None;
    }
    text(n + 4).or_else(|| {
        let keyword = token(tokens, n + 4) == Some(Token::Name("task_ids"));
        (keyword && token(tokens, n + 5) == Some(Token::Sign(b'='))).then(|| text(n + 6)).flatten()
    })
}

fn tokens(text: &str, range: Range<usize>) -> Result<Vec<(Token<'_>, Range<usize>)>, Problem> {
    let bytes = text.as_bytes();
    let mut found = Vec::new();
    let mut brackets: Vec<(u8, usize)> = Vec::new();
    let mut at = range.start;
    while at < range.end {
        let start = at;
        let c = text[at..].chars().next().unwrap_or(' ');
        at += c.len_utf8();
        if c.is_whitespace() {
            continue;
        }
        let token = if c.is_alphabetic() || c == '_' {
            at = end_while(text, at, range.end, |c| c.is_alphanumeric() || c == '_');
            Token::Name(&text[start..at])
        } else if c.is_ascii_digit() {
            at = end_while(text, at, range.end, |c| c.is_alphanumeric() || c == '.' || c == '_');
            Token::Number
        } else if c == '"' || c == '\'' {
            at = string_end(bytes, at, range.end, c as u8).ok_or_else(|| Problem {
                at: start..range.end,
                message: "a text inside of the expression isn't closed".to_owned(),
                help: Some(format!("add the closing `{c}`")),
            })?;
            Token::Text(&text[start + 1..at - 1])
        } else {
            balance(&mut brackets, c, start)?;
            Token::Sign(if c.is_ascii() { c as u8 } else { b'?' })
        };
        found.push((token, start..at));
    }
    match brackets.pop() {
        None => Ok(found),
        Some((open, at)) => Err(Problem {
            at: at..at + 1,
            message: format!("`{}` isn't closed in this expression", open as char),
            help: None,
        }),
    }
}

fn end_while(text: &str, at: usize, end: usize, test: impl Fn(char) -> bool) -> usize {
    text[at..end].find(|c| !test(c)).map_or(end, |n| at + n)
}

fn string_end(bytes: &[u8], mut at: usize, end: usize, quote: u8) -> Option<usize> {
    while at < end {
        match bytes[at] {
            b'\\' => at += 1,
            byte if byte == quote => return Some(at + 1),
            _ => {}
        }
        at += 1;
    }
    None
}

fn balance(brackets: &mut Vec<(u8, usize)>, c: char, at: usize) -> Result<(), Problem> {
    let open = match c {
        '(' | '[' | '{' => {
            brackets.push((c as u8, at));
            return Ok(());
        }
        ')' => b'(',
        ']' => b'[',
        '}' => b'{',
        _ => return Ok(()),
    };
    if brackets.pop().is_some_and(|(last, _)| last == open) {
        return Ok(());
    }
    Err(Problem { at: at..at + 1, message: format!("`{c}` closes nothing in this expression"), help: None })
}

#[cfg(test)]
mod tests {
    use crate::template::scan;

    fn roots(text: &str) -> Vec<String> {
        let template = scan(text);
        assert_eq!(template.problems, [], "{text}");
        let path = |r: &super::Reference| match &r.member {
            Some(member) => format!("{}.{member}", r.root),
            None => r.root.clone(),
        };
        template.references.iter().map(path).collect()
    }

    #[test]
    fn names_from_outside_are_found() {
        assert_eq!(roots("plain { text }"), [""; 0]);
        assert_eq!(roots("{{ ds }} {{ params.region | upper }}"), ["ds", "params.region"]);
        assert_eq!(
            roots("{{ outputs['my-task'].x + outputs.b[ds] }}"),
            ["outputs.my-task", "outputs.b", "ds"]
        );
        assert_eq!(roots("{{ f(a=ds, b='}}') if x is not defined else {'k': ts} }}"), ["f", "ds", "x", "ts"]);
        assert_eq!(roots("{% for x in params.list %}{{ x.y }}{{ loop.index }}{% endfor %}"), ["params.list"]);
        assert_eq!(roots("{% set a = ds %}{{ a }}{# {{ nope }} #}{% raw %}{{ no }}{% endraw %}"), ["ds"]);
        assert_eq!(roots("{%- if a == ts and not b -%}x{%- else -%}y{%- endif -%}"), ["a", "ts", "b"]);
    }

    #[test]
    fn filters_and_tests_are_found() {
        let text =
            "{{ a | upper | default('x') if b is not defined and c is even else d.is.x | join(e | sh) }}";
        let template = scan(text);
        let words: Vec<_> = template.words.iter().map(|word| (word.name.as_str(), word.is_test)).collect();
        let expected = [
            ("upper", false),
            ("default", false),
            ("defined", true),
            ("even", true),
            ("join", false),
            ("sh", false),
        ];
        assert_eq!(words, expected);
        assert!(template.words.iter().all(|word| text[word.at.clone()] == word.name));
        assert_eq!(roots(text), ["a", "b", "c", "d.is", "e"]);
    }

    #[test]
    fn calls_show_their_first_text() {
        let template = scan("{{ ti.xcom_pull(task_ids='load') }}{{ ti.xcom_pull(\"x\") }}");
        let arguments: Vec<_> = template.references.iter().filter_map(|r| r.argument.as_deref()).collect();
        assert_eq!(arguments, ["load", "x"]);
    }

    #[test]
    fn what_is_decidably_wrong_is_found() {
        for bad in [
            "{{ ds",
            "{{ }}",
            "{{ 'a }}",
            "{{ (a }}",
            "{{ a) }}",
            "{% if a %}",
            "{% endif %}",
            "{% for a in b %}{% endif %}",
            "{% include 'x' %}",
            "{% nonsense %}",
            "{% raw %}{{",
            "{# x",
        ] {
            assert!(!scan(bad).problems.is_empty(), "{bad}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_survived(text in "[{}%#'\"a-z.()\\[\\] =|é\\\\-]{0,60}") {
            for problem in scan(&text).problems {
                proptest::prop_assert!(text.get(problem.at).is_some());
            }
        }
    }
}
