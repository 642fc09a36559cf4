# HEADWISE_BUILD_VERSION: what coordinator and worker compare before they work
# together. The project's version, and a digest of what both ends must agree on:
# the private wire contracts, and the cuts on which the bits of answers depend.
set(headwise_contract "")
foreach(file proto/headwise/worker/v1/worker.proto
        proto/headwise/worker/v1/attention_worker.proto
        proto/headwise/worker/v1/memory_worker.proto model/work_grid.h)
  file(SHA256 ${CMAKE_SOURCE_DIR}/${file} digest)
  string(APPEND headwise_contract ${digest})
  set_property(DIRECTORY ${CMAKE_SOURCE_DIR} APPEND PROPERTY
               CMAKE_CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/${file})
endforeach()
string(SHA256 headwise_contract "${headwise_contract}")
string(SUBSTRING ${headwise_contract} 0 12 headwise_contract)
set(HEADWISE_BUILD_VERSION "${PROJECT_VERSION}+${headwise_contract}")
