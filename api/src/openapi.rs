//! The OpenAPI documents of both APIs, made of the routes and of the types of their handlers: nothing in them is written twice.

use std::sync::LazyLock;

use axum::{Json, http::StatusCode};
use serde_json::{Map, Value, json};

use crate::{
    access::Known,
    describe::{JSON, Schemas, Sketch},
    error::Failure,
    router,
    routes::Declared,
    v1::{PROBLEM, ProblemDetails},
};

/// What a document is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum About {
    /// Our own API.
    Own,
    /// What there is of Airflow's.
    Airflow,
}

static OWN: LazyLock<Value> = LazyLock::new(|| document(About::Own, &router::routes()));
static AIRFLOW: LazyLock<Value> = LazyLock::new(|| document(About::Airflow, &router::routes()));

/// `GET /api/updraft/v1/openapi.json`
pub(crate) async fn own(_: Known) -> Json<&'static Value> {
    Json(&OWN)
}

/// `GET /openapi.json`, as in Airflow.
pub(crate) async fn airflow(_: Known) -> Json<&'static Value> {
    Json(&AIRFLOW)
}

fn document(about: About, routes: &[Declared]) -> Value {
    let mut schemas = Schemas::new();
    let mut paths: Map<String, Value> = Map::new();
    let (title, says) = match about {
        About::Own => {
            ("Updraft", "Sessions, accounts, tenants, who may do what in them, and what the console shows.")
        }
        About::Airflow => (
            "Updraft, as Airflow's REST API v2",
            "What there is of Airflow's REST API v2, and signing in. The rest of the contract answers 501.",
        ),
    };
    let failure = match about {
        About::Own => (PROBLEM, schemas.sent::<ProblemDetails>()),
        About::Airflow => (JSON, schemas.sent::<Failure>()),
    };
    for route in routes.iter().filter(|route| about.has(&route.path)) {
        let Some(operation) = operation(&mut schemas, route, &failure) else { continue };
        let at = paths.entry(route.shown().to_owned()).or_insert_with(|| json!({}));
        at[route.method.as_str().to_lowercase()] = operation;
    }
    json!({
        "openapi": "3.1.0",
        "info": { "title": title, "version": env!("CARGO_PKG_VERSION"), "description": says },
        "servers": [
            { "url": "/", "description": "The default tenant." },
            { "url": "/t/{tenant}", "variables": { "tenant": { "default": "default", "description": "A tenant." } } },
        ],
        "paths": paths,
        "components": {
            "schemas": schemas.named(),
            "securitySchemes": {
                "token": { "type": "http", "scheme": "bearer" },
                "session": { "type": "apiKey", "in": "cookie", "name": "__Host-updraft" },
            },
        },
    })
}

impl About {
    fn has(self, path: &str) -> bool {
        match self {
            Self::Own => path.starts_with("/api/updraft/v1/"),
            Self::Airflow => path.starts_with("/api/v2/") || path.starts_with("/auth/"),
        }
    }
}

