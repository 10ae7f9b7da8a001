//! Are sockets of files endpoints like others?

use super::GET;
use super::config;
use crate::support::LocalGate;
use crate::support::RawClient;
use crate::support::lane::lanes;
use std::io::BufRead;
use std::io::BufReader;
use std::io::Write;
use std::os::unix::net::UnixListener;

lanes!(a_unix_socket_is_an_endpoint);
fn a_unix_socket_is_an_endpoint() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("api.sock");
    let listener = UnixListener::bind(&path).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.unwrap());
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") && stream.read_line(&mut head).unwrap() > 0 {}
            let text = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 4\r\n\r\nunix";
            stream.get_mut().write_all(text.as_bytes()).unwrap();
        }
    });
    let endpoint = format!("unix:{}", path.display());
    let gate = LocalGate::start(&config(&[&endpoint], ""));
    gate.wait_ready();
    let response = RawClient::connect(gate.data()).exchange(GET);
    assert_eq!((response.status, response.text().as_str()), (200, "unix"));
    assert_eq!(gate.record(&response)["endpoint"], *endpoint);
}

lanes!(a_socket_that_is_not_there_is_an_endpoint_that_fails: own, filter_http1);
fn a_socket_that_is_not_there_is_an_endpoint_that_fails() {
    let folder = tempfile::tempdir().unwrap();
    let endpoint = format!("unix:{}", folder.path().join("absent.sock").display());
    let gate = LocalGate::start(&config(&[&endpoint], ""));
    gate.wait_ready();
    let response = RawClient::connect(gate.data()).exchange(GET);
    assert_eq!(response.status, 502);
    assert_eq!(gate.record(&response)["endpoint"], *endpoint);
}
