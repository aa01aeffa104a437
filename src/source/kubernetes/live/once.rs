//! Reading the API once: for `check`, and for a sweep of what is too numerous to follow.

use futures_util::future::try_join_all;

use super::claims::Claims;
use super::client::Form;
use super::config::Config;
use super::discover::{Found, discover};
use super::error::KubernetesError;
use super::list::Pages;
use super::objects::{Decoder, Place};
use super::part::Part;
use super::{ApiGroup, Resource, lookup};
use crate::model::{Detail, Name};
use crate::state::{Event, Follow, Lookup, Side};

/// How often a list begins again when the server forgets the version that it reads.
const ATTEMPTS: usize = 3;

/// Pods that can have an address of Calico's: on a node, not on its network, not finished.
const PODS: &str = "spec.hostNetwork=false,status.phase!=Succeeded,status.phase!=Failed,spec.nodeName!=";
/// The same for servers before v1.29, which cannot select by `hostNetwork`.
const PODS_BEFORE: &str = "status.phase!=Succeeded,status.phase!=Failed,spec.nodeName!=";

/// A resource, and its objects as the server writes them.
pub type RawList = (Resource, Vec<Vec<u8>>);

/// Reads lists, each as of its own version: no order holds between resources here, and whoever compares two of them has
/// to see a difference twice.
pub struct Reader {
    config: Config,
    found: Found,
    decoder: Decoder,
}

impl Reader {
    /// Finds Calico's group.
    ///
    /// # Errors
    /// The API cannot be read, or Calico is not there.
    pub async fn open(config: &Config) -> Result<Reader, KubernetesError> {
        let found = discover(&config.client, config.convention.group).await?;
        let decoder = config.decoder(found.group);
        Ok(Reader { config: config.clone(), found, decoder })
    }

    /// Hands every object of some resources to `each`, with as much of a block as `detail` asks for. Memory is that of two
    /// pages, whatever the cluster's size.
    ///
    /// # Errors
    /// Any [`KubernetesError`]. What was handed out then is a part, to be thrown away.
    pub async fn read(
        &self,
        resources: &[Resource],
        detail: &Detail,
        mut each: impl FnMut(&Place, Event),
    ) -> Result<(), KubernetesError> {
        let decoder = Decoder { detail: detail.clone(), ..self.decoder.clone() };
        for resource in resources.iter().filter(|it| self.found.serves(**it)) {
            let part = self.part(*resource);
            let pages = self.first(part, *resource == Resource::Pods).await?;
            self.list(pages, part, Form::Whole, &decoder, &mut each).await?;
        }
        Ok(())
    }

    /// All objects that the exporter knows how to read, as the server writes them, and the group that Calico's are in.
    ///
    /// # Errors
    /// Any [`KubernetesError`].
    pub async fn raw(&self) -> Result<(ApiGroup, Vec<RawList>), KubernetesError> {
        let mut lists = Vec::new();
        for resource in Resource::ALL.into_iter().filter(|it| self.found.serves(*it)) {
            let mut pages = self.first(self.part(resource), resource == Resource::Pods).await?;
            let mut items = Vec::new();
            while let Some(page) = pages.next().await? {
                items.extend(page);
            }
            lists.push((resource, items));
        }
        Ok((self.found.group, lists))
    }

    async fn all(&self, resource: Resource, form: Form) -> Result<Vec<Event>, KubernetesError> {
        let mut events = Vec::new();
        if self.found.serves(resource) {
            let part = self.part(resource);
            let pages = Pages::newest(&self.config.client, form, part).await?;
            self.list(pages, part, form, &self.decoder, &mut |_, event| events.push(event)).await?;
        }
        Ok(events)
    }

    fn part(&self, resource: Resource) -> Part {
        Part { resource, group: self.found.group }
    }

