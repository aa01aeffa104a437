//! Values that cannot be read (J1, J2): each is a finding, and nothing else follows from what it would have said.

use crate::audit::fault::{BlockReason, Fault};
use crate::audit::finding::Finding;
use crate::model::BlockOwner;
use crate::state::{Datastore, ObjectId, Unreadable, UnreadableValue};

/// One finding for each value that cannot be read.
///
/// J1: `calico_exporter_undecodable_keys`, its subject the key; without it a corrupt block would be called clean. J2
/// (I11): a block whose value names another CIDR than its key is `cidr_differs_from_key` instead, its subject the key's
/// CIDR, and beyond that as if unreadable.
pub fn unreadable(datastore: &Datastore) -> impl Iterator<Item = Finding> + '_ {
    let followed = datastore.unreadable().iter().map(|(id, value)| of(id, value));
    followed.chain(datastore.unreadable_reads().map(|(cidr, value)| of(&ObjectId::Block(*cidr), value)))
}

fn of(id: &ObjectId, value: &UnreadableValue) -> Finding {
    match (id, &value.why) {
        (ObjectId::Block(key), Unreadable::CidrDiffers(named)) => {
            Finding::new(Fault::Block(BlockReason::CidrDiffersFromKey), key)
                .detail(format!(
                    "The block stored as {key} says that it is {named}. Calico and this audit cannot use it."
                ))
                .expected(format!("cidr {key}"), format!("cidr {named}"))
                .action(format!(
                    "Look at {}. Restore the block from a backup, or release what uses {key} and delete it.",
                    value.key
                ))
        }
        _ => undecodable(id, value),
    }
}

/// The finding for a value that cannot be read (J1).
pub(in crate::audit) fn undecodable(id: &ObjectId, value: &UnreadableValue) -> Finding {
    let why = match &value.why {
        Unreadable::Undecodable(why) => why.clone(),
        Unreadable::CidrDiffers(named) => format!("names {named}"),
    };
    let host = match id {
        ObjectId::Affinity(BlockOwner::Host(name), _) | ObjectId::Node(name) => Some(name.clone()),
        _ => None,
    };
    let kind = id.kind();
    // A key of etcd's is a path; an API object is named by its kind first.
    let tool = if value.key.starts_with('/') { "etcdctl get" } else { "kubectl get" };
    Finding::new(Fault::Undecodable(kind), &value.key)
        .host(host)
        .detail(format!("The value cannot be read. Calico drops it from its lists as if it did not exist ({why})."))
        .expected(format!("a {} as Calico writes it", kind.as_str()), why)
        .action(format!("Read {} with `{tool}`, and restore the object or delete it.", value.key))
}
