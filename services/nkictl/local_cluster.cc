#include "services/nkictl/local_cluster.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"

namespace nkiagent::nkictl {
namespace {

namespace fs = std::filesystem;

// Between looks at a port file or a child. The wait is for another process, which can't wake this one.
constexpr absl::Duration kPoll = absl::Milliseconds(5);
// What is quoted of a log.
constexpr size_t kLogTailBytes = 2000;
// Logs of one folder go on in the same files; each start begins with this.
constexpr char kLogStart[] = "---- started by nkictl\n";

// Folder of each binary inside the build tree's services/ folder.
const char* BuildFolder(Service service) {
  switch (service) {
    case Service::kCompile:
      return "compile";
    case Service::kVerify:
      return "verify";
    case Service::kLlm:
      return "llm_gateway";
    case Service::kOrchestrator:
      return "orchestrator";
  }
  return "";
}

absl::StatusOr<std::string> FindBinary(const std::string& bin_dir, Service service) {
  std::vector<fs::path> places;
  if (!bin_dir.empty()) {
    places = {fs::path(bin_dir), fs::path(bin_dir) / BuildFolder(service)};
  } else {
    std::error_code error;
    const fs::path here = fs::read_symlink("/proc/self/exe", error).parent_path();
    places = {here, here.parent_path() / BuildFolder(service)};
  }
  for (const fs::path& place : places) {
    const fs::path binary = place / ServiceName(service);
    std::error_code error;
    // A folder can carry the name of a service.
    if (fs::is_regular_file(binary, error) && access(binary.c_str(), X_OK) == 0) return binary.string();
  }
  return absl::NotFoundError(absl::StrCat("there is no ", ServiceName(service), " in ", places[0].string(),
                                          " or ", places[1].string()));
}

std::string ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
}

}  // namespace

std::string ServiceName(Service service) {
  switch (service) {
    case Service::kCompile:
      return "compile-service";
    case Service::kVerify:
      return "verify-service";
    case Service::kLlm:
      return "llm-gateway";
    case Service::kOrchestrator:
      return "orchestrator";
  }
  return "";
}

absl::StatusOr<std::unique_ptr<LocalCluster>> LocalCluster::Start(const ClusterOptions& options,
                                                                  const std::stop_token& stop) {
  std::unique_ptr<LocalCluster> cluster(new LocalCluster(options));
  absl::Status status = cluster->Prepare();
  if (status.ok()) status = cluster->StartAll(stop);
  if (!status.ok()) {
    if (!absl::IsCancelled(status)) cluster->KeepFiles();
    cluster->Stop().IgnoreError();
    return status;
  }
  return cluster;
}

LocalCluster::~LocalCluster() { Stop().IgnoreError(); }

absl::Status LocalCluster::Prepare() {
  work_dir_ = options_.work_dir;
  std::error_code error;
  if (work_dir_.empty()) {
    std::string pattern = (fs::temp_directory_path(error) / "nkiagent-XXXXXX").string();
    if (mkdtemp(pattern.data()) == nullptr) {
      return absl::UnavailableError(absl::StrCat("can't make a temporary folder: ", strerror(errno)));
    }
    work_dir_ = pattern;
    temporary_ = true;
  }
  work_dir_ = fs::absolute(work_dir_, error).string();
  fs::create_directories(fs::path(work_dir_) / "logs", error);
  if (error)
    return absl::UnavailableError(absl::StrCat("can't make ", work_dir_, "/logs: ", error.message()));
  for (const Service service : kServices) {
    Process& process = At(service);
    const size_t index = static_cast<size_t>(service);
    if (!options_.enabled[index]) continue;
    process.name = ServiceName(service);
    absl::StatusOr<std::string> binary = FindBinary(options_.bin_dir, service);
    if (!binary.ok()) return binary.status();
    process.binary = *std::move(binary);
    process.port_file = absl::StrCat(work_dir_, "/", process.name, ".json");
    process.arguments = {absl::StrCat("--port=", options_.ports[index]),
                         absl::StrCat("--metrics_port=", options_.metrics_ports[index]),
                         absl::StrCat("--port_file=", process.port_file)};
    process.arguments.insert(process.arguments.end(), options_.flags[index].begin(),
                             options_.flags[index].end());
  }
  return absl::OkStatus();
}

