//! A name server (RFC 1035) that says what a test tells it.

use hickory_resolver::proto::op::Message;
use hickory_resolver::proto::op::MessageType;
use hickory_resolver::proto::op::OpCode;
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::Name;
use hickory_resolver::proto::rr::RData;
use hickory_resolver::proto::rr::Record;
use hickory_resolver::proto::rr::RecordType;
use hickory_resolver::proto::rr::rdata::A;
use hickory_resolver::proto::rr::rdata::SRV;
use std::net::Ipv4Addr;
use std::net::SocketAddr;
use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::Mutex;

/// A server on a free UDP port of 127.0.0.1.
pub struct NameServer {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    records: Vec<Record>,
    /// The queries so far, by name and type.
    queries: Vec<(Name, RecordType)>,
    is_silent: bool,
}

impl NameServer {
    pub fn start() -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = socket.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok((length, client)) = socket.recv_from(&mut buffer) {
                let response = shared.lock().unwrap().respond(&buffer[..length]);
                if let Some(response) = response {
                    socket.send_to(&response, client).unwrap();
                }
            }
        });
        Self { address, state }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Replaces the SRV records of `name`: the address on this host, priority and weight of each.
    pub fn set_service(&self, name: &str, targets: &[(SocketAddr, u16, u16)]) {
        let name = absolute(name);
        let mut state = self.state.lock().unwrap();
        state.records.retain(|record| record.name != name);
        for (index, (address, priority, weight)) in targets.iter().enumerate() {
            let SocketAddr::V4(address) = address else {
                panic!("{address} is no IPv4 address");
            };
            let target = absolute(&format!("host-{index}.{name}"));
            let srv = SRV::new(*priority, *weight, address.port(), target.clone());
            state.records.retain(|record| record.name != target);
            state
                .records
                .push(Record::from_rdata(name.clone(), 60, RData::SRV(srv)));
            state
                .records
                .push(Record::from_rdata(target, 60, RData::A(A(*address.ip()))));
        }
    }

    /// Replaces the addresses of the host `name`.
    pub fn set_addresses(&self, name: &str, addresses: &[Ipv4Addr]) {
        let name = absolute(name);
        let mut state = self.state.lock().unwrap();
        state.records.retain(|record| record.name != name);
        let records = addresses
            .iter()
            .map(|ip| Record::from_rdata(name.clone(), 1, RData::A(A(*ip))));
        state.records.extend(records);
    }

    /// Has the server say nothing, or speak again.
    pub fn set_silent(&self, is_silent: bool) {
        self.state.lock().unwrap().is_silent = is_silent;
    }

    /// Returns the number of all queries.
    pub fn queries(&self) -> usize {
        self.state.lock().unwrap().queries.len()
    }

    /// Returns the number of queries for the SRV records of `name`.
    pub fn service_queries(&self, name: &str) -> usize {
        let asked = (absolute(name), RecordType::SRV);
        let state = self.state.lock().unwrap();
        state.queries.iter().filter(|query| **query == asked).count()
    }
}

impl State {
    fn respond(&mut self, query: &[u8]) -> Option<Vec<u8>> {
        let query = Message::from_vec(query).unwrap();
        let mut response = Message::new(query.metadata.id, MessageType::Response, OpCode::Query);
        response.metadata.recursion_available = true;
        response.metadata.recursion_desired = true;
        response.metadata.response_code = ResponseCode::NXDomain;
        for question in &query.queries {
            let (name, kind) = (question.name(), question.query_type());
            self.queries.push((name.clone(), kind));
            let named = || self.records.iter().filter(|record| record.name == *name);
            if named().next().is_some() {
                response.metadata.response_code = ResponseCode::NoError;
            }
            response.add_answers(named().filter(|record| record.record_type() == kind).cloned());
            response.add_query(question.clone());
        }
        (!self.is_silent).then(|| response.to_vec().unwrap())
    }
}

fn absolute(name: &str) -> Name {
    Name::from_ascii(format!("{}.", name.trim_end_matches('.'))).unwrap()
}
