// What the handlers of one service share: metrics, threads, the signal that the service drains.
//
//   main:    rpc::Runtime runtime({.service = "compile"});
//   handler: return rpc::RunUnary(runtime, context, "Compile",
//                                 [=, this](const rpc::CallContext& call) { return compiler_.Compile(call,
//                                 *request, response); });
#ifndef COMMON_RPC_RUNTIME_H_
#define COMMON_RPC_RUNTIME_H_

#include <grpcpp/server_context.h>
#include <grpcpp/support/server_callback.h>

#include <condition_variable>
#include <functional>
#include <mutex>
#include <stop_token>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "common/metrics/metrics.h"
#include "common/rpc/context.h"
#include "common/rpc/executor.h"

namespace nkiagent::rpc {

struct RuntimeOptions {
  // Short name in metrics ("compile", "llm").
  std::string service;
  // Where RunUnary does its work.
  ExecutorOptions executor;
};

// Thread safe. Outlives the rpc::Server and the service objects.
class Runtime {
 public:
  explicit Runtime(const RuntimeOptions& options);

  metrics::Metrics& metrics() { return metrics_; }
  Executor& executor() { return executor_; }

  // Requested when the service starts to drain. Streams without an end of their own end then.
  std::stop_token draining() const { return draining_.get_token(); }
  void StartDraining() { draining_.request_stop(); }

  // Waits until no unary call is left; false if some are at `deadline`. Calls that come while draining are
  // refused with UNAVAILABLE, so that idle stays idle.
  bool AwaitIdle(absl::Time deadline);

  // For RunUnary and its like: a call lives between the two.
  void CallStarted();
  void CallEnded();

  // Records one ended call: nkiagent_<service>_requests_total{method,code},
  // _request_duration_seconds{method}, and one log line with the request id. `method` comes from a closed set
  // ("Compile"). RunUnary calls it; a streaming handler does so itself, once.
  void RecordCall(const CallContext& call, const std::string& method, const absl::Status& status,
                  absl::Duration duration);

 private:
  metrics::Metrics metrics_;
  prometheus::Family<prometheus::Counter>& requests_total_;
  prometheus::Family<prometheus::Histogram>& request_duration_seconds_;
  std::stop_source draining_;
  std::mutex calls_mutex_;
  std::condition_variable calls_changed_;
  int calls_ = 0;
  Executor executor_;  // last: its jobs use the above
};

// A unary handler: runs `work` on the runtime's executor and finishes the call with its status. The call's
// deadline and cancellation are in the CallContext; work whose caller is gone before it starts is not run. An
// exception from `work` is INTERNAL. `request` and `response` of the handler live until the call is done, so
// `work` may hold pointers to them. The response is sent only with an OK status, as gRPC does.
grpc::ServerUnaryReactor* RunUnary(Runtime& runtime, grpc::CallbackServerContext* context, std::string method,
                                   std::function<absl::Status(const CallContext&)> work);

// Starts work that some other thread will end by calling `done` once, with the call's status. It doesn't
// block and doesn't throw.
using AsyncWork = std::function<void(const CallContext& call, std::function<void(const absl::Status&)> done)>;

// As RunUnary, for work that waits without a thread: `work` is called on gRPC's own thread, and the executor
// has no part in it. The CallContext, like `request` and `response`, lives until `done` is called.
grpc::ServerUnaryReactor* RunUnaryAsync(Runtime& runtime, grpc::CallbackServerContext* context,
                                        std::string method, const AsyncWork& work);

}  // namespace nkiagent::rpc

#endif  // COMMON_RPC_RUNTIME_H_
