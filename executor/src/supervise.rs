//! The supervisor: one small process, `updraft supervise`, whose children are all attempts of the local executor.
//!
//! It outlives the service. It holds the children's pipes, stamps and masks their lines, enforces timeouts and limits,
//! waits for them, and writes `exit.json` before it tells anyone; the service connects to its Unix socket and asks
//! ([`crate::wire`] describes the protocol). If the supervisor itself dies, so do its attempts, and the next supervisor
//! reports them as lost.
//!
//! It writes `ready` to its standard output when clients may connect.
//!
//! It needs Linux: pidfds, `/proc`, parent-death signals. Under systemd the service's unit needs `KillMode=process`, or a
//! stop of the service ends its attempts too.
//!
//! One thread does everything, woken by one epoll; a second one only deletes folders that are already out of the way.
//! Children must be spawned by a thread that lives as long as the process: their death is bound to that thread.

use std::{
    fs, io,
    os::unix::net::UnixListener,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use rustix::process::{DumpableBehavior, Resource, Rlimit};

use crate::{
    attempt::IDENTITY,
    clock,
    folder::make_private,
    limits,
    supervise::{
        poll::{Poll, Source},
        state::Supervisor,
    },
};

mod clients;
mod ending;
mod finish;
mod orphans;
mod output;
mod poll;
mod recover;
mod start;
mod state;
mod sweep;

/// The socket's name inside of the supervisor's folder.
pub(crate) const SOCKET: &str = "supervisor.sock";

/// The file name of the small program that attempts begin as; it lies beside `updraft`.
const ATTEMPT_PROGRAM: &str = "updraft-attempt";

/// The path of a Unix socket can't be longer.
const SOCKET_PATH_BYTES_MAX: usize = 107;

/// The settings of a supervisor.
#[derive(Debug, Clone)]
pub struct Options {
    /// Its folder, made with mode 0700 if it isn't there. One supervisor at a time holds it.
    pub dir: PathBuf,
    /// Where results go that are too long for a report: a folder of files named by their SHA-256.
    pub objects: PathBuf,
    /// The longest log of an attempt, in bytes.
    pub log_bytes_max: u64,
    /// How many attempts may run at once. More are refused as not started: this bounds processes, it schedules nothing.
    pub attempts_max: usize,
    /// Whether attempts of several tenants may run as this one user, who can read all their files and memory. If not,
    /// attempts of a second tenant aren't started until this supervisor ends.
    pub tenants_share_user: bool,
    /// Whether limits may be enforced by cgroups; else by looking at the processes.
    pub cgroups: bool,
    /// Whether what has ended must be known after a crash of the machine; not if nobody asks a later supervisor for it.
    pub durable: bool,
    /// The program that attempts begin as whose operator is a program; if it isn't there or is of another release, this
    /// program itself.
    pub attempt: Option<PathBuf>,
}

impl Options {
    /// The defaults for a supervisor in this folder.
    pub fn new(dir: PathBuf) -> Self {
        let objects = dir.join("objects");
        Self {
            dir,
            objects,
            log_bytes_max: 256 * 1024 * 1024,
            attempts_max: 4096,
            tenants_share_user: false,
            cgroups: true,
            durable: true,
            attempt: std::env::current_exe().ok().map(|own| own.with_file_name(ATTEMPT_PROGRAM)),
        }
    }
}

/// Why a supervisor can't start or go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another supervisor holds the folder.
    #[error("another supervisor is running in {0}")]
    AlreadyRunning(PathBuf),
    /// The socket's path would be too long.
    #[error("the path {0} is too long for a Unix socket; choose a folder whose path has at most 80 bytes")]
    PathTooLong(PathBuf),
    /// The machine refused something that the supervisor can't do without.
    #[error("failed to {what}")]
    Machine {
        /// What we were doing.
        what: &'static str,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

pub(crate) fn machine<E: Into<io::Error>>(what: &'static str) -> impl FnOnce(E) -> Error {
    move |source| Error::Machine { what, source: source.into() }
}

/// Runs the supervisor until a client retires it. Call it from the process's main thread.
pub fn run(options: Options) -> Result<(), Error> {
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let options = prepare_folders(options)?;
    let _lock = lock(&options.dir)?;
    let open_files = become_supervisor()?;
    let recovered = recover::recover(&options.dir.join("attempts"))?;
    let mut poll = Poll::new().map_err(machine("make an epoll"))?;
    let listener = listen(&options.dir)?;
    poll.add(&listener, Source::Listener, poll::READABLE).map_err(machine("wait for connections"))?;
    let limits = if options.cgroups { limits::detect() } else { limits::Limits::without_cgroups() };
    let program = options.attempt.as_deref().and_then(attempt_program);
    tracing::info!(dir = %options.dir.display(), %limits, attempt_program = program.is_some(), recovered = recovered.len(), "the supervisor has started");
    let mut supervisor = Supervisor::new(options, poll, listener, limits, (open_files, program), recovered)?;
    say_ready();
    while !supervisor.retired {
        let now = clock::monotonic();
        let timeout = supervisor.next_due().map(|due| due.saturating_duration_since(now));
        let events = supervisor.poll.wait(timeout).map_err(machine("wait for events"))?;
        for (source, flags) in events {
            supervisor.handle(source, flags);
        }
        supervisor.after_events(clock::monotonic());
    }
    Ok(())
}

/// The small program of our release, open: it stays the same one when the file is replaced. Without it attempts only begin
/// more slowly.
fn attempt_program(path: &Path) -> Option<fs::File> {
    let file = fs::File::open(path).ok()?;
    let asked = Command::new(start::opened(&file)).arg("--identity").stdin(Stdio::null()).output();
    let said = asked.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    match said {
        Ok(said) if said == IDENTITY => Some(file),
        Ok(said) => {
            tracing::warn!(path = %path.display(), said, wanted = IDENTITY, "the program for attempts is of another release and isn't used");
            None
        }
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "the program for attempts can't be started and isn't used");
            None
        }
    }
}

