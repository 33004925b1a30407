#include "services/llm_gateway/call_queue.h"

#include <gtest/gtest.h>

#include <latch>
#include <string>
#include <vector>

#include "absl/time/clock.h"
#include "services/llm_gateway/test_util.h"

namespace nkiagent::llm_gateway {
namespace {

using TicketOr = absl::StatusOr<std::shared_ptr<CallQueue::Ticket>>;

class CallQueueTest : public ::testing::Test {
 protected:
  std::unique_ptr<EventLoop> loop_ = *EventLoop::Create();
};

TEST_F(CallQueueTest, ServesInOrderOfArrival) {
  CallQueue queue("m", 1, 10, loop_.get());
  std::vector<int> order;
  std::vector<std::shared_ptr<CallQueue::Ticket>> tickets(3);
  for (int i = 0; i < 3; ++i) {
    queue.Enter("", CallContext(), [&, i](TicketOr ticket) {
      order.push_back(i);
      tickets[i] = *std::move(ticket);
    });
  }
  EXPECT_EQ(order, std::vector<int>({0}));
  EXPECT_EQ(queue.waiting(), 2);
  tickets[0].reset();
  EXPECT_EQ(order, std::vector<int>({0, 1}));
  tickets[1].reset();
  tickets[2].reset();
  EXPECT_EQ(order, std::vector<int>({0, 1, 2}));
  EXPECT_EQ(queue.running(), 0);
}

TEST_F(CallQueueTest, SessionsTakeTurns) {
  CallQueue queue("m", 1, 100, loop_.get());
  std::shared_ptr<CallQueue::Ticket> held;
  queue.Enter("", CallContext(), [&](TicketOr ticket) { held = *std::move(ticket); });
  std::vector<std::string> order;
  const auto enter = [&](const std::string& session) {
    queue.Enter(session, CallContext(), [&, session](TicketOr ticket) {
      order.push_back(session);
      held = *std::move(ticket);
    });
  };
  // One session asks for much before two others ask for little.
  for (int i = 0; i < 4; ++i) enter("greedy");
  enter("b");
  enter("h");
  enter("b");
  EXPECT_EQ(queue.waiting(), 7);
  for (int i = 0; i < 7; ++i) {
    std::shared_ptr<CallQueue::Ticket> done = std::move(held);
    done.reset();
  }
  EXPECT_EQ(order, std::vector<std::string>({"b", "greedy", "h", "b", "greedy", "greedy", "greedy"}));
}

TEST_F(CallQueueTest, RefusesWhoFindsItFull) {
  CallQueue queue("m", 1, 0, loop_.get());
  std::shared_ptr<CallQueue::Ticket> held;
  queue.Enter("", CallContext(), [&](TicketOr ticket) { held = *std::move(ticket); });
  absl::Status status;
  queue.Enter("", CallContext(), [&](const TicketOr& ticket) { status = ticket.status(); });
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  held.reset();
  queue.Enter("", CallContext(), [&](const TicketOr& ticket) { status = ticket.status(); });
  EXPECT_TRUE(status.ok());
  EXPECT_EQ(queue.running(), 0);
}

TEST_F(CallQueueTest, ACallThatEndsWhileItWaitsLeavesTheQueue) {
  CallQueue queue("m", 1, 10, loop_.get());
  std::shared_ptr<CallQueue::Ticket> held;
  queue.Enter("", CallContext(), [&](TicketOr ticket) { held = *std::move(ticket); });

  Caller cancelled;
  absl::Status cancelled_status;
  queue.Enter("", cancelled.context(), [&](TicketOr ticket) { cancelled_status = ticket.status(); });
  cancelled.stop.request_stop();
  EXPECT_EQ(cancelled_status.code(), absl::StatusCode::kCancelled);

  Caller late;
  late.deadline = absl::Now() + absl::Milliseconds(5);
  std::latch done(1);
  absl::Status late_status;
  queue.Enter("", late.context(), [&](const TicketOr& ticket) {
    late_status = ticket.status();
    done.count_down();
  });
  done.wait();
  EXPECT_EQ(late_status.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(queue.waiting(), 0);
  held.reset();
  EXPECT_EQ(queue.running(), 0);
}

TEST_F(CallQueueTest, ACallThatWasCancelledBeforeItCameDoesNotStay) {
  CallQueue queue("m", 1, 10, loop_.get());
  std::shared_ptr<CallQueue::Ticket> held;
  queue.Enter("", CallContext(), [&](TicketOr ticket) { held = *std::move(ticket); });
  Caller caller;
  caller.stop.request_stop();
  int calls = 0;
  queue.Enter("", caller.context(), [&](const TicketOr&) { ++calls; });
  EXPECT_EQ(calls, 1);
  EXPECT_EQ(queue.waiting(), 0);
}

}  // namespace
}  // namespace nkiagent::llm_gateway
