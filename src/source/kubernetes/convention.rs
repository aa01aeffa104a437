//! What the objects do not say of themselves.

use super::{ApiGroup, objects};
use crate::model::{Detail, Name};

/// How Calico itself was told to use this datastore: what the objects do not say.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Convention {
    /// `CALICO_API_GROUP`: where Calico's objects are. `None`: to be discovered.
    pub group: Option<ApiGroup>,
    /// `USE_POD_CIDR`: IPAM is host-local, and each Node's `podCIDRs` are its blocks. Told, never guessed: clusters with
    /// Calico's own IPAM have `podCIDRs` as well.
    pub use_pod_cidr: bool,
    /// The first entry of `FELIX_INTERFACEPREFIX`: what workloads' devices are called by. `None`: `cali`.
    pub interface_prefix: Option<Name>,
}

impl Convention {
    /// How objects are read where Calico's are in this group.
    pub fn decoder(&self, group: ApiGroup, detail: Detail) -> objects::Decoder {
        let plain = objects::Decoder::new(group);
        objects::Decoder {
            detail,
            use_pod_cidr: self.use_pod_cidr,
            interface_prefix: self.interface_prefix.clone().unwrap_or(plain.interface_prefix),
            ..plain
        }
    }
}
