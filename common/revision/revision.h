// Which toolchain this build is. Results name it, so that whoever repeats one knows whether the same sources
// judge. Any thread.
#ifndef COMMON_REVISION_REVISION_H_
#define COMMON_REVISION_REVISION_H_

#include <string>

namespace nkiagent {

// The project's version, a "+", and 12 hex digits of a SHA-256 over the sources that can change a result:
// common/nki and the services that compile, verify and run workers. Such as "0.1.0+3f9c01ab2d44".
std::string ToolchainVersion();

// What `git describe --always --dirty` said when it was built; empty outside version control.
std::string SourceRevision();

}  // namespace nkiagent

#endif  // COMMON_REVISION_REVISION_H_
