//! The decoder: a TOML tree to a draft, with every fault reported. serde's derive stops at the first fault, so
//! this one is our own; [`draft!`](crate::decode::draft) makes a draft's fields, its decoder and its JSON
//! Schema from one list, so that they cannot drift apart.

use serde_json::{Map, Value as Json, json};
use toml::de::DeValue;

use crate::faults::{Faults, Span, shown};
use crate::text::{NAME_PATTERN, check_name};
use crate::tree::Value;

/// Definitions that a schema refers to, by the name of the draft.
pub(crate) type Defs = Map<String, Json>;

/// What can be read from a TOML value.
pub(crate) trait Decode: Sized {
    /// What must stand there, for the message: `a string`.
    fn wanted() -> String;
    /// Whether a value of this kind may stand there; what stands in it is another question.
    fn takes(kind: Kind) -> bool;
    /// Reads it; reports what is wrong and returns nothing where nothing is usable.
    fn decode(value: &Value<'_>, faults: &mut Faults) -> Option<Self>;
    /// Its JSON Schema.
    fn schema(defs: &mut Defs) -> Json;
}

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(crate) struct At<T> {
    pub value: T,
    pub span: Span,
}

impl<T: Decode> Decode for At<T> {
    fn wanted() -> String {
        T::wanted()
    }
    fn takes(kind: Kind) -> bool {
        T::takes(kind)
    }
    fn decode(value: &Value<'_>, faults: &mut Faults) -> Option<Self> {
        T::decode(value, faults).map(|inner| At { value: inner, span: value.span() })
    }
    fn schema(defs: &mut Defs) -> Json {
        T::schema(defs)
    }
}

/// One value or a list of at least one.
#[derive(Clone, Debug)]
pub(crate) struct Many<T> {
    pub items: Vec<At<T>>,
    /// Whether every item could be read. What is missing must not be taken for what was left out.
    pub whole: bool,
    pub span: Span,
}

impl<T: Decode> Decode for Many<T> {
    fn wanted() -> String {
        format!("{}, or a list of these", T::wanted())
    }
    fn takes(kind: Kind) -> bool {
        kind == Kind::List || T::takes(kind)
    }
    fn decode(value: &Value<'_>, faults: &mut Faults) -> Option<Self> {
        let DeValue::Array(array) = value.get_ref() else {
            // A wrong type is told with the list among what may stand here.
            if !T::takes(Kind::of(value)) {
                wrong_type::<Self>(value, faults);
                return None;
            }
            return At::decode(value, faults).map(|one| Many {
                items: vec![one],
                whole: true,
                span: value.span(),
            });
        };
        if array.is_empty() {
            faults
                .error("empty-list", &value.span(), "the list is empty")
                .label("nothing here")
                .hint("leave the key out, or name something");
            return None;
        }
        let items: Vec<_> = array.iter().filter_map(|v| At::decode(v, faults)).collect();
        let whole = items.len() == array.len();
        Some(Many { items, whole, span: value.span() })
    }
    fn schema(defs: &mut Defs) -> Json {
        let one = T::schema(defs);
        json!({ "anyOf": [one, { "type": "array", "minItems": 1, "items": one }] })
    }
}

/// A list, which may be empty. Of `[[tables]]` it holds those that could be read.
#[derive(Clone, Debug)]
pub(crate) struct List<T> {
    pub items: Vec<At<T>>,
    pub span: Span,
}

impl<T: Decode> Decode for List<T> {
    fn wanted() -> String {
        "a list".into()
    }
    fn takes(kind: Kind) -> bool {
        kind == Kind::List
    }
    fn decode(value: &Value<'_>, faults: &mut Faults) -> Option<Self> {
        let DeValue::Array(array) = value.get_ref() else {
            wrong_type::<Self>(value, faults);
            return None;
        };
        let items = array.iter().filter_map(|v| At::decode(v, faults)).collect();
        Some(List { items, span: value.span() })
    }
    fn schema(defs: &mut Defs) -> Json {
        json!({ "type": "array", "items": T::schema(defs) })
    }
}

/// A table whose keys are names that the operator chose, in the order of the document.
#[derive(Clone, Debug)]
pub(crate) struct Named<T> {
    pub entries: Vec<(At<String>, T)>,
    /// Names whose value could not be read: they exist, so that what refers to them is right.
    pub broken: Vec<String>,
}

impl<T> Named<T> {
    pub fn iter(&self) -> impl Iterator<Item = (&At<String>, &T)> {
        self.entries.iter().map(|(name, inner)| (name, inner))
    }
}

impl<T: Decode> Decode for Named<T> {
    fn wanted() -> String {
        "a table".into()
    }
    fn takes(kind: Kind) -> bool {
        kind == Kind::Table
    }
    fn decode(value: &Value<'_>, faults: &mut Faults) -> Option<Self> {
        let DeValue::Table(table) = value.get_ref() else {
            wrong_type::<Self>(value, faults);
            return None;
        };
        let (mut entries, mut broken) = (Vec::with_capacity(table.len()), Vec::new());
        for (key, inner) in table.iter() {
            let name = key.get_ref().as_ref();
            if let Err(malformed) = check_name(name) {
                malformed.report("bad-name", &key.span(), faults);
                continue;
            }
            match T::decode(inner, faults) {
                Some(inner) => entries.push((At { value: name.to_owned(), span: key.span() }, inner)),
                None => broken.push(name.to_owned()),
            }
        }
        entries.sort_by_key(|(name, _): &(At<String>, T)| name.span.start);
        Some(Self { entries, broken })
    }
    fn schema(defs: &mut Defs) -> Json {
        json!({
            "type": "object",
            "propertyNames": { "pattern": NAME_PATTERN },
            "additionalProperties": T::schema(defs),
        })
    }
}

/// A value for both nodes, or a table with one for each.
#[derive(Clone, Debug)]
pub(crate) enum ByNode<T> {
    Same(T),
    Each(Vec<(At<String>, T)>, Span),
}

impl<T: Decode> Decode for ByNode<T> {
    fn wanted() -> String {
        format!("{}, or a table with one for each node", T::wanted())
    }
    fn takes(kind: Kind) -> bool {
        kind == Kind::Table || T::takes(kind)
    }
    fn decode(value: &Value<'_>, faults: &mut Faults) -> Option<Self> {
        if !Self::takes(Kind::of(value)) {
            wrong_type::<Self>(value, faults);
            return None;
        }
        if !value.get_ref().is_table() {
            return T::decode(value, faults).map(Self::Same);
        }
        let each = Named::<T>::decode(value, faults)?;
        each.broken.is_empty().then(|| Self::Each(each.entries, value.span()))
    }
    fn schema(defs: &mut Defs) -> Json {
        let one = T::schema(defs);
        let each = json!({ "type": "object", "minProperties": 1, "additionalProperties": one,
            "description": "one value for each node" });
        json!({ "anyOf": [one, each] })
    }
}

/// `true`, `false`, or something more precise.
#[derive(Clone, Debug)]
pub(crate) enum Toggle<T> {
    Bool(bool),
    More(T),
}

impl<T: Decode> Decode for Toggle<T> {
    fn wanted() -> String {
        format!("true, false, or {}", T::wanted())
    }
    fn takes(kind: Kind) -> bool {
        kind == Kind::Bool || T::takes(kind)
    }
    fn decode(value: &Value<'_>, faults: &mut Faults) -> Option<Self> {
        match value.get_ref() {
            DeValue::Boolean(b) => Some(Self::Bool(*b)),
            _ if T::takes(Kind::of(value)) => T::decode(value, faults).map(Self::More),
            _ => {
                wrong_type::<Self>(value, faults);
                None
            }
        }
    }
    fn schema(defs: &mut Defs) -> Json {
        json!({ "anyOf": [{ "type": "boolean" }, T::schema(defs)] })
    }
}

/// Either a short form or a table that says more.
#[derive(Clone, Debug)]
pub(crate) enum Either<S, T> {
    Short(S),
    Table(T),
}

impl<S: Decode, T: Decode> Decode for Either<S, T> {
    fn wanted() -> String {
        format!("{}, or {}", S::wanted(), T::wanted())
    }
    fn takes(kind: Kind) -> bool {
        S::takes(kind) || T::takes(kind)
    }
    fn decode(value: &Value<'_>, faults: &mut Faults) -> Option<Self> {
        let kind = Kind::of(value);
        if !Self::takes(kind) {
            wrong_type::<Self>(value, faults);
            return None;
        }
        match T::takes(kind) {
            true => T::decode(value, faults).map(Self::Table),
            false => S::decode(value, faults).map(Self::Short),
        }
    }
    fn schema(defs: &mut Defs) -> Json {
        json!({ "anyOf": [S::schema(defs), T::schema(defs)] })
    }
}

impl Decode for bool {
    fn wanted() -> String {
        "true or false".into()
    }
    fn takes(kind: Kind) -> bool {
        kind == Kind::Bool
    }
    fn decode(value: &Value<'_>, faults: &mut Faults) -> Option<Self> {
        if let DeValue::Boolean(b) = value.get_ref() {
            return Some(*b);
        }
        wrong_type::<Self>(value, faults);
        None
    }
    fn schema(_: &mut Defs) -> Json {
        json!({ "type": "boolean" })
    }
}

/// An integer between two bounds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Int<const LO: u32, const HI: u32>(pub u32);

impl<const LO: u32, const HI: u32> Decode for Int<LO, HI> {
    fn wanted() -> String {
        match LO == HI {
            true => format!("the integer {LO}"),
            false => format!("an integer from {LO} to {HI}"),
        }
    }
    fn takes(kind: Kind) -> bool {
        kind == Kind::Integer
    }
    fn decode(value: &Value<'_>, faults: &mut Faults) -> Option<Self> {
        let DeValue::Integer(integer) = value.get_ref() else {
            wrong_type::<Self>(value, faults);
            return None;
        };
        let number = u32::from_str_radix(integer.as_str(), integer.radix()).ok();
        let inside = number.filter(|n| (LO..=HI).contains(n));
        if inside.is_none() {
            faults
                .error("out-of-range", &value.span(), format!("{} is out of range", shown(integer.as_str())))
                .label(format!("expected {}", Self::wanted()));
        }
        inside.map(Self)
    }
    fn schema(_: &mut Defs) -> Json {
        json!({ "type": "integer", "minimum": LO, "maximum": HI })
    }
}

/// What a TOML value is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    Integer,
    Float,
    Bool,
    Date,
    List,
    Table,
}

