//! From an async function to one that runs it.
//!
//! The function is kept whole, as an inner one: so `return`, `?` and every span mean what they say.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Attribute, Error, ItemFn, parse2};

use crate::options::{Options, Simulated, TestOptions};

pub(crate) fn main(options: TokenStream, function: TokenStream) -> syn::Result<TokenStream> {
    let options = Options::parse(options)?;
    let (attributes, function) = take(function, "main")?;
    if let Some(argument) = function.sig.inputs.first() {
        return Err(Error::new(argument.span(), "the main function takes no arguments"));
    }
    let device = option(options.device);
    let run = |name: &TokenStream| match &options.cores {
        None => quote!(::hayase::__private::block_on(#device, #name())),
        Some(cores) => quote!(::hayase::__private::block_on_each(#device, #cores, #name)),
    };
    Ok(wrap(&attributes, &function, &run))
}

pub(crate) fn test(options: TokenStream, function: TokenStream) -> syn::Result<TokenStream> {
    let options = TestOptions::parse(options)?;
    let (mut attributes, function) = take(function, "test")?;
    if let Some(twice) = attributes.iter().find(|attribute| attribute.path().is_ident("test")) {
        return Err(Error::new(twice.span(), "#[hayase::test] makes it a test already: remove this"));
    }
    attributes.push(syn::parse_quote!(#[::core::prelude::v1::test]));
    match options.simulated {
        None => wired(&attributes, &function),
        Some(simulated) => simulation(&attributes, &function, &simulated),
    }
}

/// A test on the in-memory wire, in real time.
fn wired(attributes: &[Attribute], function: &ItemFn) -> syn::Result<TokenStream> {
    let inputs = &function.sig.inputs;
    let run = |name: &TokenStream| match inputs.len() {
        0 => quote!(::hayase::__private::run_test(|_, _| #name())),
        _ => quote!(::hayase::__private::run_test(#name)),
    };
    if let Some(argument) = inputs.iter().nth(2).or(inputs.first().filter(|_| inputs.len() == 1)) {
        let text = "a test takes both hosts, (client: Host, server: Host), or nothing";
        return Err(Error::new(argument.span(), text));
    }
    Ok(wrap(attributes, function, &run))
}

/// A test in a simulation, through the public interface of the crate `hayase-sim`.
fn simulation(
    attributes: &[Attribute],
    function: &ItemFn,
    simulated: &Simulated,
) -> syn::Result<TokenStream> {
    let inputs = &function.sig.inputs;
    if let Some(argument) = inputs.iter().nth(3) {
        let text =
            "a simulated test takes (sim: Sim), (client: Host, server: Host), both with sim last, or nothing";
        return Err(Error::new(argument.span(), text));
    }
    let seeds = simulated.seeds.iter();
    let link = simulated.link.iter();
    let run = |name: &TokenStream| {
        let call = match inputs.len() {
            0 => quote!(#name()),
            1 => quote!(#name(sim)),
            2 => quote!(#name(sim.client(), sim.server())),
            _ => quote!(#name(sim.client(), sim.server(), sim)),
        };
        let (seeds, link) = (seeds.clone(), link.clone());
        quote! {
            ::hayase_sim::Sim::builder()
                #(.seeds(#seeds))*
                #(.link(#link))*
                .run(|sim: ::hayase_sim::Sim| #call)
        }
    };
    Ok(wrap(attributes, function, &run))
}

/// Parses the function and takes its attributes off.
fn take(function: TokenStream, attribute: &str) -> syn::Result<(Vec<Attribute>, ItemFn)> {
    let mut function: ItemFn = parse2(function).map_err(|error| {
        Error::new(error.span(), format!("#[hayase::{attribute}] goes on an async fn: {error}"))
    })?;
    if function.sig.asyncness.is_none() {
        let text = format!("#[hayase::{attribute}] goes on an async fn: write `async fn`");
        return Err(Error::new(function.sig.fn_token.span(), text));
    }
    if !function.sig.generics.params.is_empty() {
        return Err(Error::new(function.sig.generics.span(), "nobody could choose these parameters"));
    }
    Ok((std::mem::take(&mut function.attrs), function))
}

fn wrap(
    attributes: &[Attribute],
    function: &ItemFn,
    run: &dyn Fn(&TokenStream) -> TokenStream,
) -> TokenStream {
    let (visibility, name, output) = (&function.vis, &function.sig.ident, &function.sig.output);
    let inner = ItemFn { vis: syn::Visibility::Inherited, ..function.clone() };
    let run = run(&quote!(#name));
    // The span of the body: errors about the type that it returns point there.
    quote_spanned! {function.block.span()=>
        #(#attributes)*
        #visibility fn #name() #output {
            #inner
            #run
        }
    }
}

fn option<T: quote::ToTokens>(value: Option<T>) -> TokenStream {
    match value {
        Some(value) => quote!(::core::option::Option::Some(#value)),
        None => quote!(::core::option::Option::None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn main_keeps_its_body_and_runs_it_on_each_core() {
        let expanded = main(
            quote!(cores = 2),
            quote!(
                async fn main() -> Result<(), Error> {
                    body()?;
                    Ok(())
                }
            ),
        );
        let text = expanded.unwrap().to_string();
        assert!(
            text.starts_with("fn main () -> Result < () , Error > { async fn main () -> Result"),
            "{text}"
        );
        assert!(text.contains(":: block_on_each (:: core :: option :: Option :: None , 2 , main)"), "{text}");
    }

    #[test]
    fn main_without_options_runs_once() {
        let expanded = main(
            quote!(device = "wire"),
            quote!(
                async fn main() {}
            ),
        );
        let text = expanded.unwrap().to_string();
        assert!(
            text.contains(":: block_on (:: core :: option :: Option :: Some (\"wire\") , main ())"),
            "{text}"
        );
    }

    #[test]
    fn tests_get_hosts_if_they_want_them() {
        let with = test(
            quote!(),
            quote!(
                async fn t(client: Host, server: Host) {}
            ),
        )
        .unwrap()
        .to_string();
        assert!(with.contains("run_test (t)"), "{with}");
        let without = test(
            quote!(),
            quote!(
                #[ignore]
                async fn t() {}
            ),
        )
        .unwrap()
        .to_string();
        assert!(without.contains("run_test (| _ , _ | t ())") && without.contains("# [ignore]"), "{without}");
    }

    #[test]
    fn simulated_tests_get_what_they_ask_for() {
        for (inputs, call) in [
            (quote!(), "t ()"),
            (quote!(sim: Sim), "t (sim)"),
            (quote!(a: Host, b: Host), "t (sim . client () , sim . server ())"),
            (quote!(a: Host, b: Host, sim: Sim), "t (sim . client () , sim . server () , sim)"),
        ] {
            let options = quote!(sim, seeds = 7, link = Link::default());
            let text = test(options, quote!(async fn t(#inputs) {})).unwrap().to_string();
            assert!(text.contains(". seeds (7) . link (Link :: default ()) . run ("), "{text}");
            assert!(text.contains(&format!("| sim : :: hayase_sim :: Sim | {call}")), "{text}");
        }
        let text = test(
            quote!(sim),
            quote!(
                async fn t() {}
            ),
        )
        .unwrap()
        .to_string();
        assert!(text.contains("builder () . run ("), "{text}");
    }

    fn tokens(text: &str) -> TokenStream {
        text.parse().unwrap()
    }

    fn refuse(
        expand: impl Fn(TokenStream, TokenStream) -> syn::Result<TokenStream>,
        uses: &[(&str, &str, &str)],
    ) {
        for (options, item, part) in uses {
            let error = expand(tokens(options), tokens(item)).unwrap_err();
            assert!(error.to_string().contains(part), "{item}: {error}");
        }
    }

    #[test]
    fn wrong_uses_of_main_are_explained() {
        let uses = [
            ("", "fn main() {}", "write `async fn`"),
            ("", "async fn main(x: u8) {}", "no arguments"),
            ("", "struct Main;", "goes on an async fn"),
        ];
        refuse(main, &uses);
    }

    #[test]
    fn wrong_uses_of_test_are_explained() {
        let uses = [
            ("", "async fn t<T>() {}", "choose"),
            ("", "async fn t(client: Host) {}", "both hosts"),
            ("", "async fn t(a: Host, b: Host, c: Host) {}", "both hosts"),
            ("cores = 2", "async fn t() {}", "no option `cores`"),
            ("seeds = 3", "async fn t() {}", "write `sim, seeds"),
            ("sim", "async fn t(a: Host, b: Host, sim: Sim, c: Host) {}", "sim last"),
            ("", "#[test] async fn t() {}", "already"),
        ];
        refuse(test, &uses);
    }
}
