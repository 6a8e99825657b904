//! The forms in which a secret may turn up: raw, JSON- and HTML-escaped, shell-quoted, percent-encoded, hexadecimal,
//! base64 at each alignment; each of its longer lines as well.
//!
//! A pair such as `user:password` and a URI contain the password in one of these forms.

use std::{collections::BTreeSet, fmt::Write as _};

use super::SECRET_BYTES_MIN;

/// Lines of a secret that are shorter than this aren't secrets of their own.
const LINE_BYTES_MIN: usize = 8;

/// Adds all forms of a secret.
pub(super) fn add(secret: &str, patterns: &mut BTreeSet<Vec<u8>>) {
    add_text(secret, patterns);
    let trimmed = secret.trim();
    if trimmed.len() >= SECRET_BYTES_MIN {
        add_text(trimmed, patterns);
    }
    if trimmed.contains('\n') {
        trimmed.lines().map(str::trim).filter(|line| line.len() >= LINE_BYTES_MIN).for_each(|line| {
            add_text(line, patterns);
        });
    }
}

fn add_text(secret: &str, patterns: &mut BTreeSet<Vec<u8>>) {
    let mut texts = vec![
        secret.to_owned(),
        json(secret, |_| false),
        json(secret, |c| matches!(c, '<' | '>' | '&' | '\'' | '"')),
        json(secret, |c| matches!(c, '<' | '>' | '&')),
        json(secret, |c| !c.is_ascii()),
        secret.replace('\'', "'\\''"),
        secret.replace('\'', "'\"'\"'"),
        shell_escaped(secret),
        percent(secret, unreserved, false, true),
        percent(secret, unreserved, false, false),
        percent(secret, unreserved, true, true),
        percent(secret, unreserved, true, false),
        percent(secret, |b| unreserved(b) || b"/".contains(&b), false, true),
        percent(secret, |b| unreserved(b) || b"!$&'()*+,;=:@/".contains(&b), false, true),
        percent(secret, |b| unreserved(b) || b"!'()*".contains(&b), false, true),
        hex(secret, false),
        hex(secret, true),
    ];
    for (single, double) in
        [("&#39;", "&quot;"), ("&#x27;", "&quot;"), ("&#39;", "&#34;"), ("&apos;", "&quot;"), ("'", "\"")]
    {
        texts.push(html(secret, single, double));
    }
    patterns.extend(texts.into_iter().filter(|text| text.len() >= SECRET_BYTES_MIN).map(String::into_bytes));
    for alphabet in [STANDARD, URL_SAFE] {
        for shift in 0..3 {
            let core = base64_core(secret.as_bytes(), alphabet, shift);
            if core.len() >= SECRET_BYTES_MIN {
                patterns.insert(core);
            }
        }
    }
}

fn unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

fn json(text: &str, escape: impl Fn(char) -> bool) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            _ if escape(c) => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    let _ = write!(out, "\\u{unit:04x}");
                }
            }
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out
}

fn html(text: &str, single: &str, double: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('\'', single)
        .replace('"', double)
}

fn shell_escaped(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        if !(c.is_alphanumeric() || "_-./:=@%+,".contains(c)) {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

fn percent(text: &str, keep: impl Fn(u8) -> bool, plus: bool, upper: bool) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if keep(byte) {
            out.push(char::from(byte));
        } else if plus && byte == b' ' {
            out.push('+');
        } else {
            let _ = if upper { write!(out, "%{byte:02X}") } else { write!(out, "%{byte:02x}") };
        }
    }
    out
}

fn hex(text: &str, upper: bool) -> String {
    let lower = hex::encode(text);
    if upper { lower.to_uppercase() } else { lower }
}

const STANDARD: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const URL_SAFE: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Those base64 digits that depend on the secret alone if `shift` bytes stand before it in the encoded text.
fn base64_core(secret: &[u8], alphabet: &[u8; 64], shift: usize) -> Vec<u8> {
    let bit = |i: usize| {
        let byte = (i / 8).checked_sub(shift).and_then(|at| secret.get(at));
        byte.map(|byte| byte >> (7 - i % 8) & 1)
    };
    let digits = ((shift + secret.len()) * 8).div_ceil(6);
    (0..digits)
        .filter_map(|digit| {
            let value = (0..6).try_fold(0_u8, |value, i| Some(value << 1 | bit(digit * 6 + i)?))?;
            Some(alphabet[usize::from(value)])
        })
        .collect()
}
