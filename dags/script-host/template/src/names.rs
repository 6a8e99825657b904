//! Finding what a text names, so that only those values are fetched: `outputs.train`, `var.value.bucket`, `conn.shop`.

use std::collections::BTreeSet;

use minijinja::Environment;

use crate::{
    error::Error,
    source::{Part, check, check_expression, has_expression, parts, whole_expression},
};

/// How many parts of a path are kept.
const PARTS_MAX: usize = 8;

/// The names that a template looks up, dotted as far as they are written out; none where there is no expression.
///
/// `outputs['a']`, `outputs.get('a')` and `ti.xcom_pull('a')` all give `outputs.a`. A lookup by a computed name gives
/// the path up to it: a bare `outputs` means that any result may be asked for.
pub fn names(source: &str) -> Result<BTreeSet<String>, Error> {
    let mut found = BTreeSet::new();
    if !has_expression(source) {
        return Ok(found);
    }
    // The service itself asks this, so whatever could end its process is refused before the engine reads it.
    check(source)?;
    let env = Environment::empty();
    let roots: BTreeSet<String> =
        env.template_from_str(source)?.undeclared_variables(false).into_iter().collect();
    for part in parts(source) {
        match part {
            Part::Expression(text) | Part::Tag(text, _) => paths(text, &roots, &mut found),
            Part::Text => {}
        }
    }
    Ok(found)
}

/// As [`names`], for an expression with or without its braces.
pub fn expression_names(expression: &str) -> Result<BTreeSet<String>, Error> {
    let bare = whole_expression(expression).unwrap_or(expression);
    check_expression(bare)?;
    let env = Environment::empty();
    let roots: BTreeSet<String> =
        env.compile_expression(bare)?.undeclared_variables(false).into_iter().collect();
    let mut found = BTreeSet::new();
    paths(bare, &roots, &mut found);
    Ok(found)
}

#[derive(Debug, PartialEq)]
enum Token<'a> {
    Name(&'a str),
    Text(&'a str),
    Sign(char),
}

fn tokens(text: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let mut chars = text.char_indices().peekable();
    while let Some((start, c)) = chars.next() {
        if c == '"' || c == '\'' {
            let mut end = text.len();
            while let Some((at, inner)) = chars.next() {
                if inner == '\\' {
                    chars.next();
                } else if inner == c {
                    end = at;
                    break;
                }
            }
            tokens.push(Token::Text(&text[start + 1..end]));
        } else if c.is_alphanumeric() || c == '_' {
            let mut end = start + c.len_utf8();
            while let Some((at, inner)) = chars.peek().copied() {
                if !(inner.is_alphanumeric() || inner == '_') {
                    break;
                }
                end = at + inner.len_utf8();
                chars.next();
            }
            tokens.push(Token::Name(&text[start..end]));
        } else if !c.is_whitespace() {
            tokens.push(Token::Sign(c));
        }
    }
    tokens
}

fn paths(text: &str, roots: &BTreeSet<String>, found: &mut BTreeSet<String>) {
    use Token::{Name, Sign, Text};
    let tokens = tokens(text);
    let mut at = 0;
    while at < tokens.len() {
        let Name(root) = tokens[at] else {
            at += 1;
            continue;
        };
        let attribute = at > 0 && matches!(tokens[at - 1], Sign('.' | '|'));
        at += 1;
        if attribute || !roots.contains(root) {
            continue;
        }
        let mut path = root.to_owned();
        for _ in 0..PARTS_MAX {
            match tokens.get(at..).unwrap_or_default() {
                [Sign('.'), Name("xcom_pull"), Sign('('), rest @ ..] => {
                    "outputs".clone_into(&mut path);
                    let closed = rest.iter().position(|t| *t == Sign(')')).unwrap_or(rest.len());
                    pulled(&rest[..closed], found);
                    break;
                }
                [Sign('.'), Name("get"), Sign('('), Text(key), ..] => {
                    path.push('.');
                    path.push_str(key);
                    at += 4;
                    break;
                }
                // A method call: what it is called on is the name.
                [Sign('.'), Name(_), Sign('('), ..] => break,
                [Sign('.'), Name(key), ..] => {
                    path.push('.');
                    path.push_str(key);
                    at += 2;
                }
                [Sign('['), Text(key), Sign(']'), ..] => {
                    path.push('.');
                    path.push_str(key);
                    at += 3;
                }
                _ => break,
            }
        }
        if path != "outputs" || root == "outputs" {
            found.insert(path);
        }
    }
}

/// The tasks of an `xcom_pull`; a computed name may be any of them.
fn pulled(arguments: &[Token<'_>], found: &mut BTreeSet<String>) {
    use Token::{Name, Sign, Text};
    let mut any = false;
    let mut at = 0;
    while at < arguments.len() {
        match &arguments[at..] {
            [Name("key"), Sign('='), _, ..] => at += 3,
            [Name("task_ids"), Sign('='), ..] => at += 2,
            [Text(task), ..] => {
                found.insert(format!("outputs.{task}"));
                any = true;
                at += 1;
            }
            [Name(_), ..] => {
                found.insert("outputs".to_owned());
                any = true;
                at += 1;
            }
            _ => at += 1,
        }
    }
    if !any {
        found.insert("outputs".to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(source: &str, expected: &[&str]) {
        let found = names(source).unwrap();
        assert_eq!(found.iter().map(String::as_str).collect::<Vec<_>>(), expected, "{source}");
    }

    #[test]
    fn names_are_found_however_they_are_written() {
        check("{{ ds }} {{ params.region }}", &["ds", "params.region"]);
        check("{{ outputs['train'].error < 0.1 }}", &["outputs.train.error"]);
        check(
            "{{ var.value.get('bucket', 'b') }}{{ conn.shop.password | sh }}",
            &["conn.shop.password", "var.value.bucket"],
        );
        check("{{ ti.xcom_pull(task_ids=['a', 'b'], key='k') }}", &["outputs.a", "outputs.b"]);
        check("{{ task_instance.xcom_pull('a')['n'] }}", &["outputs.a"]);
        check("{{ outputs[params.which] }}", &["outputs", "params.which"]);
        check("{% for s in outputs.stores %}{{ s.name }}{% endfor %}", &["outputs.stores"]);
        check("{{ logical_date.add(days=1) | ds }}", &["logical_date"]);
        check("no expression", &[]);
        for expression in ["outputs.train.error < 0.1", "{{ outputs['train'].error < 0.1 }}"] {
            let found = expression_names(expression).unwrap();
            assert_eq!(found.into_iter().collect::<Vec<_>>(), ["outputs.train.error"]);
        }
    }
}
