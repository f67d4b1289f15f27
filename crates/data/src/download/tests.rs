//! Downloads from a server on this machine that behaves well, badly, or not at all.

use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use flate2::{Compression, write::GzEncoder};
use tempfile::TempDir;

use super::*;
use crate::{Dataset, Split};

/// What the server does with the connection, given the path.
type Answer = fn(&str, &mut TcpStream) -> io::Result<()>;

/// Longer than any test takes, and short.
const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(300);

/// A server that lives until the test process ends.
struct Server {
    mirror: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Server {
    fn start(answer: Answer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mirror = format!("http://{}/set/", listener.local_addr().unwrap());
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let log = asked.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (mut stream, log) = (stream.unwrap(), log.clone());
                thread::spawn(move || {
                    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
                    let request = lines.next().unwrap().unwrap();
                    lines.map_while(Result::ok).find(String::is_empty);
                    let path = request.split(' ').nth(1).unwrap().to_owned();
                    log.lock().unwrap().push(path.clone());
                    let _ = answer(&path, &mut stream); // the client may have hung up
                });
            }
        });
        Server { mirror, asked }
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Two images and their labels.
fn content(name: &str) -> Vec<u8> {
    match name.contains("images") {
        true => gzip(&[&[0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 28, 0, 0, 0, 28][..], &[51; 2 * 784]].concat()),
        false => gzip(&[0, 0, 8, 1, 0, 0, 0, 2, 3, 9]),
    }
}

fn send(stream: &mut TcpStream, status: &str, body: &[u8]) -> io::Result<()> {
    write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len())?;
    stream.write_all(body)
}

fn good(path: &str, stream: &mut TcpStream) -> io::Result<()> {
    send(stream, "200 OK", &content(path))
}

fn absent(_: &str, stream: &mut TcpStream) -> io::Result<()> {
    send(stream, "404 Not Found", b"<html>no such file</html>")
}

/// Runs a download from `servers` to `root`.
fn run(servers: &[&Server], root: &Path) -> Result<(), String> {
    run_with(LONG, servers, root)
}

fn run_with(patience: Duration, servers: &[&Server], root: &Path) -> Result<(), String> {
    let sums = ["images", "labels"]
        .map(|name| Md5::digest(content(name)).iter().map(|byte| format!("{byte:02x}")).collect::<String>());
    let names =
        ["train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"];
    let files = std::array::from_fn(|i| Packed { name: names[i], md5: &sums[i % 2] });
    let mirrors: Vec<&str> = servers.iter().map(|server| server.mirror.as_str()).collect();
    let source = Source { op: "mnist", folder: "MNIST", mirrors: &mirrors, files };
    // No proxy: it would not know this machine.
    download_with(&agent(patience, None), &source, root).map_err(|error| {
        let text = error.to_string().replace(root.to_str().unwrap(), "ROOT");
        servers.iter().fold(text, |text, server| text.replace(&server.mirror, "MIRROR/"))
    })
}

/// A folder that does not exist yet, in one that is removed after the test.
fn root() -> (TempDir, PathBuf) {
    let outer = TempDir::new().unwrap();
    let root = outer.path().join("data");
    (outer, root)
}

/// Expects that the server's answers are refused for a reason that says `reason`, and that nothing remains of them.
fn refused(patience: Duration, answer: Answer, reason: &str) {
    let (_outer, root) = root();
    let error = run_with(patience, &[&Server::start(answer)], &root).unwrap_err();
    let start = "mnist: no mirror has train-images-idx3-ubyte.gz: MIRROR/train-images-idx3-ubyte.gz: ";
    let end = "; try again later, or put the file into ROOT/MNIST/raw by hand";
    let said = error.strip_prefix(start).and_then(|rest| rest.strip_suffix(end));
    assert!(said.is_some_and(|said| said.contains(reason)), "expected {reason:?} in {error:?}");
    assert!(!root.exists(), "something remains");
}

#[test]
fn a_data_set_arrives_once_and_loads() {
    let (_outer, root) = root();
    let server = Server::start(good);
    run(&[&server], &root).unwrap();
    let test = crate::Mnist::load(&root, Split::Test).unwrap();
    assert_eq!((test.len(), test.batch(&[1]).unwrap().1.item().unwrap()), (2, 9.0));
    assert_eq!(fs::read_dir(root.join("MNIST/raw")).unwrap().count(), 4);
    let asked = server.asked();
    assert_eq!(asked.len(), 4);
    assert_eq!(asked[0], "/set/train-images-idx3-ubyte.gz");
    run(&[&server], &root).unwrap();
    assert_eq!(server.asked().len(), 4, "what is there is not fetched again");
}

