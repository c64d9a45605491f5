/* What a worker in a stranger's hands would try. Each deed that succeeds is named on descriptor 1; "end" says that
 * all were tried. As a library it waits in a worker until that reads its first order, which is after it has confined
 * itself; as a program it tries at once.
 *
 * Whom to harm is said in the environment (HOSTILE) or, where that is empty, on standard input:
 * "victim=PID secret=FILE folder=DIR descriptor=NUMBER". */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

static pid_t victim;
static char secret[512], folder[512], path[1024];
static int descriptor = -1;

static void did(const char *what) {
    char line[128];
    int length = snprintf(line, sizeof line, "%s\n", what);
    if (write(1, line, length) != length) _exit(9);
}

static void try(const char *what, int succeeded) {
    if (succeeded) did(what);
}

static void read_orders(void) {
    static char text[2048];
    const char *given = getenv("HOSTILE");
    if (given && *given) {
        snprintf(text, sizeof text, "%s", given);
    } else if (read(0, text, sizeof text - 1) < 0) {
        _exit(8);
    }
    for (char *word = strtok(text, " \n"); word; word = strtok(NULL, " \n")) {
        sscanf(word, "victim=%d", &victim);
        sscanf(word, "secret=%511s", secret);
        sscanf(word, "folder=%511s", folder);
        sscanf(word, "descriptor=%d", &descriptor);
    }
}

/* A new process ends at once; it is the harm. */
static int forks(long (*fork_by)(void)) {
    long child = fork_by();
    if (child == 0) _exit(0);
    if (child < 0) return 0;
    waitpid((pid_t)child, NULL, __WALL);
    return 1;
}
static long by_fork(void) { return fork(); }
static long by_clone(void) { return syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0); }
static long by_namespace(void) { return syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0); }

static void network(void) {
    try("socket inet", socket(AF_INET, SOCK_STREAM, 0) >= 0);
    try("socket inet6", socket(AF_INET6, SOCK_DGRAM, 0) >= 0);
    try("socket unix", socket(AF_UNIX, SOCK_STREAM, 0) >= 0);
    try("socket netlink", socket(AF_NETLINK, SOCK_RAW, 0) >= 0);
}

static void other_processes(void) {
    char byte;
    struct iovec here = {&byte, 1}, there = {(void *)0x1000, 1};
    try("kill", kill(victim, 0) == 0);
    try("kill everybody", kill(-1, 0) == 0);
    try("tgkill", syscall(SYS_tgkill, victim, victim, 0) == 0);
    try("tkill", syscall(SYS_tkill, victim, 0) == 0);
    siginfo_t info = {.si_signo = 0, .si_code = SI_QUEUE};
    try("sigqueue", syscall(SYS_rt_sigqueueinfo, victim, 0, &info) == 0);
    try("pidfd", syscall(SYS_pidfd_open, victim, 0) >= 0);
    struct rlimit limit;
    try("read limits", prlimit(victim, RLIMIT_NOFILE, NULL, &limit) == 0);
    try("set limits", prlimit(victim, RLIMIT_NOFILE, &limit, NULL) == 0);
    cpu_set_t cores;
    CPU_ZERO(&cores);
    CPU_SET(0, &cores);
    try("affinity", sched_setaffinity(victim, sizeof cores, &cores) == 0);
    try("priority", setpriority(PRIO_PROCESS, victim, 19) == 0);
    /* A user who has no processes, so that nobody is harmed where nothing forbids it. */
    setpriority(PRIO_USER, 0x7ffffff0, 19);
    try("priority of a user", errno == ESRCH);
    struct sched_param batch = {0};
    try("scheduler", sched_setscheduler(victim, SCHED_BATCH, &batch) == 0);
    snprintf(path, sizeof path, "/proc/%d/mem", victim);
    try("memory by file", open(path, O_RDWR) >= 0);
    snprintf(path, sizeof path, "/proc/%d/environ", victim);
    int environ = open(path, O_RDONLY);
    try("environment", environ >= 0 && read(environ, &byte, 1) == 1);
    long read_from = syscall(SYS_process_vm_readv, victim, &here, 1, &there, 1, 0);
    try("memory by call", read_from >= 0 || errno == EFAULT);
    try("kcmp", syscall(SYS_kcmp, victim, victim, 0, 0, 0) >= 0);
    if (ptrace(PTRACE_SEIZE, victim, 0, 0) == 0) {
        did("ptrace");
        ptrace(PTRACE_INTERRUPT, victim, 0, 0);
        waitpid(victim, NULL, __WALL);
        ptrace(PTRACE_DETACH, victim, 0, 0);
    }
    try("fork", forks(by_fork));
    try("clone", forks(by_clone));
    try("leave the group", setpgid(0, 0) == 0 || setsid() >= 0);
    try("outlive the daemon", prctl(PR_SET_PDEATHSIG, 0, 0, 0, 0) == 0);
}

