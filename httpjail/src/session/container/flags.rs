//! Options of the tool's `run` that its `create` doesn't have: found by asking both for their help.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
};

use super::{EngineError, judge::Refusal};

/// The options that a subcommand's help lists.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Flags {
    long: BTreeMap<String, Value>,
    short: BTreeMap<char, String>,
}

/// Whether an option has a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Value {
    None,
    Next,
}

/// Arguments of `run`, told apart.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Split {
    /// For `create`.
    pub(super) create: Vec<OsString>,
    /// For `start`.
    pub(super) start: Vec<OsString>,
}

impl Flags {
    /// Reads lines such as `  -e, --env list   Set environment variables`. An option's value has its
    /// kind behind the name, by one blank; the description comes behind several.
    pub(super) fn parse(help: &str) -> Self {
        let mut flags = Self::default();
        for line in help.lines().map(str::trim_start) {
            let (short, rest) = match line.strip_prefix('-').map(|rest| rest.split_once(", ")) {
                Some(Some((short, rest))) if short.chars().count() == 1 => {
                    (short.chars().next(), rest)
                }
                _ => (None, line),
            };
            let Some(rest) = rest.strip_prefix("--") else { continue };
            let end = rest.find(' ').unwrap_or(rest.len());
            let (name, rest) = rest.split_at(end);
            let has_value = !rest.is_empty() && !rest.starts_with("  ");
            let value = if has_value { Value::Next } else { Value::None };
            flags.long.insert(name.to_owned(), value);
            flags.short.extend(short.map(|short| (short, name.to_owned())));
        }
        // Tools take it, and their help doesn't list it.
        if let Some(value) = flags.value("network") {
            flags.long.insert("net".to_owned(), value);
        }
        flags
    }

    fn has(&self, name: &str) -> bool {
        self.long.contains_key(name)
    }

    fn value(&self, name: &str) -> Option<Value> {
        self.long.get(name).copied()
    }
}

/// Tells what is for `create` and what for `start` in arguments of `run`. What isn't known is for
/// `create`, whose complaint says what is wrong with it.
///
/// # Errors
///
/// An option that neither has.
pub(super) fn split(
    args: &[OsString],
    [run, create, start]: &[Flags; 3],
) -> Result<Split, EngineError> {
    let mut split = Split::default();
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let word = arg.to_str().unwrap_or_default();
        // The image, or what nobody knows: from here on nothing is an option of `run`.
        let Some(option) = Word::find(word, run) else {
            split.create.push(arg.clone());
            break;
        };
        let value = if option.wants_next { args.next() } else { None };
        if let [name] = option.names.as_slice()
            && is_about_the_network(name, option.own_value, value)?
        {
            continue;
        }
        let for_create = option.names.iter().filter(|name| create.has(name)).count();
        if for_create == option.names.len() {
            split.create.push(arg.clone());
            split.create.extend(value.cloned());
            continue;
        }
        let others = option.names.iter().filter(|name| !create.has(name));
        for name in others {
            let is_off = option.own_value == Some("false");
            match start.has(name) {
                _ if is_off && !start.has(name) => {}
                true => split.start.push(named(name, option.own_value, value)),
                false => return Err(EngineError::Option(name.clone())),
            }
        }
        if for_create > 0 {
            // Short ones in one word, of which some are for `start`.
            let kept = option.names.iter().filter(|name| create.has(name));
            split.create.extend(kept.map(|name| named(name, None, None)));
        }
    }
    split.create.extend(args.cloned());
    Ok(split)
}

/// Whether an option only says that there is to be no network but the jail's. Engines refuse to hear of
/// two networks, each in its own words, and say nothing of ports that lead nowhere.
fn is_about_the_network(
    name: &str,
    own: Option<&str>,
    next: Option<&OsString>,
) -> Result<bool, EngineError> {
    match name {
        "net" | "network" => match own.or(next.and_then(|next| next.to_str())) {
            Some("none") => Ok(true),
            mode => {
                let refusal = Refusal::Network(mode.unwrap_or_default().to_owned());
                Err(EngineError::Refused(refusal))
            }
        },
        "publish" | "publish-all" if own != Some("false") => {
            Err(EngineError::Refused(Refusal::Published))
        }
        _ => Ok(false),
    }
}

fn named(name: &str, own: Option<&str>, next: Option<&OsString>) -> OsString {
    let mut word = OsString::from(format!("--{name}"));
    let value = own.map(OsStr::new).or(next.map(OsString::as_os_str));
    if let Some(value) = value {
        word.push("=");
        word.push(value);
    }
    word
}

/// One word of options.
struct Word<'a> {
    /// Of each, the long name.
    names: Vec<String>,
    /// What stands behind an equals sign, or behind a letter.
    own_value: Option<&'a str>,
    wants_next: bool,
}

