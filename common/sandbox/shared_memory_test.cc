#include "common/sandbox/shared_memory.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "gtest/gtest.h"

namespace nkiagent::sandbox {
namespace {

TEST(SharedMemory, IsZeroedAndOfFixedSize) {
  auto memory = SharedMemory::Create("test", 1000);
  ASSERT_TRUE(memory.ok()) << memory.status();
  ASSERT_TRUE(memory->Map(SharedMemory::Access::kReadOnly).ok());
  EXPECT_EQ(memory->bytes().size(), 1000u);
  for (uint8_t byte : memory->bytes()) {
    ASSERT_EQ(byte, 0);
  }
  EXPECT_NE(ftruncate(memory->fd(), 10), 0);
  EXPECT_NE(ftruncate(memory->fd(), 2000), 0);
}

TEST(SharedMemory, SharesContentThroughTheDescriptor) {
  auto writer = SharedMemory::Create("test", 100);
  ASSERT_TRUE(writer.ok());
  ASSERT_TRUE(writer->Map(SharedMemory::Access::kReadWrite).ok());
  writer->mutable_bytes()[42] = 7;
  auto reader = SharedMemory::FromFd(UniqueFd(dup(writer->fd())));
  ASSERT_TRUE(reader.ok()) << reader.status();
  ASSERT_TRUE(reader->Map(SharedMemory::Access::kReadOnly).ok());
  EXPECT_EQ(reader->bytes()[42], 7);
  EXPECT_TRUE(reader->mutable_bytes().empty());
}

TEST(SharedMemory, SealedContentCannotBeMappedForWriting) {
  auto memory = SharedMemory::Create("test", 100);
  ASSERT_TRUE(memory.ok());
  ASSERT_TRUE(memory->Map(SharedMemory::Access::kReadWrite).ok());
  EXPECT_EQ(memory->SealContent().code(), absl::StatusCode::kFailedPrecondition);
  memory->Unmap();
  ASSERT_TRUE(memory->SealContent().ok());
  EXPECT_FALSE(memory->Map(SharedMemory::Access::kReadWrite).ok());
  EXPECT_TRUE(memory->Map(SharedMemory::Access::kReadOnly).ok());
  EXPECT_LT(pwrite(memory->fd(), "x", 1, 0), 0);
}

TEST(SharedMemory, RefusesWhatIsNoSealedMemfd) {
  EXPECT_EQ(SharedMemory::FromFd(UniqueFd(open("/dev/zero", O_RDWR))).status().code(),
            absl::StatusCode::kInvalidArgument);
  UniqueFd growing(memfd_create("growing", MFD_ALLOW_SEALING));
  EXPECT_EQ(SharedMemory::FromFd(std::move(growing)).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(SharedMemory, RefusesToMapPastItsEnd) {
  auto memory = SharedMemory::Create("test", 100);
  ASSERT_TRUE(memory.ok());
  EXPECT_EQ(memory->Map(SharedMemory::Access::kReadOnly, 101).code(), absl::StatusCode::kOutOfRange);
  EXPECT_EQ(SharedMemory::Create("test", 0).status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace nkiagent::sandbox
