#include "common/storage/signing_key.h"

#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

namespace nkiagent::storage {
namespace {

// RFC 8032, section 5.1.
constexpr size_t kKeyBytes = 32;
constexpr size_t kSignatureBytes = 64;

using KeyPtr = std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)>;
using DigestPtr = std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)>;
using FilePtr = std::unique_ptr<FILE, int (*)(FILE*)>;

std::string OpenSslError() {
  char text[256] = "unknown error";
  if (const unsigned long code = ERR_get_error(); code != 0) ERR_error_string_n(code, text, sizeof(text));
  ERR_clear_error();
  return text;
}

const unsigned char* Bytes(absl::string_view text) {
  return reinterpret_cast<const unsigned char*>(text.data());
}

// The bytes of lower-case or upper-case hex digits.
absl::StatusOr<std::string> FromHex(absl::string_view what, absl::string_view hex, size_t bytes) {
  if (hex.size() != 2 * bytes ||
      !std::all_of(hex.begin(), hex.end(), [](unsigned char c) { return absl::ascii_isxdigit(c); })) {
    return absl::InvalidArgumentError(absl::StrCat(what, " is not ", 2 * bytes, " hex digits"));
  }
  return absl::HexStringToBytes(hex);
}

// Writes a new key beside `path` and links it there unless there is one by now.
absl::Status Create(const std::string& path) {
  const KeyPtr key(EVP_PKEY_Q_keygen(nullptr, nullptr, "ED25519"), EVP_PKEY_free);
  if (key == nullptr) return absl::InternalError(absl::StrCat("no key was made: ", OpenSslError()));
  std::string temporary = absl::StrCat(path, ".XXXXXX");
  const int fd = mkostemp(temporary.data(), O_CLOEXEC);  // mode 0600
  if (fd < 0) return absl::UnavailableError(absl::StrCat("can't write ", temporary, ": ", strerror(errno)));
  FILE* const file = fdopen(fd, "w");
  const bool written =
      file != nullptr &&
      PEM_write_PKCS8PrivateKey(file, key.get(), nullptr, nullptr, 0, nullptr, nullptr) == 1 &&
      fflush(file) == 0 && fsync(fd) == 0;
  const bool closed = file != nullptr ? fclose(file) == 0 : close(fd) == 0;
  absl::Status status;
  if (!written || !closed) {
    status = absl::UnavailableError(absl::StrCat("can't write ", temporary, ": ", strerror(errno)));
  } else if (link(temporary.c_str(), path.c_str()) != 0 && errno != EEXIST) {
    status = absl::UnavailableError(absl::StrCat("can't make ", path, ": ", strerror(errno)));
  }
  unlink(temporary.c_str());
  return status;
}

}  // namespace

absl::StatusOr<SigningKey> SigningKey::LoadOrCreate(const std::string& path) {
  if (access(path.c_str(), F_OK) != 0) {
    if (absl::Status status = Create(path); !status.ok()) return status;
  }
  const FilePtr file(fopen(path.c_str(), "re"), fclose);
  struct stat info = {};
  if (file == nullptr || fstat(fileno(file.get()), &info) != 0) {
    return absl::UnavailableError(absl::StrCat("can't read ", path, ": ", strerror(errno)));
  }
  if ((info.st_mode & 077) != 0) {
    return absl::FailedPreconditionError(
        absl::StrCat(path, " holds a private key and others may read it; chmod 600 ", path));
  }
  KeyPtr key(PEM_read_PrivateKey(file.get(), nullptr, nullptr, nullptr), EVP_PKEY_free);
  if (key == nullptr || EVP_PKEY_get_base_id(key.get()) != EVP_PKEY_ED25519) {
    ERR_clear_error();
    return absl::FailedPreconditionError(absl::StrCat(path, " holds no Ed25519 private key in PEM form"));
  }
  std::string public_key(kKeyBytes, '\0');
  size_t size = public_key.size();
  if (EVP_PKEY_get_raw_public_key(key.get(), reinterpret_cast<unsigned char*>(public_key.data()), &size) !=
      1) {
    return absl::InternalError(absl::StrCat("the public key can't be told: ", OpenSslError()));
  }
  return SigningKey(
      std::shared_ptr<void>(key.release(), [](void* p) { EVP_PKEY_free(static_cast<EVP_PKEY*>(p)); }),
      absl::BytesToHexString(public_key));
}

absl::StatusOr<std::string> SigningKey::Sign(absl::string_view text) const {
  const DigestPtr context(EVP_MD_CTX_new(), EVP_MD_CTX_free);
  std::string signature(kSignatureBytes, '\0');
  size_t size = signature.size();
  if (context == nullptr ||
      EVP_DigestSignInit(context.get(), nullptr, nullptr, nullptr, static_cast<EVP_PKEY*>(key_.get())) != 1 ||
      EVP_DigestSign(context.get(), reinterpret_cast<unsigned char*>(signature.data()), &size, Bytes(text),
                     text.size()) != 1) {
    return absl::InternalError(absl::StrCat("the text can't be signed: ", OpenSslError()));
  }
  return absl::BytesToHexString(signature);
}

absl::Status VerifySignature(absl::string_view public_key, absl::string_view text,
                             absl::string_view signature) {
  const absl::StatusOr<std::string> key_bytes = FromHex("the public key", public_key, kKeyBytes);
  if (!key_bytes.ok()) return key_bytes.status();
  const absl::StatusOr<std::string> signature_bytes = FromHex("the signature", signature, kSignatureBytes);
  if (!signature_bytes.ok()) return signature_bytes.status();
  const KeyPtr key(
      EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, nullptr, Bytes(*key_bytes), key_bytes->size()),
      EVP_PKEY_free);
  const DigestPtr context(EVP_MD_CTX_new(), EVP_MD_CTX_free);
  if (key == nullptr || context == nullptr ||
      EVP_DigestVerifyInit(context.get(), nullptr, nullptr, nullptr, key.get()) != 1) {
    return absl::InvalidArgumentError(absl::StrCat("not an Ed25519 public key: ", OpenSslError()));
  }
  const int result = EVP_DigestVerify(context.get(), Bytes(*signature_bytes), signature_bytes->size(),
                                      Bytes(text), text.size());
  ERR_clear_error();
  return result == 1 ? absl::OkStatus() : absl::PermissionDeniedError("the signature does not fit the text");
}

}  // namespace nkiagent::storage
