#include "tests/support/service_process.h"

#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <system_error>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "tests/support/http_get.h"

extern char** environ;

namespace nkiagent::testing {
namespace {

constexpr absl::Duration kPoll = absl::Milliseconds(10);

int ExitCode(int status) { return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status); }

}  // namespace

absl::StatusOr<std::unique_ptr<ServiceProcess>> ServiceProcess::Start(const std::string& binary,
                                                                      const std::vector<std::string>& args,
                                                                      absl::Duration timeout) {
  std::unique_ptr<ServiceProcess> process(new ServiceProcess());
  std::string pattern = (std::filesystem::temp_directory_path() / "service_XXXXXX").string();
  if (mkdtemp(pattern.data()) == nullptr) return absl::UnavailableError("no temporary directory");
  process->directory_ = pattern;
  const std::string port_file = pattern + "/ports.json";
  std::vector<std::string> words = {binary, "--port=0", "--metrics_port=0", "--port_file=" + port_file};
  words.insert(words.end(), args.begin(), args.end());
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  if (posix_spawn(&process->pid_, binary.c_str(), nullptr, nullptr, argv.data(), environ) != 0) {
    process->pid_ = -1;
    return absl::NotFoundError(absl::StrCat(binary, " can't be started"));
  }
  const absl::Time deadline = absl::Now() + timeout;
  while (!std::filesystem::exists(port_file)) {
    int status = 0;
    if (waitpid(process->pid_, &status, WNOHANG) == process->pid_) {
      process->pid_ = -1;
      return absl::AbortedError(
          absl::StrCat(binary, " ended with code ", ExitCode(status), " before it served"));
    }
    if (absl::Now() > deadline) return absl::DeadlineExceededError(absl::StrCat(binary, " does not serve"));
    absl::SleepFor(kPoll);
  }
  const auto ports = nlohmann::json::parse(std::ifstream(port_file));
  process->target_ = ports.at("grpc").get<std::string>();
  process->metrics_ = ports.at("metrics").get<std::string>();
  return process;
}

ServiceProcess::~ServiceProcess() {
  if (pid_ > 0) {
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }
  std::error_code error;
  if (!directory_.empty()) std::filesystem::remove_all(directory_, error);
}

absl::StatusOr<int> ServiceProcess::Stop(absl::Duration timeout) {
  if (pid_ <= 0) return absl::FailedPreconditionError("the service does not run");
  kill(pid_, SIGTERM);
  const absl::Time deadline = absl::Now() + timeout;
  int status = 0;
  while (waitpid(pid_, &status, WNOHANG) == 0) {
    if (absl::Now() > deadline) return absl::DeadlineExceededError("the service ignores SIGTERM");
    absl::SleepFor(kPoll);
  }
  pid_ = -1;
  return ExitCode(status);
}

absl::StatusOr<std::string> ServiceProcess::Scrape() const {
  return HttpGet(absl::StrCat("http://", metrics_, "/metrics"));
}

std::vector<pid_t> ServiceProcess::Descendants() const {
  std::multimap<pid_t, pid_t> children;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator("/proc", error)) {
    pid_t pid = 0;
    if (!absl::SimpleAtoi(entry.path().filename().string(), &pid)) continue;
    std::ifstream file(entry.path() / "stat");
    std::string stat;
    std::getline(file, stat);
    // "pid (name) state parent …", where the name may hold anything.
    const size_t after_name = stat.rfind(')');
    char state = 0;
    pid_t parent = 0;
    if (after_name == std::string::npos ||
        std::sscanf(stat.c_str() + after_name + 1, " %c %d", &state, &parent) != 2 || state == 'Z') {
      continue;
    }
    children.emplace(parent, pid);
  }
  std::vector<pid_t> found = {pid_};
  for (size_t i = 0; i < found.size(); ++i) {
    const auto [first, last] = children.equal_range(found[i]);
    for (auto it = first; it != last; ++it) found.push_back(it->second);
  }
  found.erase(found.begin());
  return found;
}

std::string RequiredEnv(const char* name) {
  const char* value = std::getenv(name);
  if (value == nullptr) {
    std::fprintf(stderr, "the environment variable %s is not set; run this test through ctest\n", name);
    std::exit(1);
  }
  return value;
}

}  // namespace nkiagent::testing
