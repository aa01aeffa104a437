//! Values of which very many are alike, each kept once: hosts' names, ways out, what a sound block adds to the figures.

use std::borrow::Borrow;
use std::collections::HashSet;
use std::hash::Hash;
use std::sync::Arc;

/// A place where what is equal becomes the same.
#[derive(Debug)]
pub struct Shared<T: ?Sized>(HashSet<Arc<T>>);

impl<T: ?Sized> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Shared(self.0.clone())
    }
}

impl<T: ?Sized> Default for Shared<T> {
    fn default() -> Self {
        Shared(HashSet::new())
    }
}

impl<T: ?Sized + Eq + Hash> Shared<T> {
    /// The value as it is known already, or from now on.
    pub fn share<V: Borrow<T> + Into<Arc<T>>>(&mut self, value: V) -> Arc<T> {
        if let Some(known) = self.0.get(value.borrow()) {
            return known.clone();
        }
        let value: Arc<T> = value.into();
        self.0.insert(value.clone());
        value
    }

    /// Forgets what nobody else has any more.
    pub fn prune(&mut self) {
        self.0.retain(|value| Arc::strong_count(value) > 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_equal_is_the_same_until_nobody_has_it() {
        let mut shared = Shared::<[u8]>::default();
        let (one, other) = (shared.share(vec![1, 2]), shared.share(vec![1, 2]));
        assert!(Arc::ptr_eq(&one, &other) && !Arc::ptr_eq(&one, &shared.share(vec![3])));
        shared.prune();
        assert_eq!(shared.0.len(), 1);
    }
}
