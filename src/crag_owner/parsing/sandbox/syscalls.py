"""Numbers of the system calls that the filter names.

Sources: Linux ``arch/x86/entry/syscalls/syscall_64.tbl`` and ``include/uapi/asm-generic/unistd.h``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Architecture:
    """``audit`` is the kernel's AUDIT_ARCH value; ``numbers`` maps a call's name to its number."""

    audit: int
    numbers: Mapping[str, int]


# What a parser needs that computes on memory and one open socket.
ALLOWED = (
    "read", "write", "readv", "writev", "close", "lseek", "poll", "ppoll",
    "munmap", "brk", "mremap", "madvise",
    "rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "sigaltstack", "restart_syscall",
    "futex", "sched_yield", "rseq", "membarrier",
    "getpid", "gettid", "getuid", "geteuid", "getgid", "getegid",
    "time", "gettimeofday", "clock_gettime", "clock_getres", "clock_nanosleep", "nanosleep",
    "getrandom", "sysinfo", "getrusage", "exit", "exit_group",
)  # fmt: skip

# Allowed without PROT_EXEC only: no new code after the jail has closed.
WITHOUT_EXEC = ("mmap", "mprotect")

# Nothing that parses does these by accident: the process ends at once.
FATAL = (
    "execve", "execveat", "ptrace", "process_vm_readv", "process_vm_writev",
    "socket", "socketpair", "connect", "bind", "listen", "accept", "accept4", "sendto", "sendmsg",
    "mount", "unshare", "setns", "bpf", "io_uring_setup",
)  # fmt: skip

X86_64 = Architecture(
    0xC000003E,
    {
        "read": 0, "write": 1, "close": 3, "poll": 7, "lseek": 8, "mmap": 9, "mprotect": 10,
        "munmap": 11, "brk": 12, "rt_sigaction": 13, "rt_sigprocmask": 14, "rt_sigreturn": 15,
        "readv": 19, "writev": 20, "sched_yield": 24, "mremap": 25, "madvise": 28,
        "nanosleep": 35, "getpid": 39, "socket": 41, "connect": 42, "accept": 43, "sendto": 44,
        "sendmsg": 46, "bind": 49, "listen": 50, "socketpair": 53, "execve": 59, "exit": 60,
        "gettimeofday": 96, "getrusage": 98, "sysinfo": 99, "ptrace": 101, "getuid": 102,
        "getgid": 104, "geteuid": 107, "getegid": 108, "sigaltstack": 131, "mount": 165,
        "gettid": 186, "time": 201, "futex": 202, "restart_syscall": 219, "clock_gettime": 228,
        "clock_getres": 229, "clock_nanosleep": 230, "exit_group": 231, "ppoll": 271,
        "unshare": 272, "accept4": 288, "setns": 308, "process_vm_readv": 310,
        "process_vm_writev": 311, "getrandom": 318, "bpf": 321, "execveat": 322,
        "membarrier": 324, "rseq": 334, "io_uring_setup": 425,
    },
)  # fmt: skip

AARCH64 = Architecture(
    0xC00000B7,
    {
        "mount": 40, "close": 57, "lseek": 62, "read": 63, "write": 64, "readv": 65, "writev": 66,
        "ppoll": 73, "exit": 93, "exit_group": 94, "unshare": 97, "futex": 98, "nanosleep": 101,
        "clock_gettime": 113, "clock_getres": 114, "clock_nanosleep": 115, "ptrace": 117,
        "sched_yield": 124, "restart_syscall": 128, "sigaltstack": 132, "rt_sigaction": 134,
        "rt_sigprocmask": 135, "rt_sigreturn": 139, "getrusage": 165, "gettimeofday": 169,
        "getpid": 172, "getuid": 174, "geteuid": 175, "getgid": 176, "getegid": 177,
        "gettid": 178, "sysinfo": 179, "socket": 198, "socketpair": 199, "bind": 200,
        "listen": 201, "accept": 202, "connect": 203, "sendto": 206, "sendmsg": 211, "brk": 214,
        "munmap": 215, "mremap": 216, "execve": 221, "mmap": 222, "mprotect": 226, "madvise": 233,
        "accept4": 242, "setns": 268, "process_vm_readv": 270, "process_vm_writev": 271,
        "getrandom": 278, "bpf": 280, "execveat": 281, "membarrier": 283, "rseq": 293,
        "io_uring_setup": 425,
    },
)  # fmt: skip

ARCHITECTURES: Mapping[str, Architecture] = {"x86_64": X86_64, "aarch64": AARCH64}
