//! Telling from how a child ended which limit it met.

use std::{os::unix::process::ExitStatusExt as _, process::ExitStatus};

use super::error::{Error, Fault};

const SIGABRT: i32 = 6;
const SIGKILL: i32 = 9;
const SIGSEGV: i32 = 11;
const SIGXCPU: i32 = 24;
const SIGSYS: i32 = 31;

/// The reason for a child's end, from its status and the end of its standard error.
pub(super) fn explain(status: ExitStatus, words: &str) -> Error {
    if words.contains("recursion limit exceeded") {
        return Fault::limit("depth", "a value that the script is given is nested too deep").into();
    }
    let memory = words.contains("memory allocation") || words.contains("capacity overflow");
    let fault = match status.signal() {
        _ if memory => Fault::limit("memory", "the script needs more memory than it may use"),
        Some(SIGXCPU) => Fault::limit("cpu", "the script needs more processor time than it may use"),
        Some(SIGABRT | SIGSEGV) if words.contains("overflowed its stack") => {
            Fault::limit("stack", "the script nests too deep")
        }
        Some(SIGSYS) => {
            tracing::error!("a script made a system call that its sandbox forbids");
            Fault::limit("sandbox", "the script tried what its sandbox forbids")
        }
        Some(SIGKILL) => return Error::Died("it was killed from outside".to_owned()),
        _ => {
            let words = words.lines().last().unwrap_or("it said nothing").trim();
            return Error::Died(format!("{status}: {words}"));
        }
    };
    fault.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_name_the_limit() {
        let limit = |signal, words| match explain(ExitStatus::from_raw(signal), words) {
            Error::Fault(fault) => fault.limit.unwrap_or_default(),
            other => other.to_string(),
        };
        assert_eq!(limit(SIGABRT, "memory allocation of 9 bytes failed"), "memory");
        assert_eq!(limit(SIGXCPU, ""), "cpu");
        assert_eq!(limit(SIGABRT, "thread 'main' has overflowed its stack"), "stack");
        assert_eq!(limit(SIGSYS, ""), "sandbox");
        let deep =
            "updraft-script: a message isn't what the protocol says: recursion limit exceeded at line 1";
        assert_eq!(limit(2 << 8, deep), "depth");
        assert!(limit(SIGKILL, "").contains("killed from outside"));
        assert!(limit(2 << 8, "updraft-script: a reason").contains("a reason"));
    }
}
