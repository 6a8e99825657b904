//! Splits a template into text, expressions and statements.

use std::{collections::BTreeSet, ops::Range};

use super::expression::{self, Reference, Word};

/// What a template uses.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Template {
    /// The names from outside that its expressions use, in order.
    pub references: Vec<Reference>,
    /// The filters and tests that they use, in order.
    pub words: Vec<Word>,
    /// What is decidably wrong with it.
    pub problems: Vec<Problem>,
}

/// Something wrong with a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The bytes of the template.
    pub at: Range<usize>,
    /// What is wrong, as a sentence.
    pub message: String,
    /// What to write instead.
    pub help: Option<String>,
}

/// Statements that open a block, with the word that closes it. `set` only without a `=`.
const BLOCKS: &[(&str, &str)] = &[
    ("if", "endif"),
    ("for", "endfor"),
    ("with", "endwith"),
    ("filter", "endfilter"),
    ("set", "endset"),
    ("raw", "endraw"),
];
/// Statements that load or define something: templates are sealed.
const FORBIDDEN: &[&str] = &["include", "import", "from", "extends", "block", "macro", "call"];

struct Scanner<'t> {
    text: &'t str,
    open: Vec<(&'static str, &'static str, Range<usize>)>,
    locals: BTreeSet<&'t str>,
    found: Template,
}

/// Looks at a template once, from start to end.
pub fn scan(text: &str) -> Template {
    let mut scanner = Scanner { text, open: Vec::new(), locals: BTreeSet::new(), found: Template::default() };
    scanner.run();
    // Loops, `set` and `with` bind names; where exactly they are visible is the renderer's business.
    let Scanner { locals, mut found, .. } = scanner;
    found.references.retain(|reference| !locals.contains(reference.root.as_str()));
    found
}

impl<'t> Scanner<'t> {
    fn run(&mut self) {
        let mut at = 0;
        while let Some(start) = self.next_delimiter(at) {
            let (closing, what) = match self.text.as_bytes()[start + 1] {
                b'{' => ("}}", "an expression"),
                b'%' => ("%}", "a statement"),
                _ => ("#}", "a comment"),
            };
            let Some(end) = self::closing(self.text, start + 2, closing) else {
                let message = format!("{what} begins here and doesn't end");
                let help = if closing == "#}" {
                    "close it with `#}`; if `${#name}` of the shell is meant, put it between `{% raw %}` and `{% endraw %}`"
                        .to_owned()
                } else {
                    format!("close it with `{closing}`")
                };
                self.problem(start..start + 2, message, Some(help));
                return;
            };
            let inner = start + 2..end;
            at = end + 2;
            match closing {
                "}}" => self.expression(inner),
                "%}" => at = self.statement(inner, at),
                _ => {}
            }
        }
        for (open, close, at) in std::mem::take(&mut self.open) {
            self.problem(at, format!("`{open}` isn't closed"), Some(format!("add `{{% {close} %}}`")));
        }
    }

    fn next_delimiter(&self, from: usize) -> Option<usize> {
        let mut at = from;
        loop {
            at += self.text[at..].find('{')?;
            if self.text[at + 1..].starts_with(['{', '%', '#']) {
                return Some(at);
            }
            at += 1;
        }
    }

    fn problem(&mut self, at: Range<usize>, message: String, help: Option<String>) {
        self.found.problems.push(Problem { at, message, help });
    }

    fn expression(&mut self, inner: Range<usize>) {
        let trimmed = self.text[inner.clone()].trim_matches(['-', '+']).trim();
        if trimmed.is_empty() {
            self.problem(inner.start - 2..inner.end + 2, "an expression without content".to_owned(), None);
            return;
        }
        self.read(inner);
    }

    fn read(&mut self, inner: Range<usize>) {
        match expression::references(self.text, inner) {
            Ok((references, words)) => {
                self.found.references.extend(references);
                self.found.words.extend(words);
            }
            Err(problem) => self.found.problems.push(problem),
        }
    }

