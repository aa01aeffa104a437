//! Which program changes routes: the label `by` of `calico_route_changes_total`.

use std::collections::HashMap;

use super::entry::Author;
use crate::model::Protocol;
use crate::model::label_values;

label_values! {
    /// A program that changes routes, as far as it matters here.
    pub enum Program {
        /// BIRD.
        Bird = "bird",
        /// Felix, and the CNI plugin, which writes a pod's route first.
        Felix = "felix",
        /// The kernel, where a device or an address comes or goes.
        Kernel = "kernel",
        /// Anybody else.
        Other = "other",
    }
}

impl Program {
    /// The program of a process' name (`/proc/PID/comm`, 15 bytes at most).
    fn of_process(name: &str) -> Program {
        match name {
            "bird" | "bird6" => Program::Bird,
            // Calico's one binary, the older one, and its CNI plugin.
            "calico-node" | "calico-felix" | "felix" | "calico" => Program::Felix,
            _ => Program::Other,
        }
    }

    /// The program that marks its routes with a protocol. `boot` is Felix's on devices, and anybody's.
    fn of_protocol(protocol: Protocol) -> Program {
        match protocol {
            Protocol::BIRD => Program::Bird,
            Protocol::FELIX | Protocol::BOOT => Program::Felix,
            Protocol::KERNEL => Program::Kernel,
            _ => Program::Other,
        }
    }
}

/// Ports of BIRD and Felix, learnt from the routes that they write: a container does not see the host's processes.
#[derive(Debug, Clone, Default)]
pub(super) struct Ports(HashMap<u32, Program>);

/// A host has one Felix and two BIRDs, each with a few sockets, and now and then new ones.
const MOST_PORTS: usize = 64;

impl Ports {
    /// Notes that a port wrote a route.
    pub(super) fn wrote(&mut self, author: &Author, protocol: Protocol) {
        let program = Program::of_protocol(protocol);
        if let (Author::Netlink(port, None), Program::Bird | Program::Felix) = (author, program)
            && protocol != Protocol::BOOT
        {
            if self.0.len() >= MOST_PORTS && !self.0.contains_key(port) {
                self.0.clear();
            }
            self.0.insert(*port, program);
        }
    }

    /// Who changed a route of this protocol. Where nothing is known of the author, the protocol decides.
    pub(super) fn program(&self, author: &Author, protocol: Protocol) -> Program {
        match author {
            Author::Kernel => Program::Kernel,
            Author::Netlink(_, Some(process)) => Program::of_process(&process.name),
            Author::Netlink(port, None) => self.0.get(port).copied().unwrap_or_else(|| Program::of_protocol(protocol)),
            Author::Unknown | Author::List | Author::Revision(_) => Program::of_protocol(protocol),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::Process;

    #[test]
    fn the_process_decides_then_what_the_port_wrote_then_the_protocol() {
        let mut ports = Ports::default();
        let process = |name: &str| Author::Netlink(7, Some(Process { pid: 7, name: name.into(), gone: false }));
        assert_eq!(ports.program(&process("bird"), Protocol::FELIX), Program::Bird);
        assert_eq!(ports.program(&process("calico-node"), Protocol::BIRD), Program::Felix);
        assert_eq!(ports.program(&process("systemd-network"), Protocol::BIRD), Program::Other);
        let port = Author::Netlink(4711, None);
        assert_eq!(ports.program(&port, Protocol::BIRD), Program::Bird);
        ports.wrote(&port, Protocol::FELIX);
        assert_eq!(ports.program(&port, Protocol::BIRD), Program::Felix, "Felix removes what BIRD left");
        assert_eq!(ports.program(&Author::Kernel, Protocol::BIRD), Program::Kernel);
        assert_eq!(ports.program(&Author::List, Protocol::STATIC), Program::Other);
    }
}
