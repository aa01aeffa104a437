//! A list, taken apart while it arrives. In pages it is all as of one version, and the next page is asked for as soon as
//! one says where that begins, which is before its objects: the server prepares it meanwhile. Memory is that of a few
//! objects and what a connection holds back.

use std::borrow::Cow;
use std::collections::HashSet;
use std::pin::pin;
use std::time::Instant;

use serde::Deserialize;
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;

use super::client::{Body, Client, Form, with_query};
use super::error::{Asked, KubernetesError};
use super::items::{Items, ListMeta};
use super::part::Part;
use crate::source::progress::{Patience, Progress};

/// Objects in a page: Kubernetes' own clients ask for so many.
const PAGE: u64 = 500;
/// Objects handed over at once, and how many times so many may wait to be decoded.
const BATCH: usize = 32;
const WAITING: usize = 2;
/// Objects of a list, at most: ten times the Pods that Kubernetes is tried with. A server that has more is not believed.
const MOST: usize = 2_000_000;
/// Pages one after the other that hold nothing, at most: a selector may leave out all of a page, but not for ever.
const MOST_EMPTY: usize = 1000;

/// Reads a list.
pub(super) struct Pages {
    asked: Asked,
    coming: mpsc::Receiver<Result<Told, KubernetesError>>,
    /// What has come and was not asked for yet.
    came: Option<Result<Told, KubernetesError>>,
    /// The version that the list is of; known at the end of the first page.
    version: u64,
    /// How many objects came after the last page that was read.
    remaining: u64,
    ended: bool,
    /// That it is late, until somebody has heard of it.
    late: Option<KubernetesError>,
    _reading: Reading,
}

struct Reading(JoinHandle<()>);

impl Drop for Reading {
    fn drop(&mut self) {
        self.0.abort();
    }
}

enum Told {
    Objects(Page),
    /// The list is late, and goes on.
    Late(KubernetesError),
    /// A page has ended.
    Page {
        /// Its version.
        version: u64,
        /// How many objects follow.
        remaining: u64,
        /// The list has ended with it.
        last: bool,
    },
}

/// What is asked for, page after page.
#[derive(Clone)]
struct Question {
    client: Client,
    path: String,
    query: Vec<(&'static str, String)>,
    form: Form,
    asked: Asked,
    /// The first page is all that is wanted.
    alone: bool,
}

impl Question {
    fn is_last(&self, page: &ListMeta) -> bool {
        self.alone || page.r#continue.is_empty()
    }

