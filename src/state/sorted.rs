//! Small maps and sets, of which there are many: who claims a CIDR, who has an address. Nearly always it is one, so that
//! a sorted list is all it takes. (A tree's smallest node has room for eleven.)

/// A map of few entries, sorted by key; a set where the values are nothing.
#[derive(Debug, Clone)]
pub(super) struct Sorted<K, V = ()>(Box<[(K, V)]>);

impl<K, V> Default for Sorted<K, V> {
    fn default() -> Self {
        Sorted(Box::default())
    }
}

impl<K: Ord, V> Sorted<K, V> {
    fn place(&self, key: &K) -> Result<usize, usize> {
        self.0.binary_search_by(|(it, _)| it.cmp(key))
    }

    pub(super) fn get(&self, key: &K) -> Option<&V> {
        self.place(key).ok().map(|at| &self.0[at].1)
    }

    pub(super) fn insert(&mut self, key: K, value: V) {
        match self.place(&key) {
            Ok(at) => self.0[at].1 = value,
            Err(at) => {
                let mut entries = std::mem::take(&mut self.0).into_vec();
                entries.reserve_exact(1);
                entries.insert(at, (key, value));
                self.0 = entries.into();
            }
        }
    }

    pub(super) fn remove(&mut self, key: &K) {
        if let Ok(at) = self.place(key) {
            let mut entries = std::mem::take(&mut self.0).into_vec();
            entries.remove(at);
            self.0 = entries.into();
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&K, &V)> + '_ {
        self.0.iter().map(|(key, value)| (key, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_sorted_and_each_key_has_one() {
        let mut claims = Sorted::default();
        for name in ["h2", "h1", "h3", "h2"] {
            claims.insert(name, "pending");
        }
        claims.insert("h1", "confirmed");
        claims.remove(&"h3");
        claims.remove(&"h4");
        assert_eq!(claims.iter().collect::<Vec<_>>(), [(&"h1", &"confirmed"), (&"h2", &"pending")]);
        assert!(claims.get(&"h3").is_none() && !claims.is_empty());
    }
}
