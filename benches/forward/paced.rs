//! How long does a response take at a fixed rate of requests, which slow responses do not lower (an open loop)?

use crate::exchange::Exchange;
use crate::load::Load;
use crate::load::Session;
use crate::load::read_response;
use std::io;
use std::time::Duration;
use std::time::Instant;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// The times at which the requests are due. The connections take turns.
#[derive(Clone, Copy)]
struct Timetable {
    begin: Instant,
    every: Duration,
    requests: u32,
    connections: usize,
}

impl Session<'_> {
    /// Sends `requests`, `rate` of them a second, and checks the status of every response. Returns the time from when
    /// each request was due to its response, which includes a wait for the request before it on the same connection.
    pub fn paced(&mut self, exchange: &Exchange, rate: u32, requests: u32) -> Vec<Duration> {
        let connections = self.streams.len();
        let streams = std::mem::take(&mut self.streams);
        let Load { runtime, .. } = self.load;
        let (streams, latencies) = runtime.block_on(async {
            let timetable = Timetable {
                begin: Instant::now() + Duration::from_millis(5),
                every: Duration::from_secs(1) / rate,
                requests,
                connections,
            };
            let mut conversations = JoinSet::new();
            for (first, stream) in streams.into_iter().enumerate() {
                conversations.spawn(converse(stream, exchange.clone(), timetable, first));
            }
            let mut streams = Vec::new();
            let mut latencies = Vec::new();
            while let Some(done) = conversations.join_next().await {
                let (stream, durations) = done.expect("no connection panics").expect("every request is answered");
                streams.push(stream);
                latencies.extend(durations);
            }
            (streams, latencies)
        });
        self.streams = streams;
        latencies
    }
}

async fn converse(
    mut stream: TcpStream,
    exchange: Exchange,
    timetable: Timetable,
    first: usize,
) -> io::Result<(TcpStream, Vec<Duration>)> {
    let mut buffer = vec![0; 8192];
    let mut durations = Vec::new();
    for turn in (0..timetable.requests).skip(first).step_by(timetable.connections) {
        let due = timetable.begin + timetable.every * turn;
        // Do not sleep: the runtime's timers have a resolution of a millisecond, and the client has a core of its own.
        while Instant::now() < due {
            tokio::task::yield_now().await;
        }
        stream.write_all(exchange.next()).await?;
        exchange.check(read_response(&mut stream, &mut buffer).await?);
        durations.push(due.elapsed());
    }
    Ok((stream, durations))
}

/// Sorts `latencies` and returns the latency that `of_hundred` per cent of them do not exceed.
pub fn percentile(latencies: &mut [Duration], of_hundred: f64) -> Duration {
    latencies.sort_unstable();
    let place = (latencies.len() as f64 * of_hundred / 100.0) as usize;
    latencies[place.min(latencies.len() - 1)]
}
