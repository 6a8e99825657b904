//! What an unquoted scalar means: YAML 1.2's core schema, minus whatever other readers understand differently.

use crate::tree::Kind;

/// An unquoted scalar that readers understand differently.
#[derive(Debug, PartialEq)]
pub(super) struct Ambiguous {
    /// What it most likely means, so that the rest can be checked.
    pub(super) likely: Kind,
    /// Why, as a sentence without its subject.
    pub(super) why: &'static str,
    /// What to write instead.
    pub(super) instead: String,
}

pub(super) fn resolve(text: &str) -> Result<Kind, Ambiguous> {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Ok(Kind::Null),
        "true" | "True" | "TRUE" => return Ok(Kind::Bool(true)),
        "false" | "False" | "FALSE" => return Ok(Kind::Bool(false)),
        "yes" | "Yes" | "YES" | "on" | "On" | "ON" => return Err(word(text, true)),
        "no" | "No" | "NO" | "off" | "Off" | "OFF" => return Err(word(text, false)),
        _ => {}
    }
    let first = text.as_bytes()[0];
    if first.is_ascii_digit() || matches!(first, b'-' | b'+' | b'.') {
        return number(text);
    }
    Ok(Kind::Str(text.to_owned()))
}

fn word(text: &str, meaning: bool) -> Ambiguous {
    Ambiguous {
        likely: Kind::Bool(meaning),
        why: "without quotes means true or false to some YAML readers and a word to others",
        instead: format!("write `{meaning}`, or `\"{text}\"` if you mean the word"),
    }
}

fn number(text: &str) -> Result<Kind, Ambiguous> {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if let Some(hex) = text.strip_prefix("0x").filter(|hex| all(hex, |b| b.is_ascii_hexdigit())) {
        return i64::from_str_radix(hex, 16).map(Kind::Int).map_err(|_| too_large(text));
    }
    if let Some(octal) = text.strip_prefix("0o").filter(|octal| all(octal, |b| matches!(b, b'0'..=b'7'))) {
        return i64::from_str_radix(octal, 8).map(Kind::Int).map_err(|_| too_large(text));
    }
    if all(unsigned, |b| b.is_ascii_digit()) {
        if unsigned.len() > 1 && unsigned.starts_with('0') {
            let decimal = unsigned.trim_start_matches('0');
            let decimal = if decimal.is_empty() { "0" } else { decimal };
            return Err(Ambiguous {
                likely: text.parse().map_or(Kind::Null, Kind::Int),
                why: "starts with 0, which means octal to some YAML readers and decimal to others",
                instead: format!("write `{decimal}`, or `\"{text}\"` if you mean the text"),
            });
        }
        return text.parse().map(Kind::Int).map_err(|_| too_large(text));
    }
    if unsigned.starts_with(|c: char| c.is_ascii_digit())
        && all(unsigned, |b| b.is_ascii_digit() || b == b'_')
    {
        let digits = text.replace('_', "");
        return Err(Ambiguous {
            likely: digits.parse().map_or(Kind::Null, Kind::Int),
            why: "is a number to some YAML readers and a text to others",
            instead: format!("write `{digits}`, or `\"{text}\"` if you mean the text"),
        });
    }
    if matches!(unsigned, ".inf" | ".Inf" | ".INF" | ".nan" | ".NaN" | ".NAN") {
        return Err(Ambiguous {
            likely: Kind::Float(0.0),
            why: "isn't a finite number",
            instead: format!("write a number, or `\"{text}\"` if you mean the text"),
        });
    }
    if is_float(unsigned) {
        return match text.parse::<f64>() {
            Ok(value) if value.is_finite() => Ok(Kind::Float(value)),
            _ => Err(too_large(text)),
        };
    }
    Ok(Kind::Str(text.to_owned()))
}

fn too_large(text: &str) -> Ambiguous {
    let shown: String = text.chars().take(30).collect();
    Ambiguous {
        likely: Kind::Str(text.to_owned()),
        why: "is a number too large to be kept exactly",
        instead: format!("put it into quotes if you mean the text: `\"{shown}\"`"),
    }
}

fn all(text: &str, test: impl Fn(u8) -> bool) -> bool {
    !text.is_empty() && text.bytes().all(test)
}

/// `1.5`, `.5`, `1.`, `1e3`, `1.5e-3`; the sign is already gone.
fn is_float(text: &str) -> bool {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (text, None),
    };
    let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    let mantissa_ok = match mantissa.split_once('.') {
        Some((whole, fraction)) => digits(whole) && digits(fraction) && whole.len() + fraction.len() > 0,
        None => all(mantissa, |b| b.is_ascii_digit()),
    };
    let exponent_ok =
        exponent.is_none_or(|e| all(e.strip_prefix(['-', '+']).unwrap_or(e), |b| b.is_ascii_digit()));
    mantissa_ok && exponent_ok
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_scalars_are_what_they_look_like() {
        let text = |t: &str| Ok(Kind::Str(t.to_owned()));
        assert_eq!(resolve("12"), Ok(Kind::Int(12)));
        assert_eq!(resolve("-12"), Ok(Kind::Int(-12)));
        assert_eq!(resolve("0x1F"), Ok(Kind::Int(31)));
        assert_eq!(resolve("1.5"), Ok(Kind::Float(1.5)));
        assert_eq!(resolve("1e3"), Ok(Kind::Float(1000.0)));
        assert_eq!(resolve(".5"), Ok(Kind::Float(0.5)));
        assert_eq!(resolve("0"), Ok(Kind::Int(0)));
        assert_eq!(resolve("~"), Ok(Kind::Null));
        for plain in
            ["2026-01-01", "12:30", "./run.sh", "-x", "1.2.3", "5m", "y", "n", "30 2 * * *", "...", "+", "-"]
        {
            assert_eq!(resolve(plain), text(plain), "{plain}");
        }
    }

    #[test]
    fn what_readers_disagree_about_is_refused() {
        for bad in
            ["yes", "NO", "on", "Off", "010", "00", "1_000", ".nan", "-.inf", "99999999999999999999", "1e999"]
        {
            assert!(resolve(bad).is_err(), "{bad}");
        }
        assert_eq!(resolve("010").unwrap_err().instead, "write `10`, or `\"010\"` if you mean the text");
    }
}
