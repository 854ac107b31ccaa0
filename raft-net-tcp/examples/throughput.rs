//! How many requests a second one connection answers on the loopback interface.
//!
//! `cargo run --release -p raft-net-tcp --example throughput [concurrent requests] [body bytes]`

use std::time::{Duration, Instant};

use raft_net_tcp::{AdmitAll, Client, Config, Dial, Identity, Listener, Local, Role, Versions};

const TIME: Duration = Duration::from_secs(2);

fn local() -> Local {
    Local::new(Versions::only(1), Identity::default())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut numbers = std::env::args()
        .skip(1)
        .map(|number| number.parse::<usize>());
    let concurrent = numbers.next().transpose()?.unwrap_or(1000);
    let body_bytes = numbers.next().transpose()?.unwrap_or(300);

    let listener = Listener::bind("127.0.0.1:0", Config::default(), local, AdmitAll).await?;
    let address = listener.local_addr().to_string();
    tokio::spawn(echo(listener));

    requests(&address, concurrent, body_bytes).await?;
    frames(&address, concurrent, body_bytes).await
}

async fn echo(mut listener: Listener) {
    loop {
        let mut link = listener.accept().await;
        tokio::spawn(async move {
            while let Ok(frames) = link.receiver.recv_many().await {
                for frame in frames {
                    let _ = link
                        .sender
                        .try_send(frame.kind, frame.request_id, frame.body);
                }
            }
        });
    }
}

/// A task for each request in flight, as in a server that is itself a client.
async fn requests(
    address: &str,
    concurrent: usize,
    body_bytes: usize,
) -> Result<(), Box<dyn std::error::Error>> {
    let client =
        Client::connect(address, &Dial::new(Config::default(), Role::Client, local)).await?;
    let start = Instant::now();
    let tasks: Vec<_> = (0..concurrent)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move {
                let body = bytes::Bytes::from(vec![7; body_bytes]);
                let mut answers = 0u64;
                while start.elapsed() < TIME && client.request(1, body.clone()).await.is_ok() {
                    answers += 1;
                }
                answers
            })
        })
        .collect();
    let mut answers = 0;
    for task in tasks {
        answers += task.await?;
    }
    report("Client::request", answers, start);
    Ok(())
}

/// The same number in flight, by frames in batches.
async fn frames(
    address: &str,
    concurrent: usize,
    body_bytes: usize,
) -> Result<(), Box<dyn std::error::Error>> {
    let mut link = Dial::new(Config::default(), Role::Client, local)
        .connect(address)
        .await?;
    let body = bytes::Bytes::from(vec![7; body_bytes]);
    let start = Instant::now();
    let mut answers = 0;
    for id in 0..concurrent as u64 {
        link.sender.try_send(1, id, body.clone())?;
    }
    while start.elapsed() < TIME {
        for frame in link.receiver.recv_many().await? {
            answers += 1;
            link.sender.try_send(1, frame.request_id, body.clone())?;
        }
    }
    report("Sender and Receiver", answers, start);
    Ok(())
}

fn report(how: &str, answers: u64, start: Instant) {
    let rate = answers as f64 / start.elapsed().as_secs_f64();
    println!("{how}: {rate:.0} answers a second");
}
