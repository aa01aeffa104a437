//! What is configured for the host, read from the objects a second time (reference 1.4, 4.1).

use calico_exporter::model::{FelixConfiguration, PoolClass, ProgramClusterRoutes as Program, Protocol};
use calico_exporter::state::{Object, ObjectId};

use super::world::World;

pub(super) struct Setting {
    pub(super) minor: u32,
    pub(super) felix_ipip: bool,
    pub(super) felix_plain: bool,
    pub(super) bird_ipip: bool,
    pub(super) bird_plain: bool,
    /// Both settings are written.
    pub(super) in_words: bool,
    /// A configuration that may say who programs what cannot be read.
    pub(super) unknown: bool,
    pub(super) felix_routes: bool,
    /// Floating addresses are programmed.
    pub(super) floating: bool,
    pub(super) protocol: Protocol,
    prefixes: Vec<String>,
}

impl Setting {
    pub(super) fn of(world: &World) -> Setting {
        let own = format!("node.{}", world.me);
        let sources: Vec<&FelixConfiguration> =
            [own.as_str(), "scoped", "default"].iter().filter_map(|name| world.felix(name)).collect();
        let bgp = |name: &str| match world.objects.get(&ObjectId::BgpConfiguration(name.into())) {
            Some(Some(Object::BgpConfiguration(_, config))) => config.program_cluster_routes,
            _ => None,
        };
        let version = match world.objects.get(&ObjectId::Cluster) {
            Some(Some(Object::Cluster(cluster))) => cluster.calico_version.clone(),
            _ => String::new(),
        };
        let minor = version.strip_prefix("v3.").and_then(|it| it.split('.').next()?.parse().ok()).unwrap_or(33);
        let felix = sources.iter().find_map(|it| it.program_cluster_routes);
        let bird = bgp(&own).or(bgp("default"));
        let tunnels = world.pools().any(|pool| matches!(pool.class(), PoolClass::Vxlan | PoolClass::Ipip));
        let pair = |setting| match setting {
            Program::Disabled => (false, false),
            Program::EnabledIpipOnly => (true, false),
            Program::EnabledNoEncapOnly => (false, true),
            Program::Enabled => (true, true),
        };
        let (felix_ipip, felix_plain) = match minor {
            33.. => pair(felix.unwrap_or(Program::EnabledIpipOnly)),
            31 | 32 if felix == Some(Program::Enabled) => (true, !tunnels),
            _ => (false, false),
        };
        let (bird_ipip, bird_plain) = match minor {
            33.. => pair(bird.unwrap_or(Program::EnabledNoEncapOnly)),
            32 => pair(bird.unwrap_or(Program::Enabled)),
            _ => (true, true),
        };
        let dark = |id: ObjectId| world.objects.get(&id) == Some(&None);
        let any_dark = |name: &str| dark(ObjectId::Felix(name.into())) || dark(ObjectId::BgpConfiguration(name.into()));
        let openstack = matches!(
            world.objects.get(&ObjectId::Cluster),
            Some(Some(Object::Cluster(cluster))) if cluster.cluster_type.contains("openstack")
        );
        let prefixes = sources.iter().find_map(|it| it.interface_prefix.clone()).unwrap_or("cali".to_owned());
        Setting {
            minor,
            felix_ipip,
            felix_plain,
            bird_ipip,
            bird_plain,
            in_words: felix.is_some() && bird.is_some(),
            unknown: any_dark(&own) || any_dark("default"),
            felix_routes: sources.iter().find_map(|it| it.route_sync_disabled) != Some(true),
            floating: sources.iter().find_map(|it| it.floating_ips) == Some(true) || openstack,
            protocol: Protocol(sources.iter().find_map(|it| it.device_route_protocol).unwrap_or(3)),
            prefixes: prefixes.split(',').map(|it| it.trim().to_owned()).filter(|it| !it.is_empty()).collect(),
        }
    }

    pub(super) fn is_workload(&self, device: &str) -> bool {
        self.prefixes.iter().any(|prefix| device.starts_with(prefix))
    }
}
