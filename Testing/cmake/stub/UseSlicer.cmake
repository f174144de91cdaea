# The two commands of Slicer's that the extension uses, for an installed tree alone: nothing is compiled, and the
# tests run from CMAKE_INSTALL_PREFIX, so that what is not installed is missed.

option(BUILD_TESTING "Register the tests" ON)
if(BUILD_TESTING)
  enable_testing()
endif()

set(_slicer_installed_modules "${CMAKE_INSTALL_PREFIX}/${Slicer_INSTALL_QTSCRIPTEDMODULES_LIB_DIR}")

function(slicerMacroBuildScriptedModule)
  cmake_parse_arguments(MODULE "WITH_GENERIC_TESTS;WITH_SUBDIR;VERBOSE" "NAME" "SCRIPTS;RESOURCES" ${ARGN})
  if(MODULE_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "slicerMacroBuildScriptedModule does not know ${MODULE_UNPARSED_ARGUMENTS}")
  endif()
  if(NOT MODULE_NAME)
    message(FATAL_ERROR "slicerMacroBuildScriptedModule needs a NAME")
  endif()

  set(listed "")
  foreach(file IN LISTS MODULE_SCRIPTS MODULE_RESOURCES)
    if(NOT EXISTS "${CMAKE_CURRENT_SOURCE_DIR}/${file}" AND EXISTS "${CMAKE_CURRENT_SOURCE_DIR}/${file}.py")
      string(APPEND file ".py")
    endif()
    if(NOT EXISTS "${CMAKE_CURRENT_SOURCE_DIR}/${file}")
      message(SEND_ERROR "${MODULE_NAME}: ${file} is listed, but is not there")
      continue()
    endif()
    list(APPEND listed "${file}")
    get_filename_component(folder "${file}" DIRECTORY)
    install(FILES "${file}" DESTINATION "${Slicer_INSTALL_QTSCRIPTEDMODULES_LIB_DIR}/${folder}")
  endforeach()
  _slicer_complain_of_unlisted_files("${MODULE_NAME}" "${listed}")

  if(BUILD_TESTING AND MODULE_WITH_GENERIC_TESTS)
    set(MODULENAME "${MODULE_NAME}")
    string(TOLOWER "${MODULE_NAME}" MODULENAME_LC)
    set(script "${CMAKE_CURRENT_BINARY_DIR}/qSlicer${MODULE_NAME}ModuleGenericTest.py")
    configure_file("${Slicer_PYTHON_MODULE_TEST_TEMPLATES_DIR}/qSlicerModuleGenericTest.py.in" "${script}" @ONLY)
    slicer_add_python_unittest(
      SCRIPT "${script}"
      SLICER_ARGS --no-main-window --disable-cli-modules
      TESTNAME_PREFIX nomainwindow_
    )
  endif()
endfunction()

# Slicer installs what is listed. What is there and not listed would be missing only in the installed extension.
function(_slicer_complain_of_unlisted_files name listed)
  file(GLOB_RECURSE there RELATIVE "${CMAKE_CURRENT_SOURCE_DIR}" "*")
  foreach(file IN LISTS there)
    if(file MATCHES "(^|/)(__pycache__/|[^/]*\\.egg-info/|\\.)|\\.(pyc|pt)$|\\.fp32\\.onnx$|(^|/)CMakeLists\\.txt$")
      continue()
    endif()
    if(NOT file IN_LIST listed)
      message(SEND_ERROR "${name}: ${file} is not listed, so it would not be installed")
    endif()
  endforeach()
endfunction()

function(slicer_add_python_unittest)
  cmake_parse_arguments(TEST "" "SCRIPT;TESTNAME_PREFIX" "SLICER_ARGS" ${ARGN})
  get_filename_component(name "${TEST_SCRIPT}" NAME_WE)
  get_filename_component(folder "${TEST_SCRIPT}" DIRECTORY)
  if(NOT folder)
    set(folder "${_slicer_installed_modules}")
  endif()
  add_test(
    NAME "py_${TEST_TESTNAME_PREFIX}${name}"
    COMMAND ${Slicer_LAUNCHER_EXECUTABLE} --no-splash --testing ${TEST_SLICER_ARGS}
      --additional-module-paths "${_slicer_installed_modules}"
      --python-code "import slicer.testing; slicer.testing.runUnitTest(['${CMAKE_CURRENT_BINARY_DIR}', '${folder}'], '${name}')"
  )
endfunction()
