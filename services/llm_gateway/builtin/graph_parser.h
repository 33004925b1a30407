// Reads the text form of a reference graph ("graph nki.graph.v1 …"). The text is hostile: every size is
// bounded, and what is wrong is told with its line.
#ifndef SERVICES_LLM_GATEWAY_BUILTIN_GRAPH_PARSER_H_
#define SERVICES_LLM_GATEWAY_BUILTIN_GRAPH_PARSER_H_

#include <cstddef>
#include <cstdint>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "services/llm_gateway/builtin/graph.h"

namespace nkiagent::builtin {

// Bounds of what is read. A Transformer layer has some 60 nodes and 8 KiB of text.
struct GraphLimits {
  size_t max_text_bytes = size_t{1} << 20;
  size_t max_lines = 4096;
  size_t max_nesting = 8;
  size_t max_list_entries = 4096;
  size_t max_rank = 8;  // intermediates; kernel arguments have at most 5 axes
  int64_t max_tensor_elements = int64_t{1} << 32;
};

// The graph of `text`, or INVALID_ARGUMENT naming the line. Guarantees: names are unique, every reference
// names a placeholder, a constant or an earlier node, and there is at least one returned value.
absl::StatusOr<Graph> ParseGraph(absl::string_view text, const GraphLimits& limits = {});

}  // namespace nkiagent::builtin

#endif  // SERVICES_LLM_GATEWAY_BUILTIN_GRAPH_PARSER_H_
