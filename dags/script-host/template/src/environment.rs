//! The engine's environment: empty, then filled from the allow-list.

use minijinja::{AutoEscape, Environment, UndefinedBehavior, syntax::SyntaxConfig};

use crate::{filters, macros, methods, quote};

/// How many steps one text may take. Far more than any real template needs, and well under 100 ms.
const STEPS_MAX: u64 = 500_000;
/// How deep calls may nest.
const DEPTH_MAX: usize = 32;

/// Builds the environment for texts, or with the check of S71 for code.
pub(crate) fn build(code_field: bool) -> Environment<'static> {
    let mut env = Environment::empty();
    env.set_auto_escape_callback(|_| AutoEscape::None);
    env.set_undefined_behavior(UndefinedBehavior::Strict);
    env.set_fuel(Some(STEPS_MAX));
    env.set_recursion_limit(DEPTH_MAX);
    let syntax = SyntaxConfig::builder().keep_trailing_newline(true).build();
    env.set_syntax(syntax.expect("invariant: the default delimiters are valid"));
    env.set_unknown_method_callback(methods::call);
    filters::add(&mut env);
    macros::add(&mut env);
    if code_field {
        env.set_formatter(quote::code);
    }
    env
}
