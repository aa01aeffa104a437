//! Where the pictures come from. Every source speaks [`crate::state::Event`] and nothing else.

pub mod iproute;
pub mod netlink;
