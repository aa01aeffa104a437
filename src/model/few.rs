//! Lists that are nearly always empty, of which every block of a large cluster has several.

use std::ops::Deref;

/// A list that takes a word while it is empty, where a slice in a box takes two and a vector three.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Few<T>(#[allow(clippy::box_collection, reason = "the box is what makes it one word")] Option<Box<Vec<T>>>);

impl<T> Few<T> {
    /// The list, to be changed.
    pub(super) fn to_mut(&mut self) -> &mut Vec<T> {
        self.0.get_or_insert_default()
    }
}

impl<T> Default for Few<T> {
    fn default() -> Self {
        Few(None)
    }
}

impl<T> Deref for Few<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        self.0.as_ref().map_or(&[], |list| list)
    }
}

impl<T> From<Vec<T>> for Few<T> {
    fn from(list: Vec<T>) -> Self {
        Few((!list.is_empty()).then(|| Box::new(list)))
    }
}

impl<T> FromIterator<T> for Few<T> {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        items.into_iter().collect::<Vec<T>>().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_all_that_nothing_takes() {
        assert_eq!(size_of::<Few<u64>>(), size_of::<usize>());
        let mut few: Few<u32> = Vec::new().into();
        assert_eq!(few, Few::default());
        assert_eq!((few.len(), few.first()), (0, None));
        few.to_mut().push(7);
        assert_eq!(few, [7].into_iter().collect());
        assert_eq!(&*few, [7]);
    }
}
