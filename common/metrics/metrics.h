// Prometheus metrics of one service: a registry whose names all start with nkiagent_<service>_, the process
// metrics, and (if asked) an HTTP endpoint /metrics.
//
//   metrics::Metrics metrics("compile");
//   prometheus::Family<prometheus::Counter>& requests = metrics.Counter("requests_total", "RPCs ended, by
//   code."); absl::Status exposed = metrics.Expose({.address = "127.0.0.1", .port = 7611});
//
// Process metrics, sampled when scraped: nkiagent_<service>_resident_memory_bytes, _uptime_seconds, _threads,
// _open_fds, and _build_info{version} which is always 1. Thread safe, as prometheus-cpp's registry is.
#ifndef COMMON_METRICS_METRICS_H_
#define COMMON_METRICS_METRICS_H_

#include <prometheus/counter.h>
#include <prometheus/exposer.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace nkiagent::metrics {

struct ExposerOptions {
  // Numeric address to bind; the default keeps the endpoint on this machine.
  std::string address = "127.0.0.1";
  // 0 picks a free port; Metrics::port() tells it.
  int port = 0;
};

class Metrics {
 public:
  // `service`: the short name, [a-z_]+ ("compile", "llm").
  explicit Metrics(std::string service);
  ~Metrics();
  Metrics(const Metrics&) = delete;
  Metrics& operator=(const Metrics&) = delete;

  // A family named nkiagent_<service>_<thing>; the same name twice gives the same family. `thing` carries the
  // base unit (requests_total, request_duration_seconds, resident_memory_bytes). Families live as long as
  // this object.
  prometheus::Family<prometheus::Counter>& Counter(absl::string_view thing, const std::string& help);
  prometheus::Family<prometheus::Gauge>& Gauge(absl::string_view thing, const std::string& help);
  prometheus::Family<prometheus::Histogram>& Histogram(absl::string_view thing, const std::string& help);

  // Serves /metrics. UNAVAILABLE if the address can't be bound. At most one call.
  absl::Status Expose(const ExposerOptions& options);
  // The bound port; 0 before Expose().
  int port() const { return port_; }

  const std::string& service() const { return service_; }
  prometheus::Registry& registry() { return *registry_; }

 private:
  class Process;
  std::string service_;
  std::shared_ptr<prometheus::Registry> registry_;
  std::shared_ptr<Process> process_;
  std::unique_ptr<prometheus::Exposer> exposer_;  // last: it reads the two above
  int port_ = 0;
};

// Upper bounds in seconds for calls that take from under a millisecond (a store hit) to two minutes (the
// compile limit).
const prometheus::Histogram::BucketBoundaries& CallDurationBuckets();

// Resident set size of this process in bytes, from /proc/self/statm; 0 if it can't be read.
int64_t ResidentBytes();

}  // namespace nkiagent::metrics

#endif  // COMMON_METRICS_METRICS_H_
