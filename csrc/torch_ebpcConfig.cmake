# find_package(torch_ebpc) gives
#   torch_ebpc::ebpc       the codec, a library for C++20; its headers are "ebpc/container.h" and so on
#   torch_ebpc::operators  torch.ops.torch_ebpc.* for a LibTorch program, which links ${TORCH_LIBRARIES} itself

include(${CMAKE_CURRENT_LIST_DIR}/torch_ebpcTargets.cmake)

if(TARGET torch_ebpc::operators_library AND NOT TARGET torch_ebpc::operators)
  # The library registers the operators when it is loaded. Nothing in a program refers to it, so the
  # linker must be told to keep it.
  add_library(torch_ebpc::operators INTERFACE IMPORTED)
  target_link_libraries(torch_ebpc::operators INTERFACE
    "-Wl,--push-state,--no-as-needed" torch_ebpc::operators_library "-Wl,--pop-state")
endif()
