//! Syntax errors in words that teach.

use granit_parser::{ErrorKind, ScanError};

use crate::{
    diagnostic::{Draft, code},
    tree::{ByteRange, DEPTH_MAX},
};

pub(super) fn explain(error: &ScanError, text: &str) -> Draft {
    let at = text.floor_char_boundary(error.marker().byte_offset().unwrap_or(text.len()));
    let end = text[at..].chars().next().map_or(at, |c| at + c.len_utf8());
    let (code, message) = match error.kind() {
        ErrorKind::TabNotAllowed
        | ErrorKind::TabInBlockIndentation
        | ErrorKind::TabInIndentation
        | ErrorKind::TabAtBlockScalarStart
        | ErrorKind::TabInPlainScalar => (code::YAML_TAB, "a tab where YAML wants blanks".to_owned()),
        ErrorKind::RecursionLimitExceeded => {
            (code::YAML_LIMIT, format!("values are nested more than {DEPTH_MAX} deep"))
        }
        _ if starred(at, text).is_some() => {
            (code::YAML_SYNTAX, "a value can't start with `*` unless it is in quotes".to_owned())
        }
        kind => (code::YAML_SYNTAX, message(kind, &text[at..end])),
    };
    Draft::error(code, message).at(ByteRange::new(at, end), "here").help(help(error.kind(), at, text))
}

/// The commoner errors in our words.
fn message(kind: &ErrorKind, here: &str) -> String {
    let text = match kind {
        ErrorKind::UnexpectedCharacter { .. } => return format!("a value can't start with `{here}`"),
        ErrorKind::MappingValueNotAllowed => "a second `: ` in a value without quotes",
        ErrorKind::InvalidColonPlacement => "a `:` where no key can stand",
        ErrorKind::ExpectedBlockMappingKey | ErrorKind::InvalidIndentation => {
            "this line doesn't continue what stands above it"
        }
        ErrorKind::ExpectedBlockSequenceEntry | ErrorKind::BlockSequenceEntryNotAllowed => {
            "this line doesn't continue the list above it"
        }
        ErrorKind::SimpleKeyExpected | ErrorKind::InvalidSimpleKey => {
            "this line is neither a key nor part of a text"
        }
        ErrorKind::UnclosedQuotedScalar
        | ErrorKind::InvalidQuotedScalarIndent
        | ErrorKind::DocumentIndicatorInQuotedScalar => "a text in quotes doesn't end",
        ErrorKind::UnclosedFlowCollection { .. }
        | ErrorKind::UnexpectedEofFlowSequence
        | ErrorKind::UnexpectedEofFlowMapping
        | ErrorKind::UnexpectedEofImplicitFlowMapping => "a bracket isn't closed",
        ErrorKind::ExpectedFlowSequenceSeparator | ErrorKind::ExpectedFlowMappingSeparator => {
            "a `,` or the closing bracket is missing"
        }
        ErrorKind::UnknownQuotedScalarEscape => "an unknown escape in a text with double quotes",
        ErrorKind::DirectiveDisallowed => "a `%` line, which is a directive to YAML",
        kind => return kind.to_string(),
    };
    text.to_owned()
}

/// Where the line of a byte starts, and the line.
fn line_of(at: usize, text: &str) -> (usize, &str) {
    let start = text[..at].rfind('\n').map_or(0, |n| n + 1);
    (start, text[start..].lines().next().unwrap_or_default())
}

/// The key and the value of a line such as `schedule: */5 * * * *`, which YAML takes for a reference.
fn starred(at: usize, text: &str) -> Option<(&str, &str)> {
    let line = line_of(at, text).1;
    let colon = line.find(": *")?;
    let key = line[..colon].rsplit(['{', ',', ' ']).next()?;
    let value = line[colon + 2..].split(['}', '#']).next()?.trim();
    value.contains(' ').then_some((key, value))
}

fn help(kind: &ErrorKind, at: usize, text: &str) -> Option<String> {
    let (line_start, line) = line_of(at, text);
    if line[..line.floor_char_boundary(at - line_start)].trim_start_matches([' ', '\t', '-']).contains('\t')
        || line.trim_start_matches(' ').starts_with('\t')
    {
        return Some("replace the tab by blanks".to_owned());
    }
    if let Some((key, value)) = line.split_once(": ")
        && value.trim_start().starts_with("{{")
    {
        let (key, value) = (key.trim(), value.trim());
        return Some(format!("a value that starts with `{{{{` must be in quotes: `{key}: \"{value}\"`"));
    }
    if let Some((key, value)) = starred(at, text) {
        return Some(format!("write `{key}: \"{value}\"`"));
    }
    let help = match kind {
        ErrorKind::TabNotAllowed
        | ErrorKind::TabInBlockIndentation
        | ErrorKind::TabInIndentation
        | ErrorKind::TabAtBlockScalarStart
        | ErrorKind::TabInPlainScalar => "replace the tab by blanks",
        ErrorKind::MappingValueNotAllowed => {
            "put a value that contains `: ` into quotes, or check the indentation"
        }
        ErrorKind::InvalidColonPlacement => {
            "a closing `]` or `}` is missing above, or quotes around the value"
        }
        ErrorKind::UnexpectedCharacter { .. } => "put a value that starts with this character into quotes",
        ErrorKind::UnclosedQuotedScalar
        | ErrorKind::InvalidQuotedScalarIndent
        | ErrorKind::DocumentIndicatorInQuotedScalar => {
            "the closing quote is missing above, or the lines of the text must be indented"
        }
        ErrorKind::UnclosedFlowCollection { .. }
        | ErrorKind::UnexpectedEofFlowSequence
        | ErrorKind::UnexpectedEofFlowMapping
        | ErrorKind::UnexpectedEofImplicitFlowMapping => "the closing bracket is missing",
        ErrorKind::ExpectedFlowSequenceSeparator | ErrorKind::ExpectedFlowMappingSeparator => {
            "separate the entries with `,` and close the brackets"
        }
        ErrorKind::ExpectedBlockMappingKey
        | ErrorKind::InvalidIndentation
        | ErrorKind::ExpectedBlockSequenceEntry
        | ErrorKind::BlockSequenceEntryNotAllowed => {
            "check the indentation: the keys of one map, or the `-` of one list, start in the same column"
        }
        ErrorKind::SimpleKeyExpected | ErrorKind::InvalidSimpleKey => "a `:` is missing after the key",
        ErrorKind::UnknownQuotedScalarEscape
        | ErrorKind::InvalidQuotedScalarHexEscape
        | ErrorKind::InvalidUnicodeEscape => {
            "write `\\\\` for a backslash, or use single quotes, in which a backslash is nothing special"
        }
        ErrorKind::DirectiveDisallowed => "remove the line: Updraft reads YAML 1.2 and no directives",
        ErrorKind::MissingAnchorOrAliasName => "put a value that starts with `*` or `&` into quotes",
        ErrorKind::RecursionLimitExceeded => "no DAG needs that: make the values flatter",
        _ => return None,
    };
    Some(help.to_owned())
}
