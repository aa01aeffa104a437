//! Trees of very many entries, kept small.

use std::collections::BTreeMap;

/// Fills a tree's nodes: one that was filled in order, as lists and dumps come, has them half empty.
pub(crate) fn pack<K: Ord, V>(tree: &mut BTreeMap<K, V>) {
    *tree = std::mem::take(tree).into_iter().collect();
}
