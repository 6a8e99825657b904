//! Templates and expressions: Jinja with Airflow's names over plain data.
//!
//! One environment serves both the script host and the attempt helper, so that a template means the same wherever it
//! renders. It starts empty: every filter, test and function is on an allow-list, undefined names are errors, there is
//! no `include`, `import`, `extends`, `macro` or `debug`. Source, instructions and output are limited; **memory is
//! not** (a template under 150 bytes can ask for gigabytes), so only a process with a memory limit of its own may call
//! this crate, never the service.
//!
//! Start at [`Templates`]; [`airflow_context`] builds the names that authors use, [`names`] finds those that a text uses.

mod context;
mod environment;
mod error;
mod filters;
mod instant;
mod macros;
mod methods;
mod names;
mod quote;
mod record;
mod render;
mod source;

pub use context::{PreviousRun, RunFacts, airflow_context};
pub use error::Error;
pub use names::{expression_names, names};
pub use render::{OUTPUT_BYTES_MAX, Templates};
pub use source::{SOURCE_BYTES_MAX, has_expression};
