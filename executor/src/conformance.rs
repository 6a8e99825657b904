//! What every executor must do, as a suite that each implementation runs against itself with real processes.
//!
//! An implementation provides a [`Harness`]; [`cases`] gives the suite. A case panics if it fails.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::missing_panics_doc,
    reason = "this module is test code that other crates' tests use"
)]

use std::{path::Path, pin::Pin};

use engine::dispatch::Report;
use tokio::sync::mpsc;

use crate::{Executor, Work};

pub use bench::{Bench, work};

mod bench;
mod ending;
mod logs;
mod results;
mod robust;
mod running;

/// An executor under test, with the means to hurt it.
pub trait Harness: Send + Sync + Sized + 'static {
    /// The executor.
    type Executor: Executor + Clone + 'static;

    /// A handle of it.
    fn executor(&self) -> Self::Executor;

    /// Where its reports arrive. They may arrive more than once.
    fn reports(&mut self) -> &mut mpsc::Receiver<Report>;

    /// An empty folder that attempts can read and write; bundles and rendezvous files of the case go there.
    fn folder(&self) -> &Path;

    /// Work that runs a command in that folder, as a new dispatch each time.
    fn work(&self, command: &str) -> Work {
        work(self.folder().to_owned(), command)
    }

    /// The files that the work needs aren't to be had.
    fn without_its_files(&self, work: &mut Work) {
        work.context.bundle_dir = self.folder().join("no-such-folder");
    }

    /// How many attempts are many.
    fn many(&self) -> usize {
        300
    }

    /// Whether the report of a start names the process.
    fn tells_processes(&self) -> bool {
        true
    }

    /// Whether the log of what is confirmed is gone; else somebody else keeps it.
    fn forgets_logs(&self) -> bool {
        true
    }

    /// The most that one attempt's log may have, in bytes.
    fn log_bytes_max(&self) -> u64;

    /// Restarts the scheduler's side, as after a restart of the service: a new handle, a new channel of reports.
    fn restart_client(&mut self) -> impl Future<Output = ()> + Send;

    /// The scheduler's side is gone without a word and never comes back; another one takes its place while the attempts go on.
    fn lose_client(&mut self) -> impl Future<Output = ()> + Send {
        self.restart_client()
    }

    /// Ends whatever runs the attempts, as by `kill -9`. The handle stays.
    fn kill_runtime(&mut self) -> impl Future<Output = ()> + Send;
}

/// The future of a case.
pub type Run = Pin<Box<dyn Future<Output = ()>>>;

/// One case of the suite.
#[derive(Debug, Clone, Copy)]
pub struct Case<H> {
    /// What must hold.
    pub name: &'static str,
    /// Proves it.
    pub run: fn(H) -> Run,
}

macro_rules! cases {
    ($($module:ident :: $name:ident),+ $(,)?) => {
        /// All cases.
        pub fn cases<H: Harness>() -> Vec<Case<H>> {
            vec![$(Case { name: stringify!($name), run: |harness| Box::pin($module::$name(Bench::new(harness))) }),+]
        }
    };
}

cases!(
    running::an_attempt_starts_and_succeeds,
    running::a_dispatch_that_is_submitted_twice_starts_once,
    running::a_program_finds_its_folder_and_a_clean_environment,
    running::operators_without_a_program_run_in_the_attempt,
    running::members_of_a_gang_are_apart,
    running::what_is_held_is_listed_until_it_is_confirmed,
    running::hundreds_of_short_attempts_all_end,
    running::the_capacity_is_that_of_a_machine,
    ending::exit_codes_and_signals_have_their_cause,
    ending::what_cannot_start_says_why,
    ending::a_timeout_ends_the_whole_tree,
    ending::a_kill_before_the_start_prevents_it,
    ending::a_kill_lets_the_task_clean_up,
    ending::a_kill_gives_grace_to_children_of_a_shell_that_dies_at_once,
    ending::a_task_that_ignores_term_is_killed,
    ending::a_kill_after_the_end_changes_nothing,
    ending::processes_left_behind_are_killed,
    ending::a_memory_limit_is_kept,
    logs::a_log_is_read_while_it_grows_and_after,
    logs::a_long_line_comes_in_parts,
    logs::a_huge_log_is_cut_with_a_word,
    logs::binary_output_is_no_problem,
    logs::a_line_without_an_end_is_shown,
    logs::secrets_are_masked,
    results::a_result_is_reported,
    results::a_bad_result_fails_the_attempt,
    results::a_long_result_is_stored,
    robust::a_restarted_client_misses_nothing,
    robust::a_client_may_be_restarted_at_each_step,
    robust::a_client_that_is_lost_for_good_is_replaced,
    robust::attempts_die_with_their_runtime_and_are_lost,
    robust::nothing_starts_twice_whatever_dies,
    robust::what_had_ended_survives_its_runtime,
    robust::kills_are_remembered_without_the_runtime,
);
