/* The child plan, executed with vfork(2): the fast twin of the Python executor in spawn.py, with the same steps in the same order.
 *
 * A fork of a Python process copies page tables and then, write by write, pages; that is most of the price of starting a
 * service. vfork(2) lends the child our memory until it calls exec, so that nothing is copied, the child can write its own
 * pid into LISTEN_PID and WATCHDOG_PID (which posix_spawn(3) cannot know), and a step that fails is simply noted in a variable.
 *
 * Everything that takes thought (looking up accounts, opening files, expanding variables) was done by the caller. No
 * Python.h: the library is loaded with ctypes, so that building it takes a C compiler and nothing else.
 */
#define _GNU_SOURCE
#define _FILE_OFFSET_BITS 64 /* limits of 64 bits everywhere */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* In the order of OPERATIONS in native.py and attributes.py. */
enum op { WRITE, LIMIT, NICE, SCHEDULER, AFFINITY, IO, PRCTL, BOUND, INHERIT, AMBIENT, ROOT, TERMINAL };

/* What only some programs ask for: one system call, or a few. */
struct setting {
    int op;
    uint64_t numbers[3];
    const char *path;
    const char *data;
    size_t size;
};

struct image {
    const char *path;
    char *const *argv;
    char *const *envp;
    char *const *stamps; /* inside entries of envp: where the child writes its pid */
    int stamp_count;
    int group; /* the directory of a control group, or -1 */
    int stdio[3];
    const int *fds; /* become 3, 4, ... */
    int fd_count;
    int change_ids;
    unsigned uid, gid;
    const unsigned *groups;
    int group_count;
    const char *directory;
    int directory_optional;
    unsigned umask;
    const int *signals; /* whose disposition is not the default here */
    int signal_count;
    const int *ignored; /* by the program, too */
    int ignored_count;
    const struct setting *before; /* the user changes */
    int before_count;
    const struct setting *after;
    int after_count;
    const int *statuses; /* exit status for the failure of each step, settings included */
};

struct failure {
    int step;
    int number;
    int ran; /* whether the child has come to do anything */
};

static int session(const struct image *image)
{
    for (int i = 0; i < image->signal_count; i++)
        if (signal(image->signals[i], SIG_DFL) == SIG_ERR)
            return -1;
    for (int i = 0; i < image->ignored_count; i++)
        if (signal(image->ignored[i], SIG_IGN) == SIG_ERR)
            return -1;
    umask(image->umask);
    return setsid();
}

/* Moving waits, for milliseconds, until no process of the whole system forks or ends; `spawn_in_group` saves that. */
static int join_group(const struct image *image)
{
    int fd = openat(image->group, "cgroup.procs", O_WRONLY | O_CLOEXEC);
    ssize_t written = fd < 0 ? -1 : write(fd, "0", 1);
    int number = errno;
    if (fd >= 0)
        close(fd);
    errno = number;
    return written < 0 ? -1 : 0;
}

/* dup2(2) onto itself would leave close-on-exec set. */
static int duplicate(int source, int target)
{
    return source == target ? fcntl(target, F_SETFD, 0) : dup2(source, target);
}

static void close_from(unsigned first)
{
#ifdef SYS_close_range
    if (syscall(SYS_close_range, first, UINT_MAX, 0) == 0)
        return;
#endif
    /* Before Linux 5.9, or forbidden by a container. All we opened is close-on-exec anyway; RLIMIT_NOFILE may be a billion. */
    for (int fd = (int)first; fd < 65536; fd++)
        close(fd);
}

/* A source that stands where another one has to go is copied above the target range first; no more than that, because the
 * limit of descriptors may be near. `left` is memory of the caller. */
static int descriptors(const struct image *image, int *left)
{
    int first = 3 + image->fd_count;
    for (int i = 0; i < image->fd_count; i++)
        left[i] = image->fds[i];
    for (int i = 0; i < image->fd_count; i++) {
        int target = 3 + i, moved = -1;
        for (int j = i + 1; j < image->fd_count && left[i] != target; j++) {
            if (left[j] != target)
                continue;
            if (moved < 0 && (moved = fcntl(target, F_DUPFD_CLOEXEC, first)) < 0)
                return -1;
            left[j] = moved;
        }
        if (duplicate(left[i], target) < 0)
            return -1;
    }
    close_from((unsigned)first);
    return 0;
}

/* The bare system calls: the wrappers of the C library would want to tell other threads, of which there are none. Old 32-bit
 * architectures have them twice, and the plain names are those with 16-bit ids, to which 65536 is root. */
#ifdef SYS_setresuid32
#define SET_GROUPS SYS_setgroups32
#define SET_GIDS SYS_setresgid32
#define SET_UIDS SYS_setresuid32
#else
#define SET_GROUPS SYS_setgroups
#define SET_GIDS SYS_setresgid
#define SET_UIDS SYS_setresuid
#endif

