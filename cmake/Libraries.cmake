# Third-party libraries, all of them Debian packages. Whatever has an archive is linked statically, so that the one
# binary runs on a machine without them; fmt ships no archive and is compiled in (components/base).
find_package(Threads REQUIRED)
find_package(PkgConfig REQUIRED)

# static_library(target archive...): an interface target on lib<archive>.a, or the shared library where Debian has none.
function(static_library target)
  add_library(${target} INTERFACE)
  foreach(name ${ARGN})
    unset(found CACHE)
    find_library(found NAMES lib${name}.a ${name} REQUIRED)
    target_link_libraries(${target} INTERFACE ${found})
  endforeach()
  unset(found CACHE)
endfunction()

static_library(lib_openssl ssl crypto z zstd)  # Debian 13's libcrypto compresses
target_link_libraries(lib_openssl INTERFACE Threads::Threads dl)
static_library(lib_yaml yaml-cpp)
static_library(lib_nghttp2 nghttp2)
static_library(lib_cares cares)
static_library(lib_nftnl nftnl mnl)
static_library(lib_nlroute nl-route-3 nl-3)
target_include_directories(lib_nlroute INTERFACE /usr/include/libnl3)
static_library(lib_rocksdb rocksdb snappy lz4 zstd bz2 z)
target_link_libraries(lib_rocksdb INTERFACE Threads::Threads dl)
static_library(lib_z z)

# archive_group(target archive...): archives that need each other, in any order. They reach the linker as one argument: CMake keeps every flag and
# every file of a program's link line once, and so takes groups apart that are written as several.
function(archive_group target)
  list(REMOVE_DUPLICATES ARGN)
  list(JOIN ARGN "," archives)
  add_library(${target} INTERFACE)
  target_link_libraries(${target} INTERFACE "-Wl,--start-group,${archives},--end-group" Threads::Threads dl)
endfunction()

# packaged_archives(out prefix): those of the archives that pkg-config names for static linking which there are.
function(packaged_archives out prefix)
  set(archives)
  foreach(name ${${prefix}_STATIC_LIBRARIES})
    unset(found CACHE)
    find_library(found NAMES lib${name}.a ${name})
    if(found)
      list(APPEND archives ${found})
    endif()
  endforeach()
  unset(found CACHE)
  set(${out} ${archives} PARENT_SCOPE)
endfunction()

# RE2: alone on Debian 12, with parts of Abseil on Debian 13.
pkg_check_modules(RE2 REQUIRED re2)
packaged_archives(re2_archives RE2)
archive_group(lib_re2 ${re2_archives})

pkg_check_modules(GRPC REQUIRED grpc++ protobuf)
packaged_archives(grpc_archives GRPC)
# protobuf's .pc file of Debian 13 does not name the parts of Abseil that its headers use; what is not used costs nothing.
find_library(found NAMES libabsl_base.a REQUIRED)
get_filename_component(absl_folder ${found} DIRECTORY)
unset(found CACHE)
file(GLOB absl_archives ${absl_folder}/libabsl_*.a)
archive_group(lib_grpc ${grpc_archives} ${absl_archives})
archive_group(lib_absl ${absl_archives})
find_program(PROTOC protoc REQUIRED)
find_program(GRPC_CPP_PLUGIN grpc_cpp_plugin REQUIRED)

# proto_library(target file.proto): protobuf and gRPC code of one file of proto/, generated under the build folder.
function(proto_library target file)
  get_filename_component(base ${file} NAME_WE)
  set(out ${CMAKE_BINARY_DIR}/generated/proto)
  file(MAKE_DIRECTORY ${out})
  add_custom_command(
    OUTPUT ${out}/${base}.pb.cc ${out}/${base}.pb.h ${out}/${base}.grpc.pb.cc ${out}/${base}.grpc.pb.h
    COMMAND ${PROTOC} -I ${CMAKE_SOURCE_DIR}/proto --cpp_out=${out} --grpc_out=${out}
            --plugin=protoc-gen-grpc=${GRPC_CPP_PLUGIN} ${CMAKE_SOURCE_DIR}/proto/${file}
    DEPENDS ${CMAKE_SOURCE_DIR}/proto/${file} VERBATIM)
  add_library(${target} STATIC ${out}/${base}.pb.cc ${out}/${base}.grpc.pb.cc)
  target_include_directories(${target} SYSTEM PUBLIC ${out})
  target_compile_options(${target} PRIVATE -w)
  target_link_libraries(${target} PUBLIC lib_grpc)
endfunction()

# Returns freed memory to the system and keeps few arenas: an idle cluster stays small.
static_library(lib_jemalloc jemalloc)
target_link_libraries(lib_jemalloc INTERFACE Threads::Threads dl m)
