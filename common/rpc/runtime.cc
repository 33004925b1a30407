#include "common/rpc/runtime.h"

#include <exception>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/rpc/status.h"

namespace nkiagent::rpc {
namespace {

class UnaryCall final : public grpc::ServerUnaryReactor {
 public:
  UnaryCall(Runtime& runtime, grpc::CallbackServerContext* context, std::string method,
            std::function<absl::Status(const CallContext&)> work)
      : runtime_(runtime),
        context_(context),
        method_(std::move(method)),
        work_(std::move(work)),
        call_(CallContext::FromServer(*context, stop_.get_token())) {}

  void Start() {
    const absl::Status submitted = runtime_.executor().Submit([this] { Run(); });
    if (!submitted.ok()) End(submitted);
  }

 private:
  void Run() {
    absl::Status status = call_.Check();
    if (status.ok()) status = Work();
    End(status);
  }

  absl::Status Work() {
    try {
      return work_(call_);
    } catch (const std::exception& error) {
      call_.Log("rpc").Error("handler threw", {{"method", method_}, {"what", error.what()}});
      return absl::InternalError(absl::StrCat(method_, " failed unexpectedly; the log has the reason"));
    }
  }

  void End(const absl::Status& status) {
    runtime_.RecordCall(call_, method_, status, absl::Now() - start_);
    context_->AddTrailingMetadata(kRequestIdKey, call_.request_id());
    if (const auto delay = RetryAfter(status)) {
      context_->AddTrailingMetadata("retry-after-ms", absl::StrCat(absl::ToInt64Milliseconds(*delay)));
    }
    Finish(ToGrpcStatus(status));  // `this` may be gone from here on
  }

  void OnCancel() override { stop_.request_stop(); }
  void OnDone() override { delete this; }

  Runtime& runtime_;
  grpc::CallbackServerContext* const context_;
  const std::string method_;
  const std::function<absl::Status(const CallContext&)> work_;
  const absl::Time start_ = absl::Now();
  std::stop_source stop_;
  const CallContext call_;
};

}  // namespace

Runtime::Runtime(RuntimeOptions options)
    : metrics_(options.service),
      requests_total_(metrics_.Counter("requests_total", "RPCs that ended, by method and status code.")),
      request_duration_seconds_(
          metrics_.Histogram("request_duration_seconds",
                             "Time from a call's arrival to its status, queueing included, by method.")),
      executor_(options.executor) {}

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

}  // namespace nkiagent::rpc
