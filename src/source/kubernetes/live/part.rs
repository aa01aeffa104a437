//! A resource in one of the groups that it may be in.

use super::{ApiGroup, Resource};

/// Which objects, and in which group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Part {
    pub resource: Resource,
    pub group: ApiGroup,
}

impl Part {
    pub(super) fn path(self) -> String {
        self.resource.path(self.group)
    }

    /// As the server names it when it refuses.
    pub(super) fn words(self) -> String {
        let plural = self.resource.plural(self.group);
        match self.resource.api_version(self.group).split_once('/') {
            Some((group, _)) => format!("{plural}.{group}"),
            None => plural.to_owned(),
        }
    }
}
