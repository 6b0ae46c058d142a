//! A proxy that cuts connections at chosen moments.
//!
//! It listens on another loopback address, at the very ports of the server: the client dials the
//! host that it was given for the connector too, whatever the stub says, so all goes through here.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::support::Server;

pub const ADDRESS: &str = "127.0.0.2";

/// First byte of a reply, as opposed to greetings and pongs.
const RETURN_DATA: u8 = 0x51;

pub struct Proxy {
    cut_next_reply: Arc<AtomicBool>,
    hang_up: watch::Sender<()>,
    listeners: Vec<JoinHandle<()>>,
}

impl Proxy {
    pub async fn before(server: &Server) -> Proxy {
        let cut_next_reply = Arc::new(AtomicBool::new(false));
        let (hang_up, _) = watch::channel(());
        let mut listeners = Vec::new();
        for port in [server.registry_port, server.connector_port] {
            let listener = TcpListener::bind((ADDRESS, port)).await.expect("bind");
            let (cut, hang_up) = (cut_next_reply.clone(), hang_up.clone());
            listeners.push(tokio::spawn(async move {
                while let Ok((client, _)) = listener.accept().await {
                    let upstream = TcpStream::connect(("127.0.0.1", port))
                        .await
                        .expect("server");
                    let (cut, mut hung_up) = (cut.clone(), hang_up.subscribe());
                    tokio::spawn(async move {
                        tokio::select! {
                            () = relay(client, upstream, cut) => {}
                            _ = hung_up.changed() => {}
                        }
                    });
                }
            }));
        }
        Proxy {
            cut_next_reply,
            hang_up,
            listeners,
        }
    }

    /// The next reply ends in the middle, and its connection with it.
    pub fn cut_next_reply(&self) {
        self.cut_next_reply.store(true, Ordering::SeqCst);
    }

    /// Closes all connections there are.
    pub fn hang_up(&self) {
        self.hang_up.send(()).expect("somebody listens");
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        for listener in &self.listeners {
            listener.abort();
        }
    }
}

async fn relay(mut client: TcpStream, mut upstream: TcpStream, cut: Arc<AtomicBool>) {
    let mut request = vec![0; 64 << 10];
    let mut reply = vec![0; 64 << 10];
    loop {
        tokio::select! {
            read = client.read(&mut request) => match read {
                Ok(length @ 1..) => {
                    if upstream.write_all(&request[..length]).await.is_err() {
                        return;
                    }
                }
                _ => return,
            },
            read = upstream.read(&mut reply) => match read {
                Ok(length @ 1..) => {
                    if reply[0] == RETURN_DATA && cut.swap(false, Ordering::SeqCst) {
                        let _ = client.write_all(&reply[..length / 2]).await;
                        return;
                    }
                    if client.write_all(&reply[..length]).await.is_err() {
                        return;
                    }
                }
                _ => return,
            },
        }
    }
}