absl::Status LocalCluster::StartAll(const std::stop_token& stop) {
  constexpr std::array<Service, 3> kBackends = {Service::kCompile, Service::kVerify, Service::kLlm};
  const auto enabled = [this](Service service) { return options_.enabled[static_cast<size_t>(service)]; };
  for (const Service service : kBackends) {
    if (!enabled(service)) continue;
    if (absl::Status status = Launch(service); !status.ok()) return status;
  }
  for (const Service service : kBackends) {
    if (!enabled(service)) continue;
    if (absl::Status status = AwaitServing(service, stop); !status.ok()) return status;
  }
  if (!enabled(Service::kOrchestrator)) return absl::OkStatus();
  std::vector<std::string>& arguments = At(Service::kOrchestrator).arguments;
  const std::pair<const char*, Service> targets[] = {{"--compile_target=", Service::kCompile},
                                                     {"--verify_target=", Service::kVerify},
                                                     {"--llm_target=", Service::kLlm}};
  for (const auto& [flag, service] : targets) {
    if (enabled(service)) arguments.push_back(absl::StrCat(flag, target(service)));
  }
  arguments.push_back(absl::StrCat("--data_dir=", work_dir_, "/data"));
  if (absl::Status status = Launch(Service::kOrchestrator); !status.ok()) return status;
  return AwaitServing(Service::kOrchestrator, stop);
}

absl::Status LocalCluster::Launch(Service service) {
  Process& process = At(service);
  unlink(process.port_file.c_str());
  const int log = open(log_path(service).c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  if (log < 0)
    return absl::UnavailableError(absl::StrCat("can't write ", log_path(service), ": ", strerror(errno)));
  if (write(log, kLogStart, strlen(kLogStart)) < 0) {
    // A full disk: the service will say so.
  }
  std::vector<char*> argv = {process.binary.data()};
  for (std::string& argument : process.arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);
  const pid_t parent = getpid();
  const pid_t pid = fork();
  if (pid == 0) {
    // Only async-signal-safe calls from here on: other threads may hold any lock.
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent) _exit(127);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, nullptr);
    const int null = open("/dev/null", O_RDONLY);
    dup2(null, STDIN_FILENO);
    dup2(log, STDOUT_FILENO);
    dup2(log, STDERR_FILENO);
    execv(argv[0], argv.data());
    _exit(127);
  }
  const int fork_errno = errno;
  close(log);
  if (pid < 0)
    return absl::UnavailableError(absl::StrCat("can't start ", process.name, ": ", strerror(fork_errno)));
  process.pid = pid;
  return absl::OkStatus();
}

absl::Status LocalCluster::AwaitServing(Service service, const std::stop_token& stop) {
  Process& process = At(service);
  const absl::Time deadline = absl::Now() + options_.start_timeout;
  while (true) {
    if (stop.stop_requested()) return absl::CancelledError("interrupted while the services started");
    // The file appears whole or not at all.
    if (access(process.port_file.c_str(), R_OK) == 0) {
      const nlohmann::json ports = nlohmann::json::parse(ReadFile(process.port_file), nullptr, false);
      if (!ports.is_object() || !ports.contains("grpc")) {
        return absl::InternalError(absl::StrCat(process.port_file, " is not a port file"));
      }
      process.target = ports["grpc"].get<std::string>();
      process.metrics_target = ports.value("metrics", "");
      // A restart comes back to the same port, so that others find it again.
      std::replace_if(
          process.arguments.begin(), process.arguments.end(),
          [](const std::string& argument) { return argument.rfind("--port=", 0) == 0; },
          absl::StrCat("--port=", process.target.substr(process.target.rfind(':') + 1)));
      return absl::OkStatus();
    }
    int status = 0;
    if (waitpid(process.pid, &status, WNOHANG) == process.pid) {
      process.pid = -1;
      return absl::UnavailableError(absl::StrCat(process.name, " did not start:\n", LogTail(service)));
    }
    if (absl::Now() >= deadline) {
      return absl::UnavailableError(absl::StrCat(process.name, " is not serving after ",
                                                 absl::FormatDuration(options_.start_timeout), ":\n",
                                                 LogTail(service)));
    }
    absl::SleepFor(kPoll);
  }
}

