//! `make test`: the whole gate, suite by suite.
//!
//! Every suite runs even when an earlier one failed, so that one run shows everything. What a suite
//! prints is streamed, and kept in `target/gate/<suite>.log` when it fails. A suite that ran no test
//! has failed. The closing line adds all suites up.
//!
//! Test programs are built by one `cargo build` and started from here, not by `cargo test -p`: cargo
//! chooses features for the packages that are named, so each other selection would compile the
//! dependencies anew.

mod examples;
mod programs;
mod tally;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use clap::ValueEnum;

use crate::check;
use crate::console;
use crate::gate::programs::{Program, TestKind};
pub(crate) use crate::gate::tally::Tally;
use crate::process::{self, Ending, say};
use crate::services::{self, Purpose, Service, Variable};
use crate::workspace::{FUZZ, OWN_WORKSPACES, SCRIPT_HOST, Workspace};

/// A part of the gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Suite {
    /// Format, house rules, lints, licences.
    Check,
    /// Every target of every workspace compiles; the programs are put beside each other.
    Build,
    /// The web console: types, lints, unit tests, sizes, and a real browser against a real service.
    Console,
    /// Tests of each package, and the examples in its documentation.
    Unit,
    /// Tests of the script host.
    Script,
    /// Each fuzz target over its corpus, a fixed number of mutations and inputs that are hostile by name.
    Fuzz,
    /// The DAGs of `dags/examples`, run to their end.
    Examples,
    /// What crosses packages: the package `tests`.
    Service,
    /// Pods of a real Kubernetes.
    Kubernetes,
    /// Thousands of tasks while every process and server is killed, paused and cut off.
    Chaos,
    /// Each benchmark once, without measuring.
    Benches,
}

const BUILD_LIMIT: Duration = Duration::from_mins(40);
/// Where `proptest` takes its seed from; other cases than the gate's are tried by setting it.
const RANDOM_SEED: &str = "PROPTEST_RNG_SEED";
const TEST_LIMIT: Duration = Duration::from_mins(20);

/// The test programs that have servers of their own.
const CHAOS: &str = "chaos";
const KUBERNETES: &str = "kubernetes";

/// Kubernetes takes long to be built once, so nobody else waits for it.
const BASE: [Service; 2] = [Service::Postgres, Service::Rabbitmq];
const CLUSTER: [Service; 1] = [Service::Kubernetes];

struct Outcome {
    suite: Suite,
    tally: Tally,
    elapsed: Duration,
    log: PathBuf,
}

/// Runs the named suites, or the gate's; `false` when anything failed.
pub(crate) fn run(workspace: &Workspace, chosen: &[Suite]) -> Result<bool> {
    let suites = order(chosen);
    let logs = workspace.path("target/gate");
    std::fs::create_dir_all(&logs).context("failed to make target/gate")?;
    let outcomes = std::thread::scope(|scope| {
        let needed = |services: &'static [Service]| suites.iter().any(|suite| suite.servers() == services);
        let servers = needed(&BASE).then(|| scope.spawn(|| up(workspace)));
        let cluster = needed(&CLUSTER)
            .then(|| scope.spawn(|| services::up(workspace, Service::Kubernetes, Purpose::Tests)));
        let starting = Vec::from_iter([(&BASE[..], servers), (&CLUSTER[..], cluster)]);
        let mut gate = Gate { workspace, starting, environment: Vec::new(), programs: Vec::new() };
        suites.iter().map(|suite| gate.outcome(*suite, &logs)).collect::<Result<Vec<_>>>()
    });
    let failed = outcomes.as_ref().map_or(true, |all| all.iter().any(|outcome| outcome.tally.failed > 0));
    let used = Service::value_variants()
        .iter()
        .filter(|used| suites.iter().any(|suite| suite.servers().contains(used)));
    for service in used {
        if failed {
            let log = logs.join(format!("{service:?}.log").to_lowercase());
            if let Err(error) = services::keep_log(workspace, *service, Purpose::Tests, &log) {
                say(&format!("note: {error:#}"));
            }
        }
        services::down(workspace, *service, Purpose::Tests)?;
    }
    let outcomes = outcomes?;
    summarize(workspace, &outcomes);
    Ok(!failed)
}

/// Starts every server, and installs the clients that tests drive against ours.
fn up(workspace: &Workspace) -> Result<Vec<Variable>> {
    let mut variables = Vec::new();
    for service in BASE {
        variables.extend(services::up(workspace, service, Purpose::Tests)?);
    }
    variables.extend(services::clients()?);
    Ok(variables)
}

/// The chosen suites in the gate's order, with the build that others need.
fn order(chosen: &[Suite]) -> Vec<Suite> {
    let needs_build = chosen.iter().any(|suite| suite.needs_build());
    Suite::value_variants()
        .iter()
        .copied()
        .filter(|suite| {
            chosen.is_empty() && suite.is_usual()
                || chosen.contains(suite)
                || (*suite == Suite::Build && needs_build)
        })
        .collect()
}

