// Parsers of streams, on input that no provider would send.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "services/llm_gateway/aws/event_stream.h"
#include "services/llm_gateway/codec.h"
#include "services/llm_gateway/stream/answer_builder.h"
#include "services/llm_gateway/stream/sse_parser.h"

namespace nkiagent::llm_gateway {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;

using Events = std::vector<std::pair<std::string, std::string>>;

Events ParseInPieces(const std::string& text, size_t piece) {
  SseParser parser;
  Events events;
  for (size_t at = 0; at < text.size(); at += piece) {
    const absl::Status status =
        parser.Feed(text.substr(at, piece), [&](absl::string_view name, absl::string_view data) {
          events.emplace_back(name, data);
          return absl::OkStatus();
        });
    EXPECT_TRUE(status.ok()) << status;
  }
  return events;
}

TEST(SseParser, ReadsTheStandardsFormsHoweverTheyAreCut) {
  const std::string text =
      "\xEF\xBB\xBF"
      ": comment\n\n"
      "data: one\n\n"
      "event: named\r\ndata:two\r\ndata:  three\r\n\r\n"
      "data\rid: 7\rretry: 10\r\r"
      "event: without data\n\n"
      "unknown: field\ndata: four:5\n\n"
      "data: not ended";
  for (const size_t piece : {size_t{1}, size_t{2}, size_t{3}, size_t{7}, text.size()}) {
    EXPECT_THAT(ParseInPieces(text, piece), ElementsAre(Pair("message", "one"), Pair("named", "two\n three"),
                                                        Pair("message", ""), Pair("message", "four:5")))
        << piece;
  }
}

TEST(SseParser, RefusesAnEventThatDoesNotEnd) {
  SseParser parser(1000);
  const auto ignore = [](absl::string_view, absl::string_view) { return absl::OkStatus(); };
  absl::Status status;
  int fed = 0;
  for (; status.ok() && fed < 100; ++fed) status = parser.Feed(std::string(100, 'x'), ignore);
  EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
  EXPECT_EQ(fed, 11);
  SseParser lines(1000);
  for (fed = 0, status = {}; status.ok() && fed < 1000; ++fed)
    status = lines.Feed("data: 0123456789\n", ignore);
  EXPECT_THAT(std::string(status.message()), HasSubstr("larger than 1000"));
}

TEST(EventStreamParser, RefusesLengthsThatCanNotBe) {
  const auto ignore = [](const aws::EventMessage&) { return absl::OkStatus(); };
  // A message of AWS's own tests (aws-c-event-stream, message_deserializer_test.c): no headers, no payload.
  const std::string empty("\x00\x00\x00\x10\x00\x00\x00\x00\x05\xc2\x48\xeb\x7d\x98\xc8\xff", 16);
  aws::EventStreamParser good;
  int messages = 0;
  for (const char byte : empty) {
    ASSERT_TRUE(good.Feed(absl::string_view(&byte, 1),
                          [&](const aws::EventMessage& message) {
                            ++messages;
                            EXPECT_TRUE(message.payload.empty());
                            return absl::OkStatus();
                          })
                    .ok());
  }
  EXPECT_EQ(messages, 1);
  EXPECT_TRUE(good.between_messages());
  std::string flipped = empty;
  flipped[15] ^= 1;
  EXPECT_THAT(std::string(aws::EventStreamParser().Feed(flipped, ignore).message()), HasSubstr("checksum"));
  flipped = empty;
  flipped[3] = 0x11;
  EXPECT_THAT(std::string(aws::EventStreamParser().Feed(flipped, ignore).message()), HasSubstr("prelude"));
}

struct Hostile {
  const char* provider;
  const char* stream;
};

TEST(StreamDecoders, TakeHostileEventsAsErrors) {
  const Hostile cases[] = {
      {"anthropic",
       "data: [1]\n\ndata: {\"type\":\"content_block_delta\",\"index\":0,"
       "\"delta\":{\"type\":\"text_delta\",\"text\":\"a\"}}\n\n"
       "data: {\"type\":\"content_block_delta\",\"index\":0,"
       "\"delta\":{\"type\":\"thinking_delta\",\"thinking\":\"a\"}}\n\n"},
      {"anthropic",
       "data: {\"type\":\"content_block_start\",\"index\":0,"
       "\"content_block\":{\"type\":\"tool_use\",\"name\":\"x\"}}\n\n"},
      {"anthropic", "data: \xff\n\n"},
      {"openai", "data: 7\n\n"},
      {"openai", "data: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":0}]}}]}\n\n"},
      {"openai",
       "data: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":-3,"
       "\"function\":{\"name\":\"a\"}}]}}]}\n\n"},
      {"openai", "data: {\"choices\":[{\"delta\":{\"content\":\"\\ud800\"}}]}\n\n"},
      {"bedrock", "HTTP/1.1 200 OK, and then some text"},
  };
  for (const Hostile& test : cases) {
    const std::unique_ptr<Codec> codec = MakeCodec(test.provider);
    const GenerateRequest request;
    StreamDecoder::Deltas deltas;
    const absl::Status status = codec->NewStream(request)->Feed(test.stream, &deltas);
    EXPECT_EQ(status.code(), absl::StatusCode::kInternal) << test.provider << ": " << test.stream;
  }
}

TEST(AnswerBuilder, BoundsTheNumberOfBlocks) {
  AnswerBuilder builder;
  AnswerBuilder::Deltas deltas;
  int64_t key = 0;
  absl::Status status;
  while (status.ok() && key < 5000) status = builder.Text(key++, "x", &deltas);
  EXPECT_THAT(std::string(status.message()), HasSubstr("more than 1024 blocks"));
}

}  // namespace
}  // namespace nkiagent::llm_gateway
