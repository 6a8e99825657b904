//! Questions to people ("human in the loop"): what tasks ask, and the answers.

use axum::Json;
use dags::{
    ids::{DagId, RunName, TaskId},
    time::Timestamp,
};
use engine::{
    command::{Command, Response},
    rows::InputRow,
};
use migrations::{
    policy::{Action, Kind},
    store::{
        Window,
        input_request::{self, InputFilter},
        run, task_instance,
    },
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    access::{Access, Permit, Resource},
    error::Error,
    extract::{Asked, Body, DagOrAll, Named, Parameter, Parameters},
    list::page,
    list::{Masked, ORDER_BY, PAGE_LIMIT, PAGE_OFFSET},
    v2::{
        dag_runs,
        dag_versions::Versions,
        select,
        task_instances::{self, TaskInstance, find, view},
    },
};

/// So many of the newest questions are looked at for a list.
const QUESTIONS_MAX: u64 = 1_000;

/// Somebody who may answer, or did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HitlUser {
    /// The user.
    pub id: String,
    /// The same.
    pub name: String,
}

impl HitlUser {
    fn of(name: &str) -> Self {
        Self { id: name.to_owned(), name: name.to_owned() }
    }
}

/// A question with its answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HitlDetail {
    /// What there is to choose from.
    pub options: Vec<String>,
    /// The question.
    pub subject: String,
    /// What there is to know before one answers.
    pub body: Option<String>,
    /// What counts as chosen when nobody answers in time.
    pub defaults: Option<Vec<String>>,
    /// Whether several may be chosen.
    pub multiple: bool,
    /// What is asked for beside the choice: name to JSON Schema.
    pub params: Map<String, Value>,
    /// Who may answer; everybody who may change the run if empty.
    pub assigned_users: Vec<HitlUser>,
    /// When it was asked.
    pub created_at: Timestamp,
    /// Until when an answer is waited for: our addition.
    #[serde(default)]
    pub respond_by: Option<Timestamp>,
    /// Who answered; nobody if the time was over.
    pub responded_by_user: Option<HitlUser>,
    /// When it was answered.
    pub responded_at: Option<Timestamp>,
    /// What was chosen.
    pub chosen_options: Option<Vec<String>>,
    /// What was given beside the choice.
    pub params_input: Map<String, Value>,
    /// Whether there is an answer.
    pub response_received: bool,
    /// Who asks.
    pub task_instance: TaskInstance,
}

/// A page of questions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HitlDetailCollection {
    /// The questions.
    pub hitl_details: Vec<HitlDetail>,
    /// How many there are on all pages.
    pub total_entries: u64,
}

/// An answer.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HitlAnswer {
    /// What is chosen.
    pub chosen_options: Vec<String>,
    /// What is given beside the choice.
    #[serde(default)]
    pub params_input: Map<String, Value>,
}

/// What became of an answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HitlAnswered {
    /// Who answered.
    pub responded_by: HitlUser,
    /// When.
    pub responded_at: Timestamp,
    /// What was chosen.
    pub chosen_options: Vec<String>,
    /// What was given, with defaults.
    pub params_input: Map<String, Value>,
}

/// What may be asked.
pub(crate) struct Filter;

impl Parameters for Filter {
    const ALL: &'static [Parameter] = &[
        PAGE_LIMIT,
        PAGE_OFFSET,
        ORDER_BY,
        Parameter::one::<bool>("response_received", "Only those that were, or were not, answered."),
    ];
}

/// `GET /dags/{dag_id}/dagRuns/{dag_run_id}/hitlDetails`: newest first; `~` stands for all DAGs or runs.
pub(crate) async fn list(
    access: Access,
    Named((dag_id, run_name)): Named<(DagOrAll, String)>,
    query: Asked<Filter>,
) -> Result<Json<HitlDetailCollection>, Error> {
    let may = access.list(Kind::Task).await?;
    query.order(&["-created_at"])?;
    let mut filter = InputFilter { answered: query.flag("response_received")?, ..InputFilter::default() };
    match (dag_id.one(), run_name.as_str()) {
        (dag, "~") => filter.dag = dag,
        (None, _) => {
            return Err(Error::BadRequest(
                "a run belongs to a DAG: name it, or write `~` for both".to_owned(),
            ));
        }
        (Some(dag), name) => {
            let name = RunName::parse(name)
                .map_err(|why| Error::NotFound(format!("the run {name:?} was not found: it {why}")))?;
            filter.run = Some(dag_runs::find(&may, &dag, &name).await?.run);
        }
    }
    let window = Window { limit: QUESTIONS_MAX, offset: 0 };
    let newest = input_request::list(may.db(), may.scope, &filter, window).await?;
    let mut seen = Vec::new();
    for row in newest.rows {
        let run = run::by_id(may.db(), may.scope, row.run).await?;
        if let Some(run) = run
            && may.sees(run.dag_id.as_str()).await?
        {
            seen.push(row);
        }
    }
    let page = page(seen, query.window()?, false);
    let mut hitl_details = Vec::with_capacity(page.rows.len());
    for row in &page.rows {
        hitl_details.extend(shown(&may, row).await?);
    }
    Ok(Json(HitlDetailCollection { hitl_details, total_entries: page.total }))
}

