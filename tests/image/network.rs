//! What a gateway in the image meets: a provider that says by which name it was reached, a name server, and a caller.
//!
//! They speak as much HTTP/1.1 and DNS as that needs, and end with the test.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::Duration;

/// The longest that an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// The head and the body of a message with a length.
fn read(stream: &mut impl BufRead) -> Option<(String, String)> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        (stream.read_line(&mut head).ok()? > 0).then_some(())?;
    }
    let length = head.to_lowercase().split("content-length: ").nth(1).and_then(|it| it.lines().next()?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body).ok()?;
    Some((head, String::from_utf8(body).ok()?))
}

/// A provider that answers every chat.
pub(crate) fn provider() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || answer(stream));
        }
    });
    address
}

fn answer(stream: TcpStream) -> Option<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let (head, _) = read(&mut stream)?;
        let name = head.to_lowercase().split("host: ").nth(1)?.split([':', '\r']).next()?.to_owned();
        let body = serde_json::json!({
            "id": "c1", "object": "chat.completion", "created": 1, "model": "m",
            "choices": [{
                "index": 0, "finish_reason": "stop",
                "message": {"role": "assistant", "content": format!("reached as {name}")},
            }],
            "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
        });
        let body = body.to_string();
        let head =
            format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", body.len());
        stream.get_mut().write_all(format!("{head}{body}").as_bytes()).ok()?;
    }
}

/// A name server that knows one name, and says 127.0.0.1. Its port must be 53; its address is one of the many of loopback.
pub(crate) fn name_server(known: &str) -> Ipv4Addr {
    let [low, high, ..] = std::process::id().to_le_bytes();
    let address = Ipv4Addr::new(127, 83, high, low.max(1));
    let socket = UdpSocket::bind((address, 53)).unwrap();
    let wanted: Vec<u8> = known
        .split('.')
        .flat_map(|label| [&[u8::try_from(label.len()).unwrap()], label.as_bytes()].concat())
        .chain([0])
        .collect();
    thread::spawn(move || {
        let mut packet = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut packet) {
            let name = 12..12 + wanted.len();
            let question = 12..12 + wanted.len() + 4;
            let asked = &packet[..length];
            let is_known = asked.get(name).is_some_and(|name| name == wanted);
            let is_v4 = asked.get(question.end - 4..question.end).is_some_and(|kind| kind == [0, 1, 0, 1]);
            let mut reply = asked[..2].to_vec();
            let answers = u8::from(is_known && is_v4);
            reply.extend([0x81, if is_known { 0x80 } else { 0x83 }, 0, 1, 0, answers, 0, 0, 0, 0]);
            reply.extend(asked.get(12..question.end.min(length)).unwrap_or_default());
            if answers == 1 {
                // The name of the question, an address in the Internet, for a minute, of four bytes.
                reply.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 127, 0, 0, 1]);
            }
            let _ = socket.send_to(&reply, from);
        }
    });
    address
}

/// The status and the body of an answer.
pub(crate) fn ask(address: &str, method: &str, path: &str, body: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\nx-restaurant-id: r1\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(format!("{head}{body}").as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}
