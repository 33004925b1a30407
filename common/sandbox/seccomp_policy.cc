#include "common/sandbox/seccomp_policy.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <seccomp.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <termios.h>
#include <unistd.h>

#include <memory>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "common/sandbox/unique_fd.h"

namespace nkiagent::sandbox {
namespace {

// Memory, threads, time, signals and writing to descriptors that are already open. No role can do without
// these.
constexpr int kAllowedForAll[] = {
    // Memory.
    SCMP_SYS(brk), SCMP_SYS(mmap), SCMP_SYS(munmap), SCMP_SYS(mremap), SCMP_SYS(mprotect), SCMP_SYS(madvise),
    SCMP_SYS(mincore), SCMP_SYS(msync), SCMP_SYS(membarrier),
    // Threads. Clone is allowed further down, for threads only.
    SCMP_SYS(futex), SCMP_SYS(set_robust_list), SCMP_SYS(get_robust_list), SCMP_SYS(rseq),
    SCMP_SYS(set_tid_address), SCMP_SYS(gettid), SCMP_SYS(sched_yield), SCMP_SYS(sched_getaffinity),
    SCMP_SYS(sched_setaffinity), SCMP_SYS(getcpu), SCMP_SYS(exit), SCMP_SYS(exit_group),
    SCMP_SYS(restart_syscall), SCMP_SYS(arch_prctl),
    // Time.
    SCMP_SYS(clock_gettime), SCMP_SYS(clock_getres), SCMP_SYS(clock_nanosleep), SCMP_SYS(nanosleep),
    SCMP_SYS(gettimeofday), SCMP_SYS(time), SCMP_SYS(times), SCMP_SYS(getrusage),
    // Signals. A child can reach only its own namespace.
    SCMP_SYS(rt_sigaction), SCMP_SYS(rt_sigprocmask), SCMP_SYS(rt_sigreturn), SCMP_SYS(sigaltstack),
    SCMP_SYS(tgkill),
    // Descriptors that are open.
    SCMP_SYS(read), SCMP_SYS(write), SCMP_SYS(readv), SCMP_SYS(writev), SCMP_SYS(pread64), SCMP_SYS(pwrite64),
    SCMP_SYS(lseek), SCMP_SYS(close), SCMP_SYS(fstat), SCMP_SYS(poll), SCMP_SYS(ppoll),
    // Facts about itself.
    SCMP_SYS(getpid), SCMP_SYS(getppid), SCMP_SYS(getuid), SCMP_SYS(geteuid), SCMP_SYS(getgid),
    SCMP_SYS(getegid), SCMP_SYS(getrandom), SCMP_SYS(getrlimit), SCMP_SYS(prlimit64), SCMP_SYS(uname),
    SCMP_SYS(sysinfo)};

// Files by name. What there is to open is decided by the jail; limits on what can be written by rlimits and
// tmpfs.
constexpr int kAllowedForPython[] = {SCMP_SYS(open),
                                     SCMP_SYS(openat),
                                     SCMP_SYS(stat),
                                     SCMP_SYS(lstat),
                                     SCMP_SYS(newfstatat),
                                     SCMP_SYS(statx),
                                     SCMP_SYS(access),
                                     SCMP_SYS(faccessat),
                                     SCMP_SYS(faccessat2),
                                     SCMP_SYS(readlink),
                                     SCMP_SYS(readlinkat),
                                     SCMP_SYS(getdents64),
                                     SCMP_SYS(getcwd),
                                     SCMP_SYS(chdir),
                                     SCMP_SYS(fchdir),
                                     SCMP_SYS(mkdir),
                                     SCMP_SYS(mkdirat),
                                     SCMP_SYS(rmdir),
                                     SCMP_SYS(unlink),
                                     SCMP_SYS(unlinkat),
                                     SCMP_SYS(rename),
                                     SCMP_SYS(renameat),
                                     SCMP_SYS(renameat2),
                                     SCMP_SYS(ftruncate),
                                     SCMP_SYS(truncate),
                                     SCMP_SYS(fsync),
                                     SCMP_SYS(fdatasync),
                                     SCMP_SYS(umask),
                                     SCMP_SYS(chmod),
                                     SCMP_SYS(fchmod),
                                     SCMP_SYS(utimensat),
                                     SCMP_SYS(flock),
                                     SCMP_SYS(fadvise64),
                                     SCMP_SYS(statfs),
                                     SCMP_SYS(fstatfs),
                                     SCMP_SYS(dup),
                                     SCMP_SYS(dup2),
                                     SCMP_SYS(dup3),
                                     SCMP_SYS(fcntl),
                                     SCMP_SYS(pipe),
                                     SCMP_SYS(pipe2),
                                     SCMP_SYS(select),
                                     SCMP_SYS(pselect6),
                                     SCMP_SYS(getpgrp),
                                     SCMP_SYS(getpgid),
                                     SCMP_SYS(getsid),
                                     SCMP_SYS(getgroups),
                                     SCMP_SYS(getresuid),
                                     SCMP_SYS(getresgid),
                                     SCMP_SYS(sched_getscheduler),
                                     SCMP_SYS(sched_getparam),
                                     SCMP_SYS(sched_get_priority_max),
                                     SCMP_SYS(sched_get_priority_min),
                                     SCMP_SYS(getpriority),
                                     SCMP_SYS(kill)};

// Thread pools of OpenMP and oneDNN, large allocations.
constexpr int kAllowedForTorch[] = {SCMP_SYS(mlock),           SCMP_SYS(munlock),  SCMP_SYS(get_mempolicy),
                                    SCMP_SYS(copy_file_range), SCMP_SYS(sendfile), SCMP_SYS(epoll_create1),
                                    SCMP_SYS(eventfd2)};

// Calls that no honest child makes. They end it with a record of the call, so that the verdict can name it.
// Whatever is neither allowed nor here fails with EPERM, which libraries that merely probe take for an
// answer.
constexpr int kFatal[] = {
    // Processes and programs.
    SCMP_SYS(fork), SCMP_SYS(vfork), SCMP_SYS(execve), SCMP_SYS(execveat), SCMP_SYS(ptrace),
    SCMP_SYS(process_vm_readv), SCMP_SYS(process_vm_writev), SCMP_SYS(pidfd_open), SCMP_SYS(pidfd_getfd),
    SCMP_SYS(kcmp),
    // Network and other processes' sockets.
    SCMP_SYS(socket), SCMP_SYS(socketpair), SCMP_SYS(connect), SCMP_SYS(bind), SCMP_SYS(listen),
    SCMP_SYS(accept), SCMP_SYS(accept4), SCMP_SYS(sendto), SCMP_SYS(recvfrom), SCMP_SYS(sendmmsg),
    SCMP_SYS(recvmmsg),
    // Namespaces, mounts, privileges.
    SCMP_SYS(unshare), SCMP_SYS(setns), SCMP_SYS(mount), SCMP_SYS(umount2), SCMP_SYS(pivot_root),
    SCMP_SYS(chroot), SCMP_SYS(open_tree), SCMP_SYS(move_mount), SCMP_SYS(fsopen), SCMP_SYS(fsmount),
    SCMP_SYS(mount_setattr), SCMP_SYS(setuid), SCMP_SYS(setgid), SCMP_SYS(setreuid), SCMP_SYS(setregid),
    SCMP_SYS(setresuid), SCMP_SYS(setresgid), SCMP_SYS(setgroups), SCMP_SYS(capset), SCMP_SYS(mknod),
    SCMP_SYS(mknodat),
    // Parts of the kernel with a history.
    SCMP_SYS(bpf), SCMP_SYS(io_uring_setup), SCMP_SYS(io_uring_enter), SCMP_SYS(io_uring_register),
    SCMP_SYS(userfaultfd), SCMP_SYS(perf_event_open), SCMP_SYS(keyctl), SCMP_SYS(add_key),
    SCMP_SYS(request_key), SCMP_SYS(init_module), SCMP_SYS(finit_module), SCMP_SYS(delete_module),
    SCMP_SYS(kexec_load), SCMP_SYS(reboot), SCMP_SYS(swapon), SCMP_SYS(swapoff), SCMP_SYS(open_by_handle_at),
    SCMP_SYS(personality), SCMP_SYS(acct)};

class Rules {
 public:
  explicit Rules(scmp_filter_ctx context) : context_(context) {}

