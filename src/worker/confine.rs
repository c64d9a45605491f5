//! What the worker takes from itself before it looks at anybody's bytes: files, network, memory, privileges.

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, PathBeneath, PathFd,
    Ruleset, RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetError, RulesetStatus,
};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch};

/// Below everything a person waits for.
const NICENESS: i32 = 10;
/// The kernel, short of memory, kills a worker before anything else.
const OOM_SCORE: &str = "600";
/// Decoded sound of a day is 2.8 GB for each party.
const LARGEST_FILE: u64 = 16 << 30;
const OPEN_FILES: u64 = 256;

/// Programs and libraries are found below these; nothing there is anybody's secret.
const SYSTEM: [&str; 6] =
    ["/usr", "/lib", "/lib64", "/bin", "/etc/ld.so.cache", "/etc/alternatives"];
/// What libraries ask about the machine.
const MACHINE: [&str; 5] =
    ["/proc/self", "/proc/cpuinfo", "/proc/meminfo", "/sys/devices/system/cpu", "/sys/fs/cgroup"];
const DEVICES: [&str; 3] = ["/dev/null", "/dev/zero", "/dev/urandom"];

/// What a process may still get at.
pub(crate) enum Reach<'a> {
    Worker {
        models: &'a Path,
        scratch: &'a Path,
    },
    /// Only the file on its standard input, and itself.
    Converter {
        ffmpeg: &'a Path,
    },
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfineError {
    #[error("a limit could not be set: {0}")]
    Limit(#[from] io::Error),
    #[error("files could not be put out of reach: {0}")]
    Files(#[from] RulesetError),
    #[error("system calls could not be put out of reach: {0}")]
    Calls(String),
}

/// Confines this process and all that it starts, for good. Where the kernel is too old for a part of it,
/// the rest still holds, and standard error says so.
pub(crate) fn confine(reach: &Reach<'_>, memory_mb: u64) -> Result<(), ConfineError> {
    close_inherited();
    die_with_parent()?;
    be_humble();
    limit(libc::RLIMIT_CORE, 0)?;
    limit(libc::RLIMIT_FSIZE, LARGEST_FILE)?;
    limit(libc::RLIMIT_NOFILE, OPEN_FILES)?;
    // Private writable memory, not address space: mapped sound and mapped models are the page cache's.
    limit(libc::RLIMIT_DATA, memory_mb.saturating_mul(1 << 20))?;
    // SAFETY: plain numbers. Landlock and seccomp ask for it.
    if unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) } != 0 {
        return Err(io::Error::last_os_error().into());
    }
    hide_files(reach)?;
    deny_calls(matches!(reach, Reach::Worker { .. }))
}

fn close_inherited() {
    // SAFETY: nothing in this process owns a descriptor from 3 up yet. Fails on kernels before 5.9,
    // where all of the daemon's descriptors are closed on exec anyway.
    unsafe { libc::close_range(3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC.cast_signed()) };
}

/// A daemon that is killed must not leave a worker that goes on for an hour.
fn die_with_parent() -> io::Result<()> {
    // SAFETY: plain numbers.
    let done = unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0) };
    if done != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

fn be_humble() {
    // SAFETY: plain numbers. A worker that is not nice works all the same.
    unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, NICENESS) };
    // Without permission it stays as it was.
    let _ = fs::write("/proc/self/oom_score_adj", OOM_SCORE);
}

