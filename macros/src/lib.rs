//! `#[hayase::main]` and `#[hayase::test]`. Use them through the `hayase` crate.
#![forbid(unsafe_code)]

mod expand;
mod options;

use proc_macro::TokenStream;

/// Runs an async `main` on a Hayase runtime.
///
/// ```ignore
/// #[hayase::main]
/// async fn main() -> std::io::Result<()> {
///     let listener = hayase::net::TcpListener::bind("[::]:7").await?;
///     // ...
///     Ok(())
/// }
/// ```
///
/// Options: `device = "SPEC"` names the device as `hayase::DeviceSpec` reads it, or several with `;` between them; `cores = N` runs main on each of
/// that many cores, as `hayase::Builder::cores` has them. Without them the defaults of `hayase::Builder` hold. If the
/// runtime cannot be built, the reason goes to stderr and the process ends with code 1.
///
/// A main that runs on several cores returns `()`, a `Result` or an `ExitCode`, which must be `Send` (`Box<dyn Error +
/// Send + Sync>` is). The program goes on until all of them have ended, or the first has failed.
#[proc_macro_attribute]
pub fn main(options: TokenStream, function: TokenStream) -> TokenStream {
    expand::main(options.into(), function.into()).unwrap_or_else(syn::Error::into_compile_error).into()
}

/// Runs an async test on an in-memory wire between two hosts, a client and a server.
///
/// ```ignore
/// #[hayase::test]
/// async fn greets(client: Host, server: Host) -> std::io::Result<()> {
///     let listener = server.scope(TcpListener::bind("10.7.0.2:80")).await?;
///     let mut stream = TcpStream::connect("10.7.0.2:80").await?; // the body runs on the client
///     // ...
///     Ok(())
/// }
/// ```
///
/// The function takes both hosts, client first, or nothing. Its body runs on the client, 10.7.0.1 and
/// fd00:7::1; the server is 10.7.0.2 and fd00:7::2, and is the client's `peer()`.
///
/// # Simulations
/// `#[hayase::test(sim, seeds = 100)]` runs the test in a deterministic simulation, once with each of so many seeds, on
/// virtual time and over a network that is a bad one in another way with each seed. A failure prints the seed that
/// replays it and writes captures. `link = EXPRESSION`, of the type `hayase_sim::Link`, chooses the network. The
/// function may take the `hayase_sim::Sim` as its last argument, or as its only one; it returns `()` or a `Result`.
///
/// This needs the crate `hayase-sim` among the dev-dependencies: a compiler that says "cannot find `hayase_sim`" misses
/// it.
///
/// ```ignore
/// #[hayase::test(sim, seeds = 100)]
/// async fn greets_over_bad_networks(client: Host, server: Host) -> std::io::Result<()> {
///     // as above
///     Ok(())
/// }
/// ```
#[proc_macro_attribute]
pub fn test(options: TokenStream, function: TokenStream) -> TokenStream {
    expand::test(options.into(), function.into()).unwrap_or_else(syn::Error::into_compile_error).into()
}
