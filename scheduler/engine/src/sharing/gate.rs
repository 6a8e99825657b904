//! Who places what the pool lets in, if the pool doesn't.

/// Places workloads beyond what the pool knows: on machines whose queues and kinds of devices are no numbers.
pub trait Gate {
    /// Takes a place for a workload that fits; false if there is none now.
    fn place(&mut self, id: u64) -> bool;
    /// The admission of a workload was taken back, and its place with it.
    fn give_back(&mut self, id: u64);
    /// Whether there could be a place for it at all.
    fn possible(&self, id: u64) -> bool;
    /// Whether it is known what there is. After a restart it isn't for a while, and what was promised stays promised.
    fn is_known(&self, id: u64) -> bool;
}

/// A gate that lets everything in.
#[derive(Debug, Clone, Copy, Default)]
pub struct Open;

impl Gate for Open {
    fn place(&mut self, _id: u64) -> bool {
        true
    }

    fn give_back(&mut self, _id: u64) {}

    fn possible(&self, _id: u64) -> bool {
        true
    }

    fn is_known(&self, _id: u64) -> bool {
        true
    }
}
