//! Both pictures, the datastore's and the kernel's, folded from [`Event`]s. Pure.

mod event;

pub use event::{Event, Kind, Object, ObjectId, Side, Unreadable};
