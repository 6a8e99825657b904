//! A way between two processes that can be cut and held up.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
};

/// What becomes of what is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// It arrives.
    Open,
    /// It arrives once the way is open again: nobody is told.
    Stalled,
    /// Connections are closed, and new ones as soon as they are made.
    Cut,
}

/// Forwards connections to the first of its targets that answers, beginning with another one each time.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    flow: watch::Sender<Flow>,
    _accepting: tokio::task::JoinSet<()>,
}

impl Proxy {
    /// Listens at a free port; must be called within a runtime.
    pub async fn open(targets: Vec<SocketAddr>) -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let (flow, state) = watch::channel(Flow::Open);
        let mut accepting = tokio::task::JoinSet::new();
        accepting.spawn(accept(listener, targets, state));
        Ok(Self { port, flow, _accepting: accepting })
    }

    /// Where it listens on 127.0.0.1.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// What becomes of what is sent from now on.
    pub fn set(&self, flow: Flow) {
        self.flow.send_replace(flow);
    }
}

async fn accept(listener: TcpListener, targets: Vec<SocketAddr>, state: watch::Receiver<Flow>) {
    let mut connections = tokio::task::JoinSet::new();
    let first = Arc::new(AtomicUsize::new(0));
    loop {
        let Ok((client, _)) = listener.accept().await else { continue };
        while connections.try_join_next().is_some() {}
        if *state.borrow() == Flow::Cut {
            continue;
        }
        let (targets, first, state) = (targets.clone(), first.clone(), state.clone());
        connections.spawn(async move {
            let first = first.fetch_add(1, Ordering::Relaxed);
            for n in 0..targets.len() {
                let target = targets[(first + n) % targets.len()];
                if let Ok(server) = TcpStream::connect(target).await {
                    carry(client, server, state).await;
                    return;
                }
            }
        });
    }
}

/// Carries both directions until one side closes or the way is cut.
async fn carry(client: TcpStream, server: TcpStream, state: watch::Receiver<Flow>) {
    // What is small must not wait: that would be measured, not the processes.
    for stream in [&client, &server] {
        drop(stream.set_nodelay(true));
    }
    let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
    let mut cut = state.clone();
    tokio::select! {
        () = copy(from_client, to_server, state.clone()) => {}
        () = copy(from_server, to_client, state) => {}
        _ = cut.wait_for(|flow| *flow == Flow::Cut) => {}
    }
}

async fn copy(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut state: watch::Receiver<Flow>) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(n @ 1..) = from.read(&mut buffer).await {
        let opened = state.wait_for(|flow| *flow != Flow::Stalled).await.is_ok();
        if !opened || to.write_all(&buffer[..n]).await.is_err() {
            return;
        }
    }
}
