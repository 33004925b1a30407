// The four services as child processes of this one, for a single call, a demo or a test: free ports, data in
// a folder of its own, drained at the end.
//
// Each child leads a process group, so that Ctrl-C at a terminal reaches this process alone, which then
// drains the children in order; and each gets SIGTERM should this process die without doing so. Start() and
// Restart() must be called on a thread that lives as long as the cluster (the kernel ties that signal to the
// thread).
#ifndef SERVICES_NKICTL_LOCAL_CLUSTER_H_
#define SERVICES_NKICTL_LOCAL_CLUSTER_H_

#include <sys/types.h>

#include <array>
#include <memory>
#include <stop_token>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace nkiagent::nkictl {

enum class Service { kCompile, kVerify, kLlm, kOrchestrator };
inline constexpr std::array<Service, 4> kServices = {Service::kCompile, Service::kVerify, Service::kLlm,
                                                     Service::kOrchestrator};
// "compile-service", "verify-service", "llm-gateway", "orchestrator": the binaries' names.
std::string ServiceName(Service service);

struct ClusterOptions {
  // Where the binaries are: all in one folder, or in the build tree's services/ folder. Empty: beside this
  // program.
  std::string bin_dir;
  // Data, port files and logs/. Empty: a fresh temporary folder, removed by Stop() unless something failed.
  std::string work_dir;
  // Ports by service in the order of kServices, and of their metrics endpoints; 0 picks free ones.
  std::array<int, 4> ports = {0, 0, 0, 0};
  std::array<int, 4> metrics_ports = {0, 0, 0, 0};
  // Which services to start, in the same order. The orchestrator needs the others for all but serving what is
  // stored
  // (--work=false).
  std::array<bool, 4> enabled = {true, true, true, true};
  // More flags by service, in the same order.
  std::array<std::vector<std::string>, 4> flags;
  void AddFlag(Service service, std::string flag) {
    flags[static_cast<size_t>(service)].push_back(std::move(flag));
  }
  // Longest wait for each service to serve. A warm parent imports torch first: seconds, or minutes on a busy
  // machine.
  absl::Duration start_timeout = absl::Seconds(180);
  // Longest wait for a service to drain before it is killed.
  absl::Duration drain_timeout = absl::Seconds(20);
};

// Thread compatible: one thread at a time.
class LocalCluster {
 public:
  // Starts those enabled and waits until they serve. UNAVAILABLE: one did not; the message has the end of its
  // log. NOT_FOUND: no such binary. CANCELLED: `stop` was requested.
  static absl::StatusOr<std::unique_ptr<LocalCluster>> Start(const ClusterOptions& options,
                                                             const std::stop_token& stop = {});
  // Stops.
  ~LocalCluster();
  LocalCluster(const LocalCluster&) = delete;
  LocalCluster& operator=(const LocalCluster&) = delete;

  // "127.0.0.1:1234"; empty for a service that is not enabled.
  const std::string& target(Service service) const { return At(service).target; }
  const std::string& metrics_target(Service service) const { return At(service).metrics_target; }
  pid_t pid(Service service) const { return At(service).pid; }
  const std::string& work_dir() const { return work_dir_; }
  std::string log_path(Service service) const;

  // Keeps a temporary work_dir, logs included, after Stop().
  void KeepFiles() { keep_files_ = true; }

  // A service that has ended by itself, or an empty string.
  std::string EndedService();

  // For tests of crashes: kill -9, and start again with the same data and port.
  absl::Status Kill(Service service);
  absl::Status Restart(Service service);

  // Drains all, the orchestrator first, and reaps them; kills what does not end in time. DEADLINE_EXCEEDED
  // names those that had to be killed. Idempotent.
  absl::Status Stop();

 private:
  struct Process {
    std::string name;
    std::string binary;
    std::vector<std::string> arguments;
    std::string port_file;
    pid_t pid = -1;
    std::string target;
    std::string metrics_target;
  };

  explicit LocalCluster(ClusterOptions options) : options_(std::move(options)) {}
  Process& At(Service service) { return processes_[static_cast<size_t>(service)]; }
  const Process& At(Service service) const { return processes_[static_cast<size_t>(service)]; }

  absl::Status Prepare();
  absl::Status StartAll(const std::stop_token& stop);
  absl::Status Launch(Service service);
  absl::Status AwaitServing(Service service, const std::stop_token& stop);
  std::string LogTail(Service service) const;

  const ClusterOptions options_;
  std::string work_dir_;
  bool temporary_ = false;
  bool keep_files_ = false;
  std::array<Process, 4> processes_;
};

}  // namespace nkiagent::nkictl

#endif  // SERVICES_NKICTL_LOCAL_CLUSTER_H_
