// A warm parent for tests: each request's payload names something that a child does, usually something bad.
//
//   hostile_parent native|python|torch
//
// The answer to "echo TEXT" is TEXT; the other commands are listed in kCommands.
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <map>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/sandbox/parent_server.h"
#include "common/sandbox/shared_memory.h"

namespace nkiagent::sandbox {
namespace {

HandlerResult Ok(std::string text) { return {ReplyState::kOk, std::move(text)}; }

// "opened" or the error's name.
std::string TryOpen(const char* path, int flags) {
  const int fd = open(path, flags | O_CLOEXEC, 0644);
  const std::string result = fd >= 0 ? "opened" : strerrorname_np(errno);
  if (fd >= 0) {
    close(fd);
  }
  return absl::StrCat(path, ": ", result, "\n");
}

HandlerResult ReadOutside() {
  std::string text;
  for (const char* path : {"/etc/passwd", "/etc/shadow", "/root", "/home", "/proc/1/environ",
                           "/proc/self/maps", "/work", "/sys/kernel", "/dev/mem", "/run"}) {
    text += TryOpen(path, O_RDONLY);
  }
  return Ok(text);
}

HandlerResult WriteOutside() {
  std::string text;
  for (const char* path :
       {"/sandbox_escape", "/usr/sandbox_escape", "/usr/bin/sandbox_escape", "/dev/sandbox_escape",
        "/lib/sandbox_escape", "/sys/devices/system/cpu/sandbox_escape"}) {
    text += TryOpen(path, O_WRONLY | O_CREAT);
  }
  return Ok(text + TryOpen("/tmp/inside", O_WRONLY | O_CREAT));
}

HandlerResult FillTmp() {
  const int fd = open("/tmp/fill", O_WRONLY | O_CREAT, 0644);
  const std::vector<char> block(1 << 20, 'x');
  size_t written = 0;
  ssize_t n;
  while ((n = write(fd, block.data(), block.size())) > 0) {
    written += static_cast<size_t>(n);
  }
  return Ok(absl::StrCat(strerrorname_np(errno), " after ", written >> 20, " MiB"));
}

HandlerResult ListTmp() {
  std::string names;
  DIR* folder = opendir("/tmp");
  while (const dirent* entry = readdir(folder)) {
    absl::StrAppend(&names, entry->d_name, " ");
  }
  closedir(folder);
  return Ok(names);
}

[[noreturn]] void ForkBomb() {
  while (true) {
    (void)fork();
  }
}

HandlerResult Allocate100GiB() {
  std::vector<std::unique_ptr<char[]>> blocks;
  for (int i = 0; i < 100; ++i) {
    blocks.push_back(std::make_unique_for_overwrite<char[]>(size_t{1} << 30));
  }
  return Ok("allocated");
}

// Deep enough for any stack, but with an end that the compiler can see.
int Recurse(int depth) {
  volatile char frame[4096] = {};
  frame[depth % 4096] = static_cast<char>(depth);
  return depth == 100'000'000 ? 0 : Recurse(depth + 1) + frame[0];
}

[[noreturn]] void Loop() {
  volatile bool forever = true;
  while (forever) {
  }
  _exit(1);
}

HandlerResult Flood() {
  const std::string block(1 << 16, 'y');
  for (int i = 0; i < 16384; ++i) {
    (void)!write(1, block.data(), block.size());
  }
  return Ok("wrote 1 GiB");
}

HandlerResult Identity() {
  return Ok(absl::StrCat("pid ", getpid(), " uid ", getuid(), " gid ", getgid(), " env ",
                         environ == nullptr || environ[0] == nullptr ? "empty" : environ[0]));
}

// Descriptors other than stdin, stdout and stderr that are open.
HandlerResult OpenDescriptors() {
  std::string open_ones;
  for (int fd = 3; fd < 1024; ++fd) {
    if (lseek(fd, 0, SEEK_CUR) != -1 || errno != EBADF) {
      absl::StrAppend(&open_ones, fd, " ");
    }
  }
  return Ok(open_ones);
}

HandlerResult WriteSharedMemory(absl::Span<const int> fds) {
  auto memory = SharedMemory::FromFd(UniqueFd(fds.at(0)));
  if (!memory.ok() || !memory->Map(SharedMemory::Access::kReadWrite).ok()) {
    return Ok("refused");
  }
  memset(memory->mutable_bytes().data(), 7, memory->size());
  return Ok("written");
}

HandlerResult Threads() {
  int sum = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&sum, i] { __atomic_add_fetch(&sum, i, __ATOMIC_SEQ_CST); });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  return Ok(absl::StrCat(sum));
}