    async fn list(
        &self,
        mut pages: Pages,
        part: Part,
        form: Form,
        decoder: &Decoder,
        each: &mut impl FnMut(&Place, Event),
    ) -> Result<(), KubernetesError> {
        while let Some(page) = pages.next().await? {
            for item in page {
                let decoded = decoder.decode(part.resource, &item);
                let decoded = lookup::complete(&self.config.client, part, form, decoder, decoded).await?;
                let place = decoded.place.clone();
                // A list's object that is marked as deleted deletes nothing: it is not there.
                let events = decoded.events().into_iter().filter(|event| !matches!(event, Event::Delete(_)));
                events.for_each(|event| each(&place, event));
            }
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    async fn first(&self, part: Part, narrowed: bool) -> Result<Pages, KubernetesError> {
        let pages = |selector: Option<&str>| {
            let query: Vec<(&'static str, String)> =
                selector.map(|it| ("fieldSelector", it.to_owned())).into_iter().collect();
            Pages::new(&self.config.client, &query, Form::Whole, part)
        };
        if !narrowed {
            return Ok(pages(None));
        }
        let mut wanted = pages(Some(PODS));
        match wanted.peek().await {
            Err(KubernetesError::Failed { message, .. }) if message.contains("field label not supported") => {
                Ok(pages(Some(PODS_BEFORE)))
            }
            Err(error) => Err(error),
            Ok(()) => Ok(wanted),
        }
    }

    /// Reads one object in full; nothing where it is not there any more.
    ///
    /// # Errors
    /// Any [`KubernetesError`].
    pub async fn get(&self, resource: Resource, name: &Name) -> Result<Vec<Event>, KubernetesError> {
        let part = self.part(resource);
        let asked = self.config.client.asked("get", &part.words());
        match self.config.client.read(&format!("{}/{name}", part.path()), Form::Whole, &asked).await {
            Ok(body) => {
                let decoder = Decoder { detail: Detail::Full, ..self.decoder.clone() };
                Ok(decoder.decode(resource, &body).events())
            }
            Err(KubernetesError::NotFound { .. }) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// What is asked, as it is now.
    ///
    /// # Errors
    /// Any [`KubernetesError`].
    pub async fn answer(&self, lookups: &[Lookup]) -> Result<Vec<Event>, KubernetesError> {
        let mut events = Vec::new();
        for lookup in lookups {
            events.extend(lookup::answer(&self.config.client, &self.decoder, lookup).await?);
        }
        Ok(events)
    }

    /// What is followed ([`Config::follow`]), and where that is everything, handles and Pods as well: [`Event::Resync`],
    /// the objects, those of a host's own blocks last, [`Event::Synced`].
    ///
    /// # Errors
    /// Any [`KubernetesError`]; [`KubernetesError::Expired`] only if it happened three times in a row.
    pub async fn snapshot(&self) -> Result<Vec<Event>, KubernetesError> {
        let mut attempt = 1;
        loop {
            match self.snapshot_once().await {
                Err(KubernetesError::Expired { .. }) if attempt < ATTEMPTS => attempt += 1,
                result => return result,
            }
        }
    }

    async fn snapshot_once(&self) -> Result<Vec<Event>, KubernetesError> {
        let mut events = vec![Event::Resync(Side::Datastore)];
        // Together: the server is what is waited for, and it has other processors for other lists.
        let watched = self.config.watched().map(|(resource, form)| self.all(resource, form));
        events.extend(try_join_all(watched).await?.into_iter().flatten());
        // At an assignment the handle is written before the block, at a release the block before the handle.
        if self.config.follow == Follow::Blocks {
            let swept = [Resource::Handles, Resource::Pods];
            self.read(&swept, &self.decoder.detail, |_, event| events.push(event)).await?;
        }
        if let Follow::Affinities(me) = &self.config.follow {
            let mut claims = Claims::default();
            claims.note(me, &events);
            for (cidr, _) in claims.iter() {
                events.extend(lookup::block(&self.config.client, &self.decoder, &cidr).await?);
            }
        }
        events.push(Event::Synced(Side::Datastore));
        Ok(events)
    }
}
