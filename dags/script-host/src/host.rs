//! Answering requests.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use rhai::Engine;
use updraft_template::Templates;

use crate::{
    compile::compile,
    dag_api::{self, Shared},
    engine::{self, Meter},
    fault::Fault,
    language::Language,
    modules::Resolver,
    protocol::{Body, Field, Hello, Limits, Rendered, Reply},
    run::run,
};

/// Gives the text of a module by its plain name.
pub type Fetch = Box<dyn FnMut(&str) -> Result<String, Fault> + Send>;

/// One script host: engines made once, nothing kept from one request to the next.
pub struct Host {
    limits: Limits,
    language: Language,
    meter: Meter,
    shared: Shared,
    resolver: Resolver,
    dags: Engine,
    tasks: Engine,
    templates: Templates,
}

impl std::fmt::Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Host").field("limits", &self.limits).finish_non_exhaustive()
    }
}

impl Host {
    /// Builds the engines for the language that the handshake describes.
    pub fn new(hello: &Hello, fetch: Fetch) -> Self {
        let meter = Meter::default();
        let shared = Shared::default();
        let resolver = Resolver {
            fetch: Arc::new(Mutex::new(fetch)),
            imports: Arc::default(),
            modules_max: hello.limits.modules,
        };
        let mut dags = engine::build(&hello.limits, &meter, Some(resolver.clone()));
        dag_api::register(&mut dags, &hello.language, &shared);
        let tasks = engine::build(&hello.limits, &meter, None);
        Self {
            limits: hello.limits.clone(),
            language: Language::new(&hello.language),
            meter,
            shared,
            resolver,
            dags,
            tasks,
            templates: Templates::new(),
        }
    }

    /// Answers one request.
    pub fn answer(&self, body: Body) -> Reply {
        self.meter.start(Duration::from_millis(self.limits.time_ms));
        let reply = match body {
            Body::Compile { path, text } => {
                let trees = compile(&self.dags, &self.language, &self.shared, &path, &text);
                self.resolver.reset();
                trees.map(|trees| Reply::Trees { trees, printed: self.meter.take_printed() })
            }
            Body::Run { path, text, context } => run(&self.tasks, &path, &text, &context)
                .map(|value| Reply::Value { value, printed: self.meter.take_printed() }),
            Body::Eval { expression, context } => self
                .templates
                .eval(&expression, &context)
                .map(|value| Reply::Value { value, printed: Vec::new() })
                .map_err(Fault::from),
            Body::Render { fields, context } => {
                let render =
                    |field: &Field| match self.templates.render_all(&field.source, &context, field.code) {
                        Ok(value) => Rendered::Value(value),
                        Err(error) => Rendered::Fault(error.into()),
                    };
                Ok(Reply::Values(fields.iter().map(render).collect()))
            }
            Body::Module { .. } => Err(Fault::new("no module was asked for")),
        };
        reply.unwrap_or_else(Reply::Fault)
    }
}
