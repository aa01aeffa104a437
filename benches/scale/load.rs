//! Where a generated cluster goes: into etcd, or into a dump file.

use std::error::Error;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use etcd_client::{Client, Txn, TxnOp};
use tokio::task::JoinSet;

/// Keys in a transaction: etcd allows 128.
const BATCH: usize = 100;
/// Transactions on their way at once.
const AT_ONCE: usize = 8;

/// What may go wrong.
pub type Failure = Box<dyn Error + Send + Sync>;

/// Puts all `keys` into the etcd at `endpoint`; returns how many, and how many bytes of values.
pub async fn into_etcd(
    endpoint: &str,
    keys: impl Iterator<Item = (String, String)>,
) -> Result<(usize, usize), Failure> {
    let client = Client::connect([endpoint], None).await?;
    let mut keys = keys.peekable();
    let (mut count, mut bytes) = (0, 0);
    let mut sent = JoinSet::new();
    while keys.peek().is_some() {
        let mut puts = Vec::with_capacity(BATCH);
        for (key, value) in keys.by_ref().take(BATCH) {
            count += 1;
            bytes += value.len();
            puts.push(TxnOp::put(key, value, None));
        }
        let mut kv = client.kv_client();
        sent.spawn(async move { kv.txn(Txn::new().and_then(puts)).await });
        if sent.len() >= AT_ONCE
            && let Some(done) = sent.join_next().await
        {
            done??;
        }
    }
    while let Some(done) = sent.join_next().await {
        done??;
    }
    Ok((count, bytes))
}

/// Writes all `keys` to `path`, as `etcdctl get --prefix /calico -w json` would print them (but in another order).
pub fn into_file(path: &Path, keys: impl Iterator<Item = (String, String)>) -> Result<(usize, usize), Failure> {
    let mut file = BufWriter::with_capacity(1 << 20, File::create(path)?);
    let (mut count, mut bytes) = (0, 0);
    file.write_all(br#"{"header":{"cluster_id":1,"member_id":1,"revision":1,"raft_term":1},"kvs":["#)?;
    for (key, value) in keys {
        let comma = if count > 0 { "," } else { "" };
        let (key, stored) = (BASE64_STANDARD.encode(key), BASE64_STANDARD.encode(&value));
        write!(file, r#"{comma}{{"key":"{key}","value":"{stored}"}}"#)?;
        count += 1;
        bytes += value.len();
    }
    write!(file, r#"],"count":{count}}}"#)?;
    file.flush()?;
    Ok((count, bytes))
}
