use super::*;
use tokio::io::AsyncWriteExt;
use tokio::io::DuplexStream;
use tokio::io::duplex;
use tokio::time::advance;

const PATIENCE: Duration = Duration::from_secs(60);
const TICK: Duration = Duration::from_millis(1);

fn key(number: u64) -> ConnectionKey {
    ConnectionKey::of(number, 0)
}

fn pool() -> Pool {
    Pool::new(Arc::new(TransportConnector::new(None)))
}

/// Returns a connection and its other end.
fn connection() -> (UpstreamConn, DuplexStream) {
    let (near, far) = duplex(64);
    (UpstreamConn::new(Box::new(near)), far)
}

/// Puts `count` connections of key 1 into `pool`, and returns their other ends.
fn fill(pool: &Pool, count: usize) -> Vec<DuplexStream> {
    let mut others = Vec::new();
    for _ in 0..count {
        let (wire, other) = connection();
        pool.put(key(1), wire, PATIENCE);
        others.push(other);
    }
    others
}

fn len(pool: &Pool) -> usize {
    let idle = pool.lock();
    assert_eq!(idle.count, idle.by_key.values().map(Vec::len).sum::<usize>());
    idle.count
}

#[tokio::test(start_paused = true)]
async fn a_connection_serves_its_own_endpoint_and_identity_alone() {
    let pool = pool();
    let _others = fill(&pool, 1);
    assert!(pool.take(key(2)).is_none());
    let other_identity = ConnectionKey::of(1, 1);
    assert!(pool.take(other_identity).is_none());
    assert!(pool.take(key(1)).is_some());
    assert!(pool.take(key(1)).is_none());
}

#[tokio::test(start_paused = true)]
async fn the_connection_that_was_used_last_is_taken_first() {
    let pool = pool();
    let mut others = fill(&pool, 2);
    let mut taken = pool.take(key(1)).unwrap();
    others[1].write_all(b"last").await.unwrap();
    let read = std::future::poll_fn(|cx| taken.read_buf.poll_fill(&mut taken.stream, cx)).await;
    assert_eq!(read.unwrap(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_connection_is_kept_for_its_idle_timeout_and_no_longer() {
    let pool = pool();
    let _others = fill(&pool, 2);
    advance(PATIENCE - TICK).await;
    assert!(pool.take(key(1)).is_some());
    advance(TICK).await;
    assert!(pool.take(key(1)).is_none());
    assert_eq!(len(&pool), 0);
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_its_peer_closed_is_not_taken() {
    let pool = pool();
    let mut others = fill(&pool, 2);
    drop(others.pop());
    let mut taken = pool.take(key(1)).unwrap();
    // The taken connection is the open one.
    others[0].write_all(b"a").await.unwrap();
    assert_eq!(
        std::future::poll_fn(|cx| taken.read_buf.poll_fill(&mut taken.stream, cx))
            .await
            .unwrap(),
        1
    );
    assert_eq!(len(&pool), 0);
}

#[tokio::test(start_paused = true)]
async fn s101_bytes_that_no_request_asked_for_end_an_idle_connection() {
    let pool = pool();
    let mut others = fill(&pool, 1);
    others[0].write_all(b"HTTP/1.1 200 OK\r\n").await.unwrap();
    assert!(pool.take(key(1)).is_none());
}

#[tokio::test(start_paused = true)]
async fn a_sweep_drops_expired_and_closed_connections_only() {
    let pool = pool();
    let mut others = fill(&pool, 3);
    drop(others.remove(1));
    pool.sweep();
    assert_eq!(len(&pool), 2);
    advance(PATIENCE).await;
    let (wire, _other) = connection();
    pool.put(key(2), wire, PATIENCE);
    pool.sweep();
    assert_eq!(len(&pool), 1);
    assert!(pool.take(key(2)).is_some());
}

#[tokio::test(start_paused = true)]
async fn no_more_than_the_bound_are_kept() {
    let pool = pool();
    let _others = fill(&pool, IDLE_MAX + 1);
    assert_eq!(len(&pool), IDLE_MAX);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_was_not_sent_leaves_no_byte_on_a_kept_connection() {
    let pool = pool();
    let (mut wire, _other) = connection();
    wire.write_buf.put(b"POST / HTTP/1.1\r\n\r\n");
    pool.put(key(1), wire, PATIENCE);
    assert!(pool.take(key(1)).unwrap().write_buf.is_empty());
}
