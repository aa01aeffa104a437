//! A list in pages, all as of one version. The next page is on its way while the last one is decoded, and never more than
//! that: memory is that of two pages.

use std::borrow::Cow;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::task::JoinHandle;

use super::client::{Client, Form, with_query};
use super::error::{Asked, KubernetesError};
use super::follow::Part;

/// Reads a list page by page.
pub(super) struct Pages {
    client: Client,
    path: String,
    query: Vec<(&'static str, String)>,
    form: Form,
    asked: Asked,
    coming: Option<Coming>,
    /// One that has come and was not asked for yet.
    came: Option<Bytes>,
    /// The version that the list is of; known once the first page has been read.
    version: u64,
    /// Whether one page is enough.
    alone: bool,
}

struct Coming(JoinHandle<Result<Bytes, KubernetesError>>);

impl Drop for Coming {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Objects, each as it was written.
pub(super) type Page = Vec<Bytes>;

#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(default)]
    metadata: ListMeta<'a>,
    // Not one without items: what a proxy makes up is no empty list.
    #[serde(borrow, deserialize_with = "or_null")]
    items: Vec<&'a RawValue>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct ListMeta<'a> {
    #[serde(borrow)]
    resource_version: Cow<'a, str>,
    #[serde(borrow)]
    r#continue: Cow<'a, str>,
}

/// Go writes an empty list as null, where it means one.
fn or_null<'de: 'a, 'a, D: serde::Deserializer<'de>>(from: D) -> Result<Vec<&'a RawValue>, D::Error> {
    Option::<Vec<&'a RawValue>>::deserialize(from).map(Option::unwrap_or_default)
}

impl Pages {
    /// A list of a resource, narrowed by `query`, as of the newest version.
    ///
    /// Never with `resourceVersion=0`: the server would answer from a cache of any age and ignore the limit.
    pub(super) fn new(client: &Client, query: &[(&'static str, String)], form: Form, part: Part) -> Pages {
        Pages::begin(client, query, form, part, part.page(form))
    }

    /// The first object alone: what matters is the version.
    pub(super) fn one(client: &Client, query: &[(&'static str, String)], form: Form, part: Part) -> Pages {
        Pages { alone: true, ..Pages::begin(client, query, form, part, "1") }
    }

    fn begin(client: &Client, query: &[(&'static str, String)], form: Form, part: Part, limit: &str) -> Pages {
        let mut query = query.to_vec();
        query.push(("limit", limit.to_owned()));
        let mut pages = Pages {
            alone: false,
            client: client.clone(),
            path: part.path(),
            query,
            form,
            asked: client.asked("list", &part.words()),
            coming: None,
            came: None,
            version: 0,
        };
        pages.ask(None);
        pages
    }

    /// The version that the list is of; 0 before the first page.
    pub(super) fn version(&self) -> u64 {
        self.version
    }

    fn ask(&mut self, token: Option<String>) {
        let more = token.map(|token| ("continue", token));
        let path = with_query(&self.path, self.query.iter().chain(&more));
        let (client, form, asked) = (self.client.clone(), self.form, self.asked.clone());
        self.coming =
            Some(Coming(tokio::spawn(async move { client.read(&path, form, &asked).await.map(Bytes::from) })));
    }

    /// The next page; `None` at the end.
    ///
    /// # Errors
    /// [`KubernetesError::Expired`]: begin again. The token that such an answer offers goes on with a list that never
    /// was, and is not used.
    pub(super) async fn next(&mut self) -> Result<Option<Page>, KubernetesError> {
        let body = match self.came.take() {
            Some(body) => body,
            None => match self.receive().await? {
                Some(body) => body,
                None => return Ok(None),
            },
        };
        let Answer { metadata, items } = serde_json::from_slice(&body)
            .map_err(|error| self.asked.failed(format!("what it answers is no list: {error}")))?;
        let version = version(&metadata.resource_version, &self.asked)?;
        match self.version {
            0 => self.version = version,
            before if before != version => return Err(self.asked.history(before, version)),
            _ => {}
        }
        if !metadata.r#continue.is_empty() && !self.alone {
            self.ask(Some(metadata.r#continue.into_owned()));
        }
        Ok(Some(items.into_iter().map(|item| body.slice_ref(item.get().as_bytes())).collect()))
    }

    async fn receive(&mut self) -> Result<Option<Bytes>, KubernetesError> {
        let Some(mut coming) = self.coming.take() else { return Ok(None) };
        match (&mut coming.0).await {
            Ok(body) => body.map(Some),
            Err(join) => Err(self.asked.unreachable(join)),
        }
    }

    /// Waits for the first page, to see whether such a list can be had.
    ///
    /// # Errors
    /// As [`Pages::next`].
    pub(super) async fn peek(&mut self) -> Result<(), KubernetesError> {
        self.came = self.receive().await?;
        Ok(())
    }

    pub(super) fn asked(&self) -> &Asked {
        &self.asked
    }
}

/// A version as a number: Kubernetes promises that they are, and that they grow
/// (<https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-versions>).
pub(super) fn version(text: &str, asked: &Asked) -> Result<u64, KubernetesError> {
    match text.parse() {
        Ok(version) if version > 0 => Ok(version),
        _ => Err(asked.failed(format!("resourceVersion {text:?} is no number"))),
    }
}

/// What every object says of itself.
#[derive(Deserialize)]
pub(super) struct Meta<'a> {
    /// Its name, which is never taken apart.
    #[serde(borrow)]
    pub name: Cow<'a, str>,
    /// Its version.
    #[serde(borrow, rename = "resourceVersion")]
    pub version: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Object<'a> {
    #[serde(borrow)]
    metadata: Meta<'a>,
}

/// Name and version of an object.
pub(super) fn meta<'a>(object: &'a [u8], asked: &Asked) -> Result<(Cow<'a, str>, u64), KubernetesError> {
    let object: Object<'a> =
        serde_json::from_slice(object).map_err(|error| asked.failed(format!("an object without name: {error}")))?;
    let version = version(&object.metadata.version, asked)?;
    Ok((object.metadata.name, version))
}
