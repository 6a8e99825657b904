//! `branch`: cases with conditions, the first that holds is followed.

use serde_json::{Value, json};

use super::{Context, operator::Args};
use crate::{
    diagnostic::{Draft, code},
    tree::{Kind, Node},
};

/// The operator's name.
pub(super) const OPERATOR: &str = "branch";
/// Its parameter.
pub(super) const CASES: &str = "cases";
const CASES_MAX: usize = 1_000;

impl Context<'_, '_> {
    /// Reads the cases in their canonical form and notes which tasks they choose from.
    pub(super) fn cases<'n>(&mut self, node: &'n Node, read: &mut Args<'n>) -> Value {
        let Kind::Seq(nodes) = &node.kind else {
            let help = "for example `branch: [{ when: \"{{ outputs.x > 1 }}\", run: a }, { else: b }]`";
            self.expected(node, "branch", "a list of cases", Some(help.to_owned()));
            return Value::Null;
        };
        if nodes.is_empty() || nodes.len() > CASES_MAX {
            self.push(
                Draft::error(code::DAG_BRANCH, format!("a branch must have 1 to {CASES_MAX} cases"))
                    .at(node.span, "the cases"),
            );
            return Value::Null;
        }
        let last = nodes.len() - 1;
        let cases =
            nodes.iter().enumerate().filter_map(|(n, case)| self.case(case, n == last, read)).collect();
        read.templated.insert(CASES.to_owned());
        cases
    }

    fn case<'n>(&mut self, node: &'n Node, last: bool, read: &mut Args<'n>) -> Option<Value> {
        let errors = self.reporter.errors();
        let object = self.object(node, "a case of `branch`", &["when", "run", "else"])?;
        if self.reporter.errors() > errors {
            return None;
        }
        match (object.get("when"), object.get("run"), object.get("else")) {
            (Some(when), Some(run), None) => {
                let when = self.condition(when, "when", &mut read.found);
                let run = self.targets(run, "run", read);
                Some(json!({"when": when?, "run": run?}))
            }
            (None, None, Some(targets)) => {
                if !last {
                    self.push(
                        Draft::error(code::DAG_BRANCH, "`else` must be the last case")
                            .at(node.span, "the cases after this one could never hold"),
                    );
                }
                Some(json!({"else": self.targets(targets, "else", read)?}))
            }
            _ => {
                self.push(
                    Draft::error(code::DAG_BRANCH, "a case is `{ when, run }` or `{ else }`")
                        .at(node.span, "this case")
                        .help(
                            "for example `{ when: \"{{ outputs.x > 1 }}\", run: a }` or `{ else: b }`"
                                .to_owned(),
                        ),
                );
                None
            }
        }
    }

    /// One task or a list of tasks; a list of one is the same as one.
    fn targets<'n>(&mut self, node: &'n Node, what: &str, read: &mut Args<'n>) -> Option<Value> {
        let targets = self.texts(node, what, "a task's name or a list of names");
        let mut names: Vec<&str> = targets.iter().map(|(name, _)| *name).collect();
        names.sort_unstable();
        names.dedup();
        read.targets.extend(targets.into_iter().map(|(name, node)| (name, node.span)));
        match names.as_slice() {
            [] => None,
            [one] => Some(json!(one)),
            many => Some(json!(many)),
        }
    }

    /// A condition: one whole expression, with or without its braces. The canonical form has them.
    pub(super) fn condition(
        &mut self,
        node: &Node,
        what: &str,
        found: &mut Vec<super::references::Found>,
    ) -> Option<String> {
        if let Kind::Bool(value) = node.kind {
            return Some(format!("{{{{ {value} }}}}"));
        }
        let text = self.text(node, what)?;
        let expression = match crate::template::whole_expression(text) {
            Some(expression) => expression,
            None if crate::template::has_expression(text) => {
                self.push(
                    Draft::error(code::TEMPLATE_SYNTAX, format!("`{what}` must be one whole expression"))
                        .at(node.span, "text and expressions mixed are always a text, which is always true")
                        .help(format!("for example `{what}: \"{{{{ params.region == 'eu' }}}}\"`")),
                );
                return None;
            }
            None => text.trim(),
        };
        let canonical = format!("{{{{ {expression} }}}}");
        let as_template = Node { span: node.span, kind: Kind::Str(canonical.clone()) };
        self.expressions(&as_template, what, true, found);
        Some(canonical)
    }
}
