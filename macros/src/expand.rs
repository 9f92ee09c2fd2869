//! From an async function to one that runs it.
//!
//! The function is kept whole, as an inner one: so `return`, `?` and every span mean what they say.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Attribute, Error, ItemFn, parse2};

use crate::options::Options;

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
    if !options.is_empty() {
        return Err(Error::new(options.span(), "#[hayase::test] has no options"));
    }
    let (mut attributes, function) = take(function, "test")?;
    if let Some(twice) = attributes.iter().find(|attribute| attribute.path().is_ident("test")) {
        return Err(Error::new(twice.span(), "#[hayase::test] makes it a test already: remove this"));
    }
    attributes.push(syn::parse_quote!(#[::core::prelude::v1::test]));
    let inputs = &function.sig.inputs;
    let run = |name: &TokenStream| match inputs.len() {
        0 => quote!(::hayase::__private::run_test(|_, _| #name())),
        _ => quote!(::hayase::__private::run_test(#name)),
    };
    if let Some(argument) = inputs.iter().nth(2).or(inputs.first().filter(|_| inputs.len() == 1)) {
        let text = "a test takes both hosts, (client: Host, server: Host), or nothing";
        return Err(Error::new(argument.span(), text));
    }
    Ok(wrap(&attributes, &function, &run))
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
    fn wrong_uses_are_explained() {
        for (result, part) in [
            (
                main(
                    quote!(),
                    quote!(
                        fn main() {}
                    ),
                ),
                "write `async fn`",
            ),
            (
                main(
                    quote!(),
                    quote!(
                        async fn main(x: u8) {}
                    ),
                ),
                "no arguments",
            ),
            (
                main(
                    quote!(),
                    quote!(
                        struct Main;
                    ),
                ),
                "goes on an async fn",
            ),
            (
                test(
                    quote!(),
                    quote!(
                        async fn t<T>() {}
                    ),
                ),
                "choose",
            ),
            (
                test(
                    quote!(),
                    quote!(
                        async fn t(client: Host) {}
                    ),
                ),
                "both hosts",
            ),
            (
                test(
                    quote!(),
                    quote!(
                        async fn t(a: Host, b: Host, c: Host) {}
                    ),
                ),
                "both hosts",
            ),
            (
                test(
                    quote!(cores = 2),
                    quote!(
                        async fn t() {}
                    ),
                ),
                "no options",
            ),
            (
                test(
                    quote!(),
                    quote!(
                        #[test]
                        async fn t() {}
                    ),
                ),
                "already",
            ),
        ] {
            let error = result.unwrap_err();
            assert!(error.to_string().contains(part), "{error}");
        }
    }
}
