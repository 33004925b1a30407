// The mutator of every target: half of the time a program is changed as a program, else libFuzzer changes its
// bytes.
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/nki/ir/serialize.h"
#include "tests/fuzz/mutate.h"

extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t max_size);

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size, unsigned int seed) {
  nkiagent::fuzz::Rng rng(seed);
  if (rng() % 8 == 0) return LLVMFuzzerMutate(data, size, max_size);
  const auto parsed = nkiagent::nki::ir::Parse({reinterpret_cast<const char*>(data), size});
  if (!parsed.ok()) return LLVMFuzzerMutate(data, size, max_size);
  // Most changes break a rule: try a few, take the first that stays valid, or the last one.
  std::string bytes;
  for (int attempt = 0; attempt < 6; ++attempt) {
    auto program = nkiagent::nki::ir::Parse({reinterpret_cast<const char*>(data), size});
    nkiagent::fuzz::Mutate(&*program, rng);
    bytes = nkiagent::nki::ir::Serialize(*program);
    if (bytes.size() <= max_size && nkiagent::nki::ir::Parse(bytes).ok()) break;
  }
  if (bytes.size() > max_size) return LLVMFuzzerMutate(data, size, max_size);
  std::memcpy(data, bytes.data(), bytes.size());
  return bytes.size();
}
