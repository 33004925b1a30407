// A real service as a child process, for integration tests: started on free ports, stopped with SIGTERM.
#ifndef TESTS_SUPPORT_SERVICE_PROCESS_H_
#define TESTS_SUPPORT_SERVICE_PROCESS_H_

#include <sys/types.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace nkiagent::testing {

class ServiceProcess {
 public:
  // Runs `binary` with --port=0 --metrics_port=0 --port_file=… and `args`, and waits until it serves. What it
  // logs goes to the test's stderr. DEADLINE_EXCEEDED or ABORTED (with the exit code) if it does not come up.
  static absl::StatusOr<std::unique_ptr<ServiceProcess>> Start(const std::string& binary,
                                                               const std::vector<std::string>& args,
                                                               absl::Duration timeout = absl::Seconds(60));
  // Kills it if it still runs.
  ~ServiceProcess();
  ServiceProcess(const ServiceProcess&) = delete;
  ServiceProcess& operator=(const ServiceProcess&) = delete;

  const std::string& target() const { return target_; }    // "127.0.0.1:1234"
  const std::string& metrics() const { return metrics_; }  // "127.0.0.1:1235"
  pid_t pid() const { return pid_; }

  // SIGTERM, then waits. The exit code, or 128 + signal; DEADLINE_EXCEEDED if it still runs.
  absl::StatusOr<int> Stop(absl::Duration timeout = absl::Seconds(30));

  // The text of /metrics.
  absl::StatusOr<std::string> Scrape() const;

  // Processes below this one that are alive, zombies apart.
  std::vector<pid_t> Descendants() const;

 private:
  ServiceProcess() = default;

  pid_t pid_ = -1;
  std::string directory_;
  std::string target_;
  std::string metrics_;
};

// An environment variable that CMake sets for the test; the test ends with a failure if it is missing.
std::string RequiredEnv(const char* name);

}  // namespace nkiagent::testing

#endif  // TESTS_SUPPORT_SERVICE_PROCESS_H_
