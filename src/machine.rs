//! What this machine and user offer: limits of tasks, and what scripts are confined by.

use dags::ids::TenantId;
use plugins::script::{Landlock, Language, Options, Policy, ScriptPool};

/// Lines for people, and whether scripts can run at all.
pub(crate) fn describe() -> (String, bool) {
    let limits = executor::limits::detect().to_string();
    let mut lines = vec!["Limits of tasks:".to_owned()];
    lines.extend(limits.split("; ").map(|limit| format!("  {limit}")));
    lines.push("Confinement of scripts:".to_owned());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let sandbox = runtime.map_err(|error| error.to_string()).and_then(|runtime| runtime.block_on(sandbox()));
    let sound = sandbox.is_ok();
    match sandbox {
        Ok(sandbox) => lines.extend(sandbox.iter().map(|line| format!("  {line}"))),
        Err(why) => lines.push(format!("  off: {why}")),
    }
    (lines.join("\n") + "\n", sound)
}

/// What the kernel confines scripts by.
async fn sandbox() -> Result<Vec<String>, String> {
    let program = plugins::script::locate(None).map_err(|error| error.to_string())?;
    let mut lines = vec![format!("program {}", program.display())];
    let options = Options { policy: Policy::Development, ..Options::new(program) };
    let pool = ScriptPool::new(options, Language::of(&plugins::catalog()));
    let in_force = pool.probe(TenantId::DEFAULT).await.map_err(|error| error.to_string())?;
    let on = |on: bool| if on { "on" } else { "off" };
    lines.push(format!("system calls filtered (seccomp): {}", on(in_force.seccomp)));
    let landlock = match in_force.landlock {
        Landlock::Full => "on",
        Landlock::Partial => "in part, by an older kernel",
        Landlock::None => "off",
    };
    lines.push(format!("files and ports closed (Landlock): {landlock}"));
    lines.push(format!("limits of the process: {}", in_force.limits.join(", ")));
    lines.extend(in_force.missing.iter().map(|why| format!("missing: {why}")));
    let policies: Vec<&str> = [
        (Policy::Required, in_force.seccomp && in_force.landlock != Landlock::None),
        (Policy::BestEffort, in_force.seccomp),
        (Policy::Development, true),
    ]
    .into_iter()
    .filter_map(|(policy, met)| met.then_some(policy.as_str()))
    .collect();
    lines.push(format!("enough for the policies {}", policies.join(", ")));
    Ok(lines)
}