impl Suite {
    fn needs_build(self) -> bool {
        matches!(
            self,
            Self::Console
                | Self::Unit
                | Self::Examples
                | Self::Service
                | Self::Kubernetes
                | Self::Chaos
                | Self::Benches
        )
    }

    /// Whether it is a part of the gate that nobody asked for by name. Kubernetes takes a quarter of an hour to be built.
    fn is_usual(self) -> bool {
        self != Self::Kubernetes
    }

    /// The servers that its tests share.
    fn servers(self) -> &'static [Service] {
        match self {
            Self::Unit | Self::Service | Self::Benches => &BASE,
            Self::Kubernetes => &CLUSTER,
            Self::Check
            | Self::Build
            | Self::Console
            | Self::Script
            | Self::Fuzz
            | Self::Examples
            | Self::Chaos => &[],
        }
    }

    fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }
}

type Starting<'scope> = std::thread::ScopedJoinHandle<'scope, Result<Vec<Variable>>>;

/// What suites hand on to later ones.
struct Gate<'scope, 'a> {
    workspace: &'a Workspace,
    /// Servers that are being started.
    starting: Vec<(&'static [Service], Option<Starting<'scope>>)>,
    environment: Vec<Variable>,
    programs: Vec<Program>,
}

impl Gate<'_, '_> {
    fn outcome(&mut self, suite: Suite, logs: &Path) -> Result<Outcome> {
        say(&format!("\n===== {} =====", suite.name()));
        let log = logs.join(format!("{}.log", suite.name()));
        std::fs::write(&log, "").with_context(|| format!("failed to empty {}", log.display()))?;
        let started = Instant::now();
        let mut tally = Tally::default();
        self.await_servers(suite.servers(), &mut tally)?;
        match suite {
            Suite::Check => tally.add(check::steps(self.workspace, &log)?),
            Suite::Build => self.build(&mut tally, &log)?,
            Suite::Console => console::check(self.workspace, &mut tally, &log)?,
            Suite::Unit => {
                self.run_programs(&mut tally, &log, |program| {
                    program.kind == TestKind::Test && program.package != "tests"
                })?;
                let doc = self.workspace.cargo(&["test", "--workspace", "--doc", "--locked", "--quiet"]);
                self.run_tests("doc tests", doc, &mut tally, &log)?;
            }
            Suite::Script => self.run_workspace(SCRIPT_HOST, &mut tally, &log)?,
            Suite::Fuzz => self.run_workspace(FUZZ, &mut tally, &log)?,
            Suite::Examples => examples::run(self.workspace, &mut tally, &log)?,
            Suite::Service => self.run_programs(&mut tally, &log, |program| {
                program.kind == TestKind::Test
                    && program.package == "tests"
                    && ![CHAOS, KUBERNETES].contains(&program.target.as_str())
            })?,
            Suite::Kubernetes => {
                self.run_programs(&mut tally, &log, |program| {
                    program.package == "tests" && program.target == KUBERNETES
                })?;
            }
            Suite::Chaos => {
                let ran = self.run_programs(&mut tally, &log, |program| {
                    program.package == "tests" && program.target == CHAOS
                });
                // The test stops its servers itself, unless it was stopped.
                for service in Service::value_variants() {
                    services::down(self.workspace, *service, Purpose::Chaos)?;
                }
                ran?;
            }
            Suite::Benches => {
                self.run_programs(&mut tally, &log, |program| program.kind == TestKind::Bench)?;
            }
        }
        if tally.passed + tally.failed == 0 {
            tally.count("the suite ran no test", false);
        }
        if tally.failed == 0 {
            std::fs::remove_file(&log).with_context(|| format!("failed to remove {}", log.display()))?;
        }
        Ok(Outcome { suite, tally, elapsed: started.elapsed(), log })
    }

    /// Waits for servers once. Without them the tests run all the same and say what they miss.
    fn await_servers(&mut self, wanted: &[Service], tally: &mut Tally) -> Result<()> {
        for (_, starting) in self.starting.iter_mut().filter(|(services, _)| *services == wanted) {
            let Some(starting) = starting.take() else { continue };
            match starting.join().map_err(|_| anyhow!("the thread that starts the servers panicked"))? {
                Ok(environment) => self.environment.extend(environment),
                Err(error) => {
                    say(&format!("error: {error:#}"));
                    tally.count("the servers did not start", false);
                }
            }
        }
        Ok(())
    }

