//! Integration tests, one binary: one link step.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod exposition;
mod metrics;
mod sample;
mod web;