    /// Asks for what follows a page, unless that was done or it is the last.
    fn ask(&self, page: ListMeta, coming: &mut JoinSet<Result<Body, KubernetesError>>) {
        if coming.is_empty() && !self.is_last(&page) {
            let question = self.clone();
            coming.spawn(async move { question.open(Some(page.r#continue)).await });
        }
    }

    /// The page that begins where another has said, or the first one.
    async fn open(&self, from: Option<String>) -> Result<Body, KubernetesError> {
        let from = from.map(|token| ("continue", token));
        let path = with_query(&self.path, self.query.iter().chain(&from));
        self.client.open(&path, self.form, &self.asked).await
    }
}

/// Objects, each as it was written.
pub(super) type Page = Vec<Vec<u8>>;

impl Pages {
    /// A list of a resource, narrowed by `query`, as of the newest version.
    pub(super) fn new(client: &Client, query: &[(&'static str, String)], form: Form, part: Part) -> Pages {
        Pages::begin(client, query, form, part, &[("limit", PAGE.to_string())])
    }

    /// The first object alone: what matters is the version.
    pub(super) fn one(client: &Client, query: &[(&'static str, String)], form: Form, part: Part) -> Pages {
        Pages::begin(client, query, form, part, &[("limit", "1".to_owned())])
    }

    /// A list as the server has it in memory, which costs it least: of any age, and never in pages.
    pub(super) fn remembered(client: &Client, form: Form, part: Part) -> Pages {
        Pages::begin(client, &[], form, part, &[("resourceVersion", "0".to_owned())])
    }

    /// A list as of the newest version, from the server's memory where that is known to be as new. Of a list in pages
    /// only the first is sure to be answered from there, the others cost the server three times as much.
    pub(super) async fn newest(client: &Client, form: Form, part: Part) -> Result<Pages, KubernetesError> {
        let mut first = Pages::one(client, &[], Form::Metadata, part);
        while first.next().await?.is_some() {}
        if first.remaining >= PAGE {
            let not_older =
                [("resourceVersion", first.version.to_string()), ("resourceVersionMatch", "NotOlderThan".to_owned())];
            let mut pages = Pages::begin(client, &[], form, part, &not_older);
            match pages.peek().await {
                // An old etcd does not tell it how new that is.
                Err(KubernetesError::Busy { .. }) => {}
                Err(error) => return Err(error),
                Ok(()) => return Ok(pages),
            }
        }
        Ok(Pages::new(client, &[], form, part))
    }

    fn begin(
        client: &Client,
        query: &[(&'static str, String)],
        form: Form,
        part: Part,
        more: &[(&'static str, String)],
    ) -> Pages {
        let mut query = query.to_vec();
        query.extend_from_slice(more);
        let asked = client.asked("list", &part.words());
        let (sender, coming) = mpsc::channel(WAITING);
        let alone = more.contains(&("limit", "1".to_owned()));
        let (client, path) = (client.clone(), part.path());
        let question = Question { client, path, query, form, asked: asked.clone(), alone };
        let reading = tokio::spawn(async move {
            if let Err(error) = read(question, &sender).await {
                // Whoever reads may have stopped.
                let _ = sender.send(Err(error)).await;
            }
        });
        Pages {
            asked,
            coming,
            came: None,
            version: 0,
            remaining: 0,
            ended: false,
            late: None,
            _reading: Reading(reading),
        }
    }

    /// The version that the list is of; 0 before the end of its first page.
    pub(super) fn version(&self) -> u64 {
        self.version
    }

    /// The next objects; `None` at the end.
    ///
    /// # Errors
    /// [`KubernetesError::Expired`]: begin again. The token that such an answer offers goes on with a list that never
    /// was, and is not used.
    pub(super) async fn next(&mut self) -> Result<Option<Page>, KubernetesError> {
        while !self.ended {
            let told = match self.came.take() {
                Some(told) => told,
                None => self.coming.recv().await.unwrap_or_else(|| Err(self.asked.unreachable("it broke off"))),
            };
            match told? {
                Told::Objects(objects) => return Ok(Some(objects)),
                Told::Late(late) => {
                    self.late = Some(late);
                    return Ok(Some(Page::new()));
                }
                Told::Page { version, .. } if self.version != 0 && self.version != version => {
                    return Err(self.asked.history(self.version, version));
                }
                Told::Page { version, remaining, last } => {
                    (self.version, self.remaining, self.ended) = (version, remaining, last);
                }
            }
        }
        Ok(None)
    }

    /// Waits for the first objects, to see whether such a list can be had.
    ///
    /// # Errors
    /// As [`Pages::next`].
    pub(super) async fn peek(&mut self) -> Result<(), KubernetesError> {
        match self.coming.recv().await {
            Some(Err(error)) => Err(error),
            told => {
                self.came = told;
                Ok(())
            }
        }
    }

    pub(super) fn asked(&self) -> &Asked {
        &self.asked
    }

    /// That the list is late, once: until it is whole, what is known is old.
    pub(super) fn late(&mut self) -> Option<KubernetesError> {
        self.late.take()
    }
}

/// What pages have said so far, and how long they took.
struct Course {
    patience: Patience,
    progress: Progress,
    is_late: bool,
    /// Where pages began. A server that says one twice goes round in circles.
    tokens: HashSet<String>,
    remaining: u64,
    objects: usize,
    empty: usize,
}

impl Course {
    fn new(patience: Patience) -> Course {
        let (progress, tokens) = (Progress::default(), HashSet::new());
        Course { patience, progress, is_late: false, tokens, remaining: 0, objects: 0, empty: 0 }
    }

    /// Waits for the server, for as long as it makes progress.
    async fn wait<T>(
        &mut self,
        what: impl Future<Output = T>,
        sender: &mpsc::Sender<Result<Told, KubernetesError>>,
        asked: &Asked,
    ) -> Result<T, KubernetesError> {
        let mut what = pin!(what);
        loop {
            let allowance = if self.is_late { self.patience.hopeless } else { self.patience.late };
            let began = Instant::now();
            let done = timeout(self.progress.left(allowance), &mut what).await;
            self.progress.wait(began.elapsed());
            let late = || asked.slow(self.progress.waited());
            match done {
                Ok(done) => return Ok(done),
                Err(_) if self.is_late => return Err(late()),
                Err(_) => {
                    // Whoever reads may have stopped.
                    let _ = sender.send(Ok(Told::Late(late()))).await;
                    self.is_late = true;
                }
            }
        }
    }

    /// Whether a page that begins at this token can follow.
    fn follow(&mut self, token: &str, asked: &Asked) -> Result<(), KubernetesError> {
        match self.tokens.insert(token.to_owned()) {
            true => Ok(()),
            false => Err(asked.absurd("the same continue token twice")),
        }
    }

    /// Whether a page of so many objects can be what it says.
    fn page(&mut self, objects: usize, meta: &ListMeta, asked: &Asked) -> Result<(), KubernetesError> {
        let remaining = meta.remaining_item_count;
        if meta.r#continue.is_empty() && remaining > 0 {
            return Err(asked.absurd(format!("it ends, and {remaining} objects are said to follow")));
        }
        if self.remaining > 0 && remaining >= self.remaining {
            return Err(asked.absurd(format!("{remaining} objects are left, where {} were", self.remaining)));
        }
        self.remaining = remaining;
        self.objects += objects;
        self.empty = if objects == 0 { self.empty + 1 } else { 0 };
        if self.objects.saturating_add(usize::try_from(remaining).unwrap_or(usize::MAX)) > MOST {
            return Err(asked.absurd(format!("more than {MOST} objects")));
        }
        if self.empty > MOST_EMPTY {
            return Err(asked.absurd(format!("more than {MOST_EMPTY} pages without an object")));
        }
        Ok(())
    }
}

/// Reads page after page and hands over what is in them, for as long as anybody wants it.
async fn read(question: Question, sender: &mpsc::Sender<Result<Told, KubernetesError>>) -> Result<(), KubernetesError> {
    let asked = &question.asked;
    let no_list = |error| asked.failed(format!("what it answers is no list: {error}"));
    let mut course = Course::new(question.client.patience());
    // Dropped, it asks no more.
    let mut coming = JoinSet::new();
    let mut body = course.wait(question.open(None), sender, asked).await??;
    loop {
        let (mut items, mut begun, mut next, mut objects) = (Items::default(), false, String::new(), 0);
        while let Some(piece) = course.wait(body.next(), sender, asked).await?? {
            course.progress.arrive(piece.len());
            items.read(&piece).map_err(no_list)?;
            if !begun && let Some(meta) = items.heading() {
                begun = true;
                if !question.is_last(&meta) {
                    next.clone_from(&meta.r#continue);
                    course.follow(&next, asked)?;
                }
                question.ask(meta, &mut coming);
            }
            if items.len() >= BATCH {
                objects += items.len();
                if sender.send(Ok(Told::Objects(items.take()))).await.is_err() {
                    return Ok(());
                }
            }
        }
        let meta = items.end().map_err(no_list)?;
        let (version, last) = (version(&meta.resource_version, asked)?, question.is_last(&meta));
        if !question.alone {
            course.page(objects + items.len(), &meta, asked)?;
        }
        if !last && meta.r#continue != next {
            course.follow(&meta.r#continue, asked)?;
        }
        let remaining = meta.remaining_item_count;
        for told in [Told::Objects(items.take()), Told::Page { version, remaining, last }] {
            if sender.send(Ok(told)).await.is_err() {
                return Ok(());
            }
        }
        question.ask(meta, &mut coming);
        match course.wait(coming.join_next(), sender, asked).await? {
            Some(next) => body = next.map_err(|_| asked.unreachable("it broke off"))??,
            None => return Ok(()),
        }
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
