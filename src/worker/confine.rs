//! Confinement: what a worker gives up before it looks at anybody's bytes. Files, network, privileges, memory,
//! other processes.

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, PathBeneath, PathFd,
    Ruleset, RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetError, Scope,
};

use crate::worker::confine_error::ConfineError;
use crate::worker::interpreter::interpreters;
use crate::worker::syscalls;

/// Below everything a person waits for.
const NICENESS: i32 = 10;
/// The kernel, short of memory, kills a worker before anything else.
const OOM_SCORE: &str = "600";
const OPEN_FILES: u64 = 256;
/// The newest Landlock whose rights are known here; older kernels enforce what they have of it.
const LANDLOCK: ABI = ABI::V6;

/// Programs and libraries are found below these; nothing there is anybody's secret.
const SYSTEM: [&str; 6] =
    ["/usr", "/lib", "/lib64", "/bin", "/etc/ld.so.cache", "/etc/alternatives"];
/// What libraries ask about the machine.
const MACHINE: [&str; 5] =
    ["/proc/self", "/proc/cpuinfo", "/proc/meminfo", "/sys/devices/system/cpu", "/sys/fs/cgroup"];
/// `/dev/zero` is not among them: mapped, it is memory that no limit counts.
const DEVICES: [&str; 2] = ["/dev/null", "/dev/urandom"];

/// What a process may still get at, besides the descriptors that it was started with.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Access<'a> {
    /// Nothing: the recording and the files for its sound are open already.
    Decoder,
    /// Reads weights and libraries, writes no file.
    Engines { models: &'a Path },
    /// Runs one program, on the file on its standard input.
    Converter { ffmpeg: &'a Path },
}

/// What a process may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) memory_mb: u64,
    /// Of one file that it writes.
    pub(crate) file_bytes: u64,
    /// Processor time; `None` for a process that serves many recordings.
    pub(crate) cpu_seconds: Option<u64>,
    /// The process that started it.
    pub(crate) parent: u32,
}

/// Confines this process and all that it starts, for good. Where the kernel is too old for a part of it,
/// the rest still holds.
pub(crate) fn confine(access: Access<'_>, limits: Limits) -> Result<(), ConfineError> {
    die_with(limits.parent)?;
    yield_to_others();
    set_limits(limits)?;
    // SAFETY: plain numbers. Landlock and seccomp require it.
    if unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) } != 0 {
        return Err(io::Error::last_os_error().into());
    }
    hide_files(access)?;
    drop_capabilities();
    syscalls::deny_dangerous_calls()?;
    if !matches!(access, Access::Converter { .. }) {
        syscalls::allow_only_needed_calls()?;
    }
    Ok(())
}

/// Whether this kernel has Landlock. Without it files that the user may open are not out of a worker's reach.
pub fn has_landlock() -> bool {
    // `LANDLOCK_CREATE_RULESET_VERSION`
    let only_version = 1_u32;
    let nothing = std::ptr::null::<libc::c_void>();
    // SAFETY: without attributes and with this flag the call only tells its version.
    let version =
        unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, nothing, 0_usize, only_version) };
    0 < version
}

/// Whatever the daemon was started with and did not close is nothing for a worker. Must come before this process
/// opens anything.
pub(crate) fn close_inherited() {
    // SAFETY: nothing in this process owns a descriptor from 3 up yet.
    if unsafe { libc::close_range(3, libc::c_uint::MAX, 0) } != 0 {
        // Kernels before 5.9. Descriptors that are not open are errors that nobody minds.
        // SAFETY: as above.
        (3..4096).for_each(|descriptor| unsafe { _ = libc::close(descriptor) });
    }
}

/// A daemon that is killed must not leave a worker that goes on for an hour.
fn die_with(parent: u32) -> Result<(), ConfineError> {
    // SAFETY: plain numbers.
    let done = unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0) };
    if done != 0 {
        return Err(io::Error::last_os_error().into());
    }
    // It may have died before the kernel was asked to tell.
    if std::os::unix::process::parent_id() == parent { Ok(()) } else { Err(ConfineError::Orphaned) }
}

fn yield_to_others() {
    // SAFETY: plain numbers. A worker that keeps its priority works all the same.
    unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, NICENESS) };
    // Without permission it stays as it was.
    let _ = fs::write("/proc/self/oom_score_adj", OOM_SCORE);
}

fn set_limits(limits: Limits) -> io::Result<()> {
    // A write beyond the limit is then an error (EFBIG) that can be reported, and kills nobody.
    // SAFETY: no handler is installed, only the disposition "ignore".
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
    limit(libc::RLIMIT_CORE, 0)?;
    limit(libc::RLIMIT_FSIZE, limits.file_bytes)?;
    limit(libc::RLIMIT_NOFILE, OPEN_FILES)?;
    if let Some(seconds) = limits.cpu_seconds {
        limit(libc::RLIMIT_CPU, seconds)?;
    }
    // Private writable memory, not address space: mapped sound and mapped models are the page cache's.
    limit(libc::RLIMIT_DATA, limits.memory_mb.saturating_mul(1 << 20))
}

