#include "common/metrics/metrics.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <prometheus/collectable.h>
#include <prometheus/metric_family.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <exception>
#include <filesystem>
#include <fstream>
#include <stop_token>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

#ifndef NKIAGENT_VERSION
#error "NKIAGENT_VERSION comes from the build"
#endif

namespace nkiagent::metrics {
namespace {

int64_t CountEntries(const char* directory) {
  std::error_code error;
  int64_t count = 0;
  for (std::filesystem::directory_iterator it(directory, error), end; !error && it != end;
       it.increment(error)) {
    ++count;
  }
  return count;
}

prometheus::MetricFamily OneGauge(std::string name, std::string help, double value,
                                  std::vector<prometheus::ClientMetric::Label> labels = {}) {
  prometheus::ClientMetric metric;
  metric.gauge.value = value;
  metric.label = std::move(labels);
  return {std::move(name), std::move(help), prometheus::MetricType::Gauge, {std::move(metric)}};
}

// Connects to the port on this machine and hangs up.
void Touch(int port) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return;
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(static_cast<uint16_t>(port));
  [[maybe_unused]] const int ignored = connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address));
  close(fd);
}

}  // namespace

int64_t ResidentBytes() {
  std::ifstream statm("/proc/self/statm");
  int64_t total = 0, resident = 0;
  return statm >> total >> resident ? resident * sysconf(_SC_PAGESIZE) : 0;
}

const prometheus::Histogram::BucketBoundaries& CallDurationBuckets() {
  static const auto& buckets = *new prometheus::Histogram::BucketBoundaries{
      0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120};
  return buckets;
}

// Reads /proc when scraped, so that nothing has to be kept up to date.
class Metrics::Process : public prometheus::Collectable {
 public:
  explicit Process(std::string prefix) : prefix_(std::move(prefix)) {}

  std::vector<prometheus::MetricFamily> Collect() const override {
    const std::chrono::duration<double> uptime = std::chrono::steady_clock::now() - start_;
    return {
        OneGauge(prefix_ + "resident_memory_bytes", "Resident set size of the service process.",
                 static_cast<double>(ResidentBytes())),
        OneGauge(prefix_ + "uptime_seconds", "Time since the service started.", uptime.count()),
        OneGauge(prefix_ + "threads", "Threads of the service process.",
                 static_cast<double>(CountEntries("/proc/self/task"))),
        OneGauge(prefix_ + "open_fds", "Open file descriptors of the service process.",
                 static_cast<double>(CountEntries("/proc/self/fd"))),
        OneGauge(prefix_ + "build_info", "Always 1; the labels tell the build.", 1,
                 {{"version", NKIAGENT_VERSION}}),
    };
  }

 private:
  const std::string prefix_;
  const std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

Metrics::Metrics(std::string service)
    : service_(std::move(service)),
      registry_(std::make_shared<prometheus::Registry>(prometheus::Registry::InsertBehavior::Merge)),
      process_(std::make_shared<Process>(absl::StrCat("nkiagent_", service_, "_"))) {}

Metrics::~Metrics() {
  if (exposer_ == nullptr) return;
  // civetweb's acceptor looks at its stop flag every 2 s or whenever someone connects; so someone connects.
  std::jthread waker([this](const std::stop_token& stop) {
    while (!stop.stop_requested()) {
      Touch(port_);
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
  });
  exposer_.reset();
}

prometheus::Family<prometheus::Counter>& Metrics::Counter(absl::string_view thing, const std::string& help) {
  return prometheus::BuildCounter()
      .Name(absl::StrCat("nkiagent_", service_, "_", thing))
      .Help(help)
      .Register(*registry_);
}

prometheus::Family<prometheus::Gauge>& Metrics::Gauge(absl::string_view thing, const std::string& help) {
  return prometheus::BuildGauge()
      .Name(absl::StrCat("nkiagent_", service_, "_", thing))
      .Help(help)
      .Register(*registry_);
}

prometheus::Family<prometheus::Histogram>& Metrics::Histogram(absl::string_view thing,
                                                              const std::string& help) {
  return prometheus::BuildHistogram()
      .Name(absl::StrCat("nkiagent_", service_, "_", thing))
      .Help(help)
      .Register(*registry_);
}

absl::Status Metrics::Expose(const ExposerOptions& options) {
  if (exposer_ != nullptr) return absl::FailedPreconditionError("metrics are already exposed");
  const std::string endpoint = absl::StrCat(options.address, ":", options.port);
  try {
    exposer_ = std::make_unique<prometheus::Exposer>(endpoint, /*num_threads=*/1);
    const std::vector<int> ports = exposer_->GetListeningPorts();
    if (ports.empty())
      return absl::UnavailableError(absl::StrCat("metrics endpoint ", endpoint, " is not bound"));
    port_ = ports.front();
    exposer_->RegisterCollectable(registry_);
    exposer_->RegisterCollectable(process_);
  } catch (const std::exception& error) {
    exposer_.reset();
    return absl::UnavailableError(
        absl::StrCat("metrics endpoint ", endpoint, " can't be bound: ", error.what()));
  }
  return absl::OkStatus();
}

}  // namespace nkiagent::metrics
