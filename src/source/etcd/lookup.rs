//! Single workload endpoints, read when somebody asks: there are too many to follow.

use etcd_client::KeyValue;
use tokio::sync::{mpsc, watch};

use super::client::Connection;
use super::run::deliver;
use super::{decode, key};
use crate::model::EndpointId;
use crate::state::{Event, ObjectId};

/// Keys read by one request; etcd allows 128.
const AT_ONCE: usize = 64;

/// Answers `lookups` over whatever connection there is, for ever. Without a connection, or if reading fails, they are
/// dropped: an answer that comes late is worth less than a new question.
pub(super) async fn serve(
    connections: watch::Receiver<Option<Connection>>,
    mut lookups: mpsc::Receiver<EndpointId>,
    events: mpsc::Sender<Vec<Event>>,
) {
    let mut asked = Vec::with_capacity(AT_ONCE);
    let mut failing = false;
    loop {
        asked.clear();
        if lookups.recv_many(&mut asked, AT_ONCE).await == 0 {
            // Nobody will ask any more.
            return std::future::pending().await;
        }
        let Some(connection) = connections.borrow().clone() else { continue };
        let keys: Vec<String> = asked.iter().map(key::endpoint).collect();
        match connection.read(&keys).await {
            Ok(values) => {
                failing = false;
                let found = asked.drain(..).zip(values).filter_map(|(id, value)| answer(id, value));
                deliver(&events, found.collect()).await;
            }
            // A broken connection shows at the watch, too, and is reported there; a permission only here.
            Err(error) if !failing => {
                failing = true;
                tracing::warn!(%error, "cannot look up workload endpoints");
            }
            Err(_) => {}
        }
    }
}

fn answer(id: EndpointId, value: Option<KeyValue>) -> Option<Event> {
    match value {
        Some(kv) => decode::event(kv.key(), kv.value()),
        None => Some(Event::Delete(ObjectId::Endpoint(id))),
    }
}
