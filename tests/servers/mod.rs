//! Servers that answer like S3, on free ports of this machine, and a proxy that breaks what passes through it.
//!
//! A server ends with the process that started it, however that ends: it watches a pipe that closes then.
#![allow(dead_code, reason = "each test file uses its own part of this")]

#[path = "../ports/mod.rs"]
mod ports;
pub(crate) mod proxy;

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use ports::free_port;
use scribefs::store::{BucketOptions, Keys, Provider, Secret};
use tempfile::TempDir;

/// How long a server may take to answer for the first time, on a machine that does other things too.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs a program until standard input ends, which it does with our own process.
const LEASH: &str = r#""$@" & server=$!; cat >/dev/null; kill -9 $server"#;

/// A server in a process of its own.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    provider: Provider,
    region: &'static str,
    id: String,
    secret: String,
    leash: Child,
    _dir: Option<TempDir>,
}

impl Server {
    /// The moto that all tests of this process share; `None`, said aloud, where `scripts/moto` has not been.
    pub(crate) fn moto(test: &str) -> Option<&'static Self> {
        static MOTO: OnceLock<Option<Server>> = OnceLock::new();
        let moto = MOTO.get_or_init(Self::start_moto);
        if moto.is_none() {
            eprintln!("skipped: {test}: there is no target/moto; scripts/moto makes it");
        }
        moto.as_ref()
    }

    /// A moto for one test that does things to it.
    pub(crate) fn start_moto() -> Option<Self> {
        let folder = repository().join("target/moto");
        if !folder.join("moto").exists() {
            return None;
        }
        let address = free_address();
        let run = format!(
            "from moto.server import main; main(['-H', '127.0.0.1', '-p', '{}'])",
            address.port()
        );
        let mut shell = Command::new("sh");
        shell.env("PYTHONPATH", folder);
        let leash = leashed(shell, &["python3", "-c", &run].map(AsRef::as_ref));
        let server = Self {
            address,
            provider: Provider::Aws,
            region: "us-east-1",
            id: "test".to_owned(),
            secret: "test".to_owned(),
            leash,
            _dir: None,
        };
        server.wait_for("GET", "/moto-api/data.json", &[200]);
        Some(server)
    }

    /// A Garage with one bucket, [`GARAGE_BUCKET`]; `None`, said aloud, where it is not asked for or not there.
    pub(crate) fn garage(test: &str) -> Option<Self> {
        let program = std::env::var_os("GARAGE_BIN")
            .map_or_else(|| repository().join("target/garage/bin/garage"), PathBuf::from);
        if std::env::var_os("SCRIBEFS_FULL").is_none() {
            eprintln!("skipped: {test}: Garage is for SCRIBEFS_FULL");
            return None;
        }
        if !program.exists() {
            eprintln!("skipped: {test}: there is no Garage; scripts/garage makes it");
            return None;
        }
        Some(Self::start_garage(&program))
    }

    fn start_garage(program: &Path) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (address, between) = (free_address(), free_address());
        let (id, secret) = (format!("GK{}", "5c".repeat(12)), "7e".repeat(32));
        let settings = dir.path().join("garage.toml");
        fs::write(&settings, garage_settings(dir.path(), address, between)).unwrap();
        let mut command = Command::new("sh");
        command
            .env("GARAGE_DEFAULT_ACCESS_KEY", &id)
            .env("GARAGE_DEFAULT_SECRET_KEY", &secret)
            .env("GARAGE_DEFAULT_BUCKET", GARAGE_BUCKET)
            .env("RUST_LOG", "garage=error");
        let arguments = ["server", "--single-node", "--default-bucket"].map(AsRef::as_ref);
        let leash = leashed(
            command,
            &[&[program.as_os_str(), "-c".as_ref(), settings.as_os_str()], &arguments[..]].concat(),
        );
        let server = Self {
            address,
            provider: Provider::Garage,
            region: "garage",
            id,
            secret,
            leash,
            _dir: Some(dir),
        };
        // It listens when the bucket has been made.
        server.wait_for("GET", &format!("/{GARAGE_BUCKET}?list-type=2"), &[400, 403]);
        server
    }

    /// How to reach that bucket, with deadlines of tests.
    pub(crate) fn options(&self, bucket: &str) -> BucketOptions {
        BucketOptions {
            region: Some(self.region.to_owned()),
            endpoint: Some(format!("http://{}", self.address)),
            provider: self.provider,
            keys: Keys::Given {
                id: self.id.clone(),
                secret: Secret::new(&self.secret),
                session_token: None,
            },
            deadline: Duration::from_secs(30),
            ..BucketOptions::new(bucket)
        }
    }

    /// How to reach a bucket that has just been made. Moto only.
    pub(crate) fn fresh_bucket(&self) -> BucketOptions {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let bucket = format!("bucket-{}", COUNT.fetch_add(1, Ordering::Relaxed));
        assert_eq!(self.ask("PUT", &format!("/{bucket}"), "s3", "").0, 200);
        self.options(&bucket)
    }

    /// Makes moto let in one user only, and gives that user's keys.
    pub(crate) fn check_keys(&self) -> (String, Secret) {
        let form = |action: &str| format!("Version=2010-05-08&UserName=reader&{action}");
        let iam = |action: &str| {
            let (status, answer) = self.ask("POST", "/", "iam", &form(action));
            assert_eq!(status, 200, "{answer}");
            answer
        };
        iam("Action=CreateUser");
        let keys = iam("Action=CreateAccessKey");
        iam(&format!("Action=PutUserPolicy&PolicyName=all&PolicyDocument={EVERYTHING}"));
        assert_eq!(self.ask("POST", "/moto-api/reset-auth", "s3", "0").0, 200);
        let secret = Secret::new(element(&keys, "SecretAccessKey"));
        (element(&keys, "AccessKeyId").to_owned(), secret)
    }

    /// Sends a request without a signature, and gives status and body.
    pub(crate) fn ask(&self, method: &str, path: &str, service: &str, body: &str) -> (u16, String) {
        let (status, answer) = self.try_ask(method, path, service, body).unwrap();
        (status, answer.split_once("\r\n\r\n").map_or("", |(_, body)| body).to_owned())
    }

    /// The head of the answer to a request for that path, with header names in lower case.
    pub(crate) fn head_of(&self, path: &str) -> Vec<(String, String)> {
        let answer = self.try_ask("GET", path, "s3", "").unwrap().1;
        let head = answer.split_once("\r\n\r\n").unwrap().0.lines().skip(1);
        let fields = head.filter_map(|line| line.split_once(": "));
        fields.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect()
    }

    fn try_ask(
        &self,
        method: &str,
        path: &str,
        service: &str,
        body: &str,
    ) -> std::io::Result<(u16, String)> {
        let mut stream = TcpStream::connect(self.address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let kind =
            if service == "iam" { "application/x-www-form-urlencoded" } else { "text/plain" };
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Length: {}\r\n\
             Content-Type: {kind}\r\nAuthorization: AWS4-HMAC-SHA256 \
             Credential=test/20200101/us-east-1/{service}/aws4_request, SignedHeaders=host, \
             Signature=0\r\n\r\n{body}",
            self.address,
            body.len(),
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let status = answer.get(9..12).and_then(|status| status.parse().ok()).unwrap_or(0);
        Ok((status, answer))
    }

    fn wait_for(&self, method: &str, path: &str, wanted: &[u16]) {
        let began = Instant::now();
        while !self
            .try_ask(method, path, "s3", "")
            .is_ok_and(|(status, _)| wanted.contains(&status))
        {
            assert!(began.elapsed() < PATIENCE, "{} does not answer", self.address);
            // Nothing tells when a server begins to listen.
            thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.leash.stdin.take());
        // The server is gone when the leash is.
        let _ = self.leash.wait();
    }
}

