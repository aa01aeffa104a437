//! The `calico-exporter` binary: parse, log, run.

use std::io::{self, Write as _};
use std::process::ExitCode;

use calico_exporter::cli::{Cli, Command, LogFormat, LogLevel, SourceArgs};
use calico_exporter::command;
use calico_exporter::config::{ConfigError, Sources};
use clap::Parser;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::Layer;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(&cli) {
        Ok(code) => code,
        Err(error) => {
            let _ = writeln!(io::stderr(), "calico-exporter: {error}");
            ExitCode::from(2)
        }
    }
}

fn run(cli: &Cli) -> Result<ExitCode, ConfigError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| ConfigError::Flags(format!("no runtime: {error}")))?;
    let sources = |args: &SourceArgs| {
        log(args);
        Sources::new(args, &|name| std::env::var(name).ok())
    };
    match &cli.command {
        Some(Command::Check(args)) => runtime.block_on(command::check(args, sources(&args.source)?)),
        Some(Command::Serve(args)) => runtime.block_on(command::serve(args, sources(&args.source)?)),
        None => runtime.block_on(command::serve(&cli.serve, sources(&cli.serve.source)?)),
    }
}

/// Messages go to stderr: stdout belongs to what was asked for.
fn log(args: &SourceArgs) {
    let level = match args.log_level {
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Error => LevelFilter::ERROR,
    };
    match args.log_format {
        LogFormat::Logfmt => {
            let lines = tracing_logfmt::builder().with_target(false).layer().with_writer(io::stderr);
            tracing_subscriber::registry().with(lines.with_filter(level)).init();
        }
        LogFormat::Json => {
            let lines = tracing_subscriber::fmt::layer().json().flatten_event(true).with_target(false);
            tracing_subscriber::registry().with(lines.with_writer(io::stderr).with_filter(level)).init();
        }
    }
}
