//! `updraft dev`: what the loop of edit, save and see needs besides a service around it.
//!
//! [`reuse`] decides what of the last run is still good, [`screen`] draws the state of a session, [`terminal`] is where it is
//! drawn, [`lines`] says the same where there is none, [`processes`] leaves nothing behind. The service itself, with its database, is the program's.

pub mod lines;
pub mod processes;
pub mod reuse;
pub mod run;
pub mod screen;
pub mod terminal;

use dags::model::Dag;

/// What is different for an author: nothing runs that they didn't ask for.
pub fn adapt(dag: &mut Dag) {
    dag.only_by_hand();
}
