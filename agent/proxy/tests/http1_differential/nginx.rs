//! nginx's reading of a connection's bytes: which requests it sees, by what it answers to each.

use std::{
    fs,
    io::{self, Read as _, Write as _},
    net::Shutdown,
    os::unix::net::UnixStream,
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(10);

/// nginx at a socket of its own; it ends with this.
pub(crate) struct Nginx {
    process: Child,
    files: TempDir,
}

/// What it makes of one request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It sees this method and target.
    Seen(String),
    /// It refuses, with this status.
    Refused(u16),
}

impl Nginx {
    /// `None` where it is not installed.
    pub(crate) fn start() -> io::Result<Option<Self>> {
        let files = tempfile::tempdir()?;
        let folder = files.path().display();
        let at = |name: &str| format!("{name}_temp_path {folder}/{name};");
        let folders = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(at).concat();
        // Every answer repeats what was read; a body is read and thrown away.
        let config = format!(
            "daemon off; master_process off; pid {folder}/pid; error_log {folder}/log crit;\n\
             events {{}}\nhttp {{ access_log off; {folders} lingering_close off; \
             client_max_body_size 0; keepalive_requests 1000; underscores_in_headers on;\n\
             server {{ listen unix:{folder}/socket; \
             location / {{ return 200 \"$request_method $request_uri\"; }} }} }}\n"
        );
        fs::write(files.path().join("config"), config)?;
        let mut command = Command::new("nginx");
        command.arg("-c").arg(files.path().join("config")).args(["-e", "/dev/null"]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let process = match command.spawn() {
            Err(problem) if problem.kind() == io::ErrorKind::NotFound => return Ok(None),
            spawned => spawned?,
        };
        let nginx = Self { process, files };
        let deadline = Instant::now() + PATIENCE;
        while UnixStream::connect(nginx.socket()).is_err() {
            if Instant::now() > deadline {
                return Err(io::Error::other("nginx does not listen"));
            }
            thread::sleep(Duration::from_millis(10));
        }
        Ok(Some(nginx))
    }

    fn socket(&self) -> PathBuf {
        self.files.path().join("socket")
    }

    /// What it makes of a connection's bytes, request by request.
    pub(crate) fn read(&self, bytes: &[u8]) -> io::Result<Vec<Answer>> {
        let mut stream = UnixStream::connect(self.socket())?;
        stream.set_read_timeout(Some(PATIENCE))?;
        // It may have closed before all is written.
        let _ = stream.write_all(bytes).and_then(|()| stream.shutdown(Shutdown::Write));
        let mut said = Vec::new();
        let _ = stream.read_to_end(&mut said);
        Ok(answers(&said))
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The answers on a connection. An answer to `HEAD` has no body, and says nothing of what was read.
fn answers(mut said: &[u8]) -> Vec<Answer> {
    let mut all = Vec::new();
    while let Some(end) = said.windows(4).position(|four| four == b"\r\n\r\n") {
        let head = String::from_utf8_lossy(&said[..end]).into_owned();
        said = &said[end + 4..];
        let status: u16 = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
        let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
        let length: usize = length.and_then(|length| length.parse().ok()).unwrap_or(0);
        match status {
            100 => {}
            200 => {
                let is_next = said.starts_with(b"HTTP/1.") || said.is_empty();
                let length = if is_next { 0 } else { length.min(said.len()) };
                let (body, rest) = said.split_at(length);
                all.push(Answer::Seen(String::from_utf8_lossy(body).into_owned()));
                said = rest;
            }
            status => {
                all.push(Answer::Refused(status));
                return all;
            }
        }
    }
    all
}