/// The bucket that a Garage has.
pub(crate) const GARAGE_BUCKET: &str = "recordings";

/// A policy that allows everything, as a form has it.
const EVERYTHING: &str = "%7B%22Version%22%3A%222012-10-17%22%2C%22Statement%22%3A%5B%7B%22Effect%22\
    %3A%22Allow%22%2C%22Action%22%3A%22s3%3A%2A%22%2C%22Resource%22%3A%22%2A%22%7D%5D%7D";

fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn free_address() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], free_port()))
}

fn leashed(mut shell: Command, program: &[&std::ffi::OsStr]) -> Child {
    shell
        .args(["-c", LEASH, "sh"])
        .args(program)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

fn garage_settings(dir: &Path, address: SocketAddr, between: SocketAddr) -> String {
    format!(
        "metadata_dir = \"{dir}/meta\"\ndata_dir = \"{dir}/data\"\ndb_engine = \"lmdb\"\n\
         replication_factor = 1\nrpc_bind_addr = \"{between}\"\nrpc_public_addr = \"{between}\"\n\
         rpc_secret = \"{}\"\n[s3_api]\ns3_region = \"garage\"\napi_bind_addr = \"{address}\"\n\
         root_domain = \".s3.garage.localhost\"\n",
        "3a".repeat(32),
        dir = dir.display(),
    )
}

fn element<'a>(answer: &'a str, name: &str) -> &'a str {
    let after = answer.split_once(&format!("<{name}>")).unwrap().1;
    after.split_once('<').unwrap().0
}