impl Kind {
    pub fn of(value: &Value<'_>) -> Self {
        match value.get_ref() {
            DeValue::String(_) => Self::Text,
            DeValue::Integer(_) => Self::Integer,
            DeValue::Float(_) => Self::Float,
            DeValue::Boolean(_) => Self::Bool,
            DeValue::Datetime(_) => Self::Date,
            DeValue::Array(_) => Self::List,
            DeValue::Table(_) => Self::Table,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Text => "a string",
            Self::Integer => "an integer",
            Self::Float => "a decimal number",
            Self::Bool => "a boolean",
            Self::Date => "a date or time",
            Self::List => "a list",
            Self::Table => "a table",
        }
    }
}

/// Reports that a value has the wrong type.
pub(crate) fn wrong_type<T: Decode>(value: &Value<'_>, faults: &mut Faults) {
    let found = Kind::of(value).as_str();
    faults
        .error("wrong-type", &value.span(), format!("expected {}, found {found}", T::wanted()))
        .label(format!("this is {found}"));
}

/// Reports a key that the grammar does not know.
pub(crate) fn unknown_key(key: &str, span: &Span, place: &str, known: &[&str], faults: &mut Faults) {
    faults
        .error("unknown-key", span, format!("unknown key `{}` in {place}", shown(key)))
        .label("not a key here")
        .suggest(key, known.iter().copied());
}

