//! What stands in the parentheses of `#[hayase::main(...)]` and `#[hayase::test(...)]`.

use proc_macro2::TokenStream;
use syn::parse::{Parse, ParseStream, Parser};
use syn::punctuated::Punctuated;
use syn::{Error, Expr, ExprLit, Ident, Lit, LitInt, LitStr, Token};

/// The options of `main`, each at most once.
#[derive(Default)]
pub(crate) struct Options {
    pub(crate) device: Option<LitStr>,
    pub(crate) cores: Option<LitInt>,
}

struct Assignment {
    name: Ident,
    value: Expr,
}

impl Parse for Assignment {
    fn parse(input: ParseStream<'_>) -> syn::Result<Assignment> {
        let name = input.parse()?;
        input.parse::<Token![=]>()?;
        Ok(Assignment { name, value: input.parse()? })
    }
}

impl Options {
    pub(crate) fn parse(tokens: TokenStream) -> syn::Result<Options> {
        let assignments = Punctuated::<Assignment, Token![,]>::parse_terminated.parse2(tokens)?;
        let mut options = Options::default();
        for Assignment { name, value } in assignments {
            match (name.to_string().as_str(), value) {
                ("device", Expr::Lit(ExprLit { lit: Lit::Str(value), .. })) => {
                    once(&mut options.device, value, &name)?;
                }
                ("device", value) => {
                    return Err(Error::new_spanned(
                        value,
                        "expected a string: device = \"tap:name=hy0,addr=10.7.0.2/24\"",
                    ));
                }
                ("cores", Expr::Lit(ExprLit { lit: Lit::Int(value), .. })) => {
                    if value.base10_parse::<usize>()? == 0 {
                        return Err(Error::new_spanned(value, "a runtime needs at least one core"));
                    }
                    once(&mut options.cores, value, &name)?;
                }
                ("cores", value) => return Err(Error::new_spanned(value, "expected a number: cores = 2")),
                _ => {
                    return Err(Error::new(
                        name.span(),
                        format!("there is no option `{name}`, only `device = \"SPEC\"` and `cores = N`"),
                    ));
                }
            }
        }
        Ok(options)
    }
}

/// The options of `test`.
#[derive(Default)]
pub(crate) struct TestOptions {
    pub(crate) simulated: Option<Simulated>,
}

/// The options of a test that is simulated, each at most once.
#[derive(Default)]
pub(crate) struct Simulated {
    pub(crate) seeds: Option<LitInt>,
    pub(crate) link: Option<Expr>,
}

/// `sim`, or `name = value`.
struct Word {
    name: Ident,
    value: Option<Expr>,
}

impl Parse for Word {
    fn parse(input: ParseStream<'_>) -> syn::Result<Word> {
        let name = input.parse()?;
        let assigned = input.parse::<Option<Token![=]>>()?;
        Ok(Word { name, value: assigned.map(|_| input.parse()).transpose()? })
    }
}

impl TestOptions {
    pub(crate) fn parse(tokens: TokenStream) -> syn::Result<TestOptions> {
        let words = Punctuated::<Word, Token![,]>::parse_terminated.parse2(tokens)?;
        let mut options = TestOptions::default();
        for Word { name, value } in words {
            match (name.to_string().as_str(), value) {
                ("sim", None) => once(&mut options.simulated, Simulated::default(), &name)?,
                ("seeds" | "link", Some(value)) => {
                    let Some(simulated) = &mut options.simulated else {
                        let text = "only simulations have seeds and links: write `sim, seeds = 100`";
                        return Err(Error::new(name.span(), text));
                    };
                    simulated.assign(&name, value)?;
                }
                _ => {
                    let text = "of tests, only `sim`, and with it `seeds = N` and `link = LINK`";
                    return Err(Error::new(name.span(), format!("there is no option `{name}` {text}")));
                }
            }
        }
        Ok(options)
    }
}

impl Simulated {
    fn assign(&mut self, name: &Ident, value: Expr) -> syn::Result<()> {
        if name == "link" {
            return once(&mut self.link, value, name);
        }
        let Expr::Lit(ExprLit { lit: Lit::Int(seeds), .. }) = value else {
            return Err(Error::new_spanned(value, "expected a number: seeds = 100"));
        };
        if seeds.base10_parse::<u64>()? == 0 {
            return Err(Error::new_spanned(seeds, "without a seed, nothing is tested"));
        }
        once(&mut self.seeds, seeds, name)
    }
}

fn once<T>(option: &mut Option<T>, value: T, name: &Ident) -> syn::Result<()> {
    match option.replace(value) {
        None => Ok(()),
        Some(_) => Err(Error::new(name.span(), format!("`{name}` is given twice"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quote::quote;

    #[test]
    fn both_options_are_read() {
        let options = Options::parse(quote!(device = "wire", cores = 2)).unwrap();
        assert_eq!(options.device.unwrap().value(), "wire");
        assert_eq!(options.cores.unwrap().base10_parse::<usize>().unwrap(), 2);
        assert!(Options::parse(quote!()).unwrap().device.is_none());
    }

    #[test]
    fn mistakes_in_tests_are_named() {
        for (tokens, part) in [
            (quote!(sim = true), "no option `sim`"),
            (quote!(sim, sim), "twice"),
            (quote!(sim, seeds), "no option `seeds`"),
            (quote!(sim, seeds = "many"), "number"),
            (quote!(sim, seeds = 0), "nothing is tested"),
            (quote!(sim, seeds = 1, seeds = 2), "twice"),
            (quote!(link = Link::default()), "only simulations"),
        ] {
            let error =
                TestOptions::parse(tokens.clone()).err().unwrap_or_else(|| panic!("{tokens} was accepted"));
            assert!(error.to_string().contains(part), "{tokens}: {error}");
        }
        assert!(TestOptions::parse(quote!()).unwrap().simulated.is_none());
    }

    #[test]
    fn mistakes_are_named() {
        for (tokens, part) in [
            (quote!(flavor = "multi_thread"), "`flavor`"),
            (quote!(cores = "two"), "number"),
            (quote!(cores = 0), "at least one"),
            (quote!(device = wire), "string"),
            (quote!(cores = 1, cores = 2), "twice"),
        ] {
            let error =
                Options::parse(tokens.clone()).err().unwrap_or_else(|| panic!("{tokens} was accepted"));
            assert!(error.to_string().contains(part), "{tokens}: {error}");
        }
    }
}
