//! Small HTTP services of the test, on loopback.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// One of them; ends with the runtime.
pub struct Service {
    endpoint: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Service {
    /// Starts one that gives `answer` to each request: a document or a word, or nothing, which is a
    /// refusal.
    pub async fn start(
        answer: impl Fn(&Request) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        tokio::spawn({
            let (answer, asked) = (Arc::new(answer), Arc::clone(&asked));
            async move {
                while let Ok((stream, _)) = listener.accept().await {
                    let (answer, asked) = (Arc::clone(&answer), Arc::clone(&asked));
                    tokio::spawn(async move { serve(stream, &*answer, &asked).await });
                }
            }
        });
        Self { endpoint, asked }
    }

    /// Where it listens, as a URL.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// What it was asked and answered so far: `GET /path`.
    pub fn asked(&self) -> Vec<String> {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.clone()
    }
}

/// What was asked.
pub struct Request {
    head: String,
    /// Its content.
    pub body: String,
}

impl Request {
    /// `GET /path`, without a query.
    pub fn line(&self) -> &str {
        let line = self.head.lines().next().unwrap_or_default();
        let end = line.find('?').or_else(|| line.rfind(' '));
        &line[..end.unwrap_or(line.len())]
    }

    /// The value of a header, whose name is in small letters.
    pub fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().skip(1);
        let mut fields = lines.filter_map(|line| line.split_once(':'));
        let found = fields.find(|(field, _)| field.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.trim())
    }
}

async fn serve(
    mut stream: TcpStream,
    answer: &(dyn Fn(&Request) -> Option<String> + Send + Sync),
    asked: &Mutex<Vec<String>>,
) -> Option<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let mut request = Request {
        head: String::from_utf8(head).ok()?,
        body: String::new(),
    };
    let length = request.header("content-length").unwrap_or("0");
    let mut body = vec![0; length.parse().ok()?];
    stream.read_exact(&mut body).await.ok()?;
    request.body = String::from_utf8(body).ok()?;
    let (status, body) = match answer(&request) {
        Some(body) => {
            let mut asked = asked.lock().unwrap_or_else(PoisonError::into_inner);
            asked.push(request.line().to_owned());
            ("200 OK", body)
        }
        None => ("403 Forbidden", String::new()),
    };
    // The metadata service says with its tokens how long they live.
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\n\
         X-Aws-Ec2-Metadata-Token-Ttl-Seconds: 21600\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all((head + &body).as_bytes()).await.ok()
}
