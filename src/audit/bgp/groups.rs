//! Who is joined to whom, however indirectly: disjoint sets.

/// Disjoint sets of `0..size`.
#[derive(Debug, Clone)]
pub(super) struct Groups {
    parent: Vec<usize>,
}

impl Groups {
    /// Each alone.
    pub(super) fn new(size: usize) -> Groups {
        Groups { parent: (0..size).collect() }
    }

    /// Joins the groups of two.
    pub(super) fn join(&mut self, one: usize, other: usize) {
        let (one, other) = (self.find(one), self.find(other));
        // The smaller index leads, and chains are halved on the way: shallow enough without ranks.
        let (leader, follower) = (one.min(other), one.max(other));
        if let Some(parent) = self.parent.get_mut(follower) {
            *parent = leader;
        }
    }

    /// Whether two are in one group.
    pub(super) fn same(&self, one: usize, other: usize) -> bool {
        self.root(one) == self.root(other)
    }

    /// Whether nobody was joined to it.
    pub(super) fn is_alone(&self, one: usize) -> bool {
        self.parent(one) == one && (0..self.parent.len()).all(|other| other == one || self.root(other) != one)
    }

    fn parent(&self, of: usize) -> usize {
        self.parent.get(of).copied().unwrap_or(of)
    }

    fn root(&self, mut of: usize) -> usize {
        while self.parent(of) != of {
            of = self.parent(of);
        }
        of
    }

    fn find(&mut self, mut of: usize) -> usize {
        while self.parent(of) != of {
            let above = self.parent(self.parent(of));
            if let Some(parent) = self.parent.get_mut(of) {
                *parent = above;
            }
            of = above;
        }
        of
    }
}