HandlerResult MemfdHoard() {
  // Shared memory that is not mapped would count towards no limit.
  return Ok(memfd_create("hoard", 0) < 0 ? strerrorname_np(errno) : "made");
}

HandlerResult Handle(absl::string_view payload, absl::Span<const int> fds) {
  using Command = HandlerResult (*)();
  static const std::map<absl::string_view, Command> kCommands = {
      {"loop",
       [] {
         Loop();
         return Ok("");
       }},
      {"sleep",
       [] {
         sleep(1000);
         return Ok("");
       }},
      {"fork_bomb",
       [] {
         ForkBomb();
         return Ok("");
       }},
      {"allocate_100_gib", Allocate100GiB},
      {"read_outside", ReadOutside},
      {"write_outside", WriteOutside},
      {"fill_tmp", FillTmp},
      {"list_tmp", ListTmp},
      {"socket", [] { return Ok(absl::StrCat(socket(AF_INET, SOCK_STREAM, 0))); }},
      {"exec",
       [] {
         execl("/usr/bin/true", "true", nullptr);
         return Ok("");
       }},
      {"mount", [] { return Ok(absl::StrCat(mount("x", "/tmp", "tmpfs", 0, nullptr))); }},
      {"clone3",
       [] {
         clone_args args{};
         args.exit_signal = SIGCHLD;
         return Ok(syscall(SYS_clone3, &args, sizeof(args)) < 0 ? strerrorname_np(errno) : "cloned");
       }},
      {"exit_3",
       [] {
         _exit(3);
         return Ok("");
       }},
      {"segfault",
       [] {
         *static_cast<volatile int*>(nullptr) = 1;  // NOLINT(clang-analyzer-core.NullDereference): on purpose
         return Ok("");
       }},
      {"abort",
       [] {
         abort();
         return Ok("");
       }},
      {"flood", Flood},
      {"recurse", [] { return Ok(absl::StrCat(Recurse(0))); }},
      {"throw", []() -> HandlerResult { throw std::runtime_error("thrown on purpose"); }},
      {"identity", Identity},
      {"descriptors", OpenDescriptors},
      {"threads", Threads},
      {"memfd", MemfdHoard},
      {"long_reply", [] { return Ok(std::string(size_t{3} << 20, 'r')); }},
      {"say", [] {
         printf("to stdout\n");
         fflush(stdout);
         fprintf(stderr, "to stderr\n");
         return Ok("said");
       }}};
  absl::string_view text = payload;
  if (absl::ConsumePrefix(&text, "echo ")) {
    return Ok(std::string(text));
  }
  if (payload == "write_memory") {
    return WriteSharedMemory(fds);
  }
  auto command = kCommands.find(payload);
  return command == kCommands.end() ? HandlerResult{ReplyState::kException, "unknown command"}
                                    : command->second();
}

}  // namespace
}  // namespace nkiagent::sandbox

int main(int argc, char** argv) {
  using namespace nkiagent::sandbox;  // NOLINT(google-build-using-namespace): of this file's own
  auto policy = ParsePolicy(argc > 1 ? argv[1] : "");
  if (!policy.ok()) {
    fprintf(stderr, "%s\n", policy.status().ToString().c_str());
    return 2;
  }
  if (argc > 2 && strcmp(argv[2], "never_ready") == 0) {
    fprintf(stderr, "never getting ready\n");
    pause();
  }
  ParentOptions options;
  options.policy = *policy;
  auto server = ParentServer::Connect(options);
  absl::Status status = server.ok() ? (*server)->Serve(Handle, {}, {}) : server.status();
  if (!status.ok()) {
    fprintf(stderr, "%s\n", status.ToString().c_str());
    return 1;
  }
  return 0;
}
