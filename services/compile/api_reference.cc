#include "services/compile/api_reference.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/contract/clean_text.h"
#include "common/storage/content_hash.h"
#include "services/compile/compile_request.h"

namespace nkiagent::compile {
namespace {

using nlohmann::json;

// What the contract allows an answer to hold.
constexpr size_t kMaxTextBytes = 4096;
constexpr size_t kMaxSimilar = 8;
// A look-up imports nothing and computes little.
constexpr absl::Duration kWallLimit = absl::Seconds(5);

absl::StatusOr<v1::LookupApiResponse> Parse(const std::string& reply) {
  const json answer = json::parse(reply, /*cb=*/nullptr, /*allow_exceptions=*/false);
  const auto text = [&](const json& value) {
    return contract::CleanText(value.get<std::string>(), kMaxTextBytes);
  };
  if (!answer.is_object() || !answer.value("found", json()).is_boolean() ||
      !answer.value("full_name", json()).is_string() || !answer.value("text", json()).is_string() ||
      !answer.value("similar", json()).is_array()) {
    return absl::InternalError("the trace role answered a look-up with something else");
  }
  v1::LookupApiResponse response;
  response.set_found(answer["found"].get<bool>());
  response.set_full_name(text(answer["full_name"]));
  response.set_text(text(answer["text"]));
  for (const json& name : answer["similar"]) {
    if (name.is_string() && static_cast<size_t>(response.similar_names_size()) < kMaxSimilar)
      response.add_similar_names(text(name));
  }
  return response;
}

}  // namespace

absl::StatusOr<v1::LookupApiResponse> ApiReference::Lookup(const rpc::CallContext& call,
                                                           const v1::LookupApiRequest& request) {
  if (request.name().empty() || request.name().size() > kMaxApiNameBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("name has ", request.name().size(), " bytes; 1 to ", kMaxApiNameBytes, " are allowed"));
  }
  const std::string sdk = SdkName(request.target());
  if (sdk.empty() || TargetName(request.target()).empty()) {
    return absl::InvalidArgumentError("target names hardware or an SDK that this toolchain does not know");
  }
  const std::string key = absl::StrCat(
      "api-", storage::Sha256Hex(absl::StrCat(toolchain_.version(), "\n", toolchain_.commit(), "\n",
                                              toolchain_.table_version(), "\n", sdk, "\n", request.name())));
  v1::LookupApiResponse response;
  if (const auto stored = store_.Get(key); stored != nullptr && response.ParseFromString(*stored))
    return response;

  const std::string payload = json({{"lookup", request.name()}, {"sdk", sdk}}).dump();
  sandbox::Request child;
  child.payload = payload;
  child.wall_limit = std::min(kWallLimit, call.Remaining());
  child.max_reply_bytes = size_t{1} << 20;
  child.limits.address_space_bytes = uint64_t{4} << 30;
  child.limits.cpu_seconds = static_cast<uint64_t>(absl::ToInt64Seconds(kWallLimit));
  child.limits.output_bytes = uint64_t{1} << 20;
  absl::StatusOr<sandbox::Outcome> outcome = trace_(child, call);
  if (!outcome.ok()) return outcome.status();
  if (!outcome->ok()) {
    return absl::InternalError(
        absl::StrCat("looking up '", request.name(), "' ended as ", sandbox::OutcomeKindName(outcome->kind)));
  }
  absl::StatusOr<v1::LookupApiResponse> answer = Parse(outcome->reply);
  if (answer.ok()) store_.Put(key, answer->SerializeAsString());
  return answer;
}

}  // namespace nkiagent::compile
