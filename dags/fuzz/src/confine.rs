//! Limits on the process that takes inputs, and a watch over each of them.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use rustix::{
    process::{Resource, Rlimit, setrlimit},
    time::{ClockId, clock_gettime},
};

use crate::target::Limits;

/// How the process ends when an input took too long.
pub const TIMEOUT_STATUS: u8 = 70;
/// How many times longer than its processor time an input may take on the clock, so that one which waits ends too and a
/// busy machine disturbs nothing.
const WALL_FACTOR: u64 = 30;
const LOOK: Duration = Duration::from_millis(50);

/// Limits the memory of this process for the rest of its life, and lets it leave no core behind.
pub fn limit_memory(limits: &Limits) -> rustix::io::Result<()> {
    let memory = Some(limits.memory_bytes);
    setrlimit(Resource::As, Rlimit { current: memory, maximum: memory })?;
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })
}

fn seconds(clock: ClockId) -> f64 {
    let time = clock_gettime(clock);
    #[expect(clippy::cast_precision_loss, reason = "a process lives no 2^52 seconds")]
    let seconds = time.tv_sec as f64;
    seconds + f64::from(u32::try_from(time.tv_nsec).unwrap_or(0)) / 1e9
}

/// Ends the process when one input takes too long.
#[derive(Debug)]
pub struct Watch {
    begun: Arc<AtomicU64>,
}

impl Watch {
    /// Starts to watch.
    pub fn start(limits: Limits) -> std::io::Result<Self> {
        let begun = Arc::new(AtomicU64::new(0));
        let seen = begun.clone();
        std::thread::Builder::new().name("watch".to_owned()).stack_size(128 << 10).spawn(move || {
            let (mut input, mut cpu, mut wall) = (0, 0.0, 0.0);
            #[expect(clippy::cast_precision_loss, reason = "limits are small")]
            let (most_cpu, most_wall) =
                (limits.cpu_seconds as f64, (limits.cpu_seconds * WALL_FACTOR) as f64);
            loop {
                std::thread::sleep(LOOK);
                let now = (seconds(ClockId::ProcessCPUTime), seconds(ClockId::Monotonic));
                let current = seen.load(Ordering::Relaxed);
                if current != input {
                    (input, cpu, wall) = (current, now.0, now.1);
                } else if input != 0 && (now.0 - cpu > most_cpu || now.1 - wall > most_wall) {
                    eprintln!(
                        "the input took more than {most_cpu} s of processor time or {most_wall} s in all"
                    );
                    std::process::exit(i32::from(TIMEOUT_STATUS));
                }
            }
        })?;
        Ok(Self { begun })
    }

    /// Says that the next input begins.
    pub fn next(&self) {
        self.begun.fetch_add(1, Ordering::Relaxed);
    }
}

/// A line of `/proc/self/status` that is in kB.
fn status(name: &str) -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}

/// What a piece of work adds to the resident memory at its peak, in KiB; none where the kernel doesn't say.
pub fn growth_kib(work: impl FnOnce()) -> Option<u64> {
    // Sets the peak back to the present.
    let reset = fs::write("/proc/self/clear_refs", "5").is_ok();
    let before = status("VmRSS");
    work();
    let peak = status("VmHWM");
    if reset { Some(peak?.saturating_sub(before?)) } else { None }
}