static void files(void) {
    char byte;
    int file = open(secret, O_RDONLY);
    try("read a file", file >= 0 && read(file, &byte, 1) == 1);
    try("write a file", open(secret, O_WRONLY) >= 0);
    try("truncate a file", truncate(secret, 6) == 0);
    try("list a folder", open(folder, O_RDONLY | O_DIRECTORY) >= 0);
    snprintf(path, sizeof path, "%s/made", folder);
    try("make a file", open(path, O_WRONLY | O_CREAT, 0600) >= 0);
    snprintf(path, sizeof path, "%s/dir", folder);
    try("make a folder", mkdir(path, 0700) == 0);
    try("remove a folder", rmdir(path) == 0);
    snprintf(path, sizeof path, "%s/link", folder);
    try("link a file", link(secret, path) == 0);
    snprintf(path, sizeof path, "%s/symlink", folder);
    try("symlink", symlink(secret, path) == 0);
    snprintf(path, sizeof path, "%s/moved", folder);
    try("rename a file", rename(secret, path) == 0 && rename(path, secret) == 0);
    try("chmod", chmod(secret, 0600) == 0);
    try("fchmodat", fchmodat(AT_FDCWD, secret, 0600, 0) == 0);
    try("chown", chown(secret, geteuid(), getegid()) == 0);
    try("set times", utimensat(AT_FDCWD, secret, NULL, 0) == 0);
    struct timeval now[2] = {{1, 0}, {1, 0}};
    try("utimes", utimes(secret, now) == 0);
    try("set an attribute", setxattr(secret, "user.x", "x", 1, 0) == 0);
    try("remove an attribute", removexattr(secret, "user.x") == 0);
    try("passwords", open("/etc/passwd", O_RDONLY) >= 0);
    try("temporary file", open("/tmp", O_RDWR | O_TMPFILE, 0600) >= 0);
    try("shared memory folder", open("/dev/shm", O_RDWR | O_TMPFILE, 0600) >= 0);
    try("inherited descriptor", descriptor >= 0 && pread(descriptor, &byte, 1, 0) == 1);
}

static void memory(void) {
    int segment = shmget(IPC_PRIVATE, 1 << 20, IPC_CREAT | 0600);
    try("System V memory", segment >= 0);
    if (segment >= 0) shmctl(segment, IPC_RMID, NULL);
    void *shared = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    try("shared anonymous memory", shared != MAP_FAILED);
    try("memfd", syscall(SYS_memfd_create, "x", 0) >= 0);
    int zero = open("/dev/zero", O_RDWR);
    shared = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_SHARED, zero, 0);
    try("shared memory by device", zero >= 0 && shared != MAP_FAILED);
    size_t much = (size_t)2 << 30;
    void *private = mmap(NULL, much, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    try("two gigabytes", private != MAP_FAILED);
    struct rlimit limit = {RLIM_INFINITY, RLIM_INFINITY};
    try("raise its limits", setrlimit(RLIMIT_DATA, &limit) == 0);
}

static void the_machine(void) {
    char byte, name[65];
    try("user namespace by clone", forks(by_namespace));
    try("unshare", unshare(CLONE_NEWNS) == 0 || unshare(CLONE_NEWUSER) == 0);
    try("mount", mount("none", folder, "tmpfs", 0, NULL) == 0 && umount(folder) == 0);
    try("fsopen", syscall(SYS_fsopen, "tmpfs", 0) >= 0);
    try("open_tree", syscall(SYS_open_tree, AT_FDCWD, "/", 1) >= 0);
    try("chroot", chroot("/") == 0);
    try("host name", gethostname(name, sizeof name) == 0 && sethostname(name, strlen(name)) == 0);
    try("accounting", syscall(SYS_acct, NULL) == 0);
    try("kernel log", syscall(SYS_syslog, 3, &byte, 1) >= 0);
    try("fanotify", syscall(SYS_fanotify_init, 0, 0) >= 0);
    try("bpf", syscall(SYS_bpf, 0, NULL, 0) >= 0 || errno == EINVAL || errno == EFAULT);
    struct io_uring_params ring = {0};
    try("io_uring", syscall(SYS_io_uring_setup, 1, &ring) >= 0);
    try("userfaultfd", syscall(SYS_userfaultfd, 1) >= 0);
    try("keys", syscall(SYS_keyctl, 0, -3, 1) >= 0);
    try("personality", syscall(SYS_personality, 0xffffffff) >= 0);
}

static void misbehave(void) {
    read_orders();
    network();
    other_processes();
    files();
    memory();
    the_machine();
    did("end");
    char *arguments[] = {"echo", "another program", NULL}, *nothing[] = {NULL};
    execve("/bin/echo", arguments, nothing);
    _exit(0);
}

#ifdef LIBRARY
ssize_t recvmsg(int socket, struct msghdr *message, int flags) {
    (void)socket, (void)message, (void)flags;
    misbehave();
    return -1;
}
#else
int main(void) {
    misbehave();
}
#endif
