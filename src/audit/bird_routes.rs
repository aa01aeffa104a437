//! BIRD's routes in the main table: where it writes (J24, J29), and which changes are of aggregates (J16).

use std::collections::BTreeSet;

use ipnet::IpNet;

use crate::model::{Family, Protocol, Route, TABLE_MAIN};
use crate::state::{Changes, State};

/// The destinations to which BIRD has a route.
#[derive(Debug, Clone, Default)]
pub(super) struct BirdRoutes {
    routes: BTreeSet<IpNet>,
    /// Those that lie in a pool or block, by family.
    inside: [BTreeSet<IpNet>; 2],
}

impl BirdRoutes {
    /// Whether BIRD has a route of the family in any pool or block here.
    pub(super) fn writes(&self, family: Family) -> bool {
        !self.inside[family as usize].is_empty()
    }

    /// Keeps track of BIRD's routes; returns those changed destinations that are or were aggregates' (J16).
    pub(super) fn note(&mut self, state: &State, changes: &Changes, everything: bool) -> Vec<IpNet> {
        if everything {
            // Nobody asks which of them are aggregates: all is looked at again.
            let of_bird = |route: &&Route| route.protocol == Protocol::BIRD && route.table == TABLE_MAIN;
            self.routes = state.kernel.routes().filter(of_bird).map(|route| route.destination).collect();
            for (family, members) in Family::ALL.into_iter().zip(&mut self.inside) {
                let inside = |net: &&IpNet| Family::of_net(net) == family && is_inside(state, net);
                *members = self.routes.iter().filter(inside).copied().collect();
            }
            return Vec::new();
        }
        let mut aggregates = Vec::new();
        let mut look: BTreeSet<IpNet> = changes.destinations.clone();
        // A block that comes or goes may take BIRD's routes in or out of what is known.
        for cidr in &changes.cidrs {
            look.extend(self.routes.range(cidr..).take_while(|it| cidr.contains(&it.addr())).copied());
        }
        for destination in look {
            let is = state.kernel.has_route_of(&destination, Protocol::BIRD);
            let was = if is { !self.routes.insert(destination) } else { self.routes.remove(&destination) };
            if is || was {
                aggregates.push(destination);
            }
            let inside = is && is_inside(state, &destination);
            let members = &mut self.inside[Family::of_net(&destination) as usize];
            if inside {
                members.insert(destination);
            } else {
                members.remove(&destination);
            }
        }
        aggregates
    }
}

/// Whether a route's destination lies in a pool or in a block.
fn is_inside(state: &State, destination: &IpNet) -> bool {
    state.datastore.pool_of(destination).is_some() || state.datastore.is_in_block(destination)
}
