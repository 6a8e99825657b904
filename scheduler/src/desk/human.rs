//! Questions to people: what is asked, and what follows from the answer.

use dags::{model::Task, time::Timestamp};
use engine::{
    Answer, AskPeople, Question,
    rows::{Input, InputResponse},
};
use plugins::human::{APPROVE, Approval, HumanInput, REJECT};

use super::{Desk, Refused};
use crate::facts::Facts;

impl<F: Facts> Desk<F> {
    pub(super) async fn approval(
        &self,
        question: &Question,
        task: &Task,
        args: Approval,
        now: Timestamp,
    ) -> Result<Answer, Refused> {
        let Some(response) = self.response(question).await? else {
            let input = Input {
                subject: args.subject,
                body: args.body,
                options: vec![APPROVE.to_owned(), REJECT.to_owned()],
                defaults: args.default.map(|verdict| vec![verdict.option().to_owned()]),
                multiple: false,
                params: args.params,
                assigned: args.assigned_users,
            };
            let until = until(question, task, args.respond_within, now);
            let notify = args.notify.as_slice().to_vec();
            return Ok(Answer::Ask(Box::new(AskPeople { input, until, notify })));
        };
        if response.chosen.iter().any(|option| option == APPROVE) {
            return Ok(Answer::Done);
        }
        if args.fail_on_reject {
            let who = response.by.as_deref().map_or_else(
                || "nobody answered in time, and that counts as a rejection".to_owned(),
                |who| format!("{who} rejected it"),
            );
            return Err(Refused::ForGood(who));
        }
        Ok(Answer::Stop { direct: !args.ignore_downstream_rules })
    }

    pub(super) async fn human_input(
        &self,
        question: &Question,
        task: &Task,
        args: HumanInput,
        now: Timestamp,
    ) -> Result<Answer, Refused> {
        if self.response(question).await?.is_some() {
            // The answer is the result, stored when it was given.
            return Ok(Answer::Done);
        }
        let defaults = args.defaults.map(|names| names.as_slice().to_vec());
        let stranger = defaults.iter().flatten().find(|name| !args.options.contains(name));
        if let Some(stranger) = stranger {
            let options = dags::suggest::list(args.options.iter().map(String::as_str), "and");
            return Err(Refused::ForGood(format!(
                "`defaults` names `{stranger}`, the options are {options}"
            )));
        }
        let until = until(question, task, args.respond_within, now);
        let notify = args.notify.as_slice().to_vec();
        let input = Input {
            subject: args.subject,
            body: args.body,
            options: args.options,
            defaults,
            multiple: args.multiple,
            params: args.params,
            assigned: args.assigned_users,
        };
        Ok(Answer::Ask(Box::new(AskPeople { input, until, notify })))
    }

    async fn response(&self, question: &Question) -> Result<Option<InputResponse>, Refused> {
        Ok(self.facts.response(question.tenant, question.id.attempt).await?)
    }
}

/// Until when an answer is waited for: by the operator's own limit and the task's `timeout`, whichever ends first.
fn until(
    question: &Question,
    task: &Task,
    own: Option<dags::time::Span>,
    now: Timestamp,
) -> Option<Timestamp> {
    let start = question.started_at.unwrap_or(now);
    let span = [own, task.timeout].into_iter().flatten().min();
    span.map(|span| start.after(span))
}
