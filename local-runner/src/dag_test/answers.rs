//! Answers that tests give: for tasks that the engine runs itself, and in people's place.

use dags::{
    dag_test::{Ends, GivenAnswer, Try},
    ids::TaskId,
    model::Dag,
};
use engine::Answer;
use plugins::human::{APPROVE, REJECT};

/// What a mocked task of the engine comes to.
pub(super) fn mocked(mocked: &Try) -> Result<Answer, String> {
    let reason = || mocked.reason.clone().unwrap_or_else(|| "mocked".to_owned());
    Ok(match (mocked.ends, &mocked.follow, &mocked.result) {
        (Ends::Success, Some(names), _) => {
            let parse = |name: &String| TaskId::parse(name).map_err(|error| format!("`{name}` {error}"));
            Answer::Follow(names.iter().map(parse).collect::<Result<_, _>>()?)
        }
        (Ends::Success, None, Some(value)) => Answer::Return(value.clone()),
        (Ends::Success, None, None) => Answer::Done,
        (Ends::Skipped, ..) => Answer::Skip(reason()),
        (Ends::Failed | Ends::TimedOut | Ends::Lost, ..) => Answer::Error(reason()),
        (Ends::FailedForGood, ..) => Answer::FailForGood(reason()),
    })
}

/// What is chosen: of an approval the words may be as its author would say them.
pub(super) fn options(dag: &Dag, given: &GivenAnswer) -> Vec<String> {
    let task = dag.tasks.iter().find(|task| task.task_id.as_str() == given.task.value);
    if task.is_none_or(|task| task.operator != "approval") {
        return given.choose.clone();
    }
    let word = |text: &String| match text.to_ascii_lowercase().as_str() {
        "approve" => APPROVE.to_owned(),
        "reject" => REJECT.to_owned(),
        _ => text.clone(),
    };
    given.choose.iter().map(word).collect()
}
