//! Our own API, beside Airflow's: sessions, accounts, tenants, who may do what in them, and what the console shows. Errors are problems (RFC 9457),
//! lists have `items` and, where they can be long, `next`: the value of `after` that continues them.

use axum::{
    Json,
    http::{HeaderValue, header},
    response::{IntoResponse as _, Response},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    error::{Problem, Said},
    openapi,
    routes::Routes,
};

pub mod alerts;
pub mod allowed;
pub mod bundles;
pub mod calendar;
pub mod can;
pub mod config;
pub mod dags;
pub mod events;
pub mod grants;
pub mod grid;
pub mod groups;
pub mod history;
pub mod home;
mod log;
pub mod me;
pub mod model;
pub mod names;
pub mod permissions;
pub mod policies;
pub mod queue;
pub mod quotas;
pub mod roles;
pub mod schedule;
pub mod services;
pub mod session;
pub mod tenants;
pub mod users;
pub mod workers;

/// A list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "{T}Items")]
pub struct Items<T> {
    /// The items.
    pub items: Vec<T>,
    /// Where the next page begins, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

impl<T> Items<T> {
    /// All there is.
    pub(crate) fn all(items: impl IntoIterator<Item = T>) -> Json<Self> {
        Json(Self { items: items.into_iter().collect(), next: None })
    }
}

/// Every route, declared here and nowhere else.
pub(crate) fn router() -> Routes {
    Routes::default()
        .get("/openapi.json", openapi::own)
        .get("/alerts", alerts::list)
        .post("/session", session::open)
        .delete("/session", session::close)
        .get("/me", me::get)
        .post("/me/password", me::password)
        .get("/me/tokens", me::tokens)
        .post("/me/tokens", me::make_token)
        .delete("/me/tokens/{token_id}", me::end_token)
        .get("/users", users::list)
        .post("/users", users::post)
        .get("/users/{name}", users::get)
        .patch("/users/{name}", users::patch)
        .delete("/users/{name}", users::delete)
        .post("/users/{name}/password", users::reset)
        .get("/tenants", tenants::list)
        .post("/tenants", tenants::post)
        .get("/tenants/{name}", tenants::get)
        .patch("/tenants/{name}", tenants::patch)
        .delete("/tenants/{name}", tenants::delete)
        .get("/tenants/{name}/retention", tenants::retention)
        .put("/tenants/{name}/retention", tenants::put_retention)
        .put("/tenants/{name}/admins/{user}", tenants::put_admin)
        .get("/quota", quotas::get_own)
        .get("/quotas", quotas::list)
        .get("/quotas/{kind}/{name}", quotas::get)
        .put("/quotas/{kind}/{name}", quotas::put)
        .delete("/quotas/{kind}/{name}", quotas::delete)
        .get("/grants", grants::list)
        .put("/grants/{kind}/{name}/{role}", grants::put)
        .delete("/grants/{kind}/{name}/{role}", grants::delete)
        .get("/groups", groups::list)
        .put("/groups/{name}", groups::put)
        .delete("/groups/{name}", groups::delete)
        .get("/roles", roles::list)
        .put("/roles/{name}", roles::put)
        .delete("/roles/{name}", roles::delete)
        .get("/service-accounts", services::list)
        .post("/service-accounts", services::post)
        .delete("/service-accounts/{name}", services::delete)
        .get("/service-accounts/{name}/tokens", services::tokens)
        .post("/service-accounts/{name}/tokens", services::make_token)
        .delete("/service-accounts/{name}/tokens/{token_id}", services::end_token)
        .get("/can", can::get)
        .get("/permissions", permissions::list)
        .get("/config", config::list)
        .get("/workers", workers::list)
        .get("/allowed", allowed::get)
        .get("/policies", policies::get)
        .get("/bundles", bundles::list)
        .get("/bundles/{bundle}", bundles::get)
        .put("/bundles/{bundle}", bundles::put)
        .post("/bundles/{bundle}/plan", bundles::plan)
        .post("/bundles/{bundle}/activate", bundles::activate)
        .get("/home", home::get)
        .get("/dags", dags::list)
        .get("/dags/{dag_id}/grid", grid::get)
        .get("/dags/{dag_id}/calendar", calendar::get)
        .get("/dags/{dag_id}/schedule", schedule::get)
        .get("/dags/{dag_id}/model", model::get)
        .get("/dags/{dag_id}/history", history::get)
        .get("/dags/{dag_id}/runs/{dag_run_id}/tasks/{task_id}/log", log::get)
        .get("/tasks", queue::list)
        .get("/events", events::events)
}

/// The media type of what goes wrong.
pub(crate) const PROBLEM: &str = "application/problem+json";

/// What went wrong (RFC 9457).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct ProblemDetails {
    /// `about:blank`: the status says what kind of problem it is, and `code` more.
    #[serde(rename = "type")]
    kind: String,
    /// The status in words.
    title: String,
    /// The status.
    status: u16,
    /// What happened, where, and what to do.
    detail: String,
    /// A stable word for programs, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<String>,
    /// Everything that is wrong with the request, if that is what is wrong.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<Wrong>,
}

/// One thing that is wrong with a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct Wrong {
    /// Where in the body, as a JSON pointer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pointer: Option<String>,
    /// Which parameter, if it isn't in the body.
    #[serde(skip_serializing_if = "Option::is_none")]
    parameter: Option<String>,
    /// What is wrong with it.
    detail: String,
}

/// Says an error as a problem.
pub(crate) async fn as_problem(response: Response) -> Response {
    let Some(said) = response.extensions().get::<Said>().cloned() else { return response };
    let status = response.status();
    let title = status.canonical_reason().unwrap_or("Error");
    let body = ProblemDetails {
        kind: "about:blank".to_owned(),
        title: title.to_owned(),
        status: status.as_u16(),
        detail: said.detail.unwrap_or_else(|| "the request can't be used as it is".to_owned()),
        code: said.code,
        errors: said.problems.iter().map(pointed).collect(),
    };
    let mut problem = (status, Json(body)).into_response();
    problem.headers_mut().extend(response.headers().iter().filter_map(|(name, value)| {
        let kept = [header::WWW_AUTHENTICATE, header::RETRY_AFTER];
        kept.contains(name).then(|| (name.clone(), value.clone()))
    }));
    let kind = HeaderValue::from_static(PROBLEM);
    problem.headers_mut().insert(header::CONTENT_TYPE, kind);
    problem
}

fn pointed(problem: &Problem) -> Wrong {
    let part = |part: &Value| part.as_str().map_or_else(|| part.to_string(), str::to_owned);
    let path: Vec<String> = problem.loc.iter().skip(1).map(part).collect();
    let (pointer, parameter) = match problem.loc.first().and_then(Value::as_str) {
        None | Some("body") => (Some(format!("/{}", path.join("/"))), None),
        Some(_) => (None, Some(path.join("."))),
    };
    Wrong { pointer, parameter, detail: problem.msg.clone() }
}