/// An operation as a document says it; none if it is a gap in the contract.
fn operation(schemas: &mut Schemas, route: &Declared, failure: &(&str, Value)) -> Option<Value> {
    let mut sketch = Sketch::new(schemas, &route.path);
    (route.describe)(&mut sketch);
    if sketch.answers.is_empty() {
        return None;
    }
    if !route.method.is_safe() {
        sketch.fails.insert(StatusCode::CONFLICT.as_u16());
    }
    sketch.fails.insert(StatusCode::SERVICE_UNAVAILABLE.as_u16());
    let shown = route.shown();
    sketch.parameters.retain(|parameter| {
        let name = parameter["name"].as_str().unwrap_or_default();
        parameter["in"] != "path" || shown.contains(&format!("{{{name}}}"))
    });
    let says = |status: u16| {
        let status = StatusCode::from_u16(status).ok();
        status.and_then(|status| status.canonical_reason()).unwrap_or("An answer")
    };
    let mut responses = Map::new();
    for (status, kinds) in sketch.answers {
        let mut response = json!({ "description": says(status) });
        for (kind, schema) in kinds {
            response["content"][kind] = json!({ "schema": schema });
        }
        responses.insert(status.to_string(), response);
    }
    for status in sketch.fails {
        let (kind, schema) = failure;
        let content = json!({ *kind: { "schema": schema } });
        responses.insert(status.to_string(), json!({ "description": says(status), "content": content }));
    }
    let words = shown.split('/').filter(|word| !word.is_empty()).map(|word| word.trim_matches(['{', '}']));
    let words: Vec<&str> = std::iter::once(route.method.as_str()).chain(words).collect();
    let mut operation = json!({ "operationId": words.join("_").to_lowercase(), "responses": responses });
    if !sketch.parameters.is_empty() {
        operation["parameters"] = sketch.parameters.into();
    }
    if let Some(body) = sketch.body {
        operation["requestBody"] = body;
    }
    if sketch.signed_in {
        operation["security"] = json!([{ "token": [] }, { "session": [] }]);
    }
    Some(operation)
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, path::Path};

    use super::*;

    /// The documents as they are kept for clients that are generated from them, without the number of the release.
    fn kept() -> [(&'static str, Value); 2] {
        [("updraft.json", &*OWN), ("airflow.json", &*AIRFLOW)].map(|(name, document)| {
            let mut document = document.clone();
            document["info"]["version"] = "0.0.0".into();
            (name, document)
        })
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "whether they are written anew is said to the test only")]
    fn the_kept_documents_are_up_to_date() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/openapi");
        for (name, document) in kept() {
            let path = folder.join(name);
            let text = serde_json::to_string_pretty(&document).unwrap() + "\n";
            if std::env::var_os("UPDATE_OPENAPI").is_some() {
                std::fs::write(&path, &text).unwrap();
            }
            let before = std::fs::read_to_string(&path).unwrap_or_default();
            assert!(
                before == text,
                "docs/openapi/{name} is out of date: run this test with UPDATE_OPENAPI=1"
            );
        }
    }

    #[test]
    fn every_route_is_in_a_document_or_says_that_it_is_not_there() {
        for route in router::routes() {
            let about = [About::Own, About::Airflow].into_iter().find(|about| about.has(&route.path));
            let Some(about) = about else {
                assert_eq!(route.path, "/openapi.json", "{} is in no document", route.path);
                continue;
            };
            let document = if about == About::Own { &*OWN } else { &*AIRFLOW };
            let operation = &document["paths"][route.shown()][route.method.as_str().to_lowercase()];
            let mut schemas = Schemas::new();
            let mut sketch = Sketch::new(&mut schemas, &route.path);
            (route.describe)(&mut sketch);
            let absent = sketch.fails.contains(&501);
            assert_eq!(operation.is_null(), absent, "{} {}", route.method, route.path);
        }
    }

    #[test]
    fn what_a_document_names_is_in_it() {
        for (name, document) in kept() {
            let text = document.to_string();
            for reference in text.split("\"$ref\":\"#").skip(1) {
                let pointer = reference.split('"').next().unwrap();
                assert!(document.pointer(pointer).is_some(), "{name}: {pointer} isn't there");
            }
            let mut ids = BTreeSet::new();
            for (path, operations) in document["paths"].as_object().unwrap() {
                for operation in operations.as_object().unwrap().values() {
                    assert!(ids.insert(operation["operationId"].as_str().unwrap()), "{name}: {operation}");
                    let in_path = operation["parameters"].as_array().into_iter().flatten();
                    let in_path = in_path.filter(|parameter| parameter["in"] == "path").count();
                    assert_eq!(in_path, path.matches('{').count(), "{name}: parameters of {path}");
                }
            }
        }
    }
}
