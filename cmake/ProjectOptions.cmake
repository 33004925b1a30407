# Flags that every first-party target carries, through one interface target.
set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release)
endif()
# -O2: on gRPC-heavy files -O3 costs build time and buys nothing; numeric folders ask for more themselves.
set(CMAKE_CXX_FLAGS_RELEASE "-O2 -DNDEBUG")
set(CMAKE_C_FLAGS_RELEASE "-O2 -DNDEBUG")
# Line tables are enough for sanitizer reports, and a third of the size of full debug information.
set(CMAKE_CXX_FLAGS_RELWITHDEBINFO "-O1 -g1")
set(CMAKE_C_FLAGS_RELWITHDEBINFO "-O1 -g1")

option(NKI_FUZZ "Build the fuzzers of tests/fuzz; needs clang" OFF)
set(NKI_SANITIZER "" CACHE STRING "Sanitizer to build with: empty, address or thread")

find_program(CCACHE_PROGRAM ccache)
if(CCACHE_PROGRAM)
  set(CMAKE_C_COMPILER_LAUNCHER "${CCACHE_PROGRAM}")
  set(CMAKE_CXX_COMPILER_LAUNCHER "${CCACHE_PROGRAM}")
endif()

add_library(nki_options INTERFACE)
target_compile_options(nki_options INTERFACE -Wall -Wextra -Wpedantic -Werror -Wshadow -Wnon-virtual-dtor)
# Options structs are filled by designated initialisers; the fields left out take their defaults on purpose.
target_compile_options(nki_options INTERFACE -Wno-missing-field-initializers)
target_include_directories(nki_options INTERFACE "${PROJECT_SOURCE_DIR}")

if(NKI_SANITIZER STREQUAL "address")
  add_compile_options(-fsanitize=address,undefined -fno-omit-frame-pointer -fno-sanitize-recover=all)
  add_link_options(-fsanitize=address,undefined)
  if(NKI_FUZZ)
    # Clang's warnings are not looked at: GCC is what the product is built with.
    add_compile_options(-fsanitize=fuzzer-no-link)
    target_compile_options(nki_options INTERFACE -w)
  else()
    # GCC 12's flow analysis misfires on sanitizer instrumentation; the release build keeps these as errors.
    target_compile_options(nki_options INTERFACE -Wno-maybe-uninitialized -Wno-stringop-overflow -Wno-restrict)
  endif()
elseif(NKI_SANITIZER STREQUAL "thread")
  add_compile_options(-fsanitize=thread -fno-omit-frame-pointer)
  add_link_options(-fsanitize=thread)
  target_compile_options(nki_options INTERFACE -Wno-maybe-uninitialized -Wno-tsan)
elseif(NKI_SANITIZER)
  message(FATAL_ERROR "NKI_SANITIZER must be empty, address or thread, not '${NKI_SANITIZER}'")
endif()

# The interpreter that runs the Python parts and their tests: a venv made by ./dev from requirements.txt.
if(DEFINED ENV{NKIAGENT_VENV})
  set(nki_default_venv "$ENV{NKIAGENT_VENV}")
else()
  set(nki_default_venv "${PROJECT_SOURCE_DIR}/.venv")
endif()
set(NKI_PYTHON "${nki_default_venv}/bin/python" CACHE FILEPATH "Python interpreter with requirements.txt installed")
# First-party extension modules end here; it goes on PYTHONPATH beside the source root.
set(NKI_PYTHON_MODULE_DIR "${PROJECT_BINARY_DIR}/python")
