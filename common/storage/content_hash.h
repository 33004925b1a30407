// Names for content: equal bytes have equal names. Any thread.
#ifndef COMMON_STORAGE_CONTENT_HASH_H_
#define COMMON_STORAGE_CONTENT_HASH_H_

#include <string>

#include "absl/strings/string_view.h"

namespace nkiagent::storage {

// Lower-case hex SHA-256 of `bytes`, 64 characters.
std::string Sha256Hex(absl::string_view bytes);

}  // namespace nkiagent::storage

#endif  // COMMON_STORAGE_CONTENT_HASH_H_
