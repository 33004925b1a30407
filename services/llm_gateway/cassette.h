// Cassettes: recorded conversations, one exchange in each line of a JSONL file.
//
//   {"version": 1, "request_hash": "<sha-256>", "request": {...}, "response": {...}}
//
// Request and response are the proto's JSON form. The hash covers what a model gets to see: system prompt,
// messages, tools, tool choice and sampling; not the model's name, nor ids of calls and sessions. Keys, and
// what looks like one, are redacted in all of it, and a request is compared in its redacted form.
#ifndef SERVICES_LLM_GATEWAY_CASSETTE_H_
#define SERVICES_LLM_GATEWAY_CASSETTE_H_

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "nkiagent/llm/v1/llm_service.pb.h"

namespace nkiagent::llm_gateway {

struct Exchange {
  std::string request_hash;
  nkiagent::llm::v1::GenerateRequest request;
  nkiagent::llm::v1::GenerateResponse response;
};

// The part of a request that a model gets to see.
nkiagent::llm::v1::GenerateRequest VisiblePart(const nkiagent::llm::v1::GenerateRequest& request);

// Lower-case hex SHA-256 of that part, redacted.
std::string RequestHash(const nkiagent::llm::v1::GenerateRequest& request);

// One line of a cassette, with its newline. `secrets` are redacted wherever they stand.
std::string FormatExchange(const nkiagent::llm::v1::GenerateRequest& request,
                           const nkiagent::llm::v1::GenerateResponse& response,
                           const std::vector<std::string>& secrets = {});

// Reads a cassette. NOT_FOUND: no such file. INVALID_ARGUMENT names the line that is no exchange, or whose
// hash is not that of its request; or a file over 256 MiB.
absl::StatusOr<std::vector<Exchange>> ReadCassette(const std::string& path);

// Where two requests first differ, for a reader: the path to the field and an excerpt of both sides from the
// difference on. Empty when their visible parts are equal.
std::string FirstDifference(const nkiagent::llm::v1::GenerateRequest& expected,
                            const nkiagent::llm::v1::GenerateRequest& actual);

// Appends exchanges to cassettes in one folder, one file for each session. Thread-safe.
class Recorder {
 public:
  // `folder` exists. `secrets` gives what must not be recorded; null: nothing but what looks like a key.
  explicit Recorder(std::string folder, std::function<std::vector<std::string>()> secrets = nullptr)
      : folder_(std::move(folder)), secrets_(std::move(secrets)) {}

  // Appends to <folder>/<session id>.jsonl, characters other than [A-Za-z0-9_.-] replaced by '_'; without a
  // session id to <folder>/no-session.jsonl. UNAVAILABLE when it can't be written. A line is written whole or
  // not at all.
  absl::Status Record(const nkiagent::llm::v1::GenerateRequest& request,
                      const nkiagent::llm::v1::GenerateResponse& response);

 private:
  const std::string folder_;
  const std::function<std::vector<std::string>()> secrets_;
  std::mutex mutex_;  // one writer at a time, so that lines don't mix
};

}  // namespace nkiagent::llm_gateway

#endif  // SERVICES_LLM_GATEWAY_CASSETTE_H_