  template <typename... Args>
  void Add(uint32_t action, int call, Args... args) {
    if (error_ == 0) {
      const int error = seccomp_rule_add(context_, action, call, sizeof...(args), args...);
      // EDOM: the call doesn't exist on this architecture, so it can't be made either.
      error_ = error == -EDOM ? 0 : error;
    }
  }
  template <size_t N>
  void AddAll(uint32_t action, const int (&calls)[N]) {
    for (int call : calls) {
      Add(action, call);
    }
  }
  int error() const { return error_; }

 private:
  scmp_filter_ctx context_;
  int error_ = 0;
};

// The whole policy of one role.
void AddRules(Policy policy, Rules& rules) {
  rules.AddAll(SCMP_ACT_ALLOW, kAllowedForAll);
  if (policy == Policy::kNative) {
    // Whether a descriptor is a memfd of fixed size.
    rules.Add(SCMP_ACT_ALLOW, SCMP_SYS(fcntl), SCMP_A1(SCMP_CMP_EQ, static_cast<unsigned long>(F_GET_SEALS)));
  } else {
    rules.AddAll(SCMP_ACT_ALLOW, kAllowedForPython);
  }
  if (policy == Policy::kTorch) {
    rules.AddAll(SCMP_ACT_ALLOW, kAllowedForTorch);
  }
  rules.AddAll(SCMP_ACT_TRAP, kFatal);
  // Threads yes, processes no. The flags of clone3 lie in memory, where a filter can't look: ENOSYS makes the
  // C library use clone.
  rules.Add(SCMP_ACT_ALLOW, SCMP_SYS(clone), SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD, CLONE_THREAD));
  rules.Add(SCMP_ACT_TRAP, SCMP_SYS(clone), SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD, 0));
  rules.Add(SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3));
  // Questions about a descriptor, and the name of a thread. Not TIOCSTI, not PR_SET_SECCOMP.
  for (unsigned long request : {static_cast<unsigned long>(TCGETS), static_cast<unsigned long>(TIOCGWINSZ),
                                static_cast<unsigned long>(FIONREAD), static_cast<unsigned long>(FIOCLEX),
                                static_cast<unsigned long>(FIONCLEX), static_cast<unsigned long>(FIONBIO)}) {
    rules.Add(SCMP_ACT_ALLOW, SCMP_SYS(ioctl), SCMP_A1(SCMP_CMP_MASKED_EQ, 0xffffffffUL, request));
  }
  for (unsigned long option :
       {static_cast<unsigned long>(PR_SET_NAME), static_cast<unsigned long>(PR_GET_NAME),
        static_cast<unsigned long>(PR_GET_DUMPABLE), static_cast<unsigned long>(PR_SET_VMA)}) {
    rules.Add(SCMP_ACT_ALLOW, SCMP_SYS(prctl), SCMP_A0(SCMP_CMP_EQ, option));
  }
}

}  // namespace

