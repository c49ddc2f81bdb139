//! How long a start takes: from the start of the process until `/health` is answered, beside a bare hyper server in the same run.
//!
//! This program is also that server. Starts alternate, so that a busy machine is unfair to nobody; each is a process of its own,
//! with the same work around it: it says where it listens, is asked once, and is killed.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "it measures real time, outside of any gateway"
)]

use std::error::Error;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

type Fault = Box<dyn Error + Send + Sync>;

/// How often each is started.
const STARTS: usize = 30;

/// What is started.
struct Contender {
    name: &'static str,
    program: String,
    arguments: &'static [&'static str],
    variables: &'static [(&'static str, &'static str)],
    /// Milliseconds, one per start.
    times: Vec<f64>,
}

const BARE: &str = "bare";
const PLAIN: &[(&str, &str)] = &[
    ("PORT", "0"),
    ("ADMIN_ADDR", "off"),
    ("OPENAI_API_KEY", "k"),
    ("TOGETHER_API_KEY", "k"),
    ("LOG_FORMAT", "pretty"),
];
/// Nobody listens at port 1: everything that can be missing is.
const ALONE: &[(&str, &str)] = &[
    ("PORT", "0"),
    ("ADMIN_ADDR", "off"),
    ("OPENAI_API_KEY", "k"),
    ("OPENAI_BASE_URL", "http://127.0.0.1:1/v1"),
    ("TOGETHER_API_KEY", "k"),
    ("TOGETHER_BASE_URL", "http://127.0.0.1:1"),
    ("REDIS_URL", "redis://127.0.0.1:1"),
    ("LOG_FORMAT", "pretty"),
];

fn main() -> ExitCode {
    let result = if std::env::args().any(|argument| argument == BARE) { serve() } else { measure() };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            eprintln!("start: {fault}");
            ExitCode::FAILURE
        }
    }
}

fn measure() -> Result<(), Fault> {
    let own = std::env::current_exe()?.display().to_string();
    let named = std::env::var("TIDEGATE_BINARY").ok().filter(|path| !path.is_empty());
    let tidegate = named.unwrap_or_else(|| env!("CARGO_BIN_EXE_tidegate").to_owned());
    let contender = |name, program: &str, arguments, variables| Contender {
        name,
        program: program.to_owned(),
        arguments,
        variables,
        times: Vec::with_capacity(STARTS),
    };
    let mut contenders = [
        contender("bare hyper server", &own, &[BARE], &[]),
        contender("tidegate", &tidegate, &["serve"], PLAIN),
        contender("tidegate, Redis and providers down", &tidegate, &["serve"], ALONE),
    ];
    for _ in 0..STARTS {
        for contender in &mut contenders {
            let time = start(contender)?;
            contender.times.push(time.as_secs_f64() * 1000.0);
        }
    }
    println!("{STARTS} starts each, ms from the start of the process to the first answer of /health");
    println!("{:<36} {:>8} {:>8} {:>8}", "", "median", "fastest", "slowest");
    for Contender { name, times, .. } in &mut contenders {
        times.sort_by(f64::total_cmp);
        println!("{name:<36} {:>8.1} {:>8.1} {:>8.1}", times[STARTS / 2], times[0], times[STARTS - 1]);
    }
    Ok(())
}

/// A process that ends with its measurement.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(contender: &Contender) -> Result<Duration, Fault> {
    // No configuration file, no `.env`: nothing but what is said here.
    let mut command = Command::new(&contender.program);
    command.args(contender.arguments).env_clear().envs(contender.variables.iter().copied());
    command.current_dir(std::env::temp_dir()).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
    let begin = Instant::now();
    let mut running = Running(command.spawn()?);
    let output = running.0.stdout.take().ok_or("no output")?;
    let port = BufReader::new(output).lines().map_while(Result::ok).find_map(|line| port_in(&line));
    let mut stream = TcpStream::connect(("127.0.0.1", port.ok_or("it ended without an address")?))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.write_all(b"GET /health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
    let mut answer = [0; 12];
    stream.read_exact(&mut answer)?;
    let time = begin.elapsed();
    if !answer.ends_with(b" 200") {
        return Err(format!("{}: {:?}", contender.name, String::from_utf8_lossy(&answer)).into());
    }
    Ok(time)
}

fn port_in(line: &str) -> Option<u16> {
    let (_, address) = line.split_once("listening on http://")?;
    let (_, port) = address.rsplit_once(':')?;
    port.chars().take_while(char::is_ascii_digit).collect::<String>().parse().ok()
}

/// The bare server: the same library, the same runtime, and nothing to set up.
fn serve() -> Result<(), Fault> {
    use hyper::service::service_fn;
    use hyper_util::rt::TokioIo;

    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await?;
        println!("listening on http://{}", listener.local_addr()?);
        loop {
            let (stream, _) = listener.accept().await?;
            let answer = service_fn(async |_| {
                let body = http_body_util::Full::new(bytes::Bytes::from_static(b"{}"));
                Ok::<_, std::convert::Infallible>(http::Response::new(body))
            });
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
        }
    })
}