fn limit(resource: libc::__rlimit_resource_t, most: u64) -> io::Result<()> {
    let mut now = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `now` has room for what is written.
    if unsafe { libc::getrlimit(resource, &raw mut now) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let most = most.min(now.rlim_max);
    // The kernel warns of spent processor time with SIGXCPU at the soft limit, and kills at the hard one.
    let hard = if resource == libc::RLIMIT_CPU { (most + 5).min(now.rlim_max) } else { most };
    let limit = libc::rlimit { rlim_cur: most, rlim_max: hard };
    // SAFETY: `limit` is one valid limit.
    if unsafe { libc::setrlimit(resource, &raw const limit) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// A daemon that runs as root has all of them; a worker needs none.
fn drop_capabilities() {
    for capability in 0..64 {
        // SAFETY: plain numbers. Without privileges there is nothing to drop.
        unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) };
    }
    // SAFETY: plain numbers.
    unsafe { libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) };
    /// `_LINUX_CAPABILITY_VERSION_3`: two words for each of the three sets.
    const VERSION: u32 = 0x2008_0522;
    let header: [u32; 2] = [VERSION, 0];
    let none = [0_u32; 6];
    // SAFETY: both arrays are laid out as the call wants them: a version and a process (0: this one), and
    // twice effective, permitted, inheritable. Giving up capabilities is always allowed.
    unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), none.as_ptr()) };
}

fn hide_files(access: Access<'_>) -> Result<(), ConfineError> {
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    let handled = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(LANDLOCK))?
        .handle_access(AccessNet::from_all(LANDLOCK))?
        .scope(Scope::from_all(LANDLOCK))?;
    let mut rules = handled.create()?;
    for path in MACHINE {
        rules = allow(rules, Path::new(path), read)?;
    }
    for path in DEVICES {
        rules = allow(rules, Path::new(path), AccessFs::ReadFile | AccessFs::WriteFile)?;
    }
    rules = match access {
        Access::Decoder => rules,
        Access::Engines { models } => {
            let libraries = SYSTEM.map(PathBuf::from).into_iter().chain(own_files());
            let all = libraries.chain([models.to_owned()]);
            all.into_iter().try_fold(rules, |rules, path| allow(rules, &path, read))?
        }
        Access::Converter { ffmpeg } => allow_converter(rules, ffmpeg)?,
    };
    rules.restrict_self()?;
    Ok(())
}

fn allow_converter(
    mut rules: RulesetCreated,
    ffmpeg: &Path,
) -> Result<RulesetCreated, ConfineError> {
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    for path in SYSTEM {
        rules = allow(rules, Path::new(path), read)?;
    }
    let ffmpeg = ffmpeg.canonicalize().unwrap_or_else(|_| ffmpeg.to_path_buf());
    for program in std::iter::once(ffmpeg.clone()).chain(interpreters(&ffmpeg)) {
        rules = allow(rules, &program, read | AccessFs::Execute)?;
    }
    // It opens its input anew to be able to seek in it.
    let input = io::stdin();
    Ok(rules.add_rule(PathBeneath::new(input.as_fd(), AccessFs::ReadFile))?)
}

/// What does not exist cannot be reached anyway.
fn allow(
    rules: RulesetCreated,
    path: &Path,
    access: BitFlags<AccessFs>,
) -> Result<RulesetCreated, RulesetError> {
    let Ok(file) = PathFd::new(path) else { return Ok(rules) };
    let access = if path.is_dir() { access } else { access & AccessFs::from_file(LANDLOCK) };
    rules.add_rule(PathBeneath::new(file, access))
}

/// This program and the libraries that it came with: those files and no others beside them, since it may lie
/// in somebody's home.
fn own_files() -> Vec<PathBuf> {
    let Ok(program) = std::env::current_exe() else { return Vec::new() };
    let Some(folder) = program.parent() else { return Vec::new() };
    let is_ours = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        ["libonnxruntime", "libsherpa-onnx"].iter().any(|ours| name.starts_with(ours))
    };
    let in_folder = |folder: PathBuf| {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).filter(is_ours).collect::<Vec<_>>()
    };
    // Test programs lie one folder below the libraries.
    let folders = [folder.to_owned(), folder.join("../lib/scribefs"), folder.join("..")];
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("native/lib");
    let libraries = folders.into_iter().chain([built]).flat_map(in_folder);
    std::iter::once(program.clone()).chain(libraries).collect()
}
