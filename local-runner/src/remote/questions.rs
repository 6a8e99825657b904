//! `updraft tasks questions` and `updraft tasks answer`: what tasks ask people.

use api::v2::hitl_details::{HitlAnswer, HitlDetail};
use clap::Args;
use serde_json::Value;

use super::{
    Count, Error, Session, rows,
    screen::{or_dash, toned},
    values::{TaskArg, pair},
};
use crate::terminal::Tone;

/// The arguments of `updraft tasks questions`.
#[derive(Debug, Args)]
pub(super) struct QuestionsArgs {
    /// The DAG; all if absent
    dag: Option<String>,
    /// Also those that were answered
    #[arg(long)]
    answered: bool,
    #[command(flatten)]
    count: Count,
}

/// The arguments of `updraft tasks answer`.
#[derive(Debug, Args)]
pub(super) struct AnswerArgs {
    /// The DAG
    dag: String,
    /// The run
    run: String,
    /// The task
    task: TaskArg,
    /// What you choose; may be repeated where several may be chosen
    #[arg(long = "option", value_name = "NAME", required = true)]
    options: Vec<String>,
    /// A value that is asked for; what isn't JSON is a text
    #[arg(long = "input", value_name = "NAME=VALUE", value_parser = pair)]
    inputs: Vec<(String, String)>,
}

pub(super) async fn list(session: &mut Session<'_>, args: QuestionsArgs) -> Result<(), Error> {
    let client = &session.client;
    let answered = (!args.answered).then_some(false);
    let dag = args.dag.as_deref().unwrap_or("~");
    let (questions, total) = rows(args.count.count, async |slice| {
        client.questions(dag, answered, slice).await.map(|page| (page.hitl_details, page.total_entries))
    })
    .await?;
    let heads = ["ASKED", "DAG", "RUN", "TASK", "QUESTION", "OPTIONS", "UNTIL", "ANSWER"];
    session.screen.list(&questions, total, heads, |question, screen| {
        let task = &question.task_instance;
        let index = if task.map_index < 0 { String::new() } else { format!("[{}]", task.map_index) };
        [
            screen.time(Some(question.created_at)),
            (&task.dag_id).into(),
            (&task.dag_run_id).into(),
            format!("{}{index}", task.task_id).into(),
            (&question.subject).into(),
            question.options.join(", ").into(),
            or_dash(question.respond_by),
            answer_of(question).map_or_else(|| toned("waits", Tone::Warn), Into::into),
        ]
    })
}

fn answer_of(question: &HitlDetail) -> Option<String> {
    let chosen = question.chosen_options.as_ref()?.join(", ");
    let who = question.responded_by_user.as_ref().map_or("nobody in time", |user| user.name.as_str());
    Some(format!("{chosen} ({who})"))
}

pub(super) async fn answer(session: &mut Session<'_>, args: AnswerArgs) -> Result<(), Error> {
    let run = session.run_name(&args.dag, &args.run).await?;
    let value = |text: String| serde_json::from_str(&text).unwrap_or(Value::String(text));
    let body = HitlAnswer {
        chosen_options: args.options,
        params_input: args.inputs.into_iter().map(|(name, text)| (name, value(text))).collect(),
    };
    let index = args.task.map_index.unwrap_or(-1);
    let answered = session.client.answer(&args.dag, &run, &args.task.task, index, &body).await?;
    if session.screen.json {
        return session.screen.document(&answered);
    }
    let chosen = answered.chosen_options.join(", ");
    session.screen.line(&format!("{} of {run} goes on with: {chosen}", args.task.task))
}
