//! The echo protocol (RFC 862), in as many lines as it takes with any other runtime.
//!
//! ```text
//! $ cargo run --release --example echo &
//! $ nc 10.7.0.2 7
//! ```

use hayase::net::TcpListener;

#[hayase::main]
async fn main() -> std::io::Result<()> {
    let listener = TcpListener::bind("[::]:7").await?;
    println!("listening on {}", listener.local_addr()?);
    loop {
        let (mut stream, _peer) = listener.accept().await?;
        hayase::spawn(async move {
            let mut buf = [0; 4096];
            while let Ok(len @ 1..) = stream.read(&mut buf).await {
                if stream.write_all(&buf[..len]).await.is_err() {
                    break;
                }
            }
        });
    }
}
