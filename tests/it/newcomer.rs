//! What somebody meets who builds it for the first time, and what a forge runs.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_yaml_ng::Value;

use crate::alerts::yaml;
use crate::support::{files_below, repository};

fn put(folder: &Path, name: &str, text: &str) {
    let file = folder.join(name);
    std::fs::write(&file, text).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// `tools/rust` where these programs are, and the few of the system that it uses.
fn checked(programs: &[(&str, &str)]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    for name in ["sed", "cut", "printf", "sort", "head", "dirname", "env"] {
        let found = Command::new("sh").args(["-c", &format!("command -v {name}")]).output().unwrap();
        let path = String::from_utf8(found.stdout).unwrap();
        // A shell's own needs no file.
        if path.starts_with('/') {
            std::os::unix::fs::symlink(path.trim(), folder.path().join(name)).unwrap();
        }
    }
    for (name, text) in programs {
        put(folder.path(), name, text);
    }
    Command::new("/bin/sh").arg(repository("tools/rust")).env("PATH", folder.path()).output().unwrap()
}

#[test]
fn what_is_missing_to_build_is_said_in_one_sentence() {
    let rust = |version: &str| format!("#!/bin/sh\necho 'rustc {version} (0123456 2025-01-01)'\n");
    let (old, new) = (rust("1.85.0"), rust("1.100.1"));
    let (cargo, compiler) = (("cargo", "#!/bin/sh\n"), ("cc", "#!/bin/sh\n"));
    for (programs, wanted) in [
        (&[][..], Some("Rust is missing")),
        (&[("rustc", new.as_str()), compiler][..], Some("Rust is missing")),
        (&[("rustc", old.as_str()), cargo, compiler], Some("this is Rust 1.85.0")),
        (&[("rustc", new.as_str()), cargo], Some("a C compiler is missing")),
        (&[("rustc", new.as_str()), cargo, compiler], None),
    ] {
        let output = checked(programs);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.success(), wanted.is_none(), "{said}");
        assert_eq!(said.lines().count(), usize::from(wanted.is_some()), "{said}");
        assert!(said.starts_with(wanted.unwrap_or_default()), "{said}");
    }
}

#[test]
fn make_help_lists_what_documents_name() {
    let help = Command::new("make").arg("help").current_dir(repository("")).output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let listed: Vec<&str> =
        help.lines().filter(|line| !line.starts_with(' ')).filter_map(|line| line.split(' ').next()).collect();
    let mut documents = files_below("docs", ".md");
    documents.push(repository("README.md"));
    for document in documents {
        let text = std::fs::read_to_string(&document).unwrap();
        // In code: `make x`, or a line of its own.
        for rest in text.split("`make ").skip(1).chain(text.split("\n    make ").skip(1)) {
            let end = rest
                .find(|it: char| !it.is_ascii_lowercase() && !it.is_ascii_digit() && it != '-')
                .unwrap_or(rest.len());
            let target = &rest[..end];
            assert!(target == "build" || listed.contains(&target), "{}: make {target}: {listed:?}", document.display());
        }
    }
}

/// The steps of every workflow that run commands: the file and the commands.
fn steps() -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    for file in files_below(".github/workflows", ".yml") {
        let workflow = yaml(&file);
        for job in workflow["jobs"].as_mapping().unwrap().values() {
            let steps = job["steps"].as_sequence().unwrap().iter();
            found.extend(steps.filter_map(|step| Some((file.clone(), step["run"].as_str()?.to_owned()))));
        }
    }
    found
}

#[test]
fn workflows_run_what_there_is() {
    let steps = steps();
    assert!(steps.len() > 8, "{}", steps.len());
    for (file, commands) in steps {
        let file = file.display();
        let parsed = Command::new("bash").args(["-n", "-c", &commands]).output().unwrap();
        assert!(parsed.status.success(), "{file}: {commands}: {}", String::from_utf8_lossy(&parsed.stderr));
        for line in commands.lines() {
            if let Some(targets) = line.trim().strip_prefix("make ") {
                let mut make = Command::new("make");
                let made = make.arg("-n").args(targets.split(' ')).current_dir(repository("")).output().unwrap();
                assert!(made.status.success(), "{file}: {line}: {}", String::from_utf8_lossy(&made.stderr));
            }
            for word in line.split([' ', '(', ')']).filter(|it| it.starts_with("tools/") || it.starts_with(".ci/")) {
                assert!(repository(word).is_file(), "{file}: {word}");
            }
        }
    }
}

#[test]
fn a_release_is_refused_where_versions_differ_and_has_its_notes() {
    let run = |tool: &str, tag: &str| Command::new(repository(tool)).arg(tag).output().unwrap();
    let tag = format!("v{}", env!("CARGO_PKG_VERSION"));
    assert!(run("tools/version-is", &tag).status.success());
    assert!(!run("tools/version-is", "v99.0.0").status.success());
    let notes = run("tools/changes-of", &tag);
    assert!(notes.status.success() && !notes.stdout.is_empty());
    let none = run("tools/changes-of", "v99.0.0");
    assert!(!none.status.success() && none.stdout.is_empty());
}

/// Forms ask for what a fault can be found with.
#[test]
fn issue_forms_ask_for_a_support_bundle() {
    let form = yaml(&repository(".github/ISSUE_TEMPLATE/wrong.yml"));
    let asked = form["body"].as_sequence().unwrap().iter().find(|field| field["id"] == "bundle").unwrap();
    assert_eq!(asked["validations"]["required"], Value::from(true));
    assert!(asked["attributes"]["description"].as_str().unwrap().contains("docs/support-bundle.md"));
}
