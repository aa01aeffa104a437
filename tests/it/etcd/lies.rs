//! An etcd that lies: whatever it says, the source is out of sync or right.

use std::time::{Duration, Instant};

use calico_exporter::source::backoff::Backoff;
use calico_exporter::source::etcd::{Config, Probe};
use calico_exporter::source::progress::{Allowance, Patience};

use crate::support::etcd::block;
use crate::support::fake_etcd::{FakeEtcd, Lie, Message, Page, Pair, Range, Script, event, events};
use crate::support::follow::{Source, config};

const BLOCKS: u32 = 450;

/// As many blocks as fill three pages.
fn script() -> Script {
    let mut script = Script { revision: 100, ..Script::default() };
    for index in 0..BLOCKS {
        let (key, value) = block(index, &format!("pod-{index}"));
        script.put(&key, &value);
    }
    script
}

fn impatient(fake: &FakeEtcd) -> Config {
    let mut config = config(fake.settings());
    config.resync = Duration::from_millis(300);
    config.backoff = Backoff::new(Duration::from_millis(20), Duration::from_millis(200));
    config.probe = Probe { after: Duration::from_millis(300), timeout: Duration::from_secs(2) };
    config
}

fn is_of_blocks(range: &Range) -> bool {
    range.key.starts_with(b"/calico/ipam/v2/assignment/")
}

/// What is made of pages of blocks, and what is said about it.
const LIES: &[(&str, Lie, &str)] = &[
    ("it never ends", never_ends, "are left"),
    ("it never ends and counts down from far away", counts_down, "more than Calico ever has"),
    ("it repeats the first page", repeats, "outside what was asked for"),
    ("a key is there twice", twice, "do not ascend"),
    ("it is out of order", reordered, "do not ascend"),
    ("it ends too early", truncated, "it ends after"),
    ("its last key is missing", one_less, "it ends after"),
    ("nothing, and more of it", nothing, "follow none"),
    ("more than was asked for", too_much, "were asked for"),
    ("values of the future", future, "in a list of"),
    ("a page of an older revision", older, "another history"),
];

fn never_ends(range: &Range, mut page: Page) -> Page {
    if is_of_blocks(range) && !page.more {
        let mut key = range.key.clone();
        key.push(1);
        page.pairs = vec![Pair { key, value: b"{}".to_vec(), mod_revision: 1, version: 1 }];
        (page.more, page.count) = (true, 2);
    }
    page
}

fn counts_down(range: &Range, mut page: Page) -> Page {
    if is_of_blocks(range) {
        (page.more, page.count) = (true, i64::MAX / 2);
    }
    page
}

fn repeats(range: &Range, mut page: Page) -> Page {
    if is_of_blocks(range) {
        let (key, value) = block(0, "pod-0");
        page.pairs = vec![Pair { key: key.into(), value: value.into(), mod_revision: 1, version: 1 }];
        (page.more, page.count) = (true, 450);
    }
    page
}

fn twice(range: &Range, mut page: Page) -> Page {
    if is_of_blocks(range)
        && let Some(last) = page.pairs.last().cloned()
    {
        page.pairs.pop();
        page.pairs.insert(0, last.clone());
        page.pairs[1] = last;
    }
    page
}

fn reordered(range: &Range, mut page: Page) -> Page {
    if is_of_blocks(range) {
        page.pairs.reverse();
    }
    page
}

fn truncated(range: &Range, mut page: Page) -> Page {
    page.more &= !is_of_blocks(range);
    page
}

fn one_less(range: &Range, mut page: Page) -> Page {
    if is_of_blocks(range) && !page.more {
        page.pairs.pop();
    }
    page
}

fn nothing(range: &Range, mut page: Page) -> Page {
    if is_of_blocks(range) {
        page.pairs.clear();
        page.more = true;
    }
    page
}

fn too_much(range: &Range, mut page: Page) -> Page {
    if is_of_blocks(range) && page.more {
        page.pairs.extend_from_within(..);
    }
    page
}

fn future(range: &Range, mut page: Page) -> Page {
    if is_of_blocks(range)
        && let Some(first) = page.pairs.first_mut()
    {
        first.mod_revision = page.revision + 1;
    }
    page
}

fn older(range: &Range, mut page: Page) -> Page {
    if is_of_blocks(range) {
        page.revision -= 400;
        page.pairs.iter_mut().for_each(|pair| pair.mod_revision = 1);
    }
    page
}

#[tokio::test]
async fn no_page_that_cannot_be_right_is_believed() {
    for (what, lie, words) in LIES {
        let fake = FakeEtcd::start(script()).await;
        let mut source = Source::start(impatient(&fake));
        source.until_in_sync().await;
        let before = source.picture.objects.clone();
        assert_eq!(before.len(), BLOCKS as usize, "{what}");
        fake.lie(Some(*lie));
        source.until(what, |picture| picture.lost.iter().any(|why| why.contains(words))).await;
        assert!(!source.picture.in_sync, "{what}");
        // Again and again, it changes nothing, and it is not asked without a pause.
        let (asked, began) = (fake.script.lock().unwrap().asked, Instant::now());
        while began.elapsed() < Duration::from_millis(500) {
            source.receive().await;
        }
        assert!(!source.picture.in_sync, "{what}");
        let asked = fake.script.lock().unwrap().asked - asked;
        assert!(asked < 500, "{what}: {asked} requests in half a second");
        fake.lie(None);
        source.until_in_sync().await;
        assert_eq!(source.picture.objects, before, "{what}");
        source.stop().await;
    }
}

fn dawdles(range: &Range, mut page: Page) -> Page {
    if is_of_blocks(range) {
        page.delay = Duration::from_millis(1500);
    }
    page
}