/// Reports a key that must be there and is not.
pub(crate) fn missing_key(key: &str, span: &Span, place: &str, faults: &mut Faults) {
    faults.error("missing-key", span, format!("{place} needs `{key}`")).label(format!("`{key}` is missing"));
}

/// A field's key: its name in Rust without the mark of a raw identifier.
pub(crate) fn key_of(field: &'static str) -> &'static str {
    field.strip_prefix("r#").unwrap_or(field)
}

/// Makes a draft: the struct, its decoder and its schema. Every field is optional in the struct, because what
/// is missing has been reported and the rest is still worth checking; `must` marks keys that the decoder asks
/// for.
macro_rules! draft {
    ($(
        $(#[doc = $doc:literal])*
        $name:ident, $place:literal {
            $( $(#[doc = $text:literal])* $need:ident $field:ident: $ty:ty, )*
        }
    )*) => {$(
        $(#[doc = $doc])*
        #[derive(Clone, Debug)]
        pub(crate) struct $name {
            /// Where it stands.
            pub span: crate::faults::Span,
            /// Whether a key in it could not be read, so that what looks missing may be there.
            pub broken: bool,
            $( $(#[doc = $text])* pub $field: Option<$ty>, )*
        }

        impl crate::decode::Decode for $name {
            fn wanted() -> String {
                "a table".into()
            }

            fn takes(kind: crate::decode::Kind) -> bool {
                kind == crate::decode::Kind::Table
            }

            fn decode(
                value: &crate::tree::Value<'_>,
                faults: &mut crate::faults::Faults,
            ) -> Option<Self> {
                let toml::de::DeValue::Table(table) = value.get_ref() else {
                    crate::decode::wrong_type::<Self>(value, faults);
                    return None;
                };
                let keys = [$( crate::decode::key_of(stringify!($field)) ),*];
                let mut draft = Self { span: value.span(), broken: false, $( $field: None, )* };
                for (key, value) in table.iter() {
                    let name: &str = key.get_ref().as_ref();
                    match name {
                        $( _ if name == crate::decode::key_of(stringify!($field)) => {
                            draft.$field = crate::decode::Decode::decode(value, faults);
                            draft.broken |= draft.$field.is_none();
                        } )*
                        _ => {
                            draft.broken = true;
                            crate::decode::unknown_key(name, &key.span(), $place, &keys, faults);
                        }
                    }
                }
                $( if stringify!($need) == "must" {
                    let key = crate::decode::key_of(stringify!($field));
                    if table.get(key).is_none() {
                        crate::decode::missing_key(key, &draft.span, $place, faults);
                    }
                } )*
                Some(draft)
            }

            fn schema(defs: &mut crate::decode::Defs) -> serde_json::Value {
                let name = stringify!($name).trim_end_matches("Draft");
                // Entered before its fields, so that a draft may hold its own kind.
                if !defs.contains_key(name) {
                    defs.insert(name.into(), serde_json::Value::Null);
                    let mut properties = serde_json::Map::new();
                    let mut required: Vec<&str> = Vec::new();
                    $(
                        let key = crate::decode::key_of(stringify!($field));
                        let inner = <$ty as crate::decode::Decode>::schema(defs);
                        properties.insert(key.into(), crate::decode::described(inner, &[$($text),*]));
                        if stringify!($need) == "must" {
                            required.push(key);
                        }
                    )*
                    let table = serde_json::json!({
                        "type": "object",
                        "additionalProperties": false,
                        "properties": properties,
                        "required": required,
                    });
                    defs.insert(name.into(), crate::decode::described(table, &[$($doc),*]));
                }
                serde_json::json!({ "$ref": format!("#/$defs/{name}") })
            }
        }
    )*};
}
pub(crate) use draft;

/// A schema with the text of a doc comment.
pub(crate) fn described(mut schema: Json, lines: &[&str]) -> Json {
    let text: Vec<_> = lines.iter().map(|l| l.trim()).collect();
    if let Some(object) = schema.as_object_mut() {
        object.insert("description".into(), text.join(" ").into());
    }
    schema
}
