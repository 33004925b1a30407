# nki_embed_text(NAME NAMESPACE ns FILES a.txt ...): a library that carries text files inside the program, so that an
# installed binary needs no data files. For each file `dir/rank_aware.md` there is an entry {"rank_aware.md", text} in
# `ns::EmbeddedFiles()` (header "<NAME>.h"), in the order of the list.
function(nki_embed_text name)
  cmake_parse_arguments(ARG "" "NAMESPACE" "FILES" ${ARGN})
  set(dir "${CMAKE_CURRENT_BINARY_DIR}/embedded")
  set(inputs)
  foreach(file IN LISTS ARG_FILES)
    list(APPEND inputs "${CMAKE_CURRENT_SOURCE_DIR}/${file}")
  endforeach()
  string(REPLACE ";" "|" joined "${inputs}")
  add_custom_command(
    OUTPUT "${dir}/${name}.h" "${dir}/${name}.cc"
    COMMAND "${CMAKE_COMMAND}" "-DNAME=${name}" "-DNAMESPACE=${ARG_NAMESPACE}" "-DFILES=${joined}" "-DOUT=${dir}"
            -P "${PROJECT_SOURCE_DIR}/cmake/WriteEmbeddedText.cmake"
    DEPENDS ${inputs} "${PROJECT_SOURCE_DIR}/cmake/WriteEmbeddedText.cmake"
    VERBATIM)
  add_library(${name} STATIC "${dir}/${name}.cc" "${dir}/${name}.h")
  target_include_directories(${name} PUBLIC "${dir}")
  target_link_libraries(${name} PRIVATE nki_options)
endfunction()
