//! What a Node is labelled with: the text that selectors choose by.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::shared::Shared;

/// A label's name and value.
pub type Label = (Box<str>, Box<str>);

/// Labels by name. Nearly all of a cluster's Nodes have the same dozens of them, so that each pair can be kept once
/// ([`Labels::share`]).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Labels(Box<[Arc<Label>]>);

impl Labels {
    /// The value of a label.
    pub fn get(&self, name: &str) -> Option<&str> {
        let at = self.0.binary_search_by(|label| (*label.0).cmp(name)).ok()?;
        Some(&self.0[at].1)
    }

    /// All, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> + '_ {
        self.0.iter().map(|label| (&*label.0, &*label.1))
    }

    /// The same, with what is known already kept there alone.
    #[must_use]
    pub fn share(self, known: &mut Shared<Label>) -> Labels {
        Labels(self.0.into_iter().map(|label| known.share(label)).collect())
    }
}

impl<K: Into<Box<str>>, V: Into<Box<str>>> FromIterator<(K, V)> for Labels {
    /// Of two values of a label the later one counts.
    fn from_iter<T: IntoIterator<Item = (K, V)>>(labels: T) -> Labels {
        let labels: BTreeMap<_, _> = labels.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        Labels(labels.into_iter().map(Arc::new).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_label_has_one_value_and_alike_pairs_are_one() {
        let labels: Labels = [("zone", "b"), ("arch", "amd64"), ("zone", "a")].into_iter().collect();
        assert_eq!(labels.iter().collect::<Vec<_>>(), [("arch", "amd64"), ("zone", "a")]);
        assert_eq!((labels.get("zone"), labels.get("rack")), (Some("a"), None));
        let mut known = Shared::default();
        let (one, other) = (labels.clone().share(&mut known), labels.clone().share(&mut known));
        assert!(one == labels && one.0.iter().zip(&other.0).all(|(one, other)| Arc::ptr_eq(one, other)));
    }
}
