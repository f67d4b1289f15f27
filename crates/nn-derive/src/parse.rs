//! Reads a struct from its tokens: the name, the generics, the fields. Nothing else is needed, so nothing else is parsed.

use proc_macro::{Delimiter, Spacing, Span, TokenStream, TokenTree};

/// A message and where to show it.
pub(crate) type Failure = (&'static str, Span);

/// What the derive knows of a struct.
pub(crate) struct Struct {
    pub(crate) name: String,
    pub(crate) generics: Generics,
    /// The `where` clause, or nothing.
    pub(crate) condition: String,
    pub(crate) fields: Vec<Field>,
}

/// The generic parameters twice: with bounds for `impl<...>`, and as bare names for the type.
#[derive(Default)]
pub(crate) struct Generics {
    pub(crate) declared: String,
    pub(crate) used: String,
}

/// A field by its name or its position.
pub(crate) struct Field {
    pub(crate) member: String,
    pub(crate) skip: bool,
    pub(crate) span: Span,
}

impl Struct {
    pub(crate) fn parse(item: TokenStream) -> Result<Self, Failure> {
        let mut tokens = item.into_iter().peekable();
        // Attributes and the visibility come first.
        let keyword = loop {
            match tokens.next() {
                Some(TokenTree::Ident(word)) if word.to_string() != "pub" => break word,
                Some(_) => {}
                None => return Err(("expected a struct", Span::call_site())),
            }
        };
        if keyword.to_string() != "struct" {
            let message = "derive(Module) is for structs; write the impl of Module by hand for an enum or a union";
            return Err((message, keyword.span()));
        }
        let Some(TokenTree::Ident(name)) = tokens.next() else {
            return Err(("expected a name after struct", keyword.span()));
        };
        let mut generics = Generics::default();
        if is_punct(tokens.peek(), '<') {
            tokens.next();
            let mut depth = Depth { level: 1, dash: false };
            let inside: Vec<TokenTree> = std::iter::from_fn(|| tokens.next_if(|t| depth.after(t) > 0)).collect();
            tokens.next();
            generics = Generics::parse(inside);
        }
        let (mut condition, mut fields) = (TokenStream::new(), Vec::new());
        for token in tokens {
            match token {
                TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => {
                    fields = split(group.stream()).into_iter().map(Field::named).collect::<Result<_, _>>()?;
                }
                TokenTree::Group(group) if group.delimiter() == Delimiter::Parenthesis && condition.is_empty() => {
                    let positions = split(group.stream()).into_iter().enumerate();
                    fields = positions.map(|(i, tokens)| Field::at_position(i, &tokens)).collect();
                }
                TokenTree::Punct(end) if end.as_char() == ';' => {}
                part => condition.extend([part]),
            }
        }
        Ok(Struct { name: name.to_string(), generics, condition: condition.to_string(), fields })
    }
}

impl Generics {
    fn parse(tokens: Vec<TokenTree>) -> Self {
        let (mut declared, mut used) = (String::from("<"), String::from("<"));
        for parameter in split(tokens.into_iter().collect()) {
            // A default has no place in an impl.
            let end = top_level(&parameter, '=').unwrap_or(parameter.len());
            let text = parameter[..end].iter().cloned().collect::<TokenStream>().to_string();
            let bounds = top_level(&parameter[..end], ':');
            let named = &parameter[..bounds.unwrap_or(end)];
            let name = named.iter().cloned().collect::<TokenStream>().to_string();
            let first = named.first().map(ToString::to_string).unwrap_or_default();
            if first == "'" {
                declared += &format!("{text},");
                used += &format!("{name},");
            } else if first == "const" {
                declared += &format!("{text},");
                used += &format!("{},", name.trim_start_matches("const "));
            } else {
                // Type parameters are modules too.
                declared += &format!("{text}{} Module,", if bounds.is_some() { " +" } else { ":" });
                used += &format!("{name},");
            }
        }
        Generics { declared: declared + ">", used: used + ">" }
    }
}

impl Field {
    fn named(tokens: Vec<TokenTree>) -> Result<Self, Failure> {
        let colon = top_level(&tokens, ':').filter(|&at| at > 0);
        let Some(name) = colon.map(|at| &tokens[at - 1]) else {
            return Err(("expected a field", tokens.first().map_or_else(Span::call_site, TokenTree::span)));
        };
        Ok(Field { member: name.to_string(), skip: skips(&tokens), span: name.span() })
    }

    fn at_position(position: usize, tokens: &[TokenTree]) -> Self {
        let span = tokens.last().map_or_else(Span::call_site, TokenTree::span);
        Field { member: position.to_string(), skip: skips(tokens), span }
    }
}

/// Whether `#[module(skip)]` is among the attributes.
fn skips(tokens: &[TokenTree]) -> bool {
    tokens.windows(2).any(|pair| {
        let TokenTree::Group(attribute) = &pair[1] else { return false };
        let text: String = attribute.stream().to_string().split_whitespace().collect();
        is_punct(Some(&pair[0]), '#') && attribute.delimiter() == Delimiter::Bracket && text == "module(skip)"
    })
}

/// How deep a walk is inside `<` and `>`; the arrow of `Fn() -> T` does not count.
#[derive(Default)]
struct Depth {
    level: usize,
    dash: bool,
}

impl Depth {
    fn after(&mut self, token: &TokenTree) -> usize {
        let arrow = std::mem::take(&mut self.dash);
        if let TokenTree::Punct(p) = token {
            match p.as_char() {
                '<' => self.level += 1,
                '>' if !arrow => self.level = self.level.saturating_sub(1),
                '-' => self.dash = p.spacing() == Spacing::Joint,
                _ => {}
            }
        }
        self.level
    }
}

/// The parts between commas outside of angle brackets; other brackets are single tokens already.
fn split(stream: TokenStream) -> Vec<Vec<TokenTree>> {
    let (mut parts, mut depth) = (vec![Vec::new()], Depth::default());
    for token in stream {
        if depth.after(&token) == 0 && is_punct(Some(&token), ',') {
            parts.push(Vec::new());
        } else {
            parts.last_mut().expect("there is always a part").push(token);
        }
    }
    parts.retain(|part| !part.is_empty());
    parts
}

/// The position of a single `mark` outside of angle brackets (`::` is not two colons).
fn top_level(tokens: &[TokenTree], mark: char) -> Option<usize> {
    let mut depth = Depth::default();
    let joint = |t: &TokenTree| matches!(t, TokenTree::Punct(p) if p.spacing() == Spacing::Joint);
    (0..tokens.len()).find(|&i| {
        depth.after(&tokens[i]) == 0
            && is_punct(tokens.get(i), mark)
            && !joint(&tokens[i])
            && !(i > 0 && is_punct(tokens.get(i - 1), mark) && joint(&tokens[i - 1]))
    })
}

fn is_punct(token: Option<&TokenTree>, mark: char) -> bool {
    matches!(token, Some(TokenTree::Punct(p)) if p.as_char() == mark)
}
