# nki_library(NAME SRCS ... [DEPS ...] [PRIVATE_DEPS ...]): a first-party static library, also named nkiagent::NAME.
function(nki_library name)
  cmake_parse_arguments(ARG "" "" "SRCS;DEPS;PRIVATE_DEPS" ${ARGN})
  if(ARG_SRCS)
    add_library(${name} STATIC ${ARG_SRCS})
    target_link_libraries(${name} PUBLIC ${ARG_DEPS} PRIVATE nki_options ${ARG_PRIVATE_DEPS})
    target_include_directories(${name} PUBLIC "${PROJECT_SOURCE_DIR}")
  else()
    add_library(${name} INTERFACE)
    target_link_libraries(${name} INTERFACE ${ARG_DEPS})
    target_include_directories(${name} INTERFACE "${PROJECT_SOURCE_DIR}")
  endif()
  add_library(nkiagent::${name} ALIAS ${name})
endfunction()

# nki_binary(NAME SRCS ... DEPS ...): a first-party executable.
function(nki_binary name)
  cmake_parse_arguments(ARG "" "" "SRCS;DEPS" ${ARGN})
  add_executable(${name} ${ARG_SRCS})
  target_link_libraries(${name} PRIVATE nki_options ${ARG_DEPS})
endfunction()

# nki_test(NAME SRCS ... DEPS ... [TIMEOUT seconds] [LABELS ...]): a GoogleTest binary, registered with ctest as one test.
function(nki_test name)
  cmake_parse_arguments(ARG "" "TIMEOUT" "SRCS;DEPS;LABELS" ${ARGN})
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 60)
  endif()
  add_executable(${name} ${ARG_SRCS})
  target_link_libraries(${name} PRIVATE nki_options ${ARG_DEPS} GTest::gmock_main)
  add_test(NAME ${name} COMMAND ${name})
  set_tests_properties(${name} PROPERTIES TIMEOUT ${ARG_TIMEOUT} LABELS "${ARG_LABELS}")
endfunction()

# nki_proto_library(NAME PROTOS a.proto ... [DEPS ...]): messages and gRPC stubs from protos named relative to proto/.
# Generated code is a system include and carries none of our warning flags.
function(nki_proto_library name)
  cmake_parse_arguments(ARG "" "" "PROTOS;DEPS" ${ARGN})
  set(out "${PROJECT_BINARY_DIR}/generated/proto")
  file(MAKE_DIRECTORY "${out}")
  set(sources)
  foreach(proto IN LISTS ARG_PROTOS)
    string(REGEX REPLACE "\\.proto$" "" stem "${proto}")
    set(generated "${out}/${stem}.pb.cc" "${out}/${stem}.pb.h" "${out}/${stem}.grpc.pb.cc" "${out}/${stem}.grpc.pb.h")
    add_custom_command(
      OUTPUT ${generated}
      COMMAND protobuf::protoc -I "${PROJECT_SOURCE_DIR}/proto" --cpp_out=${out} --grpc_out=${out}
              --plugin=protoc-gen-grpc=$<TARGET_FILE:gRPC::grpc_cpp_plugin> "${PROJECT_SOURCE_DIR}/proto/${proto}"
      DEPENDS "${PROJECT_SOURCE_DIR}/proto/${proto}"
      VERBATIM)
    list(APPEND sources ${generated})
  endforeach()
  add_library(${name} STATIC ${sources})
  target_include_directories(${name} SYSTEM PUBLIC "${out}")
  target_link_libraries(${name} PUBLIC protobuf::libprotobuf gRPC::grpc++ ${ARG_DEPS})
  add_library(nkiagent::${name} ALIAS ${name})
endfunction()