/// Tells whoever started us that clients may connect.
fn say_ready() {
    // Nobody reads it if the supervisor was started by hand or its starter is gone already.
    let _ = io::Write::write_all(&mut io::stdout(), b"ready\n");
}

fn prepare_folders(mut options: Options) -> Result<Options, Error> {
    fs::create_dir_all(&options.dir).map_err(machine("make the supervisor's folder"))?;
    options.dir = options.dir.canonicalize().map_err(machine("find the supervisor's folder"))?;
    fs::create_dir_all(&options.objects).map_err(machine("make the folder of results"))?;
    options.objects = options.objects.canonicalize().map_err(machine("find the folder of results"))?;
    for name in ["attempts", "trash"] {
        match make_private(&options.dir.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(machine("make a folder of the supervisor")(error));
            }
            _ => {}
        }
    }
    Ok(options)
}

fn lock(dir: &Path) -> Result<fs::File, Error> {
    let file = fs::File::options().write(true).create(true).truncate(false).open(dir.join("lock"));
    let file = file.map_err(machine("open the supervisor's lock"))?;
    match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(Error::AlreadyRunning(dir.to_owned())),
        Err(error) => Err(machine("lock the supervisor's folder")(error)),
    }
}

/// Own session, adoption of orphans, no core dumps, as many files as are allowed; returns the former limit of files.
fn become_supervisor() -> Result<Option<u64>, Error> {
    match rustix::process::setsid() {
        // The leader of a process group, as a shell makes it, is apart from the service already.
        Ok(_) | Err(rustix::io::Errno::PERM) => {}
        Err(error) => return Err(machine("begin a session")(error)),
    }
    let pid = rustix::process::getpid();
    rustix::process::set_child_subreaper(Some(pid)).map_err(machine("adopt orphaned processes"))?;
    limits::tree::children(pid).map_err(machine("list child processes in /proc (CONFIG_PROC_CHILDREN)"))?;
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(machine("turn off core dumps"))?;
    let files = rustix::process::getrlimit(Resource::Nofile);
    rustix::process::setrlimit(Resource::Nofile, Rlimit { current: files.maximum, maximum: files.maximum })
        .map_err(machine("raise the limit of open files"))?;
    Ok(files.current)
}

fn listen(dir: &Path) -> Result<UnixListener, Error> {
    let path = dir.join(SOCKET);
    if path.as_os_str().len() > SOCKET_PATH_BYTES_MAX {
        return Err(Error::PathTooLong(path));
    }
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(machine("remove the former supervisor's socket")(error));
        }
        _ => {}
    }
    // The umask makes it 0700; nobody else can connect at any moment.
    let listener = UnixListener::bind(&path).map_err(machine("listen on the supervisor's socket"))?;
    listener.set_nonblocking(true).map_err(machine("listen on the supervisor's socket"))?;
    Ok(listener)
}

/// The span of a standard duration.
pub(crate) fn span(duration: Duration) -> dags::time::Span {
    dags::time::Span(i64::try_from(duration.as_micros()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_says_something_else_of_itself_is_not_used() {
        for path in ["/bin/echo", "/bin/false", "/dev/null", "/nowhere"] {
            assert!(attempt_program(Path::new(path)).is_none(), "{path}");
        }
    }
}
