//! `POST /dags/{dag_id}/dagRuns`

use axum::{Json, extract::FromRequestParts, http::request::Parts};
use dags::{
    conf,
    ids::{DagId, RunName},
};
use engine::command::{Command, Trigger};
use migrations::{
    policy::{Action, Kind},
    store::dag,
};
use serde_json::Value;

use crate::{
    access::{Access, Permit, Resource},
    describe::{Describe, Sketch},
    error::Error,
    extract::{Body, Named},
    v2::{
        dag_runs::{DagRun, TriggerBody, read},
        dags::find,
    },
};

/// The header under which the same request again is answered with the first one's run.
const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// What that header says.
pub(crate) struct Key(Option<String>);

impl<S: Send + Sync> FromRequestParts<S> for Key {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Error> {
        let key = parts.headers.get(IDEMPOTENCY_KEY).map(|key| key.to_str().map(str::to_owned));
        let wrong =
            |_| Error::BadRequest("an `Idempotency-Key` has visible ASCII characters only".to_owned());
        key.transpose().map(Self).map_err(wrong)
    }
}

impl Describe for Key {
    fn describe(sketch: &mut Sketch<'_>) {
        sketch.header("Idempotency-Key", "The same request again with it makes no second run.");
    }
}

/// Makes a run. With the header `Idempotency-Key` the same request again makes no second one.
pub(crate) async fn post(
    access: Access,
    Named(dag_id): Named<DagId>,
    Key(key): Key,
    Body(body): Body<TriggerBody>,
) -> Result<Json<DagRun>, Error> {
    let may = access.authorize(Resource::dag(Kind::Run, &dag_id), Action::Create).await?;
    let trigger = checked(&may, dag_id, body).await?;
    let dag_id = trigger.dag_id.clone();
    let made = may.request_once(Command::Trigger(trigger), key.as_deref()).await?;
    let name = made.get("run_id").and_then(Value::as_str).and_then(|name| RunName::parse(name).ok());
    let name = name.ok_or_else(|| Error::Internal(format!("a run was made without a name: {made}")))?;
    Ok(Json(read(&may, &dag_id, &name).await?))
}

async fn checked(may: &Permit, dag_id: DagId, body: TriggerBody) -> Result<Trigger, Error> {
    if body.data_interval_start.is_some() || body.data_interval_end.is_some() {
        let instead = "it follows from `logical_date` and the DAG's timetable";
        return Err(Error::unsupported("a data interval of one's own", instead));
    }
    if body.partition_key.is_some() {
        return Err(Error::unsupported("`partition_key`", "runs have no partitions"));
    }
    let run_name = body.dag_run_id.map(|name| match RunName::parse(&name) {
        Ok(parsed) => Ok(parsed),
        Err(why) => Err(Error::value("body", "dag_run_id", format!("{name:?} {why}"), name)),
    });
    let conf = body.conf.unwrap_or_default();
    let model = match dag::model(may.db(), may.scope, &dag_id).await? {
        Some(model) => model,
        None => find(may, &dag_id).await?.model()?.clone(),
    };
    let misfits = conf::check(&model.params, &conf);
    if !misfits.is_empty() {
        let misfits: Vec<String> = misfits.iter().map(ToString::to_string).collect();
        return Err(Error::BadRequest(format!("`conf` doesn't fit the DAG: {}", misfits.join("; "))));
    }
    Ok(Trigger {
        dag_id,
        run_name: run_name.transpose()?,
        logical_date: body.logical_date,
        run_after: body.run_after,
        conf,
        note: body.note,
        chain_depth: 0,
    })
}