/// `GET .../taskInstances/{task_id}/{map_index}/hitlDetails`: the question of the newest try that asked.
pub(crate) async fn get(
    access: Access,
    Named((dag_id, run, task, map_index)): Named<(DagId, RunName, TaskId, i32)>,
) -> Result<Json<HitlDetail>, Error> {
    let may = access.authorize(Resource::dag(Kind::Task, &dag_id), Action::Read).await?;
    let found = find(&may, &dag_id, &run, &task, map_index).await?;
    let row = questions(&may, &found).await?.pop();
    row.map(|row| Json(detail(&row, found.view()))).ok_or_else(|| nothing(&task))
}

/// `GET .../hitlDetails/tries/{try_number}`: the question of one try.
pub(crate) async fn of_try(
    access: Access,
    Named((dag_id, run, task, map_index, number)): Named<(DagId, RunName, TaskId, i32, u32)>,
) -> Result<Json<HitlDetail>, Error> {
    let may = access.authorize(Resource::dag(Kind::Task, &dag_id), Action::Read).await?;
    let found = find(&may, &dag_id, &run, &task, map_index).await?;
    let rows = questions(&may, &found).await?;
    let row = rows.into_iter().find(|row| row.try_number == number).ok_or_else(|| nothing(&task))?;
    let found = task_instances::tries::one(&may, found, number).await?;
    Ok(Json(detail(&row, found.view())))
}

/// `PATCH .../taskInstances/{task_id}/{map_index}/hitlDetails`: answers, once.
pub(crate) async fn patch(
    access: Access,
    Named((dag_id, run_name, task_id, map_index)): Named<(DagId, RunName, TaskId, i32)>,
    _: Asked<Masked>,
    Body(answer): Body<HitlAnswer>,
) -> Result<Json<HitlAnswered>, Error> {
    let may = access.authorize(Resource::dag(Kind::Task, &dag_id), Action::Change).await?;
    find(&may, &dag_id, &run_name, &task_id, map_index).await?;
    let HitlAnswer { chosen_options, params_input } = answer;
    let command =
        Command::Respond(Response { dag_id, run_name, task_id, map_index, chosen_options, params_input });
    let outcome = may.request(command).await?;
    let answered: Outcome = serde_json::from_value(outcome)
        .map_err(|error| Error::Internal(format!("the engine's answer can't be read: {error}")))?;
    Ok(Json(HitlAnswered {
        responded_by: HitlUser::of(&answered.responded_by_user),
        responded_at: answered.responded_at,
        chosen_options: answered.chosen_options,
        params_input: answered.params_input,
    }))
}

#[derive(Deserialize)]
struct Outcome {
    chosen_options: Vec<String>,
    params_input: Map<String, Value>,
    responded_by_user: String,
    responded_at: Timestamp,
}

fn nothing(task: &TaskId) -> Error {
    Error::NotFound(format!("`{task}` didn't ask anything"))
}

async fn questions(may: &Permit, found: &task_instances::Found) -> Result<Vec<InputRow>, Error> {
    let row = &found.row;
    Ok(input_request::of_task(may.db(), may.scope, row.run, &row.task, row.map_index).await?)
}

/// A question with its task instance; none if that was deleted meanwhile.
async fn shown(may: &Permit, row: &InputRow) -> Result<Option<HitlDetail>, Error> {
    let Some(run) = run::by_id(may.db(), may.scope, row.run).await? else { return Ok(None) };
    let task = task_instance::get(may.db(), may.scope, row.run, &row.task, row.map_index).await?;
    let Some(task) = task else { return Ok(None) };
    let model = select::model(may, &run).await?;
    let versions = Versions::of(may, std::slice::from_ref(&run.dag_id)).await?;
    Ok(Some(detail(row, view(&run, &model, &versions, &task))))
}

fn detail(row: &InputRow, task_instance: TaskInstance) -> HitlDetail {
    let (input, response) = (&row.input, row.response.as_ref());
    HitlDetail {
        options: input.options.clone(),
        subject: input.subject.clone(),
        body: input.body.clone(),
        defaults: input.defaults.clone(),
        multiple: input.multiple,
        params: input.params.clone().into_iter().collect(),
        assigned_users: input.assigned.iter().map(|name| HitlUser::of(name)).collect(),
        created_at: row.created_at,
        respond_by: row.respond_by,
        responded_by_user: response.and_then(|response| response.by.as_deref()).map(HitlUser::of),
        responded_at: response.map(|response| response.at),
        chosen_options: response.map(|response| response.chosen.clone()),
        params_input: response.map(|response| response.params.clone()).unwrap_or_default(),
        response_received: response.is_some(),
        task_instance,
    }
}
