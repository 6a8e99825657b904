//! Lists: which page, in which order.

use dags::time::Timestamp;
use migrations::store::{Page, Window};

use crate::{
    error::Error,
    extract::{Parameter, Parameters, Params},
};

/// Rows of a page if nobody says otherwise.
const LIMIT: u64 = 50;
/// The most rows of a page; more are cut without a word, as in Airflow.
pub(crate) const LIMIT_MAX: u64 = 100;

/// How many rows of a list are wanted.
pub(crate) const PAGE_LIMIT: Parameter =
    Parameter::one::<u64>("limit", "Rows of a page: 50 if absent, 100 at most; more is cut.");
/// How many rows of a list are left out.
pub(crate) const PAGE_OFFSET: Parameter =
    Parameter::one::<u64>("offset", "Rows before the first of the page.");
/// The order of a list.
pub(crate) const ORDER_BY: Parameter = Parameter::many::<String>(
    "order_by",
    "The field to order by, with `-` before it for descending. Fields after the first only break ties.",
);

/// What a list without filters may be asked.
pub(crate) struct Paged;

impl Parameters for Paged {
    const ALL: &'static [Parameter] = &[PAGE_LIMIT, PAGE_OFFSET, ORDER_BY];
}

/// What a change may be asked.
pub(crate) struct Masked;

impl Parameters for Masked {
    const ALL: &'static [Parameter] = &[Parameter::many::<String>(
        "update_mask",
        "Fields that are changed, separated by commas; all of the body if absent.",
    )];
}

impl Params {
    /// The page that `limit` and `offset` name.
    pub(crate) fn window(&self) -> Result<Window, Error> {
        let limit = self.read("limit")?.unwrap_or(LIMIT).min(LIMIT_MAX);
        // The database counts with a sign.
        let offset = self.read("offset")?.unwrap_or(0).min(i64::MAX as u64);
        Ok(Window { limit, offset })
    }

    /// Which of the orders that there are `order_by` asks for. Fields after the first only break ties, and there are none.
    pub(crate) fn order<'a>(&self, orders: &[&'a str]) -> Result<Option<&'a str>, Error> {
        let Some(wanted) = self.all("order_by").next() else { return Ok(None) };
        let found = orders.iter().copied().find(|order| *order == wanted);
        found.map(Some).ok_or_else(|| {
            let message = format!("can't be ordered by `{wanted}`; there are: {}", orders.join(", "));
            Error::BadRequest(message)
        })
    }

    /// The first instant of a range that `NAME_gte` or `NAME_gt` begins.
    pub(crate) fn from(&self, name: &str) -> Result<Option<Timestamp>, Error> {
        Ok(begin(self.instant(&format!("{name}_gte"))?, self.instant(&format!("{name}_gt"))?))
    }

    /// The last instant of a range that `NAME_lte` or `NAME_lt` ends.
    pub(crate) fn to(&self, name: &str) -> Result<Option<Timestamp>, Error> {
        Ok(end(self.instant(&format!("{name}_lte"))?, self.instant(&format!("{name}_lt"))?))
    }

    /// A text that a name contains. Airflow's patterns have `%` for anything; here it may stand at the ends only.
    pub(crate) fn pattern(&self, name: &str) -> Result<Option<String>, Error> {
        let Some(text) = self.text(name).filter(|text| *text != "~") else { return Ok(None) };
        let inner = text.trim_matches('%');
        if inner.contains(['%', '|']) {
            return Err(Error::value("query", name, "may have `%` at its ends only, and no `|`", text));
        }
        Ok(Some(inner.to_owned()))
    }

    /// The fields that `update_mask` names; all of them if it isn't there.
    pub(crate) fn mask<'a>(&self, fields: &[&'a str]) -> Result<Vec<&'a str>, Error> {
        let mut named = self.all("update_mask").flat_map(|list| list.split(',')).peekable();
        if named.peek().is_none() {
            return Ok(fields.to_vec());
        }
        named
            .map(|name| {
                fields.iter().copied().find(|field| *field == name.trim()).ok_or_else(|| {
                    let message =
                        format!("`update_mask` may name {}; `{name}` can't be changed", fields.join(", "));
                    Error::BadRequest(message)
                })
            })
            .collect()
    }
}

/// The first instant of a range with such bounds. Instants are whole microseconds.
pub(crate) fn begin(at_least: Option<Timestamp>, more_than: Option<Timestamp>) -> Option<Timestamp> {
    at_least.max(more_than.map(|at| Timestamp(at.0.saturating_add(1))))
}

/// The last instant of a range with such bounds.
pub(crate) fn end(at_most: Option<Timestamp>, less_than: Option<Timestamp>) -> Option<Timestamp> {
    let before = less_than.map(|at| Timestamp(at.0.saturating_sub(1)));
    at_most.into_iter().chain(before).min()
}

/// A page of what is in memory.
pub(crate) fn page<T>(mut rows: Vec<T>, window: Window, reversed: bool) -> Page<T> {
    let total = rows.len() as u64;
    if reversed {
        rows.reverse();
    }
    let rows = rows.into_iter().skip(window.offset as usize).take(window.limit as usize).collect();
    Page { rows, total }
}
