//! What an operation takes and answers, read off the types of its handler, so that the documents can't say anything else than
//! the code does. `openapi` makes documents of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    marker::PhantomData,
};

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, StatusCode, request::Parts},
    response::{IntoResponse, Response},
};
use schemars::{
    JsonSchema, SchemaGenerator,
    generate::{Contract, SchemaSettings},
};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::{
    access::{Access, Identified, Known, Public},
    error::Error,
    extract::{Asked, Body, Named, Parameters},
    peer::Peer,
    state::Api,
};

/// The media type of almost everything.
pub(crate) const JSON: &str = "application/json";

/// The media type of JSON values, one a line.
pub(crate) const NDJSON: &str = "application/x-ndjson";

/// The types of a document.
pub(crate) struct Schemas {
    /// What is sent: types with names, each said once.
    sent: SchemaGenerator,
    /// What is taken: said where it is taken, since a type may be stricter there than it is when it is sent.
    taken: SchemaGenerator,
}

impl Schemas {
    pub(crate) fn new() -> Self {
        let mut sent = SchemaSettings::draft2020_12();
        sent.contract = Contract::Serialize;
        sent.definitions_path = "/components/schemas".into();
        let mut taken = SchemaSettings::draft2020_12();
        taken.inline_subschemas = true;
        Self { sent: sent.into_generator(), taken: taken.into_generator() }
    }

    /// The schema of what is sent.
    pub(crate) fn sent<T: JsonSchema>(&mut self) -> Value {
        self.sent.subschema_for::<T>().to_value()
    }

    fn taken<T: JsonSchema>(&mut self) -> Value {
        self.taken.subschema_for::<T>().to_value()
    }

    /// All types with names.
    pub(crate) fn named(mut self) -> Map<String, Value> {
        self.sent.take_definitions(true)
    }
}

/// An operation under construction.
pub(crate) struct Sketch<'a> {
    pub(crate) schemas: &'a mut Schemas,
    /// The names of the parameters in the path.
    names: Vec<String>,
    pub(crate) parameters: Vec<Value>,
    pub(crate) body: Option<Value>,
    /// What is answered if all is well, by status: media types and their schemas, none if there is no body.
    pub(crate) answers: BTreeMap<u16, Vec<(&'static str, Value)>>,
    /// The statuses of what goes wrong.
    pub(crate) fails: BTreeSet<u16>,
    /// Whether it takes a token or a session.
    pub(crate) signed_in: bool,
}

impl<'a> Sketch<'a> {
    pub(crate) fn new(schemas: &'a mut Schemas, path: &str) -> Self {
        let name = |part: &str| Some(part.strip_prefix('{')?.strip_suffix('}')?.to_owned());
        Self {
            schemas,
            names: path.split('/').filter_map(name).collect(),
            parameters: Vec::new(),
            body: None,
            answers: BTreeMap::new(),
            fails: BTreeSet::new(),
            signed_in: false,
        }
    }

    fn fails(&mut self, statuses: &[StatusCode]) {
        self.fails.extend(statuses.iter().map(StatusCode::as_u16));
    }

    /// A body that is taken.
    pub(crate) fn takes(&mut self, kinds: &[&str], schema: &Value) {
        let content: Map<String, Value> =
            kinds.iter().map(|kind| ((*kind).to_owned(), json!({ "schema": schema }))).collect();
        self.body = Some(json!({ "required": true, "content": content }));
        self.fails(&[
            StatusCode::BAD_REQUEST,
            // What it names may not be there.
            StatusCode::NOT_FOUND,
            StatusCode::REQUEST_TIMEOUT,
            StatusCode::PAYLOAD_TOO_LARGE,
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            StatusCode::UNPROCESSABLE_ENTITY,
        ]);
    }

    /// A header that is taken.
    pub(crate) fn header(&mut self, name: &str, says: &str) {
        self.parameters.push(json!({
            "in": "header", "name": name, "required": false, "description": says, "schema": { "type": "string" },
        }));
    }

    /// What is answered with that status, as JSON.
    fn answers<T: JsonSchema>(&mut self, status: StatusCode) {
        let schema = self.schemas.sent::<T>();
        self.answers.insert(status.as_u16(), vec![(JSON, schema)]);
    }
}

