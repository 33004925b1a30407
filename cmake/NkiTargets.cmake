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

# nki_test(NAME SRCS ... DEPS ... [TIMEOUT seconds] [LABELS ...] [ENV VAR=value ...]): a GoogleTest binary, registered
# with ctest as one test. It writes its cases to test-results/NAME.xml, which ./dev test counts.
function(nki_test name)
  if(NKI_WHEEL)
    return()
  endif()
  cmake_parse_arguments(ARG "" "TIMEOUT" "SRCS;DEPS;LABELS;ENV" ${ARGN})
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 60)
  endif()
  if(NKI_SANITIZER)  # instrumented code is several times slower
    math(EXPR ARG_TIMEOUT "6 * ${ARG_TIMEOUT}")
  endif()
  add_executable(${name} ${ARG_SRCS})
  target_link_libraries(${name} PRIVATE nki_options ${ARG_DEPS} GTest::gmock_main)
  add_test(NAME ${name} COMMAND ${name} "--gtest_output=xml:${PROJECT_BINARY_DIR}/test-results/${name}.xml")
  set(environment "NKI_PYTHON=${NKI_PYTHON}" "NKI_BUILD_DIR=${PROJECT_BINARY_DIR}"
    "NKI_SOURCE_DIR=${PROJECT_SOURCE_DIR}" ${ARG_ENV})
  set_tests_properties(${name} PROPERTIES
    TIMEOUT ${ARG_TIMEOUT} LABELS "gtest;${ARG_LABELS}" ENVIRONMENT "${environment}")
endfunction()

# nki_proto_library(NAME PROTOS a.proto ... [DEPS ...] [ROOT dir]): messages and gRPC stubs from protos named relative to
# ROOT, which is proto/ unless told otherwise.
# Generated code is a system include and carries none of our warning flags.
function(nki_proto_library name)
  cmake_parse_arguments(ARG "" "ROOT" "PROTOS;DEPS" ${ARGN})
  if(NOT ARG_ROOT)
    set(ARG_ROOT "${PROJECT_SOURCE_DIR}/proto")
  endif()
  set(out "${PROJECT_BINARY_DIR}/generated/proto")
  file(MAKE_DIRECTORY "${out}")
  set(sources)
  foreach(proto IN LISTS ARG_PROTOS)
    string(REGEX REPLACE "\\.proto$" "" stem "${proto}")
    set(generated "${out}/${stem}.pb.cc" "${out}/${stem}.pb.h" "${out}/${stem}.grpc.pb.cc" "${out}/${stem}.grpc.pb.h")
    add_custom_command(
      OUTPUT ${generated}
      COMMAND protobuf::protoc -I "${ARG_ROOT}" --cpp_out=${out} --grpc_out=${out}
              --plugin=protoc-gen-grpc=$<TARGET_FILE:gRPC::grpc_cpp_plugin> "${ARG_ROOT}/${proto}"
      DEPENDS "${ARG_ROOT}/${proto}"
      VERBATIM)
    list(APPEND sources ${generated})
  endforeach()
  add_library(${name} STATIC ${sources})
  target_include_directories(${name} SYSTEM PUBLIC "${out}")
  # Not ours to mend: no warnings; and -O1, since generated accessors gain nothing from more.
  target_compile_options(${name} PRIVATE -w $<$<CONFIG:Release>:-O1>)
  target_link_libraries(${name} PUBLIC protobuf::libprotobuf gRPC::grpc++ ${ARG_DEPS})
  add_library(nkiagent::${name} ALIAS ${name})
endfunction()

# nki_python_module(NAME SRCS ... [DEPS ...]): a pybind11 extension module, importable as NAME from
# NKI_PYTHON_MODULE_DIR (${PROJECT_BINARY_DIR}/python).
function(nki_python_module name)
  cmake_parse_arguments(ARG "" "" "SRCS;DEPS" ${ARGN})
  Python_add_library(${name} MODULE WITH_SOABI ${ARG_SRCS})
  target_link_libraries(${name} PRIVATE nki_options pybind11::headers ${ARG_DEPS})
  set_target_properties(${name} PROPERTIES
    LIBRARY_OUTPUT_DIRECTORY "${NKI_PYTHON_MODULE_DIR}" CXX_VISIBILITY_PRESET hidden)
  if(NKI_WHEEL)
    install(TARGETS ${name} LIBRARY DESTINATION .)
  endif()
endfunction()

# nki_pytest(NAME FILES test_a.py ... [TIMEOUT seconds] [LABELS ...] [ENV VAR=value ...]): pytest files (or folders)
# relative to the current source folder, registered with ctest as one test. The repository root, the extension modules
# and the frontend's packages (common/nki/frontend) are on PYTHONPATH. pytest writes NAME.xml (JUnit) under ${PROJECT_BINARY_DIR}/test-results if ./dev test asks.
function(nki_pytest name)
  if(NKI_WHEEL)
    return()
  endif()
  cmake_parse_arguments(ARG "" "TIMEOUT" "FILES;LABELS;ENV" ${ARGN})
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 120)
  endif()
  set(paths)
  foreach(file IN LISTS ARG_FILES)
    list(APPEND paths "${CMAKE_CURRENT_SOURCE_DIR}/${file}")
  endforeach()
  add_test(NAME ${name}
    COMMAND "${NKI_PYTHON}" -m pytest -q -p no:cacheprovider
            --junit-xml=${PROJECT_BINARY_DIR}/test-results/${name}.xml ${paths})
  set(environment "PYTHONPATH=${PROJECT_SOURCE_DIR}:${NKI_PYTHON_MODULE_DIR}:${PROJECT_SOURCE_DIR}/common/nki/frontend"
    "PYTHONDONTWRITEBYTECODE=1" "NKI_BUILD_DIR=${PROJECT_BINARY_DIR}" ${ARG_ENV})
  set_tests_properties(${name} PROPERTIES
    TIMEOUT ${ARG_TIMEOUT} LABELS "pytest;${ARG_LABELS}" ENVIRONMENT "${environment}")
endfunction()
