//! What is shipped, as it is shipped: `make ship-test` builds it first.

mod chroot;
mod monitored;
mod package;

use calico_exporter::cli::Cli;
use clap::{CommandFactory, Parser};

use crate::support::exporter::run;

#[test]
fn the_version_says_what_was_built() {
    let said = String::from_utf8(run(&["--version"]).stdout).unwrap();
    for word in [env!("CARGO_PKG_VERSION"), "revision ", std::env::consts::ARCH, "linux"] {
        assert!(said.contains(word), "{said}");
    }
    assert_eq!(said.lines().count(), 1, "{said}");
}

/// Pages and completions are made from the flags: each one that is shown is in them.
#[test]
fn manual_and_completions_have_every_flag() {
    let folder = tempfile::tempdir().unwrap();
    clap_mangen::generate_to(Cli::command(), folder.path()).unwrap();
    for shell in [clap_complete::Shell::Bash, clap_complete::Shell::Zsh, clap_complete::Shell::Fish] {
        clap_complete::generate_to(shell, &mut Cli::command(), "calico-exporter", folder.path()).unwrap();
    }
    let text = |file: &str| std::fs::read_to_string(folder.path().join(file)).unwrap();
    let page = text("calico-exporter.1").replace('\\', "");
    for argument in Cli::command().get_arguments().filter(|argument| !argument.is_hide_set()) {
        let flag = argument.get_long().unwrap();
        assert!(page.contains(flag), "{flag}");
        for file in ["calico-exporter.bash", "_calico-exporter", "calico-exporter.fish"] {
            assert!(text(file).contains(flag), "{file}: {flag}");
        }
    }
    for command in Cli::command().get_subcommands() {
        assert!(!text(&format!("calico-exporter-{}.1", command.get_name())).is_empty());
    }
}

/// Flags that the README or another document names exist.
#[test]
fn documents_name_no_flag_that_there_is_not() {
    let mut known: Vec<String> = vec!["help".to_owned(), "version".to_owned()];
    let command = Cli::command();
    for part in std::iter::once(&command).chain(command.get_subcommands()) {
        known.extend(part.get_arguments().filter_map(|argument| argument.get_long()).map(str::to_owned));
    }
    for file in ["README.md", "docs/deploy.md", "docs/web.md", "docs/reliability.md", "docs/runbook.md"] {
        let file = crate::support::repository(file);
        let text = std::fs::read_to_string(&file).unwrap();
        for rest in text.split("--").skip(1) {
            let end =
                rest.find(|it: char| !it.is_ascii_alphanumeric() && !matches!(it, '.' | '-')).unwrap_or(rest.len());
            let flag = rest[..end].trim_end_matches('.');
            // Ours have a dot.
            if flag.contains('.')
                && [
                    "etcd.",
                    "web.",
                    "routes.",
                    "links.",
                    "node.",
                    "log.",
                    "leaks.",
                    "datastore.",
                    "calico.",
                    "collector.",
                    "no-collector.",
                ]
                .iter()
                .any(|start| flag.starts_with(start))
            {
                assert!(known.iter().any(|it| it == flag), "{}: --{flag}", file.display());
            }
        }
    }
    assert!(Cli::try_parse_from(["calico-exporter", "--web.config.file", "a"]).is_ok());
}
