//! Routes that can be listed: each is declared with its method, so that a test can ask every one of them.

use axum::{
    Router,
    handler::Handler,
    http::Method,
    routing::{MethodRouter, delete, get, patch, post, put},
};

use crate::{
    describe::{Described, Sketch},
    state::Api,
};

/// A method and a path, as they are declared.
#[derive(Debug, Clone)]
pub struct Declared {
    /// The method.
    pub method: Method,
    /// The path, with its parameters in braces.
    pub path: String,
    /// The one path that a document shows of it, where one of the parameters is good for a single word.
    word: Option<String>,
    /// Says what the handler takes and answers.
    pub(crate) describe: fn(&mut Sketch<'_>),
}

impl Declared {
    /// The path as a document shows it.
    pub(crate) fn shown(&self) -> &str {
        self.word.as_deref().unwrap_or(&self.path)
    }
}

/// Routes under construction.
#[derive(Default)]
pub(crate) struct Routes {
    router: Router<Api>,
    declared: Vec<Declared>,
}

impl Routes {
    fn on<T, H: Described<T>>(mut self, method: Method, path: &str, handler: MethodRouter<Api>) -> Self {
        self.declared.push(Declared { method, path: path.to_owned(), word: None, describe: H::describe });
        Self { router: self.router.route(path, handler), declared: self.declared }
    }

    /// Says that the last part of the path declared just now is good for that word only.
    pub(crate) fn only_as(mut self, word: &str) -> Self {
        if let Some(last) = self.declared.last_mut() {
            let before = last.path.rsplit_once('/').map_or("", |(before, _)| before);
            last.word = Some(format!("{before}/{word}"));
        }
        self
    }

    pub(crate) fn get<T: 'static, H: Handler<T, Api> + Described<T>>(self, path: &str, handler: H) -> Self {
        self.on::<T, H>(Method::GET, path, get(handler))
    }

    pub(crate) fn post<T: 'static, H: Handler<T, Api> + Described<T>>(self, path: &str, handler: H) -> Self {
        self.on::<T, H>(Method::POST, path, post(handler))
    }

    pub(crate) fn put<T: 'static, H: Handler<T, Api> + Described<T>>(self, path: &str, handler: H) -> Self {
        self.on::<T, H>(Method::PUT, path, put(handler))
    }

    pub(crate) fn patch<T: 'static, H: Handler<T, Api> + Described<T>>(self, path: &str, handler: H) -> Self {
        self.on::<T, H>(Method::PATCH, path, patch(handler))
    }

    pub(crate) fn delete<T: 'static, H: Handler<T, Api> + Described<T>>(
        self,
        path: &str,
        handler: H,
    ) -> Self {
        self.on::<T, H>(Method::DELETE, path, delete(handler))
    }

    /// All of it under a prefix, with what was there before.
    pub(crate) fn nest(
        mut self,
        prefix: &str,
        inner: Self,
        finish: impl FnOnce(Router<Api>) -> Router<Api>,
    ) -> Self {
        self.declared.extend(inner.declared.into_iter().map(|declared| Declared {
            path: format!("{prefix}{}", declared.path),
            word: declared.word.as_ref().map(|word| format!("{prefix}{word}")),
            ..declared
        }));
        Self { router: self.router.nest(prefix, finish(inner.router)), declared: self.declared }
    }

    pub(crate) fn into_router(self) -> Router<Api> {
        self.router
    }

    pub(crate) fn into_declared(self) -> Vec<Declared> {
        self.declared
    }
}
