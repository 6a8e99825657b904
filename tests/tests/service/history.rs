//! What is stored about a run, checked against the rules.

use engine::rows::RunRow;

use crate::site::{SCOPE, Site};

/// Every step of every task instance is one that the engine's rules allow, and the last one is the stored state.
pub(crate) async fn is_legal(site: &Site, run: &RunRow) {
    tests::history::is_legal(&site.db, SCOPE, run).await.unwrap();
}

/// Nothing of a run is under way any more.
pub(crate) async fn is_settled(site: &Site, run: &RunRow) {
    tests::history::is_settled(&site.db, SCOPE, run).await.unwrap();
}