std::string LocalCluster::log_path(Service service) const {
  return absl::StrCat(work_dir_, "/logs/", ServiceName(service), ".log");
}

std::string LocalCluster::LogTail(Service service) const {
  std::string log = ReadFile(log_path(service));
  if (const size_t start = log.rfind(kLogStart); start != std::string::npos)
    log.erase(0, start + strlen(kLogStart));
  return log.size() <= kLogTailBytes ? log : log.substr(log.size() - kLogTailBytes);
}

std::string LocalCluster::EndedService() {
  for (Process& process : processes_) {
    int status = 0;
    if (process.pid > 0 && waitpid(process.pid, &status, WNOHANG) == process.pid) {
      process.pid = -1;
      KeepFiles();
      return process.name;
    }
  }
  return "";
}

absl::Status LocalCluster::Kill(Service service) {
  Process& process = At(service);
  if (process.pid <= 0) return absl::FailedPreconditionError(absl::StrCat(process.name, " is not running"));
  kill(process.pid, SIGKILL);
  int status = 0;
  waitpid(process.pid, &status, 0);
  process.pid = -1;
  return absl::OkStatus();
}

absl::Status LocalCluster::Restart(Service service) {
  if (At(service).pid > 0)
    return absl::FailedPreconditionError(absl::StrCat(At(service).name, " is running"));
  if (absl::Status status = Launch(service); !status.ok()) return status;
  return AwaitServing(service, {});
}

absl::Status LocalCluster::Stop() {
  std::vector<std::string> killed;
  // The orchestrator first: what it waits for is still there while it stops its sessions. The others end
  // together.
  const std::vector<std::vector<Service>> stages = {{Service::kOrchestrator},
                                                    {Service::kLlm, Service::kVerify, Service::kCompile}};
  for (const std::vector<Service>& stage : stages) {
    for (const Service service : stage) {
      // A stopped process would not see its SIGTERM.
      if (At(service).pid > 0) kill(At(service).pid, SIGCONT);
      if (At(service).pid > 0) kill(At(service).pid, SIGTERM);
    }
    const absl::Time deadline = absl::Now() + options_.drain_timeout;
    for (const Service service : stage) {
      Process& process = At(service);
      if (process.pid <= 0) continue;
      int status = 0;
      while (waitpid(process.pid, &status, WNOHANG) == 0) {
        if (absl::Now() >= deadline) {
          kill(-process.pid, SIGKILL);
          waitpid(process.pid, &status, 0);
          killed.push_back(process.name);
          break;
        }
        absl::SleepFor(kPoll);
      }
      process.pid = -1;
    }
  }
  if (temporary_ && !keep_files_ && killed.empty()) {
    std::error_code error;
    fs::remove_all(work_dir_, error);
  }
  if (killed.empty()) return absl::OkStatus();
  return absl::DeadlineExceededError(
      absl::StrCat("did not drain in ", absl::FormatDuration(options_.drain_timeout),
                   " and were killed: ", absl::StrJoin(killed, ", "), "; logs are in ", work_dir_, "/logs"));
}

}  // namespace nkiagent::nkictl
