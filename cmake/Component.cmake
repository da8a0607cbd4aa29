# A component is a folder in components/ and a static library engenho_<name> of its own.
#
#   engenho_component(NAME FLOOR n [DEPS component...] [LIBS library...] [SOURCES extra...])
#
# Sources are src/**.cc; test/**_test.cc make the Catch2 program test_<name>. The floors of docs/architecture.md are
# checked here: a component may include only components that it names in DEPS, and only those of a lower floor.

function(engenho_component name)
  cmake_parse_arguments(C "" "FLOOR" "DEPS;LIBS;SOURCES;TEST_LIBS" ${ARGN})
  set(dir ${CMAKE_CURRENT_SOURCE_DIR})
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${dir}/src/*.cc)
  file(GLOB_RECURSE headers CONFIGURE_DEPENDS ${dir}/include/*.h ${dir}/src/*.h)
  file(GLOB_RECURSE tests CONFIGURE_DEPENDS ${dir}/test/*_test.cc)

  set_property(GLOBAL PROPERTY engenho_floor_${name} ${C_FLOOR})
  foreach(dep ${C_DEPS})
    get_property(floor GLOBAL PROPERTY engenho_floor_${dep})
    if(floor STREQUAL "")
      message(FATAL_ERROR "component ${name} (floor ${C_FLOOR}) depends on ${dep}, which is not defined before it")
    endif()
    if(NOT floor LESS ${C_FLOOR})
      # Within floor 1 the engines build on each other in the order in which components/CMakeLists.txt adds them.
      if(NOT (floor EQUAL 1 AND C_FLOOR EQUAL 1))
        message(FATAL_ERROR "component ${name} (floor ${C_FLOOR}) may not depend on ${dep} (floor ${floor})")
      endif()
    endif()
  endforeach()
  foreach(file ${sources} ${headers})
    set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${file})
    file(STRINGS ${file} includes REGEX "^#include [\"<]engenho/")
    foreach(line ${includes})
      string(REGEX REPLACE "^#include [\"<]engenho/([a-z0-9_]+)/.*" "\\1" used "${line}")
      if(NOT used STREQUAL name AND NOT used IN_LIST C_DEPS)
        message(FATAL_ERROR "${file} includes component '${used}', which ${name} does not name in DEPS")
      endif()
    endforeach()
  endforeach()

  add_library(engenho_${name} STATIC ${sources} ${C_SOURCES})
  target_include_directories(engenho_${name} PUBLIC ${dir}/include PRIVATE ${dir}/src)
  foreach(dep ${C_DEPS})
    target_link_libraries(engenho_${name} PUBLIC engenho_${dep})
  endforeach()
  target_link_libraries(engenho_${name} PRIVATE ${C_LIBS})

  if(tests)
    add_executable(test_${name} ${tests})
    target_include_directories(test_${name} PRIVATE ${dir}/src ${dir}/test)
    target_link_libraries(test_${name} PRIVATE engenho_${name} engenho_test_main ${C_LIBS} ${C_TEST_LIBS})
    add_test(NAME ${name} COMMAND test_${name})
    set_tests_properties(${name} PROPERTIES TIMEOUT 180)
  endif()
endfunction()
