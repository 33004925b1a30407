// Pieces of answers: counting those that pass, and making them of an answer that is there already.
#ifndef SERVICES_LLM_GATEWAY_PIECES_H_
#define SERVICES_LLM_GATEWAY_PIECES_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <utility>

#include "services/llm_gateway/provider.h"

namespace nkiagent::llm_gateway {

// Hands pieces on and counts them. Thread-safe as far as PieceSink is.
class CountingSink : public PieceSink {
 public:
  explicit CountingSink(std::shared_ptr<PieceSink> next) : next_(std::move(next)) {}

  bool Take(nkiagent::llm::v1::ContentDelta piece) override {
    bytes_ += static_cast<int64_t>(piece.ByteSizeLong());
    return next_->Take(std::move(piece));
  }
  void WhenRoom(std::function<void()> resume) override { next_->WhenRoom(std::move(resume)); }

  // Of all pieces so far, as messages.
  int64_t bytes() const { return bytes_; }

 private:
  const std::shared_ptr<PieceSink> next_;
  std::atomic<int64_t> bytes_{0};
};

// Sends a whole message as pieces, one or two for each block. Encrypted reasoning has none.
inline void SendPieces(const nkiagent::llm::v1::Message& message, PieceSink* sink) {
  for (int i = 0; i < message.content_size(); ++i) {
    const nkiagent::llm::v1::ContentBlock& block = message.content(i);
    nkiagent::llm::v1::ContentDelta piece;
    piece.set_block_index(i);
    if (block.has_text()) piece.set_text(block.text());
    if (block.has_thinking() && !block.thinking().text().empty()) piece.set_thinking(block.thinking().text());
    if (block.has_tool_call()) {
      nkiagent::llm::v1::ContentDelta start;
      start.set_block_index(i);
      start.mutable_tool_call_start()->set_id(block.tool_call().id());
      start.mutable_tool_call_start()->set_name(block.tool_call().name());
      sink->Take(std::move(start));
      piece.set_arguments_json(block.tool_call().arguments_json());
    }
    if (piece.delta_case() != nkiagent::llm::v1::ContentDelta::DELTA_NOT_SET) sink->Take(std::move(piece));
  }
}

}  // namespace nkiagent::llm_gateway

#endif  // SERVICES_LLM_GATEWAY_PIECES_H_
