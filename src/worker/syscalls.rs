//! `SyscallFilter`: the system calls that a worker may make.
//!
//! A process that decodes or runs engines has an allow list. A converter is a foreign program, whose calls nobody
//! can list, so it has a deny list only; the same deny list stands behind the allow list as well. What is refused
//! fails with an errno and kills nobody, so that a library with a way round goes on.

use std::collections::BTreeMap;
use std::fmt::Display;

use libc::c_long;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, apply_filter,
};

use crate::worker::confine_error::ConfineError;

/// Calls, each with the rules of which one must match; without rules the call always matches.
type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// Numbers from here on are those of x32, which the architecture check does not tell apart.
#[cfg(target_arch = "x86_64")]
const FIRST_X32: u32 = 0x4000_0000;

/// Calls that are too new for the `libc` crate, by number: the same on every architecture.
mod number {
    pub(super) const MEMFD_SECRET: i64 = 447;
    pub(super) const FCHMODAT2: i64 = 452;
    pub(super) const SETXATTRAT: i64 = 463;
    pub(super) const REMOVEXATTRAT: i64 = 466;
    pub(super) const OPEN_TREE_ATTR: i64 = 467;
    pub(super) const FILE_SETATTR: i64 = 469;
}

/// For this thread and all that it starts, for good.
pub(crate) fn deny_dangerous_calls() -> Result<(), ConfineError> {
    #[cfg(target_arch = "x86_64")]
    apply_filter(&without_x32()).map_err(refused)?;
    // The C library asks for `clone3` first and falls back to `clone`, whose flags a filter can see.
    let newer = Rules::from([(libc::SYS_clone3, Vec::new())]);
    install(newer, SeccompAction::Allow, errno(libc::ENOSYS))?;
    install(denied().map_err(refused)?, SeccompAction::Allow, errno(libc::EPERM))
}

/// On top of the deny list: everything else is said not to exist.
pub(crate) fn allow_only_needed_calls() -> Result<(), ConfineError> {
    install(allowed().map_err(refused)?, errno(libc::ENOSYS), SeccompAction::Allow)
}

fn install(
    rules: Rules,
    otherwise: SeccompAction,
    on_match: SeccompAction,
) -> Result<(), ConfineError> {
    let arch = TargetArch::try_from(std::env::consts::ARCH).map_err(refused)?;
    let filter = SeccompFilter::new(rules, otherwise, on_match, arch).map_err(refused)?;
    let program: BpfProgram = filter.try_into().map_err(refused)?;
    apply_filter(&program).map_err(refused)
}

fn refused(err: impl Display) -> ConfineError {
    ConfineError::Calls(err.to_string())
}

fn errno(number: i32) -> SeccompAction {
    SeccompAction::Errno(number.cast_unsigned())
}

/// Refuses every number from [`FIRST_X32`] on.
#[cfg(target_arch = "x86_64")]
fn without_x32() -> BpfProgram {
    use seccompiler::sock_filter;
    let step = |code: u32, jt, jf, k| sock_filter { code: code as u16, jt, jf, k };
    vec![
        // The number stands first in what a filter sees.
        step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        step(libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K, 0, 1, FIRST_X32),
        step(libc::BPF_RET, 0, 0, libc::SECCOMP_RET_ERRNO | libc::ENOSYS.cast_unsigned()),
        step(libc::BPF_RET, 0, 0, libc::SECCOMP_RET_ALLOW),
    ]
}

type Conditions = Result<SeccompRule, seccompiler::BackendError>;

/// A rule that matches where every condition does.
fn when(conditions: &[(u8, SeccompCmpOp, u64)]) -> Conditions {
    let condition = |(argument, operator, value): &(u8, SeccompCmpOp, u64)| {
        SeccompCondition::new(*argument, SeccompCmpArgLen::Dword, operator.clone(), *value)
    };
    SeccompRule::new(conditions.iter().map(condition).collect::<Result<_, _>>()?)
}

/// All of `bits` are set.
fn has(argument: u8, bits: u64) -> (u8, SeccompCmpOp, u64) {
    (argument, SeccompCmpOp::MaskedEq(bits), bits)
}

fn is(argument: u8, value: u64) -> (u8, SeccompCmpOp, u64) {
    (argument, SeccompCmpOp::Eq, value)
}

fn is_not(argument: u8, value: u64) -> (u8, SeccompCmpOp, u64) {
    (argument, SeccompCmpOp::Ne, value)
}

