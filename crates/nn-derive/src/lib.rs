//! `#[derive(Module)]`: lists the fields of a struct by name, so that parameters and submodules can be found.
//!
//! The generated code names `Module` as it is in scope where the derive stands, so it works through any re-export.
#![forbid(unsafe_code)]

mod parse;

use proc_macro::{Group, Span, TokenStream, TokenTree};

/// Implements `Module` for a struct by listing its fields.
///
/// Every field must be a `Module` itself (parameters, state, layers, and numbers and the like, which hold nothing);
/// `#[module(skip)]` leaves a field out. The trait `Module` must be in scope under that name.
///
/// ```ignore
/// #[derive(Module)]
/// struct Net { conv1: Conv2d, pool: MaxPool2d, #[module(skip)] history: History }
/// ```
#[proc_macro_derive(Module, attributes(module))]
pub fn derive_module(item: TokenStream) -> TokenStream {
    match parse::Struct::parse(item) {
        Ok(parsed) => implement(&parsed),
        Err((message, span)) => located(&format!("::core::compile_error!({message:?});"), span),
    }
}

const AS_ANY: &str = "fn as_any(&self) -> ::core::option::Option<&dyn ::core::any::Any> \
                      { ::core::option::Option::Some(self) }";

fn implement(item: &parse::Struct) -> TokenStream {
    let mut fields = TokenStream::new();
    for field in item.fields.iter().filter(|f| !f.skip) {
        let (member, name) = (&field.member, field.member.trim_start_matches("r#"));
        // The place of the field, so that "is not a Module" points at it.
        fields.extend(located(&format!("({name:?}, &self.{member} as &dyn Module),"), field.span));
    }
    let header = format!(
        "#[automatically_derived] impl {} Module for {} {} {}",
        item.generics.declared, item.name, item.generics.used, item.condition
    );
    let signature = "fn fields(&self) -> ::std::vec::Vec<(&'static str, &dyn Module)>";
    let list = TokenTree::Group(Group::new(proc_macro::Delimiter::Bracket, fields));
    let mut body = located("::std::vec!", Span::call_site());
    body.extend([list]);
    let mut method = located(signature, Span::call_site());
    method.extend([TokenTree::Group(Group::new(proc_macro::Delimiter::Brace, body))]);
    let mut methods: TokenStream = method;
    if item.generics.used == "<>" || item.generics.used.is_empty() {
        // Types with generics may borrow, and `Any` is for types that do not.
        methods.extend(located(AS_ANY, Span::call_site()));
    }
    let mut all = located(&header, Span::call_site());
    all.extend([TokenTree::Group(Group::new(proc_macro::Delimiter::Brace, methods))]);
    all
}

/// `code` as tokens that errors show at `span` and that see the names of the call site.
fn located(code: &str, span: Span) -> TokenStream {
    let span = Span::call_site().located_at(span);
    let tokens: TokenStream = code.parse().expect("the generated code has balanced brackets");
    tokens.into_iter().map(|token| at(token, span)).collect()
}

fn at(mut token: TokenTree, span: Span) -> TokenTree {
    if let TokenTree::Group(group) = &token {
        let inner = group.stream().into_iter().map(|t| at(t, span)).collect();
        token = TokenTree::Group(Group::new(group.delimiter(), inner));
    }
    token.set_span(span);
    token
}
