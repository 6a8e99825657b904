//! The condition of `sql_check`: `> 0`, `= 'done'`, `between 1 and 5`.

use std::cmp::Ordering;

use serde_json::Value;

/// What the grammar looks like, for the schema.
pub(super) const PATTERN: &str =
    r"^\s*((=|==|!=|<>|<|<=|>|>=)\s*\S.*|[bB][eE][tT][wW][eE][eE][nN]\s+\S+\s+[aA][nN][dD]\s+\S+)\s*$";

/// A condition on one value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Expect {
    Compare(Comparison, Value),
    Between(Value, Value),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    Differs,
    Less,
    AtMost,
    Greater,
    AtLeast,
}

impl Expect {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("`expect: {text}` isn't a condition: write `> 0`, `= 'done'` or `between 1 and 5`");
        let text_ = text.trim();
        let words: Vec<&str> = text_.split_whitespace().collect();
        if let [between, low, and, high] = words[..]
            && between.eq_ignore_ascii_case("between")
            && and.eq_ignore_ascii_case("and")
        {
            let bounds = literal(low).zip(literal(high)).ok_or_else(wrong)?;
            return Ok(Self::Between(bounds.0, bounds.1));
        }
        let signs = [
            ("==", Comparison::Equal),
            ("=", Comparison::Equal),
            ("!=", Comparison::Differs),
            ("<>", Comparison::Differs),
            ("<=", Comparison::AtMost),
            ("<", Comparison::Less),
            (">=", Comparison::AtLeast),
            (">", Comparison::Greater),
        ];
        let (rest, comparison) =
            signs.iter().find_map(|(sign, c)| Some((text_.strip_prefix(sign)?, *c))).ok_or_else(wrong)?;
        Ok(Self::Compare(comparison, literal(rest.trim()).ok_or_else(wrong)?))
    }

    /// Whether it holds. Values of different kinds are different, and neither is less.
    pub(super) fn holds(&self, value: &Value) -> bool {
        match self {
            Self::Between(low, high) => {
                at_least(compare(value, low)) && compare(value, high).is_some_and(|o| o != Ordering::Greater)
            }
            Self::Compare(comparison, other) => {
                let order = compare(value, other);
                match comparison {
                    Comparison::Equal => order == Some(Ordering::Equal),
                    Comparison::Differs => order != Some(Ordering::Equal),
                    Comparison::Less => order == Some(Ordering::Less),
                    Comparison::AtMost => order.is_some_and(|o| o != Ordering::Greater),
                    Comparison::Greater => order == Some(Ordering::Greater),
                    Comparison::AtLeast => at_least(order),
                }
            }
        }
    }
}

fn at_least(order: Option<Ordering>) -> bool {
    order.is_some_and(|o| o != Ordering::Less)
}

/// A number, `true`, `false`, `null`, or a text in single or double quotes.
fn literal(text: &str) -> Option<Value> {
    let quoted =
        |quote: char| text.strip_prefix(quote)?.strip_suffix(quote).filter(|inner| !inner.contains(quote));
    if let Some(inner) = quoted('\'').or_else(|| quoted('"')) {
        return Some(inner.into());
    }
    match text {
        "null" | "NULL" => Some(Value::Null),
        "true" | "TRUE" => Some(true.into()),
        "false" | "FALSE" => Some(false.into()),
        _ => serde_json::from_str(text).ok().filter(Value::is_number),
    }
}

fn compare(a: &Value, b: &Value) -> Option<Ordering> {
    match (a, b) {
        (Value::Null, Value::Null) => Some(Ordering::Equal),
        (Value::Number(a), Value::Number(b)) => match (a.as_i64(), b.as_i64()) {
            (Some(a), Some(b)) => Some(a.cmp(&b)),
            _ => a.as_f64()?.partial_cmp(&b.as_f64()?),
        },
        (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
        // SQLite has no booleans but 0 and 1.
        (Value::Number(a), Value::Bool(b)) => {
            a.as_i64().filter(|n| [0, 1].contains(n)).map(|n| n.cmp(&i64::from(*b)))
        }
        (Value::Bool(a), Value::Bool(b)) => Some(a.cmp(b)),
        // Numbers that have no exact JSON form arrive as text.
        (Value::String(a), Value::Number(b)) => a.parse::<f64>().ok()?.partial_cmp(&b.as_f64()?),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn conditions_hold_as_they_read() {
        for (condition, yes, no) in [
            ("> 0", json!([1, 0.5, "12345678901234567890.5"]), json!([0, -1, null, "x"])),
            (">= 1", json!([1, 2]), json!([0.99, null])),
            ("<5", json!([4, -1]), json!([5, null])),
            ("<= 5", json!([5]), json!([6])),
            ("= 5", json!([5, 5.0]), json!([6, "x", null])),
            ("== 'done'", json!(["done"]), json!(["Done", null, 1])),
            ("!= null", json!([0, ""]), json!([null])),
            ("<> 3", json!([4, null]), json!([3])),
            ("between 1 and 5", json!([1, 3, 5]), json!([0, 6, null])),
            ("= true", json!([true, 1]), json!([false, 0, 2])),
        ] {
            let expect = Expect::parse(condition).unwrap();
            for value in yes.as_array().unwrap() {
                assert!(expect.holds(value), "{value} {condition}");
            }
            for value in no.as_array().unwrap() {
                assert!(!expect.holds(value), "{value} {condition}");
            }
        }
    }

    #[test]
    fn other_texts_are_refused() {
        for text in ["", "0", "> ", "> x", "= 'a'b'", "between 1", "between 1 and x", "~ 5", "> [1]"] {
            assert!(Expect::parse(text).unwrap_err().contains("isn't a condition"), "{text}");
        }
    }
}
