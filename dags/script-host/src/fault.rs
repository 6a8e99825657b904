//! What is told to the author of a script that doesn't work.

use rhai::{EvalAltResult, ParseError, ParseErrorType, Position};
use serde::{Deserialize, Serialize};

use crate::{language::Language, source::Source};

/// An error of a script, template or expression.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// What is wrong, lower case.
    pub message: String,
    /// What to write instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// The file that it is in, as it was named in the request or an `import`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// The line, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    /// The column in characters, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<usize>,
    /// The bytes of the main file that are at fault.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub span: Option<(usize, usize)>,
    /// Which limit was met.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<String>,
}

impl Fault {
    /// A fault with a message alone.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), ..Self::default() }
    }

    /// Adds what to write instead.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Names the limit that was met.
    #[must_use]
    pub fn limit(mut self, limit: impl Into<String>) -> Self {
        self.limit = Some(limit.into());
        self
    }

    /// The fault as an error that travels through the engine.
    #[expect(clippy::unnecessary_box_returns, reason = "the engine's functions return boxed errors")]
    pub(crate) fn raise(self, at: Position) -> Box<EvalAltResult> {
        Box::new(EvalAltResult::ErrorRuntime(rhai::Dynamic::from(self), at))
    }

    /// Says where in `file` it happened; the span is known for the main file only.
    fn place(mut self, source: &Source, file: &str, at: Position) -> Self {
        if self.line.is_some() {
            return self;
        }
        let main = file.is_empty() || file == source.path;
        self.file = Some(if file.is_empty() { source.path.clone() } else { file.to_owned() });
        self.line = at.line();
        self.column = at.position().or_else(|| at.line().map(|_| 1));
        if main {
            self.span = source.span(at);
        } else {
            self.span = source.import(file);
        }
        self
    }
}

impl From<updraft_template::Error> for Fault {
    fn from(error: updraft_template::Error) -> Self {
        let limit = error
            .message
            .split_once("(limit: ")
            .and_then(|(_, rest)| rest.split_once(')'))
            .map(|(name, _)| name.to_owned());
        Self { message: error.message, hint: error.hint, line: error.line, limit, ..Self::default() }
    }
}

/// Explains an error of the parser.
pub(crate) fn parsing(error: &ParseError, source: &Source, file: &str) -> Fault {
    let fault = match &*error.0 {
        ParseErrorType::ExprTooDeep => {
            Fault::new("the expression is nested too deep").limit("expression_depth").hint("split it up")
        }
        ParseErrorType::TooManyFunctions => {
            Fault::new("the script defines too many functions").limit("functions")
        }
        ParseErrorType::LiteralTooLarge(what, most) => {
            Fault::new(format!("a literal is too large: {what} (at most {most})")).limit("size")
        }
        ParseErrorType::Reserved(word) if word == "eval" => Fault::new("scripts have no `eval`"),
        ParseErrorType::Reserved(word) => {
            Fault::new(format!("`{word}` is a reserved word of the script language"))
                .hint(format!("as a key of an object write it in quotes: `#{{ \"{word}\": ... }}`"))
        }
        ParseErrorType::VariableUndefined(name) | ParseErrorType::ModuleUndefined(name) => {
            Fault::new(format!("`{name}` isn't defined"))
        }
        other => Fault::new(lower(&other.to_string())),
    };
    fault.place(source, file, error.1)
}

/// Explains an error of the evaluation; `file` is the one that positions refer to.
pub(crate) fn evaluation(error: EvalAltResult, source: &Source, language: &Language, file: &str) -> Fault {
    use EvalAltResult as E;
    let at = error.position();
    let fault = match error {
        E::ErrorInFunctionCall(_, inside, inner, at) => {
            let inside = if inside.is_empty() { file } else { &inside };
            return evaluation(*inner, source, language, inside).place(source, file, at);
        }
        E::ErrorInModule(module, inner, at) => {
            let inside = if module.is_empty() { file } else { &module };
            return evaluation(*inner, source, language, inside).place(source, file, at);
        }
        E::ErrorParsing(kind, at) => return parsing(&ParseError(Box::new(kind), at), source, file),
        E::ErrorRuntime(value, _) => match value.try_cast_result::<Fault>() {
            Ok(fault) => fault,
            Err(value) if value.is_unit() => Fault::new("the script threw an error"),
            Err(value) => Fault::new(format!("the script threw: {value}")),
        },
        E::ErrorTooManyOperations(_) => Fault::new("the script takes too many steps")
            .limit("operations")
            .hint("does a loop ever end? scripts compute a DAG, work belongs into tasks"),
        E::ErrorStackOverflow(_) => Fault::new("functions call each other too deep")
            .limit("call_depth")
            .hint("does a recursion ever end?"),
        E::ErrorDataTooLarge(what, _) => {
            Fault::new(format!("a value grows too large: {}", lower(&what))).limit("size")
        }
        E::ErrorTooManyVariables(_) => Fault::new("the script has too many variables").limit("variables"),
        E::ErrorTooManyModules(_) => Fault::new("the script imports too many modules").limit("modules"),
        E::ErrorTerminated(_, _) => Fault::new("the script takes too long").limit("time"),
        E::ErrorFunctionNotFound(signature, _) => language.missing(&signature),
        E::ErrorVariableNotFound(name, _) => {
            let fault = Fault::new(format!("there is no variable `{name}`"));
            match language.similar_function(&name) {
                Some(known) => fault.hint(format!("did you mean `{known}(...)`?")),
                None => fault,
            }
        }
        E::ErrorMismatchOutputType(expected, actual, _) => {
            Fault::new(format!("expected {expected}, found {actual}"))
        }
        other => {
            // The engine appends the position, which travels beside the message here.
            let mut other = other;
            let _ = other.take_position();
            Fault::new(lower(&other.to_string()))
        }
    };
    fault.place(source, file, at)
}

/// The first letter in lower case, as our messages start.
fn lower(text: &str) -> String {
    let mut chars = text.chars();
    match chars.next() {
        Some(first) => first.to_lowercase().chain(chars).collect(),
        None => String::new(),
    }
}
