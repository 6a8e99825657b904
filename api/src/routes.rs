//! Routes that can be listed: each is declared with its method, so that a test can ask every one of them.

use axum::{
    Router,
    handler::Handler,
    http::Method,
    routing::{MethodRouter, delete, get, patch, post, put},
};

use crate::state::Api;

/// A method and a path, as they are declared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Declared {
    /// The method.
    pub method: Method,
    /// The path, with its parameters in braces.
    pub path: String,
}

/// Routes under construction.
#[derive(Default)]
pub(crate) struct Routes {
    router: Router<Api>,
    declared: Vec<Declared>,
}

impl Routes {
    fn on(mut self, method: Method, path: &str, handler: MethodRouter<Api>) -> Self {
        self.declared.push(Declared { method, path: path.to_owned() });
        Self { router: self.router.route(path, handler), declared: self.declared }
    }

    pub(crate) fn get<T: 'static>(self, path: &str, handler: impl Handler<T, Api>) -> Self {
        self.on(Method::GET, path, get(handler))
    }

    pub(crate) fn post<T: 'static>(self, path: &str, handler: impl Handler<T, Api>) -> Self {
        self.on(Method::POST, path, post(handler))
    }

    pub(crate) fn put<T: 'static>(self, path: &str, handler: impl Handler<T, Api>) -> Self {
        self.on(Method::PUT, path, put(handler))
    }

    pub(crate) fn patch<T: 'static>(self, path: &str, handler: impl Handler<T, Api>) -> Self {
        self.on(Method::PATCH, path, patch(handler))
    }

    pub(crate) fn delete<T: 'static>(self, path: &str, handler: impl Handler<T, Api>) -> Self {
        self.on(Method::DELETE, path, delete(handler))
    }

    /// All of it under a prefix, with what was there before.
    pub(crate) fn nest(
        mut self,
        prefix: &str,
        inner: Self,
        finish: impl FnOnce(Router<Api>) -> Router<Api>,
    ) -> Self {
        self.declared.extend(
            inner
                .declared
                .into_iter()
                .map(|declared| Declared { path: format!("{prefix}{}", declared.path), ..declared }),
        );
        Self { router: self.router.nest(prefix, finish(inner.router)), declared: self.declared }
    }

    pub(crate) fn into_router(self) -> Router<Api> {
        self.router
    }

    pub(crate) fn into_declared(self) -> Vec<Declared> {
        self.declared
    }
}
