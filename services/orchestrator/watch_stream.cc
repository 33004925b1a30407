#include "services/orchestrator/watch_stream.h"

#include <algorithm>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/rpc/status.h"

namespace nkiagent::orchestrator {
namespace {

// Where a stream's events come from.
template <class Event>
struct Source {
  std::function<absl::StatusOr<WatchHub::Subscription>(std::function<void()> changed)> watch;
  std::function<absl::StatusOr<EventBatch<Event>>(int64_t from_sequence)> read;
};

// The logic of a stream, shared by its reactor and by the hub's callback, which may come after the reactor is
// gone.
//
// One thread at a time holds `busy_` and is the only one to touch the reactor; the hold passes to gRPC with
// StartWrite and comes back with OnWriteDone. Finish is called by the holder, who then never lets go, so
// nobody touches a dead reactor. No lock is held while gRPC is called, since its reactions may run on the
// calling thread.
template <class Response, class Event>
class Stream : public std::enable_shared_from_this<Stream<Response, Event>> {
 public:
  Stream(rpc::Runtime& runtime, Source<Event> source, int64_t from_sequence,
         grpc::ServerWriteReactor<Response>* reactor)
      : runtime_(runtime),
        source_(std::move(source)),
        next_sequence_(std::max<int64_t>(1, from_sequence)),
        reactor_(reactor) {
    if (from_sequence < 0) {
      end_ = absl::InvalidArgumentError(
          absl::StrCat("from_sequence is ", from_sequence, "; it can't be negative"));
    }
  }

  // Called once, by the reactor's constructor, which is the first holder.
  void Start() {
    absl::StatusOr<WatchHub::Subscription> subscription =
        source_.watch([self = this->shared_from_this()] { self->Changed(); });
    if (subscription.ok()) {
      subscription_ = *std::move(subscription);
    } else {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (!end_) end_ = subscription.status();
    }
    Step();
  }

  // There may be new events, or the service drains.
  void Changed() {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      dirty_ = true;
      if (busy_) return;
      busy_ = true;
    }
    // The thread that stores events must not wait for watchers. With no thread free it reads for them after
    // all: better late than never.
    if (!runtime_.executor().Submit([self = this->shared_from_this()] { self->Step(); }).ok()) Step();
  }

  void WriteDone(bool ok) {
    if (!ok) {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (!end_) end_ = absl::CancelledError("the watcher is gone");
    }
    Step();
  }

  void Cancelled() {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (!end_) end_ = absl::CancelledError("the watcher is gone");
      if (busy_) return;
      busy_ = true;
    }
    Step();
  }

  // The reactor is done: the subscription, which holds this object, ends. Returns how the stream ended.
  absl::Status Done() {
    subscription_ = WatchHub::Subscription();
    const std::lock_guard<std::mutex> lock(mutex_);
    return end_.value_or(absl::OkStatus());
  }

 private:
  // Runs by the holder until there is nothing to do, a write is under way, or the stream is finished.
  void Step() {
    while (true) {
      std::optional<absl::Status> end;
      {
        const std::lock_guard<std::mutex> lock(mutex_);
        if (!end_ && runtime_.draining().stop_requested()) {
          end_ = absl::UnavailableError(
              "the orchestrator is draining; watch again from the next sequence number");
        }
        end = end_;
        if (!end && buffer_.empty()) {
          if (!dirty_) {
            busy_ = false;
            return;
          }
          dirty_ = false;
        }
      }
      if (end) {
        reactor_->Finish(rpc::ToGrpcStatus(*end));
        return;
      }
      if (!buffer_.empty()) {
        message_.mutable_event()->Swap(&buffer_.front());
        buffer_.pop_front();
        reactor_->StartWrite(&message_);
        return;
      }
      Read();
    }
  }

  void Read() {
    absl::StatusOr<EventBatch<Event>> batch = source_.read(next_sequence_);
    const std::lock_guard<std::mutex> lock(mutex_);
    if (!batch.ok()) {
      end_ = batch.status();
      return;
    }
    if (batch->events.empty()) {
      if (batch->ended) end_ = absl::OkStatus();
      return;
    }
    for (Event& event : batch->events) {
      next_sequence_ = event.sequence() + 1;
      buffer_.push_back(std::move(event));
    }
    dirty_ = true;  // there may be more, or the end to find
  }

  rpc::Runtime& runtime_;
  const Source<Event> source_;
  // Of the holder.
  int64_t next_sequence_;
  grpc::ServerWriteReactor<Response>* const reactor_;
  std::deque<Event> buffer_;
  Response message_;
  WatchHub::Subscription subscription_;

  std::mutex mutex_;
  bool busy_ = true;
  bool dirty_ = true;
  std::optional<absl::Status> end_;
};

template <class Response, class Event>
class StreamReactor final : public grpc::ServerWriteReactor<Response> {
 public:
  StreamReactor(rpc::Runtime& runtime, const char* method, grpc::CallbackServerContext* context,
                Source<Event> source, int64_t from_sequence)
      : runtime_(runtime),
        method_(method),
        call_(rpc::CallContext::FromServer(*context, {})),
        stream_(std::make_shared<Stream<Response, Event>>(runtime, std::move(source), from_sequence, this)) {
    stream_->Start();
  }

  void OnWriteDone(bool ok) override { stream_->WriteDone(ok); }
  void OnCancel() override { stream_->Cancelled(); }
  void OnDone() override {
    runtime_.RecordCall(call_, method_, stream_->Done(), absl::Now() - start_);
    delete this;
  }

 private:
  rpc::Runtime& runtime_;
  const char* const method_;
  const rpc::CallContext call_;
  const absl::Time start_ = absl::Now();
  const std::shared_ptr<Stream<Response, Event>> stream_;
};

// The events of `id` in a manager of sessions or of runs. OnDone deletes the reactor.
template <class Response, class Event, class Manager>
grpc::ServerWriteReactor<Response>* Start(rpc::Runtime& runtime, const char* method, Manager& manager,
                                          grpc::CallbackServerContext* context, const std::string& id,
                                          int64_t from_sequence) {
  Source<Event> source{
      [&manager, id](std::function<void()> changed) { return manager.Watch(id, std::move(changed)); },
      [&manager, id](int64_t from) { return manager.ReadEvents(id, from); }};
  return new StreamReactor<Response, Event>(runtime, method, context, std::move(source), from_sequence);
}

}  // namespace

grpc::ServerWriteReactor<v1::WatchSessionResponse>* StartWatchStream(rpc::Runtime& runtime,
                                                                     SessionManager& manager,
                                                                     grpc::CallbackServerContext* context,
                                                                     const v1::WatchSessionRequest& request) {
  return Start<v1::WatchSessionResponse, v1::SessionEvent>(runtime, "WatchSession", manager, context,
                                                           request.session_id(), request.from_sequence());
}

grpc::ServerWriteReactor<v1::WatchRunResponse>* StartWatchStream(rpc::Runtime& runtime, RunManager& manager,
                                                                 grpc::CallbackServerContext* context,
                                                                 const v1::WatchRunRequest& request) {
  return Start<v1::WatchRunResponse, v1::RunEvent>(runtime, "WatchRun", manager, context, request.run_id(),
                                                   request.from_sequence());
}

}  // namespace nkiagent::orchestrator