static int ids(const struct image *image)
{
    if (!image->change_ids)
        return 0;
    if (syscall(SET_GROUPS, (size_t)image->group_count, image->groups) < 0)
        return -1;
    if (syscall(SET_GIDS, image->gid, image->gid, image->gid) < 0)
        return -1;
    return (int)syscall(SET_UIDS, image->uid, image->uid, image->uid);
}

/* proc(5) refuses some writes in user namespaces and to those without privileges; `numbers[0]` says to live with that. */
static int write_file(const struct setting *setting)
{
    int fd = open(setting->path, O_WRONLY | O_CLOEXEC);
    ssize_t written = fd < 0 ? -1 : write(fd, setting->data, setting->size);
    int number = errno;
    if (fd >= 0)
        close(fd);
    errno = number;
    return written >= 0 || (setting->numbers[0] && (number == EPERM || number == EACCES)) ? 0 : -1;
}

static rlim_t least(rlim_t a, rlim_t b)
{
    return a < b ? a : b;
}

/* As near as the hard limit lets us. */
static int limit(const struct setting *setting)
{
    struct rlimit wanted = {setting->numbers[1], setting->numbers[2]}, now;
    int resource = (int)setting->numbers[0];
    if (setrlimit(resource, &wanted) == 0)
        return 0;
    if (errno != EPERM || getrlimit(resource, &now) < 0)
        return -1;
    if (now.rlim_max == RLIM_INFINITY) {
        errno = EPERM;
        return -1;
    }
    wanted.rlim_max = least(wanted.rlim_max, now.rlim_max);
    wanted.rlim_cur = least(wanted.rlim_cur, wanted.rlim_max);
    return setrlimit(resource, &wanted);
}

/* As near as RLIMIT_NICE lets us. */
static int nice_value(const struct setting *setting)
{
    int wanted = (int)(int64_t)setting->numbers[0], now, best;
    struct rlimit limit;
    if (setpriority(PRIO_PROCESS, 0, wanted) == 0)
        return 0;
    if (errno != EPERM && errno != EACCES)
        return -1;
    now = getpriority(PRIO_PROCESS, 0);
    if (wanted > now || getrlimit(RLIMIT_NICE, &limit) < 0)
        return -1;
    best = 20 - (limit.rlim_cur < 1 ? 1 : limit.rlim_cur > 40 ? 40 : (int)limit.rlim_cur);
    return best < now ? setpriority(PRIO_PROCESS, 0, best) : 0;
}

static int scheduler(const struct setting *setting)
{
    struct sched_param parameters = {.sched_priority = (int)setting->numbers[1]};
    /* Not the C library's: musl has none. */
    return (int)syscall(SYS_sched_setscheduler, 0, (int)setting->numbers[0], &parameters);
}

/* Drop all capabilities but these from the bounding set; numbers that the kernel does not know end it. */
static int bound(uint64_t keep)
{
    for (int i = 0; i < 64; i++) {
        int had = prctl(PR_CAPBSET_READ, i, 0, 0, 0);
        if (had < 0)
            break;
        if (had && !(keep >> i & 1) && prctl(PR_CAPBSET_DROP, i, 0, 0, 0) < 0)
            return -1;
    }
    return 0;
}

/* capget(2). The kernel's own header is not there with every C library. */
struct capability_header {
    uint32_t version;
    int pid;
};
struct capability_data {
    uint32_t effective, permitted, inheritable;
};

/* Make capabilities inheritable, and of the others those not that are not to be kept. */
static int inherit(uint64_t add, uint64_t keep)
{
    struct capability_header head = {0x20080522 /* _LINUX_CAPABILITY_VERSION_3 */, 0};
    struct capability_data data[2];
    uint64_t all;
    if (syscall(SYS_capget, &head, data) < 0)
        return -1;
    all = ((data[0].inheritable | (uint64_t)data[1].inheritable << 32) & keep) | add;
    data[0].inheritable = (uint32_t)all;
    data[1].inheritable = (uint32_t)(all >> 32);
    return (int)syscall(SYS_capset, &head, data);
}

static int ambient(uint64_t wanted)
{
    if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0)
        return -1;
    for (int i = 0; i < 64; i++)
        if (wanted >> i & 1 && prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, i, 0, 0) < 0)
            return -1;
    return 0;
}

