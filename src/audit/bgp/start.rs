//! What this host's routes say about its BIRD, and how long BIRD may take (J24, J29).

use std::time::Duration;

use crate::model::{Family, Protocol, TABLE_MAIN};
use crate::state::{Datastore, Kernel};

/// How long BIRD may leave the kernel alone: after a start with one peer down it waits out a graceful restart, 240 s
/// during which not even its own blackholes are written (recorded), and then some.
pub const BIRD_START: Duration = Duration::from_secs(270);

/// Whether BIRD has written anything of a family here: a bird route in the main table that lies in a pool or block.
/// A default route or one to the racks' own subnets is none: those come from elsewhere and may be there at once.
pub fn bird_has_written(datastore: &Datastore, kernel: &Kernel, family: Family) -> bool {
    let mut birds = kernel.routes().filter(|route| {
        let destination = &route.destination;
        route.table == TABLE_MAIN && route.protocol == Protocol::BIRD && Family::of_net(destination) == family
    });
    birds.any(|route| {
        let destination = &route.destination;
        datastore.pool_of(destination).is_some() || datastore.block_around(destination).is_some()
    })
}

/// How long a difference in BIRD's classes stands before it is a fault (J29): `--routes.grace`, and never less than
/// [`BIRD_START`] while [`bird_has_written`] says no.
pub fn bird_grace(grace: Duration, has_written: bool) -> Duration {
    if has_written { grace } else { grace.max(BIRD_START) }
}
