//! IPAM handles (`libcalico-go/lib/backend/model/ipam_handle.go`): which blocks hold addresses of one owner.

use ipnet::IpNet;

use super::Name;

/// A handle object: the number of addresses that each block is said to hold for it. The count may be too high (Calico
/// increments before it allocates), never too low.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handle {
    /// The id, in etcd only in the key; cut at `\r` (see [`Handle::sanitize`]).
    pub id: Name,
    /// Addresses by block.
    pub blocks: Vec<(IpNet, i64)>,
}

impl Handle {
    /// Cuts what an old host-local migration left after a carriage return (`ipam_block.go`, `sanitizeHandle`).
    pub fn sanitize(id: &str) -> &str {
        id.split('\r').next().unwrap_or(id)
    }
}
