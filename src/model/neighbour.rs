//! The layer 2 of a tunnel device: who has which address, and where a frame for whom is sent (`neighbour.h`).

use std::net::IpAddr;

use super::Mac;

/// `ndm_state`: a bit mask. What is made by hand may have several bits (`bridge fdb add`: `PERMANENT|NOARP`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EntryState(pub u16);

/// The names that iproute2 prints, in the order of the bits (`ip/ipneigh.c`, `print_neigh_state`).
const STATES: [(u16, &str); 8] = [
    (0x01, "INCOMPLETE"),
    (0x02, "REACHABLE"),
    (0x04, "STALE"),
    (0x08, "DELAY"),
    (0x10, "PROBE"),
    (0x20, "FAILED"),
    (0x40, "NOARP"),
    (0x80, "PERMANENT"),
];

impl EntryState {
    /// `NUD_REACHABLE`.
    pub const REACHABLE: EntryState = EntryState(0x02);
    /// `NUD_NOARP`.
    pub const NOARP: EntryState = EntryState(0x40);
    /// `NUD_PERMANENT`: what Felix writes.
    pub const PERMANENT: EntryState = EntryState(0x80);

    /// Whether it stays until somebody takes it away, whatever other bits there are (`felix/vxlanfdb/vxlan_fdb.go`,
    /// `resyncFamily`).
    pub fn is_permanent(self) -> bool {
        self.0 & Self::PERMANENT.0 != 0
    }

    /// The bit that iproute2 calls so.
    pub fn from_name(name: &str) -> Option<EntryState> {
        STATES.iter().find(|(_, known)| *known == name).map(|(bit, _)| EntryState(*bit))
    }

    /// As iproute2 prints it, several between commas; `none` without any.
    pub fn words(self) -> String {
        let names: Vec<&str> = STATES.iter().filter(|(bit, _)| self.0 & bit != 0).map(|(_, name)| *name).collect();
        if names.is_empty() { "none".to_owned() } else { names.join(",") }
    }
}

/// An entry of the neighbour table (ARP, NDP): on this device, the address belongs to this MAC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Neighbour {
    /// The device's `ifindex`.
    pub device: u32,
    /// `NDA_DST`.
    pub address: IpAddr,
    /// `NDA_LLADDR`; absent while it is being looked for and where nobody answered.
    pub mac: Option<Mac>,
    /// Its state.
    pub state: EntryState,
}

/// An entry of a VXLAN device's forwarding database: a frame for this MAC goes to this host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FdbEntry {
    /// The device's `ifindex`.
    pub device: u32,
    /// `NDA_LLADDR`.
    pub mac: Mac,
    /// `NDA_DST`: the other host's address.
    pub destination: Option<IpAddr>,
    /// Its state.
    pub state: EntryState,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_a_mask() {
        assert!(EntryState(0xc0).is_permanent() && EntryState::PERMANENT.is_permanent());
        assert!(!EntryState::NOARP.is_permanent() && !EntryState(0).is_permanent());
        assert_eq!(EntryState(0xc0).words(), "NOARP,PERMANENT");
        assert_eq!(EntryState(0).words(), "none");
        assert_eq!(EntryState::from_name("STALE"), Some(EntryState(4)));
        assert_eq!(EntryState::from_name("stale"), None);
    }
}
