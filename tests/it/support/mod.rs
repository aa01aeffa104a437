//! What the tests share.

pub(crate) mod netns;
pub(crate) mod picture;
