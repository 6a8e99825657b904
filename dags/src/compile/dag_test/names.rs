//! Whether the names in a test are those of its DAG: a misspelt one would make the test say nothing.

use crate::{
    conf,
    dag_test::{DagTest, Placed, Selector},
    diagnostic::{Diagnostic, Draft, Reporter, Source, code},
    glob,
    model::{Dag, Runner, Task},
    suggest,
    tree::ByteRange,
};

/// How many names an error lists.
const NAMES_SHOWN: usize = 20;

/// What in a test doesn't go with its DAG. `source` is the file of the test.
pub fn check(test: &DagTest, dag: &Dag, source: &Source) -> Vec<Diagnostic> {
    let mut names = Names { dag, reporter: Reporter::new(source) };
    names.given(test);
    for mock in &test.mocks {
        let tasks = names.selected(&mock.of, "mock");
        let follows = mock.tries.iter().any(|one| one.follow.is_some());
        if let Some(task) = tasks.iter().find(|task| follows && task.operator != "branch") {
            let message = format!("`{}` is no `branch`, so it follows nothing", task.task_id);
            names.push(Draft::error(code::TEST_VALUE, message).at(mock.of.span, "this task"));
        }
        for name in mock.tries.iter().flat_map(|one| one.follow.iter().flatten()) {
            names.known(name, mock.of.span);
        }
    }
    for pattern in &test.run {
        let whole = Selector { task: pattern.value.clone(), index: None };
        let tasks = names.selected(&Placed { value: whole, span: pattern.span }, "run");
        if let Some(task) = tasks.iter().find(|task| task.runner == Runner::Engine)
            && !glob::is_pattern(&pattern.value)
        {
            let message = format!(
                "`{}` is a `{}`, which is never mocked unless `mock` says so",
                task.task_id, task.operator
            );
            let draft = Draft::error(code::TEST_VALUE, message).at(pattern.span, "this task");
            names.push(draft.help("remove it from `run`".to_owned()));
        }
    }
    names.expected(test);
    names.reporter.finish()
}

struct Names<'d, 's> {
    dag: &'d Dag,
    reporter: Reporter<'s>,
}

impl<'d> Names<'d, '_> {
    fn push(&mut self, draft: Draft) {
        self.reporter.push(draft);
    }

    /// The tasks that a name or pattern means; it is an error if there are none.
    fn selected(&mut self, selector: &Placed<Selector>, what: &str) -> Vec<&'d Task> {
        let pattern = selector.value.task.as_str();
        let found: Vec<&Task> =
            self.dag.tasks.iter().filter(|task| glob::fits(pattern, task.task_id.as_str())).collect();
        if found.is_empty() {
            self.unknown(pattern, selector.span, what);
        }
        found
    }

    fn known(&mut self, name: &str, span: ByteRange) -> Option<&'d Task> {
        let found = self.dag.tasks.iter().find(|task| task.task_id.as_str() == name);
        if found.is_none() {
            self.unknown(name, span, "this");
        }
        found
    }

    fn unknown(&mut self, name: &str, span: ByteRange, what: &str) {
        let names = || self.dag.tasks.iter().map(|task| task.task_id.as_str());
        let help = self
            .reporter
            .did_you_mean(name, names())
            .unwrap_or_else(|| format!("its tasks are {}", suggest::list(names().take(NAMES_SHOWN), "and")));
        let message = format!("`{}` has no task `{name}`", self.dag.dag_id);
        self.push(Draft::error(code::DAG_UNKNOWN_TASK, message).at(span, format!("in `{what}`")).help(help));
    }

    fn given(&mut self, test: &DagTest) {
        let given = &test.given;
        let params = || self.dag.params.keys().map(String::as_str);
        if let Some(stranger) = given.params.keys().find(|name| !self.dag.params.contains_key(*name)) {
            let help = self.reporter.did_you_mean(stranger, params()).unwrap_or_else(|| {
                match self.dag.params.len() {
                    0 => "the DAG has no `params`; `conf` passes values that aren't parameters".to_owned(),
                    _ => format!("its parameters are {}", suggest::list(params(), "and")),
                }
            });
            let message = format!("`{}` has no parameter `{stranger}`", self.dag.dag_id);
            self.push(
                Draft::error(code::TEST_VALUE, message).at(given.params_span, "these params").help(help),
            );
        } else {
            for misfit in conf::check(&self.dag.params, &given.params) {
                self.push(
                    Draft::error(code::TEST_VALUE, misfit.to_string()).at(given.params_span, "these params"),
                );
            }
        }
        for answer in &given.answers {
            let task = self.known(&answer.task.value, answer.task.span);
            if let Some(task) =
                task.filter(|task| !matches!(task.operator.as_str(), "approval" | "human_input"))
            {
                let message = format!("`{}` is a `{}`, which asks nobody", task.task_id, task.operator);
                self.push(Draft::error(code::TEST_VALUE, message).at(answer.task.span, "this task"));
            }
        }
    }

    fn expected(&mut self, test: &DagTest) {
        let expect = &test.expect;
        for (selector, wanted) in &expect.tasks {
            let tasks = self.selected(selector, "expect");
            for (name, value) in &wanted.rendered {
                let lacks = |task: &&&Task| task.operator != *name && !task.args.contains_key(name);
                if let Some(task) = tasks.iter().find(lacks) {
                    let known = task.args.keys().map(String::as_str).chain([task.operator.as_str()]);
                    let help = format!("it has {}", suggest::list(known, "and"));
                    let message = format!("`{}` has no parameter `{name}`", task.task_id);
                    self.push(
                        Draft::error(code::TEST_VALUE, message).at(value.span, "this value").help(help),
                    );
                }
            }
        }
        for name in &expect.order {
            self.known(&name.value, name.span);
        }
        for (branch, follows) in &expect.branch {
            let task = self.known(&branch.value, branch.span);
            if let Some(task) = task.filter(|task| task.operator != "branch") {
                let message = format!("`{}` is a `{}`, not a `branch`", task.task_id, task.operator);
                self.push(Draft::error(code::TEST_VALUE, message).at(branch.span, "this task"));
            }
            for name in &follows.value {
                self.known(name, follows.span);
            }
        }
        for alert in expect.alerts.iter().flat_map(|alerts| &alerts.value) {
            let span = expect.alerts.as_ref().map_or(test.name.span, |alerts| alerts.span);
            if let Some(task) = &alert.task {
                self.known(task, span);
            }
        }
    }
}
