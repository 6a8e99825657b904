//! The parts of the sandbox that only Linux has.

use std::collections::BTreeMap;

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, CompatLevel, Compatible as _, Ruleset, RulesetAttr as _,
    RulesetStatus,
};
use seccompiler::{
    SeccompAction, SeccompCmpArgLen as Len, SeccompCmpOp as Op, SeccompCondition as Condition, SeccompFilter,
    SeccompRule,
};

use super::{InForce, Landlock};

/// Puts Landlock and seccomp in force, in that order, since the filter ends who calls Landlock.
pub(super) fn enter(limits: Vec<String>) -> InForce {
    let mut missing = Vec::new();
    let landlock = landlock().unwrap_or_else(|error| {
        missing.push(format!("landlock: {error}"));
        Landlock::None
    });
    if landlock == Landlock::None && missing.is_empty() {
        missing.push("landlock: the kernel doesn't have it".to_owned());
    }
    let seccomp = match seccomp() {
        Ok(()) => true,
        Err(error) => {
            missing.push(format!("seccomp: {error}"));
            false
        }
    };
    InForce { seccomp, landlock, limits, missing }
}

/// No file, no port: nothing is allowed, since modules come over the pipe.
fn landlock() -> Result<Landlock, landlock::RulesetError> {
    let abi = ABI::V5;
    let status = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(abi))?
        .handle_access(AccessNet::from_all(abi))?
        .create()?
        .restrict_self()?;
    Ok(match status.ruleset {
        RulesetStatus::FullyEnforced => Landlock::Full,
        RulesetStatus::PartiallyEnforced => Landlock::Partial,
        RulesetStatus::NotEnforced => Landlock::None,
    })
}

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("no filter for this processor")]
    Processor,
    #[error(transparent)]
    Filter(#[from] seccompiler::BackendError),
    #[error(transparent)]
    Apply(#[from] seccompiler::Error),
}

fn rule(conditions: Vec<Condition>) -> Result<SeccompRule, Error> {
    Ok(SeccompRule::new(conditions)?)
}

fn seccomp() -> Result<(), Error> {
    let program: seccompiler::BpfProgram = SeccompFilter::new(
        rules()?,
        SeccompAction::KillProcess,
        SeccompAction::Allow,
        std::env::consts::ARCH.try_into().map_err(|_| Error::Processor)?,
    )?
    .try_into()?;
    seccompiler::apply_filter(&program)?;
    Ok(())
}

/// What computing and two pipes need. Everything else ends the process.
fn rules() -> Result<BTreeMap<i64, Vec<SeccompRule>>, Error> {
    let arg = |index, op, value| Condition::new(index, Len::Dword, op, value);
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = [
        // The allocator.
        libc::SYS_brk,
        libc::SYS_munmap,
        libc::SYS_mremap,
        libc::SYS_madvise,
        // Locks, clocks, seeds of hash maps.
        libc::SYS_futex,
        libc::SYS_clock_gettime,
        libc::SYS_getrandom,
        libc::SYS_sched_yield,
        // The pipe may be one that waits.
        libc::SYS_restart_syscall,
        // Ending, in order or by abort.
        libc::SYS_exit,
        libc::SYS_exit_group,
        libc::SYS_rt_sigaction,
        libc::SYS_rt_sigprocmask,
        libc::SYS_rt_sigreturn,
        libc::SYS_sigaltstack,
        libc::SYS_getpid,
        libc::SYS_gettid,
    ]
    .into_iter()
    .map(|call| (call, Vec::new()))
    .collect();
    // Standard input to read, standard output and error to write.
    rules.insert(libc::SYS_read, vec![rule(vec![arg(0, Op::Eq, 0)?])?]);
    let writable =
        || -> Result<_, Error> { Ok(vec![rule(vec![arg(0, Op::Eq, 1)?])?, rule(vec![arg(0, Op::Eq, 2)?])?]) };
    rules.insert(libc::SYS_write, writable()?);
    rules.insert(libc::SYS_writev, writable()?);
    // Memory that can't be executed.
    let no_code = || -> Result<_, Error> {
        Ok(vec![rule(vec![arg(2, Op::MaskedEq(u64::from(libc::PROT_EXEC.cast_unsigned())), 0)?])?])
    };
    rules.insert(libc::SYS_mmap, no_code()?);
    rules.insert(libc::SYS_mprotect, no_code()?);
    // Abort signals its own process.
    let own = u64::from(std::process::id());
    rules.insert(libc::SYS_tgkill, vec![rule(vec![arg(0, Op::Eq, own)?])?]);
    // The time of the next request: its own processor limit and nothing else.
    let cpu = u64::from(libc::RLIMIT_CPU);
    rules.insert(libc::SYS_prlimit64, vec![rule(vec![arg(0, Op::Eq, 0)?, arg(1, Op::Eq, cpu)?])?]);
    Ok(rules)
}
