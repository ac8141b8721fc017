//! The embedded object: parsed, its maps made, its programs loaded.

use std::{
    collections::{HashMap, HashSet},
    io,
    os::fd::{AsFd, AsRawFd, OwnedFd},
};

use aya_obj::{Map, Object, btf::BtfFeatures};

use super::{
    attach::HOOKS,
    sys::{self, MapSpec, ProgramInfo},
};

/// The programs, as `cargo xtask ebpf build` made them from `httpjail-ebpf` (ADR 0004).
pub(crate) static OBJECT: &[u8] = include_bytes!("../../../../../httpjail-ebpf/httpjail.bpf.o");
/// BPF_MAP_TYPE_SK_STORAGE: the one type that needs type information.
const SK_STORAGE: u32 = 24;

/// Why the programs could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum ObjectError {
    /// The embedded object is damaged.
    #[error("read the embedded eBPF object: {0}")]
    Parse(String),
    /// The kernel refused the type information.
    #[error("load the eBPF object's type information")]
    Btf(#[source] io::Error),
    /// The kernel refused a map.
    #[error("make the eBPF map {name}")]
    Map {
        /// Its name.
        name: String,
        /// The cause.
        source: io::Error,
    },
    /// The kernel refused a program.
    #[error("load the eBPF program {name}; the verifier says: {log}")]
    Program {
        /// Its name.
        name: &'static str,
        /// The end of the verifier's log.
        log: String,
        /// The cause.
        source: io::Error,
    },
}

/// A program that was loaded; it goes when nothing holds or attaches it.
#[derive(Debug)]
pub(crate) struct Loaded {
    /// What the kernel tells about it.
    pub(crate) info: ProgramInfo,
    _fd: OwnedFd,
}

/// Loads all programs, in the order of [`HOOKS`].
///
/// # Errors
///
/// The step that failed.
pub(crate) fn load() -> Result<Vec<Loaded>, ObjectError> {
    let parse = |error: &dyn std::fmt::Display| ObjectError::Parse(error.to_string());
    let mut object = Object::parse(OBJECT).map_err(|error| parse(&error))?;
    let btf = object
        .fixup_and_sanitize_btf(&BtfFeatures::default())
        .map_err(|error| parse(&error))?
        .map(|btf| sys::load_btf(&btf.to_bytes()))
        .transpose()
        .map_err(ObjectError::Btf)?;
    let definitions: Vec<(String, Map)> = object.maps.drain().collect();
    let mut maps: HashMap<&str, OwnedFd> = HashMap::new();
    for (name, map) in &definitions {
        let fd = make(name, map, btf.as_ref())
            .map_err(|source| ObjectError::Map { name: name.clone(), source })?;
        maps.insert(name, fd);
    }
    let text: HashSet<usize> = object.functions.keys().map(|(section, _)| *section).collect();
    let fds = definitions
        .iter()
        .filter_map(|(name, map)| Some((name.as_str(), maps.get(name.as_str())?.as_raw_fd(), map)));
    object.relocate_maps(fds, &text).map_err(|error| parse(&error))?;
    object.relocate_calls(&text).map_err(|error| parse(&error))?;
    HOOKS.iter().map(|hook| load_one(&object, hook)).collect()
}

fn make(name: &str, map: &Map, btf: Option<&OwnedFd>) -> io::Result<OwnedFd> {
    let mut spec = MapSpec {
        kind: map.map_type(),
        key_size: map.key_size(),
        value_size: map.value_size(),
        max_entries: map.max_entries(),
        flags: map.map_flags(),
        ..MapSpec::default()
    };
    if let Map::Btf(map) = map {
        spec.key_type = map.def.btf_key_type_id;
        spec.value_type = map.def.btf_value_type_id;
    }
    let btf = btf.filter(|_| spec.kind == SK_STORAGE).map(AsFd::as_fd);
    sys::create_map(name, spec, btf)
}

fn load_one(object: &Object, hook: &super::attach::Hook) -> Result<Loaded, ObjectError> {
    let missing = || ObjectError::Parse(format!("it holds no program {}", hook.program));
    let program = object.programs.get(hook.program).ok_or_else(missing)?;
    let function = object.functions.get(&program.function_key()).ok_or_else(missing)?;
    let instructions = &function.instructions;
    let code = (instructions.as_ptr().cast::<u8>(), instructions.len());
    let failed =
        |source, log: String| ObjectError::Program { name: hook.program, log: tail(&log), source };
    let fd = sys::load_program(hook.program, hook.kind, hook.expected, code, &object.license)
        .map_err(|(source, log)| failed(source, log))?;
    let info = sys::program_info(fd.as_fd()).map_err(|source| failed(source, String::new()))?;
    Ok(Loaded { info, _fd: fd })
}

/// The last lines of the verifier's log, where the reason stands.
fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    let from = lines.len().saturating_sub(6);
    lines.get(from..).unwrap_or_default().join(" | ")
}