fn limit(resource: libc::__rlimit_resource_t, most: u64) -> io::Result<()> {
    let mut now = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `now` has room for what is written.
    if unsafe { libc::getrlimit(resource, &raw mut now) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let most = most.min(now.rlim_max);
    let limit = libc::rlimit { rlim_cur: most, rlim_max: most };
    // SAFETY: `limit` is one valid limit.
    if unsafe { libc::setrlimit(resource, &raw const limit) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

fn hide_files(reach: &Reach<'_>) -> Result<(), ConfineError> {
    let abi = ABI::V5;
    let read = AccessFs::from_read(abi);
    let handled = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(abi))?
        .handle_access(AccessNet::from_all(abi))?;
    let mut rules = handled.create()?;
    for path in SYSTEM {
        rules = allow(rules, Path::new(path), read)?;
    }
    for path in MACHINE {
        rules = allow(rules, Path::new(path), AccessFs::ReadFile | AccessFs::ReadDir)?;
    }
    for path in DEVICES {
        rules = allow(rules, Path::new(path), AccessFs::ReadFile | AccessFs::WriteFile)?;
    }
    for path in own_folders() {
        rules = allow(rules, &path, read)?;
    }
    rules = match reach {
        Reach::Worker { models, scratch } => {
            let rules = allow(rules, models, AccessFs::ReadFile | AccessFs::ReadDir)?;
            allow(rules, scratch, AccessFs::from_all(abi))?
        }
        Reach::Converter { ffmpeg } => {
            let ffmpeg = ffmpeg.canonicalize().unwrap_or_else(|_| ffmpeg.to_path_buf());
            let rules = allow(rules, &ffmpeg, read)?;
            // It opens its input anew to be able to seek in it.
            let input = io::stdin();
            rules.add_rule(PathBeneath::new(input.as_fd(), AccessFs::ReadFile))?
        }
    };
    if rules.restrict_self()?.ruleset == RulesetStatus::NotEnforced {
        eprintln!("worker: this kernel has no Landlock, so files are not out of reach");
    }
    Ok(())
}

/// What does not exist cannot be reached anyway.
fn allow(
    rules: RulesetCreated,
    path: &Path,
    access: BitFlags<AccessFs>,
) -> Result<RulesetCreated, RulesetError> {
    let Ok(file) = PathFd::new(path) else { return Ok(rules) };
    let is_file = path.is_file() || !path.is_dir();
    let access = if is_file { access & AccessFs::from_file(ABI::V5) } else { access };
    rules.add_rule(PathBeneath::new(file, access))
}

/// Where this program and its libraries lie.
fn own_folders() -> Vec<PathBuf> {
    let Ok(program) = std::env::current_exe() else { return Vec::new() };
    let Some(folder) = program.parent() else { return Vec::new() };
    vec![folder.to_owned(), folder.join("../lib/scribefs")]
}

/// Calls that no decoder and no engine has any use for. They are refused (`EPERM`), not punished.
fn deny_calls(and_programs: bool) -> Result<(), ConfineError> {
    let calls = |err: &dyn std::fmt::Display| ConfineError::Calls(err.to_string());
    let mut denied = vec![
        libc::SYS_socket,
        libc::SYS_socketpair,
        libc::SYS_connect,
        libc::SYS_bind,
        libc::SYS_listen,
        libc::SYS_ptrace,
        libc::SYS_process_vm_readv,
        libc::SYS_process_vm_writev,
        libc::SYS_pidfd_getfd,
        libc::SYS_bpf,
        libc::SYS_perf_event_open,
        libc::SYS_userfaultfd,
        libc::SYS_io_uring_setup,
        libc::SYS_mount,
        libc::SYS_umount2,
        libc::SYS_pivot_root,
        libc::SYS_chroot,
        libc::SYS_unshare,
        libc::SYS_setns,
        libc::SYS_open_by_handle_at,
        libc::SYS_keyctl,
        libc::SYS_add_key,
        libc::SYS_request_key,
        libc::SYS_init_module,
        libc::SYS_finit_module,
        libc::SYS_kexec_load,
        libc::SYS_reboot,
    ];
    if and_programs {
        denied.extend([libc::SYS_execve, libc::SYS_execveat]);
    }
    let arch = TargetArch::try_from(std::env::consts::ARCH).map_err(|err| calls(&err))?;
    let refusal = SeccompAction::Errno(libc::EPERM.cast_unsigned());
    let rules = denied.into_iter().map(|call| (call, Vec::new())).collect();
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, refusal, arch);
    let program: BpfProgram = filter.and_then(TryInto::try_into).map_err(|err| calls(&err))?;
    seccompiler::apply_filter(&program).map_err(|err| calls(&err))
}