fn late_after(base: Duration) -> Patience {
    Patience {
        late: Allowance { base, bytes_per_second: u64::MAX },
        hopeless: Allowance { base: Duration::from_secs(30), bytes_per_second: u64::MAX },
    }
}

/// Three pages, each of which takes a second and a half; a value is changed meanwhile, which the list has as it was.
#[tokio::test]
async fn while_a_list_is_late_it_is_out_of_sync_and_the_watch_goes_on() {
    let fake = FakeEtcd::start(script()).await;
    let mut config = impatient(&fake);
    config.patience = late_after(Duration::from_millis(400));
    let mut source = Source::start(config);
    source.until_in_sync().await;
    fake.lie(Some(dawdles));
    source.until("it is late", |picture| picture.lost.iter().any(|why| why.contains("too slow"))).await;
    assert!(!source.picture.in_sync);
    let syncs = source.picture.syncs;
    let (key, value) = block(BLOCKS - 1, "changed-meanwhile");
    let news = {
        let mut script = fake.script.lock().unwrap();
        // The list was begun before: its pages are of the older revision, and have the older value.
        let pair = script.put(&key, &value);
        let old = block(BLOCKS - 1, &format!("pod-{}", BLOCKS - 1));
        script.listed = Some(pair.mod_revision - 1);
        let place = script.pairs.iter().position(|it| it.key == pair.key).unwrap();
        script.pairs[place] = Pair { value: old.1.into(), mod_revision: 200, ..pair.clone() };
        events(0, pair.mod_revision, &[event(0, Some(&pair))]).framed()
    };
    fake.said.send(news).unwrap();
    source.until("told at once", |picture| picture.has_pod("changed-meanwhile")).await;
    assert!(!source.picture.in_sync && source.picture.syncs == syncs, "before the list is whole");
    // etcd goes on from there.
    source.until("whole", |picture| picture.syncs > syncs).await;
    assert!(source.picture.has_pod("changed-meanwhile"), "the list does not undo it");
    assert_eq!(source.picture.objects.len(), BLOCKS as usize);
    source.stop().await;
}

#[tokio::test]
async fn a_list_that_makes_no_progress_is_given_up() {
    let fake = FakeEtcd::start(script()).await;
    let mut config = impatient(&fake);
    let soon = Allowance { base: Duration::from_millis(600), bytes_per_second: u64::MAX };
    config.patience = Patience { late: soon, hopeless: soon };
    let mut source = Source::start(config);
    source.until_in_sync().await;
    fake.lie(Some(dawdles));
    let syncs = source.picture.syncs;
    source.until("out of sync", |picture| !picture.in_sync).await;
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(3) {
        source.receive().await;
    }
    assert!(source.picture.syncs <= syncs + 1 && !source.picture.in_sync, "{:?}", source.picture.lost);
    fake.lie(None);
    source.until_in_sync().await;
    assert_eq!(source.picture.objects.len(), BLOCKS as usize);
    source.stop().await;
}

/// What is said to a watch, and what is then out of sync or right.
#[tokio::test]
async fn no_event_that_cannot_be_right_is_believed_and_none_ends_the_program() {
    let (key, value) = block(0, "event");
    let pair = |mod_revision: i64, version: i64| Pair {
        key: key.clone().into(),
        value: value.clone().into(),
        mod_revision,
        version,
    };
    let next = 100 + i64::from(BLOCKS) + 1;
    let lies: &[(&str, Vec<Message>, Option<&str>)] = &[
        ("a type that etcd does not have", vec![event(7, Some(&pair(next, 2)))], None),
        ("no key", vec![event(0, None)], Some("without a key")),
        ("older than the list", vec![event(0, Some(&pair(50, 2)))], Some("after a list of")),
        ("out of order", vec![event(0, Some(&pair(next, 2))), event(0, Some(&pair(next - 1, 2)))], Some("after ")),
        ("the future", vec![event(0, Some(&pair(next + 1000, 2)))], Some("yet to come")),
    ];
    for (what, lie, words) in lies {
        let fake = FakeEtcd::start(script()).await;
        let mut config = impatient(&fake);
        config.resync = Duration::from_secs(600);
        let mut source = Source::start(config);
        source.until_in_sync().await;
        fake.said.send(events(0, next, lie).framed()).unwrap();
        match words {
            Some(words) => {
                source.until(what, |picture| picture.lost.iter().any(|why| why.contains(words))).await;
                source.until_in_sync().await;
                assert!(source.picture.has_pod("pod-0"), "{what}");
            }
            // By what it says of the key, it is a change.
            None => {
                source.until(what, |picture| picture.has_pod("event")).await;
                assert!(source.picture.in_sync, "{what}");
            }
        }
        source.stop().await;
    }
}

/// Bytes that are no messages at all.
#[tokio::test]
async fn what_is_no_message_is_out_of_sync() {
    for raw in [&b"\0\0\0\0\x04\xff\xff\xff\xff"[..], b"\x01\0\0\0\x01\0", b"\0\xff\xff\xff\xff", b""] {
        let fake = FakeEtcd::start(Script { raw_range: Some(raw.to_vec()), ..script() }).await;
        let mut source = Source::start(impatient(&fake));
        source.until("said", |picture| !picture.lost.is_empty()).await;
        assert!(!source.picture.in_sync);
        {
            let mut script = fake.script.lock().unwrap();
            (script.raw_range, script.raw_watch) = (None, Some(raw.to_vec()));
        }
        let lost = source.picture.lost.len();
        source.until("of the watch", |picture| picture.lost.len() > lost).await;
        fake.script.lock().unwrap().raw_watch = None;
        source.until("right in the end", |picture| picture.in_sync && picture.objects.len() == BLOCKS as usize).await;
        source.stop().await;
    }
}
