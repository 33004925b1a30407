// A GET request, for the metrics endpoints of services under test.
#ifndef TESTS_SUPPORT_HTTP_GET_H_
#define TESTS_SUPPORT_HTTP_GET_H_

#include <string>

#include "absl/status/statusor.h"

namespace nkiagent::testing {

// The body of the answer, whatever its status. UNAVAILABLE: no answer within 10 s.
absl::StatusOr<std::string> HttpGet(const std::string& url);

}  // namespace nkiagent::testing

#endif  // TESTS_SUPPORT_HTTP_GET_H_