/// Calls that reach out of the process, change what it was given, or take memory that no limit counts.
fn denied() -> Result<Rules, seccompiler::BackendError> {
    let mut rules: Rules = DENIED.iter().map(|call| (*call, Vec::new())).collect();
    #[cfg(target_arch = "x86_64")]
    rules.extend(DENIED_X86.iter().map(|call| (*call, Vec::new())));
    let own = u64::from(std::process::id());
    // `abort` signals its own thread. Limits and scheduling of oneself are nobody else's business.
    rules.insert(libc::SYS_tgkill, vec![when(&[is_not(0, own)])?]);
    rules.insert(libc::SYS_prlimit64, vec![when(&[is_not(0, 0), is_not(0, own)])?]);
    for call in [
        libc::SYS_sched_setaffinity,
        libc::SYS_sched_setparam,
        libc::SYS_sched_setscheduler,
        libc::SYS_sched_setattr,
    ] {
        rules.insert(call, vec![when(&[is_not(0, 0), is_not(0, own)])?]);
    }
    rules.insert(libc::SYS_setpriority, vec![when(&[is_not(0, 0)])?, when(&[is_not(1, 0)])?]);
    rules.insert(libc::SYS_clone, new_processes()?);
    // Shared memory without a file counts for no limit of this process.
    let anonymous = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
    rules.insert(libc::SYS_mmap, vec![when(&[has(3, u64::from(anonymous.cast_unsigned()))])?]);
    // The signal that ends it with its daemon stays; a terminal gets no input from here.
    let death_signal = u64::from(libc::PR_SET_PDEATHSIG.cast_unsigned());
    rules.insert(libc::SYS_prctl, vec![when(&[is(0, death_signal)])?]);
    let terminal = [libc::TIOCSTI, libc::TIOCLINUX];
    let ioctl: Result<Vec<_>, _> = terminal.into_iter().map(|it| when(&[is(1, it)])).collect();
    rules.insert(libc::SYS_ioctl, ioctl?);
    Ok(rules)
}

/// `clone` for anything but a thread of this process.
fn new_processes() -> Result<Vec<SeccompRule>, seccompiler::BackendError> {
    let thread = u64::from(libc::CLONE_THREAD.cast_unsigned());
    let mut rules = vec![when(&[(0, SeccompCmpOp::MaskedEq(thread), 0)])?];
    for namespace in [
        libc::CLONE_NEWNS,
        libc::CLONE_NEWCGROUP,
        libc::CLONE_NEWUTS,
        libc::CLONE_NEWIPC,
        libc::CLONE_NEWUSER,
        libc::CLONE_NEWPID,
        libc::CLONE_NEWNET,
    ] {
        rules.push(when(&[has(0, u64::from(namespace.cast_unsigned()))])?);
    }
    Ok(rules)
}

#[rustfmt::skip]
const DENIED: &[c_long] = &[
    // Network and messages.
    libc::SYS_socket, libc::SYS_socketpair, libc::SYS_connect, libc::SYS_bind, libc::SYS_listen,
    libc::SYS_accept, libc::SYS_accept4,
    // Other processes.
    libc::SYS_kill, libc::SYS_tkill, libc::SYS_rt_sigqueueinfo, libc::SYS_rt_tgsigqueueinfo,
    libc::SYS_pidfd_open, libc::SYS_pidfd_send_signal, libc::SYS_pidfd_getfd, libc::SYS_ptrace,
    libc::SYS_process_vm_readv, libc::SYS_process_vm_writev, libc::SYS_process_madvise,
    libc::SYS_process_mrelease, libc::SYS_kcmp, libc::SYS_migrate_pages, libc::SYS_move_pages,
    libc::SYS_ioprio_set, libc::SYS_setsid, libc::SYS_setpgid,
    // Attributes of files, which Landlock does not guard: of the recording too, which is open here.
    libc::SYS_fchmod, libc::SYS_fchmodat, number::FCHMODAT2, libc::SYS_fchown, libc::SYS_fchownat,
    libc::SYS_utimensat, libc::SYS_setxattr, libc::SYS_lsetxattr, libc::SYS_fsetxattr,
    libc::SYS_removexattr, libc::SYS_lremovexattr, libc::SYS_fremovexattr, number::SETXATTRAT,
    number::REMOVEXATTRAT, number::FILE_SETATTR,
    // Memory that outlives the process or counts for nobody.
    libc::SYS_shmget, libc::SYS_shmat, libc::SYS_shmctl, libc::SYS_msgget, libc::SYS_msgsnd,
    libc::SYS_semget, libc::SYS_semop, libc::SYS_mq_open, libc::SYS_memfd_create,
    number::MEMFD_SECRET,
    // Mounts and namespaces.
    libc::SYS_mount, libc::SYS_umount2, libc::SYS_pivot_root, libc::SYS_chroot, libc::SYS_unshare,
    libc::SYS_setns, libc::SYS_open_tree, number::OPEN_TREE_ATTR, libc::SYS_move_mount,
    libc::SYS_fsopen, libc::SYS_fsconfig, libc::SYS_fsmount, libc::SYS_fspick,
    libc::SYS_mount_setattr, libc::SYS_name_to_handle_at, libc::SYS_open_by_handle_at,
    // The machine.
    libc::SYS_acct, libc::SYS_sethostname, libc::SYS_setdomainname, libc::SYS_syslog,
    libc::SYS_swapon, libc::SYS_swapoff, libc::SYS_quotactl, libc::SYS_quotactl_fd,
    libc::SYS_settimeofday, libc::SYS_clock_settime, libc::SYS_adjtimex, libc::SYS_clock_adjtime,
    libc::SYS_init_module, libc::SYS_finit_module, libc::SYS_delete_module, libc::SYS_kexec_load,
    libc::SYS_reboot, libc::SYS_vhangup, libc::SYS_personality,
    libc::SYS_fanotify_init, libc::SYS_fanotify_mark,
    // Doors of the kernel with a history.
    libc::SYS_bpf, libc::SYS_perf_event_open, libc::SYS_userfaultfd, libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter, libc::SYS_io_uring_register, libc::SYS_keyctl, libc::SYS_add_key,
    libc::SYS_request_key, libc::SYS_vmsplice,
];

