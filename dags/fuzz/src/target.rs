//! The targets by name, and what each may use.

/// Something that reads what authors write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// A YAML DAG file, to DAGs and drawn diagnostics.
    Yaml,
    /// A Rhai DAG file, to DAGs; the same text as a Rhai task.
    Rhai,
    /// A cron expression with its zone, to ticks.
    Cron,
    /// A template: looked at, rendered as text and as code, evaluated.
    Template,
}

/// What one input may use.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Address space of the process in bytes.
    pub memory_bytes: u64,
    /// How much an input may add to the resident memory, in KiB.
    pub growth_kib: u64,
    /// Processor time in seconds, in a build without optimisation.
    pub cpu_seconds: u64,
    /// Stack of the thread in bytes.
    pub stack_bytes: usize,
}

impl Target {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Yaml, Self::Rhai, Self::Cron, Self::Template];

    /// The name on the command line and of folders.
    pub fn name(self) -> &'static str {
        match self {
            Self::Yaml => "yaml",
            Self::Rhai => "rhai",
            Self::Cron => "cron",
            Self::Template => "template",
        }
    }

    /// The target of a name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|target| target.name() == name)
    }

    /// What one input may use.
    pub fn limits(self) -> Limits {
        let script = updraft_script::protocol::Limits::default();
        match self {
            // The service compiles YAML and asks timetables itself, on a thread whose stack may be small.
            Self::Yaml => Limits {
                memory_bytes: 1 << 30,
                growth_kib: 192 << 10,
                cpu_seconds: 10,
                stack_bytes: 512 << 10,
            },
            Self::Cron => Limits {
                memory_bytes: 256 << 20,
                growth_kib: 16 << 10,
                cpu_seconds: 2,
                stack_bytes: 512 << 10,
            },
            // As in `updraft-script`, whose main thread has the kernel's 8 MiB.
            Self::Rhai | Self::Template => Limits {
                memory_bytes: script.memory_bytes,
                growth_kib: script.memory_bytes >> 10,
                cpu_seconds: 2 * script.cpu_seconds,
                stack_bytes: 8 << 20,
            },
        }
    }

    /// Whether meeting the limit on memory is how an input is meant to end. Rhai and templates count steps, which bounds
    /// no memory; that is why they run in a process of their own, whose end the service expects.
    pub fn may_meet_memory_limit(self) -> bool {
        matches!(self, Self::Rhai | Self::Template)
    }
}
