// Integer arithmetic that saturates instead of overflowing, for numbers of programs nobody has looked at yet:
// a valid program's own numbers are bounded (validate.h), their products are not.
#ifndef NKIAGENT_COMMON_NKI_IR_SATURATE_H_
#define NKIAGENT_COMMON_NKI_IR_SATURATE_H_

#include <algorithm>
#include <cstdint>

namespace nkiagent::nki::ir {

__extension__ using Wide = __int128;

inline constexpr int64_t kSaturated = int64_t{1} << 62;

constexpr int64_t Saturate(Wide v) {
  return static_cast<int64_t>(std::clamp<Wide>(v, -kSaturated, kSaturated));
}
constexpr int64_t SaturatingAdd(int64_t a, int64_t b) { return Saturate(Wide{a} + b); }
constexpr int64_t SaturatingMul(int64_t a, int64_t b) { return Saturate(Wide{a} * b); }

}  // namespace nkiagent::nki::ir

#endif  // NKIAGENT_COMMON_NKI_IR_SATURATE_H_
