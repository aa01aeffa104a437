//! What a person types: `serve` follows and serves, `check` looks once, `plan` counts what still fits.

mod check;
mod plan;
mod read;
mod serve;
mod sweep;

pub use check::check;
pub use plan::plan;
pub use serve::serve;
