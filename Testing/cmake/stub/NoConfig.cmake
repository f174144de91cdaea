# Slicer writes the extension's own package file here, for other extensions to be built against. None is.