    fn build(&mut self, tally: &mut Tally, log: &Path) -> Result<()> {
        console::build_for_gate(self.workspace, tally, log)?;
        let messages = log.with_extension("json");
        let mut build = self.workspace.cargo(&[
            "build",
            "--workspace",
            "--all-targets",
            "--locked",
            "--message-format=json-render-diagnostics",
        ]);
        let ending = process::stream(&mut build, log, Some(&messages), BUILD_LIMIT)?;
        tally.count("build of the workspace", ending == Ending::Success);
        let text = std::fs::read_to_string(&messages)
            .with_context(|| format!("failed to read {}", messages.display()))?;
        self.programs = programs::parse(&text, &self.workspace.root)?;
        for manifest in OWN_WORKSPACES {
            let mut build =
                self.workspace.cargo(&["build", "--manifest-path", manifest, "--workspace", "--locked"]);
            let ending = process::stream(&mut build, log, None, BUILD_LIMIT)?;
            tally.count(&format!("build of {manifest}"), ending == Ending::Success);
        }
        Ok(())
    }

    /// All tests of a workspace beside the root's.
    fn run_workspace(&self, manifest: &str, tally: &mut Tally, log: &Path) -> Result<()> {
        let test = self.workspace.cargo(&[
            "test",
            "--manifest-path",
            manifest,
            "--workspace",
            "--locked",
            "--no-fail-fast",
        ]);
        self.run_tests(manifest, test, tally, log)
    }

    fn run_programs(&self, tally: &mut Tally, log: &Path, wanted: impl Fn(&Program) -> bool) -> Result<()> {
        for program in self.programs.iter().filter(|program| wanted(program)) {
            let mut command = Command::new(&program.executable);
            command.current_dir(&program.folder).env("CARGO_MANIFEST_DIR", &program.folder);
            match program.kind {
                TestKind::Test => self.run_tests(&program.label(), command, tally, log)?,
                TestKind::Bench => {
                    command.arg("--test");
                    say(&format!("==> {}", program.label()));
                    let ending = process::stream(self.prepare(&mut command), log, None, TEST_LIMIT)?;
                    tally.count(&program.label(), ending == Ending::Success);
                }
            }
        }
        Ok(())
    }

    fn run_tests(&self, label: &str, mut command: Command, tally: &mut Tally, log: &Path) -> Result<()> {
        say(&format!("==> {label}"));
        let before = std::fs::metadata(log).map_or(0, |metadata| metadata.len());
        let ending = process::stream(self.prepare(&mut command), log, None, TEST_LIMIT)?;
        let bytes = std::fs::read(log).with_context(|| format!("failed to read {}", log.display()))?;
        let printed = String::from_utf8_lossy(&bytes[usize::try_from(before)?..]).into_owned();
        tally.add(tally::of_cargo_test(label, &printed, ending == Ending::Success));
        Ok(())
    }

    /// Snapshots are compared, never written; random cases are the same each time, so that a change is judged by what it
    /// changes; a panic shows where it came from.
    fn prepare<'c>(&self, command: &'c mut Command) -> &'c mut Command {
        if std::env::var_os(RANDOM_SEED).is_none() {
            command.env(RANDOM_SEED, "1");
        }
        command
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .env("INSTA_UPDATE", "no")
            .env("RUST_BACKTRACE", "1")
    }
}

fn summarize(workspace: &Workspace, outcomes: &[Outcome]) {
    let mut total = Tally::default();
    say(&format!("\n{:<10} {:>8} {:>8} {:>9}", "suite", "passed", "failed", "seconds"));
    for outcome in outcomes {
        say(&format!(
            "{:<10} {:>8} {:>8} {:>9.1}",
            outcome.suite.name(),
            outcome.tally.passed,
            outcome.tally.failed,
            outcome.elapsed.as_secs_f64()
        ));
        total.add(outcome.tally.clone());
    }
    for outcome in outcomes.iter().filter(|outcome| outcome.tally.failed > 0) {
        let log = outcome.log.strip_prefix(&workspace.root).unwrap_or(&outcome.log);
        say(&format!("\n{} failed; what it printed is in {}", outcome.suite.name(), log.display()));
        for failure in &outcome.tally.failures {
            say(&format!("  {failure}"));
        }
    }
    say(&format!("\n{} passed, {} failed", total.passed, total.failed));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_usual_suites_run_in_order_when_none_is_chosen() {
        let usual: Vec<Suite> =
            Suite::value_variants().iter().copied().filter(|suite| suite.is_usual()).collect();
        assert_eq!(order(&[]), usual);
        assert_eq!(order(&[Suite::Kubernetes]), [Suite::Build, Suite::Kubernetes]);
        assert_eq!(order(&[Suite::Chaos]), [Suite::Build, Suite::Chaos]);
    }

    #[test]
    fn a_chosen_suite_brings_the_build_that_it_needs() {
        assert_eq!(order(&[Suite::Service]), [Suite::Build, Suite::Service]);
        assert_eq!(order(&[Suite::Script, Suite::Check]), [Suite::Check, Suite::Script]);
    }
}
