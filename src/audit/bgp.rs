//! Stand-in until the session graph is merged.
use crate::model::Family;
use crate::state::Datastore;
/// x
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// r
    Required,
    /// p
    Permitted,
    /// n
    None,
}
/// x
#[derive(Debug, Clone)]
pub struct Sessions {
    mesh: bool,
}
impl Sessions {
    /// x
    pub fn new(d: &Datastore) -> Self {
        Sessions { mesh: d.bgp().get("default").and_then(|b| b.mesh).unwrap_or(true) }
    }
    /// x
    pub fn reach(&self, _: &str, _: &str, _: Family) -> Reach {
        if self.mesh { Reach::Required } else { Reach::Permitted }
    }
    /// x
    pub fn reach_borrowed(&self, _: &str, _: &str, _: Family, _: &dyn Fn(&str) -> bool) -> Reach {
        if self.mesh { Reach::Required } else { Reach::Permitted }
    }
    /// x
    pub fn only_mesh(&self) -> bool {
        self.mesh
    }
    /// x
    pub fn local_peer_workloads(&self, _: &str) -> bool {
        false
    }
}
