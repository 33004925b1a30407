#include "services/llm_gateway/llm_handler.h"

#include <algorithm>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <stop_token>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/rpc/status.h"

namespace nkiagent::llm_gateway {
namespace {

namespace llm = nkiagent::llm::v1;

// Pieces that wait to be sent, in bytes; beyond this the model is made to wait.
constexpr size_t kMaxWaitingBytes = 64 << 10;

// Whether `piece` goes on where `last` ends; then it has been added to it.
bool Join(llm::ContentDelta* last, const llm::ContentDelta& piece) {
  if (last->block_index() != piece.block_index() || last->delta_case() != piece.delta_case()) return false;
  switch (piece.delta_case()) {
    case llm::ContentDelta::kText:
      last->mutable_text()->append(piece.text());
      return true;
    case llm::ContentDelta::kThinking:
      last->mutable_thinking()->append(piece.thinking());
      return true;
    case llm::ContentDelta::kArgumentsJson:
      last->mutable_arguments_json()->append(piece.arguments_json());
      return true;
    default:
      return false;
  }
}

// One streamed answer on its way to the caller. Owns itself until gRPC is done with it; the gateway may hold
// it for longer, as the sink of pieces.
class StreamCall final : public grpc::ServerWriteReactor<llm::StreamGenerateResponse>,
                         public PieceSink,
                         public std::enable_shared_from_this<StreamCall> {
 public:
  StreamCall(rpc::Runtime& runtime, grpc::CallbackServerContext* context)
      : runtime_(runtime),
        context_(context),
        call_(rpc::CallContext::FromServer(*context, stop_.get_token())) {
    runtime_.CallStarted();
  }
  ~StreamCall() override { runtime_.CallEnded(); }

  void Start(Gateway& gateway, const llm::StreamGenerateRequest& request) {
    self_ = shared_from_this();
    if (runtime_.draining().stop_requested())
      return End(absl::UnavailableError("the service is draining; try another replica"));
    gateway.Stream(std::make_shared<const GenerateRequest>(request.request()), call_, shared_from_this(),
                   [self = shared_from_this()](absl::StatusOr<GenerateResponse> result) {
                     if (result.ok()) self->Push(*std::move(result));
                     self->End(result.status());
                   });
  }

  bool Take(llm::ContentDelta piece) override {
    std::unique_lock lock(mutex_);
    if (finished_ || gone_) return true;
    waiting_bytes_ += piece.ByteSizeLong();
    if (waiting_.empty() || !waiting_.back().has_delta() || !Join(waiting_.back().mutable_delta(), piece)) {
      *waiting_.emplace_back().mutable_delta() = std::move(piece);
    }
    const bool room = waiting_bytes_ < kMaxWaitingBytes;
    WriteNext(std::move(lock));
    return room;
  }

  void WhenRoom(std::function<void()> resume) override {
    {
      const std::lock_guard lock(mutex_);
      if (!finished_ && waiting_bytes_ >= kMaxWaitingBytes) {
        resume_ = std::move(resume);
        return;
      }
    }
    resume();
  }

 private:
  void OnWriteDone(bool ok) override {
    const auto self = shared_from_this();  // OnDone may come before this has returned
    std::function<void()> resume;
    std::unique_lock lock(mutex_);
    writing_ = false;
    // A write that failed means that the caller is gone, so the rest is for nobody.
    if (!ok) Drop();
    if (waiting_bytes_ < kMaxWaitingBytes) resume = std::exchange(resume_, nullptr);
    WriteNext(std::move(lock));
    if (!ok) stop_.request_stop();
    if (resume) resume();
  }

  void OnCancel() override {
    std::function<void()> resume;
    {
      const std::lock_guard lock(mutex_);
      resume = std::exchange(resume_, nullptr);
    }
    stop_.request_stop();
    if (resume) resume();
  }

  void OnDone() override {
    const std::shared_ptr<StreamCall> self = std::move(self_);  // deletes this, unless the gateway holds it
  }

  void Push(llm::GenerateResponse response) {
    std::unique_lock lock(mutex_);
    if (gone_) return;
    *waiting_.emplace_back().mutable_response() = std::move(response);
    WriteNext(std::move(lock));
  }

  void End(const absl::Status& status) {
    runtime_.RecordCall(call_, "StreamGenerate", status, absl::Now() - start_);
    std::unique_lock lock(mutex_);
    context_->AddTrailingMetadata(rpc::kRequestIdKey, call_.request_id());
    if (const auto delay = rpc::RetryAfter(status))
      context_->AddTrailingMetadata("retry-after-ms", absl::StrCat(absl::ToInt64Milliseconds(*delay)));
    finished_ = true;
    status_ = rpc::ToGrpcStatus(status);
    if (!status_.ok()) Drop();
    WriteNext(std::move(lock));
  }

  // Forgets what waits. Under the mutex.
  void Drop() {
    gone_ = true;
    waiting_.clear();
    waiting_bytes_ = 0;
  }

  // Sends the next piece, or the status after the last, if there is none under way. Gives the mutex back
  // first, since gRPC may call OnWriteDone at once.
  void WriteNext(std::unique_lock<std::mutex> lock) {
    if (writing_ || done_) return;
    if (!waiting_.empty()) {
      writing_ = true;
      current_ = std::move(waiting_.front());
      waiting_.pop_front();
      if (current_.has_delta()) {
        const size_t bytes = current_.delta().ByteSizeLong();
        // Joined pieces are a little smaller than their sum.
        waiting_bytes_ = waiting_.empty() ? 0 : waiting_bytes_ - std::min(waiting_bytes_, bytes);
      }
      lock.unlock();
      StartWrite(&current_);
      return;
    }
    if (!finished_) return;
    done_ = true;
    lock.unlock();
    Finish(status_);
  }

  rpc::Runtime& runtime_;
  grpc::CallbackServerContext* const context_;
  const absl::Time start_ = absl::Now();
  std::stop_source stop_;
  const rpc::CallContext call_;
  std::shared_ptr<StreamCall> self_;

  std::mutex mutex_;  // guards all that follows
  std::deque<llm::StreamGenerateResponse> waiting_;
  size_t waiting_bytes_ = 0;  // of deltas
  llm::StreamGenerateResponse current_;
  bool writing_ = false;
  bool gone_ = false;      // nobody reads any more
  bool finished_ = false;  // nothing more will be made
  bool done_ = false;      // Finish was called
  grpc::Status status_;
  std::function<void()> resume_;
};

}  // namespace

grpc::ServerUnaryReactor* LlmHandler::Generate(grpc::CallbackServerContext* context,
                                               const llm::GenerateRequest* request,
                                               llm::GenerateResponse* response) {
  return rpc::RunUnaryAsync(
      runtime_, context, "Generate",
      [=, this](const rpc::CallContext& call, std::function<void(const absl::Status&)> done) {
        gateway_.Generate(*request, call, [=](absl::StatusOr<llm::GenerateResponse> result) {
          if (result.ok()) *response = *std::move(result);
          done(result.status());
        });
      });
}

grpc::ServerWriteReactor<llm::StreamGenerateResponse>* LlmHandler::StreamGenerate(
    grpc::CallbackServerContext* context, const llm::StreamGenerateRequest* request) {
  const auto call = std::make_shared<StreamCall>(runtime_, context);
  call->Start(gateway_, *request);
  return call.get();
}

grpc::ServerUnaryReactor* LlmHandler::ListModels(grpc::CallbackServerContext* context,
                                                 const llm::ListModelsRequest*,
                                                 llm::ListModelsResponse* response) {
  return rpc::RunUnary(runtime_, context, "ListModels", [=, this](const rpc::CallContext&) {
    for (llm::Model& model : gateway_.ListModels()) *response->add_models() = std::move(model);
    return absl::OkStatus();
  });
}

}  // namespace nkiagent::llm_gateway