/// The older forms of these calls, which newer architectures never had.
#[cfg(target_arch = "x86_64")]
#[rustfmt::skip]
const DENIED_X86: &[c_long] = &[
    libc::SYS_fork, libc::SYS_vfork, libc::SYS_chmod, libc::SYS_chown, libc::SYS_lchown,
    libc::SYS_utime, libc::SYS_utimes, libc::SYS_futimesat, libc::SYS_iopl, libc::SYS_ioperm,
    libc::SYS_modify_ldt, libc::SYS_kexec_file_load,
];

/// What decoders and engines were seen to use (`strace -f` over the tests), and what their libraries may turn to.
fn allowed() -> Result<Rules, seccompiler::BackendError> {
    let mut rules: Rules = ALLOWED.iter().map(|call| (*call, Vec::new())).collect();
    #[cfg(target_arch = "x86_64")]
    rules.extend(ALLOWED_X86.iter().map(|call| (*call, Vec::new())));
    let names = [libc::PR_SET_NAME, libc::PR_GET_NAME];
    let prctl: Result<Vec<_>, _> =
        names.iter().map(|name| when(&[is(0, u64::from(name.cast_unsigned()))])).collect();
    rules.insert(libc::SYS_prctl, prctl?);
    let plain = [libc::F_GETFD, libc::F_SETFD, libc::F_GETFL, libc::F_DUPFD_CLOEXEC];
    let fcntl: Result<Vec<_>, _> =
        plain.iter().map(|command| when(&[is(1, u64::from(command.cast_unsigned()))])).collect();
    rules.insert(libc::SYS_fcntl, fcntl?);
    Ok(rules)
}

#[rustfmt::skip]
const ALLOWED: &[c_long] = &[
    // Files that are open or that Landlock lets it open.
    libc::SYS_read, libc::SYS_write, libc::SYS_readv, libc::SYS_writev, libc::SYS_pread64,
    libc::SYS_pwrite64, libc::SYS_preadv, libc::SYS_lseek, libc::SYS_openat, libc::SYS_close,
    libc::SYS_fstat, libc::SYS_newfstatat, libc::SYS_statx, libc::SYS_statfs, libc::SYS_fstatfs,
    libc::SYS_faccessat, libc::SYS_faccessat2, libc::SYS_readlinkat, libc::SYS_getdents64,
    libc::SYS_getcwd, libc::SYS_ftruncate, libc::SYS_fallocate, libc::SYS_fadvise64,
    libc::SYS_dup, libc::SYS_ppoll, libc::SYS_recvmsg, libc::SYS_sendmsg,
    // Memory.
    libc::SYS_brk, libc::SYS_mmap, libc::SYS_munmap, libc::SYS_mremap, libc::SYS_mprotect,
    libc::SYS_madvise, libc::SYS_mincore, libc::SYS_msync,
    // Threads, and time.
    libc::SYS_clone, libc::SYS_futex, libc::SYS_set_robust_list, libc::SYS_set_tid_address,
    libc::SYS_rseq, libc::SYS_membarrier, libc::SYS_sched_yield, libc::SYS_sched_getaffinity,
    libc::SYS_sched_setaffinity, libc::SYS_sched_getparam, libc::SYS_sched_getscheduler,
    libc::SYS_getcpu, libc::SYS_gettid, libc::SYS_getpid, libc::SYS_getppid, libc::SYS_tgkill,
    libc::SYS_exit, libc::SYS_exit_group, libc::SYS_restart_syscall,
    libc::SYS_clock_gettime, libc::SYS_clock_getres, libc::SYS_gettimeofday,
    libc::SYS_nanosleep, libc::SYS_clock_nanosleep, libc::SYS_times, libc::SYS_getrusage,
    // Signals to oneself.
    libc::SYS_rt_sigaction, libc::SYS_rt_sigprocmask, libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    // What libraries ask about the machine and themselves.
    libc::SYS_uname, libc::SYS_sysinfo, libc::SYS_getrandom, libc::SYS_prlimit64,
    libc::SYS_getuid, libc::SYS_geteuid, libc::SYS_getgid, libc::SYS_getegid,
    libc::SYS_get_mempolicy,
];

#[cfg(target_arch = "x86_64")]
#[rustfmt::skip]
const ALLOWED_X86: &[c_long] = &[
    libc::SYS_open, libc::SYS_stat, libc::SYS_lstat, libc::SYS_access, libc::SYS_readlink,
    libc::SYS_poll, libc::SYS_time, libc::SYS_arch_prctl, libc::SYS_getrlimit, libc::SYS_dup2,
];
