//! Threads, cancellation, observation, and the state of one call. Uses `driver` and the layers below it.

mod cancellation;
mod context;
mod counters;
mod observation;
mod parallelism;
mod session_executor;
mod threads;
pub(crate) mod unwind;
mod workers;

pub(crate) use cancellation::CancellationToken;
pub(crate) use context::ExecutionContext;
pub(crate) use counters::Counters;
pub use observation::StatementEvent;
pub(crate) use observation::{Observer, Span, Watch};
pub use parallelism::Parallelism;
pub(crate) use parallelism::Work;
pub(crate) use session_executor::{Job, SessionExecutor, WaiterId};
pub(crate) use workers::{Worker, Workers, worker_lost};
