//! Calico's objects as JSON, as far as both datastores write them alike
//! (`libcalico-go/lib/backend/model`, `api/pkg/apis/projectcalico/v3`). Whatever the bytes are, reading them neither
//! panics nor takes long.

use serde::Deserialize;

use crate::state::{Object, Unreadable};

mod as_number;
mod attribute;
mod block;
mod cluster;
pub(in crate::source) mod felix_bgp;
mod ipam;
pub(in crate::source) mod json;
mod plain;
pub(in crate::source) mod pool;
pub(in crate::source) mod text;
pub(in crate::source) mod timestamp;
pub(in crate::source) mod why;

pub(in crate::source) use as_number::AsNumber;
pub(in crate::source) use block::Block;
pub(in crate::source) use cluster::cluster;
pub(in crate::source) use ipam::handle_blocks;

/// What a value says: an object, or that the object is marked as deleted.
pub(in crate::source) type Read = Result<Option<Object>, Unreadable>;

/// Reads JSON; an error names the field.
pub(in crate::source) fn parse<'de, T: Deserialize<'de>>(value: &'de [u8]) -> Result<T, Unreadable> {
    serde_json::from_slice(value).map_err(|error| Unreadable::Undecodable(why::json(&error, value)))
}

#[cfg(test)]
pub(in crate::source) mod tests {
    use super::*;

    /// The object that was read.
    pub(in crate::source) fn object(read: Read) -> Object {
        match read {
            Ok(Some(object)) => object,
            other => panic!("{other:?}"),
        }
    }

    /// Why nothing was read.
    pub(in crate::source) fn undecodable(read: Read) -> String {
        match read {
            Err(Unreadable::Undecodable(why)) => why,
            other => panic!("{other:?}"),
        }
    }
}
