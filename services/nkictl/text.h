// Plain text for people: tables and numbers. Pure functions, but for Print().
#ifndef SERVICES_NKICTL_TEXT_H_
#define SERVICES_NKICTL_TEXT_H_

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "google/protobuf/duration.pb.h"
#include "google/protobuf/message.h"
#include "google/protobuf/timestamp.pb.h"

namespace nkiagent::nkictl {

// Rows under a header, columns padded to their widest cell, two spaces between them. Cells are one line of
// text.
std::string Table(const std::vector<std::string>& header, const std::vector<std::vector<std::string>>& rows);

// Pairs of name and value, one a line, values aligned.
std::string Facts(const std::vector<std::pair<std::string, std::string>>& facts);

// "0.034 s".
std::string Seconds(double seconds);
std::string Seconds(const google::protobuf::Duration& duration);
// "12.3 us", "1.20 ms".
std::string Microseconds(double us);
// "$0.0123" for 12300.
std::string Dollars(int64_t micro_usd);
// "2026-01-31 12:00:00" in UTC; "-" for an absent time.
std::string Time(const google::protobuf::Timestamp& time);

double ToSeconds(const google::protobuf::Duration& duration);
double ToSeconds(const google::protobuf::Timestamp& time);

// "passed" for SESSION_STATE_PASSED with the prefix "SESSION_STATE_".
std::string EnumText(const std::string& name, const std::string& prefix);

// A message as one line of JSON, fields named as in the contract.
std::string Json(const google::protobuf::Message& message);
// The same as a value.
nlohmann::json JsonValue(const google::protobuf::Message& message);

// Writes to stdout at once.
void Print(const std::string& text);

}  // namespace nkiagent::nkictl

#endif  // SERVICES_NKICTL_TEXT_H_