static int set(const struct setting *setting)
{
    const uint64_t *numbers = setting->numbers;
    switch ((enum op)setting->op) {
    case WRITE:
        return write_file(setting);
    case LIMIT:
        return limit(setting);
    case NICE:
        return nice_value(setting);
    case SCHEDULER:
        return scheduler(setting);
    case AFFINITY:
        return (int)syscall(SYS_sched_setaffinity, 0, setting->size, setting->data);
    case IO:
        return (int)syscall(SYS_ioprio_set, 1 /* IOPRIO_WHO_PROCESS */, 0, (int)numbers[0]);
    case PRCTL:
        return prctl((int)numbers[0], (unsigned long)numbers[1], 0, 0, 0);
    case BOUND:
        return bound(numbers[0]);
    case INHERIT:
        return inherit(numbers[0], numbers[1]);
    case AMBIENT:
        return ambient(numbers[0]);
    case ROOT:
        return chroot(setting->path);
    case TERMINAL:
        return ioctl(STDIN_FILENO, TIOCSCTTY, (int)numbers[0]);
    }
    errno = EINVAL;
    return -1;
}

static void stamp(char *text, long pid)
{
    char digits[24];
    int count = 0;
    do
        digits[count++] = (char)('0' + pid % 10);
    while ((pid /= 10) > 0);
    while (count > 0)
        *text++ = digits[--count];
    *text = '\0';
}

/* The steps of spawn.py, in the same order; settings are steps, too, so that they are counted and not named here. */
static _Noreturn void child(const struct image *image, struct failure *failure, int *left, int joined)
{
    sigset_t none;
    int step = 0;

    failure->ran = 1;
    if (session(image) < 0)
        goto failed;
    step++;
    if (image->group >= 0 && !joined && join_group(image) < 0)
        goto failed;
    for (int i = 0; i < 3; i++) {
        step++;
        if (duplicate(image->stdio[i], i) < 0)
            goto failed;
    }
    step++;
    if (descriptors(image, left) < 0)
        goto failed;
    for (int i = 0; i < image->before_count; i++) {
        step++;
        if (set(&image->before[i]) < 0)
            goto failed;
    }
    step++;
    if (ids(image) < 0)
        goto failed;
    for (int i = 0; i < image->after_count; i++) {
        step++;
        if (set(&image->after[i]) < 0)
            goto failed;
    }
    step++;
    if (chdir(image->directory) < 0 && (!image->directory_optional || chdir("/") < 0))
        goto failed;
    step++;
    for (int i = 0; i < image->stamp_count; i++)
        stamp(image->stamps[i], getpid());
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    execve(image->path, image->argv, image->envp);
failed:
    failure->step = step;
    failure->number = errno;
    _exit(image->statuses[step]);
}

#if defined(__x86_64__) || defined(__aarch64__)
struct clone_arguments { /* clone3(2) */
    uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid, set_tid_size, cgroup;
};

/* vfork(2) into a control group (Linux 5.7). A function of its own, and no call around the system call: until the child has
 * become the program it runs on the stack of its parent, which must find its return address untouched. */
static __attribute__((noinline)) pid_t spawn_in_group(const struct image *image, struct failure *failure, int *left)
{
    struct clone_arguments arguments = {
        .flags = CLONE_VM | CLONE_VFORK | 0x200000000 /* CLONE_INTO_CGROUP */,
        .exit_signal = SIGCHLD,
        .cgroup = (uint64_t)image->group,
    };
#ifdef __x86_64__
    long result = 435; /* clone3 */
    __asm__ volatile("syscall" : "+a"(result) : "D"(&arguments), "S"(sizeof arguments) : "rcx", "r11", "memory");
#else
    register long number __asm__("x8") = 435;
    register long size __asm__("x1") = sizeof arguments;
    register long result __asm__("x0") = (long)&arguments;
    __asm__ volatile("svc #0" : "+r"(result) : "r"(number), "r"(size) : "memory");
#endif
    if (result == 0)
        child(image, failure, left, 1);
    return (pid_t)result;
}
#else
static pid_t spawn_in_group(const struct image *image, struct failure *failure, int *left)
{
    (void)image, (void)failure, (void)left;
    return -1;
}
#endif

/* The pid, or -1 with `failure->number` set where no process could be made. A step that failed in the child is noted in
 * `failure`, whose step the caller has set to -1; the child has then ended with the step's exit status. */
int sockact_spawn(const struct image *image, size_t size, struct failure *failure, int *left)
{
    sigset_t all, before;
    pid_t pid = -1;

    if (size != sizeof(*image)) { /* built from another version of this file than native.py */
        failure->number = EINVAL;
        return -1;
    }
    /* Until its dispositions are reset, a signal in the child would run our handlers on our memory. */
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &before);
    if (image->group >= 0)
        pid = spawn_in_group(image, failure, left);
    /* Linux (6.18 for one) kills whoever is made in a group that was ever killed, or from one, before it does anything. */
    if (pid > 0 && !failure->ran) {
        waitpid(pid, NULL, 0);
        pid = -1;
    }
    /* That, an old kernel, a container that forbids it, or a reason that the step will name. */
    if (pid < 0)
        pid = vfork();
    if (pid == 0)
        child(image, failure, left, 0);
    if (pid < 0)
        failure->number = errno;
    sigprocmask(SIG_SETMASK, &before, NULL);
    return (int)pid;
}
