//! What requests carry, read strictly: bodies, queries and paths.

use std::{marker::PhantomData, str::FromStr, time::Duration};

use axum::{
    body::HttpBody as _,
    extract::{FromRequest, FromRequestParts, Path, Request},
    http::{HeaderMap, StatusCode, header, request::Parts},
};
use dags::{ids::DagId, time::Timestamp};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

use crate::error::{Error, Problem};

/// How long a body may take to arrive.
const BODY_TIME: Duration = Duration::from_secs(30);

/// A body that says that it has more isn't waited for. One that is a little too long is read as far as others are: its sender
/// would hear of a broken connection else, not why.
const HOPELESS_BYTES: u64 = 16 << 20;

/// A JSON body. Anything that the contract doesn't describe is refused with 422.
pub(crate) struct Body<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Error;

    async fn from_request(request: Request, state: &S) -> Result<Self, Error> {
        // Only what says that it is JSON is read as JSON: a form of another site can't.
        if !is_kind(request.headers(), "application/json") {
            return Err(Error::MediaType("application/json"));
        }
        let bytes = read(request, state).await?;
        Self::from_json(&bytes)
    }
}

/// Whether the body is of that media type, by its own word.
pub(crate) fn is_kind(headers: &HeaderMap, kind: &str) -> bool {
    let found = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    found
        .and_then(|found| found.split(';').next())
        .is_some_and(|found| found.trim().eq_ignore_ascii_case(kind))
}

/// The bytes of a body, as long as they come at all.
pub(crate) async fn read<S: Send + Sync>(request: Request, state: &S) -> Result<bytes::Bytes, Error> {
    if request.body().size_hint().lower() > HOPELESS_BYTES {
        return Err(Error::TooLarge);
    }
    let bytes = tokio::time::timeout(BODY_TIME, bytes::Bytes::from_request(request, state));
    bytes.await.map_err(|_| Error::Slow)?.map_err(|refused| match refused.status() {
        StatusCode::PAYLOAD_TOO_LARGE => Error::TooLarge,
        _ => Error::BadRequest(format!("the body can't be read: {}", refused.body_text())),
    })
}

impl<T: DeserializeOwned> Body<T> {
    /// What JSON text says.
    pub(crate) fn from_json(bytes: &[u8]) -> Result<Self, Error> {
        let mut reader = serde_json::Deserializer::from_slice(bytes);
        let body = serde_path_to_error::deserialize(&mut reader).map_err(|error| problem(&error, bytes))?;
        reader.end().map_err(|error| malformed(&error.to_string()))?;
        Ok(Self(body))
    }
}

fn malformed(message: &str) -> Error {
    let problem = Problem {
        loc: vec!["body".into()],
        msg: format!("the body is no JSON: {message}"),
        kind: "json_invalid".to_owned(),
        input: Value::Null,
    };
    Error::Invalid(vec![problem])
}

fn problem(error: &serde_path_to_error::Error<serde_json::Error>, body: &[u8]) -> Error {
    let inner = error.inner();
    if !inner.is_data() {
        return malformed(&inner.to_string());
    }
    let message = inner.to_string();
    let message = message.rsplit_once(" at line ").map_or(message.as_str(), |(message, _)| message);
    let mut loc: Vec<Value> = vec!["body".into()];
    for segment in error.path() {
        match segment {
            serde_path_to_error::Segment::Map { key } => loc.push(key.as_str().into()),
            serde_path_to_error::Segment::Seq { index } => loc.push((*index).into()),
            serde_path_to_error::Segment::Enum { .. } | serde_path_to_error::Segment::Unknown => {}
        }
    }
    let named = message.split('`').nth(1).unwrap_or_default().to_owned();
    let kind = if message.starts_with("missing field") {
        loc.push(named.into());
        "missing"
    } else if message.starts_with("unknown field") {
        if loc.last().and_then(Value::as_str) != Some(named.as_str()) {
            loc.push(named.into());
        }
        "extra_forbidden"
    } else {
        "value_error"
    };
    // A value is shown, the whole body isn't: it may hold a secret.
    let whole: Value = serde_json::from_slice(body).unwrap_or_default();
    let input = loc[1..].iter().try_fold(&whole, |value, key| match key {
        Value::String(key) => value.get(key),
        key => value.get(key.as_u64()? as usize),
    });
    let secret = loc.iter().any(|key| ["password", "extra", "value"].iter().any(|name| key == name));
    let input = input.filter(|_| !secret && kind == "value_error").cloned().unwrap_or_default();
    Error::Invalid(vec![Problem { loc, msg: message.to_owned(), kind: kind.to_owned(), input }])
}

/// The names in a path. A name that nothing can have is simply not found.
pub(crate) struct Named<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Named<T> {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Error> {
        match Path::from_request_parts(parts, state).await {
            Ok(Path(names)) => Ok(Self(names)),
            Err(refused) => Err(Error::NotFound(refused.body_text())),
        }
    }
}

