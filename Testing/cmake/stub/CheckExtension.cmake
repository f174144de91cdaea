# Where Slicer makes the package: here, whether what the Extensions Manager will show has been said.

foreach(name IN ITEMS HOMEPAGE CONTRIBUTORS DESCRIPTION KEYWORDS ICONURL SCREENSHOTURLS DEPENDS)
  if("${EXTENSION_${name}}" STREQUAL "")
    message(SEND_ERROR "EXTENSION_${name} is not set")
  endif()
endforeach()
foreach(name IN ITEMS HOMEPAGE ICONURL SCREENSHOTURLS)
  foreach(address IN LISTS EXTENSION_${name})
    if(NOT address MATCHES "^https://")
      message(SEND_ERROR "EXTENSION_${name} holds '${address}', which is no address")
    endif()
  endforeach()
endforeach()
