//! The same clusters behind a real API server, followed there while they change: what is told of them is judged as they
//! are.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use calico_exporter::audit::{Auditor, Report};
use calico_exporter::source::archive::Archive;
use calico_exporter::source::kubernetes::{ApiGroup, Config, Reader};
use calico_exporter::state::{Event, Follow, Lookup, Object, ObjectId, Side, State};
use fastrand::Rng;
use serde_json::{Value, json};

use super::affinities::{affinities, ask, id_of, settle};
use super::world::World;
use super::{NOW, alike, all, beside_kernel, cases, dump, figures, first_case, healthy, mutate, sayable, words};
use crate::kubernetes::config;
use crate::support::custom;
use crate::support::etcd::DEADLINE;
use crate::support::follow::Source;
use crate::support::kube::{ApiServer, folder, path};

/// What an API server can keep of it: one endpoint of each Pod, and no Node that is not one.
fn keepable(world: &mut World) {
    let objects = std::mem::take(&mut world.objects);
    for (id, object) in objects {
        match object {
            Some(object) => world.put(custom::sayable(object)),
            None if matches!(id, ObjectId::Node(_)) => {}
            None => drop(world.objects.insert(id, None)),
        }
    }
}

/// What is written there, by path.
struct Written {
    server: ApiServer,
    group: ApiGroup,
    items: BTreeMap<String, Value>,
    rng: Rng,
}

impl Written {
    async fn start(group: ApiGroup) -> Option<Written> {
        let server = ApiServer::start(group.api_version()).await?;
        server.ensure_namespace("default").await;
        Some(Written { server, group, items: BTreeMap::new(), rng: Rng::with_seed(0x4b8) })
    }

    /// Watches end and are gone on from meanwhile, and drift is looked for if `checks`: what a watch misses stays so no
    /// longer than that.
    fn config(&self, follow: Follow, checks: bool) -> Config {
        let mut config = Config { follow, ..config(self.server.settings()) };
        config.pace.lasting = Duration::from_millis(500);
        if checks {
            config.pace.check = Duration::from_millis(300);
        }
        config
    }

    /// Writes what differs, in any order: none holds between resources.
    async fn write(&mut self, world: &World) {
        let pairs = dump::pairs(world);
        let items = pairs.iter().filter_map(|(key, value)| custom::item(self.group, key, value));
        let wanted: BTreeMap<String, Value> = items.map(|item| (path(&item), item)).collect();
        let paths: BTreeSet<&String> = self.items.keys().chain(wanted.keys()).collect();
        let differs = |path: &&String| self.items.get(*path) != wanted.get(*path);
        let mut paths: Vec<String> = paths.into_iter().filter(differs).cloned().collect();
        self.rng.shuffle(&mut paths);
        for path in paths {
            match (self.items.remove(&path), wanted.get(&path)) {
                (Some(before), None) => self.remove(path, before).await,
                (before, Some(item)) => {
                    match before {
                        Some(_) if item["kind"] != "Pod" => self.server.replace(&path, item).await,
                        // What a Pod is of never changes.
                        Some(_) => {
                            self.server.delete(&path).await;
                            self.server.create(&folder(item), item).await
                        }
                        None => self.server.create(&folder(item), item).await,
                    };
                    self.items.insert(path, item.clone());
                }
                (None, None) => unreachable!(),
            }
        }
    }

    /// Removes an object. What Calico deletes in two steps is marked first, sometimes, and then it may stay so.
    async fn remove(&mut self, path: String, mut item: Value) {
        let spec = &item["spec"];
        let is_ipam = spec["allocations"].is_array() || spec["state"].is_string() || spec["block"].is_object();
        if is_ipam && self.rng.bool() {
            let is_text = spec["deleted"].is_string();
            item["spec"]["deleted"] = if is_text { json!("true") } else { json!(true) };
            self.server.replace(&path, &item).await;
            if self.rng.bool() {
                self.items.insert(path, item);
                return;
            }
        }
        self.server.delete(&path).await;
    }
}

fn auditor(world: &World, follow: &Follow) -> Auditor {
    match follow {
        Follow::Blocks => super::auditor(world),
        Follow::Affinities(_) => super::affinities::auditor(world),
    }
}

/// What is to be seen: the events of the world itself, told as far as they are followed, and all its Pods.
fn expected(world: &World, group: ApiGroup, follow: &Follow) -> Report {
    let mut state = State::new(false).following(follow.clone());
    let events = sayable(world, group);
    let pods = events.iter().filter(|it| matches!(id_of(it), Some(ObjectId::Endpoint(_)))).cloned();
    let told = Archive::split(events.clone(), follow).0.into_iter().chain(pods);
    told.filter(|it| !matches!(id_of(it), Some(ObjectId::Handle(_)))).for_each(|it| state.apply(it, NOW.monotonic));
    settle(&mut auditor(world, follow), &mut state, &Archive::split(events, &affinities(world)).1)
}

/// A source at work, and what is made of what it tells.
struct Live {
    source: Source,
    follow: Follow,
    state: State,
    auditor: Auditor,
    /// What it told of since the last look.
    heard: BTreeSet<ObjectId>,
}

