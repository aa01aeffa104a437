//! What a person types: `serve` follows and serves, `check` looks once.

mod check;
mod read;
mod serve;
mod sweep;

pub use check::check;
pub use serve::serve;
