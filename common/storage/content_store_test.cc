#include "common/storage/content_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

namespace nkiagent::storage {
namespace {

namespace fs = std::filesystem;

class ContentStoreTest : public ::testing::Test {
 protected:
  ContentStoreTest() {
    std::string pattern = ::testing::TempDir() + "content_store_XXXXXX";
    directory_ = mkdtemp(pattern.data());
  }
  ~ContentStoreTest() override { fs::remove_all(directory_); }

  static std::unique_ptr<ContentStore> Open(ContentStoreOptions options) {
    return *ContentStore::Open(std::move(options));
  }
  static std::string Read(ContentStore& store, const std::string& name) {
    const auto bytes = store.Get(name);
    return bytes == nullptr ? "(none)" : *bytes;
  }

  std::string directory_;
};

TEST_F(ContentStoreTest, GivesBackWhatWasPut) {
  auto store = Open({});
  EXPECT_EQ(Read(*store, "a"), "(none)");
  store->Put("a", std::string("\0x", 2));
  EXPECT_EQ(Read(*store, "a"), std::string("\0x", 2));
  store->Put("a", "newer");
  EXPECT_EQ(Read(*store, "a"), "newer");
  EXPECT_EQ(store->usage().memory_entries, 1);
}

TEST_F(ContentStoreTest, EvictsTheLeastRecentlyUsedBeyondItsBytes) {
  auto store = Open({.memory_bytes = 320});  // three entries of 102 bytes
  for (const char* name : {"a", "b", "c"}) store->Put(name, std::string(100, 'x'));
  EXPECT_NE(Read(*store, "a"), "(none)");
  store->Put("d", std::string(100, 'x'));
  EXPECT_EQ(Read(*store, "b"), "(none)");
  EXPECT_NE(Read(*store, "a"), "(none)");
  EXPECT_LE(store->usage().memory_bytes, 320);
}

TEST_F(ContentStoreTest, AnEntryLargerThanTheBoundIsNotKept) {
  auto store = Open({.memory_bytes = 50});
  store->Put("small", "x");
  store->Put("large", std::string(100, 'x'));
  EXPECT_EQ(Read(*store, "large"), "(none)");
  EXPECT_EQ(Read(*store, "small"), "x");
}

TEST_F(ContentStoreTest, AnotherStoreOnTheDirectoryFindsIt) {
  Open({.directory = directory_})->Put("a", "bytes");
  EXPECT_EQ(Read(*Open({.directory = directory_}), "a"), "bytes");
}

TEST_F(ContentStoreTest, EvictedFromMemoryIsReadFromTheDirectory) {
  auto store = Open({.memory_bytes = 120, .directory = directory_});
  store->Put("a", std::string(100, 'a'));
  store->Put("b", std::string(100, 'b'));
  EXPECT_EQ(Read(*store, "a"), std::string(100, 'a'));
}

TEST_F(ContentStoreTest, ADamagedFileIsAMissAndGoes) {
  Open({.directory = directory_})->Put("a", "bytes");
  std::ofstream(directory_ + "/a", std::ios::app) << "more";
  EXPECT_EQ(Read(*Open({.directory = directory_}), "a"), "(none)");
  EXPECT_FALSE(fs::exists(directory_ + "/a"));
}

TEST_F(ContentStoreTest, NamesCannotLeaveTheDirectory) {
  std::ofstream(directory_ + "/../outside") << "secret";
  auto store = Open({.directory = directory_});
  for (const std::string& name :
       {std::string("../outside"), std::string("A"), std::string(), std::string(129, 'a')}) {
    store->Put(name, "x");
    EXPECT_EQ(Read(*store, name), "(none)") << name;
  }
  fs::remove(directory_ + "/../outside");
}

TEST_F(ContentStoreTest, TheDirectoryStaysUnderItsBound) {
  auto store = Open({.memory_bytes = 0, .directory = directory_, .directory_bytes = 2000});
  for (int i = 0; i < 50; ++i) store->Put(absl::StrCat("e", i), std::string(100, 'x'));
  EXPECT_LE(store->usage().directory_bytes, 2000);
  int64_t on_disk = 0;
  for (const auto& file : fs::directory_iterator(directory_))
    on_disk += static_cast<int64_t>(file.file_size());
  EXPECT_EQ(on_disk, store->usage().directory_bytes);
  EXPECT_GT(on_disk, 0);
}

TEST_F(ContentStoreTest, RefusesADirectoryThatCannotBeUsed) {
  EXPECT_EQ(ContentStore::Open({.directory = "/proc/nowhere/x"}).status().code(),
            absl::StatusCode::kUnavailable);
}

TEST_F(ContentStoreTest, ManyThreadsMayUseIt) {
  auto store = Open({.memory_bytes = 1000, .directory = directory_, .directory_bytes = 10'000});
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 100; ++i) {
        const std::string name = absl::StrCat("n", i % 10);
        store->Put(name, std::string(100, static_cast<char>('0' + i % 10)));
        const std::string read = Read(*store, name);
        EXPECT_TRUE(read == "(none)" || read == std::string(100, static_cast<char>('0' + i % 10)));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace nkiagent::storage