absl::StatusOr<Policy> ParsePolicy(absl::string_view name) {
  if (name == "native") {
    return Policy::kNative;
  }
  if (name == "python") {
    return Policy::kPython;
  }
  if (name == "torch") {
    return Policy::kTorch;
  }
  return absl::InvalidArgumentError(
      absl::StrCat("system call policy '", name, "' is not native, python or torch"));
}

absl::StatusOr<SeccompFilter> SeccompFilter::Compile(Policy policy) {
  uint32_t action = SECCOMP_RET_TRAP;
  if (syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action) != 0) {
    return absl::UnimplementedError(absl::StrCat("the kernel has no seccomp filters: errno ", errno));
  }
  scmp_filter_ctx context = seccomp_init(SCMP_ACT_ERRNO(EPERM));
  if (context == nullptr) {
    return absl::InternalError("seccomp_init failed");
  }
  absl::Cleanup release = [context] { seccomp_release(context); };
  // A binary tree instead of a list: about 8 comparisons for a call instead of up to 150.
  seccomp_attr_set(context, SCMP_FLTATR_CTL_OPTIMIZE, 2);
  // A call of another architecture (32-bit) ends the process.
  seccomp_attr_set(context, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
  Rules rules(context);
  AddRules(policy, rules);
  if (rules.error() != 0) {
    return absl::InternalError(absl::StrCat("seccomp rule refused: errno ", -rules.error()));
  }
  UniqueFd file(memfd_create("seccomp", MFD_CLOEXEC));
  if (!file.valid() || seccomp_export_bpf(context, file.get()) != 0) {
    return absl::InternalError("seccomp_export_bpf failed");
  }
  const off_t size = lseek(file.get(), 0, SEEK_END);
  SeccompFilter filter;
  filter.program_.resize(static_cast<size_t>(size) / sizeof(sock_filter));
  if (pread(file.get(), filter.program_.data(), static_cast<size_t>(size), 0) != size) {
    return absl::InternalError("reading the compiled seccomp filter failed");
  }
  return filter;
}

absl::Status SeccompFilter::Install() const {
  sock_fprog program{static_cast<unsigned short>(program_.size()), const_cast<sock_filter*>(program_.data())};
  if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program) != 0) {
    return absl::ErrnoToStatus(errno, "installing the system call filter");
  }
  return absl::OkStatus();
}

}  // namespace nkiagent::sandbox
