# Settings and the few functions that every CMakeLists.txt of the tree shares.

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release)
endif()

# -ffp-contract=off: the compiler must not fuse a*b+c where we did not write a
# fused operation, or the bits would depend on the instruction set.
add_compile_options(-Wall -Wextra -Wno-unused-parameter -Wno-psabi
                    -ffp-contract=off -fno-omit-frame-pointer)
if(CMAKE_CXX_COMPILER_ID MATCHES Clang)
  add_compile_options(-Wthread-safety -Werror=thread-safety)
else()
  # False alarms of g++ 12: in operator+ of strings, on designated initializers.
  add_compile_options(-Wno-restrict -Wno-missing-field-initializers)
endif()

set(HEADWISE_SANITIZE "" CACHE STRING "Value for -fsanitize=, or empty")
if(HEADWISE_SANITIZE)
  add_compile_options(-fsanitize=${HEADWISE_SANITIZE} -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${HEADWISE_SANITIZE})
endif()
if(HEADWISE_FUZZ)
  # Coverage in every library; each fuzz target links the driver itself.
  add_compile_options(-fsanitize=address,undefined,fuzzer-no-link
                      -fno-sanitize-recover=undefined)
  add_link_options(-fsanitize=address,undefined)
endif()

include_directories(${CMAKE_SOURCE_DIR})

find_package(Threads REQUIRED)
find_package(absl REQUIRED)
find_package(OpenSSL REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(spdlog REQUIRED)

# Of tests and commands, which call what is fast and wait for it: they need no -O3
# of their own, which costs a third of their compilation, or half. What links gRPC
# has -pthread, and the headers below must be compiled as their users are. Without
# -O3 g++ 12 gives false alarms in std::string.
set(HEADWISE_COLD_OPTIONS -O1 -pthread)
if(CMAKE_CXX_COMPILER_ID STREQUAL GNU)
  list(APPEND HEADWISE_COLD_OPTIONS -Wno-array-bounds -Wno-stringop-overflow)
endif()

# GoogleTest's headers, compiled once for all tests. Sources include what they
# use all the same.
function(headwise_test_headers)
  if(TARGET headwise_test_headers)
    return()
  endif()
  find_package(GTest REQUIRED)
  set(source ${CMAKE_BINARY_DIR}/test_headers.cc)
  file(CONFIGURE OUTPUT ${source} CONTENT "")
  add_executable(headwise_test_headers ${source})
  target_link_libraries(headwise_test_headers PRIVATE GTest::gmock_main)
  target_compile_options(headwise_test_headers PRIVATE ${HEADWISE_COLD_OPTIONS})
  target_precompile_headers(headwise_test_headers PRIVATE
    <gmock/gmock.h> <gtest/gtest.h>)
endfunction()

# headwise_test(NAME target SRCS a_test.cc ... DEPS lib ... [LABELS unit]
#               [TIMEOUT seconds] [ENV VAR=value ...] [PREFIX text]
#               [SLOW filter])
# One GoogleTest program; every case is a ctest entry of its own, whose name begins
# with PREFIX. Cases of GoogleTest's filter SLOW are labelled slow alone.
function(headwise_test)
  cmake_parse_arguments(T "" "NAME;TIMEOUT;PREFIX;SLOW" "SRCS;DEPS;LABELS;ENV" ${ARGN})
  if(NOT BUILD_TESTING)
    return()
  endif()
  find_package(GTest REQUIRED)
  headwise_test_headers()
  include(GoogleTest)
  if(NOT T_LABELS)
    set(T_LABELS unit)
  endif()
  if(NOT T_TIMEOUT)
    set(T_TIMEOUT 60)
  endif()
  if(HEADWISE_SANITIZE)
    math(EXPR T_TIMEOUT "10 * ${T_TIMEOUT}")
  endif()
  add_executable(${T_NAME} ${T_SRCS})
  target_link_libraries(${T_NAME} PRIVATE ${T_DEPS} GTest::gmock_main)
  target_compile_options(${T_NAME} PRIVATE ${HEADWISE_COLD_OPTIONS})
  target_precompile_headers(${T_NAME} REUSE_FROM headwise_test_headers)
  set_target_properties(${T_NAME} PROPERTIES
    RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
  target_compile_definitions(${T_NAME} PRIVATE
    HEADWISE_SOURCE_DIR="${CMAKE_SOURCE_DIR}")
  set(others "")
  if(T_SLOW)
    set(others TEST_FILTER "-${T_SLOW}")
    gtest_discover_tests(${T_NAME} TEST_FILTER "${T_SLOW}" TEST_LIST ${T_NAME}_slow
      DISCOVERY_TIMEOUT 60 TEST_PREFIX "${T_PREFIX}"
      PROPERTIES LABELS slow TIMEOUT ${T_TIMEOUT} ENVIRONMENT "${T_ENV}")
  endif()
  gtest_discover_tests(${T_NAME} ${others}
    DISCOVERY_TIMEOUT 60 TEST_PREFIX "${T_PREFIX}"
    PROPERTIES LABELS "${T_LABELS}" TIMEOUT ${T_TIMEOUT}
               ENVIRONMENT "${T_ENV}")
endfunction()

set(HEADWISE_FUZZ_SECONDS 10 CACHE STRING "Seconds of one fuzz target's run")

# headwise_fuzz(NAME target SRCS f_fuzz.cc DEPS lib ... [CORPUS dir])
# A libFuzzer target; a short run over the kept corpus is a ctest entry.
function(headwise_fuzz)
  cmake_parse_arguments(F "" "NAME;CORPUS" "SRCS;DEPS" ${ARGN})
  if(NOT HEADWISE_FUZZ)
    return()
  endif()
  add_executable(${F_NAME} ${F_SRCS})
  target_link_libraries(${F_NAME} PRIVATE ${F_DEPS})
  target_link_options(${F_NAME} PRIVATE -fsanitize=fuzzer)
  set_target_properties(${F_NAME} PROPERTIES
    RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/fuzz)
  set(found ${CMAKE_BINARY_DIR}/fuzz/${F_NAME}.found)
  file(MAKE_DIRECTORY ${found})
  add_test(NAME ${F_NAME}
    COMMAND ${F_NAME} -max_total_time=${HEADWISE_FUZZ_SECONDS} -timeout=10
            -rss_limit_mb=2048 -artifact_prefix=${found}/ ${found} ${F_CORPUS})
  set_tests_properties(${F_NAME} PROPERTIES LABELS fuzz TIMEOUT 120)
endfunction()
