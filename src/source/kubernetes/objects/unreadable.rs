//! What can still be told of an object whose value cannot be read: which one it is.

use serde_json::Value;

use super::{Decoded, Decoder, Place, Says, ipam};
use crate::model::{EndpointId, Handle, Name};
use crate::source::calico::json::FromText;
use crate::source::calico::text::Masked;
use crate::source::calico::timestamp;
use crate::source::kubernetes::Resource;
use crate::state::{ObjectId, Unreadable};

/// The object, as unreadable. Never a deletion: the rest is looked at field by field.
pub(super) fn decoded(decoder: &Decoder, resource: Resource, item: &[u8], why: Unreadable) -> Decoded {
    let value: Value = serde_json::from_slice(item).unwrap_or_default();
    let text = |path: &str| value.pointer(path).and_then(Value::as_str).filter(|text| !text.is_empty());
    let name = text("/metadata/name").unwrap_or("?");
    let namespace = text("/metadata/namespace").filter(|_| resource == Resource::Pods);
    let place = Place { resource, namespace: namespace.map(Name::from), name: name.into() };
    let key = place.key(decoder.group);
    let cidr = || text("/spec/cidr").and_then(Masked::from_text).map(|cidr| cidr.0);
    let told = match resource {
        Resource::Affinities => text("/spec/node")
            .zip(cidr())
            .and_then(|(node, cidr)| Some(ObjectId::Affinity(ipam::owner(text("/spec/type"), node)?, cidr))),
        // Where the id itself is lost, the name is all but for capitals.
        Resource::Handles => {
            let id = text("/spec/handleID").map(Handle::sanitize).filter(|id| !id.is_empty());
            id.or(text("/metadata/name")).map(|id| ObjectId::Handle(id.into()))
        }
        Resource::Pods => text("/spec/nodeName").zip(text("/metadata/name")).map(|(node, pod)| {
            ObjectId::Endpoint(EndpointId::of_pod(node, text("/metadata/namespace").unwrap_or_default(), pod))
        }),
        _ => text("/metadata/name").and_then(|_| place.id()),
    };
    let id = told.unwrap_or_else(|| ObjectId::Malformed(resource.model(), key.clone()));
    let says = Says::Unreadable { id, key, why };
    Decoded {
        place,
        uid: text("/metadata/uid").unwrap_or_default().into(),
        version: text("/metadata/resourceVersion").unwrap_or_default().into(),
        created: text("/metadata/creationTimestamp").and_then(timestamp::rfc3339),
        says,
    }
}
