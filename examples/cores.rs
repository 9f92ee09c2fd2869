//! A main for each core, with a listener of its own: nothing is shared between them, and a connection stays where its frames
//! arrive.
//!
//! ```text
//! $ cargo run --release --example cores &
//! $ nc 10.7.0.2 7
//! you are connection 1 of ThreadId(2)
//! ```

use std::io;
use std::thread;

use hayase::net::TcpListener;

#[hayase::main(cores = 2)]
async fn main() -> io::Result<()> {
    let me = thread::current().id();
    let listener = TcpListener::bind("[::]:7").await?;
    println!("{me:?} listens on {}", listener.local_addr()?);
    let mut count = 0;
    loop {
        let (mut stream, _peer) = listener.accept().await?;
        // Each main has this to itself: no lock, no atomic.
        count += 1;
        hayase::spawn(async move {
            let greeting = format!("you are connection {count} of {me:?}\n");
            // Who is gone does not hear it.
            drop(stream.write_all(greeting.as_bytes()).await);
        });
    }
}
