//! Getting values into code unharmed: the filters `sh`, `sql`, `json`, `ident` and `raw`, and the check behind them.
//!
//! Their results are marked as safe; in a code field everything else may consist of harmless characters only.

use std::fmt::Write as _;

use minijinja::{Error, Output, State, Value, value::ValueKind};

use crate::error::refused;

const HINT: &str = "pass it through a filter that fits the place: `| sh` in a shell, `| sql` for a SQL value, \
                    `| ident` for a SQL name, `| json` for JSON or Python, `| raw` if you vouch for it";

fn harmless(c: char) -> bool {
    c.is_ascii_alphanumeric() || "_.:/@=+,-".contains(c)
}

/// Writes an expression's value into a code field, or refuses it.
pub(crate) fn code(out: &mut Output<'_>, state: &mut State<'_, '_>, value: &Value) -> Result<(), Error> {
    if !value.is_safe() {
        let text = text(value)?;
        if let Some(c) = text.chars().find(|c| !harmless(*c)) {
            return Err(refused(
                format_args!(
                    "the value of an expression in code contains {c:?}, which code could take for its own"
                ),
                HINT,
            ));
        }
    }
    minijinja::escape_formatter(out, state, value)
}

fn text(value: &Value) -> Result<String, Error> {
    match value.kind() {
        ValueKind::Undefined => Err(Error::from(minijinja::ErrorKind::UndefinedError)),
        _ => Ok(value.to_string()),
    }
}

/// `sh`: one word of a POSIX shell; a list becomes several.
pub(crate) fn sh(value: &Value) -> Result<Value, Error> {
    let mut out = String::new();
    if value.kind() == ValueKind::Seq {
        for (i, item) in value.try_iter()?.enumerate() {
            if i > 0 {
                out.push(' ');
            }
            word(&mut out, &item)?;
        }
    } else {
        word(&mut out, value)?;
    }
    Ok(Value::from_safe_string(out))
}

fn word(out: &mut String, value: &Value) -> Result<(), Error> {
    let text = match value.kind() {
        ValueKind::Map | ValueKind::Seq => {
            return Err(refused(
                "`sh` takes a text or a list of texts",
                "write `| json | sh` for structured data",
            ));
        }
        _ => text(value)?,
    };
    if text.contains('\0') {
        return Err(refused("a shell word can't hold a NUL character", "remove it first"));
    }
    if !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "_./:@%+,-".contains(c)) {
        out.push_str(&text);
    } else {
        out.push('\'');
        out.push_str(&text.replace('\'', r"'\''"));
        out.push('\'');
    }
    Ok(())
}

/// `sql`: a literal of standard SQL; a list becomes a comma-separated one, for `IN (...)`.
pub(crate) fn sql(value: &Value) -> Result<Value, Error> {
    let mut out = String::new();
    if value.kind() == ValueKind::Seq {
        for (i, item) in value.try_iter()?.enumerate() {
            if i > 0 {
                out.push_str(", ");
            }
            literal(&mut out, &item)?;
        }
        if out.is_empty() {
            out.push_str("NULL");
        }
    } else {
        literal(&mut out, value)?;
    }
    Ok(Value::from_safe_string(out))
}

fn literal(out: &mut String, value: &Value) -> Result<(), Error> {
    match value.kind() {
        ValueKind::None => out.push_str("NULL"),
        ValueKind::Bool => out.push_str(if value.is_true() { "TRUE" } else { "FALSE" }),
        ValueKind::Number => {
            let number = value.to_string();
            if number.contains("inf") || number.contains("NaN") {
                return Err(refused("SQL has no literal for this number", "check for it first"));
            }
            out.push_str(&number);
        }
        ValueKind::Map | ValueKind::Seq => {
            return Err(refused(
                "`sql` takes a value or a list of values",
                "write `| json | string | sql` for structured data",
            ));
        }
        _ => {
            let text = text(value)?;
            // Databases differ on what a backslash means inside of a literal, so no quoting is right for all of them.
            if text.contains(['\0', '\\']) {
                return Err(refused(
                    "a SQL literal can't safely hold a backslash or NUL character",
                    "bind it: `params: [...]` of the sql operator",
                ));
            }
            out.push('\'');
            out.push_str(&text.replace('\'', "''"));
            out.push('\'');
        }
    }
    Ok(())
}

/// `ident`: a name, or dotted names, as SQL takes them without quotes.
pub(crate) fn ident(value: &Value) -> Result<Value, Error> {
    let text = text(value)?;
    let good = |name: &str| {
        name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    if text.split('.').all(good) {
        Ok(Value::from_safe_string(text))
    } else {
        Err(refused(
            format_args!("{text:?} isn't a name"),
            "a name starts with a letter or `_` and goes on with letters, digits and `_`",
        ))
    }
}

/// `json`: compact JSON in which nothing can end a quoted string of a shell, Python or HTML.
pub(crate) fn json(value: &Value) -> Result<Value, Error> {
    if value.is_undefined() {
        return Err(Error::from(minijinja::ErrorKind::UndefinedError));
    }
    let text = serde_json::to_string(value)
        .map_err(|e| refused(format_args!("the value has no JSON form: {e}"), "use texts as keys"))?;
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        // These occur inside of JSON strings only, where an escape means the same.
        if matches!(c, '\'' | '`' | '$' | '<' | '>' | '&' | '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}') {
            let _ = write!(out, "\\u{:04x}", c as u32);
        } else {
            out.push(c);
        }
    }
    Ok(Value::from_safe_string(out))
}

/// `raw`: the author vouches for the value.
pub(crate) fn raw(value: &Value) -> Result<Value, Error> {
    text(value).map(Value::from_safe_string)
}
