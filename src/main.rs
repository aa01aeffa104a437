//! The `calico-exporter` binary: parse, log, run.

use std::io::{self, Write as _};
use std::process::ExitCode;

use calico_exporter::cli::{Cli, Command, LogFormat, LogLevel, SourceArgs};
use calico_exporter::command;
use calico_exporter::config::{ConfigError, Sources};
use calico_exporter::log::{LogEnd, LogWriter, logged};
use calico_exporter::model::Printable;
use clap::Parser;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::Layer;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        // Help and version are no errors: they go to stdout.
        Err(answer) if !answer.use_stderr() => answer.exit(),
        Err(error) => return refused(&one_line(&error.render().to_string())),
    };
    match run(&cli) {
        Ok(code) => code,
        Err(error) => refused(&error.to_string()),
    }
}

/// Whatever cannot be used is said in one line, which a supervisor's log keeps together.
fn refused(why: &str) -> ExitCode {
    let _ = writeln!(io::stderr(), "calico-exporter: {}", Printable(why));
    ExitCode::from(2)
}

/// What clap says over several lines: what is wrong, what is possible, what may be meant. Usage is left to `--help`.
fn one_line(rendered: &str) -> String {
    let said = rendered.lines().map(str::trim).take_while(|line| !line.starts_with("Usage:"));
    let said: Vec<&str> = said.filter(|line| !line.is_empty() && !line.starts_with("For more information")).collect();
    said.join(" ").trim_start_matches("error: ").to_owned()
}

fn run(cli: &Cli) -> Result<ExitCode, ConfigError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| ConfigError::Flags(format!("no runtime: {error}")))?;
    // Written before the program ends.
    let mut logging = None;
    let mut sources = |args: &SourceArgs| {
        logging = Some(log(args)?);
        Sources::new(args, &|name| std::env::var(name).ok())
    };
    let code = match &cli.command {
        Some(Command::Bundle(args)) => runtime.block_on(command::bundle(args, sources(&args.source)?)),
        Some(Command::Check(args)) => runtime.block_on(command::check(args, sources(&args.source)?)),
        Some(Command::Explain(args)) => runtime.block_on(command::explain(args, sources(&args.source)?)),
        Some(Command::Plan(args)) => runtime.block_on(command::plan(args, sources(&args.source)?)),
        Some(Command::Serve(args)) => runtime.block_on(command::serve(args, sources(&args.source)?)),
        None => runtime.block_on(command::serve(&cli.serve, sources(&cli.serve.source)?)),
    };
    // Nobody waits for work that nobody waits for any more: a password that is being worked out.
    runtime.shutdown_background();
    code
}

/// Messages go to stderr: stdout belongs to what was asked for.
fn log(args: &SourceArgs) -> Result<LogEnd, ConfigError> {
    let started = LogWriter::stderr().map_err(|error| ConfigError::Flags(format!("no thread for the log: {error}")));
    let (writer, end) = started?;
    let level = match args.log_level {
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Error => LevelFilter::ERROR,
    };
    match args.log_format {
        LogFormat::Logfmt => {
            let lines = tracing_logfmt::builder().with_target(false).layer().with_writer(writer);
            tracing_subscriber::registry().with(lines.with_filter(logged(level))).init();
        }
        LogFormat::Json => {
            let lines = tracing_subscriber::fmt::layer().json().flatten_event(true).with_target(false);
            tracing_subscriber::registry().with(lines.with_writer(writer).with_filter(logged(level))).init();
        }
    }
    Ok(end)
}
