//! Labelled traffic of LLM services. Enters: a scenario of `tests/scenarios/*.toml`. Leaves: [`Call`]s in the order of time, as
//! the exchange records that `outflow replay` reads; and the [score](score) of what was found in them. The same
//! scenario always gives the same calls: every random number comes from its seed. It knows nothing of the agent.

mod arrivals;
mod call;
mod jobs;
mod life;
mod random;
pub mod report;
pub mod scenario;
pub mod score;
mod simulation;
mod span;
mod talk;
pub mod traffic;
mod wire;
mod words;

pub use call::Call;
pub use scenario::{Scenario, load};
pub use score::{Fired, Scored, Scorer};
pub use simulation::Simulation;