    /// Reads a statement; yields where the scan goes on.
    fn statement(&mut self, inner: Range<usize>, next: usize) -> usize {
        let content = &self.text[inner.clone()];
        let skipped = content.len() - content.trim_start_matches(['-', '+', ' ', '\t', '\n', '\r']).len();
        let body = content[skipped..].trim_end_matches(['-', '+', ' ', '\t', '\n', '\r']);
        let word_end = body.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(body.len());
        let (word, rest) = body.split_at(word_end);
        let whole = inner.start - 2..inner.end + 2;
        let rest_at = inner.start + skipped + word_end..inner.start + skipped + body.len();
        if word == "raw" {
            return self.skip_raw(next, whole);
        }
        if let Some((_, close)) = BLOCKS.iter().find(|(open, _)| *open == word) {
            if word != "set" || !rest.contains('=') {
                let open = BLOCKS.iter().find(|(open, _)| *open == word).map_or("block", |(open, _)| open);
                self.open.push((open, close, whole));
            }
            self.bind(word, rest);
            let read = match word {
                "for" => rest.find(" in ").map_or(rest_at.clone(), |n| rest_at.start + n + 4..rest_at.end),
                "set" => {
                    rest.find('=').map_or(rest_at.end..rest_at.end, |n| rest_at.start + n + 1..rest_at.end)
                }
                "filter" | "with" => rest_at.end..rest_at.end,
                _ => rest_at,
            };
            self.read(read);
        } else if BLOCKS.iter().any(|(_, close)| *close == word) {
            match self.open.pop() {
                Some((_, close, _)) if close == word => {}
                Some((open, close, _)) => {
                    let help = Some(format!("close `{open}` with `{{% {close} %}}` first"));
                    self.problem(whole, format!("`{word}` doesn't close `{open}`"), help);
                }
                None => self.problem(whole, format!("`{word}` closes nothing"), None),
            }
        } else if FORBIDDEN.contains(&word) {
            let help = Some(
                "a template stands alone; it may use `for`, `if`, `set`, `with`, `filter` and `raw`"
                    .to_owned(),
            );
            self.problem(whole, format!("`{word}` isn't allowed in a template"), help);
        } else if matches!(word, "elif" | "else") {
            self.read(rest_at);
        } else {
            let help = Some("there are `for`, `if`, `set`, `with`, `filter` and `raw`".to_owned());
            self.problem(whole, format!("`{word}` is no statement of templates"), help);
        }
        next
    }

    fn skip_raw(&mut self, next: usize, whole: Range<usize>) -> usize {
        let rest = &self.text[next..];
        let end = rest
            .match_indices("{%")
            .find(|(at, _)| rest[at + 2..].trim_start_matches(['-', '+', ' ', '\t']).starts_with("endraw"));
        let end = end.and_then(|(at, _)| rest[at..].find("%}").map(|n| next + at + n + 2));
        end.unwrap_or_else(|| {
            self.problem(whole, "`raw` isn't closed".to_owned(), Some("add `{% endraw %}`".to_owned()));
            self.text.len()
        })
    }

    /// The names that a statement binds.
    fn bind(&mut self, word: &str, rest: &'t str) {
        let names = match word {
            "for" => rest.split(" in ").next(),
            "set" => rest.split('=').next(),
            "with" => Some(rest),
            _ => None,
        };
        let words = names.unwrap_or_default().split(|c: char| !(c.is_alphanumeric() || c == '_'));
        self.locals.extend(words.filter(|word| word.starts_with(|c: char| c.is_alphabetic() || c == '_')));
        if word == "for" {
            self.locals.insert("loop");
        }
    }
}

/// The closing delimiter from there on, not looking into strings.
pub(super) fn closing(text: &str, from: usize, closing: &str) -> Option<usize> {
    if closing == "#}" {
        return text[from..].find(closing).map(|n| from + n);
    }
    let bytes = text.as_bytes();
    let mut quote = None;
    let mut braces = 0_usize;
    let mut at = from;
    while at < bytes.len() {
        match (quote, bytes[at]) {
            (Some(_), b'\\') => at += 1,
            (Some(open), byte) if byte == open => quote = None,
            (None, byte @ (b'"' | b'\'')) => quote = Some(byte),
            (None, b'{') => braces += 1,
            (None, b'}') if braces > 0 => braces -= 1,
            (None, _) if bytes[at..].starts_with(closing.as_bytes()) => return Some(at),
            (Some(_) | None, _) => {}
        }
        at += 1;
    }
    None
}
