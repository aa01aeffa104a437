//! What etcd sends, from the frame on the wire through gRPC's and protobuf's own decoding to the events.

use std::sync::LazyLock;
use std::time::Duration;

use calico_exporter::source::backoff::Backoff;
use calico_exporter::source::etcd::{Config, Timeouts, run, snapshot};
use tokio::runtime::Runtime;

use crate::fake_etcd::{FakeEtcd, Message, Pair, Script, event, events};
use crate::source::said_until_lost;

static RUNTIME: LazyLock<Runtime> =
    LazyLock::new(|| tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap());

static SERVER: LazyLock<FakeEtcd> = LazyLock::new(|| RUNTIME.block_on(FakeEtcd::start(store())));

const KEY: &str = "/calico/ipam/v2/host/h1/ipv4/block/10.0.0.0-26";

fn store() -> Script {
    let mut script = Script::default();
    script.put(KEY, "");
    script.put("/calico/ipam/v2/config", r#"{"strict_affinity":false}"#);
    script
}

/// After a byte that says to whom: the answer to every range that is listed, or what a watch says.
pub(crate) fn frames(input: &[u8]) -> String {
    let Some((of, bytes)) = input.split_first() else { return String::new() };
    let is_watch = of % 2 == 1;
    let server = &*SERVER;
    {
        let mut script = server.script.lock().unwrap();
        script.raw_range = (!is_watch).then(|| bytes.to_vec());
        script.raw_watch = is_watch.then(|| bytes.to_vec());
    }
    let settings = server.settings();
    let work = async {
        match is_watch {
            true => watched(Config::new(settings)).await,
            false => match snapshot(&settings, Timeouts::default()).await {
                Ok(events) => format!("{events:?}"),
                Err(error) => error.to_string(),
            },
        }
    };
    // Made on the runtime: a timer asks for it.
    let said = RUNTIME.block_on(async { tokio::time::timeout(Duration::from_secs(60), work).await });
    said.expect("it waits for what never comes")
}

/// What is made of a watch, until it ends.
async fn watched(mut config: Config) -> String {
    let soon = Duration::from_millis(1);
    config.backoff = Backoff::new(soon, soon);
    said_until_lost(|events, lookups, stopped| run(config, events, lookups, stopped)).await
}

pub(crate) fn frames_seeds() -> Vec<Vec<u8>> {
    let pair = |mod_revision: i64, version: i64| Pair { key: KEY.into(), value: b"{}".to_vec(), mod_revision, version };
    let of_watch = |message: Message| [&[1][..], &message.framed()].concat();
    let header = Message::default().number(1, 7).number(3, 9);
    let page = Message::default().bytes(1, &header.0).bytes(2, &[]).number(4, 0);
    vec![
        [&[0][..], &page.framed()].concat(),
        [&[0][..], &Message::default().bytes(1, &header.0).number(4, 0).framed()].concat(),
        of_watch(events(0, 9, &[event(0, Some(&pair(9, 2)))])),
        of_watch(events(0, 9, &[event(1, Some(&pair(9, 0))), event(7, Some(&pair(9, 1))), event(0, None)])),
        of_watch(events(0, 9, &[]).number(4, 1).number(5, 8).bytes(6, b"required revision has been compacted")),
        of_watch(events(-1, 9, &[])),
        b"\x01\0\0\0\x02\x08\x01".to_vec(),
    ]
}
