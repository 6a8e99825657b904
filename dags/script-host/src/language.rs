//! The words that a script may use, and guesses at what an author meant.

use crate::{fault::Fault, protocol::Words};

/// Names of the engine's types, as they appear in messages.
pub(crate) const DAG: &str = "DAG";
/// A task's.
pub(crate) const TASK: &str = "task";
/// A group's.
pub(crate) const GROUP: &str = "group";
/// An operator's.
pub(crate) const OPERATOR: &str = "operator";

/// The words of the DAG language.
#[derive(Debug, Default)]
pub(crate) struct Language {
    functions: Vec<String>,
    dag: Vec<String>,
    task: Vec<String>,
    group: Vec<String>,
}

impl Language {
    pub(crate) fn new(words: &Words) -> Self {
        let own = |keys: &[String], more: &[&str]| {
            keys.iter().cloned().chain(more.iter().map(|word| (*word).to_owned())).collect()
        };
        let operators: Vec<String> = words.operators.iter().map(|operator| operator.name.clone()).collect();
        Self {
            functions: own(&operators, &["dag", "print"]),
            dag: own(&words.dag_keys, &["task", "group"]),
            task: words.task_keys.clone(),
            group: words.group_keys.clone(),
        }
    }

    /// The function whose name resembles `name`.
    pub(crate) fn similar_function(&self, name: &str) -> Option<&str> {
        similar(name, &self.functions)
    }

    /// Explains a call that fits no function, from the engine's `name (type, type)`.
    pub(crate) fn missing(&self, signature: &str) -> Fault {
        let (name, types) = signature.split_once(" (").unwrap_or((signature, ""));
        let types: Vec<&str> =
            types.trim_end_matches(')').split(", ").filter(|name| !name.is_empty()).collect();
        let receiver = types.first().copied().unwrap_or_default();
        if name == ">>" {
            return Fault::new(format!("`>>` joins tasks and lists of tasks, not {}", types.join(" and ")))
                .hint("write `a >> b`, `[a, b] >> c` or `a.needs(\"b\")`");
        }
        let (what, known) = match receiver {
            DAG => ("a DAG", &self.dag),
            TASK => ("a task", &self.task),
            GROUP => ("a group", &self.group),
            OPERATOR => {
                return Fault::new(format!("an operator has no method `{name}`")).hint(format!(
                    "keys of a task follow the task: `d.task(\"name\", operator(...)).{name}(...)`"
                ));
            }
            _ => {
                if self.functions.iter().any(|known| known == name) {
                    return Fault::new(format!("`{name}` doesn't take {}", arguments(&types)))
                        .hint(format!("write `{name}(text)` or `{name}(#{{ ... }})`"));
                }
                let fault =
                    Fault::new(format!("there is no function `{name}` that takes {}", arguments(&types)));
                return match self.similar_function(name) {
                    Some(known) => fault.hint(format!("did you mean `{known}`?")),
                    None => fault,
                };
            }
        };
        if known.iter().any(|known| known == name) {
            return Fault::new(format!("`{name}` of {what} doesn't take {}", arguments(&types[1..])))
                .hint(format!("write `.{name}(value)`"));
        }
        let fault = Fault::new(format!("{what} has no method `{name}`"));
        match similar(name, known) {
            Some(known) => fault.hint(format!("did you mean `{known}`?")),
            None if self.functions.iter().any(|known| known == name) => {
                fault.hint(format!("`{name}` is an operator: write `d.task(\"name\", {name}(...))`"))
            }
            None => fault.hint(format!("there are: {}", known.join(", "))),
        }
    }
}

fn arguments(types: &[&str]) -> String {
    match types {
        [] => "no argument".to_owned(),
        [one] => format!("a value of type {one}"),
        many => format!("{} arguments ({})", many.len(), many.join(", ")),
    }
}

/// The longest name that may be a misspelt one. Comparing costs the product of the lengths, in time and in memory.
const MISSPELT_BYTES_MAX: usize = 64;

fn similar<'a>(name: &str, known: &'a [String]) -> Option<&'a str> {
    if name.len() > MISSPELT_BYTES_MAX {
        return None;
    }
    known
        .iter()
        .map(|word| (strsim::damerau_levenshtein(name, word), word))
        .filter(|(distance, word)| *distance <= 1 + word.len().min(name.len()) / 4)
        .min()
        .map(|(_, word)| word.as_str())
}
