//! What Felix was told on this host, which the datastore does not show.

use std::io::ErrorKind;
use std::str::FromStr;

use super::{ConfigError, Environment, flag};
use crate::audit::FelixOverrides;

/// Where Felix looks for a file unless its command line names another (`felix/daemon/daemon.go`).
const FILE: &str = "/etc/calico/felix.cfg";

/// Felix takes its environment over its file, and both over everything that the datastore says
/// (`felix/config/config_params.go`). The file is this host's: it says nothing of a kernel that was dumped.
///
/// # Errors
///
/// A value is not a number in range.
pub(super) fn overrides(environment: Environment<'_>, own_kernel: bool) -> Result<FelixOverrides, ConfigError> {
    let text = if own_kernel { read() } else { String::new() };
    told(environment, &text)
}

/// A file that is there and cannot be read is no reason not to start: what it says is for most hosts nothing.
fn read() -> String {
    std::fs::read_to_string(FILE).unwrap_or_else(|error| {
        if error.kind() != ErrorKind::NotFound {
            tracing::warn!(file = FILE, %error, "cannot be read; if it sets VxlanVNI or VxlanPort, set FELIX_VXLANVNI or FELIX_VXLANPORT");
        }
        String::new()
    })
}

fn told(environment: Environment<'_>, file: &str) -> Result<FelixOverrides, ConfigError> {
    Ok(FelixOverrides {
        vxlan_vni: number(environment, file, "FELIX_VXLANVNI")?,
        vxlan_port: number(environment, file, "FELIX_VXLANPORT")?,
    })
}

fn number<T: FromStr>(
    environment: Environment<'_>,
    file: &str,
    variable: &'static str,
) -> Result<Option<T>, ConfigError> {
    let parsed = |name: &'static str, text: &str| {
        text.trim().parse().map_err(|_| flag(name, text, "not a number in range; Felix reads the same"))
    };
    if let Some(text) = environment(variable).filter(|text| !text.trim().is_empty()) {
        return parsed(variable, &text).map(Some);
    }
    let parameter = variable.strip_prefix("FELIX_").unwrap_or(variable);
    value(file, parameter).map(|text| parsed(FILE, text)).transpose()
}

/// The last value of a parameter, in whatever section and case (`felix/config/file_loader.go`).
fn value<'a>(file: &'a str, parameter: &str) -> Option<&'a str> {
    let lines = file.lines().map(str::trim).filter(|line| !line.starts_with(['#', ';', '[']));
    let pairs = lines.filter_map(|line| line.split_once(['=', ':']));
    let values = pairs.filter(|(name, _)| name.trim().eq_ignore_ascii_case(parameter));
    values.map(|(_, value)| value.trim()).rfind(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_beneath_the_environment() {
        let file = "# VxlanVNI = 1\n[global]\nVxlanVNI = 4097\n[other]\nvxlanport: 4790\nLogSeverityScreen = Info\n";
        let said = |name: &str| (name == "FELIX_VXLANPORT").then(|| "8472".to_owned());
        let by_file = FelixOverrides { vxlan_vni: Some(4097), vxlan_port: Some(4790) };
        assert_eq!(told(&|_| None, file).unwrap(), by_file);
        assert_eq!(told(&said, file).unwrap(), FelixOverrides { vxlan_port: Some(8472), ..by_file });
        let error = told(&|_| None, "VxlanPort = 70000").unwrap_err().to_string();
        assert!(error.contains(FILE) && error.contains("70000"), "{error}");
    }
}
