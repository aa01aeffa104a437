//! Where calico-node runs, and with it how a command of an action is typed.
//!
//! Rules write a command between backticks as its program's manual has it: `birdcl show protocols`. What stands around
//! it depends on the cluster, which says of itself in `ClusterInformation.clusterType` whether Kubernetes runs
//! calico-node (`k8s`), whether its operator does (`operator`: another namespace), and whether the datastore is the
//! Kubernetes API (`kdd`; all three written by `node/pkg/lifecycle/startup`).

use std::borrow::Cow;

use super::finding::Finding;
use crate::model::{Family, Name, net_of};
use crate::state::Datastore;

/// Where calico-node runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Runs {
    /// On the host itself, as a service or a container.
    OnHost,
    /// In a pod of this namespace.
    InPod(&'static str),
}

/// What the datastore says of how commands are typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    runs: Runs,
    /// The datastore is the Kubernetes API: a Node is Kubernetes', and calicoctl does not delete it.
    by_kubernetes: bool,
}

impl Place {
    /// As the datastore says.
    pub(super) fn of(datastore: &Datastore) -> Place {
        let has = |word: &str| datastore.cluster().is_some_and(|cluster| cluster.has_type(word));
        let runs = match (has("k8s"), has("operator")) {
            (false, _) => Runs::OnHost,
            (true, true) => Runs::InPod("calico-system"),
            (true, false) => Runs::InPod("kube-system"),
        };
        Place { runs, by_kubernetes: has("kdd") }
    }

    /// Writes the commands of a finding's action as they are typed; `me`: the host that it was found on.
    pub(super) fn localize(self, finding: &mut Finding, me: Option<&Name>) {
        // Of a report with very many findings hardly one has a command: no subject is parsed for the others.
        if !has_commands(&finding.action) {
            return;
        }
        let family = net_of(&finding.subject).map_or(Family::V4, |net| Family::of_net(&net));
        if let Cow::Owned(action) = self.typed(&finding.action, family, me) {
            finding.action = action;
        }
    }

    /// The text with each command between backticks as it is typed.
    pub(super) fn typed<'t>(self, text: &'t str, family: Family, me: Option<&Name>) -> Cow<'t, str> {
        if !has_commands(text) {
            return Cow::Borrowed(text);
        }
        let parts = text.split('`').enumerate().map(|(at, part)| match at % 2 {
            0 => Cow::Borrowed(part),
            _ => self.command(part, family, me),
        });
        Cow::Owned(parts.collect::<Vec<_>>().join("`"))
    }

    fn command<'t>(self, command: &'t str, family: Family, me: Option<&Name>) -> Cow<'t, str> {
        // One with its socket is typed already.
        if let Some(arguments) = command.strip_prefix("birdcl ").filter(|it| !it.starts_with("-s ")) {
            let socket = match family {
                Family::V4 => "bird.ctl",
                Family::V6 => "bird6.ctl",
            };
            let birdcl = format!("birdcl -s /var/run/calico/{socket} {arguments}");
            return Cow::Owned(match self.runs {
                Runs::OnHost => birdcl,
                Runs::InPod(namespace) => {
                    let host = me.map_or("HOST", |me| &**me);
                    format!(
                        "kubectl -n {namespace} exec $(kubectl -n {namespace} get pods -l k8s-app=calico-node -o name \
                         --field-selector spec.nodeName={host}) -c calico-node -- {birdcl}"
                    )
                }
            });
        }
        match command.strip_prefix("calicoctl delete node ").filter(|_| self.by_kubernetes) {
            Some(node) => Cow::Owned(format!("kubectl delete node {node}")),
            None => Cow::Borrowed(command),
        }
    }
}

/// Whether the text names a command that is typed in different ways.
fn has_commands(text: &str) -> bool {
    text.contains("`birdcl ") || text.contains("`calicoctl delete node ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::testing::Cluster;
    use crate::model::ClusterInformation;
    use crate::state::Object;

    fn place(cluster_type: &str) -> Place {
        let mut cluster = Cluster::new();
        let information = ClusterInformation { cluster_type: cluster_type.to_owned(), ..ClusterInformation::default() };
        cluster.put(Object::Cluster(information));
        Place::of(cluster.datastore())
    }

    fn typed(cluster_type: &str, text: &str, family: Family) -> String {
        place(cluster_type).typed(text, family, Some(&"h1".into())).into_owned()
    }

    #[test]
    fn commands_are_typed_where_calico_node_runs() {
        let text = "see BIRD (`birdcl show protocols`); `ip route` is the same";
        let on_host = "see BIRD (`birdcl -s /var/run/calico/bird.ctl show protocols`); `ip route` is the same";
        for plain in ["", "bgp", "openstack,bgp"] {
            assert_eq!(typed(plain, text, Family::V4), on_host, "{plain}");
        }
        for (cluster, namespace) in [("k8s,bgp", "kube-system"), ("typha,kdd,k8s,operator,bgp", "calico-system")] {
            let found = typed(cluster, text, Family::V6);
            let pods = format!(
                "kubectl -n {namespace} get pods -l k8s-app=calico-node -o name --field-selector spec.nodeName=h1"
            );
            let birdcl = "birdcl -s /var/run/calico/bird6.ctl show protocols";
            let wanted = format!("`kubectl -n {namespace} exec $({pods}) -c calico-node -- {birdcl}`");
            assert_eq!(found, format!("see BIRD ({wanted}); `ip route` is the same"));
        }
    }

    #[test]
    fn what_is_typed_already_stays() {
        for cluster in ["bgp", "k8s,kdd"] {
            let once = typed(cluster, "`birdcl show status`, `calicoctl delete node h2`", Family::V4);
            assert_eq!(typed(cluster, &once, Family::V4), once);
        }
    }

    #[test]
    fn a_node_is_deleted_where_the_datastore_lets_it_be() {
        let text = "release it: `calicoctl delete node h2`";
        assert_eq!(typed("k8s,bgp", text, Family::V4), text);
        assert_eq!(typed("k8s,bgp,kdd", text, Family::V4), "release it: `kubectl delete node h2`");
    }

    #[test]
    fn what_holds_no_such_command_is_left_alone() {
        for text in ["", "see ip link", "`", "`birdcl", "a ` b"] {
            assert!(matches!(place("k8s").typed(text, Family::V4, None), Cow::Borrowed(_)), "{text}");
        }
    }
}
