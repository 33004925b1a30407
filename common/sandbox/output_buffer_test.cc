#include "common/sandbox/output_buffer.h"

#include <fcntl.h>
#include <unistd.h>

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace nkiagent::sandbox {
namespace {

class OutputBufferTest : public ::testing::Test {
 protected:
  void SetUp() override {
    int ends[2];
    ASSERT_EQ(pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
    read_end_.reset(ends[0]);
    write_end_.reset(ends[1]);
  }
  // Writes `text` through the pipe in parts that fit.
  void Feed(const std::string& text, uint64_t limit = UINT64_MAX) {
    for (size_t done = 0; done < text.size();) {
      const ssize_t n =
          write(write_end_.get(), text.data() + done, std::min<size_t>(text.size() - done, 32768));
      ASSERT_GT(n, 0);
      done += static_cast<size_t>(n);
      buffer_.ReadFrom(read_end_.get(), limit);
    }
  }
  std::string Text() { return OutputBuffer::Assemble(buffer_.fd(), buffer_.total_bytes()); }

  UniqueFd read_end_;
  UniqueFd write_end_;
  OutputBuffer buffer_;
};

std::string Numbers(size_t bytes) {
  std::string text;
  for (int i = 0; text.size() < bytes; ++i) {
    text += std::to_string(i) + "\n";
  }
  text.resize(bytes);
  return text;
}

TEST_F(OutputBufferTest, KeepsEverythingUpToHeadPlusTail) {
  for (size_t size :
       {size_t{10}, kOutputHeadBytes, kOutputHeadBytes + 1, kOutputHeadBytes + kOutputTailBytes}) {
    buffer_ = OutputBuffer();
    const std::string text = Numbers(size);
    Feed(text);
    EXPECT_EQ(Text(), text) << size;
  }
}

TEST_F(OutputBufferTest, LeavesOutTheMiddleAndSaysHowMuch) {
  const std::string text = Numbers(500'000);
  Feed(text);
  EXPECT_EQ(Text(), text.substr(0, kOutputHeadBytes) + "\n... " +
                        std::to_string(text.size() - kOutputHeadBytes - kOutputTailBytes) +
                        " bytes left out ...\n" + text.substr(text.size() - kOutputTailBytes));
}

TEST_F(OutputBufferTest, TellsWhenThePipeHasNoWriter) {
  EXPECT_TRUE(buffer_.ReadFrom(read_end_.get(), 100));
  write_end_.reset();
  EXPECT_FALSE(buffer_.ReadFrom(read_end_.get(), 100));
  EXPECT_EQ(buffer_.fd(), -1);
}

}  // namespace
}  // namespace nkiagent::sandbox
