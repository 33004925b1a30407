#include "common/sandbox/jail.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <linux/capability.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"

namespace nkiagent::sandbox {
namespace {

// Always present; the ones that are symbolic links on the host (merged /usr) become links.
constexpr const char* kSystemPaths[] = {"/usr", "/bin", "/lib", "/lib64", "/lib32", "/etc/ld.so.cache"};
constexpr const char* kDevices[] = {"/dev/null", "/dev/zero", "/dev/urandom"};
// Where the new root is put together. Any folder does; the host's content of it is only covered in this
// namespace.
constexpr char kStage[] = "/tmp";

absl::Status Failure(absl::string_view step) {
  // Permission is the usual reason, but ENOSYS and EINVAL come from kernels that lack a call.
  return absl::ErrnoToStatus(errno, absl::StrCat("sandbox: ", step));
}

absl::Status WriteFile(int folder, const std::string& name, absl::string_view text) {
  UniqueFd file(openat(folder, name.c_str(), O_WRONLY | O_CLOEXEC));
  if (!file.valid() || write(file.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size())) {
    return Failure(absl::StrCat("writing ", name));
  }
  return absl::OkStatus();
}

struct Bind {
  std::string path;  // Absolute, the same outside and inside.
  UniqueFd tree;     // A detached copy of the mount; invalid for a link.
  std::string link;  // Target, if the path is a symbolic link of the system.
  bool folder = true;
};

// Takes detached copies of everything to be seen while the host's paths are still in reach.
absl::Status Collect(const JailOptions& options, std::vector<Bind>& binds) {
  std::vector<std::string> wanted = options.readonly_paths;
  for (const std::string& path : options.readonly_paths) {
    char real[PATH_MAX];
    if (realpath(path.c_str(), real) != nullptr && path != real) {
      wanted.emplace_back(real);
    }
  }
  std::sort(wanted.begin(), wanted.end());
  wanted.insert(wanted.begin(), std::begin(kSystemPaths), std::end(kSystemPaths));
  wanted.insert(wanted.end(), std::begin(kDevices), std::end(kDevices));
  wanted.emplace_back("/proc");
  wanted.emplace_back("/sys/devices/system/cpu");
  for (const std::string& path : wanted) {
    const bool covered = std::any_of(binds.begin(), binds.end(), [&](const Bind& bind) {
      return path == bind.path || absl::StartsWith(path, absl::StrCat(bind.path, "/"));
    });
    struct stat info {};
    if (covered || path.empty() || path[0] != '/' || path == "/" || lstat(path.c_str(), &info) != 0) {
      continue;
    }
    Bind bind;
    bind.path = path;
    const bool system =
        std::find(std::begin(kSystemPaths), std::end(kSystemPaths), path) != std::end(kSystemPaths);
    if (S_ISLNK(info.st_mode) && system) {
      char target[PATH_MAX];
      const ssize_t length = readlink(path.c_str(), target, sizeof(target));
      if (length <= 0) {
        return Failure(absl::StrCat("reading the link ", path));
      }
      bind.link.assign(target, static_cast<size_t>(length));
    } else {
      if (stat(path.c_str(), &info) != 0) {
        continue;
      }
      bind.folder = S_ISDIR(info.st_mode);
      bind.tree.reset(open_tree(AT_FDCWD, path.c_str(), OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE));
      if (!bind.tree.valid()) {
        return Failure(absl::StrCat("copying the mount of ", path));
      }
    }
    binds.push_back(std::move(bind));
  }
  return absl::OkStatus();
}

// mkdir -p of the parents of `path` (relative to the working folder), then the last part as folder or empty
// file.
absl::Status MakeMountPoint(const std::string& path, bool folder) {
  std::string prefix = ".";
  const std::vector<std::string> parts = absl::StrSplit(path, '/', absl::SkipEmpty());
  for (size_t i = 0; i < parts.size(); ++i) {
    absl::StrAppend(&prefix, "/", parts[i]);
    if (folder || i + 1 < parts.size()) {
      if (mkdir(prefix.c_str(), 0755) != 0 && errno != EEXIST) {
        return Failure(absl::StrCat("making ", path));
      }
    } else {
      UniqueFd file(open(prefix.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0444));
      if (!file.valid()) {
        return Failure(absl::StrCat("making ", path));
      }
    }
  }
  return absl::OkStatus();
}

absl::Status Place(const Bind& bind) {
  if (!bind.link.empty()) {
    if (symlink(bind.link.c_str(), absl::StrCat(".", bind.path).c_str()) != 0) {
      return Failure(absl::StrCat("linking ", bind.path));
    }
    return absl::OkStatus();
  }
  if (absl::Status status = MakeMountPoint(bind.path, bind.folder); !status.ok()) {
    return status;
  }
  const std::string inside = absl::StrCat(".", bind.path);
  if (move_mount(bind.tree.get(), "", AT_FDCWD, inside.c_str(), MOVE_MOUNT_F_EMPTY_PATH) != 0) {
    return Failure(absl::StrCat("mounting ", bind.path));
  }
  struct mount_attr attributes {};
  attributes.attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID;
  if (!absl::StartsWith(bind.path, "/dev/")) {
    attributes.attr_set |= MOUNT_ATTR_NODEV;
  }
  if (mount_setattr(AT_FDCWD, inside.c_str(), AT_RECURSIVE, &attributes, sizeof(attributes)) != 0) {
    return Failure(absl::StrCat("making ", bind.path, " read-only"));
  }
  return absl::OkStatus();
}

absl::Status MountTmp(const char* path, uint64_t bytes) {
  const std::string options = absl::StrCat("mode=1777,size=", bytes);
  if (mount("tmp", path, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, options.c_str()) != 0) {
    return Failure("mounting a private tmp");
  }
  return absl::OkStatus();
}

// capset(2) has no wrapper in the C library; libcap would be one more library for two calls.
bool SetCapabilities(uint64_t mask) {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[2] = {};
  for (int word = 0; word < 2; ++word) {
    data[word].effective = data[word].permitted = static_cast<uint32_t>(mask >> (32 * word));
  }
  return syscall(SYS_capset, &header, data) == 0;
}

// Whether this process can become user `id` after mounting: root with the capabilities to do so, in a user
// namespace that has such a user. Root of a container often is neither; it goes the way of an ordinary user.
bool CanMountAndBecome(uint32_t id) {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[2] = {};
  if (geteuid() != 0 || syscall(SYS_capget, &header, data) != 0) {
    return false;
  }
  for (const int capability : {CAP_SYS_ADMIN, CAP_SETUID, CAP_SETGID, CAP_SETPCAP}) {
    if ((data[capability / 32].effective >> (capability % 32) & 1) == 0) {
      return false;
    }
  }
  std::ifstream map("/proc/self/uid_map");
  uint64_t inside = 0;
  uint64_t outside = 0;
  uint64_t count = 0;
  while (map >> inside >> outside >> count) {
    if (id >= inside && id - inside < count) {
      return true;
    }
  }
  return false;
}

// From root to an ordinary user who, until Jail::Close, may still unmount, and read what only root can read:
// imports come from wherever root has installed them.
absl::Status DropRoot(uint32_t id) {
  if (prctl(PR_SET_KEEPCAPS, 1) != 0 || setgroups(0, nullptr) != 0 || setresgid(id, id, id) != 0 ||
      setresuid(id, id, id) != 0 ||
      !SetCapabilities(uint64_t{1} << CAP_SYS_ADMIN | uint64_t{1} << CAP_DAC_READ_SEARCH)) {
    return Failure(absl::StrCat("becoming user ", id));
  }
  // Changing users hides /proc/self from its owner, and children must write their uid_map there.
  if (prctl(PR_SET_DUMPABLE, 1) != 0) {
    return Failure("staying dumpable");
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status DropCapabilities() {
  if (!SetCapabilities(0)) {
    return Failure("dropping capabilities");
  }
  return absl::OkStatus();
}

absl::Status MapIds(int proc, uint32_t inside_id, uint32_t uid, uint32_t gid) {
  if (absl::Status s = WriteFile(proc, "self/setgroups", "deny"); !s.ok()) {
    return s;
  }
  if (absl::Status s = WriteFile(proc, "self/uid_map", absl::StrCat(inside_id, " ", uid, " 1\n")); !s.ok()) {
    return s;
  }
  return WriteFile(proc, "self/gid_map", absl::StrCat(inside_id, " ", gid, " 1\n"));
}

namespace {

// What a parent and then its child will do.
absl::Status TryNamespaces(const JailOptions& options) {
  absl::StatusOr<Jail> jail = Jail::Enter(options);
  if (!jail.ok()) {
    return jail.status();
  }
  if (absl::Status status = jail->Close(); !status.ok()) {
    return status;
  }
  const uid_t uid = geteuid();
  const gid_t gid = getegid();
  if (unshare(CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS) != 0) {
    return Failure("namespaces for a child");
  }
  if (absl::Status status = MapIds(jail->proc_fd(), options.unprivileged_id, uid, gid); !status.ok()) {
    return status;
  }
  return jail->MountPrivateTmp(options.tmp_bytes);
}

}  // namespace

absl::Status ProbeNamespaces(const JailOptions& options) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) {
    return Failure("pipe");
  }
  UniqueFd read_end(ends[0]);
  UniqueFd write_end(ends[1]);
  const pid_t child = fork();
  if (child < 0) {
    return Failure("fork");
  }
  if (child == 0) {
    const absl::Status status = TryNamespaces(options);
    const std::string reason(status.message());
    (void)!write(write_end.get(), reason.data(), reason.size());
    _exit(status.ok() ? 0 : 1);
  }
  write_end.reset();
  std::string reason(400, '\0');
  const ssize_t length = read(read_end.get(), reason.data(), reason.size());
  reason.resize(static_cast<size_t>(std::max<ssize_t>(length, 0)));
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
    return absl::UnimplementedError(reason.empty() ? "the probe of namespaces died" : reason);
  }
  return absl::OkStatus();
}

absl::StatusOr<Jail> Jail::Enter(const JailOptions& options) {
  const uid_t uid = geteuid();
  const gid_t gid = getegid();
  // Root needs no user namespace for its mounts, and without one it can still become an ordinary user
  // afterwards.
  const bool root = CanMountAndBecome(options.unprivileged_id);
  if (unshare(root ? CLONE_NEWNS : CLONE_NEWUSER | CLONE_NEWNS) != 0) {
    return Failure("a mount namespace for the worker");
  }
  Jail jail;
  jail.proc_.reset(open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!jail.proc_.valid()) {
    return Failure("opening /proc");
  }
  if (!root) {
    if (absl::Status status = MapIds(jail.proc_fd(), options.unprivileged_id, uid, gid); !status.ok()) {
      return status;
    }
  }
  if (mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) {
    return Failure("making mounts private");
  }
  std::vector<Bind> binds;
  if (absl::Status status = Collect(options, binds); !status.ok()) {
    return status;
  }
  if (mount("sandbox", kStage, "tmpfs", MS_NOSUID | MS_NODEV, "mode=755,size=1m") != 0 ||
      chdir(kStage) != 0) {
    return Failure("mounting the new root");
  }
  if (mkdir("./tmp", 01777) != 0) {
    return Failure("making tmp");
  }
  if (absl::Status status = MountTmp("./tmp", options.tmp_bytes); !status.ok()) {
    return status;
  }
  for (const Bind& bind : binds) {
    if (absl::Status status = Place(bind); !status.ok()) {
      return status;
    }
    if (absl::StartsWith(bind.path, "/tmp/")) {
      jail.paths_below_tmp_.push_back(bind.path);
    }
  }
  if (syscall(SYS_pivot_root, ".", ".") != 0 || umount2(".", MNT_DETACH) != 0 || chdir("/tmp") != 0) {
    return Failure("changing the root");
  }
  struct mount_attr attributes {};
  attributes.attr_set = MOUNT_ATTR_RDONLY;
  if (mount_setattr(AT_FDCWD, "/", 0, &attributes, sizeof(attributes)) != 0) {
    return Failure("making the root read-only");
  }
  if (root) {
    if (absl::Status status = DropRoot(options.unprivileged_id); !status.ok()) {
      return status;
    }
  }
  return jail;
}

absl::Status Jail::MountPrivateTmp(uint64_t bytes) const {
  std::vector<Bind> binds;
  for (const std::string& path : paths_below_tmp_) {
    struct stat info {};
    Bind bind;
    bind.path = path;
    bind.folder = stat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode);
    bind.tree.reset(open_tree(AT_FDCWD, path.c_str(), OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE));
    if (!bind.tree.valid()) {
      return Failure(absl::StrCat("copying the mount of ", path));
    }
    binds.push_back(std::move(bind));
  }
  if (absl::Status status = MountTmp("/tmp", bytes); !status.ok()) {
    return status;
  }
  if (chdir("/") != 0) {
    return Failure("entering the root");
  }
  for (const Bind& bind : binds) {
    if (absl::Status status = Place(bind); !status.ok()) {
      return status;
    }
  }
  if (chdir("/tmp") != 0) {
    return Failure("entering tmp");
  }
  return absl::OkStatus();
}

absl::Status Jail::Close() {
  if (umount2("/proc", MNT_DETACH) != 0) {
    return Failure("hiding /proc");
  }
  return DropCapabilities();
}

}  // namespace nkiagent::sandbox