impl<'a> Word<'a> {
    fn find(word: &'a str, known: &Flags) -> Option<Self> {
        if let Some(word) = word.strip_prefix("--").filter(|word| !word.is_empty()) {
            let (name, own_value) = match word.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (word, None),
            };
            let wants_next = known.value(name)? == Value::Next && own_value.is_none();
            return Some(Self { names: vec![name.to_owned()], own_value, wants_next });
        }
        let letters = word.strip_prefix('-').filter(|letters| !letters.is_empty())?;
        let mut names = Vec::new();
        for (at, letter) in letters.char_indices() {
            let name = known.short.get(&letter)?;
            names.push(name.clone());
            let rest = letters.get(at + letter.len_utf8()..).unwrap_or_default();
            if known.value(name)? == Value::Next {
                let wants_next = rest.is_empty();
                let own_value = (!wants_next).then_some(rest);
                return Some(Self { names, own_value, wants_next });
            }
            if let Some(value) = rest.strip_prefix('=') {
                return Some(Self { names, own_value: Some(value), wants_next: false });
            }
        }
        Some(Self { names, own_value: None, wants_next: false })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUN: &str = "Usage:  docker run [OPTIONS] IMAGE [COMMAND] [ARG...]\n\nOptions:\n\
        \x20     --add-host list                  Add a custom host-to-IP mapping\n\
        \x20                                      (host:ip)\n\
        \x20 -d, --detach                         Run container in background and\n\
        \x20                                      print container ID\n\
        \x20     --detach-keys string             Override the key sequence\n\
        \x20 -e, --env list                       Set environment variables\n\
        \x20     --network network                Connect a container to a network\n\
        \x20 -p, --publish list                   Publish a container's port(s)\n\
        \x20 -P, --publish-all                    Publish all exposed ports\n\
        \x20 -i, --interactive                    Keep STDIN open even if not attached\n\
        \x20     --rm                             Automatically remove it\n\
        \x20     --rmi                            Remove the image\n\
        \x20 -t, --tty                            Allocate a pseudo-TTY\n";

    fn flags() -> [Flags; 3] {
        let create =
            RUN.lines().filter(|line| !line.contains("--detach") && !line.contains("--rmi"));
        let create: Vec<_> = create.collect();
        let start = "  -a, --attach        Attach\n      --detach-keys string   Override\n";
        [RUN, &create.join("\n"), start].map(Flags::parse)
    }

    fn split_words(words: &str) -> Result<(String, String), String> {
        let words: Vec<_> = words.split(' ').map(OsString::from).collect();
        let join = |words: Vec<OsString>| words.join(OsStr::new(" ")).into_string().unwrap();
        match split(&words, &flags()) {
            Ok(Split { create, start }) => Ok((join(create), join(start))),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn leaves_what_create_knows_as_it_is() {
        for words in [
            "image",
            "--rm -it image -d",
            "-e A=b image --detach",
            "-eA=b image --rmi",
            "--env -d image",
            "--env=x -e -d image",
            "-ite A image -d",
            "--unknown -d image",
            "-- image -d",
            "- -d",
        ] {
            assert_eq!(split_words(words), Ok((words.to_owned(), String::new())), "{words}");
        }
    }

    #[test]
    fn hands_start_what_it_knows() {
        let both = |create: &str, start: &str| Ok((create.to_owned(), start.to_owned()));
        assert_eq!(split_words("--detach-keys x -i image"), both("-i image", "--detach-keys=x"));
        assert_eq!(split_words("--detach-keys=x image a"), both("image a", "--detach-keys=x"));
        assert_eq!(split_words("--detach=false -i image"), both("-i image", ""));
    }

    #[test]
    fn knows_of_no_network_but_the_jails() {
        let create = |words: &str| Ok((words.to_owned(), String::new()));
        assert_eq!(split_words("--network none -i image"), create("-i image"));
        assert_eq!(split_words("--network=none image"), create("image"));
        assert_eq!(split_words("--net none -i image"), create("-i image"));
        assert_eq!(split_words("--net=none image"), create("image"));
        assert_eq!(split_words("image --network=host"), create("image --network=host"));
        for words in [
            "--network host image",
            "--network=bridge image",
            "--net host image",
            "--net=bridge image",
            "-p 80:80 image",
            "-P x",
        ] {
            split_words(words).unwrap_err();
        }
    }

    #[test]
    fn refuses_what_neither_knows() {
        for words in
            ["-d image", "--detach image", "-itd image", "-e A --rmi image", "--detach=true x"]
        {
            split_words(words).unwrap_err();
        }
    }
}