impl Live {
    fn start(config: Config, world: &World) -> Live {
        let follow = config.follow.clone();
        let source = Source::start_kubernetes(config);
        let mut state = State::new(false).following(follow.clone());
        let kernel = beside_kernel(vec![Event::Resync(Side::Kernel)], world);
        kernel.into_iter().for_each(|event| state.apply(event, NOW.monotonic));
        Live { source, auditor: auditor(world, &follow), follow, state, heard: BTreeSet::new() }
    }

    /// Takes in what it tells.
    async fn hear(&mut self) {
        for event in self.source.receive().await {
            self.heard.extend(id_of(&event));
            self.state.apply(event, NOW.monotonic);
        }
    }

    /// Asks, and waits until it is told.
    async fn look_up(&mut self, wanted: Vec<Lookup>) {
        let started = Instant::now();
        for lookup in wanted {
            let id = lookup.id();
            // A block that has become this host's is followed, and told of by itself.
            if !self.heard.contains(&id) {
                self.source.ask(lookup).await;
            }
            while !self.heard.contains(&id) {
                assert!(started.elapsed() < DEADLINE, "never answered: {id:?}");
                self.hear().await;
            }
        }
    }

    /// Pods are not followed: those that are not known as they are.
    fn changed_pods(&self, world: &World) -> Vec<Lookup> {
        let known = self.state.datastore.endpoints();
        let is_known = |id: &ObjectId, object: &Object| match (id, object) {
            (ObjectId::Endpoint(id), Object::Endpoint(it)) => known.get(id) == Some(it),
            _ => true,
        };
        let there = world.objects.iter().filter_map(|(id, object)| Some((id, object.as_ref()?)));
        let new = there.filter(|(id, object)| !is_known(id, object)).map(|(id, _)| id.clone());
        let ids = known.keys().cloned().map(ObjectId::Endpoint);
        let gone = ids.filter(|id| !world.objects.contains_key(id));
        let pods = new.chain(gone).filter_map(|id| if let ObjectId::Endpoint(id) = id { Some(id) } else { None });
        pods.map(Lookup::Endpoint).collect()
    }

    async fn report(&mut self, world: &World) -> Report {
        self.heard.clear();
        self.look_up(self.changed_pods(world)).await;
        let mut asked = BTreeSet::new();
        loop {
            self.heard.clear();
            match ask(&mut self.auditor, &mut self.state, &mut asked) {
                ControlFlow::Continue(wanted) => self.look_up(wanted).await,
                ControlFlow::Break(report) => return report,
            }
        }
    }

    /// Sees that sooner or later it says of the world what there is to say.
    async fn agree(&mut self, world: &World, group: ApiGroup, told: &str) {
        let wanted = expected(world, group, &self.follow);
        let started = Instant::now();
        loop {
            while !self.state.in_sync(Side::Datastore) && started.elapsed() < DEADLINE {
                self.hear().await;
            }
            let report = self.report(world).await;
            if alike(&report, &wanted) {
                return;
            }
            assert!(
                started.elapsed() < DEADLINE,
                "{told}: {group}, {:?}: live against fresh {:#?} {:#?} {}",
                self.follow,
                figures(&report),
                figures(&wanted),
                words::disagreement(world, &all(&report), &all(&wanted))
            );
            self.hear().await;
        }
    }
}

#[tokio::test]
async fn what_is_told_of_a_cluster_while_it_changes_is_judged_as_the_cluster_is() {
    for (turn, group) in ApiGroup::ALL.into_iter().enumerate() {
        let Some(mut written) = Written::start(group).await else { return };
        for seed in (first_case()..first_case() + cases() / 10).skip(turn).step_by(2) {
            let mut rng = Rng::with_seed(seed ^ 0x11fe);
            let mut world = healthy(seed);
            keepable(&mut world);
            // They begin with the cluster of before, which becomes this one while they read.
            let mut live = [Follow::Blocks, affinities(&world)]
                .map(|follow| Live::start(written.config(follow, seed % 4 > 1), &world));
            let mut mutations = Vec::new();
            for _ in 0..8 {
                written.write(&world).await;
                let told = format!("seed {seed}, {mutations:#?}");
                for live in &mut live {
                    live.agree(&world, group, &told).await;
                }
                let reader = Reader::open(&written.config(Follow::Blocks, false)).await.unwrap();
                let read = super::fresh(&world, beside_kernel(reader.snapshot().await.unwrap(), &world));
                let wanted = super::fresh(&world, sayable(&world, group));
                let differs = || words::disagreement(&world, &all(&read), &all(&wanted));
                assert!(alike(&read, &wanted), "{told}: {group}, read once {}", differs());

                let before = world.clone();
                mutations.extend((0..rng.u32(1..=4)).map(|_| mutate::mutate(&mut world, &mut rng)));
                keepable(&mut world);
                let kernel = before.until(&world).into_iter().filter(|event| id_of(event).is_none());
                for event in kernel {
                    live.iter_mut().for_each(|live| live.state.apply(event.clone(), NOW.monotonic));
                }
            }
            for live in live {
                live.source.stop().await;
            }
        }
    }
}
