//! Custom resources that hold, beside `metadata`, the very JSON of Calico's v3 API: pools, reservations, configurations
//! of Felix and BGP, BGP peers, the cluster's description.

use serde::de::IgnoredAny;

use super::meta::{Kept, Meta};
use super::{Decoded, Decoder, Says, says};
use crate::source::calico::json::object;
use crate::source::calico::{cluster, felix_bgp, parse, pool};
use crate::source::kubernetes::Resource;
use crate::state::{Object, ObjectId, Unreadable};

object! {
    Item<'de>, rest IgnoredAny, {
        "metadata" => meta: Meta<'de>,
    }
}

/// Reads one of them.
pub(super) fn read(decoder: &Decoder, resource: Resource, item: &[u8]) -> Result<Decoded, Unreadable> {
    let Item { meta } = parse(item)?;
    let kept = meta.kept(decoder.group)?;
    let place = meta.place(resource)?;
    let Some(id) = place.id() else { return Ok(meta.decoded(place, Says::Nothing)) };
    let read = match id.clone() {
        ObjectId::Pool(name) => pool::pool(name, item),
        ObjectId::Reservation(name) => pool::reservation(name, item),
        ObjectId::Felix(name) => felix_bgp::felix(name, item),
        ObjectId::BgpConfiguration(name) => felix_bgp::bgp_configuration(name, item),
        ObjectId::BgpPeer(name) => felix_bgp::bgp_peer(name, item),
        ObjectId::Cluster => cluster(item),
        _ => return Ok(meta.decoded(place, Says::Nothing)),
    };
    let mut says = says(id, read)?;
    if let Says::Objects(objects) = &mut says {
        objects.iter_mut().for_each(|object| amend(object, &kept));
    }
    Ok(meta.decoded(place, says))
}

/// What Calico keeps beside the object is stronger than what the API server says of it: an object that was brought here
/// from another datastore is older than its custom resource.
fn amend(object: &mut Object, kept: &Kept<'_>) {
    match object {
        Object::Felix(_, felix) => {
            felix.created = kept.created().or(felix.created);
        }
        Object::Pool(pool) => pool.disabled |= kept.is_going(),
        _ => {}
    }
}
