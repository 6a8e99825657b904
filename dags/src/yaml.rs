//! YAML text to document trees.
//!
//! It stands on the event parser beneath serde-saphyr rather than on its serde layer: a tree needs to know whether a
//! scalar was quoted, where each key stands, and how to go on with the next document after an error.

mod builder;
mod scalar;
mod syntax;

use granit_parser::{Event, Parser};

use self::builder::Builder;
use crate::{
    diagnostic::{Diagnostic, Draft, Reporter, Source, code},
    tree::{ByteRange, DEPTH_MAX, Node},
};

/// The largest file, in bytes.
pub const FILE_BYTES_MAX: usize = 1024 * 1024;
/// The most documents in one file.
pub const DOCUMENTS_MAX: usize = 1_000;

/// One document of a file.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    /// Its tree. A document with errors may have one, so that more errors can be found in it.
    pub tree: Node,
    /// Whether it was free of errors.
    pub sound: bool,
}

/// Reads all documents of a file. A document that isn't YAML is left out, the others are read nevertheless.
pub fn parse(source: &Source) -> (Vec<Document>, Vec<Diagnostic>) {
    let mut reporter = Reporter::new(source);
    let documents = read(&mut reporter);
    (documents, reporter.finish())
}

/// Reads all documents of the reporter's source.
pub(crate) fn read(reporter: &mut Reporter<'_>) -> Vec<Document> {
    let text = reporter.source().text.as_str();
    if let Some(draft) = refuse(text) {
        reporter.push(draft);
        return Vec::new();
    }
    let options = granit_parser::options! {
        disallow_directives: true,
        emit_unresolved_aliases: true,
        emit_comments: false,
        flow_nesting_limit: DEPTH_MAX,
        block_nesting_limit: DEPTH_MAX,
    };
    let mut parser = Parser::new_from_str_with_options(text, options);
    let mut documents = Vec::new();
    let mut errors_before = reporter.errors();
    let mut builder = Builder::new(text);
    loop {
        match parser.next_event() {
            None | Some(Ok((Event::StreamEnd, _))) => return documents,
            Some(Ok((Event::DocumentEnd, _))) => {
                if let Some(tree) = builder.finish() {
                    documents.push(Document { tree, sound: reporter.errors() == errors_before });
                }
                builder = Builder::new(text);
                errors_before = reporter.errors();
                if documents.len() >= DOCUMENTS_MAX {
                    let message = format!("a file may hold at most {DOCUMENTS_MAX} documents");
                    reporter.push(Draft::error(code::YAML_LIMIT, message));
                    return documents;
                }
            }
            Some(Ok((event, span))) => {
                let span = bytes(span);
                if builder.event(event, span, reporter).is_err() && !skip(&mut parser, &mut builder, text) {
                    return documents;
                }
            }
            Some(Err(error)) => {
                reporter.push(syntax::explain(&error, text));
                if !skip(&mut parser, &mut builder, text) {
                    return documents;
                }
                errors_before = reporter.errors();
            }
        }
    }
}

/// Goes on with the next document; false if there is none.
fn skip<'t>(
    parser: &mut Parser<'t, granit_parser::StrInput<'t>>,
    builder: &mut Builder<'t>,
    text: &'t str,
) -> bool {
    *builder = Builder::new(text);
    parser.proceed_next_document().unwrap_or(false)
}

/// What is refused before parsing.
fn refuse(text: &str) -> Option<Draft> {
    if text.len() > FILE_BYTES_MAX {
        let message =
            format!("the file has {} bytes; at most {FILE_BYTES_MAX} (1 MiB) are allowed", text.len());
        let help = "split it into several files, or move long scripts into files of their own".to_owned();
        return Some(Draft::error(code::YAML_LIMIT, message).help(help));
    }
    let at = text.bytes().position(|byte| byte == 0)?;
    let draft = Draft::error(code::YAML_SYNTAX, "the file contains a NUL byte, so it isn't text");
    Some(draft.at(ByteRange::new(at, at + 1), "here").help("save it as UTF-8 text".to_owned()))
}

fn bytes(span: granit_parser::Span) -> ByteRange {
    let start = span.start.byte_offset().unwrap_or(0);
    ByteRange::new(start, span.end.byte_offset().unwrap_or(start))
}