#[test]
fn a_second_mirror_helps_out() {
    let (_outer, root) = root();
    let (first, second) = (Server::start(absent), Server::start(good));
    run(&[&first, &second], &root).unwrap();
    assert_eq!((first.asked().len(), second.asked().len()), (4, 4));
    assert!(crate::Mnist::load(&root, Split::Train).is_ok());
}

#[test]
fn a_wrong_answer_leaves_nothing_behind() {
    refused(LONG, absent, "http status: 404");
    refused(
        LONG,
        |_, stream| send(stream, "200 OK", b"login, please"),
        "the checksum of the 13 bytes is b86ddfb61d985fab4b15ef4dc65ea28f, expected ",
    );
}

#[test]
fn a_broken_answer_leaves_nothing_behind() {
    refused(
        LONG,
        |path, stream| {
            let body = content(path);
            write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len())?;
            stream.write_all(&body[..20])
        },
        " after 20 bytes",
    );
    refused(LONG, |_, _| Ok(()), "");
    refused(LONG, |_, stream| stream.write_all(b"SSH-2.0-OpenSSH\r\n"), "");
}

#[test]
fn a_silent_mirror_is_given_up() {
    refused(
        SHORT,
        |_, stream| {
            write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n0123456789")?;
            thread::sleep(Duration::from_secs(60));
            Ok(())
        },
        " after 10 bytes",
    );
    refused(
        SHORT,
        |_, _| {
            thread::sleep(Duration::from_secs(60));
            Ok(())
        },
        "timeout",
    );
}

#[test]
fn an_endless_answer_is_cut_off() {
    refused(
        LONG,
        |_, stream| {
            write!(stream, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")?;
            loop {
                stream.write_all(&[0; 1 << 16])?;
            }
        },
        "more than 67108864 bytes",
    );
}

#[test]
fn a_mirror_that_insists_on_tls_is_named() {
    refused(
        LONG,
        |path, stream| {
            let here = stream.local_addr()?;
            write!(stream, "HTTP/1.1 301 Moved\r\nLocation: https://{here}{path}\r\nContent-Length: 0\r\n\r\n")
        },
        "TLS",
    );
}

#[test]
fn files_that_arrived_before_the_failure_stay_and_the_rest_follows() {
    let (_outer, root) = root();
    let half: Answer = |path, stream| if path.contains("train") { good(path, stream) } else { absent(path, stream) };
    let text = run(&[&Server::start(half)], &root).unwrap_err();
    assert!(text.contains("no mirror has t10k-images-idx3-ubyte.gz"), "{text}");
    assert_eq!(fs::read_dir(root.join("MNIST/raw")).unwrap().count(), 2);
    let server = Server::start(good);
    run(&[&server], &root).unwrap();
    assert_eq!(server.asked(), ["/set/t10k-images-idx3-ubyte.gz", "/set/t10k-labels-idx1-ubyte.gz"]);
}

#[test]
fn a_damaged_packed_file_is_replaced_and_an_unpacked_one_reported() {
    let (_outer, root) = root();
    let server = Server::start(good);
    run(&[&server], &root).unwrap();
    let packed = root.join("MNIST/raw/t10k-labels-idx1-ubyte.gz");
    fs::write(&packed, &content("labels")[..15]).unwrap();
    run(&[&server], &root).unwrap();
    assert_eq!(fs::read(&packed).unwrap(), content("labels"));
    fs::write(root.join("MNIST/raw/t10k-labels-idx1-ubyte"), [0, 0, 8]).unwrap();
    let error = run(&[&server], &root).unwrap_err();
    assert!(error.starts_with("read_idx: ROOT/MNIST/raw/t10k-labels-idx1-ubyte: the file ends within"), "{error}");
}

#[test]
fn a_folder_that_cannot_be_is_an_error() {
    let (_outer, root) = root();
    fs::write(&root, "a file").unwrap();
    let error = run(&[&Server::start(good)], &root).unwrap_err();
    assert!(error.starts_with("mnist: ROOT/MNIST/raw/train-images-idx3-ubyte.gz: "), "{error}");
    assert_eq!(fs::read(&root).unwrap(), b"a file");
}
