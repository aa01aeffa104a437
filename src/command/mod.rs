//! What a person types: `serve` follows and serves, `check` looks once, `explain` tells of one address, `plan` counts what
//! still fits.

mod bundle;
mod check;
mod explain;
mod following;
mod output;
mod patience;
mod picture;
mod plan;
mod read;
mod serve;
mod sweep;

pub use bundle::bundle;
pub use check::check;
pub use explain::explain;
pub use plan::plan;
pub use serve::serve;
