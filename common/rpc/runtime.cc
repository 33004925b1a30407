#include "common/rpc/runtime.h"

#include <exception>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/rpc/status.h"

namespace nkiagent::rpc {
namespace {

// What both kinds of unary call share: the context that is cancelled with the call, and how the call ends.
class UnaryReactor : public grpc::ServerUnaryReactor {
 protected:
  UnaryReactor(Runtime& runtime, grpc::CallbackServerContext* context, std::string method)
      : runtime_(runtime),
        context_(context),
        method_(std::move(method)),
        call_(CallContext::FromServer(*context, stop_.get_token())) {
    runtime_.CallStarted();
  }
  ~UnaryReactor() override { runtime_.CallEnded(); }

  // Whether the call should go ahead.
  absl::Status Admit() const {
    if (runtime_.draining().stop_requested()) {
      return absl::UnavailableError("the service is draining; try another replica");
    }
    return call_.Check();
  }

  void End(const absl::Status& status) {
    runtime_.RecordCall(call_, method_, status, absl::Now() - start_);
    context_->AddTrailingMetadata(kRequestIdKey, call_.request_id());
    if (const auto delay = RetryAfter(status)) {
      context_->AddTrailingMetadata("retry-after-ms", absl::StrCat(absl::ToInt64Milliseconds(*delay)));
    }
    Finish(ToGrpcStatus(status));  // `this` may be gone from here on
  }

  absl::Status Threw(const std::exception& error) const {
    call_.Log("rpc").Error("handler threw", {{"method", method_}, {"what", error.what()}});
    return absl::InternalError(absl::StrCat(method_, " failed unexpectedly; the log has the reason"));
  }

  Runtime& runtime() { return runtime_; }
  const CallContext& call() const { return call_; }

 private:
  void OnCancel() override { stop_.request_stop(); }
  void OnDone() override { delete this; }

  Runtime& runtime_;
  grpc::CallbackServerContext* const context_;
  const std::string method_;
  const absl::Time start_ = absl::Now();
  std::stop_source stop_;
  const CallContext call_;
};

class UnaryCall final : public UnaryReactor {
 public:
  UnaryCall(Runtime& runtime, grpc::CallbackServerContext* context, std::string method,
            std::function<absl::Status(const CallContext&)> work)
      : UnaryReactor(runtime, context, std::move(method)), work_(std::move(work)) {}

  void Start() {
    absl::Status admitted = Admit();
    if (admitted.ok()) admitted = runtime().executor().Submit([this] { Run(); });
    if (!admitted.ok()) End(admitted);
  }

 private:
  void Run() {
    absl::Status status = call().Check();
    if (status.ok()) status = Work();
    End(status);
  }

  absl::Status Work() {
    try {
      return work_(call());
    } catch (const std::exception& error) {
      return Threw(error);
    }
  }

  const std::function<absl::Status(const CallContext&)> work_;
};

class AsyncUnaryCall final : public UnaryReactor {
 public:
  AsyncUnaryCall(Runtime& runtime, grpc::CallbackServerContext* context, std::string method)
      : UnaryReactor(runtime, context, std::move(method)) {}

  void Start(const AsyncWork& work) {
    if (absl::Status status = Admit(); !status.ok()) return End(status);
    work(call(), [this](const absl::Status& status) { End(status); });
  }
};

}  // namespace

Runtime::Runtime(const RuntimeOptions& options)
    : metrics_(options.service),
      requests_total_(metrics_.Counter("requests_total", "RPCs that ended, by method and status code.")),
      request_duration_seconds_(
          metrics_.Histogram("request_duration_seconds",
                             "Time from a call's arrival to its status, queueing included, by method.")),
      executor_(options.executor) {}

void Runtime::CallStarted() {
  std::lock_guard lock(calls_mutex_);
  ++calls_;
}

void Runtime::CallEnded() {
  std::lock_guard lock(calls_mutex_);
  if (--calls_ == 0) calls_changed_.notify_all();
}

bool Runtime::AwaitIdle(absl::Time deadline) {
  std::unique_lock lock(calls_mutex_);
  return calls_changed_.wait_until(lock, absl::ToChronoTime(deadline), [this] { return calls_ == 0; });
}

void Runtime::RecordCall(const CallContext& call, const std::string& method, const absl::Status& status,
                         absl::Duration duration) {
  const std::string code(CodeName(status.code()));
  requests_total_.Add({{"method", method}, {"code", code}}).Increment();
  request_duration_seconds_.Add({{"method", method}}, metrics::CallDurationBuckets())
      .Observe(absl::ToDoubleSeconds(duration));
  const double milliseconds = absl::ToDoubleMilliseconds(duration);
  if (status.ok()) {
    call.Log("rpc").Info("call ended", {{"method", method}, {"code", code}, {"ms", milliseconds}});
  } else {
    call.Log("rpc").Warn("call ended", {{"method", method},
                                        {"code", code},
                                        {"ms", milliseconds},
                                        {"error", absl::string_view(status.message()).substr(0, 500)}});
  }
}

grpc::ServerUnaryReactor* RunUnary(Runtime& runtime, grpc::CallbackServerContext* context, std::string method,
                                   std::function<absl::Status(const CallContext&)> work) {
  auto* call = new UnaryCall(runtime, context, std::move(method), std::move(work));  // OnDone deletes it
  call->Start();
  return call;
}

grpc::ServerUnaryReactor* RunUnaryAsync(Runtime& runtime, grpc::CallbackServerContext* context,
                                        std::string method, const AsyncWork& work) {
  auto* call = new AsyncUnaryCall(runtime, context, std::move(method));  // OnDone deletes it
  call->Start(work);
  return call;
}

}  // namespace nkiagent::rpc
