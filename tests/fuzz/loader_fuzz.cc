// Any bytes are refused or make a valid program, which survives a round trip and can be printed.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "absl/strings/string_view.h"
#include "common/nki/ir/print.h"
#include "common/nki/ir/serialize.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  namespace ir = nkiagent::nki::ir;
  const auto program = ir::Parse({reinterpret_cast<const char*>(data), size});
  if (!program.ok()) return 0;
  const std::string bytes = ir::Serialize(*program);
  const auto again = ir::Parse(bytes);
  if (!again.ok() || ir::Serialize(*again) != bytes) std::abort();
  if (ir::ToString(*program).empty()) std::abort();
  return 0;
}