/// A part of a handler: something that it takes, or what it answers.
pub(crate) trait Describe {
    fn describe(sketch: &mut Sketch<'_>);
}

/// A handler whose parts are all described. `T` is axum's own list of them.
pub(crate) trait Described<T> {
    fn describe(sketch: &mut Sketch<'_>);
}

macro_rules! described {
    ($($part:ident)*) => {
        impl<F, Answering, Answer, M, $($part),*> Described<(M, $($part,)*)> for F
        where
            F: FnOnce($($part),*) -> Answering,
            Answering: Future<Output = Answer>,
            Answer: Describe,
            $($part: Describe,)*
        {
            fn describe(sketch: &mut Sketch<'_>) {
                $($part::describe(sketch);)*
                Answer::describe(sketch);
            }
        }
    };
}
described!(A);
described!(A B);
described!(A B C);
described!(A B C D);
described!(A B C D E);

/// Parts that say nothing about the operation.
macro_rules! silent {
    ($($part:ty),*) => {
        $(impl Describe for $part {
            fn describe(_: &mut Sketch<'_>) {}
        })*
    };
}
silent!(State<Api>, Public, HeaderMap, Parts);

impl Describe for Peer {
    fn describe(sketch: &mut Sketch<'_>) {
        // Only who isn't signed in yet is told apart by where they are.
        sketch.fails(&[StatusCode::UNAUTHORIZED, StatusCode::TOO_MANY_REQUESTS]);
    }
}

impl Describe for Identified {
    fn describe(sketch: &mut Sketch<'_>) {
        sketch.signed_in = true;
        sketch.fails(&[StatusCode::BAD_REQUEST, StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN]);
        sketch.fails(&[StatusCode::TOO_MANY_REQUESTS]);
    }
}

impl Describe for Known {
    fn describe(sketch: &mut Sketch<'_>) {
        Identified::describe(sketch);
    }
}

impl Describe for Access {
    fn describe(sketch: &mut Sketch<'_>) {
        Known::describe(sketch);
        // A tenant that one doesn't belong to.
        sketch.fails(&[StatusCode::NOT_FOUND]);
    }
}

impl<T: JsonSchema> Describe for Named<T> {
    fn describe(sketch: &mut Sketch<'_>) {
        let schema = T::json_schema(&mut sketch.schemas.taken).to_value();
        let parts = match schema.get("prefixItems").and_then(Value::as_array) {
            Some(parts) => parts.clone(),
            None => vec![schema],
        };
        for (name, schema) in std::mem::take(&mut sketch.names).into_iter().zip(parts) {
            sketch.parameters.push(json!({ "in": "path", "name": name, "required": true, "schema": schema }));
        }
        sketch.fails(&[StatusCode::NOT_FOUND]);
    }
}

impl<T: JsonSchema> Describe for Body<T> {
    fn describe(sketch: &mut Sketch<'_>) {
        let schema = sketch.schemas.taken::<T>();
        sketch.takes(&[JSON], &schema);
    }
}

impl<Q: Parameters> Describe for Asked<Q> {
    fn describe(sketch: &mut Sketch<'_>) {
        for parameter in Q::ALL {
            let schema = (parameter.schema)(&mut sketch.schemas.taken).to_value();
            let schema = if parameter.many { json!({ "type": "array", "items": schema }) } else { schema };
            sketch.parameters.push(json!({
                "in": "query", "name": parameter.name, "required": parameter.required,
                "description": parameter.says, "schema": schema,
            }));
        }
        sketch.fails(&[StatusCode::BAD_REQUEST, StatusCode::UNPROCESSABLE_ENTITY]);
    }
}

impl<T: Describe> Describe for Result<T, Error> {
    fn describe(sketch: &mut Sketch<'_>) {
        T::describe(sketch);
    }
}

impl<T: JsonSchema> Describe for Json<T> {
    fn describe(sketch: &mut Sketch<'_>) {
        sketch.answers::<T>(StatusCode::OK);
    }
}

/// What was made, with 201.
pub(crate) struct Created<T>(pub(crate) T);

impl<T: Serialize> IntoResponse for Created<T> {
    fn into_response(self) -> Response {
        (StatusCode::CREATED, Json(self.0)).into_response()
    }
}

impl<T: JsonSchema> Describe for Created<T> {
    fn describe(sketch: &mut Sketch<'_>) {
        sketch.answers::<T>(StatusCode::CREATED);
    }
}

/// It is done, and there is nothing to say: 204.
pub(crate) struct Done;

impl IntoResponse for Done {
    fn into_response(self) -> Response {
        StatusCode::NO_CONTENT.into_response()
    }
}

impl Describe for Done {
    fn describe(sketch: &mut Sketch<'_>) {
        sketch.answers.insert(StatusCode::NO_CONTENT.as_u16(), Vec::new());
    }
}

/// An operation of the contract that isn't there: always 501.
pub(crate) struct Absent(pub(crate) &'static str);

impl IntoResponse for Absent {
    fn into_response(self) -> Response {
        Error::Absent(self.0).into_response()
    }
}

impl Describe for Absent {
    fn describe(sketch: &mut Sketch<'_>) {
        sketch.fails(&[StatusCode::NOT_IMPLEMENTED]);
    }
}

/// An answer that is made by hand and is as `S` says.
pub(crate) struct Shaped<S>(Response, PhantomData<S>);

impl<S> Shaped<S> {
    pub(crate) fn new(answer: impl IntoResponse) -> Self {
        Self(answer.into_response(), PhantomData)
    }
}

impl<S> IntoResponse for Shaped<S> {
    fn into_response(self) -> Response {
        self.0
    }
}

impl<S: Describe> Describe for Shaped<S> {
    fn describe(sketch: &mut Sketch<'_>) {
        S::describe(sketch);
    }
}
