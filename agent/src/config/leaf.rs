//! What all single values of the config have in common. Enters: the text of one value. Leaves: a value that is in its range, or a
//! sentence that says what may stand there. The same sentence is the value's form in `docs/CONFIG.md`.

use std::{fmt, marker::PhantomData};

use serde::{
    Serialize, Serializer,
    de::{Error, Unexpected, Visitor},
};

/// A value that is written as text.
pub(super) trait Leaf: Sized + fmt::Display {
    /// What may stand here, as in "must be …": `a duration from 100ms to 1h, such as "5s"`.
    fn form() -> String;

    /// Reads it. `Err`: the reason alone, when there is one to add to [`Self::form`].
    fn parse(text: &str) -> Result<Self, Option<String>>;

    /// Reads a number without quotes; most values need a unit and refuse it.
    fn parse_number(_text: &str) -> Option<Result<Self, Option<String>>> {
        None
    }

    /// Writes it so that it can be read again.
    fn written(&self) -> Written<'_> {
        Written::Text(self)
    }
}

/// How a value stands in TOML.
pub(super) enum Written<'a> {
    /// In quotes.
    Text(&'a dyn fmt::Display),
    /// Without.
    Number(u32),
}

impl Serialize for Written<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Text(text) => serializer.collect_str(text),
            Self::Number(number) => serializer.serialize_u32(*number),
        }
    }
}

/// Reads a [`Leaf`] with serde. The error arises while the value is visited, so that the TOML reader knows its place, also
/// inside an array.
pub(super) struct LeafVisitor<T>(pub(super) PhantomData<T>);

impl<T: Leaf> LeafVisitor<T> {
    fn number<E: Error>(text: &str, found: Unexpected<'_>) -> Result<T, E> {
        match T::parse_number(text) {
            None => Err(E::invalid_type(found, &form::<T>().as_str())),
            Some(read) => read.map_err(|why| refused::<T, E>(text, why)),
        }
    }
}

impl<T: Leaf> Visitor<'_> for LeafVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&form::<T>())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        T::parse(text).map_err(|why| refused::<T, E>(&shown(text), why))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<T, E> {
        Self::number(&number.to_string(), Unexpected::Signed(number))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<T, E> {
        // The shortest text that gives the same number again: what a person wrote, to 15 digits and more.
        Self::number(&number.to_string(), Unexpected::Float(number))
    }
}

/// A value that was refused. An address may have a password in it, before its host or behind its path.
fn shown(text: &str) -> String {
    if text.contains("://") && text.contains(['@', '?']) { "this address".to_owned() } else { format!("{text:?}") }
}

fn form<T: Leaf>() -> String {
    T::form()
}

fn refused<T: Leaf, E: Error>(shown: &str, why: Option<String>) -> E {
    match why {
        Some(why) => E::custom(format_args!("{shown} {why}; it must be {}", form::<T>())),
        None => E::custom(format_args!("{shown} must be {}", form::<T>())),
    }
}

/// Makes a [`Leaf`] readable, writable and known to the schema.
macro_rules! leaf {
    ($type:ty $(, $($generics:tt)*)?) => {
        impl<'de, $($($generics)*)?> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_any($crate::config::leaf::LeafVisitor(std::marker::PhantomData))
            }
        }

        impl<$($($generics)*)?> serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serde::Serialize::serialize(&$crate::config::leaf::Leaf::written(self), serializer)
            }
        }

        impl<$($($generics)*)?> schemars::JsonSchema for $type {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                let form = <Self as $crate::config::leaf::Leaf>::form();
                schemars::json_schema!({ "x-form": form })
            }
        }
    };
}
pub(super) use leaf;

/// Makes a [`Leaf`] that is a text of a certain form: name, form, and what makes the text of what was written.
macro_rules! leaf_text {
    ($(#[$about:meta])* $name:ident, $form:expr, $parse:expr) => {
        $(#[$about])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash)]
        pub struct $name(String);

        impl $name {
            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl $crate::config::leaf::Leaf for $name {
            fn form() -> String {
                $form.to_owned()
            }

            fn parse(text: &str) -> Result<Self, Option<String>> {
                let parse: fn(&str) -> Result<String, Option<String>> = $parse;
                parse(text).map(Self)
            }
        }

        $crate::config::leaf::leaf!($name);
    };
}
pub(super) use leaf_text;
