# Finds ROS 2 in the virtual environment that pip is installing into. Included only when pip builds this
# package.

find_package(Python3 REQUIRED COMPONENTS Interpreter)
execute_process(
  COMMAND "${Python3_EXECUTABLE}" -c "import sys; print(sys.prefix)"
  OUTPUT_VARIABLE virtual_environment OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
set(ENV{AMENT_PREFIX_PATH} "${virtual_environment}")
list(PREPEND CMAKE_PREFIX_PATH "${virtual_environment}")

# The wheels' generator_py targets export include folders of the machine that built them; CMake refuses to
# link against a target whose include folder does not exist. Nothing compiles against those headers here.
function(clear_foreign_include_folders)
  get_property(targets DIRECTORY PROPERTY IMPORTED_TARGETS)
  foreach(target IN LISTS targets)
    if(target MATCHES "rosidl_generator_py$")
      set_property(TARGET ${target} PROPERTY INTERFACE_INCLUDE_DIRECTORIES "")
    endif()
  endforeach()
endfunction()
cmake_language(DEFER CALL clear_foreign_include_folders)
