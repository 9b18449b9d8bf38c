/* The child plan, executed with vfork(2): the fast twin of the Python executor in spawn.py, with the same steps in the same order.
 *
 * A fork of a Python process copies page tables and then, write by write, pages; that is most of the price of starting a
 * service. vfork(2) lends the child our memory until it calls exec, so that nothing is copied, the child can write its own
 * pid into LISTEN_PID (which posix_spawn(3) cannot know), and a step that fails is simply noted in a variable.
 *
 * Everything that takes thought (looking up accounts, opening files, expanding variables) was done by the caller. No
 * Python.h: the library is loaded with ctypes, so that building it takes a C compiler and nothing else.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

struct image {
    const char *path;
    char *const *argv;
    char *const *envp;
    char *pid_text; /* inside an entry of envp: where the child writes its pid; NULL if nobody asks for it */
    int stdio[3];
    const int *fds; /* become 3, 4, ... */
    int fd_count;
    int change_ids;
    unsigned uid, gid;
    const unsigned *groups;
    int group_count;
    const char *directory;
    int directory_optional;
    const int *signals; /* whose disposition is not the default here */
    int signal_count;
    const int *statuses; /* exit status for the failure of each step */
};

struct failure {
    int step;
    int number;
};

/* In the order of STEPS in spawn.py. */
enum step { SESSION, STDIN, STDOUT, STDERR, DESCRIPTORS, IDS, DIRECTORY, EXECUTE };

static int session(const struct image *image)
{
    for (int i = 0; i < image->signal_count; i++)
        if (signal(image->signals[i], SIG_DFL) == SIG_ERR)
            return -1;
    return setsid();
}

/* dup2(2) onto itself would leave close-on-exec set. */
static int standard_stream(int source, int target)
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

/* Copies above the target range first: a source may stand where another one has to go. `copies` is memory of the caller. */
static int descriptors(const struct image *image, int *copies)
{
    int first = 3 + image->fd_count;
    for (int i = 0; i < image->fd_count; i++)
        if ((copies[i] = fcntl(image->fds[i], F_DUPFD_CLOEXEC, first)) < 0)
            return -1;
    for (int i = 0; i < image->fd_count; i++)
        if (dup2(copies[i], 3 + i) < 0)
            return -1;
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

static _Noreturn void fail(const struct image *image, struct failure *failure, enum step step)
{
    failure->step = (int)step;
    failure->number = errno;
    _exit(image->statuses[step]);
}

static _Noreturn void child(const struct image *image, struct failure *failure, int *copies)
{
    sigset_t none;

    if (session(image) < 0)
        fail(image, failure, SESSION);
    for (int i = 0; i < 3; i++)
        if (standard_stream(image->stdio[i], i) < 0)
            fail(image, failure, (enum step)(STDIN + i));
    if (descriptors(image, copies) < 0)
        fail(image, failure, DESCRIPTORS);
    if (ids(image) < 0)
        fail(image, failure, IDS);
    if (chdir(image->directory) < 0 && (!image->directory_optional || chdir("/") < 0))
        fail(image, failure, DIRECTORY);
    if (image->pid_text)
        stamp(image->pid_text, getpid());
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    execve(image->path, image->argv, image->envp);
    fail(image, failure, EXECUTE);
}

/* The pid, or -1 with `failure->number` set where no process could be made. A step that failed in the child is noted in
 * `failure`, whose step the caller has set to -1; the child has then ended with the step's exit status. */
int sockact_spawn(const struct image *image, size_t size, struct failure *failure, int *copies)
{
    sigset_t all, before;
    pid_t pid;

    if (size != sizeof(*image)) { /* built from another version of this file than native.py */
        failure->number = EINVAL;
        return -1;
    }
    /* Until its dispositions are reset, a signal in the child would run our handlers on our memory. */
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &before);
    pid = vfork();
    if (pid == 0)
        child(image, failure, copies);
    if (pid < 0)
        failure->number = errno;
    sigprocmask(SIG_SETMASK, &before, NULL);
    return (int)pid;
}