/// A DAG in a path, or `~` for all of them.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) enum DagOrAll {
    All,
    One(DagId),
}

impl JsonSchema for DagOrAll {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "DagOrAll".into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        DagId::json_schema(generator)
    }
}

impl TryFrom<String> for DagOrAll {
    type Error = dags::ids::InvalidName;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        if text == "~" { Ok(Self::All) } else { DagId::parse(&text).map(Self::One) }
    }
}

impl DagOrAll {
    pub(crate) fn one(self) -> Option<DagId> {
        match self {
            Self::All => None,
            Self::One(dag) => Some(dag),
        }
    }
}

/// A parameter that a query may have.
pub(crate) struct Parameter {
    pub(crate) name: &'static str,
    /// What it is for.
    pub(crate) says: &'static str,
    /// What a value of it is.
    pub(crate) schema: fn(&mut SchemaGenerator) -> Schema,
    /// Whether it may be given more than once.
    pub(crate) many: bool,
    /// Whether it must be given.
    pub(crate) required: bool,
}

impl Parameter {
    /// One that may be given once; of several the last one counts.
    pub(crate) const fn one<T: JsonSchema>(name: &'static str, says: &'static str) -> Self {
        Self { name, says, schema: SchemaGenerator::subschema_for::<T>, many: false, required: false }
    }

    /// One that may be given more than once.
    pub(crate) const fn many<T: JsonSchema>(name: &'static str, says: &'static str) -> Self {
        Self { many: true, ..Self::one::<T>(name, says) }
    }

    /// One that must be given.
    pub(crate) const fn needed<T: JsonSchema>(name: &'static str, says: &'static str) -> Self {
        Self { required: true, ..Self::one::<T>(name, says) }
    }
}

/// Which parameters a query may have.
pub(crate) trait Parameters: Send {
    /// All of them.
    const ALL: &'static [Parameter];
}

/// The parameters of a query, those of `Q` only: one that the handler doesn't know is refused rather than ignored, since
/// whoever filters by it would act on wrong rows.
pub(crate) struct Asked<Q>(Params, PhantomData<Q>);

impl<S: Send + Sync, Q: Parameters> FromRequestParts<S> for Asked<Q> {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Error> {
        let query = parts.uri.query().unwrap_or_default();
        let params = Params(form_urlencoded::parse(query.as_bytes()).into_owned().collect());
        let known = |name: &str| Q::ALL.iter().any(|parameter| parameter.name == name);
        if let Some((name, _)) = params.0.iter().find(|(name, _)| !known(name)) {
            let all: Vec<&str> = Q::ALL.iter().map(|parameter| parameter.name).collect();
            let all = if all.is_empty() { "none".to_owned() } else { all.join(", ") };
            let message = format!("query parameter `{name}` isn't supported here; there are: {all}");
            return Err(Error::BadRequest(message));
        }
        Ok(Self(params, PhantomData))
    }
}

impl<Q> std::ops::Deref for Asked<Q> {
    type Target = Params;

    fn deref(&self) -> &Params {
        &self.0
    }
}

/// No parameters at all.
pub(crate) struct Nothing;

impl Parameters for Nothing {
    const ALL: &'static [Parameter] = &[];
}

/// The parameters of a query, as they came.
pub(crate) struct Params(Vec<(String, String)>);

impl Params {
    /// Every value of a parameter.
    pub(crate) fn all<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> + use<'a> {
        let name = name.to_owned();
        self.0.iter().filter(move |(key, _)| *key == name).map(|(_, value)| value.as_str())
    }

    /// The last value of a parameter.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.all(name).last()
    }

    /// The last value of a parameter, read.
    pub(crate) fn read<T: FromStr>(&self, name: &str) -> Result<Option<T>, Error>
    where
        T::Err: std::fmt::Display,
    {
        self.text(name)
            .map(|text| {
                text.parse().map_err(|error: T::Err| Error::value("query", name, error.to_string(), text))
            })
            .transpose()
    }

    /// An instant.
    pub(crate) fn instant(&self, name: &str) -> Result<Option<Timestamp>, Error> {
        self.read(name)
    }

    /// Yes or no.
    pub(crate) fn flag(&self, name: &str) -> Result<Option<bool>, Error> {
        match self.text(name) {
            None => Ok(None),
            Some("true" | "True" | "1") => Ok(Some(true)),
            Some("false" | "False" | "0") => Ok(Some(false)),
            Some(text) => Err(Error::value("query", name, "must be true or false", text)),
        }
    }

    /// Every value of a parameter that names one of a few things.
    pub(crate) fn words<T>(&self, name: &str, parse: impl Fn(&str) -> Option<T>) -> Result<Vec<T>, Error> {
        self.all(name)
            .map(|text| {
                parse(text).ok_or_else(|| Error::value("query", name, format!("`{text}` is unknown"), text))
            })
            .collect()
    }
}
