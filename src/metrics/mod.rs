//! From a report to bytes: every series once ([`catalogue`]), one walk over a report (`render`), and two
//! formats that it can be written in.
//!
//! ```text
//! Published ──▶ families (render, vitals) ──Exposition──▶ text (0.0.4) | openmetrics (prometheus-client) ──▶ scrape
//! ```
//!
//! Samples are written as they are met: a format has no list of them, and a series that is gone is simply not met.

pub mod catalogue;
mod certificates;
mod docs;
mod exposition;
mod families;
mod openmetrics;
mod process;
mod published;
mod render;
mod scrape;
mod text;
mod vitals;

pub use certificates::Certificates;
pub use docs::page as docs_page;
pub use process::Process;
pub use published::{InSync, Published, SourceStatus};
pub use scrape::{Format, Scraper, render};
pub use vitals::{Build, VitalSigns, Vitals};
