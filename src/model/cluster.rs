//! Cluster-wide facts: `ClusterInformation` and the IPAM configuration.

/// `ClusterInformation` `default` (`api/pkg/apis/projectcalico/v3/clusterinfo.go`).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClusterInformation {
    /// Comma-separated words, e.g. `k8s,bgp`.
    pub cluster_type: String,
    /// Calico's version; a node may lag behind it during an upgrade.
    pub calico_version: String,
    /// False while the datastore is locked for a migration: its data stands still.
    pub datastore_ready: Option<bool>,
}

impl ClusterInformation {
    /// Whether `clusterType` lists the word.
    pub fn has_type(&self, word: &str) -> bool {
        self.cluster_type.split(',').any(|part| part.trim() == word)
    }
}

/// `/calico/ipam/v2/config` (`libcalico-go/lib/backend/model/ipam_config.go`). In a stored object an absent key is
/// false or 0; a missing object means [`IpamConfig::default`] (`GetIPAMConfig`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IpamConfig {
    /// No borrowing.
    pub strict_affinity: bool,
    /// Hosts may claim blocks by themselves.
    pub auto_allocate_blocks: bool,
    /// Blocks a host may have of one IP version; 0 means [`IpamConfig::DEFAULT_MAX_BLOCKS`].
    pub max_blocks_per_host: u32,
    /// How long a released address rests, in seconds.
    pub ip_cooldown_seconds: u32,
}

impl IpamConfig {
    /// `ipam.go`, `autoAssign`: the limit where none is set.
    pub const DEFAULT_MAX_BLOCKS: u32 = 20;

    /// The limit in force, per host and IP version.
    pub fn max_blocks(&self) -> u32 {
        match self.max_blocks_per_host {
            0 => Self::DEFAULT_MAX_BLOCKS,
            limit => limit,
        }
    }
}

impl Default for IpamConfig {
    fn default() -> Self {
        IpamConfig {
            strict_affinity: false,
            auto_allocate_blocks: true,
            max_blocks_per_host: 0,
            ip_cooldown_seconds: 0,
        }
    }
}
